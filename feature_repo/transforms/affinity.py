"""User-product features: one vectorised function that Feast's on-demand view, training and the hot path all call."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.declarations import RETRIEVERS

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
    ("up_liked", "1 if the user likes the product's category or brand, else 0."),
    ("up_disliked", "1 if the user dislikes the product's category or brand, else 0."),
    ("up_category_share", "The category's share in the user's positive behaviour over their categories."),
    ("up_price_log_ratio", "ln(price / mean price of what the user acted on in 90 days)."),
    ("up_price_rank_gap", "Rank of price in its category less the user's mean rank."),
    ("up_views_and_buys", "1 if the product is in the user's history, else 0."),
    ("up_purchases", "Times the user bought this product."),
    ("up_days_since_purchase", "Days since the user bought this product."),
    ("up_days_since_view", "Days since the user viewed this product."),
    ("up_category_days", "Days since the user last acted on the product's category."),
    ("up_brand_days", "Days since the user last acted on the product's brand."),
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
