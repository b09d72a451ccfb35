"""What everybody buys, carts and views lately: the same for every user."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from training.retrieval.contract import Acts, Floats, Index, Products, Proposals, Query


@dataclass(frozen=True)
class Popular:
    """Decayed weight of acts per product."""

    popularity: Floats  # float32[n], 0..1

    @classmethod
    def fit(cls, acts: Acts, products: Products, half_life: float) -> "Popular":
        """`half_life` in days, 0 for no decay; scaled so that the most popular has 1."""
        faded = np.exp2(-acts.age / half_life) if half_life else np.ones(len(acts.age))
        sums = np.bincount(acts.item, weights=acts.weight * faded, minlength=len(products))
        return cls(np.asarray(sums / max(float(sums.max(initial=0.0)), 1e-12), np.float32))

    def scores(self, query: Query) -> Floats:
        return self.popularity

    def best(self, query: Query, depth: int, barred: Index) -> Proposals:
        order = self.order[: min(depth + len(barred), self._proposed)]
        if len(barred):
            order = order[~np.isin(order, barred)]
        return order[:depth], self.popularity[order[:depth]]

    @cached_property
    def order(self) -> Index:
        """int32[n], the most popular first, equal ones in the order of products: the same for every user, so it is made once."""
        return np.argsort(-self.popularity, kind="stable").astype(np.int32)

    @cached_property
    def _proposed(self) -> int:
        return int((self.popularity > 0).sum())

    def over(self, products: Products) -> "Popular":
        return Popular(np.pad(self.popularity, (0, len(products) - len(self.popularity))))

    def save(self, folder: Path) -> None:
        np.savez_compressed(folder / "popular.npz", popularity=self.popularity)

    @classmethod
    def load(cls, folder: Path, products: Products) -> "Popular":
        with np.load(folder / "popular.npz", allow_pickle=False) as arrays:
            return cls(arrays["popularity"]).over(products)
