"""Fits the retrievers on what was known before a cut, and tunes them on a period after it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from training.retrieval.model import DAY, Fitted, Floats, Params, RetrieverSet, keys_of, unit

ACT_WEIGHTS = {"purchase": 1.0, "cart": 0.5, "review": 0.5, "click": 0.15, "view": 0.1}
"""What an act counts for popularity and for similarity. A shop that has only reviews or only views is counted by these alike."""
NEIGHBOURS = 100
"""Strongest neighbours kept per product."""
CHUNK = 1000


def known_before(events: pd.DataFrame, cut: datetime) -> pd.DataFrame:
    """Events that had happened and had arrived before `cut`."""
    when = pd.Timestamp(cut)
    arrived = events["arrived_at"].fillna(events["event_time"]) if "arrived_at" in events else events["event_time"]
    return events[(events["event_time"] < when) & (arrived < when)]


def fit(
    events: pd.DataFrame,
    products: pd.DataFrame,
    vectors: Floats,
    cut: datetime,
    params: Params,
    repeat_buying: bool,
    taste_weights: Sequence[float],
    embedding_version: str,
) -> RetrieverSet:
    """Count what was known before `cut`.

    `products`: one row per product (product_id, category, brand) in the order of `vectors` float32[n, d].
    """
    acts = _acts(known_before(events, cut), products["product_id"], cut)
    fitted = Fitted(
        products["product_id"].to_numpy(dtype=np.str_),
        keys_of("category", products["category"].tolist()),
        keys_of("brand", products["brand"].tolist()),
        _popularity(acts, len(products), params.popular_half_life),
        _similarity(acts, len(products), params.similar_shrink),
        unit(vectors),
    )
    return RetrieverSet(fitted, params, repeat_buying, taste_weights, embedding_version)


def refit(base: RetrieverSet, events: pd.DataFrame, cut: datetime, params: Params) -> RetrieverSet:
    """The same set with other parameters; counts again only what the parameters touch."""
    old, fitted = base.params, base.fitted
    if (params.popular_half_life, params.similar_shrink) != (old.popular_half_life, old.similar_shrink):
        acts = _acts(known_before(events, cut), pd.Series(fitted.product_ids), cut)
        n = len(fitted.product_ids)
        similar = fitted.similar if params.similar_shrink == old.similar_shrink else _similarity(acts, n, params.similar_shrink)
        popularity = _popularity(acts, n, params.popular_half_life)
        fitted = Fitted(fitted.product_ids, fitted.categories, fitted.brands, popularity, similar, fitted.vectors)
    return RetrieverSet(fitted, params, base.repeat_buying, base.taste_weights.tolist(), base.embedding_version)


def _acts(events: pd.DataFrame, product_ids: "pd.Series[str]", cut: datetime) -> pd.DataFrame:
    """One row per act on a known product: user code (-1 for nobody), item position, weight, age in days."""
    weight = events["event_type"].astype(str).map(ACT_WEIGHTS)
    item = pd.Index(product_ids.astype(str)).get_indexer(pd.Index(events["product_id"].astype(str)))
    user, _ = pd.factorize(events["user_id"])
    age = (pd.Timestamp(cut) - events["event_time"]).dt.total_seconds() / DAY
    acts = pd.DataFrame({"user": user, "item": item, "weight": weight.to_numpy(), "age": age.to_numpy()})
    return acts[(acts["item"] >= 0) & acts["weight"].notna()]


def _popularity(acts: pd.DataFrame, count: int, half_life: float) -> Floats:
    """Decayed weight of acts per product, scaled so that the most popular has 1: float32[count]."""
    decay = np.exp2(-acts["age"].to_numpy() / half_life) if half_life else np.ones(len(acts))
    sums = np.bincount(acts["item"], weights=acts["weight"] * decay, minlength=count)
    return np.asarray(sums / max(float(sums.max(initial=0.0)), 1e-12), np.float32)


def _similarity(acts: pd.DataFrame, count: int, shrink: float) -> Any:
    """Cosine of products over their users, damped for products with few users; each row keeps its NEIGHBOURS best: csr float32[count, count]."""
    known = acts[acts["user"] >= 0]
    strongest = known.groupby(["user", "item"], sort=True)["weight"].max().reset_index()
    width = int(strongest["user"].max()) + 1 if len(strongest) else 1
    matrix = sparse.csr_matrix((strongest["weight"].astype(np.float32), (strongest["item"], strongest["user"])), shape=(count, width))
    # A user with many products says less about each pair of them (inverse user frequency, Breese et al. 1998).
    activity = np.asarray((matrix > 0).sum(axis=0)).ravel()
    matrix = (matrix @ sparse.diags((1.0 / np.sqrt(1.0 + activity)).astype(np.float32))).tocsr()
    square = np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel()
    users = np.asarray((matrix > 0).sum(axis=1)).ravel()
    norm = np.sqrt(square) * np.sqrt((users + shrink) / np.maximum(users, 1))
    scaled = sparse.diags((1.0 / np.where(norm > 0, norm, 1.0)).astype(np.float32)) @ matrix
    turned = scaled.T.tocsc()
    blocks = [_strongest(scaled[start : start + CHUNK] @ turned, start) for start in range(0, count, CHUNK)]
    return sparse.vstack(blocks, format="csr", dtype=np.float32) if blocks else sparse.csr_matrix((0, 0), dtype=np.float32)


def _strongest(block: Any, start: int) -> Any:
    """The block of similarities with its diagonal taken out and only the best neighbours of each row."""
    block = block.tocsr()
    indices: list[NDArray[np.int32]] = []
    data: list[Floats] = []
    pointers = [0]
    for row in range(block.shape[0]):
        columns = block.indices[block.indptr[row] : block.indptr[row + 1]]
        values = block.data[block.indptr[row] : block.indptr[row + 1]]
        other = columns != start + row
        columns, values = columns[other], values[other]
        order = np.lexsort((columns, -values))[:NEIGHBOURS]
        indices.append(columns[order])
        data.append(values[order])
        pointers.append(pointers[-1] + len(order))
    return sparse.csr_matrix((np.concatenate(data), np.concatenate(indices), pointers), shape=block.shape)
