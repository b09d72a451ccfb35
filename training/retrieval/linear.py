"""A linear autoencoder of what users took: each product as a weighted sum of the others, in closed form (Steck 2019, EASE, arXiv 1905.03375)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import linalg, sparse

from training import threads
from training.retrieval.contract import Acts, Floats, Index, Products, Proposals, Query, attention, best_sums, rows_of, summed
from training.retrieval.item_to_item import grown, load_matrix, save_matrix

MOST = 12_500
"""Products it covers, the most taken first: memory grows with their square (one matrix of 625 MB here), time with their cube."""
AT_ONCE = 500
"""Rows of the inverse that are made into weights together."""
KEPT = 200
"""Strongest weights kept per product."""


@dataclass(frozen=True)
class Linear:
    """Sum of weights from the history, weighted by recency and place."""

    weights: Any  # scipy csr float32[n, n], row: what was taken, column: what it speaks for
    half_life: float
    view_weight: float
    step: float

    @classmethod
    def fit(cls, acts: Acts, products: Products, half_life: float, view_weight: float, step: float, penalty: float) -> "Linear":
        """`penalty`: L2 weight of the ridge regression."""
        n, known = len(products), acts.user >= 0
        taken = np.bincount(acts.item[known], minlength=n)
        covered = np.sort(np.argsort(-taken, kind="stable")[: min(MOST, int((taken > 0).sum()))])
        if not len(covered):
            return cls(sparse.csr_matrix((n, n), dtype=np.float32), half_life, view_weight, step)
        place = np.full(n, -1)
        place[covered] = np.arange(len(covered))
        inside = known & (place[acts.item] >= 0)
        matrix = sparse.csr_matrix((np.ones(int(inside.sum()), np.float32), (acts.user[inside], place[acts.item[inside]])))
        matrix.data[:] = 1.0
        gram = (matrix.T @ matrix).toarray(order="F")  # LAPACK's order: it works in place
        gram[np.diag_indices(len(gram))] += penalty
        with threads.every():
            lower, _ = linalg.lapack.spotrf(gram, lower=1, overwrite_a=1)
            inverse, _ = linalg.lapack.spotri(lower, lower=1, overwrite_c=1)
        return cls(_strongest(inverse, covered, n), half_life, view_weight, step)

    def scores(self, query: Query) -> Floats:
        return summed(*self._parts(query), self.weights.shape[0])

    def best(self, query: Query, depth: int, barred: Index) -> Proposals:
        return best_sums(*self._parts(query), self.weights.shape[0], depth, barred)

    def _parts(self, query: Query) -> tuple[Index, Floats]:
        """(product, what one product of the history speaks for it)."""
        return rows_of(self.weights, query.items, attention(query, self.half_life, self.view_weight, self.step))

    def over(self, products: Products) -> "Linear":
        return Linear(grown(self.weights, len(products)), self.half_life, self.view_weight, self.step)

    def save(self, folder: Path) -> None:
        save_matrix(folder / "linear.npz", self.weights, [self.half_life, self.view_weight, self.step])

    @classmethod
    def load(cls, folder: Path, products: Products) -> "Linear":
        weights, about = load_matrix(folder / "linear.npz")
        return cls(weights, *about).over(products)


def _strongest(inverse: Floats, covered: Any, n: int) -> Any:
    """The strongest weights of each row, in the numbering of all products. Of `inverse` only the lower triangle is filled in."""
    size, kept = len(inverse), min(KEPT, len(inverse))
    diagonal = np.diag(inverse)
    columns, values = np.empty((size, kept), np.int64), np.empty((size, kept), np.float32)
    for start in range(0, size, AT_ONCE):
        rows = slice(start, min(start + AT_ONCE, size))
        some = np.empty((rows.stop - start, size), np.float32)
        some[:, :start] = inverse[rows, :start]
        square = np.tril(inverse[rows, rows])
        some[:, rows] = square + np.tril(square, -1).T
        some[:, rows.stop :] = inverse[rows.stop :, rows].T
        some /= -diagonal
        some[np.arange(len(some)), np.arange(start, rows.stop)] = 0.0
        best = np.argpartition(-np.abs(some), kept - 1, axis=1)[:, :kept]
        columns[rows], values[rows] = covered[best], np.take_along_axis(some, best, axis=1)
    return sparse.csr_matrix((values.ravel(), (np.repeat(covered, kept), columns.ravel())), shape=(n, n), dtype=np.float32)
