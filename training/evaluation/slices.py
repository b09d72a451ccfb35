"""The figures of each part of a shop: light and heavy users, head, tail and new products, categories, price bands, each with its interval.

    users     by how many products they had taken: light up to the lower tercile, heavy above the upper one, medium between
    products  by how many users had taken the target: head the most taken that make up half of all pairs of user and product, tail the other ones,
              new what nobody had taken
    targets   repeat (the user had taken it before) and first-time
    category  of the target: those with FEWEST_TARGETS or more, and the BIGGEST largest ones in any case
    price     of the target in its category at the cut: lower, middle and upper third; products without a price are in none

A user counts in a slice with the targets that are in it; the list is the same in every slice. An interval is the 95 % percentile interval over
resampled users (Efron and Tibshirani 1993, chapter 13), the same resamples for every slice and method. The stack's lead over the baseline, the
single method that was best overall on the tuning period, is resampled in pairs. The baseline *wins* a slice of FEWEST_TARGETS or more targets if it
is better by more than MARGIN and the interval of the lead lies below zero.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluate import K, Ranking, Targets
from training.evaluation.past import Past, Places

FEWEST_TARGETS = 500
"""A slice with fewer targets is reported and not judged."""
MARGIN = 0.05
BIGGEST = 5
DRAWS = 1000
AT_ONCE = 100
"""Resamples that are in memory together."""
OUT_OF_REACH = 10**6
MEASURES = (f"hr_{K}", f"ndcg_{K}")

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Outcomes:
    """One row per user and target. `product` is negative for one that the retrievers don't know; `ranks` count from 0, per method."""

    user: Places  # int64[T], rising
    product: Places  # int64[T]
    repeat: Mask  # bool[T]
    users: int
    ranks: Mapping[str, Places]  # int64[T] each, OUT_OF_REACH where the target is not in the list

    @classmethod
    def of(cls, rankings: Mapping[str, Sequence[Ranking]], targets: Targets, k: int = K) -> "Outcomes":
        """From the first k of each list."""
        rows = [(user, product) for user, wanted in enumerate(targets.products) for product in sorted(wanted)]
        user, product = (np.array(column, np.int64) for column in zip(*rows, strict=True)) if rows else (np.zeros(0, np.int64), np.zeros(0, np.int64))
        repeat = np.array([target in targets.repeat[who] for who, target in rows], bool)
        ranks = {}
        for method, lists in rankings.items():
            first = np.full((len(lists), k), np.iinfo(np.int64).min)
            for row, ranking in enumerate(lists):
                first[row, : min(k, len(ranking))] = ranking[:k]
            hit = first[user] == product[:, None]
            ranks[method] = np.where(hit.any(axis=1), hit.argmax(axis=1), OUT_OF_REACH)
        return cls(user, product, repeat, len(targets.products), ranks)


@dataclass(frozen=True)
class Estimate:
    """A mean over users and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Slice:
    """One slice: method -> measure -> figure, the stack's lead over the baseline by measure, and the measures in which the baseline wins."""

    kind: str
    name: str
    users: int
    targets: int
    methods: Mapping[str, Mapping[str, Estimate]]
    lead: Mapping[str, Estimate]
    lost: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return self.name if self.kind in ("all", "cold start") else f"{self.kind}: {self.name}"


@dataclass(frozen=True)
class Sliced:
    """All slices, what they are cut by, and which method the stack is compared with."""

    stack: str
    baseline: str
    cuts: Mapping[str, float]
    slices: tuple[Slice, ...]

    @property
    def lost(self) -> tuple[str, ...]:
        """Titles of the slices in which the baseline wins in some measure."""
        return tuple(part.title for part in self.slices if part.lost)

    def with_slices(self, more: Sequence[Slice]) -> "Sliced":
        return replace(self, slices=(*self.slices, *more))

    def renamed(self, title: Callable[[str], str]) -> "Sliced":
        """The same with other names for the methods."""
        parts = tuple(replace(part, methods={title(name): found for name, found in part.methods.items()}) for part in self.slices)
        return replace(self, stack=title(self.stack), baseline=title(self.baseline), slices=parts)

    def json(self) -> dict[str, Any]:
        return asdict(self)


