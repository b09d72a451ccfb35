"""Arrays of a user at moments: interests with one decayed sum per signal, and the products acted on.

A moment is the start of a UTC hour in which the user acts (or is shown something), the midnight after, for people with ties every Monday, and
the moment of the build. An event counts from the first moment after it was known. Between two moments sums decay on (`affinity.decayed`).
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.declarations import HALF_LIFE, HISTORY_SIZE, INTEREST_SIZE, MOST_BY_PRODUCTS, PRODUCT_PREFERENCE, SIGNAL_STRENGTH
from feature_repo.events import SIGNALS
from feature_repo.workbench import DAY_US, US, Workbench

Array = NDArray[Any]


def interests(bench: Workbench) -> pa.Table:
    """user_interest: user_id (code), at_us, interest_keys, interest_signals, interest_last_at, interest_at."""
    moments = _moments(bench)
    own = _own_states(bench)
    row, moment = at_moments(own["user_id"], own["at_us"], own["key"], moments)
    half = HALF_LIFE.total_seconds() * US
    fade = 2.0 ** (-(moments["at_us"][moment] - bench.start_us) / half)
    columns = [*(own[name][row] * fade for name in SIGNALS[:4]), None, None, *(own[name][row] for name in SIGNALS[6:])]
    social = bench.arrays(
        f"""select m.n, s.key, s.follow, s.member from (select row_number() over (order by user_id, at_us) - 1 as n, * from moments) m
        join social_keys s on s.user_id = m.user_id and s.day = m.at_us // {DAY_US} order by 1, 2"""
    )
    social_moment, social_key = np.asarray(social["n"], np.int64), np.asarray(social["key"], np.int64)
    # Own and tied interests of one moment meet in one row: same code, same place.
    codes = np.concatenate([moment * 2**24 + own["key"][row], social_moment * 2**24 + social_key])
    places, where = np.unique(codes, return_inverse=True)
    mine, theirs = where[: len(row)], where[len(row) :]
    signals = np.zeros((len(places), 8), np.float32)
    for n, column in enumerate(columns):
        if column is not None:
            signals[mine, n] = column
    signals[theirs, 4], signals[theirs, 5] = np.asarray(social["follow"]), np.asarray(social["member"])
    last_at = np.zeros(len(places))
    last_at[mine] = own["last_us"][row] / US
    of, key = places >> 24, places & (2**24 - 1)
    strength = np.abs(signals) @ np.asarray(SIGNAL_STRENGTH, np.float32)
    stated = signals[:, 6:].any(axis=1)  # what was said is kept whatever was done: a dislike is a veto
    order = np.argsort(of * 2**32 + (2**32 - 1 - np.minimum((strength + 1e4 * stated) * 1e4, 2.0**32 - 1).astype(np.int64)), kind="stable")
    order = order[(place_in(of[order]) < INTEREST_SIZE) & (strength[order] > 1e-6)]
    offsets = np.searchsorted(of[order], np.arange(len(moments["at_us"]) + 1)).astype(np.int32)
    names = pa.array(bench.frame("select name from keys order by key")["name"].astype(str), pa.string())
    flat = pa.array(signals[order].ravel(), pa.float32())
    return pa.table(
        {
            "user_id": moments["user_id"],
            "at_us": moments["at_us"],
            "interest_keys": lists(offsets, names.take(pa.array(key[order]))),
            "interest_signals": lists(offsets * 8, flat),
            "interest_last_at": lists(offsets, pa.array(last_at[order], pa.float64())),
            "interest_at": pa.array(moments["at_us"] / US, pa.float64()),
        }
    )


