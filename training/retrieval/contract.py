"""What all retrievers have in common: what they are fitted on, what they are asked, and what they answer.

A retriever is a class with

    fit(acts, products, params)   count or train on what was known before a cut
    scores(query) -> float32[n]   larger is better, 0 or less means "does not propose"
    best(query, depth, barred)    the best of them: what serving asks, without a look at every product where few have a score
    over(products)                the same, with products that came after it was fitted
    save(folder), load(folder, products)

`model.py` asks all of them and merges what they propose. Their names and order are `feature_repo.declarations.RETRIEVERS`, because the ranker has
features by these names.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Index = NDArray[np.int32]

DAY = 86400.0
ACT_WEIGHTS = {"purchase": 1.0, "cart": 0.5, "review": 0.5, "click": 0.15, "view": 0.1}
"""What an act counts for popularity and for similarity. A shop that has only reviews or only views is counted by these alike."""
BOUGHT = ("purchase", "review")
"""Acts that speak of a purchase."""


@dataclass(frozen=True)
class Products:
    """The catalogue in one order. Ids carry no meaning."""

    ids: NDArray[np.str_]
    categories: NDArray[np.str_]  # "category:…" per product, "" for none
    brands: NDArray[np.str_]  # "brand:…" per product, "" for none
    vectors: Floats  # float32[n, d], rows of length 1 or 0

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, ids: Sequence[str], categories: Sequence[Any], brands: Sequence[Any], vectors: Floats) -> "Products":
        """From bare names, "" or None for none."""
        return cls(np.array(ids, np.str_), _keys("category", categories), _keys("brand", brands), unit(vectors))

    def grown(self, later: "Products") -> "Products":
        """With those of `later` that are not among these, behind these."""
        known = set(self.ids.tolist())
        new = np.array([position for position, product in enumerate(later.ids) if str(product) not in known], np.int64)
        if not len(new):
            return self
        return Products(
            np.concatenate([self.ids, later.ids[new]]),
            np.concatenate([self.categories, later.categories[new]]),
            np.concatenate([self.brands, later.brands[new]]),
            np.concatenate([self.vectors, later.vectors[new]]),
        )


@dataclass(frozen=True)
class Acts:
    """What people did before a cut, one row per act on a known product, in the order of time."""

    user: Index  # int32[m], -1 for nobody
    item: Index  # int32[m], position in the products
    weight: Floats  # float32[m], by ACT_WEIGHTS
    bought: NDArray[np.bool_]  # bool[m], by BOUGHT
    age: Doubles  # float64[m], days before the cut

    @classmethod
    def before(cls, events: pd.DataFrame, products: Products, cut: datetime) -> "Acts":
        """Acts that had happened and had arrived before `cut`; of events at one time the order of the rows counts."""
        when = pd.Timestamp(cut)
        arrived = events["arrived_at"].fillna(events["event_time"]) if "arrived_at" in events else events["event_time"]
        known = events[(events["event_time"] < when) & (arrived < when)].sort_values("event_time", kind="stable")
        types = known["event_type"].astype(str)
        weight = types.map(ACT_WEIGHTS)
        item = pd.Index(products.ids).get_indexer(pd.Index(known["product_id"].astype(str)))
        user, _ = pd.factorize(known["user_id"])
        age = (when - known["event_time"]).dt.total_seconds().to_numpy() / DAY
        keep = (item >= 0) & weight.notna().to_numpy()
        return cls(
            user[keep].astype(np.int32),
            item[keep].astype(np.int32),
            weight.to_numpy(np.float32)[keep],
            types.isin(BOUGHT).to_numpy()[keep],
            age[keep],
        )


@dataclass(frozen=True)
class Query:
    """A history in the products' numbering, latest first; products that are not known are left out."""

    items: Index  # int32[h]
    purchases: Floats  # float32[h]
    days_since_purchase: Doubles  # float64[h], inf for never
    days_since_view: Doubles  # float64[h], inf for never
    taste: Floats  # float32[n_keys], interest per key from social ties and stated preferences
    circle: Index  # int32[c], products that those the user is tied to chose
    circle_weights: Floats  # float32[c], above 0
    circle_people: Floats  # float32[c], people who took it, at the least


Proposals = tuple[Index, Floats]
"""Positions of products and their scores, all above 0, best first; equal scores in the order of products."""


class Retriever(Protocol):
    """What a RetrieverSet asks."""

    def scores(self, query: Query) -> Floats: ...

    def best(self, query: Query, depth: int, barred: Index) -> Proposals: ...


class Fitted(Retriever, Protocol):
    """A retriever that was counted or trained, and is kept in files."""

    def over(self, products: Products) -> Self: ...

    def save(self, folder: Path) -> None: ...


