"""The fact ledger: everything that copy may state about a product, each fact with its value, its wording and its source.

A fact is read from the structured columns of a canonical product row (docs/architecture.md, products), or it is no fact.
Titles and descriptions are not mined here: a title is a fact as a whole (the product's name), a description is none.
"""

import json
import math
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

LANGUAGES = ("en", "zh")
SHORT_LIVED = ("price", "stock")
"""Facts that may change between writing and reading: composed copy is filled with the row as of delivery."""

VOCABULARY: dict[str, Any] = tomllib.loads((Path(__file__).parent / "vocabulary.toml").read_text("utf-8"))
NOT_SAID = {"type", "类型"}
"""Attributes that only repeat what the category or the title says."""

LONGEST_TEXT = 48
"""An attribute's text longer than this (characters) is prose, which may claim anything; it is kept out of copy."""

SHORT_TITLE, SHORTEST_TITLE, SHORTEST_ENGLISH = 64, 4, 12
"""Characters of a title in copy: at most, and what a cut must leave of a Chinese and of an English one."""
MINOR_WORDS = {"of", "in", "and", "the", "with", "for", "on", "a", "an", "to", "by", "or", "at", "&"}

Kind = Literal["text", "number", "money", "flag"]


@dataclass(frozen=True)
class Fact:
    """One attribute of one product.

    `labels` and `phrases` are by language. A label names the attribute ("battery life"), a phrase says the fact inside a
    sentence ("a battery life of 20 h"). A language without a phrase can't say this fact. `slot` is the place it fills in copy,
    None for facts that are known but never said (stock, a flag that is false).
    """

    name: str
    kind: Kind
    value: str | float | bool
    source: str
    unit: str | None = None
    slot: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    phrases: Mapping[str, str] = field(default_factory=dict)
    short_lived: bool = False


@dataclass(frozen=True)
class FactLedger:
    """The facts of one product, in the order of importance to copy."""

    product_id: str
    facts: tuple[Fact, ...]
    domain: str = "general"
    category_path: str = ""

    def get(self, name: str) -> Fact | None:
        return next((fact for fact in self.facts if fact.name == name), None)

    def sayable(self, language: str) -> tuple[Fact, ...]:
        """Facts that have a slot and a wording in this language."""
        return tuple(fact for fact in self.facts if fact.slot and language in fact.phrases)


def ledger(row: Mapping[str, Any]) -> FactLedger:
    """The ledger of one product row (a pandas row, a dict); missing columns and nulls yield no facts."""
    attributes = [*_attributes(row)]
    facts = [*_naming(row, attributes), *attributes, *_offer(row)]
    path = _text(row.get("category_path")) or _text(row.get("category")) or ""
    chinese = _text(row.get("category_zh")) or ""
    return FactLedger(str(row["product_id"]), tuple(facts), domain_of(path, chinese), path)


def domain_of(*paths: str) -> str:
    """What a category is about (`tech`, `home`, …), from its path; `general` when no word or words of two domains are found at
    the same level. The deepest level that says anything decides."""
    levels = [level.strip().lower() for path in paths for level in path.split(">")]
    for level in reversed([level for level in levels if level]):
        found = {name for name, words in VOCABULARY["domains"].items() if any(_mentions(level, word) for word in words)}
        if found:
            return found.pop() if len(found) == 1 else "general"
    return "general"


def short_title(title: str, values: Collection[str] = ()) -> str:
    """A title as said in copy: without the variant at its end (", 128 GB, Black"), at most about 64 characters, never cut inside a word.

    `values` are the wordings of the product's attributes; a Chinese title, which has no commas, loses those and quantities at its end.
    """
    title = _readable_case(title)
    while _chinese(title):
        head = re.sub(r"\s+\d[\d.×x ]*\s?(?:[A-Za-z]{1,3}|[\u4e00-\u9fff]{1,3})?$", "", title)
        last = title.rpartition(" ")
        head = last[0] if head == title and last[0] and last[2] in values else head
        if head == title or len(head) < SHORTEST_TITLE:
            break
        title = head
    head = re.split(r"\s+[-–|]\s+|,\s+|\s+\(|[，（：|]", title)[0].strip()
    if len(head.split()) >= 3 and SHORTEST_ENGLISH <= len(head) <= SHORT_TITLE:
        return head
    if len(title) <= SHORT_TITLE:
        return title
    if SHORTEST_ENGLISH <= len(head) <= SHORT_TITLE:
        return head
    words = title[: SHORT_TITLE + 1].rsplit(" ", 1)[0].split()
    while len(words) > 1 and (words[-1].lower() in MINOR_WORDS or re.search(r"[\d,;:(\-–|&]$", words[-1])):
        words.pop()
    cut = " ".join(words).rstrip(",;:-–|& ")
    return cut.rsplit(" (", 1)[0] if cut.count("(") > cut.count(")") else cut


