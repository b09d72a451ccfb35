"""The plan of one text: which facts to say to this reader in this channel, in which tone and from which angle, and why.

The plan is the explanation of the copy: `reasons` says in plain words what decided it. It reads the profile, but nothing of
the profile enters the text: copy shows what was chosen, never why it was chosen for this person.
"""

import random
import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from training.content.facts import Fact, FactLedger, lower_name, number_text, unit_of

TONES = ("plain", "warm", "playful", "expert")
ASPECTS = ("comfort", "design", "performance", "value", "quality")
PARTS = ("title", "push", "subject", "body", "headline", "opening", "paragraph", "closing")
"""What one text is made of: an e-mail is subject and body, an article headline, opening, a paragraph per product and closing."""
SLOTS = ("title", "brand", "category", "price", "material", "color", "spec", "detail", "interest")
CHANNEL_PARTS: Mapping[str, tuple[str, ...]] = {
    "title": ("title",), "push": ("push",), "email": ("subject", "body"), "article": ("headline", "opening", "paragraph", "closing"),
}  # fmt: skip

MOST_EXTRA = {"title": 2, "push": 2, "subject": 1, "body": 4, "paragraph": 4}
"""Most slots beside the product's name. Above it a text of this length becomes a list."""
FEWEST_EXTRA = {"body": 2, "paragraph": 2}
TOGETHER = {"body": 2, "paragraph": 2}
"""Facts that share one slot ("a weight of 1.4 kg and ..."); one in short parts."""
DULL = {"weight", "warranty", "minimum age"}
"""Quantities that come after others."""

SPEAKS_OF: Mapping[str, Mapping[str, float]] = {
    # How much a slot has to say on an aspect; a hand-made prior.
    "comfort": {"material": 1.0, "detail": 0.8, "color": 0.3, "spec": 0.3},
    "design": {"color": 1.0, "material": 0.8, "brand": 0.4},
    "performance": {"spec": 1.0, "detail": 0.7},
    "value": {"price": 1.0, "spec": 0.5, "detail": 0.3},
    "quality": {"material": 1.0, "brand": 0.6, "spec": 0.4},
}
LOT = 0.5
"""Most that a product's own lot adds to an aspect: a shelf of products with the same kinds of facts should not speak of one aspect only."""
PRIOR_SHOWN = 20.0
"""Strength of the belief that all tones do alike, in impressions: nobody's tone changes after two clicks."""


