"""Fits the retrievers on what was known before a cut."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import pandas as pd

from training.retrieval.contract import Acts, Fitted, Products
from training.retrieval.item_to_item import ItemToItem
from training.retrieval.linear import Linear
from training.retrieval.model import Params, RetrieverSet
from training.retrieval.next_item import NextItem
from training.retrieval.popular import Popular
from training.retrieval.sequential import Sequential, SequentialParams


@dataclass(frozen=True)
class Fitter:
    """What retrievers of one cut are fitted on."""

    acts: Acts
    products: Products
    seed: int
    earlier: RetrieverSet | None = None

    @classmethod
    def before(cls, events: pd.DataFrame, products: Products, cut: datetime, seed: int, earlier: RetrieverSet | None = None) -> "Fitter":
        """`earlier`: a set of an earlier cut; what takes long to train goes on from it."""
        return cls(Acts.before(events, products, cut), products, seed, earlier)

    def fit(self, name: str, params: Params) -> Fitted:
        """One retriever."""
        p = params
        acts, products = self.acts, self.products
        kinds: Mapping[str, Callable[[], Fitted]] = {
            "popular": lambda: Popular.fit(acts, products, p.popular_half_life),
            "item_to_item": lambda: ItemToItem.fit(acts, products, p.similar_half_life, p.view_weight, p.similar_self, p.similar_shrink),
            "next_item": lambda: NextItem.fit(acts, products, p.next_half_life, p.view_weight, p.next_step, p.next_back, p.next_shrink),
            "linear": lambda: Linear.fit(acts, products, p.linear_half_life, p.view_weight, p.linear_step, p.linear_penalty),
            "sequential": lambda: Sequential.fit(acts, products, SequentialParams(), self.seed, self._started()),
        }
        return kinds[name]()

    def set(self, params: Params, repeat_buying: bool, taste_weights: Sequence[float], embedding_version: str) -> RetrieverSet:
        """All retrievers."""
        fitted = {name: self.fit(name, params) for name in COUNTED}
        return RetrieverSet(self.products, fitted, params, repeat_buying, taste_weights, embedding_version)

    def _started(self) -> Sequential | None:
        found = self.earlier.fitted["sequential"] if self.earlier else None
        return found if isinstance(found, Sequential) else None

    def change(self, base: RetrieverSet, params: Params) -> RetrieverSet:
        """`base`, which was fitted on the same, with other parameters; fits again only what they touch."""
        old = base.params
        fitted = {
            name: _with(retriever, params) if all(getattr(old, each) == getattr(params, each) for each in COUNTED[name]) else self.fit(name, params)
            for name, retriever in base.fitted.items()
        }
        return RetrieverSet(base.products, fitted, params, base.repeat_buying, base.taste_weights.tolist(), base.embedding_version, base.version)


COUNTED: Mapping[str, tuple[str, ...]] = {
    "popular": ("popular_half_life",),
    "item_to_item": ("similar_shrink",),
    "next_item": ("next_step", "next_back", "next_shrink"),
    "linear": ("linear_penalty",),
    "sequential": (),
}
"""Retrievers that are fitted, and the parameters that what was counted or trained depends on. The others only weigh a history."""


def _with(retriever: Fitted, params: Params) -> Fitted:
    """The same counts with the parameters that weigh a history."""
    if isinstance(retriever, ItemToItem):
        return replace(retriever, half_life=params.similar_half_life, view_weight=params.view_weight, own=params.similar_self)
    if isinstance(retriever, NextItem):
        return replace(retriever, half_life=params.next_half_life, view_weight=params.view_weight)
    if isinstance(retriever, Linear):
        return replace(retriever, half_life=params.linear_half_life, view_weight=params.view_weight, step=params.linear_step)
    return retriever
