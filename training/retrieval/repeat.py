"""The user's own products by frequency and recency: bought again, and looked at but not bought."""

from dataclasses import dataclass

import numpy as np

from training.retrieval.contract import Floats, Index, Proposals, Query, best_of, decay


@dataclass(frozen=True)
class Repeat:
    """Needs no fitting. Half-lives in days, 0 for no decay."""

    count: int
    half_life: float
    view_half_life: float
    view_weight: float
    power: float

    def scores(self, query: Query) -> Floats:
        found = np.zeros(self.count, np.float32)
        found[query.items] = self._values(query)
        return found

    def best(self, query: Query, depth: int, barred: Index) -> Proposals:
        order = np.argsort(query.items, kind="stable")
        return best_of(query.items[order], self._values(query)[order], depth, barred)

    def _values(self, query: Query) -> Floats:
        """float32[h], in the order of the history, which has a product but once."""
        bought = query.purchases**self.power * decay(query.days_since_purchase, self.half_life)
        seen = self.view_weight * decay(query.days_since_view, self.view_half_life)
        # The last act breaks ties between equal counts; it never outweighs one.
        latest = np.minimum(query.days_since_purchase, query.days_since_view)
        tie = 1e-3 / (1.0 + np.where(np.isfinite(latest), np.maximum(latest, 0.0), 1e6))
        return np.asarray(bought + seen + tie * ((bought + seen) > 0), np.float32)
