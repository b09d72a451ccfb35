"""`python -m training.registry`: the MLflow UI of a shop. And what every model has in common: its folder, its run, its aliases.

A model is a folder that knows itself: `model.json` beside data files (safetensors, UBJSON, npz, JSON; nothing that runs when it is read).
MLflow keeps the folder as a model whose loader is our own code ("models from code"), so nothing is pickled on the way either.
MLflow is imported where it is used: the running service reads model folders and never loads it.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_repo import logs
from feature_repo.circumstances import commit
from feature_repo.errors import StoryshelfError
from feature_repo.home import ShopHome
from training.errors import TrainingError
from training.settings import TrainingSettings

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.tracking import MlflowClient

CHAMPION, CHALLENGER = "champion", "challenger"
REGISTERED = {kind: f"storyshelf-{kind}" for kind in ("retriever", "ranker", "writer")}
ALLOWED = frozenset({".json", ".npz", ".ubj", ".safetensors", ".txt", ".md"})
"""File kinds a model folder may hold: data only."""
MODEL_FILE = "model.json"


@dataclass(frozen=True)
class ModelMeta:
    """What a model says about itself; `model.json` without the list of files.

    `requires` names the exact versions of the parts that made its inputs, such as {"retriever": "<content hash>"}.
    """

    kind: str
    name: str
    feature_service: str = ""
    feature_fingerprint: str = ""
    requires: Mapping[str, str] = field(default_factory=dict)
    window: tuple[str, str] = ("", "")
    seed: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelFolder:
    """A model folder that was written or checked. `version` is the hash of its content: files, feature service and requirements."""

    path: Path
    meta: ModelMeta
    files: Mapping[str, str]

    @property
    def version(self) -> str:
        what = [sorted(self.files.items()), self.meta.feature_fingerprint, sorted(self.meta.requires.items())]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]

    @classmethod
    def write(cls, folder: Path, meta: ModelMeta) -> "ModelFolder":
        """Seal a folder that holds a model's files: writes `model.json` with the hash of each.

        Raises:
            TrainingError: a file of a kind that may not be in a model folder, or none at all.
        """
        files = _hashes(folder)
        if not files:
            raise TrainingError(f"{folder} holds no model files: save the model there before it is sealed.")
        content = {**asdict(meta), "window": list(meta.window), "files": files}
        (folder / MODEL_FILE).write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, default=_plain))
        return cls.read(folder, kind=meta.kind)

    @classmethod
    def read(cls, folder: Path, kind: str = "") -> "ModelFolder":
        """Check a model folder against its `model.json`.

        Raises:
            TrainingError: not a model folder, of another kind than asked for, or a file was changed, added or taken away.
        """
        file = folder / MODEL_FILE
        if not file.is_file():
            raise TrainingError(f"{folder} is no model folder ({MODEL_FILE} is missing): take it from the registry again.")
        content = json.loads(file.read_text())
        expected = dict(content.pop("files"))
        meta = ModelMeta(**{**content, "window": tuple(content["window"])})
        if kind and meta.kind != kind:
            raise TrainingError(f"{folder} holds a {meta.kind}, not a {kind}.")
        found = _hashes(folder)
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        if wrong:
            raise TrainingError(f"Model folder {folder} is not as it was written ({', '.join(wrong)}): take it from the registry again.")
        return cls(folder, meta, expected)


def _plain(value: object) -> object:
    """JSON for numpy's numbers."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} can't be written as JSON")


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below `folder` but model.json, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MODEL_FILE)
    barred = [path.name for path in files if path.suffix not in ALLOWED]
    if barred:
        raise TrainingError(f"{folder} holds {', '.join(barred)}: a model folder may only hold {', '.join(sorted(ALLOWED))}.")
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@dataclass(frozen=True)
class RunFacts:
    """What every MLflow run records beside its model's own parameters and metrics."""

    data_hash: str
    commit: str
    constraints_hash: str

    @classmethod
    def collect(cls, data_hash: str) -> "RunFacts":
        return cls(data_hash, commit(), _constraints_hash())


