"""Products that the people a user is tied to chose: followed people and the other members of their groups (feature view `user_circle`).

Neighbours by trust in place of neighbours by likeness, as in Massa and Avesani 2007, "Trust-aware recommender systems"; what a person's choice counts
is said in `feature_repo/transforms/circle.py`.
"""

from dataclasses import dataclass

import numpy as np

from training.retrieval.contract import Floats, Index, Proposals, Query, best_of


@dataclass(frozen=True)
class Social:
    """Needs no fitting: circles are features, as of the moment that is asked about."""

    count: int
    agreement: float
    """Power of the number of people who took a product: above 0, several who agree count for more than the sum of them."""

    def scores(self, query: Query) -> Floats:
        found = np.zeros(self.count, np.float32)
        found[query.circle] = self._values(query)
        return found

    def best(self, query: Query, depth: int, barred: Index) -> Proposals:
        order = np.argsort(query.circle, kind="stable")
        return best_of(query.circle[order], self._values(query)[order], depth, barred)

    def _values(self, query: Query) -> Floats:
        """float32[c], in the order of the circle, which has a product but once."""
        return np.asarray(query.circle_weights * np.maximum(query.circle_people, 1) ** self.agreement, np.float32)
