"""Windowed features of the shop, declared as data (`windows.py` executes them), and the constants that features share.

No feature exists as code in two places: a new windowed feature is one line here, and registry, docs and tables follow.
"""

from datetime import timedelta

from feature_repo.events import ASPECTS, TONES
from feature_repo.events import SIGNALS as SIGNALS  # shared with the constants below
from feature_repo.windows import Ratio, Windowed

RETRIEVERS = ("popular", "item_to_item", "next_item", "linear", "sequential", "social", "embedding", "repeat")
"""Retrievers whose scores and ranks the ranker sees; the names of their columns follow."""

HALF_LIFE = timedelta(days=60)
"""Interests decay by half in this time: behaviour and social signals, not stated likes and dislikes."""
INTEREST_SIZE = 32
"""Strongest interests kept per user (K)."""
HISTORY_SIZE = 256
"""Products last acted on kept per user (H)."""
CIRCLE_SIZE = 100
"""Products of a user's circle kept, the strongest."""
EMBEDDING_SIZE = 64

SIGNAL_STRENGTH = (0.1, 0.4, 1.0, 0.6, 0.1, 0.1, 3.0, 3.0)
"""What decides which interests are among the strongest K, in the order of SIGNALS. Not the learned weights of the profile."""
VIEW_SHARE_OF_TIES = 0.1
"""What a view of a followed user or group member counts beside a purchase (1) in the follow and group signals."""
STATED = 1.0
"""What a stated like or dislike of a category or brand counts for it."""
PRODUCT_PREFERENCE, MOST_BY_PRODUCTS = 0.3, 0.9
"""What a liked or disliked product counts for its category and brand, and what all of them count for it at the most."""

_D1, _D7, _D30, _D90 = (timedelta(days=n) for n in (1, 7, 30, 90))
_ACTS = ("view", "cart", "purchase", "click")
_OWN = ("view", "cart", "purchase", "return", "review", "click", "dismiss")


def _user(name: str, types: tuple[str, ...], measure: str, window: timedelta | None, about: str, **more: object) -> Windowed:
    return Windowed(name=name, entity="user_id", event_types=types, measure=measure, window=window, description=about, **more)  # type: ignore[arg-type]


def _product(name: str, types: tuple[str, ...], measure: str, window: timedelta | None, about: str, **more: object) -> Windowed:
    return Windowed(name=name, entity="product_id", event_types=types, measure=measure, window=window, description=about, **more)  # type: ignore[arg-type]


USER_ACTIVITY: tuple[Windowed | Ratio, ...] = (
    _user("user_views_1d", ("view",), "count", _D1, "Product views in the last day, by hours.", bucket="hour"),
    _user("user_views_7d", ("view",), "count", _D7, "Product views in the last 7 days."),
    _user("user_views_30d", ("view",), "count", _D30, "Product views in the last 30 days."),
    _user("user_views_90d", ("view",), "count", _D90, "Product views in the last 90 days."),
    _user("user_carts_7d", ("cart",), "count", _D7, "Products put into the cart in the last 7 days."),
    _user("user_carts_30d", ("cart",), "count", _D30, "Products put into the cart in the last 30 days."),
    _user("user_purchases_7d", ("purchase",), "count", _D7, "Purchase lines in the last 7 days."),
    _user("user_purchases_30d", ("purchase",), "count", _D30, "Purchase lines in the last 30 days."),
    _user("user_purchases_90d", ("purchase",), "count", _D90, "Purchase lines in the last 90 days."),
    _user("user_purchases_ever", ("purchase",), "count", None, "Purchase lines ever."),
    _user("user_spend_30d", ("purchase",), "sum", _D30, "Money spent in the last 30 days.", column="amount"),
    _user("user_spend_90d", ("purchase",), "sum", _D90, "Money spent in the last 90 days.", column="amount"),
    _user("user_spend_ever", ("purchase",), "sum", None, "Money spent ever.", column="amount"),
    _user("user_orders_30d", ("purchase",), "days", _D30, "UTC days with a purchase in the last 30 days."),
    _user("user_orders_90d", ("purchase",), "days", _D90, "UTC days with a purchase in the last 90 days."),
    _user("user_orders_ever", ("purchase",), "days", None, "UTC days with a purchase, ever."),
    _user("user_returns_90d", ("return",), "count", _D90, "Return lines in the last 90 days."),
    _user("user_reviews_ever", ("review",), "count", None, "Reviews written, ever."),
    _user("user_rating_mean_ever", ("review",), "mean", None, "Mean of the ratings given (1 to 5).", column="rating"),
    _user("user_impressions_1d", ("impression",), "count", _D1, "Products shown in the last day, by hours.", bucket="hour"),
    _user("user_impressions_7d", ("impression",), "count", _D7, "Products shown in the last 7 days (fatigue)."),
    _user("user_impressions_30d", ("impression",), "count", _D30, "Products shown in the last 30 days."),
    _user("user_email_impressions_7d", ("impression",), "count", _D7, "Products shown by e-mail in the last 7 days.", where=("channel", "email")),
    _user("user_clicks_7d", ("click",), "count", _D7, "Clicks on products shown, last 7 days."),
    _user("user_clicks_30d", ("click",), "count", _D30, "Clicks on products shown, last 30 days."),
    _user("user_dismisses_30d", ("dismiss",), "count", _D30, "Products dismissed in the last 30 days."),
    _user("user_active_days_30d", _OWN, "days", _D30, "UTC days with an act of the user's own in the last 30 days (rhythm)."),
    _user("user_active_days_90d", _OWN, "days", _D90, "UTC days with an act of the user's own in the last 90 days."),
    _user("user_categories_90d", _ACTS, "distinct", _D90, "Distinct categories viewed, put into the cart or bought.", column="category"),
    _user("user_brands_90d", _ACTS, "distinct", _D90, "Distinct brands viewed, put into the cart or bought.", column="brand"),
    _user("user_price_mean_90d", ("view", "cart", "purchase"), "mean", _D90, "Mean price of the products acted on, 90 days.", column="price"),
    _user("user_price_mean_ever", ("purchase",), "mean", None, "Mean unit price of what was bought, ever.", column="price"),
    _user(
        "user_price_rank_90d",
        ("view", "cart", "purchase"),
        "mean",
        _D90,
        "Mean rank of price within the category (0 cheapest, 1 dearest) of the products acted on.",
        column="price_rank",
    ),
    _user("user_weekend_share_90d", _OWN, "mean", _D90, "Share of acts on a Saturday or Sunday (shop's time zone: UTC).", column="weekend"),
    _user("user_evening_share_90d", _OWN, "mean", _D90, "Share of acts from 18:00 to 24:00 UTC.", column="evening"),
    _user("user_first_event_at", _OWN, "first", None, "Unix seconds of the first act."),
    _user("user_last_event_at", _OWN, "last", None, "Unix seconds of the last act."),
    _user("user_last_view_at", ("view", "click"), "last", None, "Unix seconds of the last view or click."),
    _user("user_last_purchase_at", ("purchase",), "last", None, "Unix seconds of the last purchase."),
    Ratio("user_ctr_30d", "user_clicks_30d", "user_impressions_30d", "Clicks per product shown, 30 days."),
    Ratio("user_order_value_90d", "user_spend_90d", "user_orders_90d", "Money per order day, 90 days."),
    Ratio("user_conversion_30d", "user_purchases_30d", "user_views_30d", "Purchase lines per view, 30 days."),
)

