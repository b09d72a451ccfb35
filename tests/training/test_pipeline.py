"""The flow of make train on the corner shop: models registered and released together, figures that repeat, and nothing from the future."""

import json
import shutil
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest

from feature_repo.build import build, prepared
from feature_repo.home import ShopHome, last_shop
from feature_repo.online import ProductMatrix, UserReader, ranker_matrix
from feature_repo.store import Build, features_of, fingerprint
from training import dataset, labels, pipeline
from training.content.train import Effort
from training.evaluation.stack import Stack
from training.profile import ProfileModel
from training.ranker.model import Ranker
from training.registry import champion, download
from training.retrieval.model import Params, RetrieverSet
from training.retrieval.train import Fitter
from training.settings import TrainingSettings
from training.shop import open_shop

CORNER = Path(__file__).parents[1] / "data" / "corner_shop"


def settings(home: Path) -> TrainingSettings:
    # A writer of twenty steps writes badly.
    return TrainingSettings(home=home, trees=20, threads=1, device="cpu", gate_violating=1.0, gate_fallback=1.0)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(scope="module")
def summary(homes: Path) -> str:
    return pipeline.run(settings(homes), str(CORNER), None, homes / "report.json", Effort(lines=1500, steps=20, measured=20))


@pytest.fixture(scope="module")
def home(homes: Path, summary: str) -> ShopHome:
    return ShopHome.open(settings(homes), "corner_shop")


def test_three_models_are_registered_and_fit_together(home: ShopHome, tmp_path: Path) -> None:
    found = {kind: champion(home, kind) for kind in ("retriever", "ranker", "writer")}
    assert found["retriever"] and found["ranker"]
    assert found["ranker"].requires["retriever"] == found["retriever"].content
    assert found["ranker"].requires["ranker_v1"] == fingerprint("ranker_v1")
    assert found["ranker"].requires["embedding"] == ProductMatrix.load(Build.current(home)).embedding_version
    folder = download(home, "retriever", "champion", tmp_path / "retriever")
    assert RetrieverSet.load(folder.path).version == found["retriever"].content
    assert ProfileModel.load(folder.path).learned
    assert last_shop(settings(home.root.parent)) == "corner_shop"


def test_the_summary_has_the_table_the_ablation_and_what_to_do_next(summary: str, homes: Path) -> None:
    for words in (
        "popularity",
        "item-to-item",
        "own purchases",
        "ranker",
        "B+S+N",
        "new-to-customer targets",
        "storyshelf-writer version 1",
        "make serve",
        "users: light",
        "beyond accuracy",
        "passed: similar histories give similar lists",
    ):
        assert words in summary
    assert (homes / "report.json").read_text() == (homes / "corner_shop" / "evaluation.json").read_text()


def test_the_report_has_slices_and_behaviour(summary: str, homes: Path) -> None:
    found = json.loads((homes / "report.json").read_text())
    parts = {(part["kind"], part["name"]): part for part in found["slices"]["slices"]}
    whole = parts["all", "all targets"]
    assert whole["methods"]["ranker"]["ndcg_10"]["value"] == pytest.approx(found["figures"]["ranker"]["all"]["ndcg_10"])
    assert whole["users"] == found["figures"]["ranker"]["all"]["users"]
    assert sum(parts["users", name]["targets"] for name in ("light", "medium", "heavy")) == whole["targets"]
    assert sum(parts["products", name]["targets"] for name in ("head", "tail", "new") if ("products", name) in parts) == whole["targets"]
    assert parts["cold start", "new users"]["users"] > 0
    assert found["slices"]["baseline"] in found["figures"]
    assert found["behaviour"]["similar_lists_people"] >= 20 and found["behaviour"]["empty_lists"] == 0.0
    assert 0 < found["figures"]["ranker"]["all"]["gini_10"] < 1