def number_text(value: float) -> str:
    """12.0 -> '12', 6.10 -> '6.1'."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


def money_text(amount: float, currency: str, language: str) -> str:
    """'£2.55' in English, '2.55英镑' in Chinese; a code of no known sign stands beside the amount."""
    figure = number_text(amount) if float(amount).is_integer() else f"{amount:.2f}"
    sign, chinese = VOCABULARY["money"].get(currency, (f"{currency} ", f" {currency}"))
    return f"{figure}{chinese}" if language == "zh" else f"{sign}{figure}"


def unit_of(text: str) -> tuple[str, str, str, str, float] | None:
    """(canonical, English, Chinese, dimension, factor) of a unit as a shop writes it; None if unknown."""
    found = VOCABULARY["units"].get(text.strip().lower())
    return tuple(found) if found else None


def _naming(row: Mapping[str, Any], attributes: Sequence[Fact]) -> Iterable[Fact]:
    title, title_zh = _text(row.get("title")), _text(row.get("title_zh"))
    if title or title_zh:
        values = {form.removeprefix(fact.labels.get("zh", "")) for fact in attributes for form in fact.phrases.values()}
        english = short_title(title or title_zh or "")
        phrases = {"en": english, "zh": short_title(title_zh, values) if title_zh else english}
        yield Fact("title", "text", title or title_zh or "", "title" if title else "title_zh", slot="title", phrases=phrases)
    if brand := _text(row.get("brand")):
        yield Fact("brand", "text", brand, "brand", slot="brand", phrases={"en": brand, "zh": brand})
    category, category_zh = _text(row.get("category")), _text(row.get("category_zh"))
    if category or category_zh:
        phrases = {"en": lower_name(category)} if category else {}
        if category_zh or (category and _chinese(category)):
            phrases["zh"] = category_zh or category or ""
        yield Fact("category", "text", category or category_zh or "", "category" if category else "category_zh", slot="category", phrases=phrases)


def _offer(row: Mapping[str, Any]) -> Iterable[Fact]:
    price, currency = _number(row.get("price")), _text(row.get("currency"))
    if price is not None and price > 0 and currency:
        phrases = {language: money_text(price, currency, language) for language in LANGUAGES}
        yield Fact("price", "money", price, "price", unit=currency, slot="price", phrases=phrases, short_lived=True)
    stock = _number(row.get("stock"))
    if stock is not None:
        yield Fact("stock", "number", stock, "stock", short_lived=True)


def _attributes(row: Mapping[str, Any]) -> Iterable[Fact]:
    """English and Chinese attributes, put together where they surely are the same one."""
    english = [_attribute(name, value, "en") for name, value in _object(row.get("attributes")).items()]
    chinese = [_attribute(name, value, "zh") for name, value in _object(row.get("attributes_zh")).items()]
    others = [fact for fact in chinese if fact]
    for fact in filter(None, english):
        twin = _twin(fact, others)
        if twin is None:
            yield fact
            continue
        others.remove(twin)
        yield Fact(
            fact.name, fact.kind, fact.value, fact.source, fact.unit, fact.slot or twin.slot,
            {**fact.labels, **twin.labels}, {**fact.phrases, **twin.phrases},
        )  # fmt: skip
    yield from others


def _twin(fact: Fact, others: list[Fact]) -> Fact | None:
    """The Chinese attribute that is this one: of the same name; of the label we know for it, or one that contains the other and says the same;
    or the only one with this quantity."""
    known = fact.labels.get("zh", "")
    for other in others:
        if other.name == fact.name or (known and other.labels.get("zh") == known):
            return other
    alike = [other for other in others if known and _same(fact, other) and (known in other.name or other.name in known)]
    if not alike and fact.kind == "number":
        alike = [other for other in others if _same(fact, other)]
    return alike[0] if len(alike) == 1 else None


def _same(fact: Fact, other: Fact) -> bool:
    """Both say the same: equal values, or quantities that are equal after conversion (26 megapixels and 2600 x 10,000 pixels)."""
    if fact.kind != other.kind or isinstance(fact.value, str) or isinstance(other.value, str):
        return fact.kind == other.kind and fact.value == other.value
    own, its = unit_of(fact.unit or ""), unit_of(other.unit or "")
    if own and its and own[3] == its[3]:
        return math.isclose(fact.value * own[4], other.value * its[4])
    return (fact.value, fact.unit) == (other.value, other.unit)


def _attribute(name: str, raw: Any, language: str) -> Fact | None:
    """One attribute as the shop wrote it; None where the value is missing or of a shape that can't be read surely."""
    source = f"{'attributes' if language == 'en' else 'attributes_zh'}.{name}"
    label = re.sub(r"[_\s]+", " ", name).strip()
    label = label.lower() if language == "en" else label
    if label in NOT_SAID:
        return None
    role = next((role for role, names in VOCABULARY["roles"].items() if label.lower() in names), None)
    if isinstance(raw, Mapping):
        number, unit = _number(raw.get("value")), _text(raw.get("unit"))
        return _measured(label, number, unit, source, language) if number is not None else None
    if isinstance(raw, bool):
        return _flag(label, raw, source, language)
    if isinstance(raw, (list, tuple)):
        texts = [text for text in map(_text, raw) if text]
        raw = _joined(texts, language) if texts and len(texts) == len(raw) else None
    if (number := _number(raw)) is not None:
        label, unit = _unit_suffix(label)
        return _measured(label, number, unit, source, language)
    if not (text := _text(raw)) or len(text) > LONGEST_TEXT:
        return None
    return _named(label, text, role, source, language)


