"""Slices whose members and figures are known, and the verdict on the baseline."""

import json
import math

import numpy as np
import pytest

from training.evaluate import Targets, measures
from training.evaluation import slices
from training.evaluation.past import Past
from training.evaluation.slices import FEWEST_TARGETS, OUT_OF_REACH, Outcomes, Slice, estimated, head_of, lines, sliced
from training.retrieval.contract import Products

PRODUCTS = Products.of(list("abcd"), ["x", "x", "y", None], [None] * 4, np.zeros((4, 2), np.float32))
NOBODY = np.zeros(0, np.int64)
PAST = Past(PRODUCTS, np.array([4, 2, 1, 0]), 5, NOBODY, NOBODY, np.array([0.0, 0.5, 1.0, np.nan]))
TARGETS = Targets(("u", "v", "w"), (frozenset({0, 1}), frozenset({2}), frozenset({3, -1})), (frozenset({1}), frozenset(), frozenset()))
BEFORE = (frozenset("b"), frozenset("abc"), frozenset(str(n) for n in range(9)))
LISTS = {
    "ranker": [np.array([1, 2, 0], np.int32), np.array([0, 2], np.int32), np.array([3], np.int32)],
    "popularity": [np.array([0, 1, 2], np.int32)] * 3,
}


def by_title(found: tuple[Slice, ...]) -> dict[str, Slice]:
    return {part.title: part for part in found}


def test_outcomes_hold_the_rank_of_every_target() -> None:
    found = Outcomes.of(LISTS, TARGETS)
    assert found.user.tolist() == [0, 0, 1, 2, 2] and found.product.tolist() == [0, 1, 2, -1, 3]
    assert found.ranks["ranker"].tolist() == [2, 0, 1, OUT_OF_REACH, 0]
    assert found.repeat.tolist() == [False, True, False, False, False]


def test_who_and_what_is_in_which_slice() -> None:
    found = sliced(Outcomes.of(LISTS, TARGETS), PAST, BEFORE, "ranker", "popularity", ["popularity"], 1)
    sizes = {part.title: (part.users, part.targets) for part in found.slices}
    assert sizes == {
        "all targets": (3, 5),
        "users: light": (1, 2), "users: medium": (1, 1), "users: heavy": (1, 2),
        "products: head": (1, 1), "products: tail": (2, 2), "products: new": (1, 2),
        "targets: repeat": (1, 1), "targets: first-time": (3, 4),
        "category: x": (1, 2), "category: y": (1, 1),
        "price: lower third": (1, 1), "price: middle third": (1, 1), "price: upper third": (1, 1),
    }  # fmt: skip
    assert found.cuts == {"light_up_to": 1.0, "heavy_above": 3.0, "head_products": 1.0}


def test_figures_are_those_of_the_measures() -> None:
    found = by_title(sliced(Outcomes.of(LISTS, TARGETS), PAST, BEFORE, "ranker", "popularity", [], 1).slices)
    every = [measures(ranking, wanted)["ndcg_10"] for ranking, wanted in zip(LISTS["ranker"], TARGETS.products, strict=True)]
    assert found["all targets"].methods["ranker"]["ndcg_10"].value == pytest.approx(np.mean(every))
    assert found["category: x"].methods["ranker"]["ndcg_10"].value == pytest.approx((1 + 1 / 2) / (1 + 1 / math.log2(3)))
    assert found["products: new"].methods["popularity"]["hr_10"].value == 0.0
    assert found["products: new"].lead["hr_10"].value == 1.0


def test_head_is_the_fewest_products_with_half_of_the_pairs() -> None:
    assert head_of(np.array([1, 5, 2, 2])).tolist() == [False, True, False, False]
    assert head_of(np.array([1, 4, 3, 2])).tolist() == [False, True, True, False]
    assert not head_of(np.zeros(3, np.int64)).any()


def outcomes(ours: np.ndarray, theirs: np.ndarray) -> Outcomes:
    """One target per user, at these ranks."""
    users = len(ours)
    return Outcomes(np.arange(users), np.zeros(users, np.int64), np.zeros(users, bool), users, {"ranker": ours, "linear": theirs})


def judged(ours: np.ndarray, theirs: np.ndarray) -> Slice:
    (found,) = estimated(outcomes(ours, theirs), {("all", "all targets"): np.ones(len(ours), bool)}, "ranker", "linear", [], 3)
    return found


def test_the_baseline_wins_by_more_than_the_margin_and_surely() -> None:
    users, draw = 2 * FEWEST_TARGETS, np.random.default_rng(0)
    hit = np.where(draw.random(users) < 0.5, 0, OUT_OF_REACH)
    better = np.where(draw.random(users) < 0.2, 0, hit)
    assert judged(hit, better).lost == ("hr_10", "ndcg_10")
    assert judged(better, hit).lost == () and judged(hit, hit).lost == ()
    assert judged(hit[:499], better[:499]).lost == ()  # too few to judge
    slightly = hit.copy()
    slightly[np.flatnonzero(hit)[:10]] = 0  # surely better, by some 2 %
    assert judged(hit, slightly).lead["hr_10"].high < 0 and judged(hit, slightly).lost == ()


def test_intervals_are_those_of_a_mean_and_repeat_with_the_seed() -> None:
    hit = np.where(np.arange(400) % 4 == 0, 0, OUT_OF_REACH)
    found = judged(hit, hit).methods["ranker"]["hr_10"]
    error = 1.96 * math.sqrt(0.25 * 0.75 / 400)
    assert found.value == 0.25
    assert found.low == pytest.approx(0.25 - error, abs=0.01) and found.high == pytest.approx(0.25 + error, abs=0.01)
    assert judged(hit, hit) == judged(hit, hit)


def test_the_lead_is_resampled_in_pairs() -> None:
    """Two methods that are right and wrong about the same users differ by nothing, however much the users do."""
    hit = np.where(np.random.default_rng(0).random(50) < 0.5, 0, OUT_OF_REACH)
    assert judged(hit, hit.copy()).lead["hr_10"] == slices.Estimate(0.0, 0.0, 0.0)


def test_nobody_gives_no_slices_and_json_is_plain() -> None:
    none = sliced(Outcomes.of({"ranker": [], "popularity": []}, Targets((), (), ())), PAST, (), "ranker", "popularity", [], 1)
    assert none.slices == () and none.lost == () and lines(none)
    found = sliced(Outcomes.of(LISTS, TARGETS), PAST, BEFORE, "ranker", "popularity", [], 1)
    assert json.loads(json.dumps(found.json()))["slices"][0]["methods"]["ranker"]["hr_10"].keys() == {"value", "low", "high"}
    assert any("users: light" in line for line in lines(found))