@dataclass(frozen=True)
class ModelVersion:
    """One registered version. `content` is the model folder's content hash, `aliases` as they were when it was looked up."""

    name: str
    version: str
    run_id: str
    content: str
    aliases: tuple[str, ...]
    metrics: Mapping[str, float]
    requires: Mapping[str, str]


def log_and_register(
    home: ShopHome,
    folder: ModelFolder,
    facts: RunFacts,
    sample: "pd.DataFrame",
    artifacts: Mapping[str, Any] | None = None,
) -> ModelVersion:
    """One MLflow run for one model: tags, parameters, metrics, artifacts and the model itself, registered.

    `sample` is a frame the model's pyfunc accepts; it is scored once here for the signature. `artifacts` maps a file name to a matplotlib
    figure, text, a frame or a JSON-able object.
    """
    import mlflow

    _experiment(home)
    meta = folder.meta
    with mlflow.start_run(run_name=f"{meta.kind}-{folder.version[:8]}") as run:
        mlflow.set_tags(
            {
                "commit": facts.commit,
                "constraints_hash": facts.constraints_hash,
                "data_hash": facts.data_hash,
                "feature_hash": meta.feature_fingerprint,
                "feature_service": meta.feature_service,
                "content": folder.version,
                "window": " .. ".join(meta.window),
                **{f"requires.{part}": version for part, version in meta.requires.items()},
            }
        )
        mlflow.log_params({"seed": meta.seed, "window_start": meta.window[0], "window_end": meta.window[1]})
        mlflow.log_params({key: str(value)[:500] for key, value in meta.params.items()})
        mlflow.log_metrics({key: float(value) for key, value in meta.metrics.items() if value is not None and np.isfinite(value)})
        for name, thing in (artifacts or {}).items():
            _log_artifact(name, thing)
        _log_model(folder, sample)
    registered = _client(home).search_model_versions(f"run_id='{run.info.run_id}'")[0]
    return _version(home, registered)


def _log_artifact(name: str, thing: Any) -> None:
    import mlflow

    if hasattr(thing, "savefig"):
        mlflow.log_figure(thing, name)
    elif isinstance(thing, str):
        mlflow.log_text(thing, name)
    elif hasattr(thing, "to_csv"):
        mlflow.log_text(thing.to_csv(index=False), name)
    else:
        mlflow.log_text(json.dumps(thing, indent=1, ensure_ascii=False, default=_plain), name)


def _log_model(folder: ModelFolder, sample: "pd.DataFrame") -> None:
    import mlflow
    from mlflow.models import infer_signature

    from training.pyfunc import answer, load

    mlflow.pyfunc.log_model(
        name="model",
        python_model=str(Path(__file__).with_name("pyfunc.py")),
        artifacts={"folder": str(folder.path)},
        signature=infer_signature(sample, answer(load(folder.path), sample)),
        metadata={"kind": folder.meta.kind, "content": folder.version, "requires": dict(folder.meta.requires)},
        pip_requirements=["storyshelf"],  # our package with its pinned set; looking them up by import takes half a minute
        registered_model_name=REGISTERED[folder.meta.kind],
    )


def champion(home: ShopHome, name: str) -> ModelVersion | None:
    """The version that serves; None if there is none yet. `name` is 'ranker' or 'storyshelf-ranker', and so on."""
    return by_alias(home, name, CHAMPION)


def by_alias(home: ShopHome, name: str, alias: str) -> ModelVersion | None:
    from mlflow.exceptions import MlflowException

    try:
        found = _client(home).get_model_version_by_alias(REGISTERED.get(name, name), alias)
    except MlflowException:
        return None
    return _version(home, found)


def promote(home: ShopHome, version: ModelVersion, alias: str) -> ModelVersion:
    """Give `version` the alias; whoever had it loses it."""
    _client(home).set_registered_model_alias(version.name, alias, version.version)
    return replace(version, aliases=tuple(sorted({*version.aliases, alias})))


