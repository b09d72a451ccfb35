"""The checker: reads a finished text and binds every claim in it to a fact of the product, or reports it.

It shares no word list with the generator: what counts as a claim stands in `policies/*.toml`, each rule with its legal source. It fails closed: a
number, a name or a script that it can't place is a violation, and so is a language it has no rules for.
"""

import hashlib
import re
import tomllib
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.content.facts import Fact, unit_of

FOLDER = Path(__file__).parent / "policies"
NAMES = ("title", "brand")
"""Facts that are names: what a shop calls its product is no claim of ours. A superlative is let through only inside one."""

NUMBER_WORDS = dict(zip("two three four five six seven eight nine ten eleven twelve".split(), map(float, range(2, 13)), strict=True)) | {  # noqa: SIM905
    "fifteen": 15.0,
    "twenty": 20.0,
    "thirty": 30.0,
    "fifty": 50.0,
    "hundred": 100.0,
    "thousand": 1000.0,
    "million": 1e6,
    "dozen": 12.0,
    "twice": 2.0,
    "double": 2.0,
    "triple": 3.0,
    "half": 0.5,
    "quarter": 0.25,
}
CHINESE_DIGITS = dict(zip("零〇一二两三四五六七八九", map(float, (0, 0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9)), strict=True))
CHINESE_MEASURES = (
    "元 块 倍 小时 分钟 天 年 个月 周 克 公斤 千克 斤 米 厘米 毫米 升 毫升 瓦 伏 成 英寸 寸 页 片 岁 赫兹 流明 分贝 盎司 人 欧元 美元 英镑"
).replace(" ", "|")
UNIT_WORD = r"[a-z%°]+|[\u4e00-\u9fff]{1,3}"
CURRENCIES = {
    "USD": "$ us$ 美元 usd dollars",
    "EUR": "€ 欧元 eur euros",
    "GBP": "£ 英镑 gbp pounds",
    "CNY": "¥ 元 块 cny rmb yuan",
    "JPY": "jp¥ 日元 jpy yen",
}
MONEY = {sign: code for code, signs in CURRENCIES.items() for sign in signs.split()}
CALENDAR = set("monday tuesday wednesday thursday friday saturday sunday i i'd i'm i'll i've".split())  # noqa: SIM905
HIDDEN = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\u00ad]")
NEGATION = {"en": r"\b(not|no|never|without|isn't|aren't|non)[\s-]+(\w+\s+)?$", "zh": r"(不是|并非|没有|不|非|无)$"}

LABELS = {
    "en": {"material": "materials?", "color": "colou?rs?", "brand": "brand|manufacturer", "price": "price"},
    "zh": {"material": "材质", "color": "颜色", "brand": "品牌", "price": "售价|价格"},
}
LABELLED = {
    "en": r"\b(?:{label}) is |(?:^|[.!?;]\s)(?:{label}): ",
    "zh": r"(?:{label})[是为]|(?:^|[。！？；，])(?:{label})[：:]",
}
"""Behind a label and "is", or a label and a colon where a sentence begins ("maker and material: ..." names two), stands that attribute's value."""

Span = tuple[int, int]


@dataclass(frozen=True)
class Violation:
    """A claim without a fact. `start` and `end` count characters of the text as given."""

    kind: str
    start: int
    end: int
    text: str
    reason: str


@dataclass(frozen=True)
class CheckResult:
    """What the checker found; `ok` if nothing."""

    violations: tuple[Violation, ...]
    language: str
    policy_version: str

    @property
    def ok(self) -> bool:
        return not self.violations


@dataclass(frozen=True)
class Rule:
    """One kind of claim: what to look for and what may support it. `source` is the law behind it."""

    kind: str
    bind: str
    source: str
    pattern: re.Pattern[str]


