"""What had happened before a cut, product by product: how many took each one, where it stood in its category's prices."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.dataset import Reader
from training.labels import JUST_BEFORE
from training.retrieval.contract import Products

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Past:
    """The past of `products`, in their order. A pair is a user and a product they took, however often."""

    products: Products
    taken: NDArray[np.int64]  # int64[P], users who took each product
    users: int  # users who took anything
    user: Places  # int64[pairs], 0..users-1
    item: Places  # int64[pairs], positions in `products`
    price_rank: NDArray[np.float64]  # float64[P], 0 the cheapest of its category to 1 the dearest, NaN without a price

    @classmethod
    def of(cls, events: pd.DataFrame, kind: str, cut: datetime, products: Products, reader: Reader) -> "Past":
        """Acts of type `kind` of known users before `cut`; prices as Feast knows them just before it."""
        acts = events[(events["event_type"].astype(str) == kind) & events["user_id"].notna() & (events["event_time"] < pd.Timestamp(cut))]
        item = pd.Index(products.ids).get_indexer(pd.Index(acts["product_id"].astype(str)))
        user, names = pd.factorize(acts["user_id"][item >= 0])
        pairs = np.unique(np.stack([user.astype(np.int64), item[item >= 0].astype(np.int64)]), axis=1)
        rank = np.full(len(products), np.nan)
        if len(products):
            asked = pd.DataFrame({"product_id": products.ids.astype(object), "event_timestamp": pd.Timestamp(cut) - JUST_BEFORE})
            rank = pd.to_numeric(reader("product", asked)["product_price_rank"], errors="coerce").to_numpy(np.float64, na_value=np.nan)
        return cls(products, np.bincount(pairs[1], minlength=len(products)), len(names), pairs[0], pairs[1], rank)

    def histories(self, before: Sequence[frozenset[str]]) -> tuple[Places, Places]:
        """The products each user had taken, as pairs int64[n] of the user's place in `before` and the product's position."""
        places = np.repeat(np.arange(len(before)), [len(products) for products in before])
        ids = [product for products in before for product in sorted(products)]
        positions = pd.Index(self.products.ids).get_indexer(pd.Index(ids, dtype=object))
        return places[positions >= 0], positions[positions >= 0].astype(np.int64)