@pytest.mark.parametrize("kind", ["retriever", "ranker"])
def test_every_run_has_a_model_card(home: ShopHome, kind: str, tmp_path: Path) -> None:
    mlflow.set_tracking_uri(home.mlflow_uri)
    run = champion(home, kind).run_id
    found = Path(mlflow.artifacts.download_artifacts(run_id=run, artifact_path="model_card.md", dst_path=str(tmp_path))).read_text()
    assert f"# Model card: {kind} of shop 'corner_shop'" in found and "users: light" in found and "nan" not in found
    assert champion(home, kind).content in found


@pytest.mark.parametrize("kind", ["retriever", "ranker", "writer"])
def test_mlflow_loads_and_scores_every_model(home: ShopHome, kind: str) -> None:
    mlflow.set_tracking_uri(home.mlflow_uri)
    model = mlflow.pyfunc.load_model(f"models:/storyshelf-{kind}/1")
    names = model.metadata.signature.inputs.input_names()
    questions = {
        "retriever": {"product_ids": "[]", "last_purchase": "[]", "as_of": "2024-05-01T00:00:00+00:00"},
        "ranker": dict.fromkeys(names, np.float32(1.0)) | {"product_category": "Tea"},
        "writer": {"part": "title", "language": "en", "tone": "plain", "aspect": "design", "domain": "general", "slots": '["title"]'},
    }
    asked = pd.DataFrame([questions[kind]])
    if kind == "ranker":
        asked = asked.astype(dict.fromkeys(set(names) - {"product_category"}, np.float32))
    assert len(model.predict(asked)) == 1


def test_the_champions_score_a_real_customer(home: ShopHome, tmp_path: Path) -> None:
    retrievers = RetrieverSet.load(download(home, "retriever", "champion", tmp_path / "retriever").path)
    weights = ProfileModel.load(tmp_path / "retriever").weights
    ranker = Ranker.load(download(home, "ranker", "champion", tmp_path / "ranker").path, fingerprint("ranker_v1"))
    matrix = ProductMatrix.load(Build.current(home))
    events = pd.read_parquet(home.tables / "events.parquet")
    now = home.clock().now()
    user = UserReader(home).read(str(events["user_id"].dropna().iloc[-1]), now.timestamp())
    assert user
    found = retrievers.retrieve(user.history, now, 20, user.interests, user.circle)
    index = np.array([matrix.index[str(product)] for product in retrievers.product_ids[found.index]])
    rows = ranker_matrix(user, matrix, index, now.timestamp(), weights, found.scores, found.ranks)
    scores = ranker.score(rows, retrievers.products.categories[found.index])
    assert len(set(scores.tolist())) > 1 and np.isfinite(scores).all()


def test_the_same_features_give_the_same_figures(home: ShopHome) -> None:
    chosen = settings(home.root.parent)
    shop = open_shop(home, chosen)
    once, again = (pipeline.train_recommender(shop, chosen, pipeline.Timings()) for _ in range(2))
    assert once.measured == again.measured
    assert once.profile == again.profile
    kept = champion(home, "ranker")
    assert kept and kept.metrics["ndcg_10"] == pytest.approx(once.measured.ranker["ndcg_10"], abs=1e-4)


def test_training_rows_equal_what_serving_computes(home: ShopHome) -> None:
    """Skew: the row of a label as of the build and the row the hot path makes are the same numbers."""
    store = Build.current(home).store()
    matrix = ProductMatrix.load(Build.current(home))
    now = matrix.as_of
    events = pd.read_parquet(home.tables / "events.parquet")
    user = UserReader(home).read(str(events["user_id"].dropna().iloc[-1]), now.timestamp())
    assert user
    catalogue = dataset.Catalogue.of(matrix)
    retrievers = Fitter.before(events, catalogue.products(), now, 1).set(Params(), True, [0.1] * 8, "")
    (person,) = dataset.people(partial(features_of, store), [user.user_id], [now + labels.JUST_BEFORE])
    found = retrievers.retrieve(user.history, now, 15, user.interests, user.circle)
    weights = np.full(8, 0.1, np.float32)
    (trained,) = dataset.feature_rows([dataset.full_slate(person, found, retrievers)], partial(features_of, store), weights)
    index = np.array([matrix.index[str(product)] for product in retrievers.product_ids[found.index]])
    served = ranker_matrix(user, matrix, index, now.timestamp() + 1e-6, weights, found.scores, found.ranks)
    np.testing.assert_allclose(trained, served, rtol=1e-5, atol=1e-5)


