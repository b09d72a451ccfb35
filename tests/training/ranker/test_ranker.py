"""The ranker learns an order, explains it and keeps it."""

from pathlib import Path

import numpy as np
import pytest
import xgboost as xgb

from training.dataset import Rows
from training.errors import TrainingError
from training.ranker.blend import NO_BLEND, OTHERS, TAIL, Blend
from training.ranker.model import Ranker
from training.ranker.train import PARAMS, enough_trees, fit, halves, importance
from training.registry import ModelFolder, ModelMeta
from training.settings import TrainingSettings

NAMES = ("noise", "taste", "price")
META = ModelMeta("ranker", "lambdamart", "ranker_v1", "print-1", {"retriever": "abc"})
NO_CATEGORY = np.full(12, "", np.str_)
SETTINGS = TrainingSettings(trees=30, threads=1)


def rows(groups: int = 60, size: int = 12) -> Rows:
    """Relevant is what has the most taste."""
    generator = np.random.default_rng(1)
    matrix = generator.random((groups * size, len(NAMES)), np.float32)
    matrix[::7, 2] = np.nan
    taste = matrix[:, 1].reshape(groups, size)
    relevance = (taste >= np.sort(taste)[:, [-2]]).astype(np.float32).ravel()
    group = np.repeat(np.arange(groups), size)
    return Rows(matrix, relevance, group, group.astype(float))


def test_it_learns_explains_and_repeats(tmp_path: Path) -> None:
    tuning, trees, watched = enough_trees(*halves(rows()), NAMES, META, SETTINGS)
    ranker, again = (fit(rows(), NAMES, META, SETTINGS, trees) for _ in range(2))
    matrix = rows().matrix[:12]
    scores = ranker.score(matrix, NO_CATEGORY)
    assert scores.dtype == np.float32 and scores.shape == (12,)
    assert np.argmax(scores) in np.argsort(-matrix[:, 1])[:2]
    np.testing.assert_array_equal(scores, again.score(matrix, NO_CATEGORY))
    assert tuning.booster.num_boosted_rounds() == trees
    assert watched > 0.8  # a random order has about 0.5
    assert next(iter(importance(ranker))) == "taste"
    parts = ranker.contributions(matrix)
    assert parts.shape == matrix.shape
    # What the features add to the scores differs between rows exactly as the scores do.
    np.testing.assert_allclose(parts.sum(axis=1) - parts.sum(axis=1)[0], scores - scores[0], atol=1e-4)
    ranker.save(tmp_path)
    ModelFolder.write(tmp_path, META)
    loaded = Ranker.load(tmp_path, "print-1")
    np.testing.assert_array_equal(loaded.score(matrix, NO_CATEGORY), scores)
    assert loaded.feature_names == NAMES and loaded.requires == {"retriever": "abc"}


def test_a_column_of_one_value_changes_no_tree() -> None:
    found, names = rows(), (*NAMES, "always")
    matrix = np.c_[found.matrix, np.full(len(found.matrix), 4.0)].astype(np.float32)
    plain = xgb.DMatrix(matrix, label=found.relevance, qid=found.group)
    dense = xgb.train({**PARAMS, "seed": SETTINGS.seed, "nthread": 1}, plain, 10)
    lean = fit(Rows(matrix, found.relevance, found.group, found.at), names, META, SETTINGS, 10)
    seen = matrix.copy()
    seen[::2, 3] = 9.0  # at serving it may have other values
    np.testing.assert_array_equal(lean.score(seen, np.full(len(seen), "", np.str_)), dense.inplace_predict(seen, predict_type="margin"))


def test_a_blend_is_kept_scored_and_told(tmp_path: Path) -> None:
    names = ("noise", "taste", "price", "rank_repeat", "product_purchases_ever")
    matrix = np.c_[rows().matrix, np.tile(np.arange(1.0, 13.0), 60), np.full(720, 5.0)].astype(np.float32)
    found = rows()
    blend = Blend("repeat", 2.0, "product_purchases_ever", 10.0, 0.1, 0.5, lifts={TAIL: 0.3, "category:tea": 0.2, OTHERS: 0.1})
    ranker = fit(Rows(matrix, found.relevance, found.group, found.at), names, META, SETTINGS, 5, blend)
    ranker.save(tmp_path)
    ModelFolder.write(tmp_path, META)
    loaded = Ranker.load(tmp_path, "print-1")
    tea = np.where(np.arange(12) < 6, "category:tea", "category:cups")
    scores, bare = loaded.score(matrix[:12], tea), ranker.blended(NO_BLEND).score(matrix[:12], tea)
    np.testing.assert_array_equal(scores, ranker.score(matrix[:12], tea))
    np.testing.assert_allclose(scores - bare, blend.added(matrix[:12], names, tea), atol=1e-5)
    # Within a category contributions differ between rows exactly as the scores do; a place adds what it adds above a usual one.
    parts = loaded.contributions(matrix[:6])
    np.testing.assert_allclose(parts.sum(axis=1) - parts.sum(axis=1)[0], scores[:6] - scores[0], atol=1e-4)
    np.testing.assert_allclose((parts - ranker.blended(NO_BLEND).contributions(matrix[:6]))[0, 3], 2.0 - 0.5, atol=1e-5)


def test_nothing_to_score() -> None:
    ranker = fit(rows(4), NAMES, META, SETTINGS, 3)
    assert ranker.score(np.zeros((0, 3), np.float32), NO_CATEGORY[:0]).shape == (0,)
    assert ranker.contributions(np.zeros((0, 3), np.float32)).shape == (0, 3)


def test_other_feature_definitions_are_refused(tmp_path: Path) -> None:
    fit(rows(4), NAMES, META, SETTINGS, 3).save(tmp_path)
    ModelFolder.write(tmp_path, META)
    with pytest.raises(TrainingError, match="print-2: run `make train`"):
        Ranker.load(tmp_path, "print-2")


def test_one_group_is_too_few() -> None:
    with pytest.raises(TrainingError, match="fewer than two"):
        halves(rows(1))
