"""Chooses the retrievers' parameters on a period after the one they were fitted on."""

from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd

from training.dataset import Audience
from training.evaluate import Ranking, ndcgs
from training.retrieval.model import Params, RetrieverSet
from training.retrieval.train import refit

GRID: tuple[tuple[str, tuple[dict[str, float], ...]], ...] = (
    ("popular", tuple({"popular_half_life": days} for days in (7.0, 14.0, 30.0, 90.0, 0.0))),
    ("repeat", tuple({"repeat_half_life": days, "repeat_power": power} for days in (0.0, 30.0, 60.0, 120.0, 240.0) for power in (0.5, 1.0, 1.5))),
    ("repeat", tuple({"view_half_life": days} for days in (2.0, 7.0, 30.0))),
    ("item_to_item", tuple({"similar_half_life": days, "similar_self": own} for days in (0.0, 30.0, 60.0) for own in (0.0, 0.5, 1.0))),
    ("item_to_item", tuple({"similar_shrink": shrink} for shrink in (0.0, 10.0, 30.0))),
    ("embedding", tuple({"embedding_half_life": days} for days in (0.0, 30.0, 60.0))),
)
"""One retriever after the other, a few values each; the first best wins. Own products (`similar_self`) only matter where people buy again."""


def tuned(base: RetrieverSet, events: pd.DataFrame, cut: datetime, people: Audience) -> tuple[Params, dict[str, float]]:
    """The best parameters by mean NDCG@10 over `people`, who are as of `cut`, and that figure per retriever.

    Without anybody to measure on, the defaults stay.
    """
    if not people.people:
        return base.params, {}
    current, figures = base, {}
    for name, options in GRID:
        tried = [refit(current, events, cut, replace(current.params, **option)) for option in options]
        scores = [mean_ndcg(option, name, cut, people) for option in tried]
        best = int(np.argmax(scores))
        current, figures[name] = tried[best], scores[best]
    return current.params, figures


def ranking(retriever: RetrieverSet, name: str, cut: datetime, people: Audience, k: int = 10) -> list[Ranking]:
    """The first k products of one retriever alone for each person."""
    found = []
    for person in people.people:
        scores = retriever.scores(name, person.history, cut, person.interests)
        order = np.argsort(-scores, kind="stable")[:k]
        found.append(order[np.isfinite(scores[order])].astype(np.int32))
    return found


def mean_ndcg(retriever: RetrieverSet, name: str, cut: datetime, people: Audience) -> float:
    return float(ndcgs(ranking(retriever, name, cut, people), people.targets(retriever).products).mean())
