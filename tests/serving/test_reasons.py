"""Reasons are told only where they are true."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from feature_repo.journal import Reason
from feature_repo.vectors import RANKER_FEATURES
from serving.reasons import _KINDS, CROWD, GROUPS, IMPERSONAL, LONGEST, PICKED, Shown, explain, impersonal, popular_reason
from training.profile import Evidence, Interest, Profile


def shown(values: dict[str, float] | None = None, moved: dict[str, float] | None = None, brand: str | None = "Acme") -> Shown:
    """A laptop. Values that are not named are missing. A value raised the score a little, if nothing else is said; the others did nothing."""
    features = np.full(len(RANKER_FEATURES), np.nan, np.float32)
    contributions = np.zeros(len(RANKER_FEATURES), np.float32)
    raised = dict.fromkeys(values or {}, 0.001) | (moved or {})
    for target, given in ((features, values), (contributions, raised)):
        for name, value in (given or {}).items():
            target[RANKER_FEATURES.index(name)] = value
    moved_by = [float(sum(contributions[list(columns)])) for columns in GROUPS]
    return Shown(("Laptops", "Electronics"), {"Laptops": "笔记本电脑"}, brand, features.tolist(), moved_by)


def interest(subject: str, kind: str = "category", **signals: float) -> Interest:
    weight = -1.0 if "dislike" in signals else 1.0
    return Interest(kind, subject, weight, weight, 0.0, 0.0, tuple(Evidence(name, value) for name, value in signals.items()))


def profile(*interests: Interest) -> Profile:
    return Profile("u_1", interests, {})


NOBODY: dict[str, float] = {}
CROWDED = {"Laptops": float(CROWD), "Electronics": float(CROWD)}


def codes(item: Shown, known: Profile, crowds: dict[str, float] = NOBODY) -> list[str]:
    return [reason.code for reason in explain([item], known, crowds)[0]]


def test_nothing_true_is_said_as_picked() -> None:
    assert explain([shown()], profile(), NOBODY) == [(PICKED,)]


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ({"like": 1.0}, "likes_category"),
        ({"purchase": 1.0}, "bought_category"),
        ({"view": 2.0}, "looked_at_category"),
        ({"review": 0.5}, "reviewed_category"),
    ],
)
def test_an_interest_in_the_category_is_told_by_its_evidence(signals: dict[str, float], code: str) -> None:
    found = explain([shown(moved={"up_category_interest": 1.0})], profile(interest("Laptops", **signals)), NOBODY)[0]
    assert [reason.code for reason in found] == [code]
    assert "Laptops" in found[0].text
    assert "笔记本电脑" in found[0].text_zh


@pytest.mark.parametrize("signal", ["like", "purchase", "review", "view", "follow"])
def test_a_chinese_reason_names_no_category_in_english(signal: str) -> None:
    known = profile(interest("Electronics", **{signal: 2.0}), interest("Laptops", "brand", purchase=1.0))
    moved = {"up_category_interest": 1.0, "up_category_behaviour": 1.0, "up_category_social": 1.0, "up_brand_interest": 1.0}
    item = shown({"user_followed": 50.0}, moved, brand="Laptops")
    category, brand = sorted(explain([item], known, CROWDED)[0], key=lambda reason: "brand" in reason.code)
    assert "Electronics" in category.text
    assert "这类商品" in category.text_zh and not re.search("[A-Za-z]", category.text_zh)
    assert brand.text_zh == "您买过Laptops的商品", "a brand's name is its name, also where a category has the same"


def test_a_category_that_is_chinese_already_is_named() -> None:
    item = Shown(("茶具",), {}, None, shown().values, shown().moved)
    assert explain([item], profile(interest("茶具", like=1.0)), NOBODY)[0][0].text_zh == "您喜欢茶具"


def test_an_interest_elsewhere_is_no_reason() -> None:
    assert codes(shown(moved={"up_category_interest": 1.0}), profile(interest("Lamps", purchase=3.0))) == ["picked"]


def test_a_disliked_category_is_no_reason() -> None:
    assert codes(shown(moved={"up_category_interest": 1.0}), profile(interest("Laptops", purchase=3.0, dislike=1.0))) == ["picked"]


def test_an_interest_in_a_wider_category_counts() -> None:
    found = explain([shown(moved={"up_category_interest": 1.0})], profile(interest("Electronics", like=1.0)), NOBODY)[0]
    assert found[0].text == "You like Electronics"


@pytest.mark.parametrize(
    ("crowds", "circle", "expected"),
    [
        ({}, 50.0, ["picked"]),
        ({"Laptops": 2.0}, 50.0, ["picked"]),  # of two, each could leave out what they did themselves
        ({"Laptops": 3.0}, 50.0, ["circles"]),
        ({"Laptops": 3.0}, 9.0, ["picked"]),  # of few people too many could be meant
        ({"Phones": 30.0}, 50.0, ["picked"]),
    ],
)
@pytest.mark.parametrize("signal", ["follow", "group"])
def test_circles_are_told_as_a_crowd_only(signal: str, crowds: dict[str, float], circle: float, expected: list[str]) -> None:
    """With fewer people behind it the crowd would be one person, or as good as one."""
    item = shown({"user_followed": circle, "user_groups": 0.0, "user_comembers": 0.0}, {"up_category_social": 1.0})
    found = explain([item], profile(interest("Laptops", **{signal: 2.0})), crowds)[0]
    assert [reason.code for reason in found] == expected
    assert not any("follow" in reason.text.lower() for reason in found)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"score_item_to_item": 0.4, "product_buyers_90d": 2.0}, ["picked"]),
        ({"score_item_to_item": 0.4, "product_buyers_90d": 3.0}, ["goes_with"]),
        ({"score_linear": 0.4, "product_reviews_ever": 3.0}, ["goes_with"]),  # a shop that has only reviews
        ({"score_next_item": 0.4}, ["picked"]),
        ({"score_next_item": 0.4, "product_buyers_90d": 9.0}, ["follows"]),
        ({"score_sequential": 0.01, "rank_sequential": 4.0}, ["picked"]),
        ({"score_sequential": 0.01, "rank_sequential": 4.0, "product_buyers_90d": 3.0}, ["next"]),
        ({"score_sequential": 0.0001, "rank_sequential": 180.0}, ["picked"]),
        ({"score_embedding": 0.01, "rank_embedding": 180.0}, ["picked"]),
    ],
)
def test_what_retrievers_proposed_from_the_history(values: dict[str, float], expected: list[str]) -> None:
    """One or two people who chose both are not "often", and are hidden by nobody."""
    assert codes(shown(values), profile()) == expected


def test_one_sentence_of_a_retriever_is_enough() -> None:
    values = {"score_item_to_item": 0.4, "score_next_item": 0.4, "score_sequential": 0.1, "rank_sequential": 1.0, "product_buyers_90d": 9.0}
    moved = {"score_item_to_item": 0.1, "score_next_item": 0.2, "score_sequential": 0.3}
    assert codes(shown(values, moved), profile()) == ["next"]


def explored(item: Shown) -> Shown:
    return Shown(item.categories, item.categories_zh, item.brand, item.values, item.moved, explored=True)


def test_what_was_drawn_says_so_first_and_then_what_else_is_true() -> None:
    item = explored(shown({"score_embedding": 0.5}, {"score_embedding": 3.0}))
    assert codes(item, profile()) == ["explore", "alike"]
    told = explain([explored(shown())], profile(), NOBODY)[0]
    assert [reason.code for reason in told] == ["explore"] and told[0].text and re.search("[\u4e00-\u9fff]", told[0].text_zh)


def test_what_they_know_already_is_nothing_different() -> None:
    assert codes(explored(shown({"up_views_and_buys": 1.0, "up_purchases": 0.0})), profile()) == ["looked_at"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"up_circle_people": 3.0, "user_followed": 10.0, "user_groups": 0.0, "user_comembers": 0.0}, True),
        ({"up_circle_people": 3.0, "user_followed": 0.0, "user_groups": 2.0, "user_comembers": 20.0}, True),
        ({"up_circle_people": 2.0, "user_followed": 50.0, "user_groups": 1.0, "user_comembers": 900.0}, False),
        ({"up_circle_people": 3.0, "user_followed": 3.0, "user_groups": 0.0, "user_comembers": 0.0}, False),
        ({"up_circle_people": 9.0, "user_followed": 9.0, "user_groups": 3.0, "user_comembers": 27.0}, False),
        ({"up_circle_weight": 9.0, "user_followed": 50.0}, False),
        ({"up_circle_people": 3.0}, False),
    ],
    ids=["followed", "groups", "two people", "all of three", "nine who may be met three times", "one who says much", "nothing known of the circle"],
)
def test_that_the_circle_chose_a_product_is_told_only_where_nobody_can_be_meant(values: dict[str, float], told: bool) -> None:
    found = explain([shown(values, {"up_circle_people": 1.0})], profile(), NOBODY)[0]
    assert ("circle_chose" in [reason.code for reason in found]) == told
    assert not any(re.search("[0-9]|follow", reason.text.lower() + reason.text_zh) for reason in found)


@pytest.mark.parametrize("moved", [0.0, -0.4])
def test_what_did_not_raise_the_score_is_no_reason(moved: float) -> None:
    assert codes(shown({"rank_popular": 7.0, "score_popular": 0.4}, {"rank_popular": moved, "score_popular": 0.0}), profile()) == ["picked"]


@pytest.mark.parametrize("value", [0.3, 0.9])
def test_a_liked_product_is_no_word_on_its_category_or_brand(value: float) -> None:
    """A product's like counts PRODUCT_PREFERENCE for these, at the most MOST_BY_PRODUCTS."""
    known = profile(interest("Laptops", like=value), interest("Acme", "brand", like=value))
    assert not {"likes_category", "likes_brand"} & set(codes(shown(moved={"up_category_interest": 1.0, "up_brand_interest": 1.0}), known))


