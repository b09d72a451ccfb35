"""A synthetic shop of any size, made in minutes by a generator with a fixed seed: what the benchmarks of serving are measured on.

Nothing in it is anybody's. Tables of features are drawn, not computed from events, so that two hundred thousand users take seconds; from there on all
is the platform's own: Feast's registry and online store, models that are really fitted (`models.py`), the bundle. People keep to a few categories
and take what is popular there, so that retrievers and ranker find something to learn.
"""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_repo.declarations import CIRCLE_SIZE, EMBEDDING_SIZE, HISTORY_SIZE, INTEREST_SIZE
from feature_repo.definitions import definitions
from feature_repo.events import TABLES
from feature_repo.home import ShopHome
from feature_repo.ingest import STORED
from feature_repo.settings import Settings
from feature_repo.shop import ShopConfig
from feature_repo.store import Build, current, materialise, online_rows
from feature_repo.transforms.interest import lists, place_in

AS_OF = datetime(2024, 6, 1, 12, tzinfo=UTC)
"""The moment that the shop is as of; its clock goes on from there."""
SPAN_DAYS = 180.0
MEAN_ACTS = 24
"""Acts of a user, on average: a few have hundreds, many only some."""
EMBEDDING_VERSION = "synthetic-1"
_WIDE = ("Home", "Garden", "Kitchen", "Office", "Sports", "Music", "Toys", "Travel")
_KINDS = ("Lamp", "Chair", "Mug", "Desk", "Clock", "Bag", "Board", "Box", "Rack", "Set")
_MATERIALS = ("Walnut", "Oak", "Steel", "Linen", "Glass", "Cork", "Brass", "Stone", "Wool", "Cedar", "Clay", "Felt")

Array = NDArray[Any]


