"""MLflow's way into a model folder: `mlflow.pyfunc.load_model("models:/storyshelf-ranker@champion").predict(frame)`.

MLflow runs this file when it loads a model ("models from code"), so no object is pickled. Input and output frames by kind are
described in docs/models.md.
"""

import importlib
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel

from training.registry import ModelFolder

CLASSES = {
    "retriever": "training.retrieval.model:RetrieverSet",
    "ranker": "training.ranker.model:Ranker",
    "writer": "training.content.model:Writer",
}


def load(path: Path) -> Any:
    """The object of our own class that a model folder holds."""
    module, name = CLASSES[ModelFolder.read(path).meta.kind].split(":")
    return getattr(importlib.import_module(module), name).load(path)


def predict(path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    found: pd.DataFrame = load(path).predict_frame(frame)
    return found


class FolderModel(PythonModel):  # type: ignore[misc]
    """Loads the folder once; scores frames."""

    def load_context(self, context: Any) -> None:
        self.model = load(Path(context.artifacts["folder"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        found: pd.DataFrame = self.model.predict_frame(model_input)
        return found


mlflow.models.set_model(FolderModel())
