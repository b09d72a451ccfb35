"""What hits don't tell, on a shop of four products and two users worked out by hand."""

import math

import numpy as np
import pytest

from training.evaluation.beyond_accuracy import SMOOTHING, beyond_accuracy, gini
from training.evaluation.past import Past
from training.retrieval.contract import Products

PRODUCTS = Products.of(list("abcd"), ["x", "x", "y", None], [None] * 4, np.zeros((4, 2), np.float32))


def past() -> Past:
    """Of four users three took a, one of them b as well, and one took c."""
    user, item = np.array([0, 1, 2, 2, 3]), np.array([0, 0, 0, 1, 2])
    return Past(PRODUCTS, np.array([3, 1, 1, 0]), 4, user, item, np.full(4, np.nan))


def test_measures_by_hand() -> None:
    lists = [np.array([0, 1], np.int32), np.array([0, 2], np.int32)]
    found = beyond_accuracy(lists, past(), [frozenset("ab"), frozenset("a")], k=2)
    assert found["coverage_2"] == 0.75
    assert found["gini_2"] == pytest.approx(gini(np.array([2, 1, 1, 0])))
    assert found["diversity_2"] == pytest.approx((1 / 2 + 2 / 2) / 2)
    assert found["novelty_2"] == pytest.approx((-math.log2(3 / 4) + 2) / 2)
    assert found["popularity_2"] == pytest.approx((3 / 4 + 1 / 4) / 2)
    own = ((3 / 4 + 1 / 4) / 2 + 3 / 4) / 2
    assert found["popularity_lift_2"] == pytest.approx(0.5 / own - 1)
    # The first list has the history's mix; the second half of y, which the history lacks.
    assert found["calibration_2"] == pytest.approx((0.0 + math.log(1 / ((1 - SMOOTHING) / 2 + SMOOTHING))) / 2)


def test_a_mix_that_lacks_the_history_s_category_costs_a_finite_amount() -> None:
    found = beyond_accuracy([np.array([2], np.int32)], past(), [frozenset("a")], k=1)
    assert found["calibration_1"] == pytest.approx(-math.log(SMOOTHING))


def test_gini_of_all_alike_and_of_only_one() -> None:
    assert gini(np.array([3, 3, 3, 3])) == pytest.approx(0.0)
    assert gini(np.array([0, 0, 0, 9])) == pytest.approx(3 / 4)
    assert gini(np.zeros(4, np.int64)) == 0.0


def test_no_lists_no_history_no_categories() -> None:
    assert set(beyond_accuracy([], past(), []).values()) == {0.0}
    empty = beyond_accuracy([np.empty(0, np.int32)], past(), [frozenset("a")])
    assert set(empty.values()) == {0.0}
    strangers = beyond_accuracy([np.array([0], np.int32)], past(), [frozenset()], k=1)
    assert strangers["popularity_1"] == 0.75 and strangers["popularity_lift_1"] == strangers["calibration_1"] == 0.0
