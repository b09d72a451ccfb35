"""From scores to a shelf: rules, spread, exploration, in this order. Training measures with it what serving does with it.

    stock -> bought -> veto -> price      a candidate that a rule removes is never shown
    spread                                the order of the rest: by score, under a cap, by MMR or calibrated
    exploration                           the last places go to candidates drawn at random, with known probability

Nothing in here knows a shop or a person: arrays in, places out. Spread: the cap is ours; maximal marginal relevance is Carbonell and Goldstein
(SIGIR 1998); calibration is Steck (RecSys 2018). Exploration and what its probabilities are for: docs/recommendation.md.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]
Index = NDArray[np.int32]

Diversity = Literal["none", "cap", "mmr", "calibrated"]
RULES = ("stock", "bought", "veto", "price", "brand", "spread")
"""Names of what keeps a candidate off a shelf: the first four remove it, the last two put another in its place."""
PLACED = ("score", "fill", "exploration")
"""Names of what gives a place to a product: its place in the order, want of others under a cap, or the draw."""

MOST_EXPLORED = 3
"""At most one place in so many is drawn, so that a shelf of two has no such place."""
SMOOTHING = 0.01
"""Share of the wanted distribution that is mixed into the shelf's, as in Steck (2018), for a category that is not on it yet."""


@dataclass(frozen=True)
class ShelfPolicy:
    """What a shelf is made by. The defaults are those of the service's settings; docs/recommendation.md has what they were chosen by.

    `category_share` holds under `diversity` "cap", `strength` (0 = by score alone, 1 = score counts nothing) under "mmr" and "calibrated",
    `brand_share` always; 1 means no limit. Prices are in the shop's currency, 0 means no bound. `hide_bought` matters in a shop with repeat buying
    only: one without never shows again what was bought.
    """

    hide_sold_out: bool = True
    hide_bought: bool = False
    hide_disliked: bool = True
    min_price: float = 0.0
    max_price: float = 0.0
    diversity: Diversity = "mmr"
    strength: float = 0.05
    category_share: float = 0.5
    brand_share: float = 1.0
    exploration_slots: int = 0
    exploration_pool: int = 50


NO_RULES = ShelfPolicy(hide_sold_out=False, hide_disliked=False, diversity="none")
"""The order of the scores and nothing else."""


@dataclass(frozen=True)
class Offers:
    """What the rules read of m candidates. `wanted` and `vectors` may be left empty (m, 0 columns) where the policy does not read them."""

    category: Index  # int32[m], below 0 for none
    brand: Index  # int32[m], below 0 for none
    stock: Floats  # float32[m], NaN where not known
    price: Floats  # float32[m], NaN where not known
    bought: Bools  # bool[m], by this shopper before
    disliked: Bools  # bool[m], itself, its brand or a category of it
    wanted: Floats  # float32[m], share of the shopper's interest that its category has; or [0]
    vectors: Floats  # float32[m, d], rows of length 1 or 0; or [m, 0]

    def __len__(self) -> int:
        return len(self.category)


@dataclass(frozen=True)
class Choice:
    """A shelf of k places out of m candidates, and the probabilities it was made with (docs/recommendation.md defines both).

    `places` int32[k]: candidates in the order of the shelf; `placed`: a name of PLACED for each. `propensity` float64[k]: probability that this
    candidate stands at this place. `inclusion` float64[m]: probability that a candidate stands anywhere on the shelf. `kept_off` int8[m]: number of
    the rule in RULES that kept a candidate off, -1 for none.
    """

    places: Index
    placed: tuple[str, ...]
    propensity: Doubles
    inclusion: Doubles
    kept_off: NDArray[np.int8]

    def removed(self) -> dict[str, int]:
        """Candidates kept off by rule; a rule that kept off none is not named."""
        counts = np.bincount(self.kept_off[self.kept_off >= 0], minlength=len(RULES))
        return {rule: int(count) for rule, count in zip(RULES, counts, strict=True) if count}


