"""Products: offers over time, their place in the market, their text, and categories for shops that have none."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.cluster import KMeans

from feature_repo.embedding import Embedder
from feature_repo.workbench import AHEAD_DAYS, DAY_US, US, Workbench

Floats = NDArray[np.float32]

MARKET_ROWS = 2_000_000
"""Rows of product_market at most: where products x days is more, its grain is a whole number of days above one."""
DERIVED_CATEGORIES = 40


@dataclass(frozen=True)
class Undated:
    """Products whose price the catalogue does not date, and how many of them no past event prices."""

    products: int
    without_price: int


def latest(products: pd.DataFrame) -> pd.DataFrame:
    """The row of each product that holds last; an undated row comes before dated ones."""
    order = products.sort_values(["product_id", "valid_from"], na_position="first", kind="stable")
    return order.drop_duplicates("product_id", keep="last").reset_index(drop=True)


def text_of(products: pd.DataFrame) -> list[str]:
    """What is embedded of each row: every text and fact the catalogue has."""
    columns = ("title", "title_zh", "category", "category_zh", "brand", "description", "description_zh")
    parts = [products[c].fillna("").astype(str) for c in columns]
    facts = products["attributes"].map(lambda text: " ".join(map(_fact, json.loads(text).values())) if isinstance(text, str) else "")
    return ["\n".join(filter(None, row)) for row in zip(*parts, facts, strict=True)]


def derive_categories(products: pd.DataFrame, embedder: Embedder, seed: int = 0) -> dict[str, str]:
    """product id -> a category, by k-means on the embedding, named by the words that mark its titles. For shops without categories."""
    now = latest(products)
    vectors = embedder.embed(text_of(now))
    k = max(1, min(DERIVED_CATEGORIES, len(now) // 20, len(np.unique(vectors, axis=0))))
    labels = KMeans(k, n_init=2, max_iter=50, random_state=seed).fit_predict(vectors)
    titles = now["title"].fillna("").astype(str).str.lower().str.findall(r"[^\W\d_]{3,}").map(set)
    overall = pd.Series([w for words in titles for w in words]).value_counts()
    names: dict[int, str] = {}
    for label in range(k):
        mine = pd.Series([w for words in titles[labels == label] for w in words], dtype=object).value_counts()
        marks = (mine**2 / overall.reindex(mine.index)).sort_index(kind="stable").sort_values(ascending=False, kind="stable")
        base = name = " & ".join(word.capitalize() for word in marks.index[:2]) or f"Group {label + 1}"
        number = 2
        while name in names.values():
            name, number = f"{base} {number}", number + 1
        names[label] = name
    return {str(product): names[int(label)] for product, label in zip(now["product_id"], labels, strict=True)}


def offers(bench: Workbench) -> Undated:
    """Make table `offers` (product_offer): one row per product and change of price, stock, category or brand.

    A dated row of the catalogue holds from `valid_from`. An undated product is known (without a price) from a day before the first event;
    its price is the lower median of what a UTC day's events show (purchases before others), known from the day after; what the catalogue
    says now holds from the build on.
    """
    products = bench.tables["products"]
    texts = ["title", "category", "category_path", "brand"]
    rows = products[["product_id", "valid_from", "price", "stock", *texts]].copy()
    rows["valid_us"] = rows["valid_from"].dt.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64)
    rows.loc[rows["valid_from"].isna(), "valid_us"] = -1
    rows["category"] = rows["category"].fillna("")
    rows["brand"] = rows["brand"].fillna("")
    bench.add("_catalogue", rows.drop(columns="valid_from"))
    bench.sql(
        f"""create or replace table _first as
        select i.product_id, bool_or(c.valid_us >= 0) as dated, min(c.valid_us) filter (c.valid_us >= 0) as valid_us
        from items i join _catalogue c on c.product_id = i.name group by 1;
        create or replace table _seen as
        select product_id, min(known_us) as known_us, arg_min(event_us, known_us) as event_us from events where product_id is not null group by 1;
        create or replace table _prices as
        with daily as (
            select e.product_id, e.known_us // {DAY_US} as day,
                   -- The lower median: a price that somebody really saw, not the mean of two.
                   coalesce(quantile_disc(price, 0.5) filter (event_type = 'purchase'), quantile_disc(price, 0.5)) as price
            from events e join _first f on f.product_id = e.product_id and not f.dated
            where price is not null and event_type in ('purchase', 'cart', 'view', 'impression', 'click') group by 1, 2),
        stepped as (select *, lag(price) over (partition by product_id order by day) as before from daily)
        select product_id, (day + 1) * {DAY_US} as at_us, price from stepped where before is null or price <> before;
        create or replace table _points as
        select i.product_id, c.valid_us as at_us, c.price, c.stock, 1 as dated
        from _catalogue c join items i on i.name = c.product_id where c.valid_us >= 0
        union all select product_id, {bench.start_us}, null, null, 0 from _first where not dated
        union all select s.product_id, s.known_us, null, null, 0 from _seen s join _first f using (product_id) where not f.dated
        union all select product_id, at_us, price, null, 0 from _prices where at_us < {bench.as_of_us}
        union all select i.product_id, {bench.as_of_us}, c.price, c.stock, 0
        from _catalogue c join items i on i.name = c.product_id join _first f on f.product_id = i.product_id
        where not f.dated and (c.price is not null or c.stock is not null)"""
    )
    bench.sql(
        f"""create or replace table offers as
        with points as (select product_id, at_us, max(price) as price, max(stock) as stock, max(dated) as dated from _points group by 1, 2),
        stepped as (
            select *, last_value(price ignore nulls) over (partition by product_id order by at_us rows between unbounded preceding and 1 preceding)
                   as price_before from points),
        filled as (
            select *, last_value(price ignore nulls) over w as price_now, last_value(stock ignore nulls) over w as stock_now,
                   avg(price) over (partition by product_id order by at_us rows between unbounded preceding and 1 preceding) as mean_before,
                   sum(cast(price <> price_before as int)) over w as changes
            from stepped window w as (partition by product_id order by at_us rows between unbounded preceding and current row)),
        dated_text as (select i.product_id, c.* exclude (product_id) from _catalogue c join items i on i.name = c.product_id)
        select p.product_id, p.at_us, t.title as product_title, t.category as product_category, t.category_path as product_category_path,
               t.brand as product_brand, cast(p.price_now as double) as product_price,
               cast(case when p.price is not null and p.mean_before > 0 then p.price / p.mean_before - 1
                         when p.mean_before > 0 then p.price_now / p.mean_before - 1 end as float) as product_price_change,
               cast(coalesce(p.changes, 0) as float) as product_price_changes, cast(p.stock_now as float) as product_stock,
               cast(case when p.stock_now is not null then cast(p.stock_now > 0 as int) end as float) as product_in_stock,
               case when f.dated then f.valid_us / {US}.0 when p.at_us >= s.known_us then s.event_us / {US}.0 end as product_first_seen_at,
               cast(p.dated as float) as product_dated
        from filled p join _first f using (product_id) left join _seen s using (product_id)
        asof join dated_text t on t.product_id = p.product_id and t.valid_us <= p.at_us"""
    )
    counts = bench.frame(
        """select count(*) as n, coalesce(sum(cast(product_id not in (select product_id from _prices) as int)), 0) as bare
        from _first where not dated"""
    )
    return Undated(int(counts["n"][0]), int(counts["bare"][0]))


def market(bench: Workbench) -> int:
    """Make table `market` (product_market): one row per product and grid day, known at its start; returns the grid's step in days.

    Grid days are multiples of the step, so that builds of one step have the same days; they go on after the build until its windows are empty.
    """
    last_day = bench.as_of_us // DAY_US
    first_day = bench.start_us // DAY_US
    count = int(bench.frame("select count(*) as n from items")["n"][0])
    step = max(1, -(-count * (last_day - first_day + AHEAD_DAYS) // MARKET_ROWS))
    grid = np.arange(first_day // step * step + step, last_day + AHEAD_DAYS + step, step, dtype=np.int64)
    category, brand = _codes(bench, "product_category"), _codes(bench, "product_brand")
    sold = _sold_before(bench, grid, count, first_day)
    prices, known = _prices_at(bench, grid, count)
    parts = [_market_day(prices[:, n], known[:, n], sold[:, n], category, brand) for n in range(len(grid))]
    table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    days = np.repeat(grid, [len(part["product_id"]) for part in parts])
    bench.add("market", pd.DataFrame({**table, "at_us": days * DAY_US}))
    return int(step)


def texts(bench: Workbench, embedder: Embedder) -> None:
    """Make table `texts` (product_text): one row per product and change of its text."""
    products = bench.tables["products"].reset_index(drop=True)
    vectors = embedder.embed(text_of(products))
    at = products["valid_from"].dt.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64)
    table = pd.DataFrame(
        {
            "name": products["product_id"].astype(str),
            "at_us": np.where(products["valid_from"].isna(), bench.start_us, at),
            "product_text_length": _length(products["title"]) + _length(products["description"]),
            "product_title_length": _length(products["title"]),
            "product_attributes": products["attributes"].map(lambda text: float(len(json.loads(text))) if isinstance(text, str) else 0.0),
            "product_has_description": products["description"].fillna("").ne("").astype(float),
            "product_has_zh": products["title_zh"].fillna("").ne("").astype(float),
            "product_has_image": products["image_url"].fillna("").ne("").astype(float),
            "product_embedding": list(vectors),
            "product_embedding_version": embedder.version,
        }
    )
    same = table.drop(columns=["at_us", "product_embedding"]).duplicated() & _same_vector(table["name"], vectors)
    bench.add("_texts", table[~same].drop_duplicates(["name", "at_us"], keep="last"))
    bench.sql("create or replace table texts as select i.product_id, t.* exclude (name) from _texts t join items i on i.name = t.name")


def _same_vector(names: pd.Series, vectors: Floats) -> NDArray[np.bool_]:
    before = np.roll(vectors, 1, axis=0)
    return np.asarray((names == names.shift()).to_numpy() & (np.abs(vectors - before).max(axis=1, initial=0) == 0))


def _length(column: pd.Series) -> pd.Series:
    return column.fillna("").astype(str).str.len().astype(float)


def _fact(value: Any) -> str:
    return f"{value.get('value')} {value.get('unit')}" if isinstance(value, dict) else str(value)


def _codes(bench: Workbench, column: str) -> NDArray[np.int64]:
    """Code of the latest text of each product, in the order of items; an empty text has a code too."""
    found = bench.frame(f"select product_id, arg_max({column}, at_us) as text from offers where at_us <= {bench.as_of_us} group by 1 union all "
                        f"select product_id, arg_min({column}, at_us) from offers group by 1 "
                        f"having min(at_us) > {bench.as_of_us} order by 1")  # fmt: skip
    return np.asarray(pd.factorize(found["text"].fillna(""))[0], np.int64)


def _sold_before(bench: Workbench, grid: NDArray[np.int64], count: int, first_day: int) -> NDArray[np.float32]:
    """float32[P, G]: purchase lines known in the 30 whole UTC days before each grid day."""
    sold = bench.arrays(
        f"""select product_id, known_us // {DAY_US} as day, count(*) as n from events
        where event_type = 'purchase' and product_id is not null group by all"""
    )
    days = int(grid[-1] - first_day + 2)
    daily = np.zeros((count, days), np.float32)
    day = np.clip(np.asarray(sold["day"]) - first_day, 0, days - 1)
    np.add.at(daily, (np.asarray(sold["product_id"]), day), np.asarray(sold["n"], np.float32))
    total = np.cumsum(daily, axis=1, dtype=np.float64)
    until = grid - first_day - 1
    since = until - 30
    found = total[:, until]
    found[:, since >= 0] -= total[:, since[since >= 0]]
    return found.astype(np.float32)


def _prices_at(bench: Workbench, grid: NDArray[np.int64], count: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Price (NaN unknown) and whether the product is known, [P, G], at the start of each grid day."""
    bench.add("_grid", pd.DataFrame({"g": np.arange(len(grid)), "at_us": grid * DAY_US}))
    found = bench.arrays(
        """select p.product_id, p.g, o.product_price as price
        from (select product_id, g, at_us from items, _grid) p asof join offers o on o.product_id = p.product_id and o.at_us <= p.at_us"""
    )
    prices = np.full((count, len(grid)), np.nan)
    known = np.zeros((count, len(grid)), bool)
    price = np.ma.filled(np.ma.asarray(found["price"], dtype=np.float64), np.nan)
    prices[found["product_id"], found["g"]] = price
    known[found["product_id"], found["g"]] = True
    return prices, known