class Policy:
    """Rule packs of all languages, and the brands of the shop (a brand that is not the product's own is a claim)."""

    def __init__(self, rules: dict[str, tuple[Rule, ...]], version: str, brands: Collection[str] = ()) -> None:
        self.rules, self.version = rules, version
        self.brands = {_folded(brand)[0] for brand in brands if len(brand) > 2}

    @classmethod
    def load(cls, folder: Path = FOLDER, brands: Collection[str] = ()) -> "Policy":
        """From the data files; the version is a hash of their content."""
        rules: dict[str, tuple[Rule, ...]] = {}
        digest = hashlib.sha256()
        for file in sorted(folder.glob("*.toml")):
            digest.update(file.read_bytes())
            pack = tomllib.loads(file.read_text("utf-8"))
            rules[file.stem] = tuple(_rule(rule, file.stem) for rule in pack["rules"])
        return cls(rules, digest.hexdigest()[:12], brands)

    def check(self, text: str, facts: Sequence[Fact], language: str) -> CheckResult:
        """Every claim in `text` against the facts of the one product it is about (or of all products, for text about several)."""
        if language not in self.rules:
            return self._result([Violation("language", 0, len(text), text, f"no rules for language '{language}'")], language)
        if not text.strip():
            return self._result([Violation("empty", 0, 0, "", "no text")], language)
        folded, places = _folded(text)
        reading = _Reading(text, folded, places, language, facts)
        found = [*_odd_characters(reading), *_numbers(reading), *_unknown_names(reading, self.brands), *_negations(reading), *_mislabelled(reading)]
        for rule in self.rules[language]:
            found += _claims(reading, rule)
        return self._result(found, language)

    def _result(self, found: Iterable[Violation], language: str) -> CheckResult:
        ordered = sorted(set(found), key=lambda item: (item.start, item.end, item.kind))
        return CheckResult(tuple(ordered), language, self.version)


class _Reading:
    """A folded text with the spans in which facts are stated."""

    def __init__(self, text: str, folded: str, places: list[int], language: str, facts: Sequence[Fact]) -> None:
        self.text, self.folded, self.places, self.language = text, folded, places, language
        self.facts = [fact for fact in facts if fact.value is not False]
        self.names = [span for fact in self.facts if fact.name in NAMES for span in self.stated(fact)]
        self.spans = self.names + [span for fact in self.facts if fact.name not in NAMES for span in self.stated(fact)]
        self.known = " | ".join(form for fact in self.facts if fact.name not in NAMES for form in _forms(fact, labels=True))

    def stated(self, fact: Fact) -> list[Span]:
        return [span for form in _forms(fact) for span in _occurrences(form, self.folded)]

    def within(self, start: int, end: int, spans: Sequence[Span]) -> bool:
        return any(low <= start and end <= high for low, high in spans)

    def violation(self, kind: str, start: int, end: int, reason: str) -> Violation:
        first, last = self.places[start], self.places[max(start, end - 1)] + 1
        return Violation(kind, first, last, self.text[first:last], reason)


def _rule(rule: dict[str, Any], language: str) -> Rule:
    words = sorted((re.escape(_folded(word)[0]) for word in rule.get("words", [])), key=len, reverse=True)
    edge = (r"(?<![\w])", r"(?![\w])") if language == "en" else ("", "")
    parts = [f"{edge[0]}(?:{'|'.join(words)}){edge[1]}"] if words else []
    return Rule(rule["kind"], rule["bind"], rule["source"], re.compile("|".join(parts + [f"(?:{pattern})" for pattern in rule.get("patterns", [])])))


def _claims(reading: _Reading, rule: Rule) -> Iterable[Violation]:
    for match in rule.pattern.finditer(reading.folded):
        start, end = match.span()
        if reading.within(start, end, reading.names):
            continue
        supported = rule.bind == "fact" and (reading.within(start, end, reading.spans) or bool(_occurrences(match.group(), reading.known)))
        if not supported:
            yield reading.violation(rule.kind, start, end, f"no fact supports it ({rule.source})")


