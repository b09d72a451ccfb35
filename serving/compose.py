"""C = h(U, P): products, a profile and parameters in; finished, checked copy out.

The flow: facts -> plan -> the writer's language around slots -> facts filled in -> the checker reads the finished text. What the checker does not let
through is written again, and after that a template takes its place (`backend` "template", counted). Nothing leaves unchecked.
"""

import random
import re
import threading
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from serving.catalogue import facts_of, plain_text
from training.content.facts import Fact, FactLedger
from training.content.model import Draft, Writer
from training.content.plan import (
    CHANNEL_PARTS,
    CopyPlan,
    ProfileLike,
    Saying,
    choose_aspects,
    choose_tone,
    dislikes,
    fill,
    interest_words,
    pick,
    sayings,
    taste_of,
    template,
)
from training.content.policy import Policy

ROUNDS = 4
"""Times the writer may try a plan before it is made shorter, and at last a template steps in. What the first try leaves open is tried the other
times at once: a batch takes hardly longer than one text, a batch more takes as long again."""
MOST_TOLD = 12
"""Products that an article tells about; of more, those first that interest the reader most."""
SHORTER = 2
"""Facts that a text may lose on the way before a template says all of them."""
LONGEST: Mapping[str, int] = {
    "title": 120,
    "push": 220,
    "subject": 120,
    "body": 800,
    "headline": 120,
    "opening": 400,
    "paragraph": 800,
    "closing": 200,
}
"""Characters of a finished part; a longer one is written again."""
SOMETHING = {"en": "these finds", "zh": "商品"}
"""What an article is about when its products have no category in its language."""
PLAIN_TONE, DEFAULT_TONE = "plain", "warm"


@dataclass(frozen=True)
class ComposeRequest:
    """Copy wanted: `n` variants per product, or `n` articles over all products.

    `products` are canonical product rows (as of delivery: price is filled from them) or ledgers. `copy_taste` is the user's row of
    features; only those of `user_copy_taste` are read. With `personalised` off the profile and the taste are left out of it.
    """

    products: tuple[Mapping[str, Any] | FactLedger, ...]
    channel: str
    language: str = "en"
    n: int = 1
    profile: ProfileLike | None = None
    tone: str | None = None
    personalised: bool = True
    copy_taste: Mapping[str, Any] | None = None
    seed: int = 0


@dataclass(frozen=True)
class StatedFact:
    """A fact that the text states: its name, how it stands there, and the column it comes from."""

    name: str
    value: str
    source: str
    product_id: str
    short_lived: bool = False


@dataclass(frozen=True)
class Variant:
    """One finished text: `text`, or `subject` and `body` for an e-mail (plain text). An article's text begins with its headline and is about
    all of `product_ids`; paragraphs are parted by an empty line."""

    product_id: str
    channel: str
    language: str
    tone: str
    aspect: str
    facts: tuple[StatedFact, ...]
    backend: Literal["writer", "template"]
    explanation: tuple[str, ...]
    policy_version: str
    text: str | None = None
    subject: str | None = None
    body: str | None = None
    product_ids: tuple[str, ...] = ()
    checked: Literal[True] = True


@dataclass(frozen=True)
class Finished:
    """One part of a variant, written and checked."""

    plan: CopyPlan
    text: str
    backend: Literal["writer", "template"]


@dataclass
class Job:
    """One variant on its way: its plans, the facts each may state, and what became of them."""

    request: ComposeRequest
    product_ids: tuple[str, ...]
    plans: list[CopyPlan]
    facts: list[tuple[Fact, ...]]
    siblings: set[tuple[str, str]]
    done: list[Finished | None] = field(default_factory=list)


