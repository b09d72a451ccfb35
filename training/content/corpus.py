"""The writer's training text: lines sampled from the written grammar, and what of the shop's own descriptions can be used.

A line is delexicalised: every fact is a slot such as <material>. Its controls (part, tone, aspect, domain) are what it was
sampled with, its slots are read off the text, so that a control always tells the truth about the line behind it.
"""

import random
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from training.content.facts import LANGUAGES, VOCABULARY, FactLedger
from training.content.plan import ASPECTS, PARTS, SLOTS, TONES, CopyRequest
from training.content.policy import Policy

FOLDER = Path(__file__).parent / "grammar"
DOMAINS = ("general", *VOCABULARY["domains"])
TRIES = 30
MOST_EXTRA = 40
"""Most sentences taken from a shop's descriptions, per language: a few formulas repeated thousands of times would drown the grammar."""
SURE_SLOTS = {"material", "color", "price", "brand", "category"}
"""Slots whose wording fits any sentence that another value fits. "There are <spec>." holds for seats and for no battery life."""
WORDINGS = 3
"""Different values that a sentence must have been seen with: "The material is walnut." may have been read as a colour once."""
PRONOUN = re.compile(r"\b(it|its|they|their|them)\b|[它其]", re.IGNORECASE)

Rules = Mapping[str, list[str]]


@dataclass(frozen=True)
class Line:
    """One delexicalised line with the controls that it answers."""

    request: CopyRequest
    text: str


@cache
def grammar(language: str) -> Rules:
    """The rules of one language, from its file."""
    rules: Rules = tomllib.loads((FOLDER / f"{language}.toml").read_text("utf-8"))["rules"]
    return rules


def slots_of(text: str) -> tuple[str, ...]:
    """Names of the slots in a delexicalised text, in the order in which they stand there."""
    return tuple(slot for slot in re.findall(r"<(\w+)>", text) if slot in SLOTS)


def sample(rules: Rules, language: str, part: str, controls: tuple[str, str, str], rng: random.Random) -> Line:
    """One line of the grammar for (tone, aspect, domain); no slot stands in it twice."""
    for _ in range(TRIES):
        text = _expand("{" + part + "}", rules, controls, rng)
        slots = re.findall(r"<(\w+)>", text)
        if len(slots) == len(set(slots)):
            return Line(CopyRequest(part, language, *controls, slots_of(text)), text)
    raise ValueError(f"The grammar's rule '{part}' ({language}, {controls}) repeats a slot in {TRIES} of {TRIES} tries: look at its lines.")


def sampled(count: int, seed: int, extra: Mapping[str, Sequence[str]]) -> list[Line]:
    """`count` lines with controls drawn evenly; longer parts, which have more to vary, come more often.

    `extra` holds the shop's own sentences by language; plain and expert texts may use them to say a fact.
    """
    rng = random.Random(seed)
    rules = {language: _with_extra(grammar(language), extra.get(language, ())) for language in LANGUAGES}
    weights = [6 if part in {"body", "paragraph"} else 4 if part in {"push", "title"} else 2 for part in PARTS]
    lines = []
    for _ in range(count):
        part, language = rng.choices(PARTS, weights)[0], rng.choice(LANGUAGES)
        domain = "general" if rng.random() < 0.25 else rng.choice(DOMAINS)
        lines.append(sample(rules[language], language, part, (rng.choice(TONES), rng.choice(ASPECTS), domain), rng))
    return lines


def _with_extra(rules: Rules, sentences: Sequence[str]) -> Rules:
    return {**rules, "say.plain": [*rules["say.plain"], *sentences], "say.expert": [*rules["say.expert"], *sentences]}