def _measured(label: str, number: float, unit: str | None, source: str, language: str) -> Fact | None:
    known = unit_of(unit) if unit else None
    if unit and not known:
        return None  # a number whose unit we can't read can't be written or checked surely
    labels = _labels(label, language)
    phrases: dict[str, str] = {}
    slot = "spec"
    if english := labels.get("en"):
        phrases["en"], slot = _english_number(english, number, known)
    if chinese := labels.get("zh"):
        unit_zh = known[2] if known else ""
        phrases["zh"] = f"{'' if unit_zh.endswith(chinese) else chinese}{number_text(number)}{unit_zh}"
    return Fact(label, "number", number, source, known[0] if known else None, slot, labels, phrases)


def _english_number(label: str, number: float, unit: tuple[str, str, str, str, float] | None) -> tuple[str, str]:
    """A noun phrase where its grammar is sure (slot spec), else 'label: value' (slot detail)."""
    plural = label.endswith("s") and not label.endswith("ss")
    figure = number_text(number)
    measure = figure + (("" if unit[0] in {"%", "x"} else " ") + _singular(unit[1], number) if unit else "")
    if (pattern := VOCABULARY["specs"].get(label)) is not None:
        return (pattern.format(v=measure, n=figure), "spec") if pattern else (f"{label}: {measure}", "detail")
    if plural and (unit is None or unit[0] == label) and number > 1:
        return f"{figure} {label}", "spec"
    if unit and not plural:
        return f"{article(label)} {label} of {measure}", "spec"
    return f"{label}: {measure.strip()}", "detail"


def _singular(unit: str, number: float) -> str:
    """'hours' -> 'hour' beside a 1."""
    return re.sub(r"(?<=inch)es$|(?<=[a-z])s$", "", unit) if number == 1 and len(unit) > 3 else unit


def _flag(label: str, value: bool, source: str, language: str) -> Fact:
    label = re.sub(r"^(is|has) ", "", label)
    labels = _labels(label, language)
    return Fact(label, "flag", value, source, slot="detail" if value else None, labels=labels, phrases=dict(labels) if value else {})