def _numbers(reading: _Reading) -> Iterable[Violation]:
    """Digits, number words and Chinese numerals with a measure: each must stand inside a stated fact or equal one."""
    for match in re.finditer(r"(jp¥|us\$|[$€£¥])?\s?(\d[\d,]*(?:\.\d+)?)\s?(" + UNIT_WORD + ")?", reading.folded):
        start, end = match.span(2)
        if reading.within(start, end, reading.spans):
            continue
        value, unit = float(match.group(2).replace(",", "")), match.group(3) or ""
        currency = MONEY.get(match.group(1) or "") or _leading(unit, MONEY)
        if currency:
            if not any(fact.kind == "money" and fact.value == value and fact.unit == currency for fact in reading.facts):
                yield reading.violation("price", match.start(), end, "not this product's price")
        elif not _equals_a_fact(reading.facts, value, unit):
            yield reading.violation("number", start, end, "no fact has this number")
    yield from _number_words(reading)


def _number_words(reading: _Reading) -> Iterable[Violation]:
    if reading.language == "en":
        for match in re.finditer(r"\b(" + "|".join(NUMBER_WORDS) + r")\b[\s-]?(\w+)?", reading.folded):
            if not reading.within(*match.span(1), reading.spans) and not _equals_a_fact(
                reading.facts, NUMBER_WORDS[match.group(1)], match.group(2) or ""
            ):
                yield reading.violation("number", *match.span(1), "no fact has this number")
        return
    for match in re.finditer(rf"([零〇一二两三四五六七八九十百千万半]+)({CHINESE_MEASURES})", reading.folded):
        value = _chinese_number(match.group(1))
        if match.group() == "一天" or reading.within(*match.span(), reading.spans):
            continue
        price = MONEY.get(match.group(2))
        same = [fact for fact in reading.facts if fact.kind == "money" and fact.value == value and fact.unit == price]
        if not (same if price else _equals_a_fact(reading.facts, value, match.group(2))):
            yield reading.violation("price" if price else "number", *match.span(), "no fact has this number")


def _equals_a_fact(facts: Sequence[Fact], value: float, unit: str) -> bool:
    """A numeric fact of this value and unit; units of one dimension are converted (0.5 % tolerance for rounding)."""
    known = next((found for size in (len(unit), 3, 2, 1) if unit and (found := unit_of(unit[:size]))), None)
    for fact in facts:
        if fact.kind != "number" or isinstance(fact.value, (str, bool)):
            continue
        own = unit_of(fact.unit) if fact.unit else None
        if known and own and known[3] == own[3] and abs(value * known[4] - fact.value * own[4]) <= 0.005 * abs(fact.value * own[4]):
            return True
        if own is None and fact.value == value and unit and any(_folded(label)[0].startswith(unit[:4]) for label in fact.labels.values()):
            return True
    return False


def _unknown_names(reading: _Reading, brands: Collection[str]) -> Iterable[Violation]:
    """Capitalised words inside an English sentence, Latin words in a Chinese one, and other brands of the shop: names of something else."""
    for brand in brands:
        for start, end in _occurrences(brand, reading.folded):
            written = reading.text[reading.places[start] : reading.places[end - 1] + 1]
            if not reading.within(start, end, reading.spans) and not written.islower():
                yield reading.violation("brand", start, end, "a brand that is not this product's")
    if reading.language == "zh":
        for match in re.finditer(r"[a-z][a-z'’-]+", reading.folded):
            if not reading.within(*match.span(), reading.spans):
                yield reading.violation("name", *match.span(), "a Latin word that is no fact of this product")
        return
    for match in re.finditer(r"[^\W\d_][\w'’-]*", reading.folded):
        start, end = match.span()
        before = reading.folded[:start].rstrip(" \n\"'“‘(")
        opens = not before or before[-1] in ".!?:;–—-|…" or "\n" in reading.folded[len(before) : start]
        capital = reading.text[reading.places[start]].isupper()
        if capital and not opens and match.group().replace("’", "'") not in CALENDAR and not reading.within(start, end, reading.spans):
            yield reading.violation("name", start, end, "a name that is no fact of this product")