class Composer:
    """Writes for many requests at once. Safe for threads; the writer works for one of them at a time.

    Without a writer every text is a template. `counts` holds parts written, drafts, those refused by language or by the checker, and templates.
    """

    def __init__(self, writer: Writer | None, policy: Policy | None = None, rounds: int = ROUNDS) -> None:
        self.writer, self.policy, self.rounds = writer, policy or Policy.load(), rounds
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    @classmethod
    def load(cls, folder: Path, brands: Sequence[str] = ()) -> "Composer":
        """From a writer's model folder; `brands` are all brands of the shop, which copy about another product must not name."""
        return cls(Writer.load(folder), Policy.load(brands=brands))

    def compose(self, request: ComposeRequest) -> list[Variant]:
        """Variants of one request; the same request and seed give the same ones. May be fewer than asked for: a product without a title, or with
        nothing left to say in other words, gets none; an article leaves out such products, and those under the user's stated dislike."""
        return self.compose_many([request])[0]

    def compose_many(self, requests: Sequence[ComposeRequest]) -> list[list[Variant]]:
        """Variants by request. The writer works through all of them in common batches, which is how a campaign should call it."""
        jobs = [self._jobs(request) for request in requests]
        flat = [job for group in jobs for job in group]
        with self._lock:
            self._write(flat)
        return [[variant for job in group if (variant := self._variant(job))] for group in jobs]

    def _jobs(self, request: ComposeRequest) -> list[Job]:
        if request.channel not in CHANNEL_PARTS:
            raise ValueError(f"No channel '{request.channel}': use {', '.join(CHANNEL_PARTS)}.")
        books = [item if isinstance(item, FactLedger) else facts_of(item) for item in request.products]
        books = [book for book in books if book.get("title")]
        if request.channel == "article":
            siblings: set[tuple[str, str]] = set()
            return [job for turn in range(request.n) if (job := self._article(request, books, turn, siblings))]
        jobs = []
        for book in books:
            siblings = set()
            jobs += [self._single(request, book, turn, siblings) for turn in range(request.n)]
        return jobs

    def _single(self, request: ComposeRequest, book: FactLedger, turn: int, siblings: set[tuple[str, str]]) -> Job:
        plans = [self._plan(request, book, part, turn) for part in CHANNEL_PARTS[request.channel]]
        return Job(request, (book.product_id,), plans, [book.facts] * len(plans), siblings)

    def _article(self, request: ComposeRequest, books: Sequence[FactLedger], turn: int, siblings: set[tuple[str, str]]) -> Job | None:
        """Headline, opening, a paragraph per product and closing; products in the order of the user's interest, disliked ones left out."""
        profile = request.profile if request.personalised else None
        all_books, liked = books, [book for book in books if not dislikes(profile, book)]
        if not liked:
            return None
        books = sorted(liked, key=lambda book: -_interest(profile, book))[:MOST_TOLD]
        first = self._plan(request, books[0], "paragraph", turn)
        left_out = tuple(
            f"left out {book.product_id}: its {', '.join(names)} is disliked" for book in all_books if (names := dislikes(profile, book))
        )
        if len(liked) > MOST_TOLD:
            left_out += (f"left out {len(liked) - MOST_TOLD} more: an article tells about {MOST_TOLD} products",)
        about = _about(books, request.language)
        whole = tuple(fact for book in books for fact in book.facts)
        frame = replace(first, product_id=books[0].product_id, sayings=(about,), reasons=(*first.reasons, *left_out))
        paragraphs = [self._plan(request, book, "paragraph", turn + at) for at, book in enumerate(books)]
        plans = [replace(frame, part="headline"), replace(frame, part="opening"), *paragraphs, replace(frame, part="closing", sayings=())]
        plans[0] = replace(plans[0], domain=_common_domain(books))
        plans[1] = replace(plans[1], domain=_common_domain(books))
        facts = [whole, whole, *(book.facts for book in books), whole]
        return Job(request, tuple(book.product_id for book in books), plans, facts, siblings)

    def _plan(self, request: ComposeRequest, book: FactLedger, part: str, turn: int) -> CopyPlan:
        """The plan of one part: variants of one product differ in aspect, in the figures they take up, and by chance."""
        profile = request.profile if request.personalised else None
        taste = taste_of(request.copy_taste) if request.personalised and request.copy_taste else None
        tone, tone_reason = _tone(request, taste)
        aspects = choose_aspects(book, request.language, taste, getattr(profile, "price_level", None))
        aspect, aspect_reason = aspects[turn % len(aspects)]
        barred = dislikes(profile, book)
        title = book.get("title")
        assert title is not None
        name = Saying("title", title.phrases[request.language], (title,))
        available = sayings(book, aspect, request.language, profile, barred, turn, part)
        rng = random.Random(zlib.crc32(f"{request.seed}|{book.product_id}|{part}|{turn}".encode()))
        said = pick(part, name, available, self._known(request.language, part, tone, available), rng)
        reasons = [tone_reason, aspect_reason, *(f"says {saying.slot}: {saying.score:.2f}" for saying in said if saying.slot != "title")]
        reasons += [f"keeps silent on {name}: a stated dislike" for name in barred]
        return CopyPlan(book.product_id, part, request.language, tone, aspect, book.domain, said, barred, tuple(reasons))

    def _known(self, language: str, part: str, tone: str, available: Sequence[Saying]) -> Mapping[frozenset[str], Sequence[tuple[str, ...]]]:
        """The slot sets that the writer knows; for templates, which hold any, all sets of at most four."""
        if self.writer:
            return self.writer.known(language, part, tone)
        slots = [saying.slot for saying in available]
        sets = [("title", *some) for size in range(min(len(slots), 4) + 1) for some in combinations(slots, size)]
        return {frozenset(some): [some] for some in sets}

    def _write(self, jobs: Sequence[Job]) -> None:
        """Fill every job's `done`: by the writer where the checker agrees, else by a template."""
        places = [(job, at) for job in jobs for at in range(len(job.plans))]
        planned: dict[tuple[int, int], CopyPlan] = {}
        for job in jobs:
            job.done = [None] * len(job.plans)

        def accept(position: int, draft: Draft) -> bool:
            job, at = places[position % len(places)]
            if job.done[at] is not None:
                return False
            text = fill(draft.text, job.plans[at])
            if not self._passes(job, at, text):
                return False
            job.siblings.add((job.plans[at].part, text))
            job.done[at] = Finished(job.plans[at], text, "writer")
            return True

        if self.writer and places:
            seed = zlib.crc32("|".join(str(job.request.seed) for job in jobs).encode())
            for _ in range(1 + SHORTER):  # as planned, then what is still open with a fact less, and one less
                for tries in filter(None, (1, self.rounds - 1)):
                    requests = [job.plans[at].request for job, at in places] * tries
                    _, written = self.writer.write_until(requests, accept, seed + tries, rounds=1)
                    self.counts["drafts"] += written
                    places = [(job, at) for job, at in places if job.done[at] is None]
                for job, at in places:
                    planned.setdefault((id(job), at), job.plans[at])
                    job.plans[at] = self._shorter(job.plans[at])
        self.counts["parts"] += sum(len(job.plans) for job in jobs)
        for job, at in places:
            job.plans[at] = planned.get((id(job), at), job.plans[at])
            job.done[at] = self._template(job, at)

    def _shorter(self, plan: CopyPlan) -> CopyPlan:
        """The plan without its least useful fact, in an order the writer knows for the rest; as it was if there is none or nothing to leave out."""
        extra = [saying for saying in plan.sayings if saying.slot not in {"title", "interest"}]
        if not extra or self.writer is None:
            return plan
        least = min(extra, key=lambda saying: saying.score)
        rest = {saying.slot: saying for saying in plan.sayings if saying is not least}
        known = self.writer.known(plan.language, plan.part, plan.tone).get(frozenset(rest), ())
        order = tuple(rest) if tuple(rest) in known else next(iter(known), None)
        return replace(plan, sayings=tuple(rest[slot] for slot in order)) if order else plan

    def _passes(self, job: Job, at: int, text: str) -> bool:
        plan = job.plans[at]
        if len(text) > LONGEST[plan.part] or (plan.part, text) in job.siblings:
            self.counts["refused_form"] += 1
            return False
        if not self.policy.check(text, job.facts[at], plan.language).ok:
            self.counts["refused_claim"] += 1
            return False
        return True

    def _template(self, job: Job, at: int) -> Finished | None:
        """The plan's facts in plain words, fewer and fewer until the checker agrees and no sibling says the same; None if nothing is left."""
        plan = job.plans[at]
        names = tuple(saying for saying in plan.sayings if saying.slot in {"title", "interest"})
        others = tuple(saying for saying in plan.sayings if saying.slot not in {"title", "interest"})
        for kept in range(len(others), -1, -1):
            fewer = replace(plan, sayings=(*names, *others[:kept]))
            text = template(fewer)
            if len(text) <= LONGEST[plan.part] and (plan.part, text) not in job.siblings and self.policy.check(text, job.facts[at], plan.language).ok:
                job.siblings.add((plan.part, text))
                self.counts["templates"] += 1
                return Finished(fewer, text, "template")
        self.counts["refused"] += 1
        return None

    def _variant(self, job: Job) -> Variant | None:
        """The job as a variant; None if a part of it could not be said at all. An article goes on without products that it has no paragraph for."""
        parts = [part for part in job.done if part]
        silent = [plan for plan, part in zip(job.plans, job.done, strict=True) if not part]
        told = tuple(part.plan.product_id for part in parts if part.plan.part == "paragraph") or job.product_ids
        if any(plan.part != "paragraph" for plan in silent) or len(silent) == len(job.product_ids):
            return None
        request, first = job.request, parts[0].plan
        reasons = [reason for part in parts for reason in part.plan.reasons]
        reasons += [f"left out {plan.product_id}: nothing can be said of it" for plan in silent]
        facts = {(fact.name, stated.value): stated for part in parts for fact, stated in _stated(part)}
        common = Variant(
            product_id=told[0], channel=request.channel, language=request.language, tone=first.tone, aspect=first.aspect,
            facts=tuple(facts.values()), backend="template" if any(part.backend == "template" for part in parts) else "writer",
            explanation=tuple(dict.fromkeys(reasons)), policy_version=self.policy.version, product_ids=told,
        )  # fmt: skip
        texts = [part.text for part in parts]
        if request.channel == "email":
            return replace(common, subject=texts[0], body=texts[1])
        return replace(common, text="\n\n".join(texts))


