"""Which model may become challenger, and when one becomes champion.

The first model that passes its gates is promoted to champion by itself; a later one becomes challenger and is promoted by a person in the MLflow UI.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from feature_repo.home import ShopHome
from training.evaluation.behaviour import FEWEST, LARGE
from training.registry import CHALLENGER, CHAMPION, ModelVersion, champion, demote, promote
from training.settings import TrainingSettings


@dataclass(frozen=True)
class Gate:
    """One condition: a name, whether it held, and the numbers behind it."""

    name: str
    passed: bool
    reason: str


def gates_of(kind: str, metrics: Mapping[str, float], settings: TrainingSettings, reigning: bool = False) -> list[Gate]:
    """All gates of a model of this kind; `reigning`: it has a champion to beat.

    A metric that a gate needs and the model does not have fails it; but where fewer than two users of the test period had acted before it,
    there is no difference to measure. A difference is judged by the upper end of its one-sided 95 % interval: on a handful of users it says nothing.
    """
    found: list[Gate] = []
    if kind == "retriever":
        found.append(_compare("proposes something", metrics, "candidates_mean", operator.gt, 0.0))
    if kind == "ranker" and metrics.get("test_users", 2) < 2:
        found.append(Gate("nothing to measure", True, "fewer than two users of the test period had acted before it"))
    elif kind == "ranker":
        found.append(_compare("not below popularity", metrics, "above_popular_upper", operator.ge, -settings.gate_below_popular))
        found.append(_compare("not below the best retriever", metrics, "above_best_upper", operator.ge, -settings.gate_below_best))
        found += behaviour_gates(metrics, settings)
    if kind == "writer":
        found.append(_compare("no unsupported claims", metrics, "unsupported_claims", operator.le, 0.0))
        found.append(_compare("few drafts with violations", metrics, "violating_share_raw", operator.le, settings.gate_violating))
        found.append(_compare("few templates", metrics, "fallback_rate", operator.le, settings.gate_fallback))
    elif reigning and "above_champion_upper" not in metrics:
        found.append(Gate("not below the champion", True, "not compared: other features, or too few users acted since it was trained"))
    elif reigning:
        found.append(_compare("not below the champion", metrics, "above_champion_upper", operator.ge, -settings.gate_below_champion))
    return found


def behaviour_gates(metrics: Mapping[str, float], settings: TrainingSettings) -> list[Gate]:
    """The gates of `behaviour.py`. A test for which the shop has too few people or products passes, and says so; a gain is judged by its lower end.

    The rule against disliked products is only judged where the path with the rules was asked (`vetoed_shown`).
    """
    limits = {
        "similar histories give similar lists": ("similar_lists", settings.gate_similar),
        "a dislike lowers its category": ("dislike_falls", settings.gate_dislike),
        "a purchase raises its complements": ("complement_rises", settings.gate_complement),
    }
    found = []
    for name, (metric, limit) in limits.items():
        asked = metrics.get(f"{metric}_people", FEWEST)
        if asked < FEWEST:
            found.append(Gate(name, True, f"not tried: {asked:.0f} people to try it on or learn it from, fewer than {FEWEST}"))
        else:
            found.append(_compare(name, metrics, f"{metric}_lower", operator.gt, limit))
    name, products = "somebody unknown gets what is popular", metrics.get("new_user_products", LARGE)
    if products < LARGE:
        found.append(Gate(name, True, f"not tried: a catalogue of {products:.0f} products, fewer than {LARGE}"))
    else:
        found.append(_compare(name, metrics, "new_user_popularity", operator.ge, settings.gate_new_user))
    found.append(_compare("no list is empty", metrics, "empty_lists", operator.le, 0.0))
    if "vetoed_shown" in metrics:
        found.append(_compare("nothing disliked is shown", metrics, "vetoed_shown", operator.le, 0.0))
    return found


def _compare(name: str, metrics: Mapping[str, float], metric: str, holds: Callable[[float, float], bool], limit: float) -> Gate:
    if metric not in metrics:
        return Gate(name, False, f"{metric} was not measured")
    signs: Mapping[Callable[[float, float], bool], str] = {operator.ge: ">=", operator.gt: ">", operator.le: "<="}
    return Gate(name, holds(metrics[metric], limit), f"{metric} {metrics[metric]:.4f}, must be {signs[holds]} {limit + 0.0:.4f}")  # never "-0.0000"


@dataclass(frozen=True)
class Decision:
    """What became of a new version: the alias it got ("" for none) and the gates behind it."""

    version: ModelVersion
    alias: str
    gates: tuple[Gate, ...]


def decide(home: ShopHome, kind: str, version: ModelVersion, settings: TrainingSettings) -> Decision:
    """Put a new version through its gates and give it the alias it earned."""
    reigning = champion(home, kind)
    gates = tuple(gates_of(kind, version.metrics, settings, reigning is not None))
    return Decision(version, alias_for([gate.passed for gate in gates], reigning is not None), gates)


def alias_for(passed: list[bool], has_champion: bool) -> str:
    """Champion for the first that passes, challenger for a later one, nothing for one that does not pass."""
    if not all(passed):
        return ""
    return CHALLENGER if has_champion else CHAMPION


def enact(home: ShopHome, decisions: list[Decision]) -> list[Decision]:
    """Give out the aliases of a run's models together, so that a release fits together.

    A ranker whose retriever did not pass gets nothing; the retriever of a ranker that did not pass gets nothing either.
    """
    pair = {decision.version.name: decision for decision in decisions if decision.version.name.endswith(("ranker", "retriever"))}
    together = all(decision.alias for decision in pair.values())
    final = []
    for decision in decisions:
        alias = decision.alias if decision.version.name not in pair or together else ""
        if alias:
            promote(home, decision.version, alias)
        if alias == CHAMPION:
            demote(home, decision.version.name, CHALLENGER)
        final.append(Decision(decision.version, alias, decision.gates))
    return final