def sliced(outcomes: Outcomes, past: Past, before: Sequence[frozenset[str]], stack: str, baseline: str, methods: Sequence[str], seed: int) -> Sliced:
    """Every slice that has a target. `before`: ids of what each user had taken; `methods` are the ones to show beside stack and baseline."""
    parts, cuts = parts_of(outcomes, past, before)
    return Sliced(stack, baseline, cuts, estimated(outcomes, parts, stack, baseline, methods, seed))


def parts_of(
    outcomes: Outcomes, past: Past, before: Sequence[frozenset[str]], fewest: int = FEWEST_TARGETS
) -> tuple[dict[tuple[str, str], Mask], dict[str, float]]:
    """(kind, name) -> which targets are in the slice, and the cuts. Categories: those of `fewest` targets or more, and the BIGGEST ones."""
    earlier = np.array([len(products) for products in before], np.int64)
    few, many = np.quantile(earlier, [1 / 3, 2 / 3], method="inverted_cdf") if len(earlier) else (0, 0)
    mine, known = earlier[outcomes.user], outcomes.product >= 0
    head = head_of(past.taken)
    of_head, taken = _of(outcomes, head), _of(outcomes, past.taken > 0)
    parts = {
        ("all", "all targets"): np.ones(len(mine), bool),
        ("users", "light"): mine <= few,
        ("users", "medium"): (mine > few) & (mine <= many),
        ("users", "heavy"): mine > many,
        ("products", "head"): of_head,
        ("products", "tail"): taken & ~of_head,
        ("products", "new"): ~taken,
        ("targets", "repeat"): outcomes.repeat,
        ("targets", "first-time"): ~outcomes.repeat,
    }
    categories = past.products.categories[outcomes.product[known]]
    names, sizes = np.unique(categories[categories != ""], return_counts=True)
    for place, category in enumerate(np.argsort(-sizes, kind="stable")):
        if place < BIGGEST or sizes[category] >= fewest:
            parts["category", str(names[category]).removeprefix("category:")] = _of(outcomes, past.products.categories == names[category])
    rank = past.price_rank
    for name, inside in {"lower third": rank < 1 / 3, "middle third": (rank >= 1 / 3) & (rank < 2 / 3), "upper third": rank >= 2 / 3}.items():
        parts["price", name] = _of(outcomes, inside)
    return parts, {"light_up_to": float(few), "heavy_above": float(many), "head_products": float(head.sum())}


def head_of(taken: NDArray[np.int64]) -> Mask:
    """The fewest products that make up half of all pairs, bool[P]; equal ones in the order of products."""
    order = np.argsort(-taken, kind="stable")
    found = np.zeros(len(taken), bool)
    found[order[np.cumsum(taken[order]) - taken[order] < taken.sum() / 2]] = True
    return found & (taken > 0)


def _of(outcomes: Outcomes, inside: Mask) -> Mask:
    """Which targets are products in `inside` bool[P]; one that is not known is not."""
    known = outcomes.product >= 0
    found = np.zeros(len(known), bool)
    found[known] = inside[outcomes.product[known]]
    return found


def estimated(
    outcomes: Outcomes, parts: Mapping[tuple[str, str], Mask], stack: str, baseline: str, methods: Sequence[str], seed: int
) -> tuple[Slice, ...]:
    """The figures of the parts that have a target."""
    parts = {about: inside for about, inside in parts.items() if inside.any()}
    if not parts:
        return ()
    shown = tuple(dict.fromkeys([stack, baseline, *methods]))
    # float64[users, slices, 1 + methods x measures]: whether the user has a target there, and the measures.
    values = np.stack([by_user(outcomes, inside, shown) for inside in parts.values()], axis=1)
    whole, drawn = values.sum(axis=0), _resampled(values, seed)
    means = whole[:, 1:] / whole[:, :1]
    with np.errstate(invalid="ignore"):
        resampled = drawn[:, :, 1:] / drawn[:, :, :1]  # NaN where a resample holds nobody of a small slice
    return tuple(
        _slice(about, int(whole[place, 0]), int(inside.sum()), shown, means[place], resampled[:, place])
        for place, (about, inside) in enumerate(parts.items())
    )


