"""By time: everything before a day is known, and what people took from then on are the targets. Nothing of the future is in what models see.

The flow of `make train` on the file, twice: the validation period is the test period of a run that ends before the real one begins. Periods are
STORYSHELF_HOLDOUT_DAYS long; people are those who had acted before, all targets of a period count, lists are of DEPTH products.
"""

import json
import logging
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from feature_repo.build import build, prepared
from training import dataset
from training.benchmark import item_cosine
from training.benchmark.figures import CUTS, Ranks, Run
from training.benchmark.files import RANKING
from training.benchmark.leave_one_out import renumbered
from training.errors import TrainingError
from training.evaluation.past import Past
from training.evaluation.slices import OUT_OF_REACH, Outcomes, by_user
from training.evaluation.stack import Stack
from training.labels import Periods
from training.pipeline import Recommender, Timings, train_recommender
from training.settings import TrainingSettings
from training.shop import Shop, open_shop

log = logging.getLogger(__name__)

TIMED = 500
"""People whose answers are timed."""


def run(folder: Path, seed: int, settings: TrainingSettings, scratch: Path, leave_out: bool = False) -> Run:
    """One seed, from the files to the figures.

    Raises:
        TrainingError: `leave_out`, which is measured leave-one-out only.
    """
    if leave_out:
        raise TrainingError("The ablation is measured with --protocol leave-one-out.")
    interactions, items = renumbered(folder, np.random.default_rng(seed))
    files = scratch / "files"
    files.mkdir(parents=True)
    for name, frame in zip(RANKING, (interactions, items), strict=True):
        frame.to_parquet(files / name)
    settings = settings.model_copy(update={"seed": seed, "home": scratch / "homes"})
    timings, before = Timings(), Timings()
    with timings.step("features"), prepared(settings, "amazon_beauty", files) as home:
        build(home, settings)
    shop = open_shop(home, settings)
    earlier = shop.events[shop.events["event_time"] < pd.Timestamp(shop.periods.test)].reset_index(drop=True)
    sooner = replace(shop, events=earlier, periods=Periods.of(earlier, settings))
    valid = train_recommender(sooner, settings, before)
    found = train_recommender(shop, settings, timings)
    log.info("Seed %d: %s", seed, json.dumps(timings.seconds))
    models = {_title(method): figures_by_cut(found.measured.outcomes, method, "test_") for method in found.measured.outcomes.ranks}
    for method in valid.measured.outcomes.ranks:
        models[_title(method)] |= figures_by_cut(valid.measured.outcomes, method, "valid_")
    models["item cosine"] = {}
    for each, measured, prefix in ((shop, found.measured, "test_"), (sooner, valid.measured, "valid_")):
        ranks = {"item cosine": cosine_ranks(each, measured.outcomes, settings)}
        models["item cosine"] |= figures_by_cut(replace(measured.outcomes, ranks=ranks), "item cosine", prefix)
    parts = found.measured.slices.renamed(_title)
    params = dict(vars(found.retrievers.params)) | vars(found.ranker.blend)
    return Run(models, timings.fit_minutes, milliseconds(shop, found, settings), params, found.trees, {}, parts, timings.seconds)


def _title(method: str) -> str:
    return method.replace("ranker", "full stack")


def cosine_ranks(shop: Shop, outcomes: Outcomes, settings: TrainingSettings) -> Ranks:
    """Rank of each target of the test period by the untuned item cosine."""
    cut = shop.periods.test
    people = dataset.audience(shop.events, shop.kind, cut, shop.periods.end, shop.reader, settings, shop.repeat_buying)
    past = Past.of(shop.events, shop.kind, cut, shop.catalogue.known_at(cut).products(), shop.reader)
    return item_cosine.ranks(past, *past.histories(people.before), outcomes.user, outcomes.product)


def figures_by_cut(outcomes: Outcomes, method: str, prefix: str) -> dict[str, float]:
    """HR and NDCG at CUTS and MRR, means over users with any number of targets."""
    ranks = outcomes.ranks[method]
    found: dict[str, float] = {}
    for k in CUTS:
        _, hit, gain = by_user(outcomes, np.ones(len(ranks), bool), [method], k).T
        found |= {f"{prefix}hr@{k}": float(hit.mean()), f"{prefix}ndcg@{k}": float(gain.mean())}
    first = np.full(outcomes.users, OUT_OF_REACH)
    np.minimum.at(first, outcomes.user, ranks)
    return found | {f"{prefix}mrr": float(np.where(first < OUT_OF_REACH, 1.0 / (1.0 + first), 0.0).mean())}


def milliseconds(shop: Shop, found: Recommender, settings: TrainingSettings) -> float:
    """Per person, from candidates to scores, features read from Feast."""
    people = dataset.audience(shop.events, shop.kind, shop.periods.test, shop.periods.end, shop.reader, settings, shop.repeat_buying)
    some = people.people[:TIMED]
    stack = Stack(found.retrievers, found.profile.weights, found.ranker, shop.reader, settings.candidates)
    started = time.monotonic()
    stack.answers(some)
    return (time.monotonic() - started) * 1000 / max(len(some), 1)