NONE_BARRED = np.empty(0, np.int32)
SAMPLED, MARGIN = 1024, 6.0
"""Scores looked at to guess what the best k are above, and how many standard deviations of that guess are left for safety."""


def top(scores: Floats, k: int, barred: Index = NONE_BARRED) -> Proposals:
    """The best k of all products by their scores float32[n]."""
    if len(barred):
        scores = scores.copy()
        scores[barred] = 0.0
    chosen = np.flatnonzero(scores >= _edge(scores, k))
    if len(chosen) < k:
        chosen = np.flatnonzero(scores > 0)
    return best_of(chosen, scores[chosen], k)


def best_of(positions: Index | NDArray[np.int64], values: Floats, k: int, barred: Index = NONE_BARRED) -> Proposals:
    """The best k of some products, given by rising position; what is 0 or less is not proposed."""
    kept = values > 0
    if len(barred):
        kept &= ~np.isin(positions, barred)
    if k < len(values):
        kept &= values >= np.partition(np.where(kept, values, 0), len(values) - k)[len(values) - k]
    positions, values = positions[kept], values[kept]
    order = np.argsort(-values, kind="stable")[:k]
    return positions[order].astype(np.int32), values[order]


def _edge(scores: Floats, k: int) -> float:
    """A score that at least the best k reach, and not many more, guessed from a sample: the rest is looked at but once. Above 0."""
    step = len(scores) // SAMPLED
    smallest = float(np.finfo(np.float32).smallest_subnormal)
    if step < 2:
        return smallest
    sample = scores[::step]
    expected = k / step
    place = int(expected + MARGIN * np.sqrt(expected) + MARGIN)
    return max(float(np.partition(sample, len(sample) - place)[len(sample) - place]), smallest) if place < len(sample) else smallest


class _Scratch(threading.local):
    """Zeros and marks as long as the catalogue, one of each per thread: clearing a few places costs less than making them."""

    def zeros(self, count: int) -> Floats:
        """float32[count] of zeros; who writes into it puts zeros back."""
        if len(getattr(self, "_zeros", ())) < count:
            self._zeros = np.zeros(count, np.float32)
        return self._zeros

    def places(self, count: int) -> Index:
        """int32[count] of -1; who writes into it puts -1 back."""
        if len(getattr(self, "_places", ())) < count:
            self._places = np.full(count, -1, np.int32)
        return self._places


SCRATCH = _Scratch()


def rows_of(matrix: Any, items: Index, weights: Floats) -> tuple[Index, Floats]:
    """(column, value x weight) of all that stands in some rows of a scipy csr matrix, row by row: what `weights @ matrix[items]` adds up."""
    starts = matrix.indptr[items]
    lengths = matrix.indptr[items + 1] - starts
    ends = np.cumsum(lengths)
    where = np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)
    return matrix.indices[where], matrix.data[where] * np.repeat(weights, lengths)


def summed(columns: Index, values: Floats, count: int) -> Floats:
    """float32[count]: the values of each column added up, in their order."""
    found = np.zeros(count, np.float32)
    np.add.at(found, columns, values)
    return found


def best_sums(columns: Index, values: Floats, count: int, k: int, barred: Index) -> Proposals:
    """`top(summed(columns, values, count), k, barred)` without a look at the products that are not among the columns."""
    found = SCRATCH.zeros(count)
    np.add.at(found, columns, values)
    ordered = np.sort(columns)
    positions = ordered[np.r_[True, ordered[1:] != ordered[:-1]]] if len(ordered) else ordered
    sums = found[positions]
    found[positions] = 0.0
    return best_of(positions, sums, k, barred)


def decay(days: Doubles, half_life: float) -> Doubles:
    """0.5 ** (days / half_life); 0 for never, 1 for a half-life of 0, which stands for no decay."""
    if half_life == 0:
        return np.isfinite(days).astype(np.float64)
    return np.asarray(np.exp2(-np.maximum(days, 0.0) / half_life), np.float64)


def attention(query: Query, half_life: float, view_weight: float, step: float = 1.0) -> Floats:
    """Weight of each product of the history, float32[h]: recent purchases and views count, views less; `step` is the factor per place back."""
    bought = decay(query.days_since_purchase, half_life)
    seen = view_weight * decay(query.days_since_view, half_life)
    return np.asarray(np.maximum(bought, seen) * step ** np.arange(len(query.items)), np.float32)


def unit(vectors: Floats) -> Floats:
    """Rows scaled to length 1; rows of zeros stay: float32[n, d]."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)


def _keys(kind: str, names: Sequence[Any]) -> NDArray[np.str_]:
    return np.array([f"{kind}:{name}" if isinstance(name, str) and name else "" for name in names], np.str_)
