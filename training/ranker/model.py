"""The ranker: one row of `ranker_v1` features per candidate in, one score each out. What serving imports; `train.py` fits it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import xgboost as xgb
from numpy.typing import NDArray

from training.errors import TrainingError
from training.ranker.attribution import Attribution
from training.ranker.blend import NO_BLEND, Blend, Names
from training.registry import ModelFolder, ModelMeta

Floats = NDArray[np.float32]

BOOSTER_FILE = "ranker.ubj"
FEATURES_FILE = "features.json"
BLEND_FILE = "blend.json"


class Ranker:
    """LambdaMART (Burges 2010) as XGBoost's `rank:ndcg`, and what is blended into it.

    Scores of one request compare with each other and with nothing else. `feature_names` is the order of the columns of every matrix that goes in:
    `feature_repo.vectors.RANKER_FEATURES` at training. `requires` names the retriever (content hash), embedding and FeatureService versions that
    made the training features. NaN is a missing value.
    """

    def __init__(self, booster: xgb.Booster, feature_names: tuple[str, ...], meta: ModelMeta, version: str = "", blend: Blend = NO_BLEND) -> None:
        self.booster, self.feature_names, self.meta, self.version, self.blend = booster, feature_names, meta, version, blend
        self.requires: Mapping[str, str] = meta.requires

    def blended(self, blend: Blend) -> "Ranker":
        """The same trees with another blend."""
        return Ranker(self.booster, self.feature_names, self.meta, self.version, blend)

    def score(self, matrix: Floats, categories: Names) -> Floats:
        """float32[n, F], and the categories of the rows' products str[n] -> float32[n]; no rows give no scores."""
        return self.score_with(matrix, self.blend.lifts_of(categories))

    def score_with(self, matrix: Floats, lifts: Floats) -> Floats:
        """`score`, where the blend's lifts of the rows' categories are known, float32[n]."""
        if not len(matrix):
            return np.zeros(0, np.float32)
        found = np.asarray(self.booster.inplace_predict(matrix, validate_features=False, predict_type="margin"), np.float32)
        return found + self.blend.added_with(matrix, self.feature_names, lifts)

    def contributions(self, matrix: Floats) -> Floats:
        """What each feature added to each score, float32[n, F]; exact, meant for the few rows returned.

        SHAP values of the trees (Lundberg et al. 2018), and what the blend takes from features; the lift of a category is nobody's contribution.
        """
        if not len(matrix):
            return np.zeros((0, len(self.feature_names)), np.float32)
        found = self.booster.predict(xgb.DMatrix(matrix, nthread=1), pred_contribs=True, validate_features=False)
        return np.asarray(found[:, :-1], np.float32) + self.blended_contributions(matrix)

    def blended_contributions(self, matrix: Floats) -> Floats:
        """The blend's part of `contributions`, float32[n, F]."""
        found = np.zeros(matrix.shape, np.float32)
        for number, (column, added) in enumerate(self.blend.of_features(matrix, self.feature_names).items()):
            # SHAP values are differences from a mean; so is what a place adds.
            found[:, column] = added if number else added - np.float32(self.blend.usual_place)
        return found

    def explainer(self, groups: Sequence[Sequence[int]]) -> "Explainer":
        """`contributions` summed over groups of columns, fast; its tables take a second or two to make."""
        return Explainer(self, groups)

    def save(self, folder: Path) -> None:
        """Write the booster (UBJSON), the order of features and the blend; the caller seals the folder with `ModelFolder.write`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.booster.save_model(folder / BOOSTER_FILE)
        (folder / FEATURES_FILE).write_text(json.dumps(self.feature_names, indent=1))
        (folder / BLEND_FILE).write_text(json.dumps(asdict(self.blend), indent=1))

    @classmethod
    def load(cls, folder: Path, feature_fingerprint: str = "", threads: int = 1) -> "Ranker":
        """Check the folder and load it.

        Raises:
            TrainingError: changed files, or trained on another definition of its features than `feature_fingerprint` (empty: not compared).
        """
        sealed = ModelFolder.read(folder, kind="ranker")
        if feature_fingerprint and feature_fingerprint != sealed.meta.feature_fingerprint:
            raise TrainingError(
                f"The ranker was trained on {sealed.meta.feature_service} {sealed.meta.feature_fingerprint}, the shop's features are "
                f"{feature_fingerprint}: run `make train` again."
            )
        booster = xgb.Booster(params={"nthread": threads}, model_file=folder / BOOSTER_FILE)
        blend = Blend(**json.loads((folder / BLEND_FILE).read_text())) if (folder / BLEND_FILE).exists() else NO_BLEND
        return cls(booster, tuple(json.loads((folder / FEATURES_FILE).read_text())), sealed.meta, sealed.version, blend)

    def predict_frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        """For MLflow: one row per candidate with the columns `feature_names` and, for lifts, `product_category`; a column `score`."""
        named = frame["product_category"].fillna("").astype(str) if "product_category" in frame else pd.Series("", frame.index)
        categories = np.array([f"category:{name}" if name else "" for name in named], np.str_)
        return pd.DataFrame({"score": self.score(frame[list(self.feature_names)].to_numpy(np.float32), categories)})


class Explainer:
    """What groups of columns added to scores: a ranker's `contributions` summed over each group, to within rounding."""

    def __init__(self, ranker: Ranker, groups: Sequence[Sequence[int]]) -> None:
        self._ranker = ranker
        self._member = np.zeros((len(ranker.feature_names), len(groups)), np.float32)
        for number, columns in enumerate(groups):
            self._member[list(columns), number] = 1.0
        self.attribution = Attribution.of(ranker.booster, groups, len(ranker.feature_names))

    def __call__(self, matrix: Floats) -> Floats:
        """float32[n, F] -> float32[n, groups]."""
        if self.attribution is None:  # trees too deep for tables
            return np.asarray(self._ranker.contributions(matrix) @ self._member, np.float32)
        return self.attribution.values(matrix) + self._ranker.blended_contributions(matrix) @ self._member
