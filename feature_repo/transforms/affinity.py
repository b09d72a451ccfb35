"""User-product features: one vectorised function that Feast's on-demand view, training and the hot path all call."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo.declarations import HALF_LIFE, RETRIEVERS, STATED
from feature_repo.events import SIGNALS

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Codes = NDArray[np.int32]

PAIR_FEATURES: tuple[tuple[str, str], ...] = (
    ("up_category_interest", "Interest in the product's category: sum of signal x weight."),
    ("up_category_behaviour", "The part of it that comes from views, carts, purchases and reviews (B)."),
    ("up_category_social", "The part of it that comes from followed users and groups (S)."),
    ("up_category_preference", "The part of it that comes from stated likes and dislikes (N)."),
    ("up_brand_interest", "Interest in the product's brand."),
    ("up_brand_behaviour", "Brand interest from behaviour (B)."),
    ("up_brand_social", "Brand interest from social ties (S)."),
    ("up_brand_preference", "Brand interest from stated likes and dislikes (N)."),
    ("up_liked", "1 if the user said they like the product's category or brand, and no dislike as strong, else 0."),
    ("up_disliked", "1 if the user said they dislike the product's category or brand, and no like as strong, else 0."),
    ("up_category_share", "The category's behaviour over the user's behaviour on all interests."),
    ("up_price_log_ratio", "ln(price / mean price of what the user acted on in 90 days)."),
    ("up_price_rank_gap", "Rank of price in its category less the user's mean rank."),
    ("up_views_and_buys", "1 if the product is in the user's history, else 0."),
    ("up_purchases", "Times the user bought this product."),
    ("up_days_since_purchase", "Days since the user bought this product."),
    ("up_days_since_view", "Days since the user viewed this product."),
    ("up_category_days", "Days since the user last acted on the product's category."),
    ("up_brand_days", "Days since the user last acted on the product's brand."),
    ("up_circle_weight", "What the product counts in the user's circle: choices of followed people and group members, decayed; 0 for none."),
    ("up_circle_people", "People of the circle who bought the product or rated it well, at the least."),
    ("user_hours_since_event", "Hours since the user's last act."),
    ("user_days_since_purchase", "Days since the user's last purchase."),
    ("user_days_since_first", "Days since the user's first act."),
    ("product_age_days", "Days since the product was first seen."),
    ("product_days_since_purchase", "Days since anybody bought the product."),
    *((f"score_{name}", f"Score of the retriever '{name}' (missing: it did not propose the product).") for name in RETRIEVERS),
    *((f"rank_{name}", f"Rank from 1 by the retriever '{name}' (missing: it did not propose the product).") for name in RETRIEVERS),
    ("up_retrievers", "Number of retrievers that proposed the product."),
)
PAIR_NAMES = tuple(name for name, _ in PAIR_FEATURES)


@dataclass(frozen=True)
class UserSide:
    """What the pairs need of users. `u` is 1 (one user against n products) or n (row by row). Missing numbers are NaN, missing codes -1.

    Codes of interests and products come from any numbering, as long as `ProductSide` uses the same one.
    """

    interest: Codes  # int32[u, K], code of "category:…" and "brand:…" keys
    signals: Floats  # float32[u, K, 8], in the order of SIGNALS
    interest_last_at: Doubles  # float64[u, K], unix seconds of the user's own last act on the key
    history: Codes  # int32[u, H], product codes
    purchase_count: Floats  # float32[u, H]
    last_purchase_at: Doubles  # float64[u, H]
    last_view_at: Doubles  # float64[u, H]
    circle: Codes  # int32[u, C], product codes
    circle_weight: Floats  # float32[u, C], as of now
    circle_people: Floats  # float32[u, C]
    price_mean: Floats  # float32[u], user_price_mean_90d
    price_rank: Floats  # float32[u], user_price_rank_90d
    first_event_at: Doubles  # float64[u]
    last_event_at: Doubles  # float64[u]
    user_last_purchase_at: Doubles  # float64[u]


@dataclass(frozen=True)
class ProductSide:
    """What the pairs need of products, one row per pair."""

    product: Codes  # int32[n]
    category: Codes  # int32[n], code of "category:<category>"
    brand: Codes  # int32[n], code of "brand:<brand>"
    price: Floats  # float32[n]
    price_rank: Floats  # float32[n]
    first_seen_at: Doubles  # float64[n]
    last_purchase_at: Doubles  # float64[n]


@dataclass(frozen=True)
class RequestSide:
    """What only the request knows."""

    now: Doubles  # float64[1 or n], unix seconds
    weights: Floats  # float32[8] or [n, 8], the profile's weight of each signal
    scores: Floats  # float32[n, R], in the order of RETRIEVERS, NaN where not proposed
    ranks: Floats  # float32[n, R], from 1, NaN where not proposed


def pair_features(user: UserSide, product: ProductSide, request: RequestSide) -> Floats:
    """float32[n, len(PAIR_NAMES)]: one row per product row. NaN where a value is not known (no such act, no price).

    Interest is sum over signals of signal x weight; dislike is one of the signals, so its weight is negative.
    """
    n = len(product.product)
    found = np.full((n, len(PAIR_NAMES)), np.nan, np.float32)
    column = {name: found[:, number] for number, name in enumerate(PAIR_NAMES)}
    now = request.now
    weights = np.broadcast_to(request.weights, (n, 8))
    for kind, codes in (("category", product.category), ("brand", product.brand)):
        signals, last_at = _of_key(user.interest, codes, user.signals, user.interest_last_at)
        weighted = signals * weights
        column[f"up_{kind}_behaviour"][:] = weighted[:, :4].sum(axis=1)
        column[f"up_{kind}_social"][:] = weighted[:, 4:6].sum(axis=1)
        column[f"up_{kind}_preference"][:] = weighted[:, 6:].sum(axis=1)
        column[f"up_{kind}_interest"][:] = weighted.sum(axis=1)
        column[f"up_{kind}_days"][:] = _days(now, last_at)
        like, dislike = signals[:, 6], signals[:, 7]
        liked, disliked = (like >= STATED) & (like > dislike), (dislike >= STATED) & (dislike > like)
        column["up_liked"][:] = np.fmax(column["up_liked"], liked)
        column["up_disliked"][:] = np.fmax(column["up_disliked"], disliked)
    column["up_category_share"][:] = _share(user, weights, column["up_category_behaviour"])
    with np.errstate(divide="ignore", invalid="ignore"):
        column["up_price_log_ratio"][:] = np.where((product.price > 0) & (user.price_mean > 0), np.log(product.price / user.price_mean), np.nan)
    column["up_price_rank_gap"][:] = product.price_rank - user.price_rank
    own = _of_product(user, product.product)
    column["up_views_and_buys"][:] = own["there"]
    column["up_purchases"][:] = own["purchases"]
    column["up_days_since_purchase"][:] = _days(now, own["purchase_at"])
    column["up_days_since_view"][:] = _days(now, own["view_at"])
    column["up_circle_weight"][:] = _of_code(user.circle, product.product, user.circle_weight)
    column["up_circle_people"][:] = _of_code(user.circle, product.product, user.circle_people)
    column["user_hours_since_event"][:] = _days(now, user.last_event_at) * 24
    column["user_days_since_purchase"][:] = _days(now, user.user_last_purchase_at)
    column["user_days_since_first"][:] = _days(now, user.first_event_at)
    column["product_age_days"][:] = _days(now, product.first_seen_at)
    column["product_days_since_purchase"][:] = _days(now, product.last_purchase_at)
    for number, name in enumerate(RETRIEVERS):
        column[f"score_{name}"][:] = request.scores[:, number]
        column[f"rank_{name}"][:] = request.ranks[:, number]
    column["up_retrievers"][:] = (~np.isnan(request.ranks)).sum(axis=1)
    return found


def decayed(signals: Floats, at: Doubles, now: Doubles) -> Floats:
    """Interest signals float32[..., K, 8] as of `at` (unix seconds, [...]) decayed on to `now`: behaviour and ties, not what was said."""
    found = np.array(signals, np.float32)
    found[..., :6] *= faded(at, now)[..., None, None]
    return found


def faded(at: Doubles, now: Doubles) -> Floats:
    """What is left at `now` of 1 as of `at` (unix seconds): float32 of the same shape."""
    return np.asarray(np.exp2(-np.maximum(now - at, 0.0) / HALF_LIFE.total_seconds()), np.float32)


def pair_frame(inputs: pd.DataFrame) -> pd.DataFrame:
    """`pair_features` over the rows of Feast's on-demand view; columns are named like the features and request fields."""
    numbering: dict[str, int] = {}

    def code(name: object) -> int:
        return numbering.setdefault(str(name), len(numbering))

    def ragged(name: str, width: int, dtype: type) -> NDArray[Any]:
        return _padded([[] if row is None or row is pd.NA or isinstance(row, float) else list(row) for row in inputs[name]], 0, dtype, width)

    def numbers(name: str, dtype: type) -> NDArray[Any]:
        return pd.to_numeric(inputs[name], errors="coerce").to_numpy(dtype, na_value=np.nan)

    interest = _coded(inputs["interest_keys"], code)
    history = _coded(inputs["history_products"], lambda name: code(f"product:{name}"))
    circle = _coded(inputs["circle_products"], lambda name: code(f"product:{name}"))
    k, h, c = interest.shape[1], history.shape[1], circle.shape[1]
    now = numbers("request_at", np.float64)
    signals = ragged("interest_signals", k * 8, np.float32).reshape(len(inputs), k, 8)
    user = UserSide(
        interest=interest,
        signals=decayed(signals, np.nan_to_num(numbers("interest_at", np.float64)), now),
        interest_last_at=ragged("interest_last_at", k, np.float64),
        history=history,
        purchase_count=ragged("history_purchases", h, np.float32),
        last_purchase_at=ragged("history_last_purchase_at", h, np.float64),
        last_view_at=ragged("history_last_view_at", h, np.float64),
        circle=circle,
        circle_weight=ragged("circle_weights", c, np.float32) * faded(np.nan_to_num(numbers("circle_at", np.float64)), now)[:, None],
        circle_people=ragged("circle_people", c, np.float32),
        price_mean=numbers("user_price_mean_90d", np.float32),
        price_rank=numbers("user_price_rank_90d", np.float32),
        first_event_at=numbers("user_first_event_at", np.float64),
        last_event_at=numbers("user_last_event_at", np.float64),
        user_last_purchase_at=numbers("user_last_purchase_at", np.float64),
    )
    product = ProductSide(
        product=np.array([code(f"product:{name}") for name in inputs["pair_product"]], np.int32),
        category=np.array([code(f"category:{name}") for name in inputs["product_category"]], np.int32),
        brand=np.array([code(f"brand:{name}") for name in inputs["product_brand"]], np.int32),
        price=numbers("product_price", np.float32),
        price_rank=numbers("product_price_rank", np.float32),
        first_seen_at=numbers("product_first_seen_at", np.float64),
        last_purchase_at=numbers("product_last_purchase_at", np.float64),
    )
    request = RequestSide(
        now=now,
        weights=np.stack([numbers(f"weight_{signal}", np.float32) for signal in SIGNALS], axis=1),
        scores=np.stack([numbers(f"score_of_{name}", np.float32) for name in RETRIEVERS], axis=1),
        ranks=np.stack([numbers(f"rank_of_{name}", np.float32) for name in RETRIEVERS], axis=1),
    )
    return pd.DataFrame(pair_features(user, product, request), columns=list(PAIR_NAMES), index=inputs.index)


