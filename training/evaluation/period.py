"""The test period: each retriever alone and the stack, for the same people; slices, cold start, behaviour, what each rule of a shelf costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from functools import partial

import numpy as np
import pandas as pd

from feature_repo.declarations import RETRIEVERS
from training import dataset
from training.dataset import Audience, Person, Scored
from training.evaluate import K, Ranking, Report, evaluate, ndcgs, recall, upper
from training.evaluation import behaviour, slices
from training.evaluation.beyond_accuracy import beyond_accuracy
from training.evaluation.cold_start import cold_start
from training.evaluation.guard import FEWEST, Field, chosen, ranks_among
from training.evaluation.past import Past
from training.evaluation.slices import Outcomes, Sliced, sliced
from training.evaluation.stack import Stack
from training.ranker import tradeoffs
from training.ranker.blend import NO_BLEND, Blend
from training.retrieval import tune
from training.retrieval.model import RetrieverSet
from training.settings import TrainingSettings
from training.shop import Shop

METHODS = {
    "popular": "popularity", "item_to_item": "item-to-item", "next_item": "next item", "linear": "linear autoencoder",
    "sequential": "sequential transformer", "social": "social circle", "embedding": "text embedding", "repeat": "own purchases",
}  # fmt: skip
"""What each retriever is called when it stands alone in the table beside the ranker."""
UNBLENDED = "ranker, nothing blended in"
"""The trees alone: what the blend costs and what it brings is the difference."""

DEPTH = 20
"""Places of a list that are kept of an evaluation."""


@dataclass(frozen=True)
class Measured:
    """The test period's answers: the table, its slices, and single figures for MLflow and the gates."""

    report: Report
    retriever: Mapping[str, float]
    ranker: Mapping[str, float]
    slices: Sliced
    outcomes: Outcomes = dataclass_field(compare=False)  # arrays; the figures above are made of them
    rules: Mapping[str, Sequence[tradeoffs.Row]] = dataclass_field(default_factory=dict)

    @property
    def behaviour(self) -> Mapping[str, float]:
        """What the behavioural tests measured."""
        return {name: value for name, value in self.ranker.items() if name.startswith(behaviour.METRICS)}

    def beside(self, champion: Mapping[str, Mapping[str, float]]) -> "Measured":
        """With what came out against the champion."""
        return replace(self, retriever={**self.retriever, **champion.get("retriever", {})}, ranker={**self.ranker, **champion.get("ranker", {})})


def measure(shop: Shop, stack: Stack, best_tuned: str, best_new: str, settings: TrainingSettings, rules: bool) -> Measured:
    """The test period: each retriever alone, and the ranker over all candidates, for the same people as of the period's start.

    `best_tuned`: the retriever that was best alone on the tuning period, with which the slices are compared; `best_new`: the one best at products
    that people had not taken before.
    """
    cut, retrievers = shop.periods.test, stack.retrievers
    people = dataset.audience(shop.events, shop.kind, cut, shop.periods.end, shop.reader, settings, shop.repeat_buying)
    scored = Scored.of(people, retrievers, shop.reader, stack.weights, settings.candidates)
    targets, candidates = scored.targets, scored.candidates
    ordered = scored.ranked(stack.ranker.score)
    rankings = {METHODS[name]: tune.ranking(retrievers, name, people, DEPTH) for name in RETRIEVERS}
    rankings["ranker"] = [found[:DEPTH] for found in ordered]
    rankings[UNBLENDED] = [found[:DEPTH] for found in scored.ranked(stack.ranker.blended(NO_BLEND).score)]
    outcomes = Outcomes.of(rankings, targets, DEPTH)
    past = Past.of(shop.events, shop.kind, cut, retrievers.products, shop.reader)
    report = {method: evaluate(found, targets) for method, found in rankings.items()}
    for method, found in rankings.items():
        report[method]["all"] |= beyond_accuracy(found, past, people.before)
    baseline = METHODS[best_tuned]
    parts = sliced(outcomes, past, people.before, "ranker", baseline, [METHODS["popular"]], settings.seed)
    if shop.repeat_buying:
        parts = parts.with_slices(_discovery(retrievers, people, ordered, best_new, settings))
    parts = parts.with_slices(_cold_start(shop, stack, people, best_tuned, settings))
    shared = {"test_users": float(len(people.people))}
    regulars = behaviour.regulars(shop.events, shop.kind, cut, shop.reader, settings.seed)
    veto = behaviour.vetoed_shown(partial(_shelves, shop, stack), regulars, past)
    behaves = {"vetoed_shown": float(veto)} | behaviour.behaviours(stack.answers, regulars, past, settings.seed)
    if not len(people.people):
        return Measured(report, {**shared, "candidates_mean": float(len(retrievers.product_ids) > 0)}, shared | behaves, parts, outcomes)
    by_user = {method: ndcgs(found, targets.products) for method, found in rankings.items()}
    best = max((METHODS[name] for name in RETRIEVERS), key=lambda method: report[method]["all"]["ndcg_10"])
    bounds = {"above_popular_upper": METHODS["popular"], "above_best_upper": best}
    of_retrievers = {"recall_candidates": recall([found.index for found in candidates], targets)}
    of_retrievers["candidates_mean"] = float(np.mean([len(found.index) for found in candidates]))
    of_retrievers |= {f"{name}_ndcg_10": report[METHODS[name]]["all"]["ndcg_10"] for name in RETRIEVERS}
    of_ranker = {name: value for name, value in report["ranker"]["all"].items() if name != "users"}
    of_ranker |= {f"{part}_targets_ndcg_10": report["ranker"][part].get("ndcg_10", 0.0) for part in ("repeat", "new")}
    of_ranker |= {f"{name}_ndcg_10": report[METHODS[name]]["all"]["ndcg_10"] for name in RETRIEVERS}
    of_ranker |= {name: upper(by_user["ranker"] - by_user[method]) for name, method in bounds.items() if len(people.people) > 1}
    of_ranker |= {"slices": float(len(parts.slices)), "slices_lost": float(len(parts.lost))} | behaves
    costs = {"test": rules_of(shop, scored, stack)} if rules else {}
    return Measured(report, shared | of_retrievers, shared | of_ranker, parts, outcomes, costs)


