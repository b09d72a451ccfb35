"""Order of the ranker's numbers, derived from the Feast definitions, and the one function that puts a vector together."""

from pathlib import Path

import numpy as np
from feast.types import Float32, Float64
from numpy.typing import NDArray

from feature_repo.definitions import definitions
from feature_repo.transforms.affinity import PAIR_NAMES

Floats = NDArray[np.float32]

_DEFINED = definitions(Path())


def scalar_names(entity: str) -> tuple[str, ...]:
    """Numeric features of an entity ('user' or 'product') in the order of the views; absolute times (`…_at`) and arrays are not among them."""
    return tuple(
        field.name
        for view in _DEFINED.views
        if view.entities == [entity]
        for field in view.features
        if field.dtype in (Float32, Float64) and not field.name.endswith("_at")
    )


USER_SCALARS = scalar_names("user")
PRODUCT_SCALARS = scalar_names("product")
RANKER_FEATURES = (*USER_SCALARS, *PRODUCT_SCALARS, *PAIR_NAMES)
"""What `ranker_v1` gives the ranker, in order; absolute times enter as ages, which `pair_features` computes."""


def assemble(user: Floats, product: Floats, pairs: Floats) -> Floats:
    """float32[n, len(RANKER_FEATURES)] from float32[1 or n, users'], float32[n, products'], float32[n, pairs']."""
    found = np.empty((len(pairs), len(RANKER_FEATURES)), np.float32)
    found[:, : len(USER_SCALARS)] = user
    found[:, len(USER_SCALARS) : len(USER_SCALARS) + len(PRODUCT_SCALARS)] = product
    found[:, len(USER_SCALARS) + len(PRODUCT_SCALARS) :] = pairs
    return found