USER_COPY_TASTE: tuple[Windowed | Ratio, ...] = tuple(
    _user(
        f"user_{kind}_{value}_{event}s_90d", (event,), "count", _D90,
        f"{event.capitalize()}s of copy with {kind} '{value}' in the last 90 days.", where=(kind, value),
    )
    for kind, values in (("tone", TONES), ("aspect", ASPECTS))
    for value in values
    for event in ("impression", "click")
)  # fmt: skip

PRODUCT_ACTIVITY: tuple[Windowed | Ratio, ...] = (
    _product("product_views_1d", ("view",), "count", _D1, "Views in the last day, by hours, anonymous ones too.", bucket="hour"),
    _product("product_views_7d", ("view",), "count", _D7, "Views in the last 7 days."),
    _product("product_views_30d", ("view",), "count", _D30, "Views in the last 30 days."),
    _product("product_carts_7d", ("cart",), "count", _D7, "Put into a cart in the last 7 days."),
    _product("product_carts_30d", ("cart",), "count", _D30, "Put into a cart in the last 30 days."),
    _product("product_purchases_1d", ("purchase",), "count", _D1, "Purchase lines in the last day, by hours.", bucket="hour"),
    _product("product_purchases_7d", ("purchase",), "count", _D7, "Purchase lines in the last 7 days."),
    _product("product_purchases_30d", ("purchase",), "count", _D30, "Purchase lines in the last 30 days."),
    _product("product_purchases_90d", ("purchase",), "count", _D90, "Purchase lines in the last 90 days."),
    _product("product_purchases_ever", ("purchase",), "count", None, "Purchase lines ever."),
    _product("product_units_30d", ("purchase",), "sum", _D30, "Pieces sold in the last 30 days.", column="quantity"),
    _product("product_revenue_30d", ("purchase",), "sum", _D30, "Money taken in the last 30 days.", column="amount"),
    _product("product_buyers_90d", ("purchase",), "distinct", _D90, "Distinct known buyers in the last 90 days.", column="user_id"),
    _product("product_returns_90d", ("return",), "count", _D90, "Return lines in the last 90 days."),
    _product("product_reviews_ever", ("review",), "count", None, "Reviews ever."),
    _product("product_rating_mean_ever", ("review",), "mean", None, "Mean rating (1 to 5).", column="rating"),
    _product("product_impressions_7d", ("impression",), "count", _D7, "Times shown in the last 7 days."),
    _product("product_impressions_30d", ("impression",), "count", _D30, "Times shown in the last 30 days."),
    _product("product_clicks_30d", ("click",), "count", _D30, "Clicks when shown, last 30 days."),
    _product("product_dismisses_30d", ("dismiss",), "count", _D30, "Times dismissed in the last 30 days."),
    _product("product_last_purchase_at", ("purchase",), "last", None, "Unix seconds of the last purchase."),
    Ratio("product_ctr_30d", "product_clicks_30d", "product_impressions_30d", "Clicks per time shown, 30 days."),
    Ratio("product_return_rate_90d", "product_returns_90d", "product_purchases_90d", "Return lines per purchase line, 90 days."),
    Ratio("product_conversion_30d", "product_purchases_30d", "product_views_30d", "Purchase lines per view, 30 days."),
    Ratio("product_trend_7d", "product_purchases_7d", "product_purchases_30d", "Share of the month's purchase lines in the last 7 days."),
)
