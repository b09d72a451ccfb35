"""The grammar: no line of it claims anything, and controls tell the truth."""

import random
import re

import pytest

from training.content import corpus
from training.content.facts import FactLedger, ledger
from training.content.plan import ASPECTS, PARTS, TONES
from training.content.policy import Policy

BOOK = ledger(
    {"product_id": "p", "title": "Trail Lamp", "title_zh": "小径灯",
     "brand": "Halden", "category": "Lamps", "category_zh": "灯具", "price": 12.0, "currency": "GBP",
     "attributes": {"material": "steel", "colour": "sand", "battery_life": {"value": 9, "unit": "hours"}, "dimmable": True}}
)  # fmt: skip


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_line_of_the_grammar_claims_anything(language: str) -> None:
    policy, rules, rng = Policy.load(), corpus.grammar(language), random.Random(4)
    values = {fact.slot: fact.phrases[language] for fact in BOOK.sayable(language)} | {"interest": "lamps" if language == "en" else "灯具"}
    for part in PARTS:
        for tone in TONES:
            for aspect in ASPECTS:
                for domain in corpus.DOMAINS:
                    line = corpus.sample(rules, language, part, (tone, aspect, domain), rng)
                    text = re.sub(r"<(\w+)>", lambda found: values[found.group(1)], line.text)
                    assert policy.check(text, BOOK.facts, language).violations == (), text
                    assert not re.search(r"\d", line.text)
                    assert line.request.slots == corpus.slots_of(line.text)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_sentence_depends_on_what_fills_it(language: str) -> None:
    lines = [text for alternatives in corpus.grammar(language).values() for text in alternatives]
    assert not [text for text in lines if re.search(r"\ban? <|<title>'s|<title> (is|are|was|were|has|have|does|[a-z]{3,}s)\b", text, re.IGNORECASE)]


def test_only_safe_sentences_of_descriptions_are_learned() -> None:
    def product(material: str, color: str, chinese: str) -> tuple[FactLedger, dict[str, str]]:
        english = f"Made of {material}. It is made of {material}. Astronauts swear by {material}. The colour is {color}. There are 4 seats."
        row = {"product_id": "p", "title": "T", "attributes": {"material": material, "colour": color, "seats": 4}, "attributes_zh": {"材质": chinese}}
        return ledger(row), {"en": english, "zh": f"材质是{chinese}。宇航员爱{chinese}。"}

    products = [
        product("steel", "sand", "钢"),
        product("oak", "walnut", "橡木"),
        product("wool", "walnut", "羊毛"),
        product("walnut", "walnut", "胡桃木"),
    ]
    found = corpus.from_descriptions(products, Policy.load())
    assert found["en"] == ["Made of <material>."], "three materials; but two colours, one of which is a material too"
    assert found["zh"] == ["材质是<material>。"]


def test_sampling_repeats_with_its_seed() -> None:
    assert corpus.sampled(50, 3, {}) == corpus.sampled(50, 3, {})
    assert corpus.sampled(50, 3, {}) != corpus.sampled(50, 4, {})
