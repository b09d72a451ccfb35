"""Products taken by those who took what this user took: cosine over users (Sarwar et al. 2001), strongest neighbours only."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from training.retrieval.contract import Acts, Floats, Index, Products, Proposals, Query, attention, best_sums, rows_of, summed

NEIGHBOURS = 100
"""Strongest neighbours kept per product."""
CHUNK = 1000


@dataclass(frozen=True)
class ItemToItem:
    """Sum of similarities to the history, weighted by recency."""

    similar: Any  # scipy csr float32[n, n]
    half_life: float
    view_weight: float
    own: float

    @classmethod
    def fit(cls, acts: Acts, products: Products, half_life: float, view_weight: float, own: float, shrink: float) -> "ItemToItem":
        """
        Args:
            half_life: days, 0 for no decay, of an act of the user's.
            own: similarity of a product to itself, for shops where people buy again.
            shrink: users that a product with few of them is damped by.
        """
        return cls(cosine(acts, len(products), shrink), half_life, view_weight, own)

    def scores(self, query: Query) -> Floats:
        return summed(*self._parts(query), self.similar.shape[0])

    def best(self, query: Query, depth: int, barred: Index) -> Proposals:
        return best_sums(*self._parts(query), self.similar.shape[0], depth, barred)

    def _parts(self, query: Query) -> tuple[Index, Floats]:
        """(product, what one product of the history speaks for it)."""
        weights = attention(query, self.half_life, self.view_weight)
        columns, values = rows_of(self.similar, query.items, weights)
        return np.r_[columns, query.items], np.r_[values, self.own * weights].astype(np.float32)

    def over(self, products: Products) -> "ItemToItem":
        return ItemToItem(grown(self.similar, len(products)), self.half_life, self.view_weight, self.own)

    def save(self, folder: Path) -> None:
        save_matrix(folder / "item_to_item.npz", self.similar, [self.half_life, self.view_weight, self.own])

    @classmethod
    def load(cls, folder: Path, products: Products) -> "ItemToItem":
        similar, about = load_matrix(folder / "item_to_item.npz")
        return cls(similar, *about).over(products)


def cosine(acts: Acts, count: int, shrink: float) -> Any:
    """Cosine of products over their users, damped for products with few users; each row keeps its NEIGHBOURS best: csr float32[count, count]."""
    matrix = takers(acts, count)
    # A user with many products says less about each pair of them (inverse user frequency, Breese et al. 1998).
    activity = np.asarray((matrix > 0).sum(axis=0)).ravel()
    matrix = (matrix @ sparse.diags((1.0 / np.sqrt(1.0 + activity)).astype(np.float32))).tocsr()
    square = np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel()
    users = np.asarray((matrix > 0).sum(axis=1)).ravel()
    norm = np.sqrt(square) * np.sqrt((users + shrink) / np.maximum(users, 1))
    scaled = sparse.diags((1.0 / np.where(norm > 0, norm, 1.0)).astype(np.float32)) @ matrix
    turned = scaled.T.tocsc()
    blocks = [strongest(scaled[start : start + CHUNK] @ turned, start) for start in range(0, count, CHUNK)]
    return sparse.vstack(blocks, format="csr", dtype=np.float32) if blocks else sparse.csr_matrix((0, 0), dtype=np.float32)


def takers(acts: Acts, count: int) -> Any:
    """csr float32[count, users]: the heaviest act of each user on each product."""
    known = acts.user >= 0
    user, item, weight = acts.user[known].astype(np.int64), acts.item[known].astype(np.int64), acts.weight[known]
    width = int(user.max()) + 1 if len(user) else 1
    code = item * width + user
    order = np.lexsort((weight, code))
    last = np.r_[code[order][1:] != code[order][:-1], True] if len(order) else np.zeros(0, bool)
    chosen = order[last]
    return sparse.csr_matrix((weight[chosen], (item[chosen], user[chosen])), shape=(count, width), dtype=np.float32)


def strongest(block: Any, start: int) -> Any:
    """The block of similarities with its diagonal taken out and only the best neighbours of each row."""
    block = block.tocsr()
    indices: list[NDArray[np.int32]] = []
    data: list[Floats] = []
    pointers = [0]
    for row in range(block.shape[0]):
        columns = block.indices[block.indptr[row] : block.indptr[row + 1]]
        values = block.data[block.indptr[row] : block.indptr[row + 1]]
        other = columns != start + row
        columns, values = columns[other], values[other]
        order = np.lexsort((columns, -values))[:NEIGHBOURS]
        indices.append(columns[order])
        data.append(values[order])
        pointers.append(pointers[-1] + len(order))
    return sparse.csr_matrix((np.concatenate(data), np.concatenate(indices), pointers), shape=block.shape)


def grown(matrix: Any, count: int) -> Any:
    """The same similarities among `count` products; those that came later have none."""
    return sparse.csr_matrix((matrix.data, matrix.indices, np.pad(matrix.indptr, (0, count - matrix.shape[0]), mode="edge")), shape=(count, count))


def save_matrix(file: Path, matrix: Any, about: list[float]) -> None:
    """A square sparse matrix and a few numbers beside it."""
    np.savez_compressed(file, data=matrix.data, indices=matrix.indices, indptr=matrix.indptr, about=np.array(about))


def load_matrix(file: Path) -> tuple[Any, list[float]]:
    """What `save_matrix` wrote."""
    with np.load(file, allow_pickle=False) as arrays:
        count = len(arrays["indptr"]) - 1
        return sparse.csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(count, count)), arrays["about"].tolist()
