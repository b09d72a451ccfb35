"""Feast objects: the only file that `feast apply` scans.

    PYTHONPATH=. STORYSHELF_FEATURES=$PWD/.storyshelf/demo/features/current feast -c feature_repo apply

`definitions(features)` makes the same objects for the programs of this repository, which know the home.
"""

import inspect
import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, FileSource, OnDemandFeatureView, RequestSource
from feast.types import Array, FeastType, Float32, Float64, String
from feast.value_type import ValueType

from feature_repo.declarations import (
    EMBEDDING_SIZE,
    PRODUCT_ACTIVITY,
    RETRIEVERS,
    USER_ACTIVITY,
    USER_COPY_TASTE,
)
from feature_repo.events import SIGNALS
from feature_repo.transforms.affinity import PAIR_FEATURES
from feature_repo.windows import Ratio, Windowed

_Schema = tuple[tuple[str, FeastType, str], ...]

USER_SOCIAL: _Schema = (
    ("user_followed", Float32, "People the user follows."),
    ("user_groups", Float32, "Groups the user belongs to."),
    ("user_comembers", Float32, "Other members of the user's groups, one counted once per shared group."),
    ("user_follow_purchases_7d", Float32, "Purchase lines per followed person in the 7 whole UTC days before."),
    ("user_follow_purchases_30d", Float32, "Purchase lines per followed person in the 30 whole UTC days before."),
    ("user_follow_views_7d", Float32, "Views per followed person in the 7 whole UTC days before."),
    ("user_group_purchases_7d", Float32, "Purchase lines per other group member in the 7 whole UTC days before."),
    ("user_group_purchases_30d", Float32, "Purchase lines per other group member in the 30 whole UTC days before."),
)
USER_PREFERENCES: _Schema = (
    ("user_likes", Float32, "Likes stated."),
    ("user_dislikes", Float32, "Dislikes stated."),
    ("user_liked_categories", Float32, "Categories liked."),
    ("user_disliked_categories", Float32, "Categories disliked."),
    ("user_liked_brands", Float32, "Brands liked."),
    ("user_disliked_brands", Float32, "Brands disliked."),
    ("user_preference_balance", Float32, "(likes - dislikes) / (likes + dislikes), signed."),
    ("user_created_at", Float64, "Unix seconds of registration."),
    ("user_language", String, "Language the user chose."),
    ("user_country", String, "Country the user gave."),
)
USER_INTEREST: _Schema = (
    ("interest_keys", Array(String), "'category:<name>' and 'brand:<name>', strongest first, at most 32."),
    ("interest_signals", Array(Float32), "K x 8 flattened, decayed sums in the order of SIGNALS."),
    ("interest_last_at", Array(Float64), "Unix seconds of the user's own last act on each key, 0 where there was none."),
    ("interest_at", Float64, "Unix seconds as of which the sums are decayed; readers let them decay on to the moment they ask about."),
)
USER_HISTORY: _Schema = (
    ("history_products", Array(String), "Products acted on, latest first, at most 256."),
    ("history_purchases", Array(Float32), "Times bought."),
    ("history_last_purchase_at", Array(Float64), "Unix seconds of the last purchase, 0 where there was none."),
    ("history_last_view_at", Array(Float64), "Unix seconds of the last view, click or cart, 0 where there was none."),
)
USER_CIRCLE: _Schema = (
    ("circle_products", Array(String), "Products that followed people and other members of the groups chose, strongest first, at most 100."),
    ("circle_weights", Array(Float32), "Decayed sum of what each person's choice counts; a group counts as its members' mean."),
    ("circle_people", Array(Float32), "Different people among them who bought it or rated it well; there may be more, never fewer."),
    ("circle_at", Float64, "Unix seconds as of which the weights are decayed; readers let them decay on to the moment they ask about."),
)
PRODUCT_OFFER: _Schema = (
    ("product_title", String, "Title."),
    ("product_category", String, "Category."),
    ("product_category_path", String, "Path of categories, `A > B > C`."),
    ("product_brand", String, "Brand."),
    ("product_price", Float64, "Price; missing while the product is undated and unsold."),
    ("product_price_change", Float32, "Price / mean of its own earlier prices - 1 (negative: a discount)."),
    ("product_price_changes", Float32, "Changes of price so far."),
    ("product_stock", Float32, "Pieces in stock; missing where the shop does not say."),
    ("product_in_stock", Float32, "1 in stock, 0 out of stock; missing where the shop does not say."),
    ("product_first_seen_at", Float64, "Unix seconds since which the product is known."),
    ("product_dated", Float32, "1 if the catalogue dates this row, 0 if it comes from past events."),
)
PRODUCT_MARKET: _Schema = (
    ("product_price_rank", Float32, "Rank of its price in its category: 0 cheapest, 1 dearest, 0.5 alone."),
    ("product_price_to_category", Float32, "Price / median price of its category."),
    ("product_category_size", Float32, "Products of its category known so far."),
    ("product_brand_purchases_30d", Float32, "Purchase lines of its brand in the 30 whole UTC days before."),
    ("product_category_purchases_30d", Float32, "Purchase lines of its category in the 30 whole UTC days before."),
    ("product_category_share_30d", Float32, "Its share of its category's purchase lines in the 30 whole UTC days before."),
    ("product_popularity_rank", Float32, "Rank of its purchase lines of 30 days in the shop: 1 the most bought, 0 the least."),
)
PRODUCT_TEXT: _Schema = (
    ("product_text_length", Float32, "Characters of title and description."),
    ("product_title_length", Float32, "Characters of the title."),
    ("product_attributes", Float32, "Attributes that the catalogue states."),
    ("product_has_description", Float32, "1 if there is a description."),
    ("product_has_zh", Float32, "1 if there is a Chinese title."),
    ("product_has_image", Float32, "1 if there is an image."),
    ("product_embedding", Array(Float32), f"Text embedding, {EMBEDDING_SIZE} numbers of length 1 together."),
    ("product_embedding_version", String, "Content hash of the embedding model."),
)


