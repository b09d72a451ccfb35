"""Retrievers: from a user's history to a few hundred candidate products. What serving imports; `train.py` fits them.

One contract: `scores(query) -> float32[n_products]`, larger is better, 0 or less means "does not propose". A `RetrieverSet` asks all of them and
merges what they propose. The names and their order are `feature_repo.declarations.RETRIEVERS`, because the ranker has features by these names.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from feature_repo.declarations import RETRIEVERS, SIGNALS
from feature_repo.online import NO_INTERESTS, History, Interests
from training.errors import TrainingError
from training.registry import ModelFolder

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Index = NDArray[np.int32]

DAY = 86400.0


@dataclass(frozen=True)
class Query:
    """A history in a RetrieverSet's own numbering; products it doesn't know are left out."""

    items: Index  # int32[h]
    purchases: Floats  # float32[h]
    days_since_purchase: Doubles  # float64[h], inf for never
    days_since_view: Doubles  # float64[h], inf for never
    taste: Floats  # float32[n_keys], interest per key from social ties and stated preferences


@dataclass(frozen=True)
class Candidates:
    """Products proposed for one user, best proposals first: `index` int32[m] into `product_ids`, `scores` and `ranks` float32[m, R].

    A score and a rank (from 1) are NaN where that retriever did not propose the product. The last axis is in the order of RETRIEVERS.
    """

    index: Index
    scores: Floats
    ranks: Floats


class Retriever(Protocol):
    def scores(self, query: Query) -> Floats: ...


def _decay(days: Doubles, half_life: float) -> Doubles:
    """0.5 ** (days / half_life); 0 for never, 1 for a half-life of 0, which stands for no decay."""
    if half_life == 0:
        return np.isfinite(days).astype(np.float64)
    return np.asarray(np.exp2(-np.maximum(days, 0.0) / half_life), np.float64)


def attention(query: Query, half_life: float, view_weight: float) -> Floats:
    """Weight of each product of the history, float32[h]: recent purchases and views count, views less."""
    bought = _decay(query.days_since_purchase, half_life)
    seen = view_weight * _decay(query.days_since_view, half_life)
    return np.asarray(np.maximum(bought, seen), np.float32)


@dataclass(frozen=True)
class Popular:
    """What everybody buys, cart and view lately: the same for every user."""

    popularity: Floats  # float32[n], 0..1

    def scores(self, query: Query) -> Floats:
        return self.popularity


@dataclass(frozen=True)
class ItemToItem:
    """Products bought by those who bought what this user bought: cosine over users (Sarwar et al. 2001), strongest neighbours only."""

    similar: Any  # scipy csr float32[n, n]
    half_life: float
    view_weight: float

    def scores(self, query: Query) -> Floats:
        n = self.similar.shape[0]
        if not len(query.items):
            return np.zeros(n, np.float32)
        rows = self.similar[query.items]
        return np.asarray(attention(query, self.half_life, self.view_weight) @ rows, np.float32).ravel()


@dataclass(frozen=True)
class Embedding:
    """Products whose text is near the history's mean, or near the categories and brands that ties and preferences speak for."""

    vectors: Floats  # float32[n, d], rows of length 1 or 0
    centroids: Floats  # float32[n_keys, d]
    half_life: float
    view_weight: float

    def scores(self, query: Query) -> Floats:
        taste = query.taste @ self.centroids if len(query.taste) else 0.0
        wish = attention(query, self.half_life, self.view_weight) @ self.vectors[query.items] + taste
        length = float(np.linalg.norm(wish))
        return np.zeros(len(self.vectors), np.float32) if length == 0 else np.asarray(self.vectors @ (wish / length), np.float32)