class InterestLike(Protocol):
    """What the plan reads of `training.profile.Interest`."""

    @property
    def kind(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def weight(self) -> float: ...
    @property
    def preference(self) -> float: ...


class ProfileLike(Protocol):
    """What the plan reads of `training.profile.Profile`."""

    @property
    def interests(self) -> Sequence[Any]: ...


@dataclass(frozen=True)
class CopyRequest:
    """What the writer is asked for: a part of a text, its controls and exactly the slots that must stand in it, in this order."""

    part: str
    language: str
    tone: str
    aspect: str
    domain: str
    slots: tuple[str, ...]


@dataclass(frozen=True)
class Saying:
    """What one slot will be filled with: its wording, and the facts behind it."""

    slot: str
    text: str
    facts: tuple[Fact, ...]
    score: float = 0.0


@dataclass(frozen=True)
class CopyPlan:
    """A planned text; `sayings` in the order in which they will be said. `vetoed` names facts left out because of a stated dislike."""

    product_id: str
    part: str
    language: str
    tone: str
    aspect: str
    domain: str
    sayings: tuple[Saying, ...]
    vetoed: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def request(self) -> CopyRequest:
        return CopyRequest(self.part, self.language, self.tone, self.aspect, self.domain, tuple(saying.slot for saying in self.sayings))

    @property
    def facts(self) -> tuple[Fact, ...]:
        return tuple(fact for saying in self.sayings for fact in saying.facts)


def taste_of(features: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """{"tone:warm": (clicks, impressions), …} from a user's features (view `user_copy_taste`); missing or empty ones count as none."""
    return {
        f"{kind}:{name}": (_count(features.get(f"user_{kind}_{name}_clicks_90d")), _count(features.get(f"user_{kind}_{name}_impressions_90d")))
        for kind, names in (("tone", TONES), ("aspect", ASPECTS))
        for name in names
    }


def dislikes(profile: ProfileLike | None, ledger: FactLedger) -> tuple[str, ...]:
    """Names of this product's facts (brand, category) that the user stated to dislike. A product with one of them is not for this user."""
    if profile is None:
        return ()
    disliked = {(item.kind, item.subject.casefold()) for item in profile.interests if item.preference < 0}
    own = {("brand", str(fact.value).casefold()) for fact in ledger.facts if fact.name == "brand"}
    own |= {("category", level.strip().casefold()) for level in ledger.category_path.split(">") if level.strip()}
    own |= {("category", str(fact.value).casefold()) for fact in ledger.facts if fact.name == "category"}
    return tuple(sorted({kind for kind, _ in own & disliked}))


def choose_tone(taste: Mapping[str, tuple[float, float]] | None, default: str = "warm") -> tuple[str, str]:
    """The tone this user answers best, and why. `taste` maps "tone:warm" to (clicks, impressions)."""
    best, rates = _best_rate(taste, "tone", TONES, default)
    if not rates:
        return default, f"tone {default}: no answers to any tone yet, the default"
    return best, f"tone {best}: smoothed click rate {rates[best]:.3f}, the default {default} {rates[default]:.3f}"


def choose_aspects(
    ledger: FactLedger, language: str, taste: Mapping[str, tuple[float, float]] | None, price_level: float | None, most: int = 3
) -> list[tuple[str, str]]:
    """Aspects in the order of what there is to say x what the user answers, each with its reason; at least one.

    `price_level` from 0 (buys cheap) to 1 in the shop's terms; at or under 0.3 value counts for more.
    """
    slots = {fact.slot for fact in ledger.sayable(language)}
    _, rates = _best_rate(taste, "aspect", ASPECTS, "quality")
    average = sum(rates.values()) / len(rates) if rates else 0.0  # 0 too where copy was shown and nobody clicked
    scored = []
    for aspect in ASPECTS:
        support = sum(share for slot, share in SPEAKS_OF[aspect].items() if slot in slots) / sum(SPEAKS_OF[aspect].values())
        answer = rates[aspect] / average if average else 1.0
        thrift = 1.3 if aspect == "value" and price_level is not None and price_level <= 0.3 else 1.0
        lot = LOT * zlib.crc32(f"{ledger.product_id}|{aspect}".encode()) / 2**32 if support else 0.0
        reason = f"aspect {aspect}: {support:.2f} from facts x {answer:.2f} from clicks on it x {thrift:.1f} for price level + {lot:.2f} by lot"
        scored.append((support * answer * thrift + lot, aspect, reason))
    scored.sort(key=lambda item: (-item[0], ASPECTS.index(item[1])))
    return [(aspect, reason) for score, aspect, reason in scored if score > 0][:most] or [("design", "aspect design: no fact speaks of any aspect")]


def sayings(
    ledger: FactLedger,
    aspect: str,
    language: str,
    profile: ProfileLike | None = None,
    barred: Collection[str] = (),
    turn: int = 0,
    part: str = "body",
) -> list[Saying]:
    """What could be said beside the product's name, the most useful first.

    `barred` are facts under a veto. `turn` rotates which of several figures and details come first, so that variants differ.
    """
    weights = {(item.kind, item.subject.casefold()): item.weight for item in profile.interests} if profile else {}
    title = ledger.get("title")
    groups: dict[str, list[Fact]] = {}
    for fact in ledger.sayable(language):
        named = title is not None and _named_by(title, fact, language)
        if fact.slot and fact.slot != "title" and fact.name not in barred and not named:
            groups.setdefault(fact.slot, []).append(fact)
    found = []
    for slot, facts in groups.items():
        facts = sorted(facts, key=lambda fact: fact.name in DULL)
        start = turn % max(1, sum(fact.name not in DULL for fact in facts))
        chosen = (facts[start:] + facts[:start])[: TOGETHER.get(part, 1) if slot in {"spec", "detail"} else 1]
        liked = weights.get((chosen[0].name, str(chosen[0].value).casefold()), 0.0)
        score = 0.2 + SPEAKS_OF[aspect].get(slot, 0.0) + max(liked, 0.0)
        found.append(Saying(slot, _together(slot, [fact.phrases[language] for fact in chosen], language), tuple(chosen), score))
    return sorted(found, key=lambda saying: (-saying.score, SLOTS.index(saying.slot)))


def pick(
    part: str, title: Saying, available: Sequence[Saying], known: Mapping[frozenset[str], Sequence[tuple[str, ...]]], rng: random.Random
) -> tuple[Saying, ...]:
    """The sayings of one text, in order: the best-scored ones that a text of this part can hold and the writer has learned to hold together.

    `known` holds, by slot set, the orders the writer knows for this part, tone and language. How many facts are said, a little noise on their
    scores and the order are chance, so that variants differ.
    """
    by_slot = {saying.slot: saying for saying in available} | {"title": title}
    most, fewest = MOST_EXTRA.get(part, 0), FEWEST_EXTRA.get(part, 0)
    fitting = [slots for slots in known if "title" in slots and slots <= by_slot.keys() and len(slots) - 1 <= most]
    if not fitting:
        return (title,)
    sizes = sorted({len(slots) for slots in fitting})
    sizes = [size for size in sizes if size - 1 >= fewest] or sizes[-1:]
    size = rng.choice(sizes)
    scores = [
        (sum(by_slot[slot].score for slot in sorted(slots)) + rng.random(), sorted(slots))
        for slots in sorted(fitting, key=sorted)
        if len(slots) == size
    ]
    best = max(scores)[1]
    return tuple(by_slot[slot] for slot in rng.choice(known[frozenset(best)]))


def fill(text: str, plan: CopyPlan) -> str:
    """Put the facts' wordings into the slots; English sentences that begin with one get a capital."""
    for saying in plan.sayings:
        wording = saying.text
        if plan.language == "en" and saying.slot not in {"title", "brand"} and wording[:1].islower():
            text = re.sub(rf"(^|[.!?]\s+)<{saying.slot}>", lambda found, w=wording: found.group(1) + w[0].upper() + w[1:], text)  # type: ignore[misc]
        text = text.replace(f"<{saying.slot}>", wording)
        if wording[-1:] in ".!?。！？":  # a name that ends a sentence by itself
            text = re.sub(re.escape(wording) + r"[.。](?=\s|$|[^.])", lambda _, w=wording: w, text)  # type: ignore[misc]
    return text


def template(plan: CopyPlan) -> str:
    """A text made straight from the plan, without the writer: dull, right in both languages, and counted wherever it is used."""
    words = TEMPLATES[plan.language]
    by_slot = {saying.slot: saying.text for saying in plan.sayings}
    first = words[plan.part].format(title=by_slot.get("title", ""), interest=by_slot.get("interest", ""))
    if plan.part not in {"push", "body", "paragraph"}:
        return first
    rest = [words[slot].format(by_slot[slot]) for slot in SLOTS if slot in by_slot and slot not in {"title", "interest"}]
    return (" " if plan.language == "en" else "").join([first, *rest])


def interest_words(names: Sequence[str], language: str) -> str:
    """Categories named in one phrase: "phones, laptops and tablets"."""
    if language == "zh":
        return "、".join(names[:-1]) + ("和" if len(names) > 1 else "") + names[-1]
    lowered = [lower_name(name) for name in names]
    return ", ".join(lowered[:-1]) + (" and " if len(lowered) > 1 else "") + lowered[-1]


TEMPLATES: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "{title}", "push": "On our shelf: {title}.", "subject": "{title}", "body": "On our shelf: {title}.",
        "headline": "From our shelf: {interest}",
        "opening": "This page is about {interest}.", "paragraph": "On our shelf: {title}.",
        "closing": "The details of each piece are on its page.",
        "brand": "Brand: {}.", "category": "Category: {}.", "price": "Price: {}.", "material": "Material: {}.", "color": "Colour: {}.",
        "spec": "Figures: {}.", "detail": "Details – {}.",
    },
    "zh": {
        "title": "{title}", "push": "货架上有{title}。", "subject": "{title}", "body": "货架上有{title}。", "headline": "货架上的{interest}",
        "opening": "这一篇介绍{interest}。", "paragraph": "货架上有{title}。", "closing": "详情见各商品页。",
        "brand": "品牌：{}。", "category": "分类：{}。", "price": "售价：{}。", "material": "材质：{}。", "color": "颜色：{}。",
        "spec": "参数：{}。", "detail": "细节：{}。",
    },
}  # fmt: skip


