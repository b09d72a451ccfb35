"""The read model that serving uses: a product matrix and user rows, equal to what Feast answers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.home import ShopHome

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Interests:
    """A user's interests, strongest first; K may be 0."""

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
class UserRow:
    """Everything the features know about a user. Missing numbers are NaN."""

    user_id: str
    scalars: Floats  # float32[len(USER_SCALARS)], in the order of `vectors.USER_SCALARS`
    at: dict[str, float]  # unix seconds: user_first_event_at, user_last_event_at, user_last_purchase_at, user_last_view_at, user_created_at
    texts: dict[str, str | None]  # user_language, user_country
    interests: Interests
    history: History

    def values(self) -> dict[str, float]:
        """Scalars by name, for journal and explanations."""
        raise NotImplementedError


@dataclass(frozen=True)
class ProductMatrix:
    """All products as columns, as of the build's time."""

    product_ids: NDArray[np.object_]  # [P]
    index: dict[str, int]
    scalars: Floats  # float32[P, len(PRODUCT_SCALARS)], in the order of `vectors.PRODUCT_SCALARS`
    at: dict[str, Doubles]  # float64[P]: product_first_seen_at, product_last_purchase_at
    texts: dict[str, NDArray[np.object_]]  # [P]: product_title, product_category, product_category_path, product_brand
    embedding: Floats  # float32[P, 64]
    embedding_version: str
    version: str

    @classmethod
    def load(cls, home: ShopHome) -> "ProductMatrix":
        raise NotImplementedError

    def column(self, name: str) -> Floats:
        """One scalar column, float32[P]."""
        raise NotImplementedError


class UserReader:
    """Reads users from Feast's online store; notices a new build by itself."""

    def __init__(self, home: ShopHome) -> None:
        raise NotImplementedError

    def read(self, user_id: str) -> UserRow | None:
        """The user, or None if no feature was ever written for them."""
        raise NotImplementedError
