"""`python -m training.pipeline [--shop NAME|FOLDER] [--data FOLDER]`: the flow of `make train`.

features -> what people did afterwards -> retrievers -> profile -> ranker -> evaluation -> writer -> MLflow -> gates -> champions. `make train` then
packs the bundle with `python -m serving.bundle`.

What is measured is fitted on the days before the test period. What is released is fitted again, with the parameters found, on everything.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from feature_repo import logs
from feature_repo.build import build, prepared
from feature_repo.circumstances import circumstances
from feature_repo.errors import StoryshelfError
from feature_repo.home import ShopHome
from feature_repo.store import fingerprint
from feature_repo.vectors import RANKER_FEATURES
from training import dataset, gates, labels, threads
from training.card import Data, card
from training.champion import Champion, compare
from training.content.train import Effort, WriterTraining, train_writer
from training.dataset import Audience, Scored
from training.evaluate import table
from training.evaluation import slices
from training.evaluation.period import Measured, blended, measure, rules_of
from training.evaluation.stack import Stack
from training.gates import Decision
from training.profile import ProfileModel
from training.ranker import train as ranker_train
from training.ranker.blend import NO_BLEND
from training.ranker.model import Ranker
from training.registry import ModelFolder, ModelMeta, RunFacts, champion, log_and_register
from training.retrieval import tune
from training.retrieval.model import Params, RetrieverSet
from training.retrieval.train import Fitter
from training.settings import TrainingSettings
from training.shop import Shop, open_shop

log = logging.getLogger(__name__)


FITTING = ("features", "reading", "profile", "retrievers", "label groups", "ranker", "final fit")
"""Steps that fit the recommender."""


@dataclass
class Timings:
    """Seconds per step, in order."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        log.info("%s ...", name)
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 1)
        log.info("%s: %.1f s", name, self.seconds[name])

    @property
    def fit_minutes(self) -> float:
        """What the recommender takes from the tables on: features, tuning and both fits, without what only measures them."""
        return sum(seconds for step, seconds in self.seconds.items() if step in FITTING) / 60


@dataclass(frozen=True)
class Recommender:
    """Everything about the recommender that is released or logged."""

    retrievers: RetrieverSet
    profile: ProfileModel
    ranker: Ranker
    trees: int
    measured: Measured
    ranker_metrics: Mapping[str, float]
    sample: pd.DataFrame


