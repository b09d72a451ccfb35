"""Measures against values worked out by hand."""

import math

import numpy as np
import pytest

from training.evaluate import Targets, evaluate, lower, measures, recall, table, upper


def test_measures_by_hand() -> None:
    # Hits at ranks 2 and 4 of three targets, cut-off 5.
    found = measures([9, 1, 8, 2, 7], frozenset({1, 2, 3}), k=5)
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert found["ndcg_5"] == pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / ideal)
    assert found["mrr_5"] == 0.5
    assert found["map_5"] == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert found["hr_5"] == 1.0


def test_perfect_and_empty_lists() -> None:
    assert measures([1, 2], frozenset({1, 2}), k=10)["ndcg_10"] == pytest.approx(1.0)
    assert set(measures([], frozenset({1}), k=10).values()) == {0.0}


def test_a_hit_below_the_cut_off_counts_nothing() -> None:
    assert measures([5, 6, 1], frozenset({1}), k=2)["hr_2"] == 0.0


def test_no_targets_is_an_error() -> None:
    with pytest.raises(ValueError, match="without targets"):
        measures([1], frozenset())


def test_repeat_and_new_targets_apart_and_recall() -> None:
    lists = [np.array([0, 1], np.int32), np.array([1, 2], np.int32)]
    targets = Targets(("a", "b"), (frozenset({0, 3}), frozenset({1})), (frozenset({0}), frozenset()))
    found = evaluate(lists, targets, k=2)
    assert found["repeat"]["users"] == 1 and found["repeat"]["mrr_2"] == 1.0
    assert found["new"]["users"] == 2 and found["new"]["hr_2"] == 0.5
    assert recall(lists, targets) == pytest.approx((0.5 + 1.0) / 2)


def test_table_names_every_method_and_leaves_out_empty_slices() -> None:
    targets = Targets(("a",), (frozenset({0}),), (frozenset(),))
    report = {"popularity": evaluate([np.array([0], np.int32)], targets), "ranker": evaluate([np.array([0], np.int32)], targets)}
    lines = "\n".join(table(report))
    assert lines.count("ranker") == 2 and "repeat targets (bought before by this customer), 0 users" in lines


def test_the_ends_of_an_interval_by_hand() -> None:
    gains = np.array([0.0, 0.2])  # standard deviation 0.1414, standard error 0.1
    assert upper(gains) == pytest.approx(0.1 + 1.645 * 0.1)
    assert lower(gains) == pytest.approx(0.1 - 1.645 * 0.1)
