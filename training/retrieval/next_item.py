"""What people took soon after what this user took: sequential rules (Ludewig and Jannach 2018, arXiv 1803.09587), with a factor per place between."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from training.retrieval.contract import Acts, Floats, Index, Products, Proposals, Query, attention, best_sums, rows_of, summed
from training.retrieval.item_to_item import CHUNK, grown, load_matrix, save_matrix, strongest, takers

WINDOW = 20
"""Places between two acts beyond which one no longer counts as following the other."""


@dataclass(frozen=True)
class NextItem:
    """Sum of rules from the history, the latest act first."""

    rules: Any  # scipy csr float32[n, n], row: what was taken, column: what followed
    half_life: float
    view_weight: float
    step: float

    @classmethod
    def fit(cls, acts: Acts, products: Products, half_life: float, view_weight: float, step: float, back: float, shrink: float) -> "NextItem":
        """
        Args:
            half_life: days, 0 for no decay, of an act of the user's.
            step: factor per place back in the history, and per place between two acts of one user.
            back: what a product taken before counts beside one taken after.
            shrink: users that a product with few of them is damped by.
        """
        return cls(rules(acts, len(products), step, back, shrink), half_life, view_weight, step)

    def scores(self, query: Query) -> Floats:
        return summed(*self._parts(query), self.rules.shape[0])

    def best(self, query: Query, depth: int, barred: Index) -> Proposals:
        return best_sums(*self._parts(query), self.rules.shape[0], depth, barred)

    def _parts(self, query: Query) -> tuple[Index, Floats]:
        """(product, what one product of the history speaks for it)."""
        return rows_of(self.rules, query.items, attention(query, self.half_life, self.view_weight, self.step))

    def over(self, products: Products) -> "NextItem":
        return NextItem(grown(self.rules, len(products)), self.half_life, self.view_weight, self.step)

    def save(self, folder: Path) -> None:
        save_matrix(folder / "next_item.npz", self.rules, [self.half_life, self.view_weight, self.step])

    @classmethod
    def load(cls, folder: Path, products: Products) -> "NextItem":
        found, about = load_matrix(folder / "next_item.npz")
        return cls(found, *about).over(products)


def rules(acts: Acts, count: int, step: float, back: float, shrink: float) -> Any:
    """csr float32[count, count]: how often a product (column) followed another (row) in a user's acts, `step` per place between and `back` for the
    other way round, over the root of both's users."""
    order = np.argsort(acts.user, kind="stable")
    order = order[acts.user[order] >= 0]
    user, item, weight = acts.user[order], acts.item[order], acts.weight[order]
    same = np.r_[False, (user[1:] == user[:-1]) & (item[1:] == item[:-1])] if len(user) else np.zeros(0, bool)
    user, item, weight = user[~same], item[~same], weight[~same]
    total = sparse.csr_matrix((count, count), dtype=np.float32)
    for gap in range(1, min(WINDOW, max(len(user) - 1, 0)) + 1):
        pair = np.flatnonzero(user[gap:] == user[:-gap])
        values = (step ** (gap - 1)) * np.sqrt(weight[pair] * weight[pair + gap])
        total = total + sparse.csr_matrix((values.astype(np.float32), (item[pair], item[pair + gap])), shape=(count, count))
    total = (total + back * total.T).tocoo()
    users = np.asarray((takers(acts, count) > 0).sum(axis=1)).ravel() + shrink
    scale = 1.0 / np.sqrt(np.maximum(users, 1.0))
    scaled = sparse.csr_matrix((total.data * scale[total.row] * scale[total.col], (total.row, total.col)), shape=(count, count), dtype=np.float32)
    blocks = [strongest(scaled[start : start + CHUNK], start) for start in range(0, count, CHUNK)]
    return sparse.vstack(blocks, format="csr", dtype=np.float32) if blocks else scaled