def train_recommender(shop: Shop, settings: TrainingSettings, timings: Timings, rules: bool = False) -> Recommender:
    """Tune, fit, measure, fit again. The plain list of steps behind the table. `rules`: also measure what each rule of a shelf costs."""
    periods = shop.periods
    with timings.step("profile"):
        choices = dataset.choices(shop.events, shop.catalogue, periods, shop.reader, settings)
        profile = ProfileModel.fit(choices)
    weights = profile.weights.tolist()
    with timings.step("retrievers"):
        people = dataset.audience(shop.events, shop.kind, periods.tune, periods.test, shop.reader, settings, shop.repeat_buying)
        fitters: list[Fitter] = []
        sets: list[RetrieverSet] = []
        for cut in periods.cuts:  # the last but one is the start of the tuning period
            fitters.append(shop.fitter(cut, sets[-1] if sets else None))
            sets.append(fitters[-1].set(Params(), shop.repeat_buying, weights, shop.catalogue.embedding_version))
        params, tuned_figures = tune.tuned(fitters[-2], sets[-2], people)
        fitted = [fitter.change(found, params) for fitter, found in zip(fitters, sets, strict=True)]
    with timings.step("label groups"):
        found = labels.labels_of(shop.events, shop.kind, periods, settings)
        groups = dataset.groups_of(found, shop.reader, fitted, periods, settings)
        rows = dataset.training_rows(groups, fitted, shop.reader, profile.weights, settings)
    with timings.step("ranker"):
        meta = ModelMeta("ranker", "lambdamart", window=shop.window)
        earlier = rows.where(rows.at < periods.test.timestamp())
        # Labels so close to the tuning period that their outcomes lie in it are left out.
        train = earlier.where(earlier.at < (periods.tune - timedelta(days=settings.label_horizon_days - 1)).timestamp())
        asked = Scored.of(people, fitted[-2], shop.reader, profile.weights, settings.candidates)
        watch = asked.labelled()
        tunable = bool(len(train.group) and len(watch.group))
        if not tunable:  # too short a past for a tuning period
            train, watch = ranker_train.halves(earlier)
        tuning, trees, watched = ranker_train.enough_trees(train, watch, RANKER_FEATURES, meta, settings)
        best = max(tuned_figures, key=tuned_figures.__getitem__, default="popular")
        before = Stack(fitted[-2], profile.weights, tuning, shop.reader, settings.candidates)
        blend = blended(shop, asked, before, best) if tunable else NO_BLEND
        ranker = ranker_train.fit(earlier, RANKER_FEATURES, meta, settings, trees, blend)
    with timings.step("evaluation"):
        stack = replace(before, retrievers=fitted[-1], ranker=ranker)
        of_new = tune.discovery(fitted[-2], people)
        best_new = max(of_new, key=of_new.__getitem__, default="popular")
        measured = measure(shop, stack, best, best_new, settings, rules)
        if rules:
            tuned = rules_of(shop, asked, replace(before, ranker=tuning.blended(blend)))
            measured = replace(measured, rules={"tuning": tuned, **measured.rules})
    with timings.step("champion"):

        def fresh(people: Audience, until: datetime) -> tuple[Scored, Ranker]:
            """This recipe, knowing what was known at `until`."""
            earlier = [found for cut, found in zip(periods.cuts, fitted, strict=True) if cut <= until]
            then = shop.retrievers(until, params, weights, earlier[-1])
            # Labels so close to the moment that their outcomes lie after it are left out.
            known = rows.where(rows.at < (until - timedelta(days=max(1, settings.label_horizon_days))).timestamp())
            again = ranker_train.fit(known, RANKER_FEATURES, meta, settings, trees, blend)
            return Scored.of(people, then, shop.reader, profile.weights, settings.candidates), again

        measured = measured.beside(against_champion(shop, measured, fresh, settings))
    with timings.step("final fit"):
        final = shop.retrievers(periods.end, params, weights, fitted[-1])
        ranker = ranker_train.fit(rows, RANKER_FEATURES, meta, settings, trees, blend)
    figures = {"ranker_trees": float(trees), "ranker_tuning_ndcg_10": watched, "label_groups": float(len(groups))}
    figures |= {"tuned_" + name + "_ndcg_10": value for name, value in tuned_figures.items()}
    sample = pd.DataFrame(rows.matrix[:20], columns=list(RANKER_FEATURES)).assign(product_category="")
    return Recommender(final, profile, ranker, trees, measured, figures, sample)


def against_champion(
    shop: Shop, measured: Measured, fresh: Callable[[Audience, datetime], tuple[Scored, Ranker]], settings: TrainingSettings
) -> Mapping[str, Mapping[str, float]]:
    """How much better than the champion, by kind of model; {} where there is none that can be compared with."""
    reigning = Champion.of(shop.home)
    if reigning is None:
        return {}
    if reigning.window == shop.window:  # the same data: both were measured on the same test period
        figures = {"ranker": (measured.ranker, "ndcg_10"), "retriever": (measured.retriever, "recall_candidates")}
        return {
            kind: {"above_champion_upper": mine[name] - reigning.metrics[kind][name]}
            for kind, (mine, name) in figures.items()
            if name in mine and name in reigning.metrics[kind]
        }
    since = max(reigning.until, shop.periods.test)  # parameters were chosen on the days before the test period
    people = dataset.audience(shop.events, shop.kind, since, shop.periods.end, shop.reader, settings, shop.repeat_buying)
    return compare(reigning, people, shop.catalogue, since, shop.reader, settings.candidates, partial(fresh, people, since))


