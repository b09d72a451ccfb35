"""How a recommender has to behave whatever its figures: tests on real people of the shop, whose answers are compared with answers to changed copies.

In the spirit of RecList (Chia et al. 2022) and CheckList (Ribeiro et al. 2020): a change of the input whose effect on a sound recommender is known.

    similar lists     the oldest product of a history gives place to the one that reads most like it: the first ten stay more alike than those of two
                      people drawn at random (gain: difference of the shared parts)
    dislike falls     somebody states a dislike of a category: its products fall among what is still proposed (gain: places fallen, as a share of the
                      list); tried where FEWEST of those asked have stated one, so that there is something to learn it from
    complement rises  somebody buys A: a product that is most often taken by those who take A rises (gain: places risen, as a share of the list)
    new users         somebody nobody knows anything of gets what many took (mean share of products that fewer users took); tried where the catalogue
                      has LARGE products or more
    nobody empty      no list is empty

What rises or falls is drawn by chance from all candidates, whatever their rank, so that scores without sense gain nothing; ties count against, so
that one score for all gains nothing either. A gain counts by the lower end of its one-sided 95 % interval. With fewer than FEWEST people it is not
measured. The features of a changed person that are not history or interests stay as they were.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from feature_repo.declarations import SIGNALS
from feature_repo.online import NO_CIRCLE, NO_HISTORY, NO_INTERESTS, History, Interests
from training.dataset import Person, Reader
from training.dataset import people as people_at
from training.evaluate import K, Ranking, lower
from training.evaluation.past import Past
from training.evaluation.stack import Answer, Recommend
from training.retrieval.contract import Products

FEWEST = 20
LARGE = 100
"""In a smaller catalogue the first ten are too great a part of it."""
MOST = 200
"""People who are asked, at most."""
COMPLEMENTS = 5
"""Products that are most often taken with another one."""
TOGETHER = 3
"""With fewer users in common two products are not complements."""
SAMPLED = 1000
"""Products whose complements are counted, at most."""
HOUR = 3600.0
LIKE, DISLIKE = SIGNALS.index("like"), SIGNALS.index("dislike")

METRICS = ("similar_lists", "dislike_falls", "complement_rises", "new_user", "empty_lists", "vetoed_shown")
"""What the names of the metrics begin with."""

Gains = NDArray[np.float64]


@dataclass(frozen=True)
class Shop:
    """What the tests know of a shop beside its people. `keys` names each product's category, or brand where it has none: what is disliked."""

    products: Products
    past: Past
    positions: Mapping[str, int]
    keys: NDArray[np.str_]

    @classmethod
    def of(cls, past: Past) -> "Shop":
        products = past.products
        keys = np.where(products.categories != "", products.categories, products.brands)
        return cls(products, past, {str(product): place for place, product in enumerate(products.ids)}, keys)

    def history(self, person: Person) -> set[int]:
        """Positions of a person's products."""
        return {self.positions[product] for product in person.history.products if product in self.positions}


def regulars(events: pd.DataFrame, kind: str, cut: datetime, reader: Reader, seed: int) -> list[Person]:
    """Up to MOST users with an act of type `kind` before `cut`, drawn at random, as of then."""
    acts = events[(events["event_type"].astype(str) == kind) & events["user_id"].notna() & (events["event_time"] < pd.Timestamp(cut))]
    # In the order of their first act: pseudonyms differ with the shop's key, and so would their order.
    users = acts["user_id"].astype(str).unique()
    drawn = np.random.default_rng(seed).permutation(len(users))[:MOST]
    return people_at(reader, users[np.sort(drawn)].tolist(), [cut] * len(drawn))


def behaviours(recommend: Recommend, people: Sequence[Person], past: Past, seed: int) -> dict[str, float]:
    """Metric -> value for the gates. What was not tried has only its `_people`, how many could have been asked, or had stated a dislike."""
    generator, shop = np.random.default_rng(seed), Shop.of(past)
    if not people:
        return dict.fromkeys(("similar_lists_people", "dislike_falls_people", "complement_rises_people"), 0.0)
    answers = recommend(people)
    found = _gained("similar_lists", similar_lists(recommend, people, answers, shop, generator))
    found["dislike_falls_people"] = float(sum(bool((person.interests.signals[:, DISLIKE] > 0).any()) for person in people))
    if found["dislike_falls_people"] >= FEWEST:
        found |= _gained("dislike_falls", dislike_falls(recommend, people, answers, shop, generator))
    found |= _gained("complement_rises", complement_rises(recommend, people, answers, shop, generator))
    new = recommend([stranger(people[0])])
    found["new_user_products"] = float(len(past.products))
    if len(past.products) >= LARGE:
        found["new_user_popularity"] = popularity_of(new[0], past)
    found["empty_lists"] = float(sum(not len(answer.index) for answer in (*answers, *new)))
    return found


