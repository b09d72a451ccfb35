"""Facts are read from columns, in both languages, and nothing unsure becomes one."""

import json

import pytest

from training.content.facts import article, domain_of, ledger, lower_name, money_text, short_title

LAMP = {
    "product_id": "p1", "title": "Lumo Desk Lamp", "title_zh": "流沐台灯", "category": "Desk Lamps", "category_zh": "台灯",
    "category_path": "Home > Lighting > Desk Lamps",
    "brand": "Lumo", "price": 49.9, "currency": "EUR", "stock": 3.0,
    "attributes": json.dumps({"colour": "warm white", "material": "Oak", "battery_life": {"value": 20, "unit": "hours"}, "dimmable": True,
                              "waterproof": False,
                              "odd": {"value": 3, "unit": "furlongs"}, "story": "x" * 60, "optical_zoom": {"value": 5, "unit": "x"}}),
    "attributes_zh": json.dumps({"颜色": "暖白色", "材质": "橡木", "续航时间": {"value": 20, "unit": "小时"}, "可调光": True}),
}  # fmt: skip


def test_a_full_row() -> None:
    book = ledger(LAMP)
    said = {fact.name: (fact.slot, fact.phrases.get("en"), fact.phrases.get("zh"), fact.source) for fact in book.facts}
    assert said["title"] == ("title", "Lumo Desk Lamp", "流沐台灯", "title")
    assert said["category"] == ("category", "desk lamps", "台灯", "category")
    assert said["material"] == ("material", "oak", "橡木", "attributes.material")
    assert said["color"] == ("color", "warm white", "暖白色", "attributes.colour")
    assert said["battery life"] == ("spec", "a battery life of 20 hours", "续航时间20小时", "attributes.battery_life")
    assert said["optical zoom"][1] == "5x optical zoom"
    assert said["dimmable"] == ("detail", "dimmable", "可调光", "attributes.dimmable")
    assert said["price"] == ("price", "€49.90", "49.90欧元", "price")
    assert book.domain == "home"


def test_what_is_unsure_is_no_fact() -> None:
    book = ledger(LAMP)
    assert book.get("odd") is None, "a unit that nobody can read"
    assert book.get("story") is None, "prose may claim anything"
    waterproof = book.get("waterproof")
    assert waterproof is not None and waterproof.slot is None, "known to be false, so never said"


def test_price_and_stock_are_short_lived() -> None:
    assert {fact.name for fact in ledger(LAMP).facts if fact.short_lived} == {"price", "stock"}


@pytest.mark.parametrize(
    ("row", "names"),
    [
        (
            {"product_id": "x", "title": "Night Cream, 50 ml", "brand": "Halden", "category": "Night Creams", "price": None},
            {"title", "brand", "category"},
        ),
        ({"product_id": "x", "title": "WHITE HEART HOLDER", "price": 2.55, "currency": "GBP", "brand": None, "attributes": None}, {"title", "price"}),
        ({"product_id": "x", "title": None, "brand": float("nan"), "price": float("nan"), "attributes": "not json"}, set()),
        ({"product_id": "x", "title": "Free Gift", "price": 0.0, "currency": "GBP"}, {"title"}),
    ],
)
def test_rows_with_nearly_nothing(row: dict[str, object], names: set[str]) -> None:
    assert {fact.name for fact in ledger(row).facts} == names


def test_a_product_without_a_chinese_title_keeps_its_own() -> None:
    title = ledger({"product_id": "x", "title": "WHITE HEART HOLDER"}).get("title")
    assert title is not None and title.phrases == {"en": "White Heart Holder", "zh": "White Heart Holder"}


def test_an_attribute_is_said_only_in_languages_it_is_known_in() -> None:
    book = ledger({"product_id": "x", "title": "T", "attributes": {"grip texture": "waffle", "material": "cotton"}})
    assert [fact.name for fact in book.sayable("zh")] == ["title", "material"]


def test_wording() -> None:
    assert [article(noun) for noun in ("hour", "unit", "umbrella", "LED panel", "USB cable", "output power", "X-ray")] == [
        "an",
        "a",
        "an",
        "an",
        "a",
        "an",
        "an",
    ]
    assert lower_name("USB Desk Lamps") == "USB desk lamps"
    assert money_text(12.0, "GBP", "en") == "£12" and money_text(12.5, "CNY", "zh") == "12.50元"
    assert domain_of("Electronics > Phones") == "tech" and domain_of("Odds and Ends") == "general"
    long = "Acme Daily Colour Enhancing Shampoo With Liquid Crystals and Extra Shine 13 Oz (Pack of 3)"
    assert short_title(long) == "Acme Daily Colour Enhancing Shampoo With Liquid Crystals"