def history(bench: Workbench) -> pa.Table:
    """user_history: user_id (code), at_us, history_products, history_purchases, history_last_purchase_at, history_last_view_at.

    In a shop that tells of no purchase, a review says that its product was had and counts as one.
    """
    moments = _moments(bench)
    bought = "purchase" if bench.arrays("select count(*) as n from acts where event_type = 'purchase'")["n"][0] else "review"
    states = bench.arrays(
        f"""with steps as (
            select user_id, product_id as key, {_visible(bench)} as at_us,
                   sum(cast(event_type = '{bought}' as int)) as bought,
                   max(event_us) filter (event_type = '{bought}') as purchase_us, max(event_us) filter (event_type <> '{bought}') as view_us,
                   max(place) as place
            from acts where user_id is not null and product_id is not null and event_type in ('view', 'click', 'cart', '{bought}')
            group by all)
        select user_id, key, at_us, sum(bought) over w as bought, coalesce(max(purchase_us) over w, 0) as purchase_us,
               coalesce(max(view_us) over w, 0) as view_us, max(place) over w as place
        from steps window w as (partition by user_id, key order by at_us rows unbounded preceding) order by user_id, key, at_us"""
    )
    found = {name: np.ma.getdata(values) for name, values in states.items()}
    row, moment = at_moments(found["user_id"], found["at_us"], found["key"], moments)
    # One sort by one number: moment, then the latest act first. Acts of one moment are told apart by their sequence.
    order = np.argsort(moment * 2**32 - found["place"][row].astype(np.int64), kind="stable")
    order = order[place_in(moment[order]) < HISTORY_SIZE]
    row, moment = row[order], moment[order]
    offsets = np.searchsorted(moment, np.arange(len(moments["at_us"]) + 1)).astype(np.int32)
    names = pa.array(bench.frame("select name from items order by product_id")["name"].astype(str), pa.string())
    return pa.table(
        {
            "user_id": moments["user_id"],
            "at_us": moments["at_us"],
            "history_products": lists(offsets, names.take(pa.array(found["key"][row]))),
            "history_purchases": lists(offsets, pa.array(found["bought"][row].astype(np.float32))),
            "history_last_purchase_at": lists(offsets, pa.array(found["purchase_us"][row] / US)),
            "history_last_view_at": lists(offsets, pa.array(found["view_us"][row] / US)),
        }
    )


def at_moments(user: Array, at: Array, key: Array, moments: dict[str, Array]) -> tuple[Array, Array]:
    """Which state of each (user, key) holds at each moment of the user: pairs (row of the states, moment).

    States must be in order of user, key, at; moments in order of user, at. A state holds from `at_us` until the next one of its key.
    """
    # Times as places among all times: user x times then stays far below 2**63, which user x microseconds does not.
    times = np.unique(np.concatenate([at, moments["at_us"]]))
    wide = np.int64(len(times) + 1)
    of_moment = moments["user_id"].astype(np.int64) * wide + np.searchsorted(times, moments["at_us"])
    first = np.searchsorted(of_moment, user.astype(np.int64) * wide + np.searchsorted(times, at), side="left")
    end_of_user = np.searchsorted(of_moment, (user.astype(np.int64) + 1) * wide, side="left")
    follows = np.r_[(user[1:] == user[:-1]) & (key[1:] == key[:-1]), False] if len(user) else np.zeros(0, bool)
    last = np.where(follows, np.r_[first[1:], 0], end_of_user) if len(user) else end_of_user
    count = np.maximum(last - first, 0)
    row = np.repeat(np.arange(len(user)), count)
    within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    return row, np.repeat(first, count) + within


def _moments(bench: Workbench) -> dict[str, Array]:
    found = bench.arrays("select user_id, at_us from moments order by user_id, at_us")
    return {name: np.asarray(values) for name, values in found.items()}


def _visible(bench: Workbench) -> str:
    """When a moment may see an event: the start of the hour after it was known (the hour's own moment must not), or the build."""
    hour = 3_600 * US
    return f"case when known_us <= {bench.as_of_us} then least((known_us + {hour - 1}) // {hour} * {hour}, {bench.as_of_us}) else known_us end"


