"""The plan: a dislike is a veto, tone follows clicks, slots are what the product has."""

import random
from dataclasses import dataclass

from training.content.facts import ledger
from training.content.plan import CopyPlan, Saying, choose_aspects, choose_tone, dislikes, fill, pick, sayings, taste_of, template

BOOK = ledger(
    {"product_id": "p", "title": "Trail Mug", "brand": "Halden",
    "category": "Mugs", "category_zh": "杯子", "category_path": "Home > Mugs",
     "price": 12.0, "currency": "GBP", "attributes": {"material": "steel", "colour": "black", "weight": {"value": 300, "unit": "g"}}}
)  # fmt: skip


@dataclass(frozen=True)
class Liking:
    kind: str
    subject: str
    weight: float
    preference: float


@dataclass(frozen=True)
class Person:
    interests: tuple[Liking, ...]


def test_a_stated_dislike_is_a_veto() -> None:
    person = Person((Liking("brand", "halden", 0.4, -1.0), Liking("category", "Games", -1.0, -1.0)))
    assert dislikes(person, BOOK) == ("brand",)
    said = {saying.slot for saying in sayings(BOOK, "quality", "en", person, dislikes(person, BOOK))}
    assert "brand" not in said and "material" in said
    assert dislikes(Person((Liking("category", "home", -0.1, -1.0),)), BOOK) == ("category",), "any level of the path"
    assert dislikes(Person((Liking("brand", "Halden", -0.2, 0.0),)), BOOK) == (), "an inferred weight is no stated dislike"


def test_a_liked_brand_is_said_before_an_unknown_one() -> None:
    keen = Person((Liking("brand", "Halden", 3.0, 1.0),))
    assert sayings(BOOK, "design", "en", keen)[0].slot == "brand"
    assert sayings(BOOK, "design", "en")[0].slot == "color"


def test_tone_follows_smoothed_clicks() -> None:
    none = {"user_tone_warm_clicks_90d": 0, "user_tone_warm_impressions_90d": None}
    assert choose_tone(taste_of(none))[0] == "warm"
    lucky = {
        "user_tone_expert_clicks_90d": 20.0,
        "user_tone_expert_impressions_90d": 40.0,
        "user_tone_warm_impressions_90d": 60.0,
        "user_tone_warm_clicks_90d": 3.0,
    }
    assert choose_tone(taste_of(lucky))[0] == "expert"
    flat = {
        f"user_tone_{tone}_{kind}s_90d": count
        for tone in ("plain", "warm", "playful", "expert")
        for kind, count in (("click", 1.0), ("impression", 10.0))
    }
    assert choose_tone(taste_of(flat))[0] == "warm", "a tie stays with the default"


def test_an_aspect_needs_facts() -> None:
    bare = ledger({"product_id": "q", "title": "Thing", "price": 3.0, "currency": "GBP"})
    assert [aspect for aspect, _ in choose_aspects(bare, "en", None, None)] == ["value"]


def test_the_titles_own_words_are_not_said_twice() -> None:
    book = ledger({"product_id": "q", "title": "Halden Trail Mug Black", "brand": "Halden", "attributes": {"colour": "black", "material": "steel"}})
    assert [saying.slot for saying in sayings(book, "design", "en")] == ["material"]


def test_pick_takes_only_sets_the_writer_knows() -> None:
    title = BOOK.get("title")
    assert title
    name, available = Saying("title", "Trail Mug", (title,)), sayings(BOOK, "design", "en")
    orders = [("title",), ("price", "title"), ("title", "detail"), ("price",)]
    known = {frozenset(order): [order] for order in orders}
    for turn in range(20):
        order = tuple(saying.slot for saying in pick("push", name, available, known, random.Random(turn)))
        assert order in {("title",), ("price", "title")}


def test_fill_and_template() -> None:
    title, material = BOOK.get("title"), BOOK.get("material")
    assert title and material
    plan = CopyPlan("p", "push", "en", "plain", "quality", "home", (Saying("title", "Trail Mug", (title,)), Saying("material", "steel", (material,))))
    assert fill("<material>? Check! <title>.", plan) == "Steel? Check! Trail Mug."
    assert template(plan) == "On our shelf: Trail Mug. Material: steel."
    loud = CopyPlan("p", "push", "en", "plain", "quality", "home", (Saying("title", "What?", (title,)),))
    assert fill("Meet <title>. Go.", loud) == "Meet What? Go."


def test_shown_and_never_clicked_says_nothing_about_aspects() -> None:
    """Every rate is 0 then, and so is their average."""
    never = taste_of({f"user_aspect_{aspect}_impressions_90d": 5.0 for aspect in ("comfort", "design", "performance", "value", "quality")})
    book = ledger({"product_id": "1", "title": "Lamp", "attributes": '{"material": "oak"}'})
    assert choose_aspects(book, "en", never, None) == choose_aspects(book, "en", None, None)
