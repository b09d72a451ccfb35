"""The core: user row -> candidates -> features -> scores -> rules -> reasons. One process, one thread per request, no pandas."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from time import perf_counter
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from feature_repo.journal import Reason
from feature_repo.online import NO_INTERESTS, UserRow, ranker_matrix
from serving import reasons
from serving.reasons import Shown
from serving.snapshot import Snapshot
from training.profile import Profile, ProfileModel
from training.ranker.model import Ranker
from training.ranker.policy import NO_RULES, Choice, Offers, ShelfPolicy, choose, draw_of, out_of_bounds
from training.ranker.wishes import vetoes, wanted_of, wanted_shares
from training.retrieval.contract import NONE_BARRED, unit
from training.retrieval.model import RetrieverSet

Floats = NDArray[np.float32]
Index = NDArray[np.int32]

NOT_DRAWN = np.random.default_rng(0)
"""Given where no place is drawn, and never read: making a generator takes longer than a rule."""


@dataclass(frozen=True)
class Wish:
    """What a request asks of a shelf. `decision`: the request's id, by which places that are drawn are drawn. Prices: None = no bound of its own."""

    n: int
    policy: str = "default"
    decision: str = ""
    min_price: float | None = None
    max_price: float | None = None

    def bound(self, rules: ShelfPolicy) -> ShelfPolicy:
        """The rules with the tighter of both price bounds. Bounds that leave nothing between them leave no product."""
        if self.min_price is None and self.max_price is None:
            return rules
        highest = [each for each in (rules.max_price or None, self.max_price) if each is not None]
        return replace(rules, min_price=max(rules.min_price, self.min_price or 0.0), max_price=min(highest, default=0.0))


@dataclass(frozen=True)
class Item:
    """One product on the shelf. `candidate` is its place in the shelf's candidates, `row` in the product matrix; `rank` from 1.

    `placed` says what gave it its place: a name of `policy.PLACED`.
    """

    product_id: str
    row: int
    candidate: int
    rank: int
    score: float
    reasons: tuple[Reason, ...]
    placed: str
    propensity: float


@dataclass(frozen=True)
class Shelf:
    """What was decided, with what it was decided on.

    `rows` int32[m] are the candidates' rows in the product matrix, `scores` float32[m] what they were ordered by, `features`
    float32[m, F] what the ranker saw (no columns under the popular policy). `choice` holds which rule kept off whom and with which probability
    each candidate was shown, `rules` the policy that it was made by, with the bounds of the request.
    """

    user: UserRow | None
    profile: Profile
    policy: str
    items: tuple[Item, ...]
    rows: Index
    scores: Floats
    features: Floats
    feature_names: tuple[str, ...]
    degraded: tuple[str, ...]
    choice: Choice
    rules: ShelfPolicy


class StageClock:
    """Adds up seconds per stage; `observe` gets (stage, seconds)."""

    def __init__(self, observe: Callable[[str, float], None] = lambda stage, seconds: None) -> None:
        self._observe = observe

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = perf_counter()
        try:
            yield
        finally:
            self._observe(name, perf_counter() - began)