def _tone(request: ComposeRequest, taste: Mapping[str, tuple[float, float]] | None) -> tuple[str, str]:
    if request.tone:
        return request.tone, f"tone {request.tone}: asked for"
    if not request.personalised:
        return PLAIN_TONE, f"tone {PLAIN_TONE}: copy that leaves the shopper out of it"
    return choose_tone(taste, DEFAULT_TONE)


def _interest(profile: ProfileLike | None, book: FactLedger) -> float:
    """The weight that the profile gives to this product's category path and brand together."""
    if profile is None:
        return 0.0
    own = {("category", level.strip().casefold()) for level in book.category_path.split(">")}
    own |= {(fact.name, str(fact.value).casefold()) for fact in book.facts if fact.name in {"brand", "category"}}
    return float(sum(item.weight for item in profile.interests if (item.kind, item.subject.casefold()) in own))


def _about(books: Sequence[FactLedger], language: str) -> Saying:
    """The categories an article is about, in the order of its products; those with markup in their names are not named."""
    found = [fact for book in books if (fact := book.get("category")) and language in fact.phrases]
    facts = [fact for fact in found if plain_text(fact.phrases[language]) == fact.phrases[language]]
    names = list(dict.fromkeys(fact.phrases[language] for fact in facts))[:3]
    return Saying("interest", interest_words(names, language) if names else SOMETHING[language], tuple(facts))


def _common_domain(books: Sequence[FactLedger]) -> str:
    domains = {book.domain for book in books}
    return domains.pop() if len(domains) == 1 else "general"


def _stated(part: Finished) -> list[tuple[Fact, StatedFact]]:
    """The facts that stand in a part, with their wording."""
    plan = part.plan
    return [
        (fact, StatedFact(fact.name, fact.phrases.get(plan.language, str(fact.value)), fact.source, plan.product_id, fact.short_lived))
        for fact in plan.facts
        if re.search(re.escape(fact.phrases.get(plan.language, str(fact.value))), part.text, re.IGNORECASE)
    ]