@dataclass(frozen=True)
class Repeat:
    """The user's own products by frequency and recency: bought again, and looked at but not bought."""

    count: int
    half_life: float
    view_half_life: float
    view_weight: float
    power: float

    def scores(self, query: Query) -> Floats:
        found = np.zeros(self.count, np.float32)
        bought = query.purchases**self.power * _decay(query.days_since_purchase, self.half_life)
        seen = self.view_weight * _decay(query.days_since_view, self.view_half_life)
        # The last act breaks ties between equal counts; it never outweighs one.
        latest = np.minimum(query.days_since_purchase, query.days_since_view)
        tie = 1e-3 / (1.0 + np.where(np.isfinite(latest), np.maximum(latest, 0.0), 1e6))
        found[query.items] = bought + seen + tie * ((bought + seen) > 0)
        return found


@dataclass(frozen=True)
class Params:
    """Tuned parameters of the retrievers. Half-lives are days, 0 means no decay."""

    popular_half_life: float = 30.0
    similar_half_life: float = 60.0
    similar_shrink: float = 10.0
    similar_self: float = 0.0
    embedding_half_life: float = 60.0
    repeat_half_life: float = 0.0
    repeat_power: float = 1.0
    view_half_life: float = 7.0
    view_weight: float = 0.3


@dataclass(frozen=True)
class Fitted:
    """What was counted from events: the arrays that a RetrieverSet is made of."""

    product_ids: NDArray[np.str_]
    categories: NDArray[np.str_]  # "category:…" per product, "" for none
    brands: NDArray[np.str_]  # "brand:…" per product, "" for none
    popularity: Floats
    similar: Any  # scipy csr float32[n, n]
    vectors: Floats  # float32[n, d]


