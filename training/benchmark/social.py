"""What social ties add to the recommender, on ratings and a trust network without times.

DIR holds ratings.parquet (user_id, product_id, category_id, …) and trust.parquet (truster, trustee) in the shape of Ciao (Tang, Gao and Liu 2012,
"mTrust"). Whoever rated a product had it, so each rating is a purchase, whatever its stars, as in amazon_beauty; trust is a tie of kind follow.

- Seeded random hold-out: of everybody with three ratings or more one is the test target and one the validation target, drawn at random.
- There are no times: each of the other ratings gets one of four days at random, which tells nothing. Trust is as old as the shop.
- Two halves of the people, drawn at random: on the validation targets of the one parameters are chosen and the ranker learns; the test targets of
  the other are ranked once, so no ranker has seen the person it is measured on.
- The whole catalogue is ranked, known products left out, ties counted against us; a product that nobody else rated counts against every method.
- The full stack is built three times from the same ratings: without ties, with them, and with strangers in their place (whom everybody follows is
  permuted: as many follow as many). What `with` has over `without` is what retriever and features of the ties add; strangers should add nothing.
- Left out for want of anything to learn from: next item and the sequential transformer (no order), the text embedding (no text).

Per seed identifiers are drawn anew and rows shuffled.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo.build import build, prepared
from feature_repo.circumstances import circumstances, peak_gb
from feature_repo.declarations import RETRIEVERS
from feature_repo.online import ProductMatrix
from feature_repo.store import Build, features_of
from feature_repo.vectors import RANKER_FEATURES, USER_SCALARS
from training import dataset
from training.benchmark.figures import CUTS, Ranks, figures_of, ndcg, ranks_of, retriever_ranks
from training.benchmark.files import read_files
from training.dataset import Audience, Catalogue, Person, Scored
from training.evaluation.period import METHODS
from training.evaluation.slices import OUT_OF_REACH
from training.labels import JUST_BEFORE, Periods
from training.pipeline import Timings
from training.profile import ProfileModel
from training.ranker import train as ranker_train
from training.registry import ModelMeta
from training.retrieval import tune
from training.retrieval.contract import Fitted, Floats, Index, Products, Proposals, Query
from training.retrieval.model import Params, RetrieverSet
from training.retrieval.train import COUNTED, Fitter
from training.settings import TrainingSettings

log = logging.getLogger(__name__)

FILES = ("ratings.parquet", "trust.parquet")
FIRST_DAY, DAYS = pd.Timestamp("2011-05-01", tz="UTC"), 4
FEWEST = 3
"""Ratings of a person who is measured: one for the test, one for validation, one that is known."""
MEASURED = 3_000
"""People whose test target is ranked, at most half of all."""
WATCHED = 500
"""Of the others, those whose validation target chooses the retrievers' parameters."""
FEW = 5
"""Known ratings, at most, of the people with few."""
ARMS = ("without ties", "with ties", "with strangers")
LEFT_OUT = ("next_item", "sequential")
ALONE = tuple(name for name in RETRIEVERS if name not in (*LEFT_OUT, "embedding", "repeat"))
SOCIAL, STACK = METHODS["social"], "full stack"
DRAWS = 2_000
"""Samples of the people behind an interval."""


@dataclass(frozen=True)
class Ratings:
    """What is known, and one target per person and part; users and products by names that mean nothing."""

    known: pd.DataFrame  # user, product, day
    valid: Mapping[str, str]
    test: Mapping[str, str]
    categories: Mapping[str, str]  # of every product
    trust: pd.DataFrame  # truster, trustee
    people: Mapping[str, Any]  # of every user who rated: their id in the file, the same for all seeds


@dataclass(frozen=True)
class Silent:
    """Stands for a retriever that has nothing to learn from: it proposes nothing."""

    count: int

    def scores(self, query: Query) -> Floats:
        return np.zeros(self.count, np.float32)

    def best(self, query: Query, depth: int, barred: Index) -> Proposals:
        return np.zeros(0, np.int32), np.zeros(0, np.float32)

    def over(self, products: Products) -> "Silent":
        return Silent(len(products))

    def save(self, folder: Path) -> None:
        """Has no files."""