def _named(label: str, text: str, role: str | None, source: str, language: str) -> Fact:
    """A text attribute. A material or colour that the vocabulary knows can be said in both languages, any other in its own."""
    text = lower_name(text) if language == "en" and role else text
    values = {language: text}
    if language == "en" and role and (translated := _translated(text)):
        values["zh"] = translated
    if role:
        return Fact(role, "text", text, source, slot=role, labels=_labels(label, language), phrases=values)
    labels = _labels(label, language)
    phrases = {tongue: f"{labels[tongue]}{'' if tongue == 'zh' else ': '}{value}" for tongue, value in values.items() if tongue in labels}
    return Fact(label, "text", text, source, slot="detail", labels=labels, phrases=phrases)


def _labels(label: str, language: str) -> dict[str, str]:
    """The label in its own language and, where the vocabulary knows it, in Chinese. An English label is never guessed from a Chinese one."""
    if language == "zh" or _chinese(label):
        return {"zh": label}
    known = VOCABULARY["labels"].get(label)
    return {"en": label, "zh": known} if known else {"en": label}


def _translated(text: str) -> str | None:
    parts = re.split(r"\s+and\s+|,\s*|\s*/\s*", text)
    known = [VOCABULARY["values"].get(part) for part in parts]
    return "、".join(known) if all(known) else None


def _unit_suffix(label: str) -> tuple[str, str | None]:
    """('weight g') -> ('weight', 'g'): a unit that the attribute's name ends with."""
    head, _, last = label.rpartition(" ")
    return (head, last) if head and unit_of(last) and last not in {"pages", "pieces", "years", "days"} else (label, None)


def article(noun: str) -> str:
    """'a' or 'an' by sound, as far as spelling tells; single letters and initialisms are read letter by letter."""
    word = re.split(r"[\s-]", noun.strip() or "x")[0]
    if word.isupper() or len(word) == 1:
        return "an" if word[:1].upper() in "AEFHILMNORSX" else "a"
    if re.match(r"(hour|honest|heir)", word.lower()):
        return "an"
    return "an" if re.match(r"[aeiou]", word.lower()) and not re.match(r"(uni[^nm]|use|usa|eu|one)", word.lower()) else "a"


def lower_name(text: str) -> str:
    """'Desk Lamps' -> 'desk lamps'; words that carry their own capitals (USB, iPad) and Chinese stay."""
    return " ".join(word.lower() if re.fullmatch(r"[A-Z][a-z'’]+", word) else word for word in text.split(" "))


def _readable_case(title: str) -> str:
    """Titles in capitals only are set as headlines; any other is left as the shop wrote it."""
    title = re.sub(r"\s+", " ", title).strip()
    letters = [char for char in title if char.isalpha()]
    if not letters or len(letters) < 8 or sum(char.isupper() for char in letters) < 0.9 * len(letters):
        return title
    words = [word.lower() if at and word.lower() in MINOR_WORDS else _capitalised(word) for at, word in enumerate(title.split(" "))]
    return " ".join(words)


def _capitalised(word: str) -> str:
    return re.sub(r"[A-Za-z]+", lambda part: part[0][0].upper() + part[0][1:].lower(), word, count=0) if "'" not in word else word.capitalize()


def _mentions(level: str, word: str) -> bool:
    return word in level if _chinese(word) else re.search(rf"\b{re.escape(word)}(s|es|ies|y|ry|phy)?\b", level) is not None


def _joined(texts: list[str], language: str) -> str:
    return "、".join(texts) if language == "zh" else " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def _chinese(text: str) -> bool:
    return re.search(r"[\u4e00-\u9fff]", text) is not None


def _object(value: Any) -> dict[str, Any]:
    """A JSON object as a dict; anything else is read as no attributes."""
    if isinstance(value, Mapping):
        return dict(value)
    if not isinstance(value, str) or not value.strip():
        return {}
    try:
        found = json.loads(value)
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, (bool, float)) or not isinstance(value, str):
        return None
    return re.sub(r"\s+", " ", value).strip() or None


def _number(value: Any) -> float | None:
    if value is None or isinstance(value, (bool, str)):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
