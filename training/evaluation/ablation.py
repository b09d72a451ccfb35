"""What each part adds: the ranker fitted again without one retriever or one group of features, measured on the same users."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.declarations import RETRIEVERS
from feature_repo.vectors import PRODUCT_SCALARS, RANKER_FEATURES, USER_SCALARS

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

OWN_ACTS = ("up_views_and_buys", "up_purchases", "up_days_since_purchase", "up_days_since_view")
GROUPS: dict[str, Callable[[str], bool]] = {
    "user": lambda name: name in USER_SCALARS or name.startswith("user_"),
    "product": lambda name: name in PRODUCT_SCALARS or name.startswith("product_"),
    "own acts on the product": lambda name: name in OWN_ACTS,
    "price": lambda name: name.startswith("up_price_"),
    "interests": lambda name: name.startswith(("up_category_", "up_brand_", "up_liked", "up_disliked")),
    "circle": lambda name: name.startswith("up_circle_"),
    "retrieval": lambda name: name.startswith(("score_", "rank_")) or name == "up_retrievers",
}
"""Groups of the ranker's features. Every feature is in exactly one."""


@dataclass(frozen=True)
class Case:
    """One thing left out. `columns` are those the ranker does not see; rows that only `retriever` proposed go too."""

    name: str
    columns: tuple[int, ...] = ()
    retriever: str | None = None

    def keep(self, matrix: Floats) -> NDArray[np.bool_]:
        """bool[n]: rows that are still candidates."""
        if self.retriever is None:
            return np.ones(len(matrix), bool)
        others = [RANKER_FEATURES.index(f"rank_{name}") for name in RETRIEVERS if name != self.retriever]
        return np.asarray(~np.isnan(matrix[:, others]).all(axis=1))

    def without(self, matrix: Floats) -> Floats:
        """A copy of the rows in which what is left out is missing."""
        found = matrix.copy()
        if self.retriever is not None:
            count = RANKER_FEATURES.index("up_retrievers")
            found[:, count] -= ~np.isnan(matrix[:, RANKER_FEATURES.index(f"rank_{self.retriever}")])
        found[:, list(self.columns)] = np.nan
        return found


def cases() -> Iterator[Case]:
    """Each retriever, then each group of features that the ranker has."""
    for name in RETRIEVERS:
        yield Case(f"without {name}", tuple(RANKER_FEATURES.index(f"{kind}_{name}") for kind in ("score", "rank")), name)
    for group, belongs in GROUPS.items():
        columns = tuple(number for number, name in enumerate(RANKER_FEATURES) if belongs(name))
        if columns:
            yield Case(f"without {group} features", columns)


@dataclass(frozen=True)
class Loss:
    """What leaving something out costs: mean over users of the figure with everything less the figure without, and its standard error."""

    figure: float
    lost: float
    error: float

    @classmethod
    def of(cls, whole: Doubles, without: Doubles) -> "Loss":
        """Figures per user, float64[users] each."""
        gaps = whole - without
        return cls(float(without.mean()), float(gaps.mean()), float(gaps.std(ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else 0.0)
