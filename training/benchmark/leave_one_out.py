"""Leave-one-out, the usual protocol of public interaction files.

DIR holds interactions.parquet and items.parquet in the shape of amazon_beauty. Leave-one-out: each user's last item is the test target, the last
but one the validation target. The whole catalogue is ranked, seen items left out, ties counted against us. Per seed identifiers are drawn anew and
rows shuffled. Feast builds the features from a shop without the targets, each user as of the midnight after their last known event; no model sees
when the target was taken. Everything is chosen on the validation targets; then retrievers are fitted on train and validation, and the test is
computed once.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from feature_repo.build import build, prepared
from feature_repo.declarations import RETRIEVERS
from feature_repo.ingest import config, read_tables
from feature_repo.online import ProductMatrix
from feature_repo.store import Build, features_of
from feature_repo.vectors import RANKER_FEATURES
from training import dataset
from training.benchmark import item_cosine
from training.benchmark.figures import Ranks, Run, figures_of, ndcg, retriever_ranks
from training.benchmark.files import RANKING, read_ranking
from training.dataset import Audience, Catalogue
from training.errors import TrainingError
from training.evaluation import ablation
from training.evaluation.ablation import Loss
from training.evaluation.guard import FEWEST, Field, chosen
from training.evaluation.past import Past
from training.evaluation.period import METHODS
from training.evaluation.slices import OUT_OF_REACH, Outcomes, Sliced, head_of, parts_of, sliced
from training.labels import JUST_BEFORE, Periods
from training.pipeline import Timings
from training.profile import ProfileModel
from training.ranker import train as ranker_train
from training.ranker.blend import Blend
from training.ranker.model import Ranker
from training.registry import ModelMeta
from training.retrieval import tune
from training.retrieval.model import Params, RetrieverSet
from training.retrieval.train import Fitter
from training.settings import TrainingSettings

log = logging.getLogger(__name__)

WATCHED = 1_500
"""Users whose validation target chooses the retrievers' parameters."""
AT_ONCE = 2_000
"""Users whose feature rows are in memory together."""
TREES = (100, 200, 300, 400)


@dataclass(frozen=True)
class Stage:
    """One shop without the targets: what a model may know, the targets, and everybody as of just after their last event."""

    catalogue: Catalogue
    reader: dataset.Reader
    fitter: Fitter
    periods: Periods
    events: pd.DataFrame
    people: Audience
    repeat_buying: bool

    @classmethod
    def of(cls, folder: Path, targets: Mapping[str, str], settings: TrainingSettings) -> "Stage":
        """`folder`: the files without the targets; `targets`: user -> product."""
        with prepared(settings, "amazon_beauty", folder) as home:
            build(home, settings)
        made = Build.current(home)
        events, pseudonyms = read_tables(home)["events"], home.pseudonyms(settings)
        reader = partial(features_of, made.store())
        catalogue = Catalogue.of(ProductMatrix.load(made))
        last = events.groupby("user_id")["event_time"].max()
        wanted = {pseudonyms.user(user): product for user, product in targets.items()}
        users = [user for user in events["user_id"].unique() if user in wanted]
        if not users:
            raise TrainingError("Nobody has a target and an earlier event: leave-one-out needs users of three interactions or more.")
        # The midnight after the last event, from which a day's acts are visible; `people` reads as of just before the moment.
        moments = [(last[user].floor("D") + pd.Timedelta(days=1) + 2 * JUST_BEFORE).to_pydatetime() for user in users]
        found = tuple(dataset.people(reader, users, moments))
        before = events.groupby("user_id")["product_id"].agg(frozenset)
        people = Audience(found, tuple(frozenset([wanted[user]]) for user in users), tuple(before[user] for user in users))
        end = events["event_time"].max().to_pydatetime() + timedelta(days=1)
        fitter = Fitter.before(events, catalogue.products(), end, settings.seed)
        return cls(catalogue, reader, fitter, Periods.of(events, settings), events, people, config(home).repeat_buying)

    def some(self, count: int, random: np.random.Generator) -> Audience:
        """A sample of the people."""
        return self.people.part(sorted(random.permutation(len(self.people.people))[:count].tolist()))


