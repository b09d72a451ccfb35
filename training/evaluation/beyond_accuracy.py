"""What hits don't tell of the lists: how much of the catalogue they show, how new, how varied, how popular and how true to each user's mix they are.

At cut-off k, over the lists of all users measured:

    coverage         share of the catalogue that stands in anyone's first k
    gini             Gini coefficient of how often each product of the catalogue is shown; 0 all alike, 1 only one (Fleder and Hosanagar 2009)
    diversity        mean share of distinct categories among a list's first k
    novelty          mean self-information of what is shown, in bits: -log2 of the share of users who took it (Zhou et al. 2010; Vargas and Castells
                     2011)
    popularity       mean share of users who took what is shown (average recommendation popularity, Abdollahpouri et al. 2019)
    popularity_lift  that, over the same mean of the users' own histories, less 1: 0 as popular as their own taste (Abdollahpouri et al. 2019, group
                     average popularity)
    calibration      Kullback-Leibler divergence, in nats, of the list's mix of categories from the history's; 0 the same mix (Steck 2018)

A product that nobody took counts as taken by one in novelty. Users without a list count in none of them, users without a history not in the last two.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluate import K, Ranking
from training.evaluation.past import Past, Places

SMOOTHING = 0.01
"""Steck's alpha: the list's mix is taken with this much of the history's, so that a category it lacks costs a finite amount."""


def beyond_accuracy(rankings: Sequence[Ranking], past: Past, before: Sequence[frozenset[str]], k: int = K) -> dict[str, float]:
    """Measure -> figure; `before` are the ids of the products that each user had taken."""
    sizes = np.array([min(len(ranking), k) for ranking in rankings], np.int64)
    user = np.repeat(np.arange(len(rankings)), sizes)
    shown = np.concatenate([np.asarray(ranking[:k], np.int64) for ranking in rankings]) if len(user) else np.zeros(0, np.int64)
    listed = sizes > 0
    _, category = np.unique(past.products.categories, return_inverse=True)
    kinds = int(category.max(initial=-1)) + 1
    distinct = np.bincount(np.unique(user * max(kinds, 1) + category[shown]) // max(kinds, 1), minlength=len(rankings))
    share = past.taken / max(past.users, 1)
    popularity = _mean_by(user, share[shown], len(rankings))
    known, owned = past.histories(before)
    own = _mean_by(known, share[owned], len(rankings))
    both = listed & (np.bincount(known, minlength=len(rankings)) > 0)
    information = -np.log2(np.maximum(past.taken, 1) / max(past.users, 1))
    lift = popularity[both].mean() / own[both].mean() - 1.0 if own[both].sum() > 0 else 0.0
    found = {
        "coverage": len(np.unique(shown)) / max(len(past.products), 1),
        "gini": gini(np.bincount(shown, minlength=len(past.products))),
        "diversity": _mean(distinct[listed] / sizes[listed]),
        "novelty": _mean(_mean_by(user, information[shown], len(rankings))[listed]),
        "popularity": _mean(popularity[listed]),
        "popularity_lift": float(lift),
        "calibration": _calibration(user, shown, known, owned, past.products.categories, both),
    }
    return {f"{name}_{k}": float(value) for name, value in found.items()}


def gini(counts: NDArray[np.int64]) -> float:
    """Gini coefficient of non-negative counts; 0 without any."""
    total, n = counts.sum(), len(counts)
    if total == 0:
        return 0.0
    return float(2.0 * (np.arange(1, n + 1) * np.sort(counts)).sum() / (n * total) - (n + 1) / n)


def _calibration(
    user: Places, shown: Places, known: Places, owned: Places, categories: NDArray[np.str_], both: NDArray[np.bool_], alpha: float = SMOOTHING
) -> float:
    """Mean over the users in `both` whose list and history name a category; products without one are left out."""
    names, code = np.unique(categories, return_inverse=True)
    named = categories != ""
    mixes = []
    for who, what in ((known, owned), (user, shown)):
        kept = named[what] & both[who]
        pair, count = np.unique(who[kept] * len(names) + code[what[kept]], return_counts=True)
        total = np.bincount(pair // max(len(names), 1), weights=count, minlength=len(both))
        mixes.append((pair, count / total[pair // max(len(names), 1)], total))
    (pair, p, total), (of_list, share, listed) = mixes
    if not len(pair) or not len(of_list):
        return 0.0
    place = np.minimum(np.searchsorted(of_list, pair), len(of_list) - 1)
    q = np.where(of_list[place] == pair, share[place], 0.0)
    divergence = np.bincount(pair // len(names), weights=p * np.log(p / ((1 - alpha) * q + alpha * p)), minlength=len(both))
    return _mean(divergence[(total > 0) & (listed > 0)])


def _mean_by(user: Places, values: NDArray[np.float64], users: int) -> NDArray[np.float64]:
    """Mean value of each user, 0 without any: float64[users]."""
    return np.asarray(np.bincount(user, weights=values, minlength=users) / np.maximum(np.bincount(user, minlength=users), 1), np.float64)


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else 0.0
