"""Why an item is shown: sentences that are true for it, ordered by what moved its score.

A reason is offered only where its condition holds for this shopper and this product, whatever the model says; the ranker's
contributions decide which of the true ones are told. API, feed, page and e-mail tell what `explain` returned and nothing else.

Nothing names or points at another person. What others do is told as a crowd of at least `CROWD` people: of two, each could tell what the other did
by leaving out what they did themselves, and so could who knows one of them; three is the usual least number of contributors of a published cell
(Hundepool et al., Statistical Disclosure Control, 2012, on the threshold rule). That a circle chose this very product is told only where
they are a crowd of a circle of `CIRCLE` or more.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.declarations import STATED
from feature_repo.journal import Reason
from feature_repo.vectors import RANKER_FEATURES
from training.profile import Interest, Profile

Floats = NDArray[np.float32]

LONGEST = 3
"""Reasons told per item."""
NEW_DAYS = 30
POPULAR_RANK = 100
"""A product is called popular while it is among this many, and in the more popular half of a small shop."""
TOGETHER = ("item_to_item", "linear")
"""Retrievers that propose what others chose beside what is in the history."""
NEAR_RANK = 50
"""A proposal by text or by sequence counts while it is among this many: both have a number for every product there is."""
CROWD = 3
"""Least number of people behind a sentence that tells what others do."""
EXPLORED_FIRST = 100.0
"""Above any contribution: what was drawn stands on the shelf for the draw, whatever else is true of it."""
CIRCLE = 10
"""Least number of people of a circle before what a crowd of it chose is told: of a few, all could be meant."""
PRICE_GAP = 0.15
"""Place in the category's prices, 0 to 1: within this distance of the shopper's mean a price is called usual for them."""

THIS_KIND = "这类商品"
"""How a Chinese reason speaks of a category that the shop has no Chinese name for."""

_COLUMN = {name: position for position, name in enumerate(RANKER_FEATURES)}


@dataclass(frozen=True)
class Shown:
    """One item to give reasons for. `values` are those of RANKER_FEATURES, in their order; `moved` is what each of GROUPS added to the score;
    `categories` from leaf to root; `explored`: it was drawn; `beside_crowds`: a crowd chose some product of the shopper's history."""

    categories: tuple[str, ...]
    categories_zh: Mapping[str, str]
    brand: str | None
    values: Sequence[float]
    moved: Sequence[float]
    explored: bool = False
    beside_crowds: bool = True

    def value(self, name: str) -> float:
        """NaN where missing or where the ranker has no such feature."""
        return self.values[_COLUMN[name]] if name in _COLUMN else float("nan")


@dataclass(frozen=True)
class _Kind:
    """One kind of reason: when it holds (`subject` gives what to name, None = does not hold), the features behind it, and its words."""

    code: str
    subject: Callable[[Shown, "_Known"], str | None]
    features: tuple[str, ...]
    text: str
    text_zh: str
    first: float = 0.0
    """Added to the contribution: a stated wish is told before what was only observed."""
    of_category: bool = False
    """The subject is a category, which has a name in each language; a brand has one name."""

    def tell(self, item: Shown, subject: str) -> Reason:
        chinese = _chinese_name(item, subject) if self.of_category else subject
        return Reason(self.code, self.text.format(subject), self.text_zh.format(chinese))


@dataclass(frozen=True)
class _Known:
    """What the conditions ask of the shopper."""

    categories: Mapping[str, Interest]
    brands: Mapping[str, Interest]
    crowds: Mapping[str, float]


def _chinese_name(item: Shown, category: str) -> str:
    return item.categories_zh.get(category) or (category if re.search("[\u4e00-\u9fff]", category) else THIS_KIND)


def _evidence(interest: Interest | None, *signals: str) -> float:
    return sum(each.value for each in interest.evidence if each.signal in signals) if interest else 0.0


def _category_with(*signals: str, least: float = 0.0) -> Callable[[Shown, _Known], str | None]:
    """The product's category, if the shopper's evidence for it holds one of the signals, `least` or more of it, and nothing speaks against it."""

    def subject(item: Shown, known: _Known) -> str | None:
        for category in item.categories:
            interest = known.categories.get(category)
            if interest and interest.weight > 0 and (evidence := _evidence(interest, *signals)) > 0 and evidence >= least:
                return category
        return None

    return subject