def seal(shop: Shop, found: Recommender, writer: WriterTraining, work: Path, settings: TrainingSettings) -> dict[str, ModelFolder]:
    """Model folders by kind. The ranker names the content of the retriever's folder, so that one is sealed first."""
    folder = work / "retriever"
    found.retrievers.save(folder)
    found.profile.save(folder)
    params = {**vars(found.retrievers.params), **{f"weight_{signal}": weight for signal, weight in found.profile.signal_weights.items()}}
    params |= {"learned_signals": ",".join(found.profile.learned), "repeat_buying": shop.repeat_buying, "embedding": shop.catalogue.embedding_version}
    common: dict[str, Any] = {"window": shop.window, "seed": settings.seed}
    prints = {service: fingerprint(service) for service in ("retriever_v1", "ranker_v1", "writer_v1")}
    needs = {"embedding": shop.catalogue.embedding_version}
    meta = ModelMeta(
        "retriever", "set-of-eight", "retriever_v1", prints["retriever_v1"], requires=needs, metrics=found.measured.retriever, params=params, **common
    )
    sealed = {"retriever": ModelFolder.write(folder, meta)}
    needs |= {"retriever": sealed["retriever"].version, "ranker_v1": prints["ranker_v1"]}
    found.ranker.save(work / "ranker")
    params = {**ranker_train.PARAMS, "trees": found.trees, "features": len(RANKER_FEATURES), "candidates": settings.candidates}
    params |= {f"blend_{name}": value for name, value in asdict(found.ranker.blend).items()}
    metrics = {**found.measured.ranker, **found.ranker_metrics}
    meta = ModelMeta("ranker", "lambdamart", "ranker_v1", prints["ranker_v1"], requires=needs, metrics=metrics, params=params, **common)
    sealed["ranker"] = ModelFolder.write(work / "ranker", meta)
    meta = ModelMeta("writer", "transformer", "writer_v1", prints["writer_v1"], metrics=writer.metrics, params=writer.params, **common)
    return sealed | {"writer": ModelFolder.write(writer.folder, meta)}


def register(shop: Shop, found: Recommender, writer: WriterTraining, sealed: Mapping[str, ModelFolder], settings: TrainingSettings) -> list[Decision]:
    """One MLflow run and one registered version per model, then the gates and what they allow."""
    facts = RunFacts.collect(shop.data_hash)
    query = pd.DataFrame([{"product_ids": "[]", "last_purchase": "[]", "as_of": shop.periods.end.isoformat()}])
    draft = pd.DataFrame([{"part": "title", "language": "en", "tone": "plain", "aspect": "design", "domain": "general", "slots": '["title"]'}])
    samples = {"retriever": query, "ranker": found.sample, "writer": draft}
    shares = ranker_train.importance(found.ranker)
    artifacts: dict[str, dict[str, Any]] = {
        "retriever": {
            "profile.txt": "\n".join(found.profile.lines()),
            "profile_weights.png": _bars(found.profile.signal_weights, "weight per signal"),
        },
        "ranker": {
            "evaluation.txt": "\n".join(table(found.measured.report)),
            "evaluation.json": found.measured.report,
            "slices.txt": "\n".join(slices.lines(found.measured.slices)),
            "slices.json": found.measured.slices.json(),
            "evaluation.png": _bars(
                {method: part["all"].get("ndcg_10", 0.0) for method, part in found.measured.report.items()}, "NDCG@10, all targets"
            ),
            "importance.json": shares,
            "importance.png": _bars(shares, "share of gain"),
            "features.json": list(RANKER_FEATURES),
        },
        "writer": {"samples.csv": writer.samples},
    }
    for kind in ("retriever", "ranker"):
        judged = gates.gates_of(kind, sealed[kind].meta.metrics, settings, champion(shop.home, kind) is not None)
        artifacts[kind]["model_card.md"] = card(sealed[kind], facts, _card_data(shop), found.measured.report, found.measured.slices, judged)
    versions = {kind: log_and_register(shop.home, sealed[kind], facts, samples[kind], artifacts[kind]) for kind in sealed}
    return gates.enact(shop.home, [gates.decide(shop.home, kind, version, settings) for kind, version in versions.items()])


def _card_data(shop: Shop) -> Data:
    periods = shop.periods
    tuned, tested = ((since.isoformat(), until.isoformat()) for since, until in ((periods.tune, periods.test), (periods.test, periods.end)))
    users = int(shop.events["user_id"].nunique())
    simulated = shop.home.shop == "demo"
    return Data(shop.home.shop, simulated, shop.kind, len(shop.events), users, len(shop.catalogue.frame), tuned, tested, shop.repeat_buying)


def _bars(values: Mapping[str, float], title: str) -> Figure:
    figure = Figure(figsize=(7, 0.6 + 0.3 * max(len(values), 1)), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(values)[::-1], list(values.values())[::-1], color="#3b6ea5")
    axes.set_title(title)
    return figure