@dataclass(frozen=True)
class Recommender:
    """Puts products into order for one shopper. `candidates`: how many the ranker sees, of those that each retriever proposes, `retrieved` of them or
    as many; `rules`: what a shelf is made by; `explainer`: of the ranker, over `reasons.GROUPS`."""

    profiles: ProfileModel
    ranker: Ranker
    explainer: Callable[[Floats], Floats]
    candidates: int
    rules: ShelfPolicy
    retrieved: int = 0
    retrieve_timeout_s: float = math.inf
    _lifted: "WeakKeyDictionary[RetrieverSet, Floats]" = field(default_factory=WeakKeyDictionary, repr=False)

    def shelf(self, shop: Snapshot, user: UserRow | None, user_id: str, wish: Wish, now: datetime, clock: StageClock, unread: bool = False) -> Shelf:
        """At most wish.n products, best first; fewer where the rules leave no more. A user of whom nothing is known gets the popular shelf, and so
        does one whose features could not be read (`unread`)."""
        with clock.stage("profile"):
            profile = self.profile(user, user_id)
        known = user is not None and not user.blank
        degraded: tuple[str, ...] = () if known or wish.policy == "popular" else ("user_unavailable" if unread else "new_user",)
        if shop.stale_embedding:
            degraded += ("stale_embedding",)
        if user is None or not known or wish.policy == "popular":
            return self._popular(shop, user, profile, wish, degraded, clock)
        return self._ranked(shop, user, profile, wish, now, degraded, clock)

    def profile(self, user: UserRow | None, user_id: str) -> Profile:
        """The explained profile; empty for a user without features."""
        if user is None:
            return self.profiles.explain(user_id, NO_INTERESTS)
        level = user.values().get("user_price_rank_90d", math.nan)
        return self.profiles.explain(user_id, user.interests, user.texts.get("user_language"), None if math.isnan(level) else level)

    def _ranked(
        self, shop: Snapshot, user: UserRow, profile: Profile, wish: Wish, now: datetime, degraded: tuple[str, ...], clock: StageClock
    ) -> Shelf:
        rules = wish.bound(self.rules)
        with clock.stage("retrieve"):
            count = max(self.candidates, 2 * wish.n)
            ends = perf_counter() + self.retrieve_timeout_s
            found = shop.retrievers.retrieve(
                user.history, now, count, user.interests, user.circle, self.retrieved, lambda: perf_counter() < ends, _too_dear_or_cheap(shop, rules)
            )
            rows = shop.row_of[found.index]
            here = rows >= 0
            rows, asked, ranks = rows[here], found.scores[here], found.ranks[here]
        if not len(rows):
            return self._popular(shop, user, profile, wish, (*degraded, "empty_retrieval"), clock)
        degraded += ("partial_retrieval",) if found.left_out else ()
        with clock.stage("features"):
            features = ranker_matrix(user, shop.matrix, rows, now.timestamp(), self.profiles.weights, asked, ranks)
        with clock.stage("score"):
            scores = self.ranker.score_with(features, self._lifts(shop.retrievers)[found.index[here]])
        with clock.stage("rules"):
            offers = self._offers(shop, user, rows, rules)
            draw = draw_of(wish.decision) if rules.exploration_slots else NOT_DRAWN
            choice = choose(rules, scores, offers, wish.n, shop.retrievers.repeat_buying, draw)
        with clock.stage("reasons"):
            told = self._reasons(shop, user, profile, rows[choice.places], features[choice.places], choice.placed)
        items = _items(shop, choice, rows, scores, told)
        return Shelf(
            user, profile, "default", items, rows, scores, features, self.ranker.feature_names, degraded + _short(items, wish, shop), choice, rules
        )

    def _popular(self, shop: Snapshot, user: UserRow | None, profile: Profile, wish: Wish, degraded: tuple[str, ...], clock: StageClock) -> Shelf:
        """What everybody buys, in stock and within the price bounds. The other rules speak of a spread, or of a shopper: they hold where this shelf
        only stands in for the shopper's own."""
        own, instead = wish.bound(self.rules), user is not None and wish.policy != "popular"
        rules = replace(NO_RULES, hide_sold_out=own.hide_sold_out, min_price=own.min_price, max_price=own.max_price)
        if instead:
            rules = replace(rules, hide_bought=own.hide_bought, hide_disliked=own.hide_disliked)
        with clock.stage("retrieve"):
            rows, scores = self._most_popular(shop, max(self.candidates, 2 * wish.n), _too_dear_or_cheap(shop, rules))
        with clock.stage("rules"):
            offers = self._offers(shop, user, rows, rules) if user is not None and instead else _offers(shop, rows)
            repeat = shop.retrievers.repeat_buying or not instead
            choice = choose(rules, scores, offers, wish.n, repeat, NOT_DRAWN)
        products = len(shop.matrix.product_ids)
        told = [reasons.popular_reason(place + 1 if scores[place] > 0 else products, products) for place in choice.places.tolist()]
        items = _items(shop, choice, rows, scores, told)
        nothing = np.zeros((len(rows), 0), np.float32)
        return Shelf(user, profile, "popular", items, rows, scores, nothing, (), degraded + _short(items, wish, shop), choice, rules)

    def _lifts(self, retrievers: RetrieverSet) -> Floats:
        """What the blend adds to each product for its category: float32[products], made once for a set of retrievers."""
        if retrievers not in self._lifted:
            self._lifted[retrievers] = self.ranker.blend.lifts_of(retrievers.products.categories)
        return self._lifted[retrievers]

    def _most_popular(self, shop: Snapshot, count: int, barred: Index) -> tuple[Index, Floats]:
        """Rows of at most `count` products that are not barred, the most popular first, and their popularity."""
        order, popularity = shop.retrievers.popular()
        if len(barred):
            free = np.ones(len(order), bool)
            free[barred] = False
            order = order[free[order]]
        for some in (order[: 4 * count], order):
            here = some[shop.row_of[some] >= 0][:count]
            if len(here) == count:
                break
        return shop.row_of[here], np.asarray(popularity[here], np.float32)

    def _offers(self, shop: Snapshot, user: UserRow, rows: Index, rules: ShelfPolicy) -> Offers:
        """What the rules read of the candidates at `rows`; of the text and the interest only where the spread reads them."""
        offers, codes = _offers(shop, rows), shop.matrix.codes
        found = replace(offers, bought=_bought(shop, user, rows), disliked=_disliked(shop, user, rows))
        if rules.diversity == "mmr":
            return replace(found, vectors=unit(shop.matrix.embedding[rows]))
        if rules.diversity == "calibrated":
            shares = wanted_shares(user.interests, self.profiles.weights)
            return replace(found, wanted=wanted_of(found.category, {codes[key]: share for key, share in shares.items() if key in codes}))
        return found

    def _reasons(
        self, shop: Snapshot, user: UserRow, profile: Profile, rows: Index, features: Floats, placed: tuple[str, ...]
    ) -> list[tuple[Reason, ...]]:
        moved = self.explainer(features)
        brand, crowds = shop.matrix.texts["product_brand"], _beside_crowds(shop, user)
        shown = [
            Shown(shop.lineage[row], shop.categories_zh, brand[row], values, added, by == "exploration", crowds)
            for row, values, added, by in zip(rows.tolist(), features.tolist(), moved.tolist(), placed, strict=True)
        ]
        return reasons.explain(shown, profile, _crowds(shop, user))