def single_ranks(stage: Stage, found: RetrieverSet) -> dict[str, Ranks]:
    """Method -> rank of each one's target: untuned item cosine and every retriever alone."""
    past = past_of(stage, found)
    targets = np.array([next(iter(each)) for each in stage.people.targets(found).products], np.int64)
    cosine = item_cosine.ranks(past, *past.histories(stage.people.before), np.arange(len(targets)), targets)
    return {"item cosine": cosine} | {METHODS[name]: retriever_ranks(found, name, stage.people) for name in RETRIEVERS}


def past_of(stage: Stage, found: RetrieverSet) -> Past:
    """What had happened before the targets."""
    end = stage.events["event_time"].max().to_pydatetime() + timedelta(days=1)
    return Past.of(stage.events, "purchase", end, found.products, stage.reader)


@dataclass(frozen=True)
class Rows:
    """Ranker rows of all candidates: `matrix` float32[n, F], the product's position, whether a row is the target, and which user it is of."""

    matrix: NDArray[np.float32]
    product: NDArray[np.int64]
    target: NDArray[np.bool_]
    user: NDArray[np.int64]
    users: int

    def ranks(self, scores: NDArray[np.float32]) -> Ranks:
        """Rank of the target of each user, ties against us."""
        best = np.full(self.users, np.nan, np.float32)
        best[self.user[self.target]] = scores[self.target]
        above = np.bincount(self.user, weights=scores >= best[self.user], minlength=self.users).astype(np.int64) - 1
        return np.where(np.isnan(best), OUT_OF_REACH, above)


def rows_of(stage: Stage, found: RetrieverSet, weights: NDArray[np.float32], count: int, every: bool = True) -> Rows:
    """Candidates and features, a part of the people at a time. Without `every` only of those whose target is proposed, whom a ranker can move."""
    parts, product, target, user = [], [], [], []
    for start in range(0, len(stage.people.people), AT_ONCE):
        some = stage.people.part(range(start, min(start + AT_ONCE, len(stage.people.people))))
        candidates = [dataset.proposed(person, found, count) for person in some.people]
        hits = [np.isin(each.index, list(wanted)) for each, wanted in zip(candidates, some.targets(found).products, strict=True)]
        kept = [place for place, hit in enumerate(hits) if every or hit.any()]
        slates = [dataset.full_slate(some.people[place], candidates[place], found) for place in kept]
        parts += list(dataset.feature_rows(slates, stage.reader, weights))
        product += [candidates[place].index.astype(np.int64) for place in kept]
        target += [hits[place] for place in kept]
        user += [np.full(len(hits[place]), start + place) for place in kept]
    return Rows(np.concatenate(parts), np.concatenate(product), np.concatenate(target), np.concatenate(user), len(stage.people.people))


def cross_fitted(rows: Rows, settings: TrainingSettings, counts: Sequence[int] = TREES) -> tuple[NDArray[np.float32], int]:
    """Scores of every row by a ranker that did not learn from its user, and the number of trees that ranks the validation targets best."""
    fold = np.random.default_rng(settings.seed).integers(0, 2, rows.users)[rows.user]
    scores = np.zeros((len(counts), len(rows.user)), np.float32)
    for part in (0, 1):
        ranker = _ranker(rows, fold != part, settings, counts[-1])
        mine = np.flatnonzero(fold == part)
        for place, trees in enumerate(counts):
            scores[place, mine] = ranker.booster.inplace_predict(rows.matrix[mine], iteration_range=(0, trees), predict_type="margin")
    figures = [figures_of(rows.ranks(each))["ndcg@10"] for each in scores]
    best = int(np.argmax(figures))
    return scores[best], counts[best]