def test_what_goes_with_a_history_that_no_crowd_shares_is_no_reason() -> None:
    item = shown({"score_item_to_item": 0.4, "product_buyers_90d": 9.0})
    assert codes(item, profile()) == ["goes_with"]
    assert codes(replace(item, beside_crowds=False), profile()) == ["picked"]


def test_what_moved_the_score_comes_first() -> None:
    item = shown({"score_embedding": 0.5, "score_item_to_item": 0.4, "product_buyers_90d": 3.0}, {"score_embedding": 0.2, "score_item_to_item": 0.9})
    assert codes(item, profile()) == ["goes_with", "alike"]


def test_what_spoke_against_the_item_is_not_told_while_something_helped() -> None:
    item = shown({"score_embedding": 0.5, "score_item_to_item": 0.4, "product_buyers_90d": 3.0}, {"score_embedding": -0.2, "score_item_to_item": 0.9})
    assert codes(item, profile()) == ["goes_with"]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"up_purchases": 2.0, "up_views_and_buys": 1.0}, "bought_before"),
        ({"up_purchases": 0.0, "up_views_and_buys": 1.0}, "looked_at"),
        ({"up_price_rank_gap": -0.1}, "price"),
        ({"product_age_days": 3.0}, "new"),
        ({"rank_popular": 7.0, "score_popular": 0.4}, "popular"),
    ],
)
def test_conditions_on_the_product(values: dict[str, float], code: str) -> None:
    assert codes(shown(values), profile()) == [code]