def _offers(shop: Snapshot, rows: Index) -> Offers:
    """The candidates at `rows` as anybody sees them: nothing bought, nothing disliked."""
    matrix, nobody = shop.matrix, np.zeros(len(rows), bool)
    stock, price = matrix.column("product_stock")[rows], matrix.column("product_price")[rows]
    nothing, no_text = np.zeros(0, np.float32), np.zeros((len(rows), 0), np.float32)
    return Offers(matrix.category[rows], matrix.brand[rows], stock, price, nobody, nobody, nothing, no_text)


def _too_dear_or_cheap(shop: Snapshot, rules: ShelfPolicy) -> Index:
    """Positions in the retrievers' products of those that the price bounds rule out: a shelf within bounds is found among all that keep them."""
    if not rules.min_price and not rules.max_price:
        return NONE_BARRED
    price = np.append(shop.matrix.column("product_price"), np.float32(np.nan))[shop.row_of]
    outside = out_of_bounds(price, rules.min_price, rules.max_price)
    return NONE_BARRED if outside is None else np.flatnonzero(outside).astype(np.int32)


def _bought(shop: Snapshot, user: UserRow, rows: Index) -> NDArray[np.bool_]:
    history = user.history
    mine = [shop.matrix.index.get(product, -1) for product, count in zip(history.products, history.purchases.tolist(), strict=True) if count > 0]
    return _among(rows, mine)


def _disliked(shop: Snapshot, user: UserRow, rows: Index) -> NDArray[np.bool_]:
    """bool[m]: the product, its brand or one of its categories, from the narrowest to the widest, is under a stated dislike."""
    categories, brands = vetoes(user.interests)
    products = shop.disliked_products.get(user.user_id, frozenset())
    found = _among(rows, [shop.matrix.index.get(product, -1) for product in products])
    if categories or brands:
        brand = shop.matrix.texts["product_brand"]
        found |= np.array([brand[row] in brands or not categories.isdisjoint(shop.lineage[row]) for row in rows.tolist()], bool)
    return found


def _among(rows: Index, some: Sequence[int]) -> NDArray[np.bool_]:
    """bool[m]: whether a row is one of some few; np.isin takes ten times as long to begin."""
    return np.asarray((rows[:, None] == np.array(some, np.int32)).any(axis=1))


def _beside_crowds(shop: Snapshot, user: UserRow) -> bool:
    """Whether a crowd chose some product of the shopper's history: else what goes with it tells what one or two others chose."""
    rows = [row for product in user.history.products if (row := shop.matrix.index.get(product, -1)) >= 0]
    return any(bool((shop.matrix.column(name)[rows] >= reasons.CROWD).any()) for name in ("product_buyers_90d", "product_reviews_ever"))


def _crowds(shop: Snapshot, user: UserRow) -> dict[str, float]:
    """Per category, the narrow and the wide ones: how many people of the shopper's circle chose the product of it that most of them chose."""
    found: dict[str, float] = {}
    for product, people in zip(user.circle.products, user.circle.people.tolist(), strict=True):
        row = shop.matrix.index.get(product, -1)
        for category in shop.lineage[row] if row >= 0 else ():
            found[category] = max(found.get(category, 0.0), people)
    return found


def _short(items: tuple[Item, ...], wish: Wish, shop: Snapshot) -> tuple[str, ...]:
    return ("fewer_items",) if len(items) < min(wish.n, len(shop.matrix.product_ids)) else ()


def _items(shop: Snapshot, choice: Choice, rows: Index, scores: Floats, told: list[tuple[Reason, ...]]) -> tuple[Item, ...]:
    return tuple(
        Item(str(shop.matrix.product_ids[rows[place]]), int(rows[place]), place, rank, float(scores[place]), why, placed, propensity)
        for rank, (place, why, placed, propensity) in enumerate(
            zip(choice.places.tolist(), told, choice.placed, choice.propensity.tolist(), strict=True), start=1
        )
    )
