"""The frozen response model: its constants are pinned, its answers known, and its placebo answers the same to everything."""

import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from feature_repo.events import TONES
from feature_repo.sources.demo.catalogue import make_catalogue
from feature_repo.sources.demo.response import CONSTANTS, NO_ASPECT, VERSION, ResponseModel, Shown, fingerprint, sigmoid
from feature_repo.sources.demo.shoppers import Shoppers
from feature_repo.sources.demo.world import NAMED_DRIFTS, Drift, World

WORLD = World(shoppers=400, products_per_category=12)


@pytest.fixture(scope="module")
def model() -> ResponseModel:
    return ResponseModel(Shoppers.of(WORLD), make_catalogue(WORLD))


def shown(shopper: list[int], product: list[int], price: float | list[float] = 50.0, **other: object) -> Shown:
    count = len(shopper)

    def column(name: str, default: float, dtype: type) -> np.ndarray:
        return np.broadcast_to(np.asarray(other.get(name, default), dtype=dtype), (count,))

    return Shown(
        np.array(shopper),
        np.array(product),
        np.broadcast_to(np.asarray(price, dtype=float), (count,)),
        column("position", 1, int),
        column("channel", 0, int),
        column("tone", 0, int),
        column("aspect", NO_ASPECT, int),
        column("personal", False, bool),
        column("seen", 0.0, float),
        column("repeats", 0.0, float),
    )


def everyone(model: ResponseModel, seed: int, **other: object) -> Shown:
    rng = np.random.default_rng(seed)
    product = rng.integers(len(model.catalogue), size=len(model.shoppers))
    price = [model.catalogue.products[index].price for index in product]
    return shown(list(range(len(model.shoppers))), list(product), price, **other)


def test_the_model_is_frozen() -> None:
    """Guards against tuning the world that figures are measured in. A change needs a new VERSION and a new line in docs/simulator.md."""
    assert VERSION == "1"
    assert fingerprint() == "40a30f7df91f0a28c4fd94b5e0d78c4d07085c7131fecb0582194bda1682fad1"
    assert fingerprint(replace(CONSTANTS, tone=0.7)) != fingerprint()


def test_known_answers(model: ResponseModel) -> None:
    people = [1, 2, 3]
    found = model.click(shown(people, [0, 50, 100], [100.0, 200.0, 300.0], position=[1, 2, 3], tone=[0, 1, 3], aspect=[-1, 0, 2], seen=[0, 8, 30]))
    assert found == pytest.approx([0.158771101, 0.00796390422, 4.96654717e-05], rel=1e-6)
    assert model.purchase(shown(people, [0, 50, 100], [100.0, 200.0, 300.0])) == pytest.approx([0.106553393, 0.029293081, 0.000421085642], rel=1e-6)


def test_the_formula_as_written_in_the_docs(model: ResponseModel) -> None:
    """One shopper and product by hand."""
    people, goods, c = model.shoppers, model.catalogue, CONSTANTS
    u, p, price = 5, 7, 80.0
    level = (np.log(price) - goods.price_mean[p]) / goods.price_deviation[p]
    affinity = (
        people.taste[u, goods.category[p]]
        + 0.45 * people.style[u] @ goods.style[p] / 2
        + 0.3 * people.quality_care[u] * goods.quality[p]
        + 0.45 * goods.appeal[p]
        - 0.25 * min((level - people.price_level[u]) ** 2 / 2, 4.0)
        - 0.2 * level
    )
    words = 0.6 * people.tone[u, 3] + 0.5 * people.aspect[u, 2] + 0.12 * np.clip(people.taste[u, goods.category[p]], -1, 1.5)
    logit = c.click_email + people.click_bias[u] + affinity + words - 0.25 * np.log1p(16 / 8) - 0.5 * np.log1p(2)
    case = shown([u], [p], price, position=4, channel=1, tone=3, aspect=2, personal=True, seen=16.0, repeats=2.0)
    assert model.click(case)[0] == pytest.approx(4**-0.5 * sigmoid(np.array([logit]))[0])