def _brand_with(*signals: str, least: float = 0.0) -> Callable[[Shown, _Known], str | None]:
    def subject(item: Shown, known: _Known) -> str | None:
        interest = known.brands.get(item.brand or "")
        evidence = _evidence(interest, *signals)
        return item.brand if interest and interest.weight > 0 and evidence > 0 and evidence >= least else None

    return subject


def _circles(item: Shown, known: _Known) -> str | None:
    """Of a category only where a crowd of a large circle chose one and the same product of it."""
    category = _category_with("follow", "group")(item, known) if _large_circle(item) else None
    return category if category and known.crowds.get(category, 0.0) >= CROWD else None


def _chosen_by_a_crowd(item: Shown) -> bool:
    """What one or two people chose would tell of them, and so would what goes with a product that one or two people chose; a shop that has only
    reviews counts these."""
    return item.beside_crowds and any(item.value(name) >= CROWD for name in ("product_buyers_90d", "product_reviews_ever"))


def _less_bought(item: Shown) -> bool:
    """In the less bought half of the shop, where that is known."""
    return item.value("product_popularity_rank") < 0.5


def _large_circle(item: Shown) -> bool:
    """Of a shopper who follows people and is in several groups the larger of followed and a mean group counts: nobody is counted twice."""
    others = item.value("user_comembers") / max(item.value("user_groups"), 1)
    return bool(np.fmax(item.value("user_followed"), others) >= CIRCLE)


def _chosen_by_many(item: Shown) -> bool:
    return item.value("up_circle_people") >= CROWD and _large_circle(item)


def _when(condition: Callable[[Shown], bool]) -> Callable[[Shown, _Known], str | None]:
    return lambda item, known: "" if condition(item) else None


_KINDS = (
    _Kind(
        "likes_category", _category_with("like", least=STATED), ("up_category_preference", "up_liked", "up_category_interest"),
        "You like {}", "您喜欢{}", 1.0, of_category=True,
    ),
    _Kind("likes_brand", _brand_with("like", least=STATED), ("up_brand_preference", "up_liked", "up_brand_interest"), "You like {}", "您喜欢{}", 0.9),
    _Kind(
        "bought_before", _when(lambda item: item.value("up_purchases") > 0),
        ("up_purchases", "up_days_since_purchase", "score_repeat", "rank_repeat"),
        "You bought this before", "您买过这件商品",
    ),
    _Kind(
        "looked_at", _when(lambda item: item.value("up_views_and_buys") > 0 and not item.value("up_purchases") > 0),
        ("up_views_and_buys", "up_days_since_view", "score_repeat", "rank_repeat"),
        "You looked at this", "您看过这件商品",
    ),
    _Kind(
        "bought_category", _category_with("purchase"), ("up_category_behaviour", "up_category_interest", "up_category_share", "up_category_days"),
        "You bought {} before", "您买过{}", of_category=True,
    ),
    _Kind(
        "reviewed_category", _category_with("review"), ("up_category_behaviour", "up_category_interest"),
        "You rated {} well", "您给{}打过好评", of_category=True,
    ),
    _Kind(
        "looked_at_category", _category_with("view", "cart"),
        ("up_category_behaviour", "up_category_interest", "up_category_share", "up_category_days"),
        "You looked at {}", "您浏览过{}", of_category=True,
    ),
    _Kind("circles", _circles, ("up_category_social",), "Popular in your circles: {}", "{}在您的圈子里很受欢迎", of_category=True),
    _Kind(
        "circle_chose", _when(_chosen_by_many), ("up_circle_people", "up_circle_weight", "score_social", "rank_social"),
        "Several people in your circles chose this", "您的圈子里有多人选了这件商品",
    ),
    _Kind(
        "bought_brand", _brand_with("purchase"), ("up_brand_behaviour", "up_brand_interest", "up_brand_days"),
        "You bought {} before", "您买过{}的商品",
    ),
    _Kind("looked_at_brand", _brand_with("view", "cart"), ("up_brand_behaviour", "up_brand_interest"), "You looked at {}", "您看过{}的商品"),
    _Kind(
        "goes_with", _when(lambda item: any(item.value(f"score_{name}") > 0 for name in TOGETHER) and _chosen_by_a_crowd(item)),
        tuple(f"{kind}_{name}" for name in TOGETHER for kind in ("score", "rank")),
        "Goes with what you bought or looked at", "与您买过或看过的商品相配",
    ),
    _Kind(
        "follows", _when(lambda item: item.value("score_next_item") > 0 and _chosen_by_a_crowd(item)), ("score_next_item", "rank_next_item"),
        "A next step after what you bought or looked at", "延续您买过或看过的商品",
    ),
    _Kind(
        "next", _when(lambda item: item.value("score_sequential") > 0 and not item.value("rank_sequential") > NEAR_RANK and _chosen_by_a_crowd(item)),
        ("score_sequential", "rank_sequential"), "Goes with what you chose lately", "与您最近选的商品相配",
    ),
    _Kind(
        "alike", _when(lambda item: item.value("score_embedding") > 0 and not item.value("rank_embedding") > NEAR_RANK),
        ("score_embedding", "rank_embedding"),
        "Close to what you care for", "与您关注的商品相近",
    ),
    _Kind(
        "price", _when(lambda item: abs(item.value("up_price_rank_gap")) <= PRICE_GAP), ("up_price_log_ratio", "up_price_rank_gap"),
        "In your usual price range", "符合您常选的价位",
    ),
    _Kind(
        "new", _when(lambda item: 0 <= item.value("product_age_days") <= NEW_DAYS), ("product_age_days",),
        "New in the shop", "新品上架",
    ),
    _Kind(
        "popular", _when(lambda item: item.value("rank_popular") <= POPULAR_RANK and item.value("score_popular") > 0 and not _less_bought(item)),
        ("score_popular", "rank_popular", "product_purchases_30d", "product_buyers_90d"),
        "Popular in this shop", "本店热销",
    ),
    _Kind(
        "explore", _when(lambda item: item.explored and not item.value("up_views_and_buys") > 0), (),
        "Something different to try", "换个口味，试试这个", EXPLORED_FIRST,
    ),
)  # fmt: skip
_GROUP_OF: Mapping[tuple[str, ...], int] = {
    features: number for number, features in enumerate(dict.fromkeys(kind.features for kind in _KINDS))
}  # fmt: skip
GROUPS: tuple[tuple[int, ...], ...] = tuple(tuple(_COLUMN[name] for name in features if name in _COLUMN) for features in _GROUP_OF)
"""Columns of RANKER_FEATURES that stand behind a kind of reason together: nobody asks for those of one alone."""
_ONE_OF = (
    ("bought_category", "reviewed_category", "looked_at_category"),
    ("bought_brand", "looked_at_brand"),
    ("likes_category", "likes_brand"),
    ("goes_with", "follows", "next"),
)
"""Of these only the one that moved the score most is told."""
PICKED = Reason("picked", "From our shelf", "本店精选")
"""What is said where nothing else is true."""
IMPERSONAL = {"new", "popular", "explore", PICKED.code}
"""Codes of reasons that speak of the product alone; all others tell something of the shopper."""


