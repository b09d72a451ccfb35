"""Events with what the catalogue knew about their product at that time: the one table that windowed features run over."""

from feature_repo.workbench import DAY_US, HOUR_US, Workbench

MONDAY = 4
"""Day of the week, counted from the Thursday 1970-01-01."""


def acts(bench: Workbench) -> None:
    """Make table `acts`: the events plus amount, price, price_rank, category, brand, weekend and evening.

    A price that the event doesn't state is the offer's at that moment; the rank of price is the market's at the start of that day.
    """
    bench.sql(
        """create or replace table acts as
        select e.* exclude (price, quantity), e.quantity,
               coalesce(e.price, o.product_price) as price,
               e.price * coalesce(e.quantity, 1) as amount,
               cast(m.product_price_rank as double) as price_rank,
               nullif(o.product_category, '') as category, nullif(o.product_brand, '') as brand,
               cast(isodow(make_timestamp(e.event_us)) >= 6 as double) as weekend,
               cast(hour(make_timestamp(e.event_us)) >= 18 as double) as evening
        from events e
        asof left join offers o on o.product_id = e.product_id and o.at_us <= e.event_us
        asof left join market m on m.product_id = e.product_id and m.at_us <= e.event_us"""
    )
    # An hour's own moment sees nothing of that hour; the midnight after an active day makes the day's acts visible to whoever asks later;
    # Mondays bring the silent what those they are tied to did.
    bench.add("_tied", bench.tables["ties"][["user_id"]].drop_duplicates().rename(columns={"user_id": "name"}))
    monday = bench.start_us // DAY_US // 7 * 7 + MONDAY
    bench.sql(
        f"""create or replace table moments as
        with active as (
            select user_id, (event_us - 1) // {HOUR_US} * {HOUR_US} as at_us from acts where user_id is not null
            union select user_id, (known_us // {DAY_US} + 1) * {DAY_US} from acts where user_id is not null
            union select u.user_id, day * {DAY_US} from _tied t join users u using (name),
                 range({monday}, {bench.as_of_us // DAY_US + 1}, 7) days(day))
        select user_id, at_us from active where at_us < {bench.as_of_us} union all select user_id, {bench.as_of_us} from users"""
    )
