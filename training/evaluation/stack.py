"""The whole recommender as serving answers with it before the shop's rules: retrievers, profile, ranker; what everybody buys for somebody unknown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from feature_repo.online import NO_HISTORY, is_blank
from training.dataset import Floats, Person, Reader, feature_rows, full_slate, proposed
from training.evaluate import K, Ranking
from training.ranker.model import Ranker
from training.retrieval.contract import Products
from training.retrieval.model import RetrieverSet

AT_ONCE = 500
"""People whose feature rows are in memory together."""


@dataclass(frozen=True)
class Answer:
    """What is proposed to one person: `index` int32[m] into the retrievers' products, `scores` float32[m], in no order."""

    index: Ranking
    scores: Floats

    def ranking(self, k: int = K) -> Ranking:
        """The best k, best first; equal scores as they were proposed."""
        return self.index[np.argsort(-self.scores, kind="stable")[:k]]


Recommend = Callable[[Sequence[Person]], Sequence[Answer]]


@dataclass(frozen=True)
class Stack:
    """`weights` float32[8] of the profile; `candidates`: how many the ranker sees."""

    retrievers: RetrieverSet
    weights: Floats
    ranker: Ranker
    reader: Reader
    candidates: int

    def answers(self, people: Sequence[Person]) -> list[Answer]:
        """One per person, in order."""
        found = [self._popular(person) if unknown(person) else None for person in people]
        known = [place for place, answer in enumerate(found) if answer is None]
        for start in range(0, len(known), AT_ONCE):
            places = known[start : start + AT_ONCE]
            some = [people[place] for place in places]
            candidates = [proposed(person, self.retrievers, self.candidates) for person in some]
            slates = [full_slate(person, each, self.retrievers) for person, each in zip(some, candidates, strict=True)]
            rows = feature_rows(slates, self.reader, self.weights)
            for place, each, matrix in zip(places, candidates, rows, strict=True):
                found[place] = Answer(each.index, self.ranker.score(matrix, self.retrievers.products.categories[each.index]))
        return [answer for answer in found if answer is not None]

    def over(self, products: Products) -> "Stack":
        """The same with products that came after the retrievers were fitted."""
        return replace(self, retrievers=self.retrievers.extend(products))

    def _popular(self, person: Person) -> Answer:
        popularity = self.retrievers.retrievers["popular"].scores(self.retrievers.query(NO_HISTORY, person.moment))
        order = np.argsort(-popularity, kind="stable")[: self.candidates].astype(np.int32)
        return Answer(order, np.asarray(popularity[order], np.float32))


def unknown(person: Person) -> bool:
    """Whether the service knows nothing of them that it could rank by."""
    return is_blank(person.scalars, person.interests, person.history, person.circle)