def ablated(
    rows: Rows, scores: NDArray[np.float32], blend: Blend, categories: NDArray[np.str_], trees: int, settings: TrainingSettings
) -> dict[str, Loss]:
    """NDCG@10 of the validation targets with one thing left out at a time; `scores`: of the trees with everything, `categories` of all products."""
    whole = ndcg(rows.ranks(scores + blend.added(rows.matrix, RANKER_FEATURES, categories[rows.product])))
    found = {"without the blend": Loss.of(whole, ndcg(rows.ranks(scores)))}
    # Without a ranker candidates stay as they were merged.
    found["without the ranker"] = Loss.of(whole, ndcg(rows.ranks(-np.arange(len(scores), dtype=np.float32))))
    for case in tqdm(list(ablation.cases()), desc="ablation", unit="case", disable=None):
        keep = case.keep(rows.matrix)
        less = Rows(case.without(rows.matrix[keep]), rows.product[keep], rows.target[keep], rows.user[keep], rows.users)
        # The blend reads features too; only its own retriever takes it along.
        read = less.matrix if case.name == f"without {blend.retriever}" else rows.matrix[keep]
        again = cross_fitted(less, settings, (trees,))[0] + blend.added(read, RANKER_FEATURES, categories[less.product])
        found[case.name] = Loss.of(whole, ndcg(less.ranks(again)))
        log.info("Ablation: %s, NDCG@10 %.4f, %.4f lost.", case.name, found[case.name].figure, found[case.name].lost)
    return found


def _ranker(rows: Rows, keep: NDArray[np.bool_], settings: TrainingSettings, trees: int) -> Ranker:
    """Learned from users whose target is among their candidates, beside a sample of the others at one rate."""
    found = np.zeros(rows.users, bool)
    found[rows.user[rows.target]] = True
    rate = settings.negatives / settings.candidates
    drawn = np.random.default_rng(settings.seed).random(len(rows.user)) < rate
    chosen = np.flatnonzero(keep & found[rows.user] & (rows.target | drawn))
    some = dataset.Rows(rows.matrix[chosen], rows.target[chosen].astype(np.float32), rows.user[chosen], np.zeros(len(chosen)))
    return ranker_train.fit(some, RANKER_FEATURES, ModelMeta("ranker", "lambdamart"), settings, trees)


def run(folder: Path, seed: int, settings: TrainingSettings, scratch: Path, leave_out: bool = False) -> Run:
    """One seed, from the files to the figures; with `leave_out` also what each part adds."""
    timings, random = Timings(), np.random.default_rng(seed)
    interactions, items = renumbered(folder, random)
    settings = settings.model_copy(update={"seed": seed, "home": scratch / "homes"})
    with timings.step("validation: features"):
        first = _stage(interactions, items, ("train",), "valid", scratch / "valid", settings)
    with timings.step("validation: retrievers"):
        profile = ProfileModel.fit(dataset.choices(first.events, first.catalogue, first.periods, first.reader, settings))
        weights, watched = profile.weights.tolist(), first.some(WATCHED, random)
        about = (first.repeat_buying, weights, first.catalogue.embedding_version)
        base = first.fitter.set(Params(), *about)
        params, tuned = tune.tuned(first.fitter, base, watched)
        best = max(tuned, key=tuned.__getitem__)
        fitted = first.fitter.change(base, params)
    with timings.step("validation: candidates and features"):
        rows = rows_of(first, fitted, profile.weights, settings.candidates, every=False)
    with timings.step("ranker"):
        scores, trees = cross_fitted(rows, settings)
        blend = blended(first, fitted, best, rows, scores)
        added = blend.added(rows.matrix, RANKER_FEATURES, fitted.products.categories[rows.product])
        ranker = _ranker(rows, np.ones(len(rows.user), bool), settings, trees).blended(blend)
    fitting = dict(timings.seconds)
    with timings.step("validation: single retrievers"):
        valid = {method: figures_of(ranks) for method, ranks in single_ranks(first, fitted).items()}
    valid["full stack"] = figures_of(rows.ranks(scores + added))
    with timings.step("ablation"):
        left_out = ablated(rows, scores, blend, fitted.products.categories, trees, settings) if leave_out else {}
    del rows, scores
    with timings.step("test: features"):
        second = _stage(interactions, items, ("train", "valid"), "test", scratch / "test", settings)
    with timings.step("test: retrievers"):
        final = replace(second.fitter, earlier=fitted).set(params, *about)
    fitting |= {name: timings.seconds[name] for name in ("test: features", "test: retrievers")}
    started = time.monotonic()
    with timings.step("test: scoring"):
        rows = rows_of(second, final, profile.weights, settings.candidates)
        ranks = rows.ranks(ranker.score(rows.matrix, final.products.categories[rows.product]))
    milliseconds = (time.monotonic() - started) * 1000 / rows.users
    with timings.step("test: single retrievers"):
        found = single_ranks(second, final) | {"full stack": ranks}
    test = {method: figures_of(each) for method, each in found.items()}
    slices = slices_of(second, final, found, valid, seed)
    test["full stack"]["recall_candidates"] = float((ranks < OUT_OF_REACH).mean())
    models = {method: {**{f"valid_{k}": v for k, v in valid[method].items()}, **{f"test_{k}": v for k, v in test[method].items()}} for method in test}
    log.info("Seed %d: %s", seed, json.dumps(timings.seconds))
    return Run(models, sum(fitting.values()) / 60, milliseconds, dict(vars(params)) | vars(blend), trees, left_out, slices, timings.seconds)