def _gained(name: str, gains: Gains) -> dict[str, float]:
    found = {f"{name}_people": float(len(gains))}
    return found if len(gains) < FEWEST else found | {name: float(gains.mean()), f"{name}_lower": lower(gains)}


def similar_lists(recommend: Recommend, people: Sequence[Person], answers: Sequence[Answer], shop: Shop, generator: np.random.Generator) -> Gains:
    """Per person with two products or more: the part of the first ten shared with their copy's list, less that shared with another person's."""
    asked = [place for place, person in enumerate(people) if len(person.history.products) > 1]
    if len(asked) < 2:
        return np.zeros(0)
    copies = recommend([nearly(people[place], shop) for place in asked])
    order = generator.permutation(len(asked))
    mine = [set(answers[place].ranking().tolist()) for place in asked]
    stays = [len(own & set(copy.ranking().tolist())) / max(len(own), 1) for own, copy in zip(mine, copies, strict=True)]
    shared = np.zeros(len(asked))
    for own, other in zip(order, np.roll(order, 1), strict=True):
        shared[own] = len(mine[own] & mine[other]) / max(len(mine[own]), 1)
    return np.array(stays) - shared


def nearly(person: Person, shop: Shop) -> Person:
    """With the product that reads most like their oldest one in its place, or without it where nothing reads like it."""
    oldest = shop.positions.get(person.history.products[-1], -1)
    alike = shop.products.vectors @ shop.products.vectors[oldest] if oldest >= 0 else np.zeros(0)
    alike[list(shop.history(person)) if len(alike) else []] = 0.0
    if not len(alike) or alike.max() <= 0:
        history = person.history
        return replace(
            person, history=History(history.products[:-1], history.purchases[:-1], history.last_purchase_at[:-1], history.last_view_at[:-1])
        )
    return replace(person, history=replace(person.history, products=(*person.history.products[:-1], str(shop.products.ids[int(np.argmax(alike))]))))


def dislike_falls(recommend: Recommend, people: Sequence[Person], answers: Sequence[Answer], shop: Shop, generator: np.random.Generator) -> Gains:
    """Per person: how far the products of a category fall that a copy of them dislikes, the category of a candidate drawn by chance."""
    chosen: list[tuple[int, str]] = []
    for place, (person, answer) in enumerate(zip(people, answers, strict=True)):
        stated = {key for key, signals in zip(person.interests.keys, person.interests.signals, strict=True) if signals[LIKE] or signals[DISLIKE]}
        keys = [str(key) for key in shop.keys[answer.index] if key and str(key) not in stated]
        if len(set(keys)) > 1:
            chosen.append((place, keys[int(generator.integers(len(keys)))]))
    copies = recommend([disliking(people[place], key) for place, key in chosen])
    gains = []
    for (place, key), copy in zip(chosen, copies, strict=True):
        # What the retrievers no longer propose says nothing of the scores.
        both = np.intersect1d(answers[place].index, copy.index)
        gains += [_moved(answers[place], copy, found)] if len(found := both[shop.keys[both] == key].tolist()) else []
    return np.array(gains)


def disliking(person: Person, key: str) -> Person:
    """With a stated dislike of a "category:…" or "brand:…" beside all else; it takes back a like of the same."""
    old = person.interests
    signals = np.zeros(len(SIGNALS), np.float32)
    signals[DISLIKE] = 1.0
    if key in old.keys:
        changed = old.signals.copy()
        changed[old.keys.index(key), [LIKE, DISLIKE]] = 0.0, 1.0
        return replace(person, interests=replace(old, signals=changed))
    return replace(person, interests=Interests((*old.keys, key), np.vstack([old.signals, signals]).astype(np.float32), np.append(old.last_at, 0.0)))


