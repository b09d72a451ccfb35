"""The other side of `make bench-serve`: the same models behind plain Feast and plain BentoML, as their documentation shows it.

One Feast read for the shopper and one for all candidates together, models loaded once, Feast's stock SQLite store, BentoML's `@bentoml.api`.
Candidates, ranker, rules and reasons are the ones of our service. `recommend` reads the ranker's FeatureService, on-demand view included, as Feast
means it to be read. `recommend_lean` leaves out of the read what it can: products alone in one batch, the pairs computed by our own function.

    STORYSHELF_PLAIN=<folder that `fill` made> STORYSHELF_PLAIN_MODELS=<folder of a release> bentoml serve serving.benchmark.plain:Plain
"""

import os
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from feast import FeatureStore
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import extract_text_and_num
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import RepoConfig
from feast.type_map import python_values_to_proto_values
from feast.types import ValueType
from numpy.typing import NDArray

from feature_repo.declarations import RETRIEVERS, SIGNALS
from feature_repo.definitions import definitions
from feature_repo.home import ShopHome
from feature_repo.online import USER_TEXTS, USER_TIMES, Circle, History, Interests, UserRow
from feature_repo.store import Build
from feature_repo.transforms.affinity import ProductSide, RequestSide, UserSide, decayed, faded, pair_features
from feature_repo.vectors import PRODUCT_SCALARS, RANKER_FEATURES, USER_SCALARS, assemble
from serving import reasons
from serving.reasons import Shown
from serving.release import Release
from training.ranker.policy import Offers, ShelfPolicy, choose, draw_of
from training.ranker.wishes import vetoes
from training.retrieval.contract import unit

Floats = NDArray[np.float32]

PROJECT = "plain"
KEY_VERSION = 3


def config(folder: Path) -> RepoConfig:
    """Feast as `feast init` leaves it, but for the paths."""
    return RepoConfig(
        project=PROJECT, provider="local", registry=str(folder / "registry.db"), entity_key_serialization_version=KEY_VERSION,
        online_store={"type": "sqlite", "path": str(folder / "online.db")}, offline_store={"type": "file"}, repo_path=folder,
    )  # fmt: skip


def fill(home: ShopHome, folder: Path, users: Sequence[str]) -> None:
    """A stock Feast repository with all products and the users (pseudonyms) of a home's build.

    Rows go into the tables that the store made in one transaction each: by its own writing this would take most of an hour.
    """
    folder.mkdir(parents=True)
    build = Build.current(home)
    FeatureStore(config=config(folder)).apply(definitions(build.folder).all())
    connection = sqlite3.connect(folder / "online.db")
    for view in definitions(build.folder).views:
        key = "user_id" if view.entities == ["user"] else "product_id"
        table = pq.read_table(build.table(view.name), filters=[("user_id", "in", list(users))] if key == "user_id" else None)
        keys = [
            serialize_entity_key(EntityKey(join_keys=[key], entity_values=[Value(string_val=name)]), KEY_VERSION) for name in table[key].to_pylist()
        ]
        when = build.as_of.replace(tzinfo=None)
        with connection:
            for field in view.features:
                values = python_values_to_proto_values(table[field.name].to_pylist(), ValueType[field.dtype.to_value_type().name])
                connection.executemany(
                    f'insert into "{PROJECT}_{view.name}" (entity_key, feature_name, value, value_text, event_ts, created_ts) '
                    "values (?, ?, ?, ?, ?, ?)",
                    (
                        (name, field.name, value.SerializeToString(), extract_text_and_num(value, False)[0], when, when)
                        for name, value in zip(keys, values, strict=True)
                    ),
                )
    connection.close()


