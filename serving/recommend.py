"""The core: user row -> candidates -> features -> scores -> rules -> reasons. One process, one thread per request, no pandas."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from feature_repo.declarations import SIGNALS
from feature_repo.journal import Reason
from feature_repo.online import NO_HISTORY, NO_INTERESTS, UserRow, ranker_matrix
from serving import reasons
from serving.reasons import Shown
from serving.snapshot import Snapshot
from training.profile import Profile, ProfileModel
from training.ranker.model import Ranker

Floats = NDArray[np.float32]
Index = NDArray[np.int32]

LIKE, DISLIKE = SIGNALS.index("like"), SIGNALS.index("dislike")
VETO = 1.0
"""A stated dislike of a category or brand counts 1; a disliked product counts less for its category and bars only itself."""


@dataclass(frozen=True)
class Item:
    """One product on the shelf. `candidate` is its place in the shelf's candidates, `row` in the product matrix; `rank` from 1."""

    product_id: str
    row: int
    candidate: int
    rank: int
    score: float
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Shelf:
    """What was decided, with what it was decided on.

    `rows` int32[m] are the candidates' rows in the product matrix, `scores` float32[m] what they were ordered by, `features`
    float32[m, F] what the ranker saw (no columns under the popular policy).
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
    """Puts products into order for one shopper. `candidates`: how many the ranker sees; `category_share`: see `spread`."""

    profiles: ProfileModel
    ranker: Ranker
    candidates: int
    category_share: float

    def shelf(self, shop: Snapshot, user: UserRow | None, user_id: str, n: int, policy: str, now: datetime, clock: StageClock) -> Shelf:
        """At most n products, best first; fewer where the rules leave no more. A user without features gets the popular shelf."""
        with clock.stage("profile"):
            profile = self.profile(user, user_id)
        degraded: tuple[str, ...] = () if user or policy == "popular" else ("new_user",)
        if shop.stale_embedding:
            degraded += ("stale_embedding",)
        if user is None or policy == "popular":
            return self._popular(shop, user, profile, n, policy, now, degraded, clock)
        return self._ranked(shop, user, profile, n, now, degraded, clock)

    def profile(self, user: UserRow | None, user_id: str) -> Profile:
        """The explained profile; empty for a user without features."""
        if user is None:
            return self.profiles.explain(user_id, NO_INTERESTS)
        level = user.values().get("user_price_rank_90d", math.nan)
        return self.profiles.explain(user_id, user.interests, user.texts.get("user_language"), None if math.isnan(level) else level)

    def _ranked(self, shop: Snapshot, user: UserRow, profile: Profile, n: int, now: datetime, degraded: tuple[str, ...], clock: StageClock) -> Shelf:
        with clock.stage("retrieve"):
            found = shop.retrievers.retrieve(user.history, now, max(self.candidates, 2 * n), interests=user.interests)
            rows = shop.row_of[found.index]
            here = rows >= 0
            rows, asked, ranks = rows[here], found.scores[here], found.ranks[here]
        with clock.stage("features"):
            features = ranker_matrix(user, shop.matrix, rows, now.timestamp(), self.profiles.weights, asked, ranks)
        with clock.stage("score"):
            scores = self.ranker.score(features)
        with clock.stage("rules"):
            allowed = self._allowed(shop, user, rows)
            order = [int(place) for place in np.argsort(-scores, kind="stable") if allowed[place]]
            chosen = spread(order, [shop.lineage[rows[place]][:1] for place in order], n, self.category_share)
        with clock.stage("reasons"):
            told = self._reasons(shop, user, profile, rows[chosen], features[chosen])
        items = _items(shop, chosen, rows, scores, told)
        if len(items) < min(n, len(shop.matrix.product_ids)):
            degraded += ("fewer_items",)
        return Shelf(user, profile, "default", items, rows, scores, features, self.ranker.feature_names, degraded)

    def _popular(
        self, shop: Snapshot, user: UserRow | None, profile: Profile, n: int, policy: str, now: datetime, degraded: tuple[str, ...], clock: StageClock
    ) -> Shelf:
        """What everybody buys, in stock, whoever asks."""
        with clock.stage("retrieve"):
            popularity = shop.retrievers.retrievers["popular"].scores(shop.retrievers.query(NO_HISTORY, now, NO_INTERESTS))
            order = np.argsort(-popularity, kind="stable").astype(np.int32)
            order = order[shop.row_of[order] >= 0][: max(self.candidates, 2 * n)]
            rows, scores = shop.row_of[order], np.asarray(popularity[order], np.float32)
        with clock.stage("rules"):
            stock = in_stock(shop, rows)
            chosen = [place for place in range(len(rows)) if stock[place]][:n]
        told = [reasons.popular_reason(place + 1 if scores[place] > 0 else len(scores) + reasons.POPULAR_RANK) for place in chosen]
        items = _items(shop, chosen, rows, scores, told)
        if len(items) < min(n, len(shop.matrix.product_ids)):
            degraded += ("fewer_items",)
        return Shelf(user, profile, "popular", items, rows, scores, np.zeros((len(rows), 0), np.float32), (), degraded)

    def _allowed(self, shop: Snapshot, user: UserRow, rows: Index) -> NDArray[np.bool_]:
        """bool[m]: in stock, not disliked, and in a shop without repeat buying not bought before."""
        categories, brands = vetoes(user)
        products = set(shop.disliked_products.get(user.user_id, ()))
        if not shop.retrievers.repeat_buying:
            products |= {product for product, count in zip(user.history.products, user.history.purchases, strict=True) if count > 0}
        allowed = in_stock(shop, rows)
        brand = shop.matrix.texts["product_brand"]
        for place, row in enumerate(rows):
            if brand[row] in brands or shop.matrix.product_ids[row] in products or not categories.isdisjoint(shop.lineage[row]):
                allowed[place] = False
        return allowed

    def _reasons(self, shop: Snapshot, user: UserRow, profile: Profile, rows: Index, features: Floats) -> list[tuple[Reason, ...]]:
        contributions = self.ranker.contributions(features)
        brand = shop.matrix.texts["product_brand"]
        shown = [
            Shown(shop.lineage[row], shop.categories_zh, brand[row], values, moved)
            for row, values, moved in zip(rows, features, contributions, strict=True)
        ]
        values = user.values()
        circles = sum(value for name in ("user_followed", "user_groups") if not math.isnan(value := values.get(name, math.nan)))
        return reasons.explain(shown, profile, circles)


def vetoes(user: UserRow) -> tuple[set[str], set[str]]:
    """Categories and brands that the user said they dislike and did not say, as strongly, that they like."""
    found: dict[str, set[str]] = {"category": set(), "brand": set()}
    for key, signals in zip(user.interests.keys, user.interests.signals, strict=True):
        if signals[DISLIKE] >= VETO and signals[DISLIKE] > signals[LIKE]:
            kind, _, subject = key.partition(":")
            found[kind].add(subject)
    return found["category"], found["brand"]


def in_stock(shop: Snapshot, rows: Index) -> NDArray[np.bool_]:
    """bool[m]; a stock that is not known counts as in stock."""
    return np.asarray(~(shop.matrix.column("product_stock")[rows] <= 0))


def spread(order: list[int], categories: list[tuple[str, ...]], n: int, share: float) -> list[int]:
    """The first n of `order`, none of whose categories takes more than `share` of n places while others have candidates.

    What was passed over fills the end where there are not enough others. Products without a category don't crowd each other out.
    """
    most = max(1, math.ceil(n * share))
    taken: Counter[tuple[str, ...]] = Counter()
    chosen: list[int] = []
    passed: list[int] = []
    for place, category in zip(order, categories, strict=True):
        if len(chosen) == n:
            break
        if category and taken[category] >= most:
            passed.append(place)
            continue
        taken[category] += 1
        chosen.append(place)
    return chosen + passed[: n - len(chosen)]


def _items(shop: Snapshot, chosen: list[int], rows: Index, scores: Floats, told: list[tuple[Reason, ...]]) -> tuple[Item, ...]:
    return tuple(
        Item(str(shop.matrix.product_ids[rows[place]]), int(rows[place]), place, rank, float(scores[place]), why)
        for rank, (place, why) in enumerate(zip(chosen, told, strict=True), start=1)
    )
