"""Products that a user's circle chose, as known at the start of a UTC day: the people they follow, and the other members of their groups.

What counts is a choice: a purchase, a review of three stars or more, something put into the cart. A person counts once per product, by the
strongest of their choices, which decays; whoever chose n products speaks with 1 / sqrt(n) for each, so that nobody drowns the others. A followed
person counts as a whole, the groups as the mean of their other members: all of these together as much as one followed person. Trust as a weight of
what others chose: Massa and Avesani 2007, "Trust-aware recommender systems"; Ma et al. 2011, "Recommender systems with social regularization".
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from feature_repo.declarations import CIRCLE_SIZE, HALF_LIFE, SIGNAL_STRENGTH
from feature_repo.events import SIGNALS
from feature_repo.transforms.interest import lists, place_in
from feature_repo.transforms.social import Ties, edges, ties_on
from feature_repo.workbench import DAY_US, US, Workbench

GROUP_PRODUCTS = 32
"""Products that a group passes on: the ones its members chose most."""
WELL = 3
"""Fewest stars of a review that speaks for its product; one without stars does."""
LEAST = 1e-6
"""Weights up to this are left out."""

_CHOICES = {name: SIGNAL_STRENGTH[SIGNALS.index(name)] for name in ("purchase", "review", "cart")}


def circle(bench: Workbench) -> pa.Table:
    """user_circle: user_id (code), at_us, circle_products, circle_weights, circle_people, circle_at.

    One row per user and UTC day of a moment on which their circle has chosen anything, and one for the day after the build's, when its acts become
    known. What was chosen on a day is known from the next day on, and so is a tie.
    """
    made, choices = edges(bench), _choices(bench)
    counts = bench.frame("select (select count(*) from users) as users, (select count(*) from items) as items")
    users, items = int(counts["users"][0]), int(counts["items"][0])
    voices = _Voices(choices, users, items)
    static = ties_on(_last(bench), made, users) if len(made) and made["since_day"].max() <= bench.start_us // DAY_US else None
    parts = []
    for day, who in _asked(bench, made):
        ties = static or ties_on(day, made, users)
        row, product, weight, people = _strongest(*_heard(who, ties, *voices.at(day)), CIRCLE_SIZE)
        there, sizes = np.unique(row, return_counts=True)
        parts.append((who[there], np.full(len(there), day, np.int64), sizes, product, weight, people))
    columns = [np.concatenate(each) for each in zip(*parts, strict=True)] if parts else [np.zeros(0, np.int64)] * 6
    user, days, size, product, weight, people = columns
    offsets = np.r_[0, np.cumsum(size)]
    names = pa.array(bench.frame("select name from items order by product_id")["name"].astype(str), pa.string())
    return pa.table(
        {
            "user_id": pa.array(user, pa.int32()),
            "at_us": pa.array(days * DAY_US, pa.int64()),
            "circle_products": lists(offsets, names.take(pa.array(product, pa.int64()))),
            "circle_weights": lists(offsets, pa.array(weight, pa.float32())),
            "circle_people": lists(offsets, pa.array(people, pa.float32())),
            "circle_at": pa.array(days * DAY_US / US, pa.float64()),
        }
    )


def _last(bench: Workbench) -> int:
    return bench.as_of_us // DAY_US


def _asked(bench: Workbench, made: pd.DataFrame) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """Days, each with the tied users who have a moment on it; at last the day after the build's with all of them."""
    if made.empty:
        return
    last, tied = _last(bench), np.sort(made["user_id"].unique()).astype(np.int32)
    found = bench.arrays(f"select distinct user_id, least(at_us // {DAY_US}, {last}) as day from moments order by day, user_id")
    user, day = (np.asarray(found[name]) for name in ("user_id", "day"))
    keep = np.isin(user, tied)
    user, day = user[keep], day[keep]
    days, starts = np.unique(day, return_index=True)
    for each, start, end in zip(days, starts, np.r_[starts, len(day)][1:], strict=True):
        yield int(each), user[start:end]
    yield last + 1, tied


def _choices(bench: Workbench) -> dict[str, NDArray[Any]]:
    """Choices per person, product and UTC day on which they became known; `took`: bought or rated, not only put into the cart."""
    strength = " ".join(f"when '{name}' then {value}" for name, value in _CHOICES.items())
    found = bench.arrays(
        f"""select user_id, product_id, known_us // {DAY_US} as day, max(case event_type {strength} end)::double as strength,
        bool_or(event_type <> 'cart') as took from acts
        where user_id is not null and product_id is not null and event_type in ({", ".join(f"'{name}'" for name in _CHOICES)})
        and (event_type <> 'review' or coalesce(rating, {WELL}) >= {WELL}) group by all order by day, user_id, product_id"""
    )
    return {name: np.ma.getdata(values) for name, values in found.items()}