def _of_key(keys: Codes, codes: Codes, signals: Floats, last_at: Doubles) -> tuple[Floats, Doubles]:
    """Signals [n, 8] (zeros where the user has no such interest) and time of the last act [n]."""
    n, width = len(codes), keys.shape[1]
    if not width:
        return np.zeros((n, 8), np.float32), np.zeros(n)
    same = keys == codes[:, None]
    there, place = same.any(axis=1), same.argmax(axis=1)
    user = np.arange(n) if len(keys) == n else np.zeros(n, np.intp)
    return np.where(there[:, None], signals[user, place], np.float32(0)), np.where(there, last_at[user, place], 0.0)


def _of_product(user: UserSide, codes: Codes) -> dict[str, NDArray[Any]]:
    """The user's own acts on each product; zeros where there are none."""
    n = len(codes)
    if not user.history.shape[1]:
        return {"there": np.zeros(n), "purchases": np.zeros(n), "purchase_at": np.zeros(n), "view_at": np.zeros(n)}
    same = user.history == codes[:, None]
    there, place = same.any(axis=1), same.argmax(axis=1)
    row = np.arange(n) if len(user.history) == n else np.zeros(n, np.intp)
    return {
        "there": there,
        "purchases": np.where(there, user.purchase_count[row, place], 0),
        "purchase_at": np.where(there, user.last_purchase_at[row, place], 0.0),
        "view_at": np.where(there, user.last_view_at[row, place], 0.0),
    }