def from_descriptions(ledgers: Iterable[tuple[FactLedger, Mapping[str, str]]], policy: Policy) -> dict[str, list[str]]:
    """Delexicalised sentences of the shop's descriptions, by language, that say one or more facts and use no words but the grammar's.

    Free text may claim anything, so a sentence with any other word stays out: the writer must not learn claims it can't back. So do sentences
    about "it" or "they", whose number another product may not share.
    """
    seen: dict[str, dict[str, set[str]]] = {language: {} for language in LANGUAGES}
    for ledger, descriptions in ledgers:
        for language, description in descriptions.items():
            for sentence in re.split(r"(?<=[.!?。！？])\s*", description):
                text = delexicalised(sentence.strip(), ledger, language)
                slots, bare = slots_of(text), re.sub(r"<\w+>", " ", text)
                alone = slots and set(slots) <= SURE_SLOTS and len(slots) == text.count("<") and re.search(r"[.!?。！？]$", text)
                said = [fact for fact in ledger.facts if fact.slot in slots]
                if alone and not PRONOUN.search(bare) and _of_known_words(bare, language) and policy.check(sentence, said, language).ok:
                    seen[language].setdefault(text, set()).add(sentence)
    often = {language: sorted(text for text, sentences in texts.items() if len(sentences) >= WORDINGS) for language, texts in seen.items()}
    return {language: texts[:MOST_EXTRA] for language, texts in often.items()}


def delexicalised(sentence: str, ledger: FactLedger, language: str) -> str:
    """The sentence with the wording of this product's facts replaced by slots, longest first; a word that two facts share stays."""
    slots: dict[str, set[str]] = {}
    for fact in ledger.sayable(language):
        slots.setdefault(fact.phrases[language].casefold(), set()).add(str(fact.slot))
    forms = {form: found.pop() for form, found in slots.items() if form and len(found) == 1}
    if not forms:
        return sentence

    def bounded(form: str) -> str:
        edge = r"\b" if language == "en" and form[:1].isalnum() and form[-1:].isalnum() else ""
        return f"{edge}{re.escape(form)}{edge}"

    longest_first = "|".join(bounded(form) for form in sorted(forms, key=len, reverse=True))
    return re.sub(longest_first, lambda found: f"<{forms[found.group().casefold()]}>", sentence, flags=re.IGNORECASE)


def _expand(text: str, rules: Rules, controls: tuple[str, str, str], rng: random.Random) -> str:
    """Replace every {rule}, leftmost first, by one of its alternatives."""

    def one(match: re.Match[str]) -> str:
        name, _, span = match.group(1).partition(":")
        if span:
            low, high = (int(number) for number in span.split("-"))
            return _several(name, rng.randint(low, high), rules, controls, rng)
        if name.endswith("_cap"):
            return _capitalised(_expand("{" + name[:-4] + "}", rules, controls, rng))
        return _expand(rng.choice(_alternatives(name, rules, controls)), rules, controls, rng)

    return re.sub(r"\{([\w:-]+)\}", one, text)


def _several(name: str, count: int, rules: Rules, controls: tuple[str, str, str], rng: random.Random) -> str:
    """Up to `count` sentences of a rule with no slot in common, in a random order."""
    pool = _alternatives(name, rules, controls)
    taken: list[str] = []
    used: set[str] = set()
    for sentence in rng.sample(pool, len(pool)):
        slots = set(re.findall(r"<(\w+)>", sentence))
        if len(taken) < count and not slots & used:
            taken.append(sentence)
            used |= slots
    return (" " if any(" " in sentence for sentence in taken) else "").join(taken)


def _alternatives(name: str, rules: Rules, controls: tuple[str, str, str]) -> list[str]:
    """All alternatives that the controls allow; a domain without lines of its own falls back on the general ones."""
    tone, aspect, domain = controls
    found = [text for suffix in ("", f".{tone}", f".{aspect}", f".{domain}", f".{tone}.{aspect}") for text in rules.get(name + suffix, [])]
    if not found:
        raise ValueError(f"The grammar has no alternative for '{name}' with {controls}.")
    return found


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


@cache
def _pieces_of_grammar(language: str) -> frozenset[str]:
    return frozenset(piece for alternatives in grammar(language).values() for text in alternatives for piece in _pieces(text, language))


def _pieces(text: str, language: str) -> list[str]:
    """Words (English) or pairs of neighbouring characters (Chinese)."""
    if language == "zh":
        return [run[at : at + 2] for run in re.findall(r"[\u4e00-\u9fff]+", text) for at in range(max(1, len(run) - 1))]
    return re.findall(r"[^\W_]+(?:'\w+)?", text.lower())


def _of_known_words(text: str, language: str) -> bool:
    return all(piece in _pieces_of_grammar(language) for piece in _pieces(text, language))
