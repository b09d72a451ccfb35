"""Labels and periods on a handful of events."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from training.errors import TrainingError
from training.labels import Periods, impression_labels, labels_of, purchase_labels, target_type
from training.settings import TrainingSettings

SETTINGS = TrainingSettings()


def events(*rows: tuple[str, str | None, str, str] | tuple[str, str | None, str, str, str]) -> pd.DataFrame:
    """Rows of type, user, product, time and perhaps request."""
    frame = pd.DataFrame([(*row, None)[:5] for row in rows], columns=["event_type", "user_id", "product_id", "event_time", "request_id"])
    return frame.assign(event_time=pd.to_datetime(frame["event_time"], utc=True))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_label_is_a_user_s_day_as_of_the_first_purchase() -> None:
    found = purchase_labels(
        events(
            ("purchase", "u1", "b", "2026-01-02T10:00"),
            ("purchase", "u1", "a", "2026-01-02T09:00"),
            ("purchase", "u1", "a", "2026-01-02T23:00"),
            ("purchase", "u1", "c", "2026-01-03T00:00"),
            ("purchase", "u2", "a", "2026-01-02T12:00"),
            ("purchase", None, "a", "2026-01-02T12:00"),
            ("view", "u1", "z", "2026-01-02T12:00"),
            ("purchase", "u1", "late", "2026-01-04T00:00"),
        ),
        "purchase",
        at("2026-01-02"),
        at("2026-01-04"),
    )
    assert found.user_ids == ("u1", "u2", "u1")
    assert found.at == (at("2026-01-02T09:00"), at("2026-01-02T12:00"), at("2026-01-03T00:00"))
    assert found.relevance == ({"a": 1.0, "b": 1.0}, {"a": 1.0}, {"c": 1.0})


def test_a_longer_horizon_takes_the_following_days() -> None:
    rows = events(
        ("purchase", "u1", "a", "2026-01-02T09:00"), ("purchase", "u1", "b", "2026-01-04T08:00"), ("purchase", "u1", "c", "2026-01-05T10:00")
    )
    found = purchase_labels(rows, "purchase", at("2026-01-02"), at("2026-01-10"), horizon_days=3)
    assert found.relevance == ({"a": 1.0, "b": 1.0}, {"b": 1.0, "c": 1.0}, {"c": 1.0})


def test_requests_and_their_answers() -> None:
    found = impression_labels(
        events(
            ("impression", "u1", "a", "2026-01-02T09:00", "r1"),
            ("impression", "u1", "b", "2026-01-02T09:00", "r1"),
            ("impression", "u1", "c", "2026-01-02T09:00", "r1"),
            ("impression", "u2", "a", "2026-01-02T09:00", "r2"),
            ("click", "u1", "b", "2026-01-02T09:01", "r1"),
            ("purchase", "u1", "b", "2026-01-02T09:30"),
            ("click", "u1", "c", "2026-01-02T09:02", "another"),
            ("click", "u1", "a", "2026-01-03T09:02", "r1"),
            ("click", "u2", "b", "2026-01-02T09:02", "r2"),
        ),
        at("2026-01-02"),
        at("2026-01-04"),
    )
    # The purchase is the strongest answer; another request's click, one a day later, and one on what was not shown don't count.
    assert found.user_ids == ("u1",)
    assert found.relevance == ({"b": 3.0},)
    assert set(found.shown[0]) == {"a", "b", "c"}


def test_periods_of_a_year_and_of_two_weeks() -> None:
    year = Periods.of(events(("view", "u", "a", "2025-01-01T05:00"), ("view", "u", "a", "2025-12-31T15:00")), SETTINGS)
    assert year.test == at("2025-12-01") and year.tune == at("2025-11-01")
    assert year.cuts == (at("2025-09-02"), at("2025-10-02"), at("2025-11-01"), at("2025-12-01"))
    weeks = Periods.of(events(("view", "u", "a", "2025-01-01T05:00"), ("view", "u", "a", "2025-01-15T15:00")), SETTINGS)
    assert weeks.test == at("2025-01-12")
    assert weeks.cuts[0] > at("2025-01-01") + timedelta(days=1)


def test_too_short_a_past_is_named() -> None:
    with pytest.raises(TrainingError, match="at least five"):
        Periods.of(events(("view", "u", "a", "2025-01-01T05:00"), ("view", "u", "a", "2025-01-02T15:00")), SETTINGS)


def test_what_a_shop_is_judged_by() -> None:
    views = [("view", "u", "a", f"2025-01-01T05:{minute:02}") for minute in range(30)]
    assert target_type(events(*views, ("purchase", "u", "a", "2025-01-01T05:00"))) == "view"
    assert target_type(events(("purchase", "u", "a", "2025-01-01T05:00"))) == "purchase"
    with pytest.raises(TrainingError, match="nothing to learn"):
        target_type(events(("purchase", None, "a", "2025-01-01T05:00")))


def test_no_label_before_the_test_period_looks_into_it() -> None:
    year = [("view", "u", "a", "2025-01-01T05:00"), ("view", "u", "a", "2025-12-31T15:00")]
    bought = [("purchase", "u", "early", "2025-11-30T10:00"), ("purchase", "u", "late", "2025-12-01T10:00")]
    shown = [("impression", "u", "x", "2025-11-30T23:00"), ("click", "u", "x", "2025-12-01T01:00")]
    rows = events(*year, *bought, *shown)
    periods = Periods.of(rows, SETTINGS)
    found = labels_of(rows, "purchase", periods, TrainingSettings(label_horizon_days=30))
    assert found.relevance == ({"early": 1.0}, {"late": 1.0})