def write_report(shop: Shop, found: Recommender, timings: Timings, file: Path) -> None:
    """The table as JSON: what was held out, how it was tuned, every figure, and how long each step took."""
    periods = shop.periods
    about = {
        "shop": shop.home.shop,
        "test_from": periods.test.isoformat(),
        "test_until": periods.end.isoformat(),
        "tuned_on": [periods.tune.isoformat(), periods.test.isoformat()],
        "targets": f"distinct products of events of type '{shop.kind}' in the test period, of users with such an event before it",
        "repeats_allowed": shop.repeat_buying,
        "retriever_parameters": vars(found.retrievers.params),
        "trees": found.trees,
        "blend": asdict(found.ranker.blend),
        "figures": found.measured.report,
        "slices": found.measured.slices.json(),
        "behaviour": found.measured.behaviour,
        "rules": {period: [row.as_json() for row in rows] for period, rows in found.measured.rules.items()},
        "seconds": timings.seconds,
        "fit_minutes": timings.fit_minutes,
        **circumstances(),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(about, indent=1) + "\n")


def summary(shop: Shop, found: Recommender, decisions: Sequence[Decision], timings: Timings) -> str:
    """What a person reads at the end of `make train`."""
    lines = ["", f"Profile of shop '{shop.home.shop}'", *found.profile.lines(), ""]
    lines += [f"Test period {shop.periods.test:%Y-%m-%d} .. {shop.periods.end:%Y-%m-%d}, targets: {shop.kind}", *table(found.measured.report), ""]
    lines += [*slices.lines(found.measured.slices), ""]
    for decision in decisions:
        version = decision.version
        lines.append(f"{version.name} version {version.version}: {decision.alias or 'registered without an alias'}")
        lines += [f"  {'passed' if gate.passed else 'FAILED'}: {gate.name} ({gate.reason})" for gate in decision.gates]
    lines += [
        "",
        *(f"{seconds:>7.1f} s  {step}" for step, seconds in timings.seconds.items()),
        f"{sum(timings.seconds.values()):>7.1f} s  in all",
        "",
    ]
    lines.append("Next: `make serve`, `make mlflow` (a challenger is promoted there: give it the alias champion), `make demo`, `make monitor`")
    return "\n".join(lines)


def run(settings: TrainingSettings, source: str, folder: Path | None, report: Path | None = None, effort: Effort | None = None) -> str:
    """The whole flow; returns the summary. `effort`: how long to train the writer."""
    timings = Timings()
    with ExitStack() as held:
        with timings.step("data"):
            home = held.enter_context(prepared(settings, source, folder))
        return _run(home, settings, timings, report, effort)


def _run(home: ShopHome, settings: TrainingSettings, timings: Timings, report: Path | None, effort: Effort | None) -> str:
    with timings.step("features"):
        print(build(home, settings).text())
    with timings.step("reading"):
        shop = open_shop(home, settings)
    found = train_recommender(shop, settings, timings, rules=report is not None)
    with tempfile.TemporaryDirectory(dir=home.root, prefix="training-") as scratch:
        with timings.step("writer"):
            writer = train_writer(home, settings, Path(scratch) / "writer", sys.stderr.isatty(), effort)
        with timings.step("registration"):
            sealed = seal(shop, found, writer, Path(scratch), settings)
            decisions = register(shop, found, writer, sealed, settings)
    write_report(shop, found, timings, home.evaluation_file)
    if report:
        write_report(shop, found, timings, report)
    home.remember_as_last()
    return summary(shop, found, decisions, timings)


def main() -> None:
    parser = argparse.ArgumentParser(description="Read a shop, build features, train, evaluate and register its models.")
    parser.add_argument("--shop", default="", help="demo (the default), online_retail, amazon_beauty, a folder of tables, or a shop made before")
    parser.add_argument("--data", type=Path, default=None, help="folder with the tables of a named source")
    parser.add_argument("--report", type=Path, default=None, help="also write the evaluation, and what each rule of a shelf costs, to this file")
    arguments = parser.parse_args()
    logs.configure()
    threads.one()
    try:
        settings = TrainingSettings.read()
        print(run(settings, arguments.shop or settings.shop or "demo", arguments.data, arguments.report))
    except StoryshelfError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