def test_the_stack_answers_as_it_was_measured(home: ShopHome) -> None:
    chosen = settings(home.root.parent)
    shop = open_shop(home, chosen)
    cut = shop.periods.test
    people = dataset.audience(shop.events, shop.kind, cut, shop.periods.end, shop.reader, chosen)
    retrievers = shop.retrievers(cut, Params(), [0.1] * 8)
    weights = np.full(8, 0.1, np.float32)
    scored = dataset.Scored.of(people, retrievers, shop.reader, weights, 30)
    ranker = SimpleNamespace(score=lambda rows, categories: np.nan_to_num(rows).sum(axis=1) + np.char.str_len(categories))
    answers = Stack(retrievers, weights, ranker, shop.reader, 30).answers(people.people)
    for answer, ranking in zip(answers, scored.ranked(ranker.score), strict=True):
        assert answer.ranking().tolist() == ranking[:10].tolist()


def test_newcomers_are_those_without_an_earlier_act(home: ShopHome) -> None:
    chosen = settings(home.root.parent)
    shop = open_shop(home, chosen)
    about = (shop.events, shop.kind, shop.periods.test, shop.periods.end, shop.reader, chosen)
    known, new = dataset.audience(*about), dataset.audience(*about, newcomers=True)
    assert new.people and not any(new.before) and all(known.before) and all(new.wanted)
    assert not {person.user_id for person in known.people} & {person.user_id for person in new.people}


def test_the_future_does_not_change_a_past_label(home: ShopHome, tmp_path: Path) -> None:
    """Leakage: without the events of the last six weeks, a label before them has the same person, candidates and rows."""
    cut = pd.Timestamp("2024-04-01", tz=UTC)
    shorter = tmp_path / "corner_shop"
    shutil.copytree(CORNER, shorter)
    rows = pd.read_csv(shorter / "events.csv", dtype=str)
    times = pd.to_datetime(rows["ts"], format="mixed", errors="coerce", utc=True)
    assert (times >= cut).sum() > 100
    rows[times < cut - pd.Timedelta(hours=3)].to_csv(shorter / "events.csv", index=False)
    chosen = settings(tmp_path / "homes")
    with prepared(chosen, str(shorter), None) as past:
        shutil.copy(home.key_file, past.key_file)
        past.write_manifest({"key_fingerprint": home.manifest()["key_fingerprint"]})
    with prepared(chosen, str(shorter), None) as past:
        build(past, chosen, progress=False)
    moment = datetime(2024, 3, 20, 12, tzinfo=UTC)
    users = sorted(pd.read_parquet(past.tables / "events.parquet")["user_id"].dropna().unique())[:8]
    found = []
    for one in (home, past):
        events = pd.read_parquet(one.tables / "events.parquet")
        catalogue = dataset.Catalogue.of(ProductMatrix.load(Build.current(one))).known_at(moment)
        reader = partial(features_of, Build.current(one).store())
        retrievers = Fitter.before(events, catalogue.products(), moment, 1).set(Params(), True, [0.1] * 8, "")
        slates = [
            dataset.full_slate(person, retrievers.retrieve(person.history, moment, 10, person.interests, person.circle), retrievers)
            for person in dataset.people(reader, users, [moment] * len(users))
        ]
        found.append((slates, list(dataset.feature_rows(slates, reader, np.full(8, 0.1, np.float32)))))
    (now_slates, now_rows), (past_slates, past_rows) = found
    assert [slate.product_ids for slate in now_slates] == [slate.product_ids for slate in past_slates]
    for one, other in zip(now_rows, past_rows, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