def popular_reason(rank: int, products: int) -> tuple[Reason, ...]:
    """The reason of an item that was shown for its popularity alone; `rank` is its place, from 1, among all `products`."""
    kind = next(each for each in _KINDS if each.code == "popular")
    return (Reason(kind.code, kind.text, kind.text_zh),) if rank <= min(POPULAR_RANK, products / 2) else (PICKED,)


def impersonal(told: tuple[Reason, ...]) -> tuple[Reason, ...]:
    """Those of an item's reasons that tell nothing of the shopper; at least one."""
    return tuple(each for each in told if each.code in IMPERSONAL) or (PICKED,)


def explain(items: list[Shown], profile: Profile, crowds: Mapping[str, float]) -> list[tuple[Reason, ...]]:
    """One to three reasons per item, what moved its score most first.

    `crowds`: per category how many people of the shopper's circle, at the least, chose one and the same product of it.
    """
    known = _Known(
        {each.subject: each for each in profile.interests if each.kind == "category"},
        {each.subject: each for each in profile.interests if each.kind == "brand"},
        crowds,
    )
    return [_reasons(item, known) for item in items]


def _reasons(item: Shown, known: _Known) -> tuple[Reason, ...]:
    true = [(kind, subject) for kind in _KINDS if (subject := kind.subject(item, known)) is not None]
    ordered = sorted(true, key=lambda each: -(item.moved[_GROUP_OF[each[0].features]] + each[0].first))
    told: list[tuple[_Kind, str]] = []
    for kind, subject in ordered:
        rivals = next((group for group in _ONE_OF if kind.code in group), ())
        helped = item.moved[_GROUP_OF[kind.features]] + kind.first > 0
        if len(told) < LONGEST and helped and not any(each.code in rivals for each, _ in told):
            told.append((kind, subject))
    return tuple(kind.tell(item, subject) for kind, subject in told) or (PICKED,)