def _market_day(
    price: NDArray[np.float64], known: NDArray[np.bool_], sold: Floats, category: NDArray[np.int64], brand: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """The columns of product_market for the products known on one day."""
    here = np.flatnonzero(known)
    c, b, p, s = category[here], brand[here], price[here], sold[here]
    size = np.bincount(c, minlength=category.max(initial=0) + 1)
    in_category = np.bincount(c, s, minlength=len(size))
    in_brand = np.bincount(b, s, minlength=brand.max(initial=0) + 1)
    rank, median = _within(p, c, len(size))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(in_category[c] > 0, s / in_category[c], np.nan)
        to_category = np.where(median[c] > 0, p / median[c], np.nan)
    popularity = (rankdata(s) - 1) / max(len(s) - 1, 1)
    columns = {
        "product_price_rank": rank, "product_price_to_category": to_category, "product_category_size": size[c],
        "product_brand_purchases_30d": in_brand[b], "product_category_purchases_30d": in_category[c],
        "product_category_share_30d": share, "product_popularity_rank": popularity,
    }  # fmt: skip
    return {"product_id": here.astype(np.int32), **{name: np.asarray(values, np.float32) for name, values in columns.items()}}


def _within(price: NDArray[np.float64], category: NDArray[np.int64], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rank of each price in its category (0 to 1; 0.5 alone; NaN without a price) and the median price of each category."""
    rank = np.full(len(price), np.nan)
    median = np.full(count, np.nan)
    priced = np.flatnonzero(~np.isnan(price))
    order = priced[np.lexsort((price[priced], category[priced]))]
    if not len(order):
        return rank, median
    starts = np.flatnonzero(np.r_[True, np.diff(category[order]) != 0])
    sizes = np.diff(np.r_[starts, len(order)])
    # Equal prices share the mean of their places.
    key = np.r_[True, (np.diff(price[order]) != 0) | (np.diff(category[order]) != 0)]
    run = np.flatnonzero(key)
    length = np.diff(np.r_[run, len(order)])
    place = np.repeat(run + (length - 1) / 2, length) - np.repeat(starts, sizes)
    width = np.repeat(sizes, sizes) - 1
    rank[order] = np.where(width > 0, place / np.maximum(width, 1), 0.5)
    low, high = starts + (sizes - 1) // 2, starts + sizes // 2
    median[category[order[starts]]] = (price[order[low]] + price[order[high]]) / 2
    return rank, median
