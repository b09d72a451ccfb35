"""How good a ranking is, from what people did afterwards; and the table that is printed beside the ranker.

Measures for one user with targets T and a ranked list, at cut-off k (Järvelin and Kekäläinen 2002 for NDCG, Voorhees 1999 for MRR):

    HR@k   1 if a target is among the first k
    NDCG@k sum over hits at rank r of 1/log2(1+r), over the same sum for min(k, |T|) hits at the top
    MRR@k  1 / rank of the first hit, 0 without one
    MAP@k  mean over hits of precision at their rank, over min(k, |T|)

A figure is the mean over users. What hits don't tell is in beyond_accuracy.py, the figures of parts of a shop in slices.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

K = 10
SURE = 1.645
"""Standard errors of a one-sided 95 % bound."""
Ranking = NDArray[np.int32]  # int32[m], positions of products, best first


@dataclass(frozen=True)
class Targets:
    """What the users of a period really did: `products` are the positions of distinct products, `repeat` which of them they had bought before."""

    user_ids: tuple[str, ...]
    products: tuple[frozenset[int], ...]
    repeat: tuple[frozenset[int], ...]

    def slice(self, name: str) -> tuple[frozenset[int], ...]:
        """Targets of a slice: "all", "repeat" or "new" (not bought by this user before)."""
        if name == "all":
            return self.products
        if name == "repeat":
            return self.repeat
        return tuple(every - again for every, again in zip(self.products, self.repeat, strict=True))


SLICES = ("all", "repeat", "new")


def measures(ranking: Sequence[int] | Ranking, targets: frozenset[int], k: int = K) -> dict[str, float]:
    """HR, NDCG, MRR and MAP at k of one list. A list shorter than k is as if nothing followed.

    Raises:
        ValueError: no targets.
    """
    if not targets:
        raise ValueError("a user without targets has no measures")
    hits = np.array([int(product) in targets for product in ranking[:k]], np.float64)
    ranks = np.arange(1, len(hits) + 1)
    ideal = (1.0 / np.log2(1.0 + np.arange(1, min(k, len(targets)) + 1))).sum()
    precision = np.cumsum(hits) / ranks
    first = ranks[hits > 0]
    return {
        f"hr_{k}": float(hits.any()),
        f"ndcg_{k}": float((hits / np.log2(1.0 + ranks)).sum() / ideal),
        f"mrr_{k}": float(1.0 / first[0]) if len(first) else 0.0,
        f"map_{k}": float((precision * hits).sum() / min(k, len(targets))),
    }


def evaluate(rankings: Sequence[Ranking], targets: Targets, k: int = K) -> dict[str, dict[str, float]]:
    """Slice -> measure -> figure. The list is the same in every slice; users without a target in a slice don't count in it.

    Key `users` says how many did.
    """
    found: dict[str, dict[str, float]] = {}
    for name in SLICES:
        rows = [measures(ranking, wanted, k) for ranking, wanted in zip(rankings, targets.slice(name), strict=True) if wanted]
        found[name] = {measure: float(np.mean([row[measure] for row in rows])) for measure in rows[0]} if rows else {}
        found[name]["users"] = float(len(rows))
    return found


def ndcgs(rankings: Sequence[Ranking], products: Sequence[frozenset[int]], k: int = K) -> NDArray[np.float64]:
    """NDCG at k of each user: float64[users]."""
    return np.array([measures(ranking, wanted, k)[f"ndcg_{k}"] for ranking, wanted in zip(rankings, products, strict=True)])


def lower(gains: NDArray[np.float64]) -> float:
    """Lower end of the 95 % interval (one-sided) of a mean difference; needs two values or more."""
    return float(np.mean(gains) - SURE * np.std(gains, ddof=1) / np.sqrt(len(gains)))


def upper(gains: NDArray[np.float64]) -> float:
    """Upper end of the 95 % interval (one-sided) of a mean difference; needs two values or more."""
    return float(np.mean(gains) + SURE * np.std(gains, ddof=1) / np.sqrt(len(gains)))


def recall(candidates: Sequence[Ranking], targets: Targets) -> float:
    """Mean share of a user's targets that are among their candidates: what no ranker can make up for."""
    shares = [len(wanted & {int(product) for product in found}) / len(wanted) for found, wanted in zip(candidates, targets.products, strict=True)]
    return float(np.mean(shares)) if shares else 0.0


Report = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Method -> slice -> measure -> figure."""


BEYOND = ("coverage", "gini", "diversity", "novelty", "popularity", "popularity_lift", "calibration")


def table(report: Report, k: int = K) -> list[str]:
    """The report as printed text: one block per slice and one of what hits don't tell, one line per method."""
    names = [f"{measure}_{k}" for measure in ("hr", "ndcg", "mrr", "map")]
    titles = {"all": "all targets", "repeat": "repeat targets (bought before by this customer)", "new": "new-to-customer targets"}
    lines: list[str] = []
    for part, title in titles.items():
        users = max((int(slices[part]["users"]) for slices in report.values()), default=0)
        rows = {method: slices[part] for method, slices in report.items() if slices[part]["users"]}
        lines += [f"{title}, {users} users", *_block(rows, names, k)]
    rows = {method: slices["all"] for method, slices in report.items() if f"coverage_{k}" in slices["all"]}
    return [*lines, f"beyond accuracy, first {k}", *_block(rows, [f"{measure}_{k}" for measure in BEYOND], k)] if rows else lines


def _block(rows: Mapping[str, Mapping[str, float]], names: Sequence[str], k: int) -> list[str]:
    heads = [name.removesuffix(f"_{k}").replace("_", " ") for name in names]
    heads = [f"{head.upper()}@{k}" if len(head) <= 4 and head != "gini" else head for head in heads]
    lines = ["  " + " " * 26 + "".join(f"{head:>17}" for head in heads)]
    return lines + [f"  {method:<26}" + "".join(f"{row[name]:>17.4f}" for name in names) for method, row in rows.items()]