def test_matrix_and_rows_agree(model: ResponseModel) -> None:
    price = np.array([product.price for product in model.catalogue.products])
    matrix = model.affinity_matrix(np.array([3, 9]), price)
    every = np.arange(len(price))
    assert matrix[1] == pytest.approx(model.affinity(np.full(len(price), 9), every, price), abs=1e-4)


def test_position_fatigue_and_repetition_lower_the_chance_of_a_click(model: ResponseModel) -> None:
    base = model.click(everyone(model, 0)).mean()
    for worse in ({"position": 4}, {"seen": 40.0}, {"repeats": 3.0}):
        assert model.click(everyone(model, 0, **worse)).mean() < 0.9 * base


def test_relevance_pays(model: ResponseModel) -> None:
    """A shelf chosen by taste beats the same number of random products by far: there is something to learn."""
    price = np.array([product.price for product in model.catalogue.products])
    best = model.affinity_matrix(np.arange(len(model.shoppers)), price).argmax(axis=1)
    chosen = shown(list(range(len(model.shoppers))), list(best), list(price[best]))
    assert model.click(chosen).mean() > 3 * model.click(everyone(model, 0)).mean()
    assert model.purchase(chosen).mean() > 1.5 * model.purchase(everyone(model, 0)).mean()


def test_the_right_words_pay_and_the_wrong_ones_cost(model: ResponseModel) -> None:
    plain = model.click(everyone(model, 1)).mean()
    liked = model.click(
        everyone(model, 1, tone=model.shoppers.tone.argmax(axis=1), aspect=model.shoppers.aspect.argmax(axis=1), personal=True)
    ).mean()
    hated = model.click(everyone(model, 1, tone=model.shoppers.tone.argmin(axis=1), aspect=model.shoppers.aspect.argmin(axis=1))).mean()
    assert liked > 1.3 * plain
    assert hated < 0.9 * plain


def test_placebo_answers_the_same_to_every_product_and_every_word(model: ResponseModel) -> None:
    placebo = replace(model, placebo=True)
    one = placebo.click(everyone(model, 2))
    other = placebo.click(everyone(model, 3, tone=2, aspect=1, personal=True, repeats=5.0))
    assert one == pytest.approx(other, abs=0)
    assert placebo.purchase(everyone(model, 2)) == pytest.approx(placebo.purchase(everyone(model, 3)), abs=0)
    assert one.std() > 0, "shoppers still differ in how readily they click"
    assert placebo.click(everyone(model, 2, position=5)).mean() < one.mean(), "position still counts"


def test_each_drift_does_what_it_says(model: ResponseModel) -> None:
    people, goods = np.arange(len(model.shoppers)), model.catalogue
    price = np.array([product.price for product in goods.products])
    favourite = model.affinity_matrix(people, price).argmax(axis=1)
    shelf = shown(list(people), list(favourite), list(price[favourite]), tone=TONES.index("warm"), personal=True)
    calm = model.click(shelf).mean()
    assert replace(model, drift=NAMED_DRIFTS["taste_shift"]).click(shelf).mean() < 0.7 * calm
    assert replace(model, drift=NAMED_DRIFTS["dull_copy"]).click(shelf).mean() < 0.9 * calm
    dearer = replace(shelf, price=shelf.price * NAMED_DRIFTS["price_shock"].price_shock)
    assert model.click(dearer).mean() < calm
    new = int(np.flatnonzero(goods.category == goods.category.max())[0])
    robots = shown(list(people), [new] * len(people), price[new])
    assert replace(model, drift=NAMED_DRIFTS["new_category"]).click(robots).mean() > 3 * model.click(robots).mean()
    assert replace(model, drift=Drift()).click(shelf) == pytest.approx(model.click(shelf), abs=0)


def test_the_docs_tell_every_constant_and_a_product_that_exists() -> None:
    page = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text()
    told = {name: float(value) for name, value in re.findall(r"\| ([a-z_]+) \| (-?\d+(?:\.\d+)?) (?=\|)", page)}
    assert told == asdict(CONSTANTS)
    title, title_zh = re.findall(r"> \*\*(.+)\*\* · (.+)", page)[0]
    assert (title, title_zh) in {(product.title, product.title_zh) for product in make_catalogue(World()).products}