def read(folder: Path, random: np.random.Generator) -> Ratings:
    """The files with identifiers drawn anew, rows shuffled, targets held out and days drawn. A product rated twice by one person counts once.

    Raises:
        TrainingError: a file is missing.
    """
    ratings, trust = read_files(folder, FILES, "Ciao")
    users = _names("user", [ratings["user_id"], trust["truster"], trust["trustee"]], random)
    products = _names("item", [ratings["product_id"]], random)
    mixed = ratings.drop_duplicates(["user_id", "product_id"]).sample(frac=1, random_state=random)
    frame = pd.DataFrame({"user": mixed["user_id"].map(users), "product": mixed["product_id"].map(products)})
    categories = dict(zip(frame["product"], "Category " + mixed["category_id"].astype(str), strict=True))
    place = frame.groupby("user").cumcount()
    enough = frame.groupby("user")["product"].transform("size") >= FEWEST
    held = []
    for number in (0, 1):
        mine = frame[enough & (place == number)]
        held.append(dict(zip(mine["user"].astype(str), mine["product"].astype(str), strict=True)))
    known = frame[~(enough & (place < len(held)))].reset_index(drop=True)
    known["day"] = random.integers(0, DAYS, len(known))
    ties = pd.DataFrame({name: trust[name].map(users) for name in ("truster", "trustee")})
    ties = ties[ties["truster"] != ties["trustee"]].drop_duplicates(ignore_index=True)
    people = dict(zip(frame["user"], mixed["user_id"], strict=True))
    return Ratings(known, held[1], held[0], categories, ties, people)


def _names(kind: str, columns: Sequence[pd.Series], random: np.random.Generator) -> pd.Series:
    every = np.unique(np.concatenate([column.to_numpy() for column in columns]))
    return pd.Series([f"{kind}{number}" for number in random.permutation(len(every))], index=every)