def _negations(reading: _Reading) -> Iterable[Violation]:
    """A stated attribute right behind a "not"."""
    for fact in reading.facts:
        if fact.kind in {"flag", "number"} or fact.name in {"material", "color"}:
            for form in _forms(fact):
                for start, end in _occurrences(form, reading.folded):
                    if match := re.search(NEGATION[reading.language], reading.folded[:start]):
                        yield reading.violation("negation", match.start(), end, "denies a fact of this product")


def _mislabelled(reading: _Reading) -> Iterable[Violation]:
    """ "The material is …" must go on with this product's material, and so on: a true value on the wrong attribute is a false claim."""
    for name, label in LABELS[reading.language].items():
        spans = [span for fact in reading.facts if fact.name == name for span in reading.stated(fact)]
        for match in re.finditer(LABELLED[reading.language].format(label=label), reading.folded):
            if not any(start == match.end() for start, _ in spans):
                yield reading.violation("attribute", *match.span(), f"what follows is not this product's {name}")


def _odd_characters(reading: _Reading) -> Iterable[Violation]:
    """Hidden characters, letters of look-alike or foreign scripts, slots that were not filled."""
    for match in HIDDEN.finditer(reading.text):
        yield Violation("hidden", match.start(), match.end(), match.group(), "an invisible character")
    for match in re.finditer(r"<\w+>|\{\w+\}", reading.text):
        yield Violation("unfilled", match.start(), match.end(), match.group(), "a slot that was not filled")
    for at, char in enumerate(reading.folded):
        if not char.isalpha() or reading.within(at, at + 1, reading.spans):
            continue
        script = unicodedata.name(char, "?").split()[0]
        if script not in ({"LATIN"} if reading.language == "en" else {"LATIN", "CJK"}):
            yield reading.violation("script", at, at + 1, f"a letter of another script ({script.lower()})")


def _forms(fact: Fact, labels: bool = False) -> list[str]:
    """How a fact may stand in a text, folded: its wordings and, for text, its value; a flag also by its label."""
    forms = list(fact.phrases.values())
    if isinstance(fact.value, str):
        forms.append(fact.value)
    if labels or fact.kind == "flag":
        forms += fact.labels.values()
    return sorted({_folded(form)[0].strip() for form in forms if form.strip()}, key=len, reverse=True)


def _occurrences(form: str, text: str) -> list[Span]:
    """Where a form stands as a whole: no letter or digit of its own script goes on at either end, and no figure does."""
    before = r"(?<![\da-z.,])" if form[:1].isdigit() else r"(?<![a-z\d])" if form[:1].isascii() and form[:1].isalpha() else ""
    after = r"(?!\d|[.,]\d)" if form[-1:].isdigit() else r"(?![a-z\d])" if form[-1:].isascii() and form[-1:].isalpha() else ""
    return [match.span() for match in re.finditer(before + re.escape(form) + after, text)]


def _folded(text: str) -> tuple[str, list[int]]:
    """NFKC and lower case, with the place in the original of every character (Unicode Standard Annex 15)."""
    chars: list[str] = []
    places: list[int] = []
    for at, char in enumerate(text):
        for part in unicodedata.normalize("NFKC", char).lower().replace("’", "'"):
            chars.append(part)
            places.append(at)
    return "".join(chars), places


def _leading(unit: str, table: dict[str, str]) -> str | None:
    return next((table[unit[:size]] for size in range(len(unit), 0, -1) if unit[:size] in table), None)


def _chinese_number(text: str) -> float:
    """'二十五' -> 25, '半' -> 0.5."""
    if text == "半":
        return 0.5
    total, digit = 0.0, 0.0
    for char in text:
        if char in CHINESE_DIGITS:
            digit = CHINESE_DIGITS[char]
        else:
            size = {"十": 10.0, "百": 100.0, "千": 1000.0, "万": 10_000.0}.get(char, 0.5)
            total += (digit or 1.0) * size
            digit = 0.0
    return total + digit
