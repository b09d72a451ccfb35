"""MLflow's way into a model folder: `mlflow.pyfunc.load_model("models:/storyshelf-ranker@champion").predict(frame)`.

MLflow runs this file when it loads a model ("models from code"), so no object is pickled. Input and output frames by kind are
described in docs/models.md.
"""

import importlib
import json
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


def answer(model: Any, frame: pd.DataFrame) -> pd.DataFrame:
    """One row of answers per row of questions."""
    found: pd.DataFrame = model.predict_frame(frame) if hasattr(model, "predict_frame") else written(model, frame)
    return found


def written(writer: Any, frame: pd.DataFrame) -> pd.DataFrame:
    """Drafts for rows with the writer's controls: part, language, tone, aspect, domain, and slots as a JSON list."""
    from training.content.plan import CopyRequest

    controls = ("part", "language", "tone", "aspect", "domain")
    rows = frame.to_dict("records")
    requests = [CopyRequest(**{name: str(row[name]) for name in controls}, slots=tuple(json.loads(row["slots"]))) for row in rows]
    drafts = writer.write(requests, seed=0)
    return pd.DataFrame({"text": [draft.text for draft in drafts], "sound": [draft.sound for draft in drafts]})


class FolderModel(PythonModel):  # type: ignore[misc]
    """Loads the folder once; scores frames."""

    def load_context(self, context: Any) -> None:
        self.model = load(Path(context.artifacts["folder"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        return answer(self.model, model_input)


mlflow.models.set_model(FolderModel())
