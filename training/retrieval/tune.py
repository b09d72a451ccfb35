"""Chooses the retrievers' parameters on a period after the one they were fitted on."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from feature_repo.declarations import RETRIEVERS
from training.dataset import Audience
from training.evaluate import Ranking, ndcgs
from training.retrieval.contract import NONE_BARRED, Index, top
from training.retrieval.model import Params, RetrieverSet
from training.retrieval.train import Fitter

log = logging.getLogger(__name__)

GRID: tuple[tuple[str, tuple[dict[str, Any], ...]], ...] = (
    ("popular", tuple({"popular_half_life": days} for days in (7.0, 14.0, 30.0, 90.0, 0.0))),
    ("repeat", tuple({"repeat_half_life": days, "repeat_power": power} for days in (0.0, 30.0, 60.0, 120.0, 240.0) for power in (0.5, 1.0, 1.5))),
    ("repeat", tuple({"view_half_life": days} for days in (2.0, 7.0, 30.0))),
    ("item_to_item", tuple({"similar_half_life": days, "similar_self": own} for days in (0.0, 30.0, 60.0) for own in (0.0, 0.5, 1.0))),
    ("item_to_item", tuple({"similar_shrink": shrink} for shrink in (0.0, 10.0, 30.0))),
    ("next_item", tuple({"next_step": step, "next_back": back} for step in (0.5, 0.7, 0.9) for back in (0.3, 1.0))),
    ("linear", tuple({"linear_penalty": penalty} for penalty in (100.0, 300.0, 1000.0))),
    ("linear", tuple({"linear_half_life": days, "linear_step": step} for days in (0.0, 60.0) for step in (0.8, 1.0))),
    ("social", tuple({"social_agreement": power} for power in (0.0, 0.5, 1.0))),
    ("embedding", tuple({"embedding_half_life": days} for days in (0.0, 30.0, 60.0))),
)
"""One retriever after the other, a few values each; the first best wins. Own products (`similar_self`) only matter where people buy again."""


def tuned(fitter: Fitter, base: RetrieverSet, people: Audience) -> tuple[Params, dict[str, float]]:
    """The best parameters by mean NDCG@10 over `people`, who are as of the moment it was fitted at or later, and that figure per retriever.

    Without anybody to measure on, the defaults stay.
    """
    if not people.people:
        return base.params, {}
    current, figures = base, {}
    for name, options in GRID:
        started = time.monotonic()
        tried = [fitter.change(current, replace(current.params, **option)) for option in options]
        scores = [mean_ndcg(option, name, people) for option in tried]
        best = int(np.argmax(scores))
        current, figures[name] = tried[best], scores[best]
        log.info("%s: NDCG@10 %.4f with %s of %d tried, %.1f s.", name, scores[best], options[best], len(options), time.monotonic() - started)
    figures["sequential"] = mean_ndcg(current, "sequential", people)
    log.info("sequential: NDCG@10 %.4f.", figures["sequential"])
    return current.params, figures


def ranking(retriever: RetrieverSet, name: str, people: Audience, k: int = 10, without: Sequence[Index] | None = None) -> list[Ranking]:
    """The first k products of one retriever alone for each person; `without`: positions of products to leave out for each."""
    found = []
    for number, person in enumerate(people.people):
        scores = retriever.scores(name, person.history, person.moment, person.interests, person.circle)
        found.append(top(scores, k, without[number] if without else NONE_BARRED)[0])
    return found


def mean_ndcg(retriever: RetrieverSet, name: str, people: Audience) -> float:
    return float(ndcgs(ranking(retriever, name, people), people.targets(retriever).products).mean())


def discovery(retriever: RetrieverSet, people: Audience) -> dict[str, float]:
    """NDCG@10 per retriever of products that people had not taken before, in lists without those that they had; {} where nobody took any."""
    wanted, had = people.targets(retriever).slice("new"), people.had(retriever)
    some = [place for place, products in enumerate(wanted) if products]
    if not some:
        return {}
    part, barred, products = people.part(some), [had[place] for place in some], [wanted[place] for place in some]
    return {name: float(ndcgs(ranking(retriever, name, part, 10, barred), products).mean()) for name in RETRIEVERS}