def strangers(trust: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Everybody follows as many as before and is followed by as many, give or take those they would follow twice; whom is left to chance."""
    mixed = trust.assign(trustee=random.permutation(trust["trustee"].to_numpy()))
    return mixed[mixed["truster"] != mixed["trustee"]].drop_duplicates(ignore_index=True)


def write_shop(ratings: Ratings, trust: pd.DataFrame | None, to: Path) -> Path:
    """A shop's folder of what is known. The day after the last rating somebody unknown is shown something, so that the shop's clock stands there."""
    to.mkdir(parents=True)
    (to / "shop.toml").write_text("repeat_buying = false\n")
    products = pd.DataFrame({"product_id": list(ratings.categories), "title": None, "category": list(ratings.categories.values())})
    products.sort_values("product_id").to_parquet(to / "products.parquet")
    known = ratings.known
    events = pd.DataFrame(
        {
            "event_type": "purchase", "user_id": known["user"], "product_id": known["product"],
            "event_time": FIRST_DAY + pd.to_timedelta(known["day"], unit="D"), "sequence": np.arange(len(known)),
        }
    )  # fmt: skip
    last = {"event_type": "impression", "user_id": None, "product_id": known["product"].iloc[0], "event_time": FIRST_DAY + pd.Timedelta(days=DAYS)}
    pd.concat([events, pd.DataFrame([last | {"sequence": len(known)}])], ignore_index=True).to_parquet(to / "events.parquet")
    if trust is not None:
        pd.DataFrame({"user_id": trust["truster"], "kind": "follow", "target": trust["trustee"]}).to_parquet(to / "ties.parquet")
    return to


@dataclass(frozen=True)
class Arm:
    """One build of the shop: what it knows, its profile's weights, and the two halves of the people."""

    catalogue: Catalogue
    reader: dataset.Reader
    events: pd.DataFrame
    made: Build
    weights: NDArray[np.float32]
    learners: Audience  # want their validation target
    measured: Audience  # want their test target

    @classmethod
    def of(cls, folder: Path, ratings: Ratings, halves: tuple[Sequence[str], Sequence[str]], settings: TrainingSettings) -> "Arm":
        with prepared(settings, str(folder), None) as home:
            build(home, settings)
        made = Build.current(home)
        events = pd.read_parquet(home.tables / "events.parquet")
        reader = partial(features_of, made.store())
        catalogue = Catalogue.of(ProductMatrix.load(made))
        catalogue = replace(catalogue, vectors=np.zeros_like(catalogue.vectors))  # names of categories are no text
        profile = ProfileModel.fit(dataset.choices(events, catalogue, Periods.of(events, settings), reader, settings))
        names = home.pseudonyms(settings)
        before = ratings.known.groupby("user")["product"].agg(frozenset)

        def audience(users: Sequence[str], targets: Mapping[str, str], seen: Mapping[str, str]) -> Audience:
            found = dataset.people(reader, [names.user(user) for user in users], [made.as_of + 2 * JUST_BEFORE] * len(users))
            known = tuple(before[user] | {seen[user]} if user in seen else before[user] for user in users)
            return Audience(tuple(found), tuple(frozenset([targets[user]]) for user in users), known)

        learners, measured = halves
        return cls(
            catalogue, reader, events, made, profile.weights,
            audience(learners, ratings.valid, {}), audience(measured, ratings.test, ratings.valid),
        )  # fmt: skip


def halves_of(ratings: Ratings, random: np.random.Generator) -> tuple[list[str], list[str]]:
    """People to learn from and people to measure on; only those of whom something is known."""
    known = set(ratings.known["user"])
    users = [user for user in ratings.test if user in known]
    mixed = [users[place] for place in random.permutation(len(users))]
    count = min(MEASURED, len(mixed) // 2)
    return mixed[count:], mixed[:count]


def stack_ranks(arm: Arm, found: RetrieverSet, settings: TrainingSettings) -> tuple[Ranks, int]:
    """int64[users]: rank of each one's test target by the ranker, which learned from the other half; and its number of trees."""
    learned = Scored.of(arm.learners, found, arm.reader, arm.weights, settings.candidates).labelled()
    train, watch = ranker_train.halves(learned)
    meta = ModelMeta("ranker", "lambdamart")
    _, trees, _ = ranker_train.enough_trees(train, watch, RANKER_FEATURES, meta, settings)
    ranker = ranker_train.fit(learned, RANKER_FEATURES, meta, settings, trees)
    scored = Scored.of(arm.measured, found, arm.reader, arm.weights, settings.candidates)
    ranks = []
    for candidates, rows, wanted, seen in zip(scored.candidates, scored.rows, scored.targets.products, arm.measured.had(found), strict=True):
        target = np.flatnonzero(candidates.index == next(iter(wanted)))
        scores = np.where(np.isin(candidates.index, seen), -np.inf, ranker.score(rows, scored.categories[candidates.index]))
        ranks.append(ranks_of(scores, int(target[0]) if len(target) else -1))
    return np.array(ranks, np.int64), trees


@dataclass(frozen=True)
class Run:
    """What one seed gave: who was measured, by their ids in the file; method -> rank of each one's target, in their order; slices of them; what was
    chosen."""

    people: Sequence[Any]
    ranks: Mapping[str, Ranks]
    slices: Mapping[str, NDArray[np.bool_]]
    reached: Mapping[str, float]  # arm -> share of the targets among the candidates
    params: Mapping[str, float]
    minutes: float
    counts: Mapping[str, int]


def run(folder: Path, seed: int, settings: TrainingSettings, scratch: Path) -> Run:
    """One seed, from the files to the ranks. The home's folder of `settings` is not used."""
    started, timings, random = time.monotonic(), Timings(), np.random.default_rng(seed)
    ratings = read(folder, random)
    halves = halves_of(ratings, random)
    settings = settings.model_copy(update={"seed": seed, "home": scratch / "homes"})
    trusts = {"without ties": None, "with ties": ratings.trust, "with strangers": strangers(ratings.trust, random)}
    fitted: Mapping[str, Fitted] = {}
    ranks: dict[str, Ranks] = {}
    params, reached, trees = Params(), {}, {}
    for arm in ("with ties", "without ties", "with strangers"):
        with timings.step(f"{arm}: features"):
            stage = Arm.of(write_shop(ratings, trusts[arm], scratch / arm.replace(" ", "_")), ratings, halves, settings)
        products, about = stage.catalogue.products(), (False, stage.weights.tolist(), stage.catalogue.embedding_version)
        with timings.step(f"{arm}: retrievers"):
            if not fitted:  # the same ratings in each of them
                fitter = Fitter.before(stage.events, products, stage.made.as_of, settings.seed)
                fits = {name: Silent(len(products)) if name in LEFT_OUT else fitter.fit(name, params) for name in COUNTED}
                base = RetrieverSet(products, fits, params, *about)
                params, _ = tune.tuned(fitter, base, stage.learners.part(range(min(WATCHED, len(stage.learners.people)))))
                fitted = fitter.change(base, params).fitted
            found = RetrieverSet(products, fitted, params, *about)
            if arm == "with ties":
                ranks |= {METHODS[name]: retriever_ranks(found, name, stage.measured) for name in ALONE}
                slices = _slices(stage.measured.people)
            elif arm == "with strangers":
                ranks[f"{SOCIAL}, {arm}"] = retriever_ranks(found, "social", stage.measured)
        with timings.step(f"{arm}: ranker"):
            ranks[f"{STACK} {arm}"], trees[f"trees {arm}"] = stack_ranks(stage, found, settings)
        reached[arm] = float((ranks[f"{STACK} {arm}"] < OUT_OF_REACH).mean())
    log.info("Seed %d: %s", seed, json.dumps(timings.seconds))
    counts = {
        "users": ratings.known["user"].nunique(), "products": len(ratings.categories), "known_ratings": len(ratings.known),
        "ties": len(ratings.trust), "learners": len(halves[0]), "measured": len(halves[1]),
    }  # fmt: skip
    rated = set(ratings.known["product"])
    counts["targets_nobody_else_rated"] = sum(ratings.test[user] not in rated for user in halves[1])
    measured = [ratings.people[user] for user in halves[1]]
    return Run(measured, ranks, slices, reached, {**vars(params), **trees}, (time.monotonic() - started) / 60, counts)


def _slices(people: Sequence[Person]) -> dict[str, NDArray[np.bool_]]:
    """Who belongs to which slice: bool[users]."""
    followed = np.array([person.scalars[USER_SCALARS.index("user_followed")] > 0 for person in people])
    few = np.array([len(person.history.products) <= FEW for person in people])
    return {"all": np.ones(len(people), bool), "with ties": followed, "few ratings": few, "few ratings, with ties": few & followed}


def interval(gains: NDArray[np.float64], people: NDArray[Any], random: np.random.Generator, draws: int = DRAWS) -> tuple[float, float]:
    """95 % interval of a mean: percentile bootstrap (Efron 1979), people drawn with replacement, each with all their gains.

    Args:
        gains: float64[n].
        people: whose each gain is, id[n]; somebody measured with several seeds has several.
    """
    owner, names = pd.factorize(people)
    sums, counts = np.bincount(owner, weights=gains), np.bincount(owner)
    drawn = (random.integers(0, len(names), len(names)) for _ in range(draws))
    means = [sums[some].sum() / counts[some].sum() for some in drawn]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def report(runs: Mapping[int, Run]) -> dict[str, Any]:
    """The JSON: figures per slice and method (mean over seeds), and what ties add to the full stack, intervals over the people of all seeds."""
    first = next(iter(runs.values()))
    figures = {
        part: {
            "people": float(np.mean([run.slices[part].sum() for run in runs.values()])),
            **{method: _mean([figures_of(run.ranks[method][run.slices[part]]) for run in runs.values()]) for method in first.ranks},
        }
        for part, some in first.slices.items()
        if some.any()
    }
    added = {
        f"{arm}, over without ties": {
            part: {f"ndcg@{k}": _difference(runs, part, f"{STACK} {arm}", f"{STACK} without ties", k) for k in CUTS[1:]} for part in figures
        }
        for arm in ARMS[1:]
    }
    return {
        "protocol": "seeded random hold-out, one test target each", "figures": figures, "added": added,
        "reached": _mean([run.reached for run in runs.values()]), "counts": {str(seed): dict(run.counts) for seed, run in runs.items()},
        "seeds": list(runs), "parameters": {str(seed): dict(run.params) for seed, run in runs.items()},
        "minutes": float(np.mean([run.minutes for run in runs.values()])), "peak_gb": peak_gb(), **circumstances(),
    }  # fmt: skip


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _difference(runs: Mapping[int, Run], part: str, method: str, other: str, k: int) -> dict[str, float]:
    gains = np.concatenate([(ndcg(run.ranks[method], k) - ndcg(run.ranks[other], k))[run.slices[part]] for run in runs.values()])
    people = np.concatenate([np.asarray(run.people)[run.slices[part]] for run in runs.values()])
    low, high = interval(gains, people, np.random.default_rng(0))
    return {"mean": float(gains.mean()), "low": low, "high": high}


def table(found: Mapping[str, Any]) -> str:
    """What is printed: per slice a line per method, then what the ties added."""
    names = ("hr@10", "ndcg@10", "hr@20", "ndcg@20")
    lines = []
    for part, methods in found["figures"].items():
        lines.append(f"{part}: {methods['people']:.0f} people\n  " + " " * 30 + "".join(f"{name:>10}" for name in names))
        lines += [f"  {method:<30}" + "".join(f"{each[name]:>10.4f}" for name in names) for method, each in methods.items() if method != "people"]
    for what, parts in found["added"].items():
        lines += [
            f"{what}, {part}: NDCG@10 {each['ndcg@10']['mean']:+.4f} [{each['ndcg@10']['low']:+.4f}, {each['ndcg@10']['high']:+.4f}]"
            for part, each in parts.items()
        ]
    return "\n".join(lines)
