"""The demo catalogue: enough of it, prices that move, and words that state only what the attributes hold."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from feature_repo.sources.demo.catalogue import Catalogue, make_catalogue, tidy
from feature_repo.sources.demo.vocabulary import CATEGORIES, NEW_CATEGORY, SERIES, pairs
from feature_repo.sources.demo.wording import ATTRIBUTES, agree, article, spoken, spoken_zh
from feature_repo.sources.demo.world import Drift, World


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return make_catalogue(World())


@pytest.fixture(scope="module")
def table(catalogue: Catalogue) -> pd.DataFrame:
    return catalogue.table()


def latest(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop_duplicates("product_id", keep="last")


def test_there_are_two_thousand_products_in_the_promised_categories(table: pd.DataFrame) -> None:
    products = latest(table)
    assert len(products) >= 2000
    assert products["category"].nunique() >= 14
    assert {"Phones", "Tablets", "Laptops", "Cameras", "Films", "Games", "Books"} <= set(products["category"])
    assert products[["title", "title_zh", "description", "description_zh", "category_zh", "brand", "price"]].notna().all().all()


def test_titles_tell_products_apart(table: pd.DataFrame) -> None:
    products = latest(table)
    assert products["title"].is_unique
    assert products["title_zh"].nunique() > 0.98 * len(products)


def test_the_same_seed_gives_the_same_catalogue_and_another_seed_another() -> None:
    small = World(products_per_category=12)
    pd.testing.assert_frame_equal(make_catalogue(small).table(), make_catalogue(small).table())
    assert make_catalogue(small).products != make_catalogue(World(seed=8, products_per_category=12)).products


def test_descriptions_have_two_to_four_sentences_and_no_superlatives(table: pd.DataFrame) -> None:
    for english, chinese in zip(latest(table)["description"], latest(table)["description_zh"], strict=True):
        assert 2 <= len(re.findall(r"[.](?: |$)", english)) <= 4, english
        assert 2 <= chinese.count("。") <= 4, chinese
        assert not re.search(r"\b(best|finest|greatest|perfect|unique|ultimate|most)\b", english, re.IGNORECASE), english
        assert not re.search("最佳|最好|第一|顶级|极致|国家级|完美", chinese.replace("入门第一步", "")), chinese


def test_every_number_in_a_description_stands_in_the_attributes_or_the_name(table: pd.DataFrame) -> None:
    for _, row in latest(table).iterrows():
        known = {number for text in (row["attributes"], row["title"]) for number in re.findall(r"\d+(?:\.\d+)?", text)}
        known |= {f"{float(number):g}" for number in known}
        assert set(re.findall(r"\d+(?:\.\d+)?", row["description"].replace(",", ""))) <= known, row["description"]


def test_both_languages_carry_the_same_facts(table: pd.DataFrame) -> None:
    for english, chinese in zip(latest(table)["attributes"], latest(table)["attributes_zh"], strict=True):
        assert len(json.loads(english)) == len(json.loads(chinese)) >= 3
        assert not re.search("[\u4e00-\u9fff]", english)
        assert json.loads(chinese)["类型"]


def test_attributes_are_particular_to_the_kind(table: pd.DataFrame) -> None:
    by_category = {name: json.loads(rows.iloc[0]) for name, rows in latest(table).groupby("category")["attributes"]}
    assert by_category["Laptops"]["memory"]["unit"] == "GB"
    assert "runtime" in by_category["Films"]
    assert "material" in by_category["Clothing"]
    assert "memory" not in by_category["Clothing"]


def test_prices_lie_where_such_goods_are_sold(table: pd.DataFrame) -> None:
    median = latest(table).groupby("category")["price"].median()
    assert 400 < median["Laptops"] < 1600
    assert 8 < median["Books"] < 30
    assert median["Films"] < median["Shoes"] < median["Laptops"]
    assert (latest(table)["price"] > 0).all()


def test_prices_have_a_history_with_promotions_that_end(table: pd.DataFrame) -> None:
    changes = table.groupby("product_id")["price"].agg(list)
    assert (changes.map(len) > 1).mean() > 0.1
    dips = [prices for prices in changes if len(prices) >= 3 and prices[1] < 0.95 * prices[0] and prices[2] == prices[0]]
    assert len(dips) > 50
    assert table.sort_values("valid_from", kind="stable").groupby("product_id")["valid_from"].apply(lambda times: times.is_unique).all()


def test_products_arrive_during_the_history_and_the_new_category_last(catalogue: Catalogue, table: pd.DataFrame) -> None:
    world = World()
    first = table.groupby("product_id")["valid_from"].min()
    during = (first > pd.Timestamp(world.end) - pd.Timedelta(days=world.days)).mean()
    assert 0.1 < during < 0.35
    new = latest(table).set_index("product_id")["category"] == NEW_CATEGORY
    assert (first[new] > pd.Timestamp(world.end) - pd.Timedelta(days=15)).all()


def test_the_price_of_a_moment_is_the_row_that_held_then(catalogue: Catalogue) -> None:
    offers = catalogue.offers
    for row in np.random.default_rng(0).choice(len(offers.at), 50):
        exact = offers.price_at(offers.product[[row]], offers.at[[row]])
        assert exact[0] == offers.price[row]
    last = len(catalogue) - 1
    assert offers.price_at(np.array([last]), np.array([0]))[0] == offers.price[offers.product == last][0]


def test_a_price_shock_raises_prices_only_after_it_sets_in() -> None:
    calm, shocked = (make_catalogue(World(products_per_category=12, drift=drift)) for drift in (Drift(), Drift(price_shock=1.4)))
    world = World(drift=Drift(price_shock=1.4))
    every = np.arange(len(calm))
    before, after = np.full(len(calm), world.drift_us - 3_600_000_000), np.full(len(calm), world.end_us)
    assert (shocked.offers.price_at(every, before) == calm.offers.price_at(every, before)).all()
    assert np.median(shocked.offers.price_at(every, after) / calm.offers.price_at(every, after)) == pytest.approx(1.4, abs=0.05)


def test_every_attribute_of_every_kind_can_be_said_in_both_languages() -> None:
    for kind in (kind for category in CATEGORIES for kind in category.kinds):
        for key in kind.attributes:
            assert all("{v}" in text or kind.attributes[key].startswith("yes") for text in (*ATTRIBUTES[key].say, *ATTRIBUTES[key].say_zh)), key
    assert len(pairs(SERIES)) == len({name for name, _ in pairs(SERIES)}) == 40


@pytest.mark.parametrize(("words", "expected"), [("adventure", "an adventure"), ("historical", "a historical"), ("8-inch", "an 8-inch")])
def test_articles_follow_the_sound(words: str, expected: str) -> None:
    assert article(words) == expected


def test_numbers_are_spoken_with_their_units() -> None:
    assert (spoken("screen_size", 6.1), spoken_zh("screen_size", 6.1)) == ("6.1 inches", "6.1英寸")
    assert (spoken("storage", 128), spoken_zh("storage", 128)) == ("128 GB", "128 GB")
    assert (spoken("optical_zoom", 5), spoken_zh("optical_zoom", 5)) == ("5x", "5倍")
    assert agree("[It is|They are] waterproof.", True) == "They are waterproof."


@pytest.mark.parametrize(("price", "expected"), [(12.3, 12.5), (12.1, 11.99), (87.2, 86.9), (1234.0, 1229.0)])
def test_prices_are_written_as_shops_write_them(price: float, expected: float) -> None:
    assert tidy(price) == pytest.approx(expected)