class RetrieverSet:
    """All retrievers over one list of products, and the merge of what they propose.

    `taste_weights` float32[8] is the profile's weight per signal; the embedding retriever reads those of ties and preferences.
    Safe to share between threads: nothing changes after it is made.
    """

    retriever_names = RETRIEVERS

    def __init__(
        self, fitted: Fitted, params: Params, repeat_buying: bool, taste_weights: Sequence[float], embedding_version: str, version: str = ""
    ) -> None:
        self.fitted, self.params, self.repeat_buying, self.embedding_version, self.version = fitted, params, repeat_buying, embedding_version, version
        self.product_ids = fitted.product_ids
        self.taste_weights = np.asarray(taste_weights, np.float32)
        self._positions = {str(product): position for position, product in enumerate(fitted.product_ids)}
        keys = sorted({*fitted.categories, *fitted.brands} - {""})
        self._keys = {str(key): position for position, key in enumerate(keys)}
        self.retrievers: dict[str, Retriever] = {
            "popular": Popular(fitted.popularity),
            "item_to_item": ItemToItem(self._similar(), params.similar_half_life, params.view_weight),
            "embedding": Embedding(fitted.vectors, self._centroids(), params.embedding_half_life, params.view_weight),
            "repeat": Repeat(len(self.product_ids), params.repeat_half_life, params.view_half_life, params.view_weight, params.repeat_power),
        }

    def _similar(self) -> Any:
        own = sparse.identity(len(self.product_ids), dtype=np.float32, format="csr")
        return (self.fitted.similar + self.params.similar_self * own).tocsr() if self.params.similar_self else self.fitted.similar

    def _centroids(self) -> Floats:
        """Mean vector of each key's products, scaled to length 1: float32[n_keys, d]."""
        sums = np.zeros((len(self._keys), self.fitted.vectors.shape[1]), np.float32)
        for names in (self.fitted.categories, self.fitted.brands):
            codes = np.array([self._keys.get(str(name), -1) for name in names], np.int64)
            np.add.at(sums, codes[codes >= 0], self.fitted.vectors[codes >= 0])
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        return np.asarray(sums / np.where(lengths > 0, lengths, 1), np.float32)

    def query(self, history: History, as_of: datetime, interests: Interests = NO_INTERESTS) -> Query:
        """The history in this set's numbering, ages as of `as_of`."""
        now = as_of.timestamp()
        positions = np.array([self._positions.get(str(product), -1) for product in history.products], np.int32)
        known = positions >= 0
        return Query(
            positions[known],
            np.asarray(history.purchases, np.float32)[known],
            _days(now, history.last_purchase_at)[known],
            _days(now, history.last_view_at)[known],
            self._taste(interests),
        )

    def _taste(self, interests: Interests) -> Floats:
        found = np.zeros(len(self._keys), np.float32)
        stated = self.taste_weights.copy()
        stated[: SIGNALS.index("follow")] = 0.0  # behaviour already speaks through the history
        for key, weight in zip(interests.keys, interests.signals @ stated, strict=True):
            if key in self._keys:
                found[self._keys[key]] += weight
        return found

    def retrieve(self, history: History, as_of: datetime, k: int, interests: Interests = NO_INTERESTS) -> Candidates:
        """The best k products that the retrievers propose, merged by best rank; each retriever proposes at most k.

        A new user gets popular products. In a shop without repeat buying, products already bought are not proposed. An empty catalogue, or
        one in which nothing was ever bought or viewed and the user is new, gives the first k products in the order of ids, without scores.
        """
        query = self.query(history, as_of, interests)
        barred = np.empty(0, np.int32) if self.repeat_buying else query.items[query.purchases > 0]
        depth = min(k, len(self.product_ids))
        found = [_top(retriever.scores(query), depth, barred) for retriever in self.retrievers.values()]
        if not any(len(index) for index, _ in found):
            index = np.setdiff1d(np.arange(len(self.product_ids), dtype=np.int32), barred)[:depth]
            nothing = np.full((len(index), len(self.retriever_names)), np.nan, np.float32)
            return Candidates(index, nothing, nothing.copy())
        return _merge(found, depth)

    def scores(self, name: str, history: History, as_of: datetime, interests: Interests = NO_INTERESTS) -> Floats:
        """One retriever's score of every product, -inf where it does not propose or may not: float32[n_products]."""
        query = self.query(history, as_of, interests)
        found = self.retrievers[name].scores(query).copy()
        found[found <= 0] = -np.inf
        if not self.repeat_buying:
            found[query.items[query.purchases > 0]] = -np.inf
        return found

    def extend(self, product_ids: Sequence[str], vectors: Floats, categories: Sequence[str], brands: Sequence[str]) -> "RetrieverSet":
        """The same set with products that came after it was fitted: they have a text but no buyers, so only the embedding proposes them.

        Ids that it knows already are passed over. `categories` and `brands` are bare names, "" for none.
        """
        new = [position for position, product in enumerate(product_ids) if product not in self._positions]
        if not new:
            return self
        old, more = self.fitted, len(new)
        grown = sparse.csr_matrix(
            (old.similar.data, old.similar.indices, np.pad(old.similar.indptr, (0, more), mode="edge")),
            shape=(len(old.product_ids) + more, len(old.product_ids) + more),
        )
        fitted = Fitted(
            np.concatenate([old.product_ids, np.array([product_ids[i] for i in new], np.str_)]),
            np.concatenate([old.categories, keys_of("category", [categories[i] for i in new])]),
            np.concatenate([old.brands, keys_of("brand", [brands[i] for i in new])]),
            np.concatenate([old.popularity, np.zeros(more, np.float32)]),
            grown,
            np.concatenate([old.vectors, unit(vectors[new])]),
        )
        return RetrieverSet(fitted, self.params, self.repeat_buying, self.taste_weights.tolist(), self.embedding_version, self.version)

    def save(self, folder: Path) -> None:
        """Write retrievers.npz and retrievers.json; the caller seals the folder with `ModelFolder.write`."""
        folder.mkdir(parents=True, exist_ok=True)
        fitted = self.fitted
        np.savez_compressed(
            folder / "retrievers.npz",
            product_ids=fitted.product_ids,
            categories=fitted.categories,
            brands=fitted.brands,
            popularity=fitted.popularity,
            vectors=fitted.vectors,
            similar_data=fitted.similar.data,
            similar_indices=fitted.similar.indices,
            similar_indptr=fitted.similar.indptr,
        )
        about = {
            "retrievers": list(self.retriever_names),
            "params": vars(self.params),
            "repeat_buying": self.repeat_buying,
            "taste_weights": [float(weight) for weight in self.taste_weights],
            "embedding_version": self.embedding_version,
        }
        (folder / "retrievers.json").write_text(json.dumps(about, indent=1))

    @classmethod
    def load(cls, folder: Path) -> "RetrieverSet":
        """Check the folder and load it.

        Raises:
            TrainingError: changed files, or made for other retrievers than this program has.
        """
        sealed = ModelFolder.read(folder, kind="retriever")
        about = json.loads((folder / "retrievers.json").read_text())
        if tuple(about["retrievers"]) != tuple(RETRIEVERS):
            raise TrainingError(f"{folder} has the retrievers {about['retrievers']}, this program {list(RETRIEVERS)}: run `make train` again.")
        with np.load(folder / "retrievers.npz", allow_pickle=False) as arrays:
            n = len(arrays["product_ids"])
            similar = sparse.csr_matrix((arrays["similar_data"], arrays["similar_indices"], arrays["similar_indptr"]), shape=(n, n))
            fitted = Fitted(arrays["product_ids"], arrays["categories"], arrays["brands"], arrays["popularity"], similar, arrays["vectors"])
        params = Params(**about["params"])
        return cls(fitted, params, about["repeat_buying"], about["taste_weights"], about["embedding_version"], sealed.version)

    def predict_frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        """For MLflow: one row per user with `product_ids`, `last_purchase` (unix seconds) and `as_of` as JSON; ten proposals as JSON."""
        return pd.DataFrame({"product_ids": [self._predict_row(row) for row in frame.to_dict("records")]})

    def _predict_row(self, row: Mapping[Any, Any]) -> str:
        products, times = json.loads(row["product_ids"]), json.loads(row["last_purchase"])
        history = History(tuple(products), np.ones(len(products), np.float32), np.array(times, np.float64), np.zeros(len(products)))
        found = self.retrieve(history, datetime.fromisoformat(row["as_of"]), 10)
        return json.dumps([str(self.product_ids[position]) for position in found.index])