class _Voices:
    """What each person says of each product, brought forward day by day."""

    def __init__(self, choices: dict[str, NDArray[Any]], users: int, items: int) -> None:
        self._choices, self._shape, self._done = choices, (users, items), 0
        self._start = int(choices["day"][0]) if len(choices["day"]) else 0
        pairs, self._pair = np.unique(choices["user_id"].astype(np.int64) * max(items, 1) + choices["product_id"], return_inverse=True)
        self._user, self._item = np.divmod(pairs, max(items, 1))
        self._strength, self._took = np.zeros(len(pairs)), np.zeros(len(pairs), bool)

    def at(self, day: int) -> tuple[csr_matrix, csr_matrix]:
        """float32[U, P] twice, of what was chosen before `day`: decayed strength / sqrt(products the person chose); 1 where they took it.

        Days may only rise from call to call.
        """
        now = int(np.searchsorted(self._choices["day"], day))
        new, self._done = slice(self._done, now), now
        # Strengths grow with time instead of fading, so that the strongest of a person's choices stays the strongest.
        grown = self._choices["strength"][new] * 2.0 ** ((self._choices["day"][new] - self._start) / HALF_LIFE.days)
        np.maximum.at(self._strength, self._pair[new], grown)
        np.logical_or.at(self._took, self._pair[new], self._choices["took"][new])
        known = np.flatnonzero(self._strength > 0)
        user, item = self._user[known], self._item[known]
        count = np.bincount(user, minlength=self._shape[0])
        weight = self._strength[known] * 2.0 ** (-(day - 1 - self._start) / HALF_LIFE.days) / np.sqrt(count[user])
        ends = np.r_[0, np.cumsum(count)]
        return tuple(csr_matrix((values.astype(np.float32), item, ends), self._shape) for values in (weight, self._took[known]))


def _heard(who: NDArray[np.int32], ties: Ties, weights: csr_matrix, took: csr_matrix) -> tuple[csr_matrix, csr_matrix]:
    """float32[len(who), P]: the weight of each product in the circle of each of `who`, and people who took it.

    People are never more than there are: of somebody's groups the mean counts, and of groups and followed people the larger number, because one
    person may be in several of them.
    """
    follows, mine = ties.follows[who], ties.members[who]
    heard, people = follows @ weights, follows @ took
    if mine.nnz:
        crowd = _top(ties.members.T.tocsr() @ weights, GROUP_PRODUCTS)
        there = crowd.astype(bool).astype(np.float32)
        groups = mine @ there  # of one's groups, those that pass the product on
        others = (mine @ crowd - groups.multiply(weights[who])).tocsr()
        others.data /= np.repeat(np.maximum(ties.comembers[who], 1), np.diff(others.indptr))
        takers = (mine @ there.multiply(ties.members.T.tocsr() @ took) - groups.multiply(took[who])).multiply(groups.power(-1))
        heard, people = heard + others, people.maximum(takers.tocsr())
    return csr_matrix(heard), csr_matrix(people)


def _top(matrix: csr_matrix, most: int) -> csr_matrix:
    """The largest values of each row; of equal ones the first."""
    found = csr_matrix(matrix)
    found.sort_indices()
    for row in np.flatnonzero(np.diff(found.indptr) > most):
        values = found.data[found.indptr[row] : found.indptr[row + 1]]
        edge = np.partition(values, -most)[-most]
        equal = np.flatnonzero(values == edge)
        values[values < edge] = 0
        values[equal[most - int((values > edge).sum()) :]] = 0
    found.eliminate_zeros()
    return found


def _strongest(heard: csr_matrix, people: csr_matrix, most: int) -> tuple[NDArray[Any], ...]:
    """Row, product, weight and people of the largest weights of each row, the largest first."""
    found = csr_matrix(heard)
    found.data[found.data <= LEAST] = 0
    found = _top(found, most)
    found.eliminate_zeros()
    # One more than the people, for a sparse matrix forgets its zeros.
    more = csr_matrix(found.astype(bool).astype(np.float32).multiply(people) + found.astype(bool).astype(np.float32))
    more.sort_indices()
    row = np.repeat(np.arange(found.shape[0]), np.diff(found.indptr))
    order = np.lexsort((found.indices, -found.data, row))
    order = order[place_in(row[order]) < most]
    return row[order], found.indices[order].astype(np.int64), found.data[order], more.data[order] - 1
