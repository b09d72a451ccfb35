"""Who answered what they were shown: frames small enough to count by hand, and intervals against published figures."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from monitoring.engagement import NONE, difference, rates, showings, version, wilson
from tests.monitoring.synthetic import START, content_frame, decision_frame, events_frame


def event(kind: str, minutes: int, **more: object) -> dict[str, object]:
    given = {"event_type": kind, "event_time": START + timedelta(minutes=minutes), "user_id": "u_1", "product_id": "a", "request_id": "r1"}
    return given | {"channel": "site"} | more


def shown(*events: dict[str, object], decisions: pd.DataFrame | None = None, contents: pd.DataFrame | None = None) -> pd.DataFrame:
    return showings(
        events_frame(list(events)), decision_frame([]) if decisions is None else decisions, content_frame([]) if contents is None else contents
    )


def test_a_click_answers_the_showing_of_its_request_and_product_only() -> None:
    rows = shown(
        event("impression", 0),
        event("impression", 0, product_id="b"),
        event("impression", 0, request_id="r2"),
        event("click", 1),
        event("purchase", 5, product_id="b"),
    )
    found = {(row.request_id, row.product_id): (row.clicked, row.purchased) for row in rows.itertuples()}
    assert found == {("r1", "a"): (True, False), ("r1", "b"): (False, True), ("r2", "a"): (False, False)}


def test_answers_before_the_showing_or_without_a_request_do_not_count() -> None:
    rows = shown(event("click", 0), event("impression", 5), event("click", 9, request_id=None))
    assert not rows["clicked"].any()


def test_the_same_impression_twice_is_one_showing() -> None:
    assert len(shown(event("impression", 0), event("impression", 1))) == 1


def test_an_unsubscription_names_no_product_and_answers_the_whole_request() -> None:
    rows = shown(event("impression", 0), event("impression", 0, product_id="b"), event("unsubscribe", 3, product_id=None))
    assert rows["unsubscribed"].all()


def test_tone_is_what_the_event_says_was_shown_else_what_the_journal_says_was_written() -> None:
    decisions = decision_frame([{"request_id": "r1", "kind": "feed", "models": {"ranker": "7"}, "arm": "full"}])
    written = {"channel": "title", "tone": "warm", "aspects": ["value", "design"], "backend": "writer", "models": {"writer": "3"}}
    contents = content_frame([{"request_id": "r1", "product_id": product, **written} for product in ("a", "b")])
    rows = shown(
        event("impression", 0, context='{"tone": "expert"}'),
        event("impression", 0, product_id="b"),
        event("impression", 0, request_id="before"),
        decisions=decisions,
        contents=contents,
    ).set_index(["request_id", "product_id"])
    columns = ["tone", "aspect", "writer", "ranker", "backend", "arm", "channel"]
    assert list(rows.loc[("r1", "a"), columns]) == ["expert", "value", "3", "7", "writer", "full", "site"]
    assert rows.loc[("r1", "b"), "tone"] == "warm"
    assert list(rows.loc[("before", "a"), columns]) == [NONE] * 6 + ["site"]


def test_a_campaign_s_mails_count_as_shown_and_asked_for_copy_does_not() -> None:
    decisions = decision_frame([{"request_id": "m1", "kind": "email"}, {"request_id": "c1", "kind": "content"}])
    contents = content_frame([{"request_id": name, "product_id": "a", "user_id": "u_1", "channel": "email", "tone": "warm"} for name in ("m1", "c1")])
    rows = shown(event("click", 30, request_id="m1", channel="email"), decisions=decisions, contents=contents)
    assert list(rows["request_id"]) == ["m1"]
    assert rows["clicked"].all()
    assert list(rows["channel"]) == ["email"]


def test_nothing_shown_is_an_empty_frame_with_its_columns() -> None:
    rows = shown()
    assert rows.empty
    assert "clicked" in rows
    assert rates(rows, "clicked", "channel").empty


def test_rates_by_group() -> None:
    rows = pd.DataFrame({"channel": ["site"] * 4 + ["push"] * 2, "clicked": [True, False, False, False, True, True]})
    found = rates(rows, "clicked", "channel").set_index("group")
    assert list(found.loc["site", ["shown", "answered", "rate"]]) == [4, 1, 0.25]
    assert list(found.loc["push", ["shown", "answered", "rate"]]) == [2, 2, 1.0]
    assert rates(rows, "clicked")["rate"].iloc[0] == 0.5


def test_wilson_and_newcombe_intervals_are_the_published_ones() -> None:
    """Newcombe 1998 (two-part article in Statistics in Medicine 17): 81/263 on page 861, 56/70 - 48/80 on page 877."""
    lower, upper = wilson(np.array([81.0]), np.array([263.0]), 0.95)
    assert (round(lower[0], 4), round(upper[0], 4)) == (0.2553, 0.3662)
    assert difference((56, 70), (48, 80), 0.95) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_intervals_stay_inside_0_and_1() -> None:
    lower, upper = wilson(np.array([0.0, 10.0]), np.array([10.0, 10.0]), 0.99)
    assert lower[0] == 0
    assert upper[1] == 1
    assert 0 < upper[0] < 1


@pytest.mark.parametrize("models", [{"writer": "3"}, {"storyshelf-writer": {"version": 3}}, '{"writer": 3}'])
def test_a_model_s_version_is_found_however_it_is_written(models: object) -> None:
    assert version(models, "writer") == "3"


def test_no_version_is_none() -> None:
    assert version({}, "writer") is None
    assert version(None, "writer") is None
