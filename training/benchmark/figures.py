"""The figures of a protocol, what they were measured on, and how they are told."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.circumstances import circumstances, peak_gb
from training.dataset import Audience
from training.evaluation.ablation import Loss
from training.evaluation.slices import OUT_OF_REACH, Sliced
from training.retrieval.model import RetrieverSet

Ranks = NDArray[np.int64]
CUTS = (5, 10, 20)


def ranks_of(scores: NDArray[np.float32], target: int) -> int:
    """Rank from 0 of the target, after everything that scores as high; out of reach where it is not proposed."""
    return int((scores >= scores[target]).sum()) - 1 if target >= 0 and np.isfinite(scores[target]) else OUT_OF_REACH


def retriever_ranks(found: RetrieverSet, name: str, people: Audience) -> Ranks:
    """int64[users]: each one's rank of their target by one retriever, over everything they do not have."""
    ranks = []
    for person, wanted, seen in zip(people.people, people.targets(found).products, people.had(found), strict=True):
        scores = found.scores(name, person.history, person.moment, person.interests, person.circle)
        scores[seen] = -np.inf
        ranks.append(ranks_of(scores, next(iter(wanted))))
    return np.array(ranks, np.int64)


def ndcg(ranks: Ranks, k: int = 10) -> NDArray[np.float64]:
    """NDCG at k of each user, who has one target: float64[users]."""
    return np.where(ranks < k, 1 / np.log2(2.0 + ranks), 0.0)


def figures_of(ranks: Ranks) -> dict[str, float]:
    """HR and NDCG at CUTS and MRR, of one target per user whose rank counts from 0."""
    found = {}
    for k in CUTS:
        found[f"hr@{k}"] = float((ranks < k).mean())
        found[f"ndcg@{k}"] = float(ndcg(ranks, k).mean())
    return found | {"mrr": float(np.where(ranks < OUT_OF_REACH, 1.0 / (1.0 + ranks), 0.0).mean())}


@dataclass(frozen=True)
class Run:
    """What one seed gave: method -> figures of validation and test, and what it cost."""

    models: dict[str, dict[str, float]]
    fit_minutes: float
    score_ms_per_user: float
    params: Mapping[str, object]
    trees: int
    ablation: dict[str, Loss]
    slices: Sliced
    seconds: Mapping[str, float]


def report(runs: Mapping[int, Run], protocol: str) -> dict[str, object]:
    """The JSON: the full stack's mean over seeds, its spread, and every method; slices of the first seed, and those the baseline wins in each."""
    methods = next(iter(runs.values())).models
    values = {m: {name: [run.models[m][name] for run in runs.values()] for name in methods[m]} for m in methods}
    models = {m: {name: float(np.mean(found)) for name, found in each.items()} for m, each in values.items()}
    spread = {name: float(np.std(found, ddof=1)) if len(found) > 1 else 0.0 for name, found in values["full stack"].items()}
    cost = {
        "fit_minutes": float(np.mean([run.fit_minutes for run in runs.values()])),
        "score_ms_per_user": float(np.mean([run.score_ms_per_user for run in runs.values()])),
        "peak_gb": peak_gb(),
    }
    return {
        "protocol": protocol, "figures": {**models["full stack"], **cost}, "spread": spread, "models": models, "seeds": list(runs),
        "seconds": {str(seed): dict(run.seconds) for seed, run in runs.items()},
        "parameters": {str(seed): {**run.params, "trees": run.trees} for seed, run in runs.items()},
        "ablation": {name: vars(loss) for run in runs.values() for name, loss in run.ablation.items()},
        "slices": next(iter(runs.values())).slices.json(), "slices_lost": {str(seed): list(run.slices.lost) for seed, run in runs.items()},
        **circumstances(),
    }  # fmt: skip


def table(found: Mapping[str, object]) -> str:
    """What is printed: a line per method, then what the full stack took."""
    names = [f"{part}_{measure}@10" for part in ("valid", "test") for measure in ("hr", "ndcg")] + ["test_hr@20", "test_ndcg@20", "test_mrr"]
    rows = ["  " + " " * 26 + "".join(f"{name:>15}" for name in names)]
    models = found["models"]
    assert isinstance(models, dict)
    rows += [f"  {method:<26}" + "".join(f"{figures.get(name, float('nan')):>15.4f}" for name in names) for method, figures in models.items()]
    cost = found["figures"]
    assert isinstance(cost, dict)
    rows.append(
        f"  fitting {cost['fit_minutes']:.1f} min, scoring {cost['score_ms_per_user']:.1f} ms per user, at most {cost['peak_gb']:.1f} GB of memory"
    )
    return "\n".join(rows)
