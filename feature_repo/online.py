"""The read model that serving uses: a product matrix and user rows, equal to what Feast answers."""

import logging
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo.declarations import EMBEDDING_SIZE
from feature_repo.errors import FeatureRepoError
from feature_repo.events import SIGNALS
from feature_repo.home import ShopHome
from feature_repo.packed.arrow import pack_table
from feature_repo.packed.index import Coded, IdIndex
from feature_repo.packed.reader import PackedReader
from feature_repo.packed.table import EntityTable
from feature_repo.store import Build, current, feature_refs
from feature_repo.transforms.affinity import Codes, ProductSide, RequestSide, UserSide, decayed, faded, pair_features
from feature_repo.vectors import PRODUCT_SCALARS, USER_SCALARS, assemble

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

USER_TIMES = ("user_first_event_at", "user_last_event_at", "user_last_view_at", "user_last_purchase_at", "user_created_at")
USER_TEXTS = ("user_language", "user_country")
PRODUCT_TIMES = ("product_first_seen_at", "product_last_purchase_at")
PRODUCT_TEXTS = ("product_title", "product_category", "product_category_path", "product_brand")


@dataclass(frozen=True)
class Interests:
    """A user's interests as of the moment they were read for, strongest first; K may be 0."""

    keys: tuple[str, ...]  # "category:Laptops", "brand:Acme"
    signals: Floats  # float32[K, 8], in the order of SIGNALS
    last_at: Doubles  # float64[K], unix seconds of the user's own last act, 0 where none


@dataclass(frozen=True)
class History:
    """A user's products, latest first; H may be 0. What retrievers take."""

    products: tuple[str, ...]
    purchases: Floats  # float32[H], times bought
    last_purchase_at: Doubles  # float64[H], unix seconds, 0 where never
    last_view_at: Doubles  # float64[H]


@dataclass(frozen=True)
class Circle:
    """Products that the people a user is tied to chose, as of the moment they were read for, strongest first; C may be 0."""

    products: tuple[str, ...]
    weights: Floats  # float32[C]
    people: Floats  # float32[C], different people who took it, at the least


