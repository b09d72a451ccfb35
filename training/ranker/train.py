"""Fits the ranker on label groups, with a later slice of them to stop on."""

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from training.errors import TrainingError
from training.ranker.model import Floats, Ranker
from training.registry import ModelMeta
from training.settings import TrainingSettings

PARAMS = {
    "objective": "rank:ndcg",
    "eval_metric": "ndcg@10",
    "tree_method": "hist",
    "eta": 0.05,
    "max_depth": 6,
    "min_child_weight": 5.0,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "lambda": 5.0,
    "lambdarank_pair_method": "topk",
    "lambdarank_num_pair_per_sample": 20,
}
PATIENCE = 40
LATER_SHARE = 0.2
"""Share of the groups, the latest ones, that decide how many trees are enough."""


def fit(
    matrix: Floats, relevance: Floats, group: NDArray[np.int64], order: tuple[str, ...], meta: ModelMeta, settings: TrainingSettings
) -> tuple[Ranker, dict[str, float]]:
    """A ranker and its training metrics.

    `matrix` float32[n, F] with columns `order`; `group` int64[n] rises with time and keeps each group's rows together;
    `relevance` float32[n] is 0 or more.

    Raises:
        TrainingError: fewer than two groups with something to learn.
    """
    groups = np.unique(group)
    if len(groups) < 2:
        raise TrainingError("The ranker has fewer than two label groups to learn from: the shop needs purchases or clicks on more than one day.")
    edge = groups[max(1, int(len(groups) * (1 - LATER_SHARE)))]
    earlier, later = group < edge, group >= edge
    parameters = {**PARAMS, "seed": settings.seed, "nthread": settings.threads}
    train, watch = (_matrix(matrix[rows], relevance[rows], group[rows]) for rows in (earlier, later))
    history: dict[str, dict[str, list[float]]] = {}
    found = xgb.train(
        parameters, train, settings.trees, evals=[(watch, "later")], early_stopping_rounds=PATIENCE, evals_result=history, verbose_eval=False
    )
    trees = found.best_iteration + 1
    # The latest groups are the most like tomorrow: the final trees see them too.
    final = xgb.train(parameters, _matrix(matrix, relevance, group), trees)
    metrics = {"ranker_trees": float(trees), "ranker_later_ndcg_10": float(found.best_score), "ranker_groups": float(len(groups))}
    return Ranker(final, order, meta), metrics


def _matrix(matrix: Floats, relevance: Floats, group: NDArray[np.int64]) -> xgb.DMatrix:
    _, codes = np.unique(group, return_inverse=True)
    return xgb.DMatrix(matrix, label=relevance, qid=codes, nthread=1)


def importance(ranker: Ranker, most: int = 25) -> dict[str, float]:
    """Share of the total gain by feature, the largest first."""
    gains = ranker.booster.get_score(importance_type="total_gain")
    named = {ranker.feature_names[int(key.removeprefix("f"))]: float(np.sum(gain)) for key, gain in gains.items()}
    total = sum(named.values()) or 1.0
    return {name: gain / total for name, gain in sorted(named.items(), key=lambda item: -item[1])[:most]}


def refit(
    matrix: Floats, relevance: Floats, group: NDArray[np.int64], order: tuple[str, ...], meta: ModelMeta, settings: TrainingSettings, trees: int
) -> Ranker:
    """A ranker with a known number of trees on all rows."""
    parameters = {**PARAMS, "seed": settings.seed, "nthread": settings.threads}
    return Ranker(xgb.train(parameters, _matrix(matrix, relevance, group), trees), order, meta)
