"""Chooses the blend of a ranker on the tuning period, so that no kind of product is worse off than with the best single method.

For each weight of that method, the lift of each category, of each third of the prices and of the tail is raised while the method is not MARGIN
behind there, and lowered while it is further behind (dual ascent on the Lagrangian of that constraint; Boyd and Vandenberghe 2004, section 5).
Figures jump as lifts move, so where no round satisfies all, the mean of the later rounds is taken (Nedic and Ozdaglar 2009). Of the weights the
largest is chosen whose NDCG is within a standard error of the best (Breiman et al. 1984, section 3.4.3): nearest to what works already.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from training.evaluation.past import Places
from training.evaluation.slices import MARGIN, MEASURES, OUT_OF_REACH, Outcomes, by_user
from training.ranker.blend import DISLIKED, NO_BLEND, OTHERS, POPULARITY, TAIL, Blend, Floats, Names

log = logging.getLogger(__name__)

WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
FEWEST = 100
"""Targets of the tuning period with which a kind of product is looked at by itself; the categories with fewer are looked at together."""
ROUNDS, STEP, SLOWER, LARGEST_STEP, NEAR = 20, 1.0, 5, 0.1, 0.01
"""Of the ascent: rounds at most, lift per share that is missing (half of it after SLOWER rounds, and so on), the largest lift of a round, and the
missing share that is near enough."""
DISLIKE = 1.0
"""What a stated dislike takes from a score: trees see too few of them to learn it, and the shelf's veto hides that they did not."""
ROUNDING = 1e-9
FIRST = 20
"""`usual` is the mean over the first so many proposals of a list."""


@dataclass(frozen=True)
class Field:
    """The candidates of some people with their ranker rows, and the scores of a ranker that did not learn from these people's targets."""

    matrix: Floats  # float32[n, F]
    feature_names: Sequence[str]
    categories: Names  # str[n]
    product: Places  # int64[n], positions in the retrievers' products
    scores: Floats  # float32[n]
    ranks: Callable[[Floats], Places]  # scores float32[n] -> rank int64[T] of each target

    def head_from(self, feature: str, head: NDArray[np.bool_]) -> float:
        """Value of `feature` from which as many of the products are popular as there are in `head` bool[P]."""
        latest = np.full(len(head), -1.0)  # of a product seen at several moments, of what only grows
        np.maximum.at(latest, self.product, np.nan_to_num(self.matrix[:, self.feature_names.index(feature)]))
        values, count = np.sort(latest[latest >= 0])[::-1], int(head[latest >= 0].sum())
        return float(values[count - 1]) if count else 0.0


def ranks_among(user: Places, users: int, at: Places) -> Callable[[Floats], Places]:
    """Ranks from 0 of targets within each user's candidates; equal scores rank as candidates do.

    Args:
        user: int64[n], rising, whose candidate each row is.
        users: how many there are.
        at: int64[T], row of each target, -1 for one that is no candidate.
    """
    begins = np.searchsorted(user, np.arange(users))

    def ranks(scores: Floats) -> Places:
        order = np.lexsort((-scores, user))
        rank = np.empty(len(user), np.int64)
        rank[order] = np.arange(len(user)) - begins[user[order]]
        return np.where(at >= 0, rank[at], OUT_OF_REACH)

    return ranks


def chosen(
    field: Field, outcomes: Outcomes, parts: Mapping[tuple[str, str], NDArray[np.bool_]], head: NDArray[np.bool_], method: str, kind: str
) -> Blend:
    """The blend.

    Args:
        field: the candidates.
        outcomes: the targets, and their ranks by the one method in it, the best single one.
        parts: (kind, name) -> bool[T], slices of the targets.
        head: bool[P], which products are the most taken.
        method: name of that method's retriever.
        kind: type of event that rankings are judged by.

    Returns:
        `NO_BLEND` where there are no targets.
    """
    if not len(outcomes.user) or not len(field.matrix):
        return NO_BLEND
    baseline = next(iter(outcomes.ranks))
    kinds = {about: TAIL if about == ("products", "tail") else f"{about[0]}:{about[1]}" for about in parts}
    looked_at = {
        kinds[about]: inside
        for about, inside in parts.items()
        if (about[0] in ("category", "price") or about == ("products", "tail")) and inside.sum() >= FEWEST
    }
    own = [inside for about, inside in parts.items() if about[0] == "category" and kinds[about] in looked_at]
    others = ~np.any(own, axis=0) if own else np.ones(len(outcomes.user), bool)
    if own and others.sum() >= FEWEST:
        looked_at[OTHERS] = others
    popularity = POPULARITY[kind]
    first = field.matrix[:, field.feature_names.index(f"rank_{method}")] <= FIRST
    plain = Blend(method, 0.0, popularity, field.head_from(popularity, head), dislike=DISLIKE if DISLIKED in field.feature_names else 0.0)
    base = {name: by_user(outcomes, inside, [baseline]) for name, inside in looked_at.items()}
    tries = _Tried(field, outcomes, looked_at, base, first)
    found: list[tuple[float, float, Blend]] = []
    for weight in tqdm(WEIGHTS, desc="blend", unit="weight", leave=False, disable=None):
        blend, missing, gains = tries.ascended(replace(plain, weight=weight))
        found.append((float(gains.mean()), float(gains.std() / np.sqrt(len(gains))), blend))
        log.info("Blend: weight %.1f of %s, NDCG@10 %.4f, %.3f missing at worst, lifts %s.", weight, method, found[-1][0], missing, blend.lifts)
    figure, error, _ = max(found, key=lambda each: each[0])
    return next(blend for mean, _, blend in reversed(found) if mean >= figure - error)