def _of_code(codes: Codes, wanted: Codes, values: Floats) -> Floats:
    """float32[n], the value [u, C] of each wanted code; 0 where the user does not have it."""
    if not codes.shape[1]:
        return np.zeros(len(wanted), np.float32)
    same = codes == wanted[:, None]
    row = np.arange(len(wanted)) if len(codes) == len(wanted) else np.zeros(len(wanted), np.intp)
    return np.where(same.any(axis=1), values[row, same.argmax(axis=1)], np.float32(0))


def _share(user: UserSide, weights: Floats, behaviour: Floats) -> Floats:
    """Part of the category in the user's behaviour over everything they acted on (categories and brands count alike, so at most about a half)."""
    own = user.signals[:, :, :4] if user.signals.shape[1] else np.zeros((len(user.interest), 1, 4), np.float32)
    rows = weights[: len(own), :4] if len(own) == 1 else weights[:, :4]
    total = np.maximum((own * rows[:, None, :]).sum(axis=2), 0).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(total > 0, np.maximum(behaviour, 0) / total, np.nan), np.float32)


def _days(now: Doubles, at: NDArray[np.float64]) -> Doubles:
    """Days since `at` (unix seconds); NaN where `at` is 0 or missing."""
    return np.where(at > 0, (now - at) / 86_400, np.nan)


def _coded(column: pd.Series, code: Callable[[object], int]) -> Codes:
    rows = [[] if row is None or row is pd.NA or isinstance(row, float) else [code(name) for name in row] for row in column]
    return _padded(rows, -1, np.int32, max(map(len, rows), default=0))


def _padded(rows: list[list[Any]], fill: float, dtype: type, width: int) -> NDArray[Any]:
    """Ragged rows as one rectangle. Longer rows are cut: only Feast's made-up probe of the function has arrays that don't belong together."""
    found: NDArray[Any] = np.full((len(rows), width), fill, dtype)
    for number, row in enumerate(rows):
        found[number, : len(row)] = row[:width]
    return found