def _best_rate(taste: Mapping[str, tuple[float, float]] | None, kind: str, names: Sequence[str], default: str) -> tuple[str, dict[str, float]]:
    """Click rates by name, each pulled towards the user's overall rate; no rates if nothing was shown. Ties go to what was
    shown more often, then to the default."""
    counts = {name: (taste or {}).get(f"{kind}:{name}", (0.0, 0.0)) for name in names}
    shown = sum(count[1] for count in counts.values())
    if shown <= 0:
        return default, {}
    overall = sum(count[0] for count in counts.values()) / shown
    rates = {name: (clicks + PRIOR_SHOWN * overall) / (seen + PRIOR_SHOWN) for name, (clicks, seen) in counts.items()}
    return max(names, key=lambda name: (round(rates[name], 9), counts[name][1], name == default)), rates


def _named_by(title: Fact, fact: Fact, language: str) -> bool:
    """Whether the product's name says this fact already. A brand in the English name is in its Chinese one too, often in Chinese letters."""
    own, other = title.phrases.get(language, ""), str(title.value)
    if fact.name == "brand":
        return _within(fact.phrases[language], own) or _within(str(fact.value), other)
    if fact.kind == "number" and isinstance(fact.value, float):
        unit = unit_of(fact.unit) if fact.unit else None
        return unit is not None and any(_within(f"{number_text(fact.value)}{gap}{unit[1]}", other) for gap in (" ", "", "-"))
    return fact.name in {"material", "color"} and _within(fact.phrases[language], own)


def _count(value: Any) -> float:
    return float(value) if value is not None and value == value else 0.0


def _within(phrase: str, title: str) -> bool:
    return phrase.casefold() in title.casefold()


def _together(slot: str, phrases: Sequence[str], language: str) -> str:
    if language == "zh":
        return "、".join(phrases)
    return (" and " if slot == "spec" else "; ").join(phrases)