def _shelves(shop: Shop, stack: Stack, people: Sequence[Person]) -> list[Ranking]:
    """What the service's default policy shows them."""
    nothing = (frozenset[str](),) * len(people)
    scored = Scored.of(Audience(tuple(people), nothing, nothing), stack.retrievers, shop.reader, stack.weights, stack.candidates)
    scores = scored.scores(stack.ranker.score)
    return tradeoffs.shelves(scored, scores, stack.retrievers.products, stack.weights, shop.repeat_buying)


def rules_of(shop: Shop, scored: Scored, stack: Stack) -> list[tradeoffs.Row]:
    """What each rule of a shelf costs these people and brings them."""
    scores = scored.scores(stack.ranker.score)
    return tradeoffs.rows(scored, scores, stack.retrievers.products, stack.weights, shop.repeat_buying)


def _discovery(
    retrievers: RetrieverSet, people: Audience, ordered: Sequence[Ranking], best_new: str, settings: TrainingSettings
) -> tuple[slices.Slice, ...]:
    """First-time targets where every list is without what the person had taken, as on a shelf that shows new things only."""
    had = people.had(retrievers)
    rankings = {METHODS[name]: tune.ranking(retrievers, name, people, K, had) for name in dict.fromkeys((best_new, "popular"))}
    rankings["ranker"] = [found[~np.isin(found, known)] for found, known in zip(ordered, had, strict=True)]
    outcomes = Outcomes.of(rankings, people.targets(retrievers))
    part = {("targets", "first-time, nothing else shown"): ~outcomes.repeat}
    return slices.estimated(outcomes, part, "ranker", METHODS[best_new], [METHODS["popular"]], settings.seed)


def _cold_start(shop: Shop, stack: Stack, people: Audience, best_tuned: str, settings: TrainingSettings) -> tuple[slices.Slice, ...]:
    """Over the whole catalogue, whose later products are known by their text."""
    cut = shop.periods.test
    newcomers = dataset.audience(shop.events, shop.kind, cut, shop.periods.end, shop.reader, settings, shop.repeat_buying, newcomers=True)
    wider = stack.over(shop.catalogue.products())
    past = Past.of(shop.events, shop.kind, cut, wider.retrievers.products, shop.reader)
    methods = {METHODS[name]: name for name in dict.fromkeys((best_tuned, "popular", "embedding"))}
    return cold_start(wider, people, newcomers, past, methods, METHODS[best_tuned], settings.seed)


def blended(shop: Shop, scored: Scored, stack: Stack, best_tuned: str) -> Blend:
    """What to blend into the ranker of `stack`, chosen on the people of the tuning period, whom it did not learn from."""
    if not scored.people.people:
        return NO_BLEND
    retrievers, targets = stack.retrievers, scored.targets
    rankings = {METHODS[best_tuned]: tune.ranking(retrievers, best_tuned, scored.people, K)}
    outcomes = Outcomes.of(rankings, targets)
    past = Past.of(shop.events, shop.kind, shop.periods.tune, retrievers.products, shop.reader)
    parts, _ = slices.parts_of(outcomes, past, scored.people.before, FEWEST)
    product = np.concatenate([found.index for found in scored.candidates]).astype(np.int64)
    user = np.repeat(np.arange(len(scored.candidates)), [len(found.index) for found in scored.candidates])
    at = pd.MultiIndex.from_arrays([user, product]).get_indexer(pd.MultiIndex.from_arrays([outcomes.user, outcomes.product]))
    field = Field(
        np.concatenate(scored.rows),
        stack.ranker.feature_names,
        scored.categories[product],
        product,
        np.concatenate(scored.scores(stack.ranker.score)),
        ranks_among(user, outcomes.users, at),
    )
    return chosen(field, outcomes, parts, slices.head_of(past.taken), best_tuned, shop.kind)