@dataclass(frozen=True)
class Definitions:
    """Every Feast object of a shop."""

    entities: tuple[Entity, ...]
    views: tuple[FeatureView, ...]
    on_demand: OnDemandFeatureView
    services: tuple[FeatureService, ...]

    def all(self) -> list[Entity | FeatureView | OnDemandFeatureView | FeatureService]:
        return [*self.entities, *self.views, self.on_demand, *self.services]


def definitions(features: Path) -> Definitions:
    """The objects over the Parquet files in the folder `features` (one `<view>.parquet` each)."""
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING, description="A shopper, by pseudonym.")
    product = Entity(name="product", join_keys=["product_id"], value_type=ValueType.STRING, description="A product, by the shop's own id.")

    def view(name: str, entity: Entity, fields: list[Field], about: str) -> FeatureView:
        source = FileSource(
            name=f"{name}_table",
            path=str(features.resolve() / f"{name}.parquet"),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        )
        key = Field(name=entity.join_key, dtype=String)
        return FeatureView(name=name, entities=[entity], schema=[key, *fields], source=source, description=about)

    views = (
        view("user_activity", user, _windowed_fields(USER_ACTIVITY), "Behaviour over several windows; one row per change."),
        view("user_copy_taste", user, _windowed_fields(USER_COPY_TASTE), "Answers to copy by tone and aspect; one row per change."),
        view("user_social", user, _fields(USER_SOCIAL), "What the people they follow and their groups did; one row per UTC day with an act."),
        view("user_preferences", user, _fields(USER_PREFERENCES), "Stated likes, dislikes and language; one row per change."),
        view("user_interest", user, _fields(USER_INTEREST), "Decayed signals per category and brand; one row per active hour and midnight after."),
        view("user_history", user, _fields(USER_HISTORY), "Products acted on; one row per active hour and midnight after."),
        view("user_circle", user, _fields(USER_CIRCLE), "Products that the people they are tied to chose; one row per UTC day with an act."),
        view("product_activity", product, _windowed_fields(PRODUCT_ACTIVITY), "Popularity, returns, ratings, click rate; one row per change."),
        view("product_offer", product, _fields(PRODUCT_OFFER), "Price, stock, category, brand; one row per change."),
        view("product_market", product, _fields(PRODUCT_MARKET), "The product among its category, brand and shop; whole UTC days."),
        view("product_text", product, _fields(PRODUCT_TEXT), "Text embedding and facts about the text; one row per change of the catalogue."),
    )
    by_name = {item.name: item for item in views}
    pair_sources = [
        by_name["user_activity"][
            ["user_price_mean_90d", "user_price_rank_90d", "user_first_event_at", "user_last_event_at", "user_last_purchase_at"]
        ],
        by_name["user_interest"],
        by_name["user_history"],
        by_name["user_circle"],
        by_name["product_activity"][["product_last_purchase_at"]],
        by_name["product_offer"][["product_category", "product_brand", "product_price", "product_first_seen_at"]],
        by_name["product_market"][["product_price_rank"]],
        RequestSource(
            name="pair_request",
            schema=[
                Field(name="pair_product", dtype=String, description="The product's id again: join keys are not passed to on-demand views."),
                Field(name="request_at", dtype=Float64, description="Unix seconds of the request (of the label in training)."),
                *(Field(name=f"weight_{signal}", dtype=Float64, description="The profile's weight of the signal.") for signal in SIGNALS),
                *(Field(name=f"{kind}_of_{name}", dtype=Float64) for name in RETRIEVERS for kind in ("score", "rank")),
            ],
        ),
    ]
    on_demand = OnDemandFeatureView(
        name="user_product",
        sources=pair_sources,
        # Feast compares its fields with those it infers, descriptions included: they stand in the tags.
        schema=[Field(name=name, dtype=Float32) for name, _ in PAIR_FEATURES],
        tags=dict(PAIR_FEATURES),
        udf=user_product,
        udf_string=_USER_PRODUCT,
        mode="pandas",
        description="User-product and retriever-score features, computed at request time.",
    )
    services = (
        FeatureService(name="ranker_v1", features=[*views, on_demand], description="What the ranker sees."),
        FeatureService(
            name="retriever_v1",
            features=[by_name[n] for n in ("user_history", "user_interest", "user_circle", "product_activity", "product_offer", "product_text")],
            description="What retrievers and the profile see.",
        ),
        FeatureService(
            name="writer_v1",
            features=[by_name[n] for n in ("user_interest", "user_preferences", "user_copy_taste", "product_offer", "product_text")],
            description="What the writer sees.",
        ),
    )
    return Definitions((user, product), views, on_demand, services)


