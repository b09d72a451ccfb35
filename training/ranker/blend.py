"""What is added to the trees' scores: the places that one retriever gave, and a lift for the kinds of products that the trees pass over.

Trees that learn what is best on the whole put popular products and the season's categories first, and can be worse than a single retriever at the
others. The sum of both is more stable from one period to the next, too. `training/evaluation/guard.py` chooses how much of each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Names = NDArray[np.str_]

POPULARITY = {
    "purchase": "product_purchases_ever", "review": "product_reviews_ever", "click": "product_clicks_30d", "view": "product_views_30d",
}  # fmt: skip
"""Feature that tells how popular a product is, by the type of event that rankings of the shop are judged by."""
TAIL, OTHERS = "tail", "others"
PRICE_RANK, DISLIKED = "product_price_rank", "up_disliked"
THIRDS: Mapping[str, tuple[float, float]] = {
    "price:lower third": (-np.inf, 1 / 3), "price:middle third": (1 / 3, 2 / 3), "price:upper third": (2 / 3, np.inf),
}  # fmt: skip
"""Lift -> from which place among the prices of its category, 0 to 1, to before which one."""


@dataclass(frozen=True)
class Blend:
    """Adds to a product that `retriever` proposed at rank r: weight / log2(1 + r) + its lifts - usual; to others nothing.

    `lifts`: of a category ("category:..."), of all categories that have none of their own (OTHERS), of THIRDS of the prices, and of the
    tail, products whose feature `popularity` is missing or less than `head_from`. `usual` is the mean lift of what is proposed first, so that lifts
    move products among those proposed; `usual_place` the mean of what places add to a candidate. `dislike` times what was
    said against its category or brand is taken from every product. Without a retriever nothing is added.
    """

    retriever: str = ""
    weight: float = 0.0
    popularity: str = ""
    head_from: float = 0.0
    usual: float = 0.0
    usual_place: float = 0.0
    dislike: float = 0.0
    lifts: Mapping[str, float] = field(default_factory=dict)

    def added(self, matrix: Floats, feature_names: Sequence[str], categories: Names) -> Floats:
        """float32[n], for ranker rows float32[n, F] of products of these categories, str[n]."""
        return self.added_with(matrix, feature_names, self.lifts_of(categories))

    def lifts_of(self, categories: Names) -> Floats:
        """The lift of each category, float32[n]."""
        others = self.lifts.get(OTHERS, 0.0)
        return np.array([self.lifts.get(name, others) for name in categories.tolist()], np.float32)

    def added_with(self, matrix: Floats, feature_names: Sequence[str], lifts: Floats) -> Floats:
        """`added`, where the lifts of the rows' categories are known, float32[n]."""
        found = np.zeros(len(matrix), np.float32)
        for values in self.of_features(matrix, feature_names).values():
            found += values
        if self.retriever and self.lifts:
            found += np.where(self._proposed(matrix, feature_names), lifts - np.float32(self.usual), np.float32(0))
        return found

    def of_features(self, matrix: Floats, feature_names: Sequence[str]) -> Mapping[int, Floats]:
        """What comes from a feature: its column -> float32[n], that of places first. The lift of a category comes from none."""
        if not self.retriever:
            return {}
        place, proposed = feature_names.index(f"rank_{self.retriever}"), self._proposed(matrix, feature_names)
        found = {place: np.where(proposed, self.weight / np.log2(1.0 + np.where(proposed, matrix[:, place], 1.0)), 0.0).astype(np.float32)}
        if self.lifts.get(TAIL):
            popular = feature_names.index(self.popularity)
            tail = ~(matrix[:, popular] >= self.head_from)
            found[popular] = np.where(proposed & tail, self.lifts[TAIL], 0.0).astype(np.float32)
        thirds = {third: lift for third, lift in self.lifts.items() if third in THIRDS}
        if thirds:
            column = feature_names.index(PRICE_RANK)
            found[column] = np.zeros(len(matrix), np.float32)
            for third, lift in thirds.items():
                low, high = THIRDS[third]
                found[column][proposed & (matrix[:, column] >= low) & (matrix[:, column] < high)] = lift
        if self.dislike:
            column = feature_names.index(DISLIKED)
            found[column] = (-self.dislike * np.clip(np.nan_to_num(matrix[:, column]), 0.0, None)).astype(np.float32)
        return found

    def _proposed(self, matrix: Floats, feature_names: Sequence[str]) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = ~np.isnan(matrix[:, feature_names.index(f"rank_{self.retriever}")])
        return found


NO_BLEND = Blend()