@bentoml.service(name="plain", workers=int(os.environ.get("STORYSHELF_WORKERS", "1")), traffic={"timeout": 120})
class Plain:
    """A recommender as one writes it with Feast and BentoML at hand."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self.home = ShopHome(Path(os.environ["STORYSHELF_HOME"]) / os.environ["STORYSHELF_SHOP"])
        self.clock = self.home.clock()
        self.store = FeatureStore(config=config(Path(os.environ["STORYSHELF_PLAIN"])))
        self.service = self.store.get_feature_service("ranker_v1")
        self.release = Release.load(Path(os.environ["STORYSHELF_PLAIN_MODELS"]))
        self.retrieved, self.candidates = int(os.environ["STORYSHELF_RETRIEVED"]), int(os.environ["STORYSHELF_CANDIDATES"])
        views = definitions(Path()).views
        self.of_user, self.of_products = (
            [f"{view.name}:{field.name}" for view in views if view.entities == [entity] for field in view.features] for entity in ("user", "product")
        )

    @bentoml.api  # type: ignore[untyped-decorator]
    def recommend(self, user_id: str, n: int = 10) -> dict[str, Any]:
        """By the ranker's FeatureService."""
        return self._answer(user_id, n, lean=False)

    @bentoml.api  # type: ignore[untyped-decorator]
    def recommend_lean(self, user_id: str, n: int = 10) -> dict[str, Any]:
        """By the products' features alone."""
        return self._answer(user_id, n, lean=True)

    def _answer(self, user_id: str, n: int, lean: bool) -> dict[str, Any]:
        now = self.clock.now()
        user = self._user(user_id, now)
        retrievers = self.release.retrievers
        found = retrievers.retrieve(user.history, now, self.candidates, user.interests, user.circle, self.retrieved)
        products = retrievers.product_ids[found.index].tolist()
        read = self._lean if lean else self._features
        matrix, about = read(user, products, now, found.scores, found.ranks)
        scores = self.release.ranker.score(matrix, retrievers.products.categories[found.index])
        choice = choose(ShelfPolicy(), scores, _offers(user, products, about), n, retrievers.repeat_buying, draw_of(user_id))
        told = self._reasons(user, matrix[choice.places], [about["product_category_path"][place] for place in choice.places], about, choice.places)
        items = [
            {
                "product_id": products[place], "score": float(scores[place]), "rank": rank, "title": about["product_title"][place],
                "price": about["product_price"][place], "reasons": [{"code": each.code, "text": each.text} for each in why],
            }
            for rank, (place, why) in enumerate(zip(choice.places.tolist(), told, strict=True), start=1)
        ]  # fmt: skip
        return {"items": items}

    def _user(self, user_id: str, now: datetime) -> UserRow:
        """One read of all the shopper's views."""
        values = {
            name: column[0] for name, column in self.store.get_online_features(self.of_user, [{"user_id": user_id}]).to_dict().items()
        }  # fmt: skip
        at = np.array(now.timestamp())
        signals = np.array(values["interest_signals"] or [], np.float32).reshape(-1, len(SIGNALS))
        interests = Interests(
            tuple(values["interest_keys"] or ()), decayed(signals, np.array(values["interest_at"] or 0.0), at), _doubles(values["interest_last_at"])
        )
        history = History(
            tuple(values["history_products"] or ()), np.array(values["history_purchases"] or [], np.float32),
            _doubles(values["history_last_purchase_at"]), _doubles(values["history_last_view_at"]),
        )  # fmt: skip
        weights = np.array(values["circle_weights"] or [], np.float32) * faded(np.array(values["circle_at"] or 0.0), at)
        circle = Circle(tuple(values["circle_products"] or ()), weights, np.array(values["circle_people"] or [], np.float32))
        scalars = np.array([_number(values[name]) for name in USER_SCALARS], np.float32)
        times = {name: _number(values[name]) for name in USER_TIMES}
        return UserRow(user_id, scalars, times, {name: values[name] for name in USER_TEXTS}, interests, history, circle)

    def _features(self, user: UserRow, products: list[str], now: datetime, scores: Floats, ranks: Floats) -> tuple[Floats, pd.DataFrame]:
        """One read of everything, for all candidates together."""
        weights = {f"weight_{signal}": float(weight) for signal, weight in zip(SIGNALS, self.release.profiles.weights, strict=True)}
        rows = [
            {"user_id": user.user_id, "product_id": product, "pair_product": product, "request_at": now.timestamp(), **weights}
            | {f"score_of_{name}": value for name, value in zip(RETRIEVERS, mine, strict=True)}
            | {f"rank_of_{name}": value for name, value in zip(RETRIEVERS, places, strict=True)}
            for product, mine, places in zip(products, scores.tolist(), ranks.tolist(), strict=True)
        ]
        found = self.store.get_online_features(self.service, rows).to_df()
        return found[list(RANKER_FEATURES)].to_numpy(np.float32, na_value=np.nan), found

    def _lean(self, user: UserRow, products: list[str], now: datetime, scores: Floats, ranks: Floats) -> tuple[Floats, pd.DataFrame]:
        """One read of the products, and the pairs by the function that the on-demand view calls."""
        found = self.store.get_online_features(self.of_products, [{"product_id": product} for product in products]).to_df()
        numbering: dict[str, int] = {}

        def codes(names: Sequence[Any]) -> NDArray[np.int32]:
            return np.array([numbering.setdefault(str(name), len(numbering)) for name in names], np.int32)

        side = ProductSide(
            product=codes(products),
            category=codes([f"category:{name}" for name in found["product_category"]]),
            brand=codes([f"brand:{name}" for name in found["product_brand"]]),
            price=found["product_price"].to_numpy(np.float32),
            price_rank=found["product_price_rank"].to_numpy(np.float32),
            first_seen_at=found["product_first_seen_at"].to_numpy(np.float64),
            last_purchase_at=found["product_last_purchase_at"].to_numpy(np.float64),
        )
        interests, history, circle = user.interests, user.history, user.circle
        who = UserSide(
            interest=codes(interests.keys)[None],
            signals=interests.signals[None],
            interest_last_at=interests.last_at[None],
            history=codes(history.products)[None],
            purchase_count=history.purchases[None],
            last_purchase_at=history.last_purchase_at[None],
            last_view_at=history.last_view_at[None],
            circle=codes(circle.products)[None],
            circle_weight=circle.weights[None],
            circle_people=circle.people[None],
            price_mean=np.array([user.scalar("user_price_mean_90d")], np.float32),
            price_rank=np.array([user.scalar("user_price_rank_90d")], np.float32),
            first_event_at=np.array([user.at["user_first_event_at"]]),
            last_event_at=np.array([user.at["user_last_event_at"]]),
            user_last_purchase_at=np.array([user.at["user_last_purchase_at"]]),
        )
        pairs = pair_features(who, side, RequestSide(np.array([now.timestamp()]), self.release.profiles.weights, scores, ranks))
        return assemble(user.scalars[None], found[list(PRODUCT_SCALARS)].to_numpy(np.float32, na_value=np.nan), pairs), found

    def _reasons(self, user: UserRow, matrix: Floats, paths: list[str], about: pd.DataFrame, places: NDArray[np.int32]) -> list[Any]:
        profile = self.release.profiles.explain(user.user_id, user.interests)
        added = self.release.ranker.contributions(matrix)
        shown = [
            Shown(
                tuple(dict.fromkeys([about["product_category"][place], *(part.strip() for part in reversed(path.split(">")))])), {},
                about["product_brand"][place], values, [float(mine[list(columns)].sum()) for columns in reasons.GROUPS],
            )
            for place, path, values, mine in zip(places, paths, matrix.tolist(), added, strict=True)
        ]  # fmt: skip
        return reasons.explain(shown, profile, {})


def _offers(user: UserRow, products: list[str], about: pd.DataFrame) -> Offers:
    """What the rules read, from the same frame."""
    categories, brands = vetoes(user.interests)
    bought = {product for product, count in zip(user.history.products, user.history.purchases, strict=True) if count > 0}
    disliked = about["product_brand"].isin(brands) | about["product_category"].isin(categories)
    return Offers(
        category=_factorized(about["product_category"]),
        brand=_factorized(about["product_brand"]),
        stock=about["product_stock"].to_numpy(np.float32),
        price=about["product_price"].to_numpy(np.float32),
        bought=np.array([product in bought for product in products]),
        disliked=disliked.to_numpy(),
        wanted=np.zeros(0, np.float32),
        vectors=unit(np.stack(about["product_embedding"].to_list()).astype(np.float32)),
    )


def _factorized(names: pd.Series) -> NDArray[np.int32]:
    return np.asarray(pd.factorize(names)[0], np.int32)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _doubles(values: Any) -> NDArray[np.float64]:
    return np.array(values or [], np.float64)