def keys_of(kind: str, names: Sequence[Any]) -> NDArray[np.str_]:
    """Interest keys of products, "" where the product has none: str[n]."""
    return np.array([f"{kind}:{name}" if isinstance(name, str) and name else "" for name in names], np.str_)


def unit(vectors: Floats) -> Floats:
    """Rows scaled to length 1; rows of zeros stay: float32[n, d]."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)


def _days(now: float, times: Doubles) -> Doubles:
    """Days from `times` (unix seconds, 0 for never) to `now`, inf for never."""
    return np.asarray(np.where(times <= 0, np.inf, np.maximum(now - times, 0.0) / DAY), np.float64)


def _top(scores: Floats, k: int, barred: Index) -> tuple[Index, Floats]:
    """Positions and scores of the best k that are above 0, best first; equal scores in the order of products."""
    if len(barred):
        scores = scores.copy()
        scores[barred] = 0.0
    if k < len(scores):
        edge = np.partition(scores, len(scores) - k)[len(scores) - k]
        chosen = np.flatnonzero(scores >= edge) if edge > 0 else np.flatnonzero(scores > 0)
    else:
        chosen = np.flatnonzero(scores > 0)
    order = chosen[np.argsort(-scores[chosen], kind="stable")][:k]
    return order.astype(np.int32), scores[order]


def _merge(found: list[tuple[Index, Floats]], k: int) -> Candidates:
    """Union of the proposals by best rank over the retrievers, equal ranks in the order of retrievers from the last (own products) on."""
    union = np.unique(np.concatenate([index for index, _ in found]))
    scores = np.full((len(union), len(found)), np.nan, np.float32)
    ranks = np.full((len(union), len(found)), np.nan, np.float32)
    for column, (index, values) in enumerate(found):
        rows = np.searchsorted(union, index)
        scores[rows, column] = values
        ranks[rows, column] = np.arange(1, len(index) + 1)
    filled = np.where(np.isnan(ranks), np.inf, ranks)
    best = filled.min(axis=1)
    first = len(found) - np.argmin(filled[:, ::-1], axis=1)
    order = np.lexsort((union, -first, best))[:k]
    return Candidates(union[order].astype(np.int32), scores[order], ranks[order])