def choose(policy: ShelfPolicy, scores: Floats, offers: Offers, n: int, repeat_buying: bool, random: np.random.Generator) -> Choice:
    """At most n of the candidates; fewer only where the rules leave no more. Equal scores keep the order of the candidates.

    Args:
        scores: float32[m], larger is better.
        random: read only where the policy explores and there is more to show than places.
    """
    kept_off = removed_by(policy, offers, repeat_buying)
    order = np.argsort(-scores, kind="stable").astype(np.int32)
    order = order[kept_off[order] < 0]
    drawn = min(policy.exploration_slots, n // MOST_EXPLORED, policy.exploration_pool) if len(order) > n else 0
    chosen, fills = spread(policy, order, scores, offers, n, n - drawn)
    _mark_displaced(policy, kept_off, order[: n - drawn], chosen, offers, n)
    explored, pool = explore(order, chosen, drawn, policy.exploration_pool, random)
    kept_off[explored] = -1  # the spread passed it over, the draw brought it back
    inclusion = np.zeros(len(offers))
    inclusion[chosen] = 1.0
    inclusion[pool] = drawn / max(len(pool), 1)
    propensity = np.r_[np.ones(len(chosen)), np.full(drawn, 1.0 / max(len(pool), 1))]
    placed = ("score",) * (len(chosen) - fills) + ("fill",) * fills + ("exploration",) * drawn
    return Choice(np.r_[chosen, explored].astype(np.int32), placed, propensity, inclusion, kept_off)


# The rules that remove.


def removed_by(policy: ShelfPolicy, offers: Offers, repeat_buying: bool) -> NDArray[np.int8]:
    """int8[m]: number of the first rule in RULES that removes a candidate, -1 for what may be shown."""
    found = np.full(len(offers), -1, np.int8)
    barred = (
        ("stock", sold_out(offers) if policy.hide_sold_out else None),
        ("bought", offers.bought if policy.hide_bought or not repeat_buying else None),
        ("veto", offers.disliked if policy.hide_disliked else None),
        ("price", out_of_bounds(offers.price, policy.min_price, policy.max_price)),
    )
    for rule, these in barred:
        if these is not None:
            found[these & (found < 0)] = RULES.index(rule)
    return found


def sold_out(offers: Offers) -> Bools:
    """bool[m]; a stock that is not known counts as in stock."""
    return np.asarray(offers.stock <= 0)


def out_of_bounds(price: Floats, lowest: float, highest: float) -> Bools | None:
    """bool[m] for prices float32[m], None without a bound.

    A bound is a promise: a product without a price can't keep it and passes only where none is set.
    """
    if not lowest and not highest:
        return None
    with np.errstate(invalid="ignore"):
        inside = price >= lowest
        if highest:
            inside &= price <= highest
    return np.asarray(~inside)


# The order of what is left.


def spread(policy: ShelfPolicy, order: Index, scores: Floats, offers: Offers, n: int, places: int) -> tuple[Index, int]:
    """The first `places` of a shelf of n, and how many of them at its end are there only for want of others.

    `order` int32: what may be shown, best score first. A category or brand takes at most ceil(share x n) places while others have candidates; what
    has no category or brand never crowds.
    """
    limits = limits_of(policy, offers, n)
    if policy.diversity in ("none", "cap"):
        return capped(order, limits, places)
    if not len(order):
        return order, 0
    gain = (Mmr if policy.diversity == "mmr" else Calibrated)(scores, offers, order, policy.strength)
    return greedy(gain, order, limits, places)


Limit = tuple[Index, int]
"""A code per candidate (below 0 for none) and how many of one code may be shown."""


def limits_of(policy: ShelfPolicy, offers: Offers, n: int) -> list[Limit]:
    """The caps that can bind on a shelf of n."""
    shares = [(offers.category, policy.category_share if policy.diversity == "cap" else 1.0), (offers.brand, policy.brand_share)]
    return [(codes, max(1, math.ceil(n * share))) for codes, share in shares if share < 1]


def capped(order: Index, limits: Sequence[Limit], places: int) -> tuple[Index, int]:
    """By score, passing over what a cap has no room for; what was passed over fills the end."""
    if not limits:
        return order[:places], 0
    taken: list[Counter[int]] = [Counter() for _ in limits]
    codes = [column[order].tolist() for column, _ in limits]
    chosen: list[int] = []
    passed: list[int] = []
    for at, place in enumerate(order.tolist()):
        if len(chosen) == places:
            break
        mine = [column[at] for column in codes]
        if any(code >= 0 and count[code] >= most for code, count, (_, most) in zip(mine, taken, limits, strict=True)):
            passed.append(place)
            continue
        for code, count in zip(mine, taken, strict=True):
            count[code] += 1
        chosen.append(place)
    fills = passed[: places - len(chosen)]
    return np.array([*chosen, *fills], np.int32), len(fills)


class Gain(Protocol):
    """What each of k candidates would add to the shelf as it stands, float64[k]; `add` puts the one at `position` on it."""

    def values(self) -> Doubles: ...

    def add(self, position: int) -> None: ...


def greedy(gain: Gain, order: Index, limits: Sequence[Limit], places: int) -> tuple[Index, int]:
    """Place by place what adds most, under the caps; where they leave nothing, what they passed over, in the order of scores."""
    codes = [column[order] for column, _ in limits]
    open_ = np.ones(len(order), bool)
    full = np.zeros(len(order), bool)
    chosen: list[int] = []
    while len(chosen) < min(places, len(order)) and (open_ & ~full).any():
        position = int(np.argmax(np.where(open_ & ~full, gain.values(), -np.inf)))
        gain.add(position)
        open_[position] = False
        chosen.append(position)
        for column, (_, most) in zip(codes, limits, strict=True):
            same = column == column[position]
            if column[position] >= 0 and (same & ~open_).sum() >= most:
                full |= same
    fills = np.flatnonzero(open_)[: max(places - len(chosen), 0)]
    return order[np.array([*chosen, *fills.tolist()], np.int64)], len(fills)


class Mmr:
    """(1 - strength) x score - strength x the greatest similarity to what is on the shelf (Carbonell and Goldstein 1998).

    Similarity, 0 to 1, is the mean of: the same category, the same brand, the cosine of the texts (at least 0); of those that the candidates have.
    """

    def __init__(self, scores: Floats, offers: Offers, order: Index, strength: float) -> None:
        self._relevance, self._strength = _scaled(scores[order]), strength
        self._codes = [codes[order] for codes in (offers.category, offers.brand) if (codes[order] >= 0).any()]
        self._vectors = offers.vectors[order]
        self._nearest = np.zeros(len(order))

    def values(self) -> Doubles:
        return (1 - self._strength) * self._relevance - self._strength * self._nearest

    def add(self, position: int) -> None:
        parts = [((codes == codes[position]) & (codes >= 0)).astype(np.float64) for codes in self._codes]
        if self._vectors.shape[1]:
            parts.append(np.clip(self._vectors @ self._vectors[position], 0, 1).astype(np.float64))
        if parts:
            np.maximum(self._nearest, sum(parts) / len(parts), out=self._nearest)


class Calibrated:
    """(1 - strength) x sum of scores - strength x KL(wanted || shelf), where a shelf's shares are smoothed by the wanted ones (Steck 2018).

    Only what differs between the candidates is computed: the divergence changes in the one category that grows. Where nothing is wanted the order
    is that of the scores.
    """

    def __init__(self, scores: Floats, offers: Offers, order: Index, strength: float) -> None:
        self._relevance, self._strength = _scaled(scores[order]), strength
        _, first, self._of = np.unique(offers.category[order], return_index=True, return_inverse=True)
        self._wanted = (offers.wanted[order] if len(offers.wanted) else np.zeros(len(order)))[first].astype(np.float64)
        self._count = np.zeros(len(first))
        self._size = 0

    def values(self) -> Doubles:
        wanted, size = self._wanted, self._size + 1
        with np.errstate(divide="ignore", invalid="ignore"):
            before, after = (
                np.where(wanted > 0, wanted * np.log((1 - SMOOTHING) * count / size + SMOOTHING * wanted), 0.0)
                for count in (self._count, self._count + 1)
            )
        return (1 - self._strength) * self._relevance + self._strength * (after - before)[self._of]

    def add(self, position: int) -> None:
        self._count[self._of[position]] += 1
        self._size += 1


def _scaled(scores: Floats) -> Doubles:
    """0 for the worst, 1 for the best: a request's scores compare with each other and with nothing else."""
    low, high = float(scores.min()), float(scores.max())
    return (scores - low).astype(np.float64) / (high - low) if high > low else np.zeros(len(scores))


def _mark_displaced(policy: ShelfPolicy, kept_off: NDArray[np.int8], best: Index, chosen: Index, offers: Offers, n: int) -> None:
    """Note at `kept_off` what would be shown by score alone and is not: by the brand's cap where the brand is full, else by the spread."""
    displaced = np.setdiff1d(best, chosen)
    if not len(displaced):
        return
    most = max(1, math.ceil(n * policy.brand_share))
    brands, counts = np.unique(offers.brand[chosen], return_counts=True)
    full = brands[(counts >= most) & (brands >= 0)] if policy.brand_share < 1 else brands[:0]
    kept_off[displaced] = np.where(np.isin(offers.brand[displaced], full), RULES.index("brand"), RULES.index("spread"))


# Exploration.


def explore(order: Index, chosen: Index, drawn: int, pool: int, random: np.random.Generator) -> tuple[Index, Index]:
    """(`drawn` candidates, the pool they were drawn from): the next best `pool` after `chosen`, each as likely as any other, none twice.

    Every one of the pool is on the shelf with probability drawn / len(pool), and at a given drawn place with 1 / len(pool).
    """
    if not drawn:
        return order[:0], order[:0]
    rest = order[~np.isin(order, chosen)][:pool]
    return rest[np.argsort(random.random(len(rest)), kind="stable")[:drawn]], rest


def draw_of(decision: str) -> np.random.Generator:
    """The generator of a decision, by its id: whoever reads the journal can draw the same again."""
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.blake2b(decision.encode(), digest_size=8).digest(), "big")))