def _own_states(bench: Workbench) -> dict[str, Array]:
    """Running sums per user and interest, in order of user, key, at. Behaviour is scaled to the build's start so that sums can run."""
    half = HALF_LIFE.total_seconds() * US
    found = bench.arrays(
        f"""with long as (
            select user_id, 'category:' || category as name, event_type, rating, {_visible(bench)} as at_us, event_us from acts
            where user_id is not null and category is not null and event_type in ('view', 'click', 'cart', 'purchase', 'review')
            union all select user_id, 'brand:' || brand, event_type, rating, {_visible(bench)}, event_us from acts
            where user_id is not null and brand is not null and event_type in ('view', 'click', 'cart', 'purchase', 'review')),
        scaled as (select *, pow(2.0, (at_us - {bench.start_us}) / {half}) as scale from long),
        steps as (
            select user_id, key, at_us, sum(scale) filter (event_type in ('view', 'click')) as view, sum(scale) filter (event_type = 'cart') as cart,
                   sum(scale) filter (event_type = 'purchase') as purchase,
                   sum(scale * coalesce((rating - 3) / 2, 0.5)) filter (event_type = 'review') as review,
                   0.0 as liked, 0.0 as disliked, max(event_us) as last_us
            from scaled join keys using (name) group by all
            union all select user_id, key, at_us, 0, 0, 0, 0, liked, disliked, 0 from _stated),
        merged as (
            select user_id, key, at_us, sum(view) as view, sum(cart) as cart, sum(purchase) as purchase, sum(review) as review,
                   sum(liked) as liked, sum(disliked) as disliked, max(last_us) as last_us from steps group by all)
        select user_id, key, at_us, coalesce(sum(view) over w, 0) as view, coalesce(sum(cart) over w, 0) as cart,
               coalesce(sum(purchase) over w, 0) as purchase, coalesce(sum(review) over w, 0) as review,
               sum(liked) over w as "like", sum(disliked) over w as dislike, max(last_us) over w as last_us
        from merged window w as (partition by user_id, key order by at_us rows unbounded preceding) order by user_id, key, at_us"""
    )
    return {name: np.ma.getdata(values) for name, values in found.items()}


def stated(bench: Workbench) -> None:
    """Make table `_stated`: likes and dislikes per user and interest.

    A product counts for its category and its brand, with less weight, and however many of them do not count as much as the category or brand itself.

    The latest statement on a subject holds: it takes an opposite one back, and saying it again adds nothing. Of two at one moment the dislike holds.
    """
    bench.sql(
        f"""create or replace table _stated as
        with latest as (
            select i.name, arg_max(product_category, at_us) as category, arg_max(product_brand, at_us) as brand
            from offers join items i using (product_id) group by 1),
        said as (
            select *, lag(sentiment) over (partition by user_id, subject_kind, subject order by at_us, sentiment desc) as before from _preferences),
        changes as (
            select user_id, subject_kind, subject, at_us, sentiment, 1.0 as sign from said where before is distinct from sentiment
            union all select user_id, subject_kind, subject, at_us, before, -1.0 from said where before is not null and before <> sentiment),
        subjects as (
            select p.user_id, p.sentiment, p.at_us, p.subject_kind || ':' || p.subject as name, sign as weight, true as itself
            from changes p where p.subject_kind in ('category', 'brand')
            union all select p.user_id, p.sentiment, p.at_us, 'category:' || l.category, sign * {PRODUCT_PREFERENCE}, false
            from changes p join latest l on l.name = p.subject where p.subject_kind = 'product' and l.category <> ''
            union all select p.user_id, p.sentiment, p.at_us, 'brand:' || l.brand, sign * {PRODUCT_PREFERENCE}, false
            from changes p join latest l on l.name = p.subject where p.subject_kind = 'product' and l.brand <> ''),
        steps as (select user_id, key, sentiment, itself, at_us, sum(weight) as weight from subjects join keys using (name) group by all),
        running as (
            select *, sum(weight) over (partition by user_id, key, sentiment, itself order by at_us rows unbounded preceding) as total from steps),
        capped as (select *, case when itself then total else least(total, {MOST_BY_PRODUCTS}) end as counted from running),
        deltas as (
            select user_id, key, sentiment, at_us,
                   counted - coalesce(lag(counted) over (partition by user_id, key, sentiment, itself order by at_us), 0) as weight
            from capped)
        select user_id, key, at_us, coalesce(sum(weight) filter (sentiment = 'like'), 0) as liked,
               coalesce(sum(weight) filter (sentiment = 'dislike'), 0) as disliked
        from deltas group by all"""
    )


