"""The checker: every kind of claim is caught without a fact and let through with one, in English and Chinese."""

import json

import pytest

from training.content.facts import Fact, ledger
from training.content.policy import Policy

POLICY = Policy.load(brands=["Halden", "Lumo"])
FACTS = ledger(
    {
        "product_id": "p1", "title": "Lumo Desk Lamp", "title_zh": "流沐台灯", "brand": "Lumo",
        "price": 49.9, "currency": "EUR", "category": "Desk Lamps", "category_zh": "台灯",
        "attributes": json.dumps({"colour": "warm white", "material": "oak", "battery_life": {"value": 20, "unit": "hours"},
                                  "weight": {"value": 1.4, "unit": "kg"},
                                  "dimmable": True, "waterproof": False}),
        "attributes_zh": json.dumps({"颜色": "暖白色", "材质": "橡木", "续航时间": {"value": 20, "unit": "小时"},
                                     "重量": {"value": 1.4, "unit": "千克"}, "可调光": True}),
    }
).facts  # fmt: skip


def kinds(text: str, language: str, facts: tuple[Fact, ...] = FACTS) -> set[str]:
    return {violation.kind for violation in POLICY.check(text, facts, language).violations}


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("On our shelf: Lumo Desk Lamp, made of oak, in warm white, for €49.90.", "en"),
        ("Lumo Desk Lamp with a battery life of 20 hours and a weight of 1.4 kg. Dimmable, too.", "en"),
        ("It weighs 1400 g and runs 1200 minutes.", "en"),
        ("Some twenty hours of light.", "en"),
        ("流沐台灯，橡木材质，暖白色，售价49.90欧元，续航时间20小时，可调光。", "zh"),
        ("流沐台灯，重1400克，用上二十小时。", "zh"),
    ],
)
def test_true_claims_pass(text: str, language: str) -> None:
    assert POLICY.check(text, FACTS, language).violations == ()


@pytest.mark.parametrize(
    ("text", "language", "kind"),
    [
        ("The best lamp for your desk.", "en", "superlative"),
        ("Brighter days, better than any lamp.", "en", "comparative"),
        ("Lumo Desk Lamp for €39.90.", "en", "price"),
        ("Lumo Desk Lamp for $49.90.", "en", "price"),
        ("It runs for 30 hours.", "en", "number"),
        ("It runs for 30 hours.", "en", "number"),
        ("It runs for thirty hours.", "en", "number"),
        ("A battery life of 20 kg.", "en", "number"),
        ("Goes well with a Halden chair.", "en", "brand"),
        ("As fine as a Tolomeo.", "en", "name"),
        ("Made of walnut.", "en", "material"),
        ("In black, for your desk.", "en", "color"),
        ("Waterproof, so take it outside.", "en", "feature"),
        ("FDA approved.", "en", "certification"),
        ("Relieves pain after long days.", "en", "health"),
        ("Now with a discount.", "en", "discount"),
        ("Hurry, last chance!", "en", "urgency"),
        ("Guaranteed for life.", "en", "guarantee"),
        ("Free shipping on this lamp.", "en", "delivery"),
        ("Our bestseller.", "en", "popularity"),
        ("Recommended by designers.", "en", "endorsement"),
        ("An eco-friendly choice.", "en", "environment"),
        ("Made in a small village.", "en", "origin"),
        ("Since you follow lamp lovers, have a look.", "en", "personal"),
        ("Write to anna@example.org.", "en", "personal"),
        ("It is not dimmable.", "en", "negation"),
        ("Lumo Desk Lаmp, made of οak.", "en", "script"),
        ("Lumo\u200b Desk Lamp.", "en", "hidden"),
        ("Made of <material>.", "en", "unfilled"),
        ("最佳台灯。", "zh", "superlative"),
        ("销量第一的台灯。", "zh", "superlative"),
        ("国家级品质。", "zh", "superlative"),
        ("比普通台灯更亮。", "zh", "comparative"),
        ("售价39.90欧元。", "zh", "price"),
        ("售价49.90元。", "zh", "price"),
        ("续航30小时。", "zh", "number"),
        ("续航三十小时。", "zh", "number"),
        ("胡桃木材质。", "zh", "material"),
        ("黑色款。", "zh", "color"),
        ("支持防水。", "zh", "feature"),
        ("通过权威认证。", "zh", "certification"),
        ("缓解疲劳。", "zh", "health"),
        ("限时特价。", "zh", "discount"),
        ("手慢无。", "zh", "urgency"),
        ("终身质保。", "zh", "guarantee"),
        ("全国包邮。", "zh", "delivery"),
        ("热销爆款。", "zh", "popularity"),
        ("明星同款。", "zh", "endorsement"),
        ("环保之选。", "zh", "environment"),
        ("德国进口。", "zh", "origin"),
        ("因为你关注了台灯圈子，看看吧。", "zh", "personal"),
        ("像Tolomeo一样。", "zh", "name"),
        ("不可调光。", "zh", "negation"),
    ],
)
def test_each_kind_is_caught(text: str, language: str, kind: str) -> None:
    assert kind in kinds(text, language)


def test_the_span_is_the_one_in_the_text_as_given() -> None:
    text = "Lumo Desk Lamp for € ３９．９０ now."
    violation = POLICY.check(text, FACTS, "en").violations[0]
    assert violation.kind == "price" and "３９．９０" in violation.text
    assert text[violation.start : violation.end] == violation.text


def test_a_products_own_name_may_say_what_copy_may_not() -> None:
    facts = ledger({"product_id": "x", "title": "Best Friends Mug, Set of 3"}).facts
    assert kinds("On our shelf: Best Friends Mug, Set of 3.", "en", facts) == set()
    assert "superlative" in kinds("The best mug: Best Friends Mug, Set of 3.", "en", facts)


def test_fails_closed() -> None:
    assert kinds("Bonjour", "fr") == {"language"}
    assert kinds("  ", "en") == {"empty"}


def test_every_rule_names_its_legal_source() -> None:
    assert all(rule.source and rule.bind in {"name", "fact", "never"} for rules in POLICY.rules.values() for rule in rules)