@dataclass(frozen=True)
class _Tried:
    """Tries blends on the tuning period's lists. `looked_at`: lift -> its targets bool[T]; `base`: the best single method's figures there, as
    `by_user` gives them; `first` bool[n]: what that method proposes first."""

    field: Field
    outcomes: Outcomes
    looked_at: Mapping[str, NDArray[np.bool_]]
    base: Mapping[str, NDArray[np.float64]]
    first: NDArray[np.bool_]

    def ascended(self, plain: Blend) -> tuple[Blend, float, NDArray[np.float64]]:
        """The blend with the lifts that the ascent finds, what is missing at worst with it, and each user's NDCG float64[users]."""
        lifts, later = dict.fromkeys(self.looked_at, 0.0), []
        for number in range(ROUNDS):
            blend, missing, gains = self.tried(plain, lifts)
            worst = max(missing.values(), default=0.0)
            if worst <= NEAR or (not any(lifts.values()) and worst <= MARGIN + ROUNDING):  # nothing is behind the method, so nothing has to be lifted
                return blend, worst, gains
            if number >= ROUNDS // 2:
                later.append(lifts)
            step = STEP / (1 + number / SLOWER)
            lifts = {name: max(0.0, lift + min(LARGEST_STEP, step * missing[name])) for name, lift in lifts.items()}
        blend, missing, gains = self.tried(plain, {name: float(np.mean([each[name] for each in later])) for name in lifts})
        return blend, max(missing.values(), default=0.0), gains

    def tried(self, plain: Blend, lifts: Mapping[str, float]) -> tuple[Blend, dict[str, float], NDArray[np.float64]]:
        """The blend with these lifts, the share missing per lift, and each user's NDCG float64[users]."""
        field = self.field
        blend = _centred(replace(plain, lifts=dict(lifts) if any(lifts.values()) else {}), field, self.first)
        scores = field.scores + blend.added(field.matrix, field.feature_names, field.categories)
        now = replace(self.outcomes, ranks={"stack": field.ranks(scores)})
        missing = {name: _missing(by_user(now, inside, ["stack"]), self.base[name]) for name, inside in self.looked_at.items()}
        return blend, missing, by_user(now, np.ones(len(now.user), bool), ["stack"])[:, -1]


def _centred(blend: Blend, field: Field, first: NDArray[np.bool_]) -> Blend:
    """With the mean lift of what the method proposes first, and the mean of what places add."""
    added = replace(blend, weight=0.0, dislike=0.0).added(field.matrix[first], field.feature_names, field.categories[first])
    places = next(iter(blend.of_features(field.matrix, field.feature_names).values()))
    return replace(blend, usual=float(added.mean()) if len(added) else 0.0, usual_place=float(places.mean()))


def _missing(stack: NDArray[np.float64], base: NDArray[np.float64]) -> float:
    """The share that the stack's figure misses to be MARGIN above the baseline's, in the worse of the measures; negative where it is above that.

    Each float64[users, 1 + measures], as `by_user` gives them for one method.
    """
    mine, theirs = stack[:, 1:].sum(axis=0), base[:, 1:].sum(axis=0)
    return float(np.max([(1 + MARGIN) * theirs[n] / max(mine[n], 1e-9) - 1.0 for n in range(len(MEASURES)) if theirs[n] > 0] or [-MARGIN]))
