"""What a request asks of a shelf, and what the rules read of the shop's snapshot."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from feature_repo.declarations import SIGNALS
from feature_repo.online import Circle, History, Interests, UserRow
from feature_repo.vectors import USER_SCALARS
from serving.recommend import Wish, _beside_crowds, _bought, _crowds, _disliked, _too_dear_or_cheap
from serving.snapshot import Snapshot
from training.ranker.policy import ShelfPolicy

NOTHING = np.zeros(0)
PRODUCTS = ("p0", "p1", "p2", "p3")


def user(bought: dict[str, float] | None = None, disliked: tuple[str, ...] = (), **scalars: float) -> UserRow:
    """A shopper with a history, stated dislikes ("category:Games") and some numbers."""
    signals = np.zeros((len(disliked), len(SIGNALS)), np.float32)
    signals[:, SIGNALS.index("dislike")] = 1.0
    found = bought or {}
    history = History(tuple(found), np.array(list(found.values()), np.float32), np.zeros(len(found)), np.zeros(len(found)))
    numbers = np.array([scalars.get(name, np.nan) for name in USER_SCALARS], np.float32)
    return UserRow("u_1", numbers, {}, {}, Interests(disliked, signals, np.zeros(len(disliked))), history)


def snapshot(disliked_products: frozenset[str] = frozenset()) -> Snapshot:
    """Four products: two laptops, a game, and something without a category."""
    matrix = SimpleNamespace(
        index={product: row for row, product in enumerate(PRODUCTS)},
        texts={"product_brand": np.array(["Acme", "Brio", "Acme", None], object)},
    )
    lineage = (("Laptops", "Electronics"), ("Laptops", "Electronics"), ("Games",), ())
    return cast(Any, SimpleNamespace(matrix=matrix, lineage=lineage, disliked_products={"u_1": disliked_products}))


ALL = np.arange(4, dtype=np.int32)


@pytest.mark.parametrize(
    ("said", "products", "barred"),
    [
        ((), (), []),
        (("category:Laptops",), (), [0, 1]),
        (("category:Electronics",), (), [0, 1]),  # a wider category bars what lies in it
        (("brand:Acme",), (), [0, 2]),
        (("category:Games", "brand:Brio"), (), [1, 2]),
        ((), ("p3", "gone"), [3]),  # a product of which the catalogue has no more is barred in vain
    ],
)
def test_a_dislike_bars_the_product_the_brand_and_the_category(said: tuple[str, ...], products: tuple[str, ...], barred: list[int]) -> None:
    found = _disliked(snapshot(frozenset(products)), user(disliked=said), ALL)
    assert np.flatnonzero(found).tolist() == barred


def test_rows_are_the_candidates_not_the_catalogue() -> None:
    assert _disliked(snapshot(), user(disliked=("category:Games",)), np.array([2, 0], np.int32)).tolist() == [True, False]
    assert _bought(snapshot(), user({"p0": 1.0}), np.array([2, 0], np.int32)).tolist() == [False, True]


def test_what_was_only_looked_at_was_not_bought() -> None:
    assert _bought(snapshot(), user({"p0": 2.0, "p1": 0.0, "gone": 1.0}), ALL).tolist() == [True, False, False, False]


def test_a_crowd_is_people_who_chose_one_product() -> None:
    shopper = replace(user(), circle=Circle(("p0", "p2", "gone"), np.ones(3, np.float32), np.array([2.0, 4.0, 9.0], np.float32)))
    shop = snapshot()
    found = _crowds(shop, shopper)
    assert all(found[category] == 4.0 for category in shop.lineage[2])
    assert found.keys() == {*shop.lineage[0], *shop.lineage[2]} and _crowds(shop, user()) == {}


@pytest.mark.parametrize(("buyers", "expected"), [([2, 0, 9, 9], False), ([2, 3, 0, 0], True), ([np.nan, np.nan, 9, 9], False)])
def test_a_history_is_beside_crowds_where_one_chose_something_of_it(buyers: list[float], expected: bool) -> None:
    shop = snapshot()
    nothing = np.full(4, np.nan, np.float32)
    columns = {"product_buyers_90d": np.array(buyers, np.float32), "product_reviews_ever": nothing}
    cast(Any, shop.matrix).column = columns.__getitem__
    assert _beside_crowds(shop, user({"p0": 1.0, "p1": 0.0, "gone": 1.0})) is expected
    assert not _beside_crowds(shop, user())


@pytest.mark.parametrize(
    ("lowest", "highest", "barred"),
    [(0.0, 0.0, []), (15.0, 0.0, [0, 2, 3]), (0.0, 15.0, [1, 2, 3]), (10.0, 20.0, [2, 3]), (30.0, 40.0, [0, 1, 2, 3])],
)
def test_what_price_bounds_rule_out_is_not_proposed(lowest: float, highest: float, barred: list[int]) -> None:
    """Nor is what has no price (row 3), nor what the catalogue no longer has (-1)."""
    matrix = SimpleNamespace(column={"product_price": np.array([99.0, 20.0, 10.0, np.nan], np.float32)}.__getitem__)
    shop = cast(Any, SimpleNamespace(matrix=matrix, row_of=np.array([2, 1, 3, -1], np.int32)))
    found = _too_dear_or_cheap(shop, ShelfPolicy(min_price=lowest, max_price=highest))
    assert found.dtype == np.int32 and found.tolist() == barred


@pytest.mark.parametrize(
    ("lowest", "highest", "expected"),
    [
        (None, None, (5.0, 50.0)),
        (10.0, None, (10.0, 50.0)),
        (1.0, None, (5.0, 50.0)),  # the tighter one holds
        (None, 20.0, (5.0, 20.0)),
        (None, 90.0, (5.0, 50.0)),
    ],
)
def test_the_tighter_bound_of_shop_and_request_holds(lowest: float | None, highest: float | None, expected: tuple[float, float]) -> None:
    rules = Wish(10, min_price=lowest, max_price=highest).bound(ShelfPolicy(min_price=5.0, max_price=50.0))
    assert (rules.min_price, rules.max_price) == expected


def test_a_request_bounds_a_shop_without_bounds() -> None:
    rules = Wish(10, max_price=20.0).bound(ShelfPolicy())
    assert (rules.min_price, rules.max_price) == (0.0, 20.0)
    assert Wish(10, min_price=3.0).bound(ShelfPolicy()).max_price == 0.0, "no bound"


@pytest.mark.parametrize(
    ("known", "blank"),
    [
        (user(), True),
        (user(user_likes=0.0, user_dislikes=0.0), True),  # registered, and has done nothing yet
        (user(user_followed=2.0), False),
        (user({"p0": 0.0}), False),
        (user(disliked=("category:Games",)), False),
        (replace(user(), circle=Circle(("p0",), np.ones(1, np.float32), np.ones(1, np.float32))), False),
    ],
)
def test_who_has_done_and_said_nothing_is_blank(known: UserRow, blank: bool) -> None:
    assert known.blank is blank
