"""A release: the models that answer together, loaded and checked against each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from feature_repo.home import ShopHome
from serving.errors import ServingError
from training.content.model import Writer
from training.profile import ProfileModel
from training.ranker.model import Ranker
from training.registry import ModelFolder
from training.retrieval.model import RetrieverSet

KINDS = ("retriever", "ranker", "writer")
"""Folders of a release, one per registered model."""


@dataclass(frozen=True)
class Release:
    """Loaded models. `versions`: content hash of each model folder, in the order of KINDS."""

    retrievers: RetrieverSet
    profiles: ProfileModel
    ranker: Ranker
    writer: Writer
    versions: Mapping[str, str]

    @classmethod
    def load(cls, folder: Path, feature_fingerprint: str = "") -> "Release":
        """Load `folder/retriever`, `folder/ranker` and `folder/writer`.

        Raises:
            ServingError: the models were not made for each other.
            TrainingError: a folder is missing, was changed, or was trained on other feature definitions.
        """
        sealed = {kind: ModelFolder.read(folder / kind, kind=kind) for kind in KINDS}
        check_compatible(sealed)
        return cls(
            RetrieverSet.load(folder / "retriever"),
            ProfileModel.load(folder / "retriever"),
            Ranker.load(folder / "ranker", feature_fingerprint),
            Writer.load(folder / "writer"),
            {kind: each.version for kind, each in sealed.items()},
        )


def check_compatible(sealed: Mapping[str, ModelFolder]) -> None:
    """Raises:
    ServingError: a model was trained with another version of a part than the one beside it.
    """
    for kind, folder in sealed.items():
        for part, wanted in folder.meta.requires.items():
            if part in sealed and sealed[part].version != wanted:
                raise ServingError(
                    f"The {kind} was trained with {part} {wanted}, the {part} here is {sealed[part].version}: promote those of one training run "
                    "in the MLflow UI (`make mlflow`), or run `make train`."
                )


def bundle_folder(home: ShopHome, named: Path) -> Path:
    """Where the models to serve lie: the folder named by the settings, else the models of the shop's last bento.

    Raises:
        ServingError: neither is there.
    """
    if named != Path():
        if not named.is_dir():
            raise ServingError(f"STORYSHELF_BUNDLE names {named}, which is no folder: leave it unset, or name a bento's `models` folder.")
        return named
    last = home.bentos / "last" / "models"
    if not last.is_dir():
        raise ServingError(f"Shop '{home.shop}' has no bundle yet: run `make train` first, or `python -m serving.bundle --shop {home.shop}`.")
    return last.resolve()
