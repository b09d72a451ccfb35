"""What a shopper's interests ask of a shelf: what is never shown, and how much of each category is wanted."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from feature_repo.declarations import SIGNALS, STATED
from feature_repo.online import Interests

Floats = NDArray[np.float32]
Index = NDArray[np.int32]

LIKE, DISLIKE = SIGNALS.index("like"), SIGNALS.index("dislike")
VETO = STATED
"""A disliked product counts less for its category and bars only itself."""


def vetoes(interests: Interests) -> tuple[set[str], set[str]]:
    """Categories and brands that the shopper said they dislike and did not say, as strongly, that they like."""
    found: dict[str, set[str]] = {"category": set(), "brand": set()}
    said = np.flatnonzero((interests.signals[:, DISLIKE] >= VETO) & (interests.signals[:, DISLIKE] > interests.signals[:, LIKE]))
    for row in said:
        kind, _, subject = interests.keys[row].partition(":")
        found[kind].add(subject)
    return found["category"], found["brand"]


def wanted_shares(interests: Interests, weights: Sequence[float] | Floats) -> dict[str, float]:
    """Category ("category:…") -> its share of the shopper's interest, what is wanted of a calibrated shelf; {} where nothing speaks for any.

    An interest is its signals times the profile's `weights` float32[8]; one at 0 or below has no share.
    """
    values = np.asarray(interests.signals @ np.asarray(weights, np.float32), np.float64)
    found = {key: float(value) for key, value in zip(interests.keys, values, strict=True) if value > 0 and key.startswith("category:")}
    total = sum(found.values())
    return {key: value / total for key, value in found.items()}


def wanted_of(category: Index, shares: Mapping[int, float]) -> Floats:
    """float32[m] from shares by category code."""
    found = np.zeros(len(category), np.float32)
    for code, share in shares.items():
        found[category == code] = share
    return found