def demote(home: ShopHome, name: str, alias: str) -> None:
    """Take an alias away; nothing happens if nobody has it."""
    if by_alias(home, name, alias):
        _client(home).delete_registered_model_alias(REGISTERED.get(name, name), alias)


def download(home: ShopHome, name: str, which: str, to: Path) -> ModelFolder:
    """Copy the model folder of a version into `to` (made or replaced) and check it. `which` is an alias or a version number.

    Raises:
        TrainingError: no such version.
    """
    import mlflow

    version = _find(home, name, which)
    if version is None:
        raise TrainingError(f"No {which} {REGISTERED.get(name, name)} in the registry of shop '{home.shop}': run `make train` first.")
    mlflow.set_tracking_uri(home.mlflow_uri)
    mlflow.set_registry_uri(home.mlflow_uri)  # "models:/" is looked up there, else in a new mlflow.db of the current folder
    with tempfile.TemporaryDirectory() as scratch:
        uri = f"models:/{version.name}/{version.version}"
        local = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=scratch, tracking_uri=home.mlflow_uri))
        found = next(path.parent for path in sorted(local.rglob(MODEL_FILE)))
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(found, to)
    folder = ModelFolder.read(to)
    if folder.version != version.content:
        raise TrainingError(f"Version {version.version} of {version.name} is not what was registered: train again and promote the new one.")
    return folder


def _find(home: ShopHome, name: str, which: str) -> ModelVersion | None:
    from mlflow.exceptions import MlflowException

    if not which.isdigit():
        return by_alias(home, name, which)
    try:
        return _version(home, _client(home).get_model_version(REGISTERED.get(name, name), which))
    except MlflowException:
        return None


def _version(home: ShopHome, found: Any) -> ModelVersion:
    client = _client(home)
    run = client.get_run(found.run_id)
    aliases = client.get_model_version(found.name, found.version).aliases
    requires = {key.removeprefix("requires."): value for key, value in run.data.tags.items() if key.startswith("requires.")}
    content = str(run.data.tags.get("content", ""))
    return ModelVersion(found.name, str(found.version), found.run_id, content, tuple(sorted(aliases)), dict(run.data.metrics), requires)


def _client(home: ShopHome) -> "MlflowClient":
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=home.mlflow_uri, registry_uri=home.mlflow_uri)


def _experiment(home: ShopHome) -> None:
    """The shop's experiment, with its artifacts in the shop's home."""
    import mlflow

    mlflow.set_tracking_uri(home.mlflow_uri)
    mlflow.set_registry_uri(home.mlflow_uri)
    if mlflow.get_experiment_by_name(home.shop) is None:
        mlflow.create_experiment(home.shop, artifact_location=home.mlflow_artifacts.resolve().as_uri())
    mlflow.set_experiment(home.shop)


def _constraints_hash() -> str:
    file = Path(__file__).parents[1] / "constraints.txt"
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.exists() else "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description="The MLflow UI of a shop: runs, models, promotion.")
    parser.add_argument("--shop", default="", help="name of the shop; empty means the one trained last")
    arguments = parser.parse_args()
    logs.configure()
    try:
        settings = TrainingSettings.read()
        home = ShopHome.open(settings, arguments.shop)
    except StoryshelfError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"MLflow of shop '{home.shop}' on http://{settings.mlflow_host}:{settings.mlflow_port} (Ctrl-C stops it)", flush=True)
    place = ["--host", settings.mlflow_host, "--port", str(settings.mlflow_port)]
    store = ["--backend-store-uri", home.mlflow_uri, "--artifacts-destination", home.mlflow_artifacts.resolve().as_uri()]
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # seven worker processes for jobs that this shop never starts
    # Becomes the server: a signal to this process ends it and the workers it started.
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *place, *store])  # noqa: S606


if __name__ == "__main__":
    main()
