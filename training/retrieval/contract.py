"""What all retrievers have in common: what they are fitted on, what they are asked, and what they answer.

A retriever is a class with

    fit(acts, products, params)   count or train on what was known before a cut
    scores(query) -> float32[n]   larger is better, 0 or less means "does not propose"
    over(products)                the same, with products that came after it was fitted
    save(folder), load(folder, products)

`model.py` asks all of them and merges what they propose. Their names and order are `feature_repo.declarations.RETRIEVERS`, because the ranker has
features by these names.
"""

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


class Retriever(Protocol):
    """What a RetrieverSet asks."""

    def scores(self, query: Query) -> Floats: ...


class Fitted(Retriever, Protocol):
    """A retriever that was counted or trained, and is kept in files."""

    def over(self, products: Products) -> Self: ...

    def save(self, folder: Path) -> None: ...


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