def user_product(inputs: pd.DataFrame) -> pd.DataFrame:
    """Body of the on-demand view. Imports inside: Feast pickles the function without its module."""
    from feature_repo.transforms.affinity import pair_frame

    return pair_frame(inputs)


_USER_PRODUCT = inspect.getsource(user_product)
"""Feast runs this text, not the function, when it reads the view from its registry. Taken on import, before the file can change below us."""


def _fields(schema: _Schema) -> list[Field]:
    return [Field(name=name, dtype=dtype, description=about) for name, dtype, about in schema]


def _windowed_fields(declared: tuple[Windowed | Ratio, ...]) -> list[Field]:
    """Fields that carry their declaration as tags, so that registry and UI show it."""
    wide = {"sum", "first", "last"}

    def dtype(item: Windowed | Ratio) -> FeastType:
        return Float64 if isinstance(item, Windowed) and item.measure in wide else Float32

    return [Field(name=item.name, dtype=dtype(item), description=item.description, tags=item.tags()) for item in declared]


_scanned = definitions(Path(os.environ.get("STORYSHELF_FEATURES", ".")))
user, product = _scanned.entities
(
    user_activity, user_copy_taste, user_social, user_preferences, user_interest, user_history, user_circle,
    product_activity, product_offer, product_market, product_text,
) = _scanned.views  # fmt: skip
user_product_view = _scanned.on_demand
ranker_v1, retriever_v1, writer_v1 = _scanned.services
