"""How good a ranking is, from what people did afterwards; and the table that is printed beside the ranker.

Measures for one user with targets T and a ranked list, at cut-off k (Järvelin and Kekäläinen 2002 for NDCG, Voorhees 1999 for MRR):

    HR@k   1 if a target is among the first k
    NDCG@k sum over hits at rank r of 1/log2(1+r), over the same sum for min(k, |T|) hits at the top
    MRR@k  1 / rank of the first hit, 0 without one
    MAP@k  mean over hits of precision at their rank, over min(k, |T|)

A figure is the mean over users. Coverage is the share of the catalogue that stands in anyone's first k; diversity the mean share of
distinct categories among a list's first k.
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


def evaluate(rankings: Sequence[Ranking], targets: Targets, categories: Sequence[str], k: int = K) -> dict[str, dict[str, float]]:
    """Slice -> measure -> figure. The list is the same in every slice; users without a target in a slice don't count in it.

    Key `users` says how many did.
    `categories` names the category of each product of the catalogue, "" for none.
    """
    found: dict[str, dict[str, float]] = {}
    for name in SLICES:
        rows = [measures(ranking, wanted, k) for ranking, wanted in zip(rankings, targets.slice(name), strict=True) if wanted]
        found[name] = {measure: float(np.mean([row[measure] for row in rows])) for measure in rows[0]} if rows else {}
        found[name]["users"] = float(len(rows))
    found["all"][f"coverage_{k}"] = coverage(rankings, len(categories), k)
    found["all"][f"diversity_{k}"] = diversity(rankings, categories, k)
    return found


def ndcgs(rankings: Sequence[Ranking], products: Sequence[frozenset[int]], k: int = K) -> NDArray[np.float64]:
    """NDCG at k of each user: float64[users]."""
    return np.array([measures(ranking, wanted, k)[f"ndcg_{k}"] for ranking, wanted in zip(rankings, products, strict=True)])


def upper(gains: NDArray[np.float64]) -> float:
    """Upper end of the 95 % interval (one-sided) of a mean difference; needs two values or more."""
    return float(np.mean(gains) + SURE * np.std(gains, ddof=1) / np.sqrt(len(gains)))


def coverage(rankings: Sequence[Ranking], catalogue: int, k: int = K) -> float:
    """Share of the catalogue that stands among anyone's first k."""
    shown = {int(product) for ranking in rankings for product in ranking[:k]}
    return len(shown) / catalogue if catalogue else 0.0


def diversity(rankings: Sequence[Ranking], categories: Sequence[str], k: int = K) -> float:
    """Mean over users of distinct categories among their first k, per product shown."""
    shares = [len({categories[int(product)] for product in ranking[:k]}) / len(ranking[:k]) for ranking in rankings if len(ranking)]
    return float(np.mean(shares)) if shares else 0.0


def recall(candidates: Sequence[Ranking], targets: Targets) -> float:
    """Mean share of a user's targets that are among their candidates: what no ranker can make up for."""
    shares = [len(wanted & {int(product) for product in found}) / len(wanted) for found, wanted in zip(candidates, targets.products, strict=True)]
    return float(np.mean(shares)) if shares else 0.0


Report = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Method -> slice -> measure -> figure."""


def table(report: Report, k: int = K) -> list[str]:
    """The report as printed text, one block per slice, one line per method."""
    names = [f"hr_{k}", f"ndcg_{k}", f"mrr_{k}", f"map_{k}"]
    titles = {"all": "all targets", "repeat": "repeat targets (bought before by this customer)", "new": "new-to-customer targets"}
    lines: list[str] = []
    for part, title in titles.items():
        users = max((int(slices[part]["users"]) for slices in report.values()), default=0)
        extra = [f"coverage_{k}", f"diversity_{k}"] if part == "all" else []
        lines += [f"{title}, {users} users", "  " + " " * 26 + "".join(f"{name.replace('_', '@').upper():>14}" for name in [*names, *extra])]
        for method, slices in report.items():
            if slices[part]["users"]:
                lines.append(f"  {method:<26}" + "".join(f"{slices[part][name]:>14.4f}" for name in [*names, *extra]))
    return lines
