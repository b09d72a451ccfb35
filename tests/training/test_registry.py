"""Model folders and a real MLflow registry on SQLite."""

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from feature_repo.home import ShopHome
from feature_repo.settings import Settings
from training import gates
from training.dataset import Rows
from training.errors import TrainingError
from training.ranker.train import fit
from training.registry import ModelFolder, ModelMeta, ModelVersion, RunFacts, by_alias, champion, download, log_and_register
from training.settings import TrainingSettings

NAMES = ("a", "b")
SETTINGS = TrainingSettings(threads=1)


def meta(**metrics: float) -> ModelMeta:
    return ModelMeta("ranker", "lambdamart", "ranker_v1", "print-1", {"retriever": "abc"}, ("2026-01-01", "2026-02-01"), 20, metrics, {"trees": 3})


def folder(path: Path, seed: int = 0, **metrics: float) -> ModelFolder:
    matrix = np.random.default_rng(seed).random((40, 2), np.float32)
    relevance = (matrix[:, 0] > 0.5).astype(np.float32)
    group = np.repeat(np.arange(4), 10)
    fit(Rows(matrix, relevance, group, group.astype(float)), NAMES, meta(), SETTINGS, 3).save(path)
    return ModelFolder.write(path, meta(**metrics))


def test_a_folder_reads_back(tmp_path: Path) -> None:
    written = folder(tmp_path / "m", ndcg_10=0.5)
    read = ModelFolder.read(tmp_path / "m", kind="ranker")
    assert read == written
    assert read.meta.requires == {"retriever": "abc"} and read.meta.window == ("2026-01-01", "2026-02-01")


def test_the_same_content_has_the_same_version(tmp_path: Path) -> None:
    versions = [folder(tmp_path / name, seed).version for name, seed in (("one", 0), ("two", 0), ("three", 1))]
    assert versions[0] == versions[1] != versions[2]


def test_changed_extra_and_missing_files_are_refused(tmp_path: Path) -> None:
    for number, spoil in enumerate(
        (
            lambda path: (path / "ranker.ubj").write_bytes(b"other"),
            lambda path: (path / "more.json").write_text("{}"),
            lambda path: (path / "features.json").unlink(),
            lambda path: (path / "model.json").unlink(),
        )
    ):
        path = tmp_path / str(number)
        folder(path)
        spoil(path)
        with pytest.raises(TrainingError, match="take it from the registry again"):
            ModelFolder.read(path)


@pytest.mark.parametrize("name", ["weights.pkl", "model.bin", "run.py"])
def test_files_that_could_run_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(TrainingError, match="may only hold"):
        ModelFolder.write(tmp_path, meta())


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder(tmp_path / "m")
    with pytest.raises(TrainingError, match="holds a ranker, not a writer"):
        ModelFolder.read(tmp_path / "m", kind="writer")


def registered(home: ShopHome, path: Path, seed: int, ndcg: float, bound: float = 0.1) -> ModelVersion:
    metrics = {"ndcg_10": ndcg, "above_popular_upper": bound, "above_best_upper": bound, "above_champion_upper": ndcg - 0.30}
    nobody = {f"{test}_people": 0.0 for test in ("similar_lists", "dislike_falls", "complement_rises")} | {
        "new_user_products": 0.0,
        "empty_lists": 0.0,
    }
    sealed = folder(path, seed, **metrics, **nobody)
    return log_and_register(home, sealed, RunFacts.collect("data-1"), pd.DataFrame([[0.1, 0.2]], columns=list(NAMES)), {"note.txt": "hello"})


def test_first_champion_then_challengers_through_the_gates(tmp_path: Path) -> None:
    home = ShopHome.create(Settings(home=tmp_path / "homes"), "corner")
    assert champion(home, "ranker") is None
    with pytest.raises(TrainingError, match="run `make train` first"):
        download(home, "ranker", "champion", tmp_path / "none")

    first = registered(home, tmp_path / "one", 1, 0.30)
    (decision,) = gates.enact(home, [gates.decide(home, "ranker", first, SETTINGS)])
    assert decision.alias == "champion"
    found = champion(home, "ranker")
    assert found and found.version == "1" and found.requires == {"retriever": "abc"} and found.metrics["ndcg_10"] == 0.30

    second = registered(home, tmp_path / "two", 2, 0.31)
    (decision,) = gates.enact(home, [gates.decide(home, "ranker", second, SETTINGS)])
    assert decision.alias == "challenger"
    worse = registered(home, tmp_path / "three", 3, 0.20)
    (decision,) = gates.enact(home, [gates.decide(home, "ranker", worse, SETTINGS)])
    assert decision.alias == ""
    champions = by_alias(home, "ranker", "champion"), by_alias(home, "storyshelf-ranker", "challenger")
    assert [version.version for version in champions if version] == ["1", "2"]

    got = download(home, "ranker", "champion", tmp_path / "got")
    assert got.version == first.content == ModelFolder.read(tmp_path / "one").version
    assert download(home, "ranker", "2", tmp_path / "got").version == second.content

    run = mlflow.MlflowClient(tracking_uri=home.mlflow_uri).get_run(first.run_id)
    assert run.data.tags["data_hash"] == "data-1" and run.data.params["trees"] == "3" and run.data.params["seed"] == "20"
    assert {"commit", "constraints_hash", "feature_hash", "window", "content"} <= run.data.tags.keys()
    assert str(home.mlflow_artifacts.resolve()) in run.info.artifact_uri

    mlflow.set_tracking_uri(home.mlflow_uri)
    model = mlflow.pyfunc.load_model("models:/storyshelf-ranker@champion")
    assert model.metadata.signature.inputs.input_names() == list(NAMES)
    assert len(model.predict(pd.DataFrame([[0.1, 0.2], [0.9, 0.1]], columns=list(NAMES)))) == 2
    assert not [path for path in home.mlflow_artifacts.rglob("*") if path.suffix in {".pkl", ".pickle"}]
