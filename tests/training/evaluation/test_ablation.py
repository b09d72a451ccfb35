"""Leaving something out of the ranker's rows."""

import numpy as np
import pytest

from feature_repo.declarations import RETRIEVERS
from feature_repo.vectors import RANKER_FEATURES
from training.evaluation.ablation import GROUPS, Case, Loss, cases


def test_every_feature_is_in_one_group() -> None:
    assert {name: [group for group, belongs in GROUPS.items() if belongs(name)] for name in RANKER_FEATURES} == {
        name: [next(group for group, belongs in GROUPS.items() if belongs(name))] for name in RANKER_FEATURES
    }


def test_without_a_retriever_what_only_it_proposed_is_gone() -> None:
    case = next(each for each in cases() if each.retriever == "linear")
    column = RANKER_FEATURES.index
    rows = np.full((3, len(RANKER_FEATURES)), np.nan, np.float32)
    rows[:, column("up_retrievers")] = [2, 1, 1]
    rows[:2, column("rank_linear")] = 1  # the third row is another retriever's, the second only this one's
    rows[[0, 2], column("rank_popular")] = 4
    assert case.keep(rows).tolist() == [True, False, True]
    less = case.without(rows)
    assert np.isnan(less[:, column("rank_linear")]).all()
    assert less[[0, 2], column("up_retrievers")].tolist() == [1, 1]
    assert less[0, column("rank_popular")] == 4
    assert rows[0, column("up_retrievers")] == 2  # the rows themselves stay


def test_each_retriever_and_each_group_is_a_case() -> None:
    names = [case.name for case in cases()]
    assert len(names) == len(set(names)) >= len(RETRIEVERS) + 5
    assert Case("nothing").keep(np.full((2, len(RANKER_FEATURES)), np.nan, np.float32)).all()


def test_a_loss_is_the_mean_gap_with_its_error() -> None:
    loss = Loss.of(np.array([1.0, 0.5, 0.0]), np.array([0.5, 0.5, 0.0]))
    assert loss.figure == pytest.approx(1 / 3) and loss.lost == pytest.approx(1 / 6)
    assert loss.error == pytest.approx(np.std([0.5, 0, 0], ddof=1) / np.sqrt(3))
