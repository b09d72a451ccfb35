"""The set of retrievers that proposes candidates: asks each one and merges what they propose. What serving imports; `train.py` fits it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from feature_repo.declarations import RETRIEVERS, SIGNALS
from feature_repo.online import NO_CIRCLE, NO_INTERESTS, Circle, History, Interests
from training.errors import TrainingError
from training.registry import ModelFolder
from training.retrieval.contract import DAY, NONE_BARRED, SCRATCH, Doubles, Fitted, Floats, Index, Products, Proposals, Query, Retriever
from training.retrieval.embedding import Embedding
from training.retrieval.item_to_item import ItemToItem
from training.retrieval.linear import Linear
from training.retrieval.next_item import NextItem
from training.retrieval.popular import Popular
from training.retrieval.repeat import Repeat
from training.retrieval.sequential import Sequential
from training.retrieval.social import Social

FITTED: Mapping[str, Any] = {
    "popular": Popular, "item_to_item": ItemToItem, "next_item": NextItem, "linear": Linear, "sequential": Sequential,
}  # fmt: skip
"""Retrievers that were fitted and have files of their own; the others are made of the catalogue and the parameters."""


@dataclass(frozen=True)
class Candidates:
    """Products proposed for one user, best proposals first: `index` int32[m] into `product_ids`, `scores` and `ranks` float32[m, R].

    A score and a rank (from 1) are NaN where that retriever did not propose the product. The last axis is in the order of RETRIEVERS.
    `left_out`: retrievers that were not asked, for want of time.
    """

    index: Index
    scores: Floats
    ranks: Floats
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Params:
    """Tuned parameters of the retrievers. Half-lives are days, 0 means no decay."""

    popular_half_life: float = 30.0
    similar_half_life: float = 60.0
    similar_shrink: float = 10.0
    similar_self: float = 0.0
    next_half_life: float = 0.0
    next_step: float = 0.7
    next_back: float = 0.3
    next_shrink: float = 0.0
    linear_half_life: float = 0.0
    linear_step: float = 0.8
    linear_penalty: float = 300.0
    social_agreement: float = 0.0
    embedding_half_life: float = 60.0
    repeat_half_life: float = 0.0
    repeat_power: float = 1.0
    view_half_life: float = 7.0
    view_weight: float = 0.3


class RetrieverSet:
    """All retrievers over one list of products, and the merge of what they propose.

    `taste_weights` float32[8] is the profile's weight per signal; the embedding retriever reads those of ties and preferences.
    Safe to share between threads: nothing changes after it is made.
    """

    retriever_names = RETRIEVERS

    def __init__(
        self,
        products: Products,
        fitted: Mapping[str, Fitted],
        params: Params,
        repeat_buying: bool,
        taste_weights: Sequence[float],
        embedding_version: str,
        version: str = "",
    ) -> None:
        self.products, self.fitted, self.params = products, dict(fitted), params
        self.repeat_buying, self.embedding_version, self.version = repeat_buying, embedding_version, version
        self.product_ids = products.ids
        self.taste_weights = np.asarray(taste_weights, np.float32)
        self._positions = {str(product): position for position, product in enumerate(products.ids)}
        keys = sorted({*products.categories.tolist(), *products.brands.tolist()} - {""})
        self._keys = {str(key): position for position, key in enumerate(keys)}
        made: dict[str, Retriever] = {
            **fitted,
            "social": Social(len(products), params.social_agreement),
            "embedding": Embedding.of(products, self._keys, params.embedding_half_life, params.view_weight),
            "repeat": Repeat(len(products), params.repeat_half_life, params.view_half_life, params.view_weight, params.repeat_power),
        }
        self.retrievers = {name: made[name] for name in RETRIEVERS}

    def query(self, history: History, as_of: datetime, interests: Interests = NO_INTERESTS, circle: Circle = NO_CIRCLE) -> Query:
        """The history and the circle in this set's numbering, ages as of `as_of`."""
        now = as_of.timestamp()
        positions, others = self._found(history.products), self._found(circle.products)
        known, there = positions >= 0, others >= 0
        return Query(
            positions[known],
            np.asarray(history.purchases, np.float32)[known],
            _days(now, history.last_purchase_at)[known],
            _days(now, history.last_view_at)[known],
            self._taste(interests),
            others[there],
            circle.weights[there],
            circle.people[there],
        )

    def _found(self, products: Sequence[str]) -> Index:
        """Positions of products, -1 for one that is not known."""
        return np.array([self._positions.get(str(product), -1) for product in products], np.int32)

    def _taste(self, interests: Interests) -> Floats:
        found = np.zeros(len(self._keys), np.float32)
        stated = self.taste_weights.copy()
        stated[: SIGNALS.index("follow")] = 0.0  # behaviour already speaks through the history
        for key, weight in zip(interests.keys, interests.signals @ stated, strict=True):
            if key in self._keys:
                found[self._keys[key]] += weight
        return found

    def retrieve(
        self,
        history: History,
        as_of: datetime,
        k: int,
        interests: Interests = NO_INTERESTS,
        circle: Circle = NO_CIRCLE,
        depth: int = 0,
        in_time: Callable[[], bool] = lambda: True,
        barred: Index = NONE_BARRED,
    ) -> Candidates:
        """The best k products that the retrievers propose, merged by best rank; each retriever proposes at most `depth`, and never fewer than k.

        A new user gets popular products. In a shop without repeat buying, products already bought are not proposed. An empty catalogue, or
        one in which nothing was ever bought or viewed and the user is new, gives the first k products in the order of ids, without scores.

        `barred` are products, by position, that are not proposed either, int32[b].
        `in_time` is asked before each retriever, those that take longest last; from its first no on none is asked any more.
        """
        query = self.query(history, as_of, interests, circle)
        if not self.repeat_buying:
            barred = np.concatenate([barred, query.items[query.purchases > 0]])
        k = min(k, len(self.product_ids))
        depth = min(max(k, depth), len(self.product_ids))
        proposed: dict[str, Proposals] = {}
        for name in BY_COST:
            if not in_time():
                break
            proposed[name] = self.retrievers[name].best(query, depth, barred)
        left_out = tuple(name for name in self.retriever_names if name not in proposed)
        found = [proposed.get(name, NOTHING) for name in self.retriever_names]
        if left_out and not proposed:
            nothing = np.zeros((0, len(found)), np.float32)
            return Candidates(NONE_BARRED, nothing, nothing, left_out)
        if not any(len(index) for index, _ in found):
            index = np.setdiff1d(np.arange(len(self.product_ids), dtype=np.int32), barred)[:k]
            nothing = np.full((len(index), len(self.retriever_names)), np.nan, np.float32)
            return Candidates(index, nothing, nothing.copy(), left_out)
        return replace(_merge(found, k, len(self.product_ids)), left_out=left_out)

    def popular(self) -> tuple[Index, Floats]:
        """All products, the most popular first, and the popularity of each product (not in that order): what somebody unknown is shown."""
        popular = self.fitted["popular"]
        assert isinstance(popular, Popular)
        return popular.order, popular.popularity

    def scores(self, name: str, history: History, as_of: datetime, interests: Interests = NO_INTERESTS, circle: Circle = NO_CIRCLE) -> Floats:
        """One retriever's score of every product, -inf where it does not propose or may not: float32[n_products]."""
        query = self.query(history, as_of, interests, circle)
        found = self.retrievers[name].scores(query).copy()
        found[found <= 0] = -np.inf
        if not self.repeat_buying:
            found[query.items[query.purchases > 0]] = -np.inf
        return found

    def extend(self, later: Products) -> "RetrieverSet":
        """The same set with products that came after it was fitted: they have a text but no buyers, so the embedding and the sequential retriever
        propose them."""
        products = self.products.grown(later)
        if len(products) == len(self.products):
            return self
        fitted = {name: retriever.over(products) for name, retriever in self.fitted.items()}
        return RetrieverSet(products, fitted, self.params, self.repeat_buying, self.taste_weights.tolist(), self.embedding_version, self.version)

    def save(self, folder: Path) -> None:
        """Write products.npz, retrievers.json and each fitted retriever's files; the caller seals the folder with `ModelFolder.write`."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / "products.npz", **vars(self.products))
        for retriever in self.fitted.values():
            retriever.save(folder)
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
        with np.load(folder / "products.npz", allow_pickle=False) as arrays:
            products = Products(**{name: arrays[name] for name in arrays.files})
        fitted = {name: kind.load(folder, products) for name, kind in FITTED.items()}
        params = Params(**about["params"])
        return cls(products, fitted, params, about["repeat_buying"], about["taste_weights"], about["embedding_version"], sealed.version)

    def predict_frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        """For MLflow: one row per user with `product_ids`, `last_purchase` (unix seconds) and `as_of` as JSON; ten proposals as JSON."""
        return pd.DataFrame({"product_ids": [self._predict_row(row) for row in frame.to_dict("records")]})

    def _predict_row(self, row: Mapping[Any, Any]) -> str:
        products, times = json.loads(row["product_ids"]), json.loads(row["last_purchase"])
        history = History(tuple(products), np.ones(len(products), np.float32), np.array(times, np.float64), np.zeros(len(products)))
        found = self.retrieve(history, datetime.fromisoformat(row["as_of"]), 10)
        return json.dumps([str(self.product_ids[position]) for position in found.index])


def _days(now: float, times: Doubles) -> Doubles:
    """Days from `times` (unix seconds, 0 for never) to `now`, inf for never."""
    return np.asarray(np.where(times <= 0, np.inf, np.maximum(now - times, 0.0) / DAY), np.float64)


def _merge(found: Sequence[Proposals], k: int, count: int) -> Candidates:
    """Union of the proposals by best rank over the retrievers, equal ranks in the order of retrievers from the last (own products) on.

    That is the order in which products first come up when all first proposals are read, then all second ones, and so on.
    """
    deepest = min(k, max(len(index) for index, _ in found))
    turns = np.full((deepest, len(found)), -1, np.int32)
    for column, (index, _) in enumerate(reversed(found)):
        turns[: len(index), column] = index[:deepest]
    read = turns.ravel()
    read = read[read >= 0]
    place = SCRATCH.places(count)
    place[read[::-1]] = np.arange(len(read) - 1, -1, -1)  # of equal ones the last written stays: the first that was read
    chosen = read[place[read] == np.arange(len(read))][:k]
    place[read] = -1
    place[chosen] = np.arange(len(chosen))
    scores = np.full((len(chosen), len(found)), np.nan, np.float32)
    ranks = np.full((len(chosen), len(found)), np.nan, np.float32)
    for column, (index, values) in enumerate(found):
        rows = place[index]
        there = np.flatnonzero(rows >= 0)
        scores[rows[there], column] = values[there]
        ranks[rows[there], column] = there + 1
    place[chosen] = -1
    return Candidates(chosen, scores, ranks)


BY_COST = ("popular", "repeat", "social", "item_to_item", "next_item", "linear", "sequential", "embedding")
"""The order in which retrievers are asked: the last two look at every product there is."""
NOTHING: Proposals = (NONE_BARRED, np.empty(0, np.float32))
