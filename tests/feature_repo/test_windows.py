"""The executor against a plain recomputation from the events known at a moment."""

from datetime import UTC, datetime, timedelta

import duckdb
import ibis
import numpy as np
import pandas as pd
import pytest

from feature_repo.windows import Declared, Ratio, Windowed, execute

DAY = timedelta(days=1)
START = datetime(2026, 3, 1, tzinfo=UTC)
_US = 1_000_000


def _declared() -> tuple[Declared, ...]:
    def one(name: str, types: tuple[str, ...], measure: str, window: timedelta | None, **more: object) -> Windowed:
        return Windowed(name, "user_id", types, measure, window, name, **more)  # type: ignore[arg-type]

    return (
        one("views_1d", ("view",), "count", DAY, bucket="hour"),
        one("views_3d", ("view",), "count", 3 * DAY),
        one("warm_3d", ("view",), "count", 3 * DAY, where=("tone", "warm")),
        one("spend_7d", ("buy",), "sum", 7 * DAY, column="amount"),
        one("price_3d", ("view", "buy"), "mean", 3 * DAY, column="amount"),
        one("ever", ("buy",), "count", None),
        one("days_3d", ("view", "buy"), "days", 3 * DAY),
        one("kinds_3d", ("view",), "distinct", 3 * DAY, column="kind"),
        one("last", ("buy",), "last", None),
        one("first", ("buy",), "first", None),
        Ratio("per_view", "warm_3d", "views_3d", "share"),
    )


def _run(events: pd.DataFrame, declared: tuple[Declared, ...], until: datetime) -> pd.DataFrame:
    backend = ibis.duckdb.from_connection(duckdb.connect())
    backend.raw_sql("set timezone='UTC'")
    backend.con.register("_rows", events)
    backend.raw_sql("create table events as select * from _rows")
    found = execute(backend.table("events"), declared, until).to_pandas()
    backend.con.close()
    return found.sort_values(["user_id", "event_timestamp"]).reset_index(drop=True)


def _events(rows: list[tuple[int, str, datetime, datetime, float, str, str]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["user_id", "event_type", "event_time", "arrived_at", "amount", "tone", "kind"])
    for column, source in (("event_us", ["event_time"]), ("known_us", ["event_time", "arrived_at"])):
        frame[column] = [int(moment.timestamp() * _US) for moment in frame[source].max(axis=1)]
    return frame


def _random(seed: int, count: int = 400) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        at = START + timedelta(seconds=int(random.integers(0, 20 * 86_400)))
        # A third of the events arrive late, some of them after their window is over; some share a moment exactly.
        late = timedelta(seconds=int(random.choice([0, 0, 3_600, 2 * 86_400, 9 * 86_400])))
        if random.random() < 0.2:
            at = at.replace(minute=0, second=0)
        rows.append(
            (
                int(random.integers(0, 6)), str(random.choice(["view", "buy"])), at, at + late, float(np.round(random.random() * 100, 4)),
                str(random.choice(["warm", "plain"])), str(random.choice(list("abc"))),
            )
        )  # fmt: skip
    return _events(rows)


def _by_hand(events: pd.DataFrame, user: int, t: datetime) -> dict[str, float]:
    """Values at `t` from the events known by then, each window as whole buckets plus the current one."""
    now = int(t.timestamp() * _US)
    mine = events[(events["user_id"] == user) & (events["known_us"] <= now)]
    day, hour = 86_400 * _US, 3_600 * _US

    def within(days: int, bucket: int = day) -> pd.DataFrame:
        return mine[mine["event_us"] // bucket * bucket >= now // bucket * bucket - days * day]

    views3, any3, buys = within(3)[within(3)["event_type"] == "view"], within(3), mine[mine["event_type"] == "buy"]
    warm = (views3["tone"] == "warm").sum()
    week = within(7)
    return {
        "views_1d": (within(1, hour)["event_type"] == "view").sum(),
        "views_3d": len(views3),
        "warm_3d": warm,
        "spend_7d": week.loc[week["event_type"] == "buy", "amount"].sum(),
        "price_3d": any3["amount"].mean() if len(any3) else np.nan,
        "ever": len(buys),
        "days_3d": (any3["event_us"] // day).nunique(),
        "kinds_3d": views3["kind"].nunique(),
        "last": buys["event_us"].max() / _US if len(buys) else np.nan,
        "first": buys["event_us"].min() / _US if len(buys) else np.nan,
        "per_view": warm / len(views3) if len(views3) else np.nan,
    }


@pytest.mark.parametrize("seed", [1, 2])
def test_values_at_random_moments_are_those_recomputed_from_what_was_known(seed: int) -> None:
    events, random = _random(seed), np.random.default_rng(seed)
    found = _run(events, _declared(), START + 60 * DAY)
    assert not found.duplicated(["user_id", "event_timestamp"]).any()
    moments = [START + timedelta(seconds=int(s)) for s in random.integers(0, 40 * 86_400, 20)]
    moments += [START + n * DAY for n in range(0, 30, 3)]  # on the edges of buckets
    for t in moments:
        for user in range(6):
            rows = found[(found["user_id"] == user) & (found["event_timestamp"] <= t)]
            expected = _by_hand(events, user, t)
            if rows.empty:
                assert expected["ever"] == 0
                assert expected["views_3d"] == 0
                continue
            row = rows.iloc[-1]
            for name, value in expected.items():
                assert row[name] == pytest.approx(value, nan_ok=True), (name, user, t)


def test_a_window_that_empties_is_exactly_zero() -> None:
    events = _events([(0, "buy", START, START, 0.1, "", ""), (0, "buy", START + DAY, START + DAY, 0.2, "", "")])
    found = _run(events, _declared(), START + 60 * DAY)
    assert found["spend_7d"].iloc[-1] == 0.0
    assert found["spend_7d"].max() == pytest.approx(0.3)


def test_an_event_that_arrives_after_its_window_never_counts_in_it() -> None:
    events = _events([(0, "view", START, START + 9 * DAY, 1.0, "warm", "a")])
    found = _run(events, _declared(), START + 60 * DAY)
    assert found["views_3d"].tolist() == [0.0]
    assert found["event_timestamp"].iloc[0] == pd.Timestamp(START + 9 * DAY)


def test_events_of_one_moment_make_one_row() -> None:
    events = _events([(0, "view", START, START, 1.0, "", "a"), (0, "view", START, START, 1.0, "", "b")])
    found = _run(events, _declared(), START + timedelta(hours=1))
    assert len(found) == 1
    assert (found["views_3d"].iloc[0], found["kinds_3d"].iloc[0]) == (2, 2)


def test_rows_without_the_entity_are_left_out() -> None:
    events = _events([(0, "view", START, START, 1.0, "", "a"), (1, "view", START, START, 1.0, "", "a")])
    events["user_id"] = events["user_id"].astype("Int64").mask(events["user_id"] == 1)
    assert _run(events, _declared(), START + DAY)["user_id"].tolist() == [0]


def test_expiries_after_until_are_not_written() -> None:
    events = _events([(0, "view", START, START, 1.0, "", "a")])
    assert len(_run(events, _declared(), START + 2 * DAY)) == 2  # the event, and its leaving the hours' day
    assert len(_run(events, _declared(), START + 30 * DAY)) == 3