@dataclass(frozen=True)
class Size:
    """What to make. `brands` and the users' acts follow from these."""

    products: int = 50_000
    users: int = 200_000
    categories: int = 80
    seed: int = 20

    @property
    def brands(self) -> int:
        return max(10, self.products // 100)


@dataclass(frozen=True)
class Goods:
    """The catalogue, in the order of ids, which is that of categories: what is drawn within a category is one run of rows."""

    ids: Array  # str[P]
    category: Array  # int64[P], ascending
    brand: Array  # int64[P]
    price: Array  # float64[P]
    weight: Array  # float64[P], how popular


@dataclass(frozen=True)
class Acts:
    """What users did, one row per act, by user and from the oldest to the latest: int64[m], int64[m], float64[m] (unix seconds), bool[m]."""

    user: Array
    product: Array
    at: Array
    bought: Array


def shop_user(number: int) -> str:
    """The shop's own id of a user, as a request names it."""
    return f"s{number:07d}"


def make(settings: Settings, shop: str, size: Size) -> tuple[ShopHome, Acts]:
    """The shop's home with tables and a build of its features; made anew if it was there."""
    shutil.rmtree(ShopHome.named(settings, shop).root, ignore_errors=True)
    home = ShopHome.create(settings, shop)
    random = np.random.default_rng(size.seed)
    goods = _goods(size, random)
    acts = _acts(size, goods, random)
    _write_tables(home, goods)
    pseudonyms = home.pseudonyms(settings)
    users = np.array([pseudonyms.user(shop_user(number)) for number in range(size.users)], object)
    folder = home.features / "synthetic"
    folder.mkdir(parents=True)
    for view, columns in _views(size, goods, acts, random).items():
        _write(folder, view, columns, {"user_id": users, "product_id": goods.ids})
    build = Build(folder, "synthetic", AS_OF, EMBEDDING_VERSION, False)
    store = build.store(new=True)
    store.apply(definitions(folder).all())
    materialise(store, AS_OF)
    online_rows(store).settle()
    build.seal()
    current(home).symlink_to(folder.name)
    return home, acts


def category_name(number: int) -> str:
    return f"{_KINDS[number % len(_KINDS)]}s {number // len(_KINDS):02d}"


def brand_name(number: int) -> str:
    return f"Maker {number:05d}"


def events(acts: Acts, goods_ids: Array) -> pd.DataFrame:
    """The acts as retrievers are fitted on them."""
    return pd.DataFrame(
        {
            "user_id": acts.user,
            "product_id": goods_ids[acts.product],
            "event_type": np.where(acts.bought, "purchase", "view"),
            "event_time": pd.to_datetime((acts.at * 1e6).astype(np.int64), unit="us", utc=True),
        }
    )


def product_ids(size: Size) -> Array:
    return np.array([f"p{number:07d}" for number in range(size.products)], object)


def _goods(size: Size, random: np.random.Generator) -> Goods:
    category = np.sort(random.integers(0, size.categories, size.products))
    price = np.round(np.exp(random.normal(3.2, 0.8, size.products)), 2)
    weight = random.permutation(1.0 / np.arange(1, size.products + 1) ** 0.8)
    return Goods(product_ids(size), category, random.integers(0, size.brands, size.products), price, weight)


def _acts(size: Size, goods: Goods, random: np.random.Generator) -> Acts:
    """Each user has a few categories, the first of them the most, and takes in each what is popular there; a product again now and then."""
    counts = np.minimum(1 + random.negative_binomial(1, 1.0 / MEAN_ACTS, size.users), 600)
    user = np.repeat(np.arange(size.users), counts)
    own = random.integers(0, size.categories, (size.users, 6))
    favourite = np.minimum((random.random(len(user)) ** 2 * 6).astype(np.int64), 5)
    category = own[user, favourite]
    edges = np.searchsorted(goods.category, np.arange(size.categories + 1))
    mass = np.r_[0.0, np.cumsum(goods.weight)]
    low, high = mass[edges[category]], mass[edges[category + 1]]
    product = np.clip(np.searchsorted(mass, low + random.random(len(user)) * (high - low), side="right") - 1, 0, size.products - 1)
    at = AS_OF.timestamp() - 60 - random.random(len(user)) ** 1.5 * SPAN_DAYS * 86_400
    order = np.lexsort((at, user))
    return Acts(user[order], product[order], at[order], random.random(len(user)) < 0.3)


def _write_tables(home: ShopHome, goods: Goods) -> None:
    home.tables.mkdir()
    for name in STORED:
        frame = TABLES[name].empty()
        if name == "products":
            frame = _products(goods)
        frame.to_parquet(home.tables / f"{name}.parquet", index=False)
    config = ShopConfig(name="Synthetic shop", currency="EUR", languages=("en",), repeat_buying=True)
    offset = (datetime.now(UTC) - AS_OF).total_seconds()
    home.write_manifest({"source": "synthetic", "config": config.model_dump(mode="json"), "clock_offset_s": offset})


def _titles(goods: Goods) -> Array:
    numbers = np.arange(len(goods.ids))
    materials, kinds = np.array(_MATERIALS, object), np.array(_KINDS, object)
    titles: Array = materials[numbers % len(_MATERIALS)] + " " + kinds[goods.category % len(_KINDS)] + " " + numbers.astype(str).astype(object)
    return titles


def _path(category: Array) -> tuple[Array, Array]:
    """Category and category path by product."""
    names = np.array([category_name(number) for number in range(int(category.max()) + 1)], object)
    paths = np.array([f"{_WIDE[number % len(_WIDE)]} > {name}" for number, name in enumerate(names)], object)
    return names[category], paths[category]


def _brands(goods: Goods) -> Array:
    return np.array([brand_name(number) for number in range(int(goods.brand.max()) + 1)], object)[goods.brand]


def _products(goods: Goods) -> pd.DataFrame:
    names, paths = _path(goods.category)
    empty = TABLES["products"].empty().reindex(range(len(goods.ids)))
    filled: dict[str, Any] = {"product_id": goods.ids, "title": _titles(goods), "category": names, "category_path": paths, "brand": _brands(goods)}
    filled |= {"price": goods.price, "currency": "EUR", "stock": 10, "valid_from": pd.Timestamp(AS_OF - timedelta(days=300))}
    return empty.assign(**filled).astype({column.name: column.pandas_dtype for column in TABLES["products"].columns})


# Features: one row per entity and view, as of AS_OF.


def _views(size: Size, goods: Goods, acts: Acts, random: np.random.Generator) -> dict[str, dict[str, Any]]:
    """View -> its columns. Counts go with how much a user did and a product was taken, whatever their window; the rest is drawn for itself."""
    now = AS_OF.timestamp()
    busy, taken = np.bincount(acts.user, minlength=size.users), np.bincount(acts.product, minlength=size.products)
    found: dict[str, dict[str, Any]] = {}
    for view in definitions(Path()).views:
        base = busy if view.entities == ["user"] else taken
        numbers = [field.name for field in view.features if str(field.dtype) in ("Float32", "Float64")]
        found[view.name] = {name: _numbers(name, base, now, random) for name in numbers}
    names, paths = _path(goods.category)
    found["product_offer"] |= {"product_title": _titles(goods), "product_category": names, "product_category_path": paths}
    found["product_offer"] |= {"product_brand": _brands(goods), "product_price": goods.price, "product_stock": np.full(size.products, 10.0)}
    found["product_market"] |= {"product_price_rank": random.random(size.products), "product_popularity_rank": _share(taken)}
    centre = random.standard_normal((size.categories, EMBEDDING_SIZE)).astype(np.float32)
    text = centre[goods.category] + random.standard_normal((size.products, EMBEDDING_SIZE)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    whole = np.arange(size.products + 1) * EMBEDDING_SIZE
    found["product_text"] |= {"product_embedding": lists(whole, pa.array(text.ravel())), "product_embedding_version": EMBEDDING_VERSION}
    found["user_activity"] |= {"user_price_mean_90d": random.lognormal(3.2, 0.4, size.users), "user_price_rank_90d": random.random(size.users)}
    found["user_preferences"] |= {"user_language": "en", "user_country": "DE"}
    found["user_interest"] |= _interests(size, goods, acts, random)
    found["user_history"] |= _history(size, goods, acts)
    found["user_circle"] |= _circles(size, goods, random)
    return found


def _numbers(name: str, base: Array, now: float, random: np.random.Generator) -> Array:
    """One numeric feature: a moment, a share or a count."""
    if name.endswith("_at"):
        return now - random.random(len(base)) * SPAN_DAYS * 86_400
    if any(part in name for part in ("share", "rank", "ctr", "rate", "conversion", "trend", "balance", "in_stock", "has_", "dated")):
        values = random.random(len(base)).astype(np.float32)
        return np.where(random.random(len(base)) < 0.2, np.nan, values)
    return np.floor(base * random.lognormal(-1.0, 0.7, len(base)))


def _share(taken: Array) -> Array:
    """0 for the least taken, 1 for the most."""
    return np.argsort(np.argsort(taken)) / max(len(taken) - 1, 1)


def _interests(size: Size, goods: Goods, acts: Acts, random: np.random.Generator) -> dict[str, Any]:
    """Views and purchases by category and brand, the strongest INTEREST_SIZE; ties for some users, a stated like or dislike for few."""
    categories, brands = (f"category:{category_name(n)}" for n in range(size.categories)), (f"brand:{brand_name(n)}" for n in range(size.brands))
    keys = np.array([*categories, *brands], object)
    code = np.r_[acts.user * len(keys) + goods.category[acts.product], acts.user * len(keys) + size.categories + goods.brand[acts.product]]
    faded, last = np.exp2((acts.at - AS_OF.timestamp()) / (60 * 86_400)), np.r_[acts.at, acts.at]
    places, where = np.unique(code, return_inverse=True)
    signals = np.zeros((len(places), 8), np.float32)
    signals[:, 0] = np.bincount(where, np.r_[faded, faded] * ~np.r_[acts.bought, acts.bought], len(places))
    signals[:, 2] = np.bincount(where, np.r_[faded, faded] * np.r_[acts.bought, acts.bought], len(places))
    latest = np.zeros(len(places))
    np.maximum.at(latest, where, last)
    user = places // len(keys)
    social, said = random.random(size.users) < 0.3, random.random(size.users) < 0.1
    signals[:, 4] = np.where(social[user], random.random(len(places)), 0)
    signals[:, 6] = np.where(said[user] & (random.random(len(places)) < 0.1), 1, 0)
    signals[:, 7] = np.where(said[user] & (signals[:, 6] == 0) & (random.random(len(places)) < 0.02), 1, 0)
    order = np.lexsort((-signals.sum(axis=1), user))
    order = order[place_in(user[order]) < INTEREST_SIZE]
    offsets = np.searchsorted(user[order], np.arange(size.users + 1))
    return {
        "interest_keys": lists(offsets, pa.array(keys[places[order] % len(keys)], pa.string())),
        "interest_signals": lists(offsets * 8, pa.array(signals[order].ravel())),
        "interest_last_at": lists(offsets, pa.array(latest[order])),
        "interest_at": np.full(size.users, AS_OF.timestamp()),
    }


def _history(size: Size, goods: Goods, acts: Acts) -> dict[str, Any]:
    """Products by their last act, latest first, at most HISTORY_SIZE."""
    places, where = np.unique(acts.user * size.products + acts.product, return_inverse=True)
    bought = np.bincount(where, acts.bought, len(places)).astype(np.float32)
    purchase, view = np.zeros(len(places)), np.zeros(len(places))
    np.maximum.at(purchase, where, np.where(acts.bought, acts.at, 0))
    np.maximum.at(view, where, np.where(acts.bought, 0, acts.at))
    user = places // size.products
    order = np.lexsort((-np.maximum(purchase, view), user))
    order = order[place_in(user[order]) < HISTORY_SIZE]
    offsets = np.searchsorted(user[order], np.arange(size.users + 1))
    return {
        "history_products": lists(offsets, pa.array(goods.ids[places[order] % size.products], pa.string())),
        "history_purchases": lists(offsets, pa.array(bought[order])),
        "history_last_purchase_at": lists(offsets, pa.array(purchase[order])),
        "history_last_view_at": lists(offsets, pa.array(view[order])),
    }


def _circles(size: Size, goods: Goods, random: np.random.Generator) -> dict[str, Any]:
    """Two users of five have a circle, of up to CIRCLE_SIZE products."""
    counts = np.where(random.random(size.users) < 0.4, random.integers(1, CIRCLE_SIZE + 1, size.users), 0)
    user = np.repeat(np.arange(size.users), counts)
    mass = np.cumsum(goods.weight)
    product = np.minimum(np.searchsorted(mass, random.random(len(user)) * mass[-1]), size.products - 1)
    _, first = np.unique(user * size.products + product, return_index=True)  # nobody's circle has a product twice
    kept = np.sort(first)
    user, product = user[kept], product[kept]
    offsets = np.searchsorted(user, np.arange(size.users + 1))
    weights = (1.0 / (1 + place_in(user))).astype(np.float32)
    return {
        "circle_products": lists(offsets, pa.array(goods.ids[product], pa.string())),
        "circle_weights": lists(offsets, pa.array(weights)),
        "circle_people": lists(offsets, pa.array(random.integers(1, 6, len(user)).astype(np.float32))),
        "circle_at": np.full(size.users, AS_OF.timestamp()),
    }


_ARROW = {"Float32": pa.float32(), "Float64": pa.float64(), "String": pa.string()}


def _write(folder: Path, view: str, columns: dict[str, Any], ids: dict[str, Array]) -> None:
    """A view's table as Feast reads it; a lone text is that of every row."""
    defined = next(each for each in definitions(folder).views if each.name == view)
    key = "user_id" if defined.entities == ["user"] else "product_id"
    rows = len(ids[key])
    when = pa.array(np.full(rows, int(AS_OF.timestamp() * 1e6)), pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    arrays: dict[str, Any] = {key: pa.array(ids[key], pa.string()), "event_timestamp": when, "created_timestamp": when}
    for field in defined.features:
        values = columns[field.name]
        if isinstance(values, str):
            values = np.full(rows, values, object)
        arrays[field.name] = values if isinstance(values, pa.Array) else pa.array(values, _ARROW[str(field.dtype)])
    pq.write_table(pa.table(arrays), folder / f"{view}.parquet", compression="zstd")
