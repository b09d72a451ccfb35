"""The rules of a shelf that need no model."""

import numpy as np
import pytest

from feature_repo.declarations import SIGNALS
from feature_repo.online import History, Interests, UserRow
from serving.recommend import spread, vetoes

NOBODY = np.zeros(0)


def user(**signals_by_key: dict[str, float]) -> UserRow:
    keys = tuple(key.replace("_", ":", 1) for key in signals_by_key)
    signals = np.array([[row.get(signal, 0.0) for signal in SIGNALS] for row in signals_by_key.values()], np.float32).reshape(-1, len(SIGNALS))
    history = History((), NOBODY.astype(np.float32), NOBODY, NOBODY)
    return UserRow("u_1", NOBODY.astype(np.float32), {}, {}, Interests(keys, signals, np.zeros(len(keys))), history)


@pytest.mark.parametrize(
    ("signals", "barred"),
    [
        ({"dislike": 1.0}, True),
        ({"dislike": 1.0, "purchase": 9.0}, True),
        ({"dislike": 0.3}, False),  # what one disliked product counts for its category
        ({"dislike": 1.0, "like": 1.0}, False),
        ({"purchase": 1.0}, False),
    ],
)
def test_a_stated_dislike_bars_a_category_and_a_brand(signals: dict[str, float], barred: bool) -> None:
    assert vetoes(user(category_Games=signals, brand_Acme=signals)) == ((({"Games"}), {"Acme"}) if barred else (set(), set()))


A, B, NONE = ("A",), ("B",), ()


@pytest.mark.parametrize(
    ("categories", "n", "chosen"),
    [
        ([A, A, A, A, B, B], 4, [0, 1, 4, 5]),  # half the places for A, then the others
        ([A, A, A, A, B], 4, [0, 1, 4, 2]),  # not enough others: A fills the end
        ([A, B, A, B], 4, [0, 1, 2, 3]),
        ([A, A, A], 1, [0]),
        ([NONE] * 5, 4, [0, 1, 2, 3]),  # no category, no crowd
        ([A], 4, [0]),
        ([], 4, []),
    ],
)
def test_spread(categories: list[tuple[str, ...]], n: int, chosen: list[int]) -> None:
    assert spread(list(range(len(categories))), categories, n, share=0.5) == chosen
