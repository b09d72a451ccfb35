"""The rules' cost on three people and six products, where every figure can be counted."""

import math
from typing import Any

import numpy as np
import pytest

from feature_repo.declarations import SIGNALS
from feature_repo.online import NO_CIRCLE, NO_HISTORY, Interests
from feature_repo.vectors import RANKER_FEATURES
from training.dataset import Audience, Person, Scored
from training.evaluate import Targets
from training.ranker import tradeoffs
from training.ranker.policy import ShelfPolicy
from training.ranker.tradeoffs import Row
from training.retrieval.contract import Products
from training.retrieval.model import Candidates

PRODUCTS = Products(
    np.array([f"p{number}" for number in range(6)]),
    np.array(["category:A", "category:A", "category:A", "category:B", "category:B", ""]),
    np.array(["brand:X", "brand:X", "brand:Y", "brand:Y", "brand:Z", ""]),
    np.eye(6, dtype=np.float32),
)
NOTHING = np.zeros(0, np.float32)
WEIGHTS = [float(signal in ("purchase", "like")) for signal in SIGNALS]


def person(name: str, keys: tuple[str, ...] = (), signal: str = "purchase") -> Person:
    signals = np.zeros((len(keys), len(SIGNALS)), np.float32)
    signals[:, SIGNALS.index(signal)] = 1.0
    return Person(name, 0.0, NOTHING, Interests(keys, signals, np.zeros(len(keys))), NO_HISTORY, NO_CIRCLE, {})


def rows_of(stock: dict[int, float], bought: tuple[int, ...]) -> Any:
    """Ranker rows of all six: prices 10, 20, .. 50 and none for the last."""
    found = np.full((6, len(RANKER_FEATURES)), np.nan, np.float32)
    columns = {name: found[:, RANKER_FEATURES.index(name)] for name in ("product_stock", "product_price", "up_purchases")}
    columns["product_price"][:5] = [10, 20, 30, 40, 50]
    for place, pieces in stock.items():
        columns["product_stock"][place] = pieces
    columns["up_purchases"][list(bought)] = 1.0
    return found


def scored(targets: tuple[frozenset[int], ...]) -> Scored:
    """All six for each of three: who dislikes B, who bought p0, and for whom p1 is sold out."""
    people = (person("u1", ("category:B",), "dislike"), person("u2", ("category:A", "category:B")), person("u3"))
    candidates = tuple(Candidates(np.arange(6, dtype=np.int32), np.zeros((6, 1), np.float32), np.zeros((6, 1), np.float32)) for _ in people)
    before = (frozenset[str](), frozenset({"p0"}), frozenset[str]())
    names = tuple(frozenset(f"p{target}" for target in wanted) for wanted in targets)
    rows = (rows_of({}, ()), rows_of({}, (0,)), rows_of({1: 0.0}, ()))
    repeat = (frozenset[int](),) * 3
    return Scored(Audience(people, names, before), Targets(("u1", "u2", "u3"), targets, repeat), candidates, rows, PRODUCTS.categories)


SCORES = [np.arange(6, 0, -1).astype(np.float32)] * 3


def measured(targets: tuple[frozenset[int], ...], k: int = 2, served: ShelfPolicy | None = None) -> dict[str, Row]:
    found = tradeoffs.rows(scored(targets), SCORES, PRODUCTS, WEIGHTS, repeat_buying=True, served=served, k=k)
    return {row.name: row for row in found}


FIRST, SECOND = 1.0, 1 / math.log2(3)


def test_each_rule_alone() -> None:
    """Each shelf is p0, p1 without rules; each of the three wanted one product."""
    found = measured((frozenset({0}), frozenset({0}), frozenset({1})))
    assert found["no rules"].ndcg == pytest.approx((FIRST + FIRST + SECOND) / 3)
    assert found["no rules"].removed == {} and found["no rules"].ndcg_change == 0
    sold_out = found["out of stock"]
    assert sold_out.removed == {"stock": pytest.approx(1 / 18)}
    assert sold_out.ndcg_change == pytest.approx(-SECOND / 3)  # the third wanted what there was no more
    bought = found["already bought"]
    assert bought.removed == {"bought": pytest.approx(1 / 18)} and bought.ndcg_change == pytest.approx(-FIRST / 3)
    assert found["stated dislikes"].removed == {"veto": pytest.approx(2 / 18)} and found["stated dislikes"].ndcg_change == 0


def test_the_price_bounds_are_the_middle_half_and_leave_out_what_has_no_price() -> None:
    found = measured((frozenset({1}), frozenset({1}), frozenset({1})))["price, middle half"]
    assert found.removed == {"price": pytest.approx(3 / 6)}  # 20 to 40 stay: of 10, 50 and none there is nothing left
    assert found.ndcg == pytest.approx(FIRST)


def test_a_cap_brings_diversity_and_says_what_it_cost() -> None:
    """Places for two: at most one of A. The wanted p1 gives way to p3."""
    found = measured((frozenset({1}),) * 3)
    capped = found["category at most 50%"]
    assert (found["no rules"].diversity, capped.diversity) == (0.5, 1.0)
    assert capped.ndcg_change == pytest.approx(-SECOND) and capped.ndcg_change_error == pytest.approx(0)
    assert capped.removed == {"spread": pytest.approx(3 / 18)}
    assert capped.coverage == pytest.approx(2 / 6)


def test_exploration_takes_the_last_places() -> None:
    """A shelf of three has one such place and no two."""
    found = measured((frozenset({0}),) * 3, k=3)
    assert [found[f"exploration {slots}"].explored for slots in (0, 1, 2)] == pytest.approx([0, 1 / 3, 1 / 3])
    assert found["exploration 1"].ndcg == found["no rules"].ndcg, "the first places stay as they were"


def test_a_strength_of_its_own_for_every_spread_and_json_for_a_report() -> None:
    found = measured((frozenset({0}),) * 3)
    assert {f"MMR {strength}" for strength in tradeoffs.MMR_STRENGTHS} <= found.keys()
    assert {f"calibrated {strength}" for strength in tradeoffs.CALIBRATION_STRENGTHS} <= found.keys()
    assert found["no rules"].as_json()["k"] == 2
    lines = tradeoffs.table(list(found.values()))
    assert len(lines) == 1 + len(found) and "NDCG@2" in lines[0]


def test_nobody_gives_no_rows() -> None:
    nobody = Scored(Audience((), (), ()), Targets((), (), ()), (), (), PRODUCTS.categories)
    assert tradeoffs.rows(nobody, [], PRODUCTS, WEIGHTS, repeat_buying=True) == []
    assert tradeoffs.table([]) == []
