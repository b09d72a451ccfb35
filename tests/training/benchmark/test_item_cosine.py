"""The untuned cosine on a table small enough to count by hand."""

import numpy as np

from training.benchmark import item_cosine
from training.evaluation.past import Past
from training.evaluation.slices import OUT_OF_REACH
from training.retrieval.contract import Products


def test_cosines_by_hand_and_ties_count_against_the_target() -> None:
    products = Products.of(list("abcd"), [""] * 4, [""] * 4, np.zeros((4, 2), np.float32))
    user, item = np.array([0, 0, 1, 1, 2, 2, 2]), np.array([0, 1, 0, 1, 0, 2, 3])
    past = Past(products, np.bincount(item, minlength=4), 3, user, item, np.full(4, np.nan))
    # Who had a: b shares two of its two takers (2 / sqrt(3 * 2)), c and d one of one (1 / sqrt(3)), which is a tie of less.
    someone, had = np.array([0, 1, 2, 3]), np.array([0, 0, 0, 0])
    assert item_cosine.ranks(past, someone, had, someone, np.array([1, 2, 3, -1])).tolist() == [0, 2, 2, OUT_OF_REACH]