NO_INTERESTS = Interests((), np.zeros((0, 8), np.float32), np.zeros(0))
NO_HISTORY = History((), np.zeros(0, np.float32), np.zeros(0), np.zeros(0))
NO_CIRCLE = Circle((), np.zeros(0, np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True)
class UserRow:
    """Everything the features know about a user. Missing numbers are NaN."""

    user_id: str
    scalars: Floats  # float32[len(USER_SCALARS)], in the order of `vectors.USER_SCALARS`
    at: dict[str, float]  # unix seconds, by the names of USER_TIMES
    texts: dict[str, str | None]  # by the names of USER_TEXTS
    interests: Interests = NO_INTERESTS
    history: History = NO_HISTORY
    circle: Circle = NO_CIRCLE

    def values(self) -> dict[str, float]:
        """Scalars by name, for journal and explanations."""
        return dict(zip(USER_SCALARS, self.scalars.tolist(), strict=True))

    def scalar(self, name: str) -> float:
        return float(self.scalars[USER_SCALARS.index(name)])

    @property
    def blank(self) -> bool:
        """Whether they have done and said nothing and are tied to nobody, as somebody who only just registered."""
        return is_blank(self.scalars, self.interests, self.history, self.circle)


def is_blank(scalars: Floats, interests: Interests, history: History, circle: Circle) -> bool:
    """Whether this tells nothing of a user: no interest, no history, no circle, and every number is missing or 0."""
    return not interests.keys and not history.products and not circle.products and not np.nan_to_num(scalars).any()


UNKNOWN_USER = UserRow(
    "", np.full(len(USER_SCALARS), np.nan, np.float32), dict.fromkeys(USER_TIMES, float("nan")), dict.fromkeys(USER_TEXTS)
)  # fmt: skip
"""Stands for a user whom no feature knows."""


@dataclass(frozen=True)
class ProductMatrix:
    """All products as columns, as of one moment. Two builds, or two FeatureServices, can be held side by side."""

    table: EntityTable = field(repr=False)
    at: dict[str, Doubles]  # float64[P], by the names of PRODUCT_TIMES
    texts: dict[str, Coded]  # [P], by the names of PRODUCT_TEXTS
    embedding: Floats  # float32[P, EMBEDDING_SIZE]
    embedding_version: str
    version: str  # of the build, and the hour
    as_of: datetime
    codes: dict[str, int] = field(repr=False)  # "category:…" and "brand:…" -> code of `category` and `brand`
    category: Codes = field(repr=False)  # int32[P]
    brand: Codes = field(repr=False)  # int32[P]

    @classmethod
    def load(cls, build: Build, as_of: datetime | None = None) -> "ProductMatrix":
        """Every product as Feast's offline tables say of a moment, by default the build's. Windows are what they are then: what has left them
        counts no more."""
        as_of = max(as_of or build.as_of, build.as_of)
        catalogue = pd.read_parquet(build.table("product_offer"), columns=["product_id"])
        ids = sorted(catalogue["product_id"].unique())
        rows = pd.DataFrame({"product_id": ids, "event_timestamp": pd.Timestamp(as_of)})
        store = build.store()
        reader = PackedReader(store, feature_refs("product"))
        found = store.get_historical_features(entity_df=rows, features=feature_refs("product")).to_arrow()
        packed = [pack_table(part.layout, found, "event_timestamp", None) for part in reader.parts]
        return cls.of(EntityTable.of_rows(reader, ids, packed, PRODUCT_SCALARS), build.version, as_of)

    @classmethod
    def online(cls, build: Build, as_of: datetime) -> "ProductMatrix":
        """Every product as Feast's online store has it now, in columns that all processes of this build share; `refreshed` keeps it fresh.

        Args:
            as_of: the moment that the online store was brought up to.
        """
        reader = PackedReader(build.store(), feature_refs("product"))
        return cls.of(EntityTable.shared(reader, build.folder / "products", PRODUCT_SCALARS).expired(as_of), build.version, as_of)

    def refreshed(self, as_of: datetime | None = None, now: datetime | None = None) -> "ProductMatrix":
        """The matrix with the products that changed in the online store since; itself if none did. The matrix that is in use stays as it is.

        Args:
            as_of: the moment that the online store was brought up to meanwhile, if it was.
            now: what is older than its view lets it live by then is missing; by default `as_of`.
        """
        table = self.table.refreshed().expired(now or as_of or self.as_of)
        if table is self.table and as_of is None:
            return self
        return ProductMatrix.of(table, self.version.partition("@")[0], as_of or self.as_of)

    def has_texts_of(self, other: "ProductMatrix") -> bool:
        """Whether both have the same products with the same names, categories and vectors, so that they differ in numbers alone."""
        pairs = [(mine, other.table.columns.texts[name]) for name, mine in self.table.columns.texts.items()]
        return (
            len(self.product_ids) == len(other.product_ids)
            and all(len(a.words) == len(b.words) and (a.codes is b.codes or np.array_equal(a.codes, b.codes)) for a, b in pairs)
            and (self.embedding is other.embedding or np.array_equal(self.embedding, other.embedding))
        )

    @classmethod
    def of(cls, table: EntityTable, version: str, as_of: datetime) -> "ProductMatrix":
        """The columns that serving and training read of a table of products."""
        texts = {name: table.columns.texts[name] for name in PRODUCT_TEXTS}
        versions = table.columns.texts["product_embedding_version"]
        stated = versions.codes[versions.codes >= 0]
        codes: dict[str, int] = {}
        category = _numbered("category", texts["product_category"], codes)
        brand = _numbered("brand", texts["product_brand"], codes)
        embedding = table.columns.vectors.get("product_embedding", np.zeros((0, 0), np.float32))
        return cls(
            table=table,
            at={name: _doubles(table, name) for name in PRODUCT_TIMES},
            texts=texts,
            embedding=embedding if embedding.shape[1] else np.zeros((len(table.ids), EMBEDDING_SIZE), np.float32),
            embedding_version=str(versions.words[stated[0]]) if len(stated) else "",
            version=f"{version}@{as_of:%Y%m%dT%H}",
            as_of=as_of,
            codes=codes,
            category=category,
            brand=brand,
        )

    @property
    def product_ids(self) -> NDArray[np.object_]:
        """[P]"""
        return self.table.ids

    @property
    def index(self) -> IdIndex:
        """Product -> row; `index.rows` takes many at once."""
        return self.table.index

    @property
    def scalars(self) -> Floats:
        """float32[P, len(PRODUCT_SCALARS)], in the order of `vectors.PRODUCT_SCALARS`; NaN where missing."""
        return self.table.floats

    def column(self, name: str) -> Floats:
        """One scalar column, float32[P]."""
        return self.scalars[:, PRODUCT_SCALARS.index(name)]

    def side(self, index: NDArray[np.integer]) -> ProductSide:
        """What `pair_features` needs of the products at `index`."""
        return ProductSide(
            product=index.astype(np.int32),
            category=self.category[index],
            brand=self.brand[index],
            price=self.column("product_price")[index],
            price_rank=self.column("product_price_rank")[index],
            first_seen_at=self.at["product_first_seen_at"][index],
            last_purchase_at=self.at["product_last_purchase_at"][index],
        )

    def user_side(self, user: UserRow) -> UserSide:
        """What `pair_features` needs of one user, in this matrix's codes."""
        interests, history, circle = user.interests, user.history, user.circle
        return UserSide(
            interest=np.array([[self.codes.get(key, -1) for key in interests.keys]], np.int32).reshape(1, -1),
            signals=interests.signals[None],
            interest_last_at=interests.last_at[None],
            history=self._codes(history.products),
            purchase_count=history.purchases[None],
            last_purchase_at=history.last_purchase_at[None],
            last_view_at=history.last_view_at[None],
            circle=self._codes(circle.products),
            circle_weight=circle.weights[None],
            circle_people=circle.people[None],
            price_mean=np.array([user.scalar("user_price_mean_90d")], np.float32),
            price_rank=np.array([user.scalar("user_price_rank_90d")], np.float32),
            first_event_at=np.array([user.at["user_first_event_at"]]),
            last_event_at=np.array([user.at["user_last_event_at"]]),
            user_last_purchase_at=np.array([user.at["user_last_purchase_at"]]),
        )

    def _codes(self, products: tuple[str, ...]) -> Codes:
        """int32[1, n]: rows of products, -1 for one that is not there."""
        return self.index.rows(products).reshape(1, -1)


def ranker_matrix(
    user: UserRow | None, matrix: ProductMatrix, index: NDArray[np.integer], now: float, weights: Floats, scores: Floats, ranks: Floats
) -> Floats:
    """float32[m, len(RANKER_FEATURES)] of one user and the products at `index`; the vector that training made from Feast's answers.

    Args:
        user: None for somebody unknown.
        now: unix seconds.
        weights: float32[8], the profile's weight of each signal.
        scores, ranks: float32[m, len(RETRIEVERS)], NaN where not proposed.
    """
    known = user or UNKNOWN_USER
    request = RequestSide(np.array([now]), np.asarray(weights, np.float32), scores, ranks)
    pairs = pair_features(matrix.user_side(known), matrix.side(index), request)
    return assemble(known.scalars[None], matrix.scalars[index], pairs)


class UserReader:
    """Reads users from Feast's online store: all views in one read, and no protobuf on the way. Safe in threads.

    A new build is noticed by itself. One that was made by a program with other features is passed over: what was read before stays in use, so that
    the old program and the new one serve one home side by side.
    """

    def __init__(self, home: ShopHome) -> None:
        """
        Raises:
            FeatureRepoError: no features were built, or by a program that knew others.
        """
        self._home, self._link = home, os.fspath(current(home))
        target = self._target()
        self._opened = target, _users(Build.current(home))

    def read(self, user_id: str, now: float) -> UserRow | None:
        """The user as of `now` (unix seconds), or None if no feature is known of them."""
        values = self._reader().one({"user_id": user_id}, datetime.fromtimestamp(now, UTC))
        if all(value is None for value in values.values()):
            return None
        return UserRow(
            user_id=user_id,
            scalars=np.array([_number(values[name]) for name in USER_SCALARS], np.float32),
            at={name: _number(values[name]) for name in USER_TIMES},
            texts={name: values[name] or None for name in USER_TEXTS},
            interests=_interests(values, now),
            history=_history(values),
            circle=_circle(values, now),
        )

    def _reader(self) -> PackedReader:
        target, reader = self._opened
        if (now := self._target()) != target:
            try:
                reader = _users(Build.current(self._home))
            except FeatureRepoError as error:
                log.warning("Users are read from the build before: %s", error)
            self._opened = now, reader
        return reader

    def _target(self) -> str:
        """What the link to the build that holds points to."""
        try:
            return os.readlink(self._link)  # noqa: PTH115  (half the cost of Path's, on every read)
        except OSError:
            return ""


def _users(build: Build) -> PackedReader:
    return PackedReader(build.store(), feature_refs("user"))


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _interests(values: dict[str, Any], now: float) -> Interests:
    if values["interest_keys"] is None:
        return NO_INTERESTS
    keys = tuple(values["interest_keys"])
    signals = values["interest_signals"].reshape(len(keys), len(SIGNALS))
    return Interests(keys, decayed(signals, np.array(_number(values["interest_at"])), np.array(now)), values["interest_last_at"])


def _history(values: dict[str, Any]) -> History:
    if values["history_products"] is None:
        return NO_HISTORY
    return History(tuple(values["history_products"]), values["history_purchases"], values["history_last_purchase_at"], values["history_last_view_at"])


def _circle(values: dict[str, Any], now: float) -> Circle:
    if values["circle_products"] is None:
        return NO_CIRCLE
    weights = values["circle_weights"] * faded(np.array(_number(values["circle_at"])), np.array(now))
    return Circle(tuple(values["circle_products"]), weights, values["circle_people"])


def _doubles(table: EntityTable, name: str) -> Doubles:
    block, column = table.shape.exact[name]
    found: Doubles = table.columns.blocks[block][:, column]
    return found


def _numbered(kind: str, names: Coded, codes: dict[str, int]) -> Codes:
    """Codes of a column's keys, adding new ones to `codes`; -2 (no interest has it) where there is no name."""
    of_word = [codes.setdefault(f"{kind}:{word}", len(codes)) if word else -2 for word in map(str, names.words)]
    return np.array([*of_word, -2], np.int32)[names.codes]