@pytest.mark.parametrize(
    "values",
    [
        {"up_price_rank_gap": 0.4},
        {"product_age_days": 90.0},
        {"rank_popular": 150.0, "score_popular": 0.4},
        {"rank_popular": 30.0, "score_popular": 0.4, "product_popularity_rank": 0.2},
        {"score_item_to_item": 0.0},
    ],
)
def test_conditions_that_do_not_hold(values: dict[str, float]) -> None:
    assert codes(shown(values), profile()) == ["picked"]


def test_at_most_three_and_one_of_a_kind() -> None:
    values = {"score_embedding": 0.5, "score_item_to_item": 0.4, "product_buyers_90d": 3.0, "product_age_days": 3.0, "up_price_rank_gap": 0.0}
    moved = {"up_category_interest": 2.0, "score_embedding": 1.0, "score_item_to_item": 1.5, "product_age_days": 0.5}
    found = codes(shown(values, moved), profile(interest("Laptops", purchase=1.0, view=4.0, review=1.0)))
    assert found == ["bought_category", "goes_with", "alike"]
    assert len(found) == LONGEST


def test_words_of_a_shop_are_never_a_format(monkeypatch: Any) -> None:
    found = explain([shown(brand="{0.__class__}")], profile(interest("{0.__class__}", "brand", like=1.0)), NOBODY)[0]
    assert found[0].text == "You like {0.__class__}"


def test_the_popular_shelf_says_popular_only_of_what_is() -> None:
    assert popular_reason(1, 1000)[0].code == "popular"
    assert popular_reason(101, 1000) == (PICKED,)
    assert popular_reason(30, 60)[0].code == "popular"
    assert popular_reason(31, 60) == (PICKED,), "not everything in a small shop is popular"


def test_impersonal_reasons_tell_nothing_of_the_shopper() -> None:
    """Every other kind needs something that the shopper did, said or is tied to."""
    popular = popular_reason(1, 10)[0]
    assert impersonal((Reason("looked_at", "You looked at this", "您看过这件商品"), popular)) == (popular,)
    assert impersonal((Reason("price", "In your usual price range", "符合您常选的价位"),)) == (PICKED,)
    assert not [kind.code for kind in _KINDS if kind.code in IMPERSONAL and ("you" in kind.text.lower().split() or "您" in kind.text_zh)]
