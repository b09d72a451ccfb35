"""Measures of shelves on frames that can be counted by hand."""

import math

import pandas as pd
import pytest

from monitoring import shelves
from tests.monitoring.synthetic import START, content_frame, decision_frame, item_frame


def test_diversity_is_the_share_of_pairs_of_different_categories() -> None:
    assert shelves.list_diversity(pd.Series(["a", "a", "b"])) == pytest.approx(2 / 3)
    assert shelves.list_diversity(pd.Series(["a", "a"])) == 0
    assert shelves.list_diversity(pd.Series(["a", "b", "c"])) == 1
    assert math.isnan(shelves.list_diversity(pd.Series(["a"])))


def test_concentration_is_0_when_all_are_shown_alike_and_grows_with_the_share_of_few() -> None:
    assert shelves.concentration(pd.Series(["a", "b", "c", "d"]), 4) == pytest.approx(0)
    assert shelves.concentration(pd.Series(["a"] * 8), 4) == pytest.approx(0.75)  # one of n: 1 - 1/n
    assert shelves.concentration(pd.Series(["a", "a", "a", "b"]), 2) == pytest.approx(0.25)
    assert math.isnan(shelves.concentration(pd.Series([], dtype=object), 4))


def test_coverage_is_the_share_of_the_catalogue() -> None:
    assert shelves.coverage(pd.Series(["a", "b", "a"]), 8) == 0.25
    assert math.isnan(shelves.coverage(pd.Series(["a"]), 0))


def test_only_returned_items_count_as_shown() -> None:
    items = item_frame(
        [{"request_id": "r1", "product_id": "a", "rank": 1, "returned": True}, {"request_id": "r1", "product_id": "b", "returned": False}]
    )
    assert list(shelves.item_frame(decision_frame([{"request_id": "r1"}]), items)["product_id"]) == ["a"]


def test_measures_of_two_decisions() -> None:
    decisions = decision_frame(
        [
            {"request_id": "r1", "kind": "feed", "degraded": [], "latency_ms": 10.0},
            {"request_id": "r2", "kind": "recommendations", "degraded": ["popular"], "latency_ms": 30.0},
            {"request_id": "r3", "kind": "content", "degraded": [], "latency_ms": 20.0},
        ]
    )
    items = item_frame(
        [
            {"request_id": "r1", "product_id": "a", "returned": True, "category": "x", "price": 10.0, "score": 1.0},
            {"request_id": "r1", "product_id": "b", "returned": True, "category": "y", "price": 20.0, "score": 3.0},
        ]
    )
    contents = content_frame([{"request_id": "r3", "backend": "template"}, {"request_id": "r3", "backend": "writer"}])
    answers = shelves.decision_frame(decisions, items, contents)
    found = shelves.measures(shelves.item_frame(decisions, items), answers, catalogue=4)
    assert found["degraded"] == pytest.approx(1 / 3)
    assert found["empty"] == 0.5  # of the two that should have a shelf
    assert (found["coverage"], found["diversity"], found["price"], found["score"], found["categories"]) == (0.5, 1, 15, 2, 2)
    assert (found["template"], found["latency"], found["length"]) == (0.5, 20, 1)
    assert list(answers["fallback"]) == ["(none)", "popular", "(none)"]


def test_features_are_the_scalars_of_an_object() -> None:
    values = pd.Series([{"a": 1, "b": [1, 2], "c": "x", "d": None}, {"a": True, "c": None}, {}])
    frame = shelves.features_of(values)
    assert list(frame.columns) == ["a", "c", "d"]
    assert frame["a"].tolist()[:2] == [1.0, 1.0]
    assert frame["d"].isna().all()
    assert frame.isna().loc[2].all()


def test_a_user_counts_once_per_window_with_their_last_row() -> None:
    decisions = decision_frame(
        [
            {"request_id": "r1", "user_id": "u_1", "at": START, "user_features": {"x": 1}},
            {"request_id": "r2", "user_id": "u_1", "at": START + pd.Timedelta(hours=3), "user_features": {"x": 2}},
            {"request_id": "r3", "user_id": "u_1", "at": START + pd.Timedelta(hours=25), "user_features": {"x": 3}},
        ]
    )
    assert shelves.user_frame(decisions, 24)["x"].tolist() == [2, 3]