def by_user(outcomes: Outcomes, inside: Mask, methods: Sequence[str], k: int = K) -> NDArray[np.float64]:
    """float64[users, 1 + methods x measures] of one slice."""
    user = outcomes.user[inside]
    count = np.bincount(user, minlength=outcomes.users)
    ideal = np.concatenate([[1.0], np.cumsum(1.0 / np.log2(2.0 + np.arange(k)))])[np.minimum(count, k)]
    found = [(count > 0).astype(np.float64)]
    for method in methods:
        rank = outcomes.ranks[method][inside]
        hit = rank < k
        found.append((np.bincount(user, weights=hit, minlength=outcomes.users) > 0).astype(np.float64))
        found.append(np.bincount(user, weights=hit / np.log2(2.0 + rank), minlength=outcomes.users) / ideal)
    return np.stack(found, axis=1)


def _resampled(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Sums over DRAWS resamples of as many users as there are: float64[DRAWS, slices, columns]."""
    generator, users = np.random.default_rng(seed), len(values)
    flat, found = values.reshape(users, -1), []
    for _ in range(DRAWS // AT_ONCE):
        drawn = generator.integers(0, users, (AT_ONCE, users)) + np.arange(AT_ONCE)[:, None] * users
        found.append(np.bincount(drawn.ravel(), minlength=AT_ONCE * users).reshape(AT_ONCE, users).astype(np.float64) @ flat)
    return np.concatenate(found).reshape(DRAWS, *values.shape[1:])


def _slice(
    about: tuple[str, str], users: int, targets: int, methods: Sequence[str], means: NDArray[np.float64], resampled: NDArray[np.float64]
) -> Slice:
    """`methods` begin with stack and baseline; `means` float64[columns], `resampled` float64[DRAWS, columns]."""
    resampled = resampled[~np.isnan(resampled).any(axis=1)]
    n = len(MEASURES)
    figures = {
        method: {name: _estimate(means[place * n + column], resampled[:, place * n + column]) for column, name in enumerate(MEASURES)}
        for place, method in enumerate(methods)
    }
    second = n if len(methods) > 1 and methods[1] != methods[0] else 0
    lead = {
        name: _estimate(means[column] - means[second + column], resampled[:, column] - resampled[:, second + column])
        for column, name in enumerate(MEASURES)
    }
    lost = tuple(
        name
        for column, name in enumerate(MEASURES)
        if targets >= FEWEST_TARGETS and means[second + column] > (1 + MARGIN) * means[column] and lead[name].high < 0
    )
    return Slice(*about, users, targets, figures, lead, lost)


def _estimate(value: float, draws: NDArray[np.float64]) -> Estimate:
    low, high = np.percentile(draws, [2.5, 97.5]) if len(draws) else (value, value)
    return Estimate(float(value), float(low), float(high))


def lines(found: Sliced) -> list[str]:
    """As printed text: one line per slice, NDCG with its interval."""
    name = MEASURES[-1]
    methods = list(found.slices[0].methods) if found.slices else []
    head = f"  {'':<34}{'users':>7}{'targets':>9}" + "".join(f"{method[:22]:>24}" for method in methods)
    rows = [f"NDCG@{K} by slice, with 95 % intervals over users; the baseline is {found.baseline}", head + f"{'lead over the baseline':>28}"]
    for part in found.slices:
        figures = "".join(f"{_text(part.methods[method][name]):>24}" if method in part.methods else f"{'':>24}" for method in methods)
        rows.append(
            f"  {part.title[:33]:<34}{part.users:>7}{part.targets:>9}{figures}{_text(part.lead[name], sign=True):>28}{'  LOST' if part.lost else ''}"
        )
    return rows


def _text(estimate: Estimate, sign: bool = False) -> str:
    plus = "+" if sign else ""
    return f"{estimate.value:{plus}.4f} [{estimate.low:{plus}.3f}, {estimate.high:{plus}.3f}]"