def preferences(bench: Workbench) -> None:
    """Make table `_preferences`: stated preferences with codes of users and `at_us`; undated ones count from a day before the first event."""
    rows = bench.tables["preferences"]
    at = rows["since"].dt.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64)
    frame = rows.assign(at_us=np.where(rows["since"].isna(), bench.start_us, at)).drop(columns="since")
    bench.add("_stated_rows", frame.rename(columns={"user_id": "name"}))
    bench.sql(
        """create or replace table _preferences as
        select u.user_id, r.sentiment, r.subject_kind, r.subject, r.at_us from _stated_rows r join users u on u.name = r.name"""
    )


def preference_counts(bench: Workbench) -> None:
    """Make table `preference_counts` (user_preferences): one row per user and change, from their registration on."""
    users = bench.tables["users"]
    at = users["created_at"].dt.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64)
    people = users.assign(at_us=np.where(users["created_at"].isna(), bench.start_us, at)).rename(columns={"user_id": "name"})
    bench.add("_people", people[["name", "at_us", "country", "language"]].assign(created=people["created_at"].notna()))
    counted = ", ".join(
        f"sum(cast(sentiment = '{sentiment}' and subject_kind = '{kind}' as int)) as {sentiment}_{kind}"
        for sentiment in ("like", "dislike")
        for kind in ("category", "brand")
    )
    bench.sql(
        f"""create or replace table preference_counts as
        with steps as (
            select user_id, at_us, sum(cast(sentiment = 'like' as int)) as likes, sum(cast(sentiment = 'dislike' as int)) as dislikes, {counted}
            from _preferences group by all
            union all select u.user_id, least(p.at_us, {bench.start_us}), 0, 0, 0, 0, 0, 0 from _people p join users u on u.name = p.name),
        merged as (select user_id, at_us, sum(likes) as likes, sum(dislikes) as dislikes, sum(like_category) as lc, sum(dislike_category) as dc,
                   sum(like_brand) as lb, sum(dislike_brand) as db from steps group by all),
        running as (select user_id, at_us, sum(likes) over w as likes, sum(dislikes) over w as dislikes, sum(lc) over w as lc, sum(dc) over w as dc,
                    sum(lb) over w as lb, sum(db) over w as db
                    from merged window w as (partition by user_id order by at_us rows unbounded preceding))
        select r.user_id, r.at_us, likes::float as user_likes, dislikes::float as user_dislikes, lc::float as user_liked_categories,
               dc::float as user_disliked_categories, lb::float as user_liked_brands, db::float as user_disliked_brands,
               ((likes - dislikes) / nullif(likes + dislikes, 0))::float as user_preference_balance,
               case when p.created and p.at_us <= {bench.as_of_us} then p.at_us / {US}.0 end as user_created_at,
               p.language as user_language, p.country as user_country
        from running r join users u using (user_id) left join _people p on p.name = u.name"""
    )


def place_in(groups: Array) -> Array:
    """Place of each element within its run of equal neighbours, from 0."""
    if not len(groups):
        return np.zeros(0, np.int64)
    starts = np.flatnonzero(np.r_[True, np.diff(groups) != 0])
    return np.arange(len(groups)) - np.repeat(starts, np.diff(np.r_[starts, len(groups)]))


def lists(offsets: Array, values: pa.Array) -> pa.Array:
    """Rows of lists from their values one after the other; row n is from offsets[n] to offsets[n + 1]."""
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values)
