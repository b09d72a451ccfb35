"""Fits the ranker on label groups; later outcomes decide how many trees are enough."""

import numpy as np
import xgboost as xgb

from training.dataset import Rows
from training.errors import TrainingError
from training.ranker.blend import NO_BLEND, Blend
from training.ranker.model import Ranker
from training.registry import ModelMeta
from training.settings import TrainingSettings

PARAMS = {
    "objective": "rank:ndcg",
    "eval_metric": "ndcg@10",
    "tree_method": "hist",
    "eta": 0.1,
    "max_depth": 6,
    "min_child_weight": 5.0,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "lambda": 5.0,
    # Chosen on the tuning period of online_retail: pairs of the ranker's own first places with all others learn the top of the list better than pairs
    # drawn anywhere (NDCG@10 .327 against .310 there), and dividing a pair's gradient by its difference in score overfitted.
    "lambdarank_pair_method": "topk",
    "lambdarank_num_pair_per_sample": 50,
    "lambdarank_score_normalization": False,
}
FEWEST_TREES, SMOOTHED = 20, 11
"""The curve of the watched NDCG is noisy: its mean over so many rounds is looked at, and a ranker of a few trees is no ranker."""
LATER_SHARE = 0.2
"""Share of the groups, the latest ones, that decide how many trees are enough where there is no tuning period."""


def enough_trees(train: Rows, watch: Rows, order: tuple[str, ...], meta: ModelMeta, settings: TrainingSettings) -> tuple[Ranker, int, float]:
    """The ranker of `train` (columns `order`) with as many trees as rank `watch` best, their number, and NDCG@10 among the candidates there."""
    history: dict[str, dict[str, list[float]]] = {}
    watched = [(_matrix(watch), "watch")]
    booster = xgb.train(_params(settings), _matrix(train, lean=True), settings.trees, evals=watched, evals_result=history, verbose_eval=False)
    curve = np.asarray(history["watch"]["ndcg@10"])
    edge = np.pad(curve, SMOOTHED // 2, mode="edge")
    smooth = np.convolve(edge, np.full(SMOOTHED, 1.0 / SMOOTHED), mode="valid")
    fewest = min(FEWEST_TREES, len(smooth))
    best = fewest - 1 + int(np.argmax(smooth[fewest - 1 :]))
    return Ranker(booster[: best + 1], order, meta), best + 1, float(smooth[best])


def halves(rows: Rows) -> tuple[Rows, Rows]:
    """The earlier groups and the latest ones.

    Raises:
        TrainingError: fewer than two groups with something to learn.
    """
    groups = np.unique(rows.group)
    if len(groups) < 2:
        raise TrainingError("The ranker has fewer than two label groups to learn from: the shop needs purchases or clicks on more than one day.")
    edge = groups[max(1, int(len(groups) * (1 - LATER_SHARE)))]
    return rows.where(rows.group < edge), rows.where(rows.group >= edge)


def fit(rows: Rows, order: tuple[str, ...], meta: ModelMeta, settings: TrainingSettings, trees: int, blend: Blend = NO_BLEND) -> Ranker:
    """A ranker with a known number of trees on all rows, whose columns are `order`."""
    return Ranker(xgb.train(_params(settings), _matrix(rows, lean=True), trees), order, meta, blend=blend)


def _params(settings: TrainingSettings) -> dict[str, object]:
    return {**PARAMS, "seed": settings.seed, "nthread": settings.threads}


def _matrix(rows: Rows, lean: bool = False) -> xgb.DMatrix:
    """`lean`, to learn from: a column of one value can't be split at, and is counted in every histogram unless it is missing. The same trees in half
    the time where a shop lacks what many features tell of."""
    _, codes = np.unique(rows.group, return_inverse=True)
    matrix = rows.matrix
    if lean and len(matrix):
        matrix = matrix.copy()
        matrix[:, (matrix == matrix[0]).all(axis=0)] = np.nan
    return xgb.DMatrix(matrix, label=rows.relevance, qid=codes, nthread=1)


def importance(ranker: Ranker, most: int = 25) -> dict[str, float]:
    """Share of the total gain by feature, the largest first."""
    gains = ranker.booster.get_score(importance_type="total_gain")
    named = {ranker.feature_names[int(key.removeprefix("f"))]: float(np.sum(gain)) for key, gain in gains.items()}
    total = sum(named.values()) or 1.0
    return {name: gain / total for name, gain in sorted(named.items(), key=lambda item: -item[1])[:most]}
