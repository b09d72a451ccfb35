"""Products whose text is near the history's mean, or near the categories and brands that ties and preferences speak for."""

from dataclasses import dataclass

import numpy as np

from training.retrieval.contract import Floats, Index, Products, Proposals, Query, attention, top


@dataclass(frozen=True)
class Embedding:
    """Needs no fitting: the vectors come from the catalogue, so a new product is found at once."""

    vectors: Floats  # float32[n, d], rows of length 1 or 0
    centroids: Floats  # float32[n_keys, d]
    half_life: float
    view_weight: float

    @classmethod
    def of(cls, products: Products, keys: dict[str, int], half_life: float, view_weight: float) -> "Embedding":
        return cls(products.vectors, centroids(products, keys), half_life, view_weight)

    def scores(self, query: Query) -> Floats:
        told = np.flatnonzero(query.taste)
        wish = attention(query, self.half_life, self.view_weight) @ self.vectors[query.items] + query.taste[told] @ self.centroids[told]
        length = float(np.linalg.norm(wish))
        return np.zeros(len(self.vectors), np.float32) if length == 0 else np.asarray(self.vectors @ (wish / length), np.float32)

    def best(self, query: Query, depth: int, barred: Index) -> Proposals:
        return top(self.scores(query), depth, barred)


def centroids(products: Products, keys: dict[str, int]) -> Floats:
    """Mean vector of each key's products, scaled to length 1: float32[n_keys, d]."""
    sums = np.zeros((len(keys), products.vectors.shape[1]), np.float32)
    for names in (products.categories, products.brands):
        codes = np.array([keys.get(str(name), -1) for name in names], np.int64)
        np.add.at(sums, codes[codes >= 0], products.vectors[codes >= 0])
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.where(lengths > 0, lengths, 1), np.float32)