def complement_rises(recommend: Recommend, people: Sequence[Person], answers: Sequence[Answer], shop: Shop, generator: np.random.Generator) -> Gains:
    """Per person: how far a candidate drawn by chance rises when a copy of them has just bought a product that it complements."""
    sources = complemented(shop.past, generator)
    chosen: list[tuple[int, int, int]] = []
    for place, (person, answer) in enumerate(zip(people, answers, strict=True)):
        own = shop.history(person)
        pairs = [(int(c), [a for a in sources.get(int(c), ()) if a not in own]) for c in answer.index if int(c) not in own]
        pairs = [(c, found) for c, found in pairs if found]
        if pairs:
            complement, found = pairs[int(generator.integers(len(pairs)))]
            chosen.append((place, found[int(generator.integers(len(found)))], complement))
    copies = recommend([buying(people[place], str(shop.products.ids[bought])) for place, bought, _ in chosen])
    return np.array([-_moved(answers[place], copy, [complement]) for (place, _, complement), copy in zip(chosen, copies, strict=True)])


def buying(person: Person, product: str) -> Person:
    """With one more purchase, an hour before."""
    old, at = person.history, np.array([person.at - HOUR])
    first = np.ones(1, np.float32)
    history = History(
        (product, *old.products),
        np.concatenate([first, old.purchases]),
        np.concatenate([at, old.last_purchase_at]),
        np.concatenate([at, old.last_view_at]),
    )
    return replace(person, history=history)


def complemented(past: Past, generator: np.random.Generator) -> dict[int, list[int]]:
    """Product -> the products that it complements: it is among the COMPLEMENTS of each by cosine over users, with TOGETHER in common at least."""
    taken = sparse.csr_matrix((np.ones(len(past.user)), (past.user, past.item)), shape=(past.users, len(past.products)))
    some = np.flatnonzero(past.taken >= TOGETHER)
    if len(some) > SAMPLED:
        some = np.sort(generator.choice(some, SAMPLED, replace=False))
    together = sparse.csr_matrix(taken[:, some].T @ taken)
    found: dict[int, list[int]] = {}
    for row, product in enumerate(some):
        inside = slice(together.indptr[row], together.indptr[row + 1])
        other, count = together.indices[inside], together.data[inside]
        keep = (other != product) & (count >= TOGETHER)
        other, count = other[keep], count[keep]
        for place in np.argsort(-count / np.sqrt(past.taken[other]), kind="stable")[:COMPLEMENTS]:
            found.setdefault(int(other[place]), []).append(int(product))
    return found


def _moved(before: Answer, after: Answer, products: Sequence[int]) -> float:
    """Mean change of the products' places, as a share of the list, larger is further down; one that is proposed no more stands last."""
    return float(np.mean([_place(after, product) - _place(before, product) for product in products]))


def _place(answer: Answer, product: int) -> float:
    """0 first to 1 last, behind everything that scores as high."""
    here = np.flatnonzero(answer.index == product)
    if not len(here):
        return 1.0
    return float(((answer.scores >= answer.scores[here[0]]).sum() - 1) / max(len(answer.scores) - 1, 1))


def stranger(like: Person) -> Person:
    """Somebody at the same moment of whom nothing is known."""
    nothing = np.full(len(like.scalars), np.nan, np.float32)
    return Person("", like.at, nothing, NO_INTERESTS, NO_HISTORY, NO_CIRCLE, dict.fromkeys(like.times, float("nan")))


def popularity_of(answer: Answer, past: Past) -> float:
    """Mean over the first ten of the share of products that fewer users took, as many count half; 0 for an empty list."""
    first, every = past.taken[answer.ranking()], np.sort(past.taken)
    if not len(first):
        return 0.0
    fewer, not_more = np.searchsorted(every, first, side="left"), np.searchsorted(every, first, side="right")
    return float((fewer + not_more).mean() / 2 / len(every))


def vetoed_shown(shown: Callable[[Sequence[Person]], Sequence[Ranking]], people: Sequence[Person], past: Past) -> int:
    """Products among the first ten of a category that the person asked has just said they dislike: the category of their first product.

    `shown` is the path with the shop's rules, which bars what is disliked; the ranker alone need not.
    """
    shop = Shop.of(past)
    named = [(person, str(shop.keys[first[0]])) for person, first in zip(people, shown(people), strict=True) if len(first)]
    named = [(person, key) for person, key in named if key]
    copies = shown([disliking(person, key) for person, key in named])
    return sum(int((shop.keys[ranking[:K]] == key).sum()) for (_, key), ranking in zip(named, copies, strict=True))