def blended(stage: Stage, retrievers: RetrieverSet, best: str, rows: Rows, scores: NDArray[np.float32]) -> Blend:
    """What to blend into the ranker, chosen on the validation targets by `scores` of a ranker that did not learn from them."""
    outcomes, past = _outcomes(stage, retrievers, {METHODS[best]: retriever_ranks(retrievers, best, stage.people)})
    parts, _ = parts_of(outcomes, past, stage.people.before, FEWEST)
    field = Field(rows.matrix, RANKER_FEATURES, retrievers.products.categories[rows.product], rows.product, scores, rows.ranks)
    return chosen(field, outcomes, parts, head_of(past.taken), best, "purchase")


def slices_of(stage: Stage, retrievers: RetrieverSet, ranks: Mapping[str, Ranks], valid: Mapping[str, Mapping[str, float]], seed: int) -> Sliced:
    """The stack beside the single method whose NDCG@10 is best on the validation targets, slice by slice."""
    baseline = max((METHODS[name] for name in RETRIEVERS), key=lambda method: valid[method]["ndcg@10"])
    outcomes, past = _outcomes(stage, retrievers, ranks)
    return sliced(outcomes, past, stage.people.before, "full stack", baseline, [METHODS["popular"]], seed)


def _outcomes(stage: Stage, retrievers: RetrieverSet, ranks: Mapping[str, Ranks]) -> tuple[Outcomes, Past]:
    """The target of each user of the stage with its ranks, and what had happened before."""
    product = np.array([next(iter(each)) for each in stage.people.targets(retrievers).products], np.int64)
    return Outcomes(np.arange(len(product)), product, np.zeros(len(product), bool), len(product), ranks), past_of(stage, retrievers)


def renumbered(folder: Path, random: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The files with identifiers drawn anew, rows shuffled, and what a user took on one day in an order drawn anew.

    A day has no finer order. The public file has one, by the publisher's own product numbers, which a model of sequences could learn: of two products
    of a day the later one always has the higher number, targets included.

    Raises:
        TrainingError: the files are not in the shape that `read_ranking` asks for.
    """
    interactions, items = read_ranking(folder)
    names = pd.Series([f"item{n}" for n in random.permutation(len(items))], index=items["asin"])
    users = np.unique(interactions["user_idx"])
    people = pd.Series([f"user{n}" for n in random.permutation(len(users))], index=users)
    interactions = interactions.assign(asin=interactions["asin"].map(names), user_idx=interactions["user_idx"].map(people))
    items = items.assign(asin=items["asin"].map(names))
    interactions = interactions.sample(frac=1, random_state=random).sort_values(["user_idx", "timestamp"], kind="stable")
    interactions["pos"] = interactions.groupby("user_idx").cumcount()
    mixed = interactions.sample(frac=1, random_state=random), items.sample(frac=1, random_state=random)
    return tuple(frame.drop(columns=["item_idx"], errors="ignore").reset_index(drop=True) for frame in mixed)  # type: ignore[return-value]


def _stage(interactions: pd.DataFrame, items: pd.DataFrame, known: Sequence[str], target: str, to: Path, settings: TrainingSettings) -> Stage:
    if "loo_split" not in interactions:
        raise TrainingError(f"{RANKING[0]}: column loo_split (train, valid or test) is missing; --protocol time does without.")
    to.mkdir(parents=True)
    interactions[interactions["loo_split"].isin(known)].to_parquet(to / RANKING[0])
    items.to_parquet(to / RANKING[1])
    wanted = interactions[interactions["loo_split"] == target]
    chosen = settings.model_copy(update={"home": settings.home / target})
    return Stage.of(to, dict(zip(wanted["user_idx"], wanted["asin"], strict=True)), chosen)
