"""The profile U = f(B, S, N): what a user cares for, from behaviour, social ties and stated preferences, with learned weights.

A user's evidence for a category or brand is one decayed count per signal (`user_interest`). The weight of a signal says how much later choices
follow it. The model of a choice is additive smoothing with learned pseudo-counts: the user's next choice among keys of one kind falls on key k with

    p(k) = f(pi_k + w . x_k) / sum_j f(pi_j + w . x_j)

where pi is everybody's share of choices (a user without evidence follows the crowd), x_k the eight signals and f the identity that bends to a small
positive tail below 0, so that dislikes can push a share down but never below nothing. w is fitted by maximum likelihood with an L2 pull towards the
prior; a signal the shop does not have stays at its prior and is named so. It is the Dirichlet-multinomial's predictive rule with typed evidence.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from feature_repo.declarations import SIGNALS
from feature_repo.online import Interests
from training.errors import TrainingError
from training.registry import ModelFolder

Floats = NDArray[np.float64]

PROFILE_FILE = "profile.json"
SOURCES: Mapping[str, tuple[str, ...]] = {
    "behaviour": ("view", "cart", "purchase", "review"),
    "social": ("follow", "group"),
    "preference": ("like", "dislike"),
}
PRIOR = {"view": 0.05, "cart": 0.2, "purchase": 0.3, "review": 0.2, "follow": 0.05, "group": 0.05, "like": 0.5, "dislike": -0.5}
"""Weights before anything was learned: a guess, in units of "one choice of everybody's"."""
PULL = 2.0
"""Strength of the pull towards the prior, in choices."""
TAIL = 0.1
"""Below this share of pi_k the numerator bends into an exponential tail."""
FEWEST_CHOICES = 100


@dataclass(frozen=True)
class Evidence:
    """One signal behind an interest: its decayed count."""

    signal: str
    value: float


@dataclass(frozen=True)
class Interest:
    """A category or brand the user cares for (weight > 0) or not (< 0). The weight is the sum of its three parts."""

    kind: str
    subject: str
    weight: float
    behaviour: float
    social: float
    preference: float
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class Profile:
    """What is known about a user, interests by strength of weight, dislikes included. `user_id` None is an unknown user."""

    user_id: str | None
    interests: tuple[Interest, ...]
    signal_weights: dict[str, float]
    language: str | None = None
    price_level: float | None = None


@dataclass(frozen=True)
class Choices:
    """Later choices with the evidence before them. One row per choice; padded keys have `share` 0 and no signals.

    `share` float64[n, K] is pi of the user's keys, `signals` float64[n, K, 8] their evidence, `chosen` int64[n] the position of the chosen key
    among them or -1 for a key without evidence, whose share is `chosen_share` float64[n]. `at` float64[n] is the choice's unix time. `crowd`
    float64[C] is pi of all keys, ascending.
    """

    share: Floats
    signals: Floats
    chosen: NDArray[np.int64]
    chosen_share: Floats
    at: Floats
    crowd: Floats

    def __len__(self) -> int:
        return len(self.chosen)

    def rows(self, keep: NDArray[np.bool_]) -> "Choices":
        return Choices(self.share[keep], self.signals[keep], self.chosen[keep], self.chosen_share[keep], self.at[keep], self.crowd)


@dataclass(frozen=True)
class ProfileModel:
    """The learned weight per signal. `learned` names the signals whose weight was fitted; the others have their prior.

    `ablation` maps the sources used ("B", "B+S", ... "none") to the log-loss per held-out later choice and the NDCG@5 of the chosen key.
    """

    signal_weights: Mapping[str, float] = field(default_factory=lambda: dict(PRIOR))
    learned: tuple[str, ...] = ()
    ablation: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def weights(self) -> NDArray[np.float32]:
        """float32[8] in the order of SIGNALS."""
        return np.array([self.signal_weights[signal] for signal in SIGNALS], np.float32)

    def explain(self, user_id: str | None, interests: Interests, language: str | None = None, price_level: float | None = None) -> Profile:
        """The profile behind `interests`. No interests give a profile without any. `price_level` is the mean price rank, 0 cheap to 1 dear."""
        found = [self._interest(key, row) for key, row in zip(interests.keys, np.asarray(interests.signals, np.float64), strict=True)]
        ordered = sorted((interest for interest in found if interest.weight), key=lambda interest: (-abs(interest.weight), interest.subject))
        return Profile(user_id, tuple(ordered), dict(self.signal_weights), language, price_level)

    def _interest(self, key: str, values: Floats) -> Interest:
        kind, _, subject = key.partition(":")
        value = dict(zip(SIGNALS, values.tolist(), strict=True))
        parts = {source: sum(self.signal_weights[signal] * value[signal] for signal in names) for source, names in SOURCES.items()}
        evidence = tuple(Evidence(signal, value[signal]) for signal in SIGNALS if value[signal])
        return Interest(kind, subject, sum(parts.values()), parts["behaviour"], parts["social"], parts["preference"], evidence)

    def save(self, folder: Path) -> None:
        """Write profile.json; the caller seals the folder with `ModelFolder.write`."""
        folder.mkdir(parents=True, exist_ok=True)
        about = {"signal_weights": dict(self.signal_weights), "learned": list(self.learned), "ablation": self.ablation}
        (folder / PROFILE_FILE).write_text(json.dumps(about, indent=1))

    @classmethod
    def load(cls, folder: Path) -> "ProfileModel":
        """Check the retriever's folder, in which the profile lives, and load it.

        Raises:
            TrainingError: changed files, or weights for other signals than this program has.
        """
        ModelFolder.read(folder, kind="retriever")
        about = json.loads((folder / PROFILE_FILE).read_text())
        if set(about["signal_weights"]) != set(SIGNALS):
            raise TrainingError(f"{folder} weighs {sorted(about['signal_weights'])}, this program {sorted(SIGNALS)}: run `make train` again.")
        return cls(about["signal_weights"], tuple(about["learned"]), about["ablation"])

    @classmethod
    def fit(cls, choices: Choices) -> "ProfileModel":
        """Weights from choices, and the ablation: fitted on the earlier 80 % with only some sources, measured on the later 20 %.

        With fewer than FEWEST_CHOICES choices everything keeps its prior.
        """
        if len(choices) < FEWEST_CHOICES:
            return cls()
        weights = _fit(choices, np.ones(len(SIGNALS), bool))
        seen = np.abs(choices.signals).sum(axis=(0, 1)) > 0
        learned = tuple(signal for signal, there in zip(SIGNALS, seen, strict=True) if there)
        return cls(dict(zip(SIGNALS, weights.tolist(), strict=True)), learned, _ablation(choices))

    def lines(self) -> list[str]:
        """The weights and the ablation as printed text."""
        found = ["signal      weight  from"]
        found += [f"{signal:<10} {self.signal_weights[signal]:>7.3f}  {'later choices' if signal in self.learned else 'prior'}" for signal in SIGNALS]
        if self.ablation:
            found += ["", "sources used     log-loss   NDCG@5   (held-out later choices; lower log-loss, higher NDCG are better)"]
            found += [f"{sources:<16} {row['log_loss']:>8.4f} {row['ndcg_5']:>8.4f}" for sources, row in self.ablation.items()]
        return found


def _numerator(values: Floats, share: Floats) -> tuple[Floats, Floats]:
    """f and its slope, elementwise; `share` sets where the tail begins."""
    edge = TAIL * share
    tail = edge * np.exp(np.minimum(values / np.maximum(edge, 1e-12) - 1.0, 0.0))
    above = values >= edge
    return np.where(above, values, tail), np.where(above, 1.0, tail / np.maximum(edge, 1e-12))


def _loss(weights: Floats, choices: Choices) -> tuple[float, Floats]:
    """Negative log-likelihood of all choices and its gradient, float64[8]."""
    real = choices.share > 0
    value, slope = _numerator(choices.share + choices.signals @ weights, choices.share)
    value, slope = np.where(real, value, 0.0), np.where(real, slope, 0.0)
    rest = np.maximum(1.0 - choices.share.sum(axis=1), 0.0)
    total = np.maximum(value.sum(axis=1) + rest, 1e-12)
    rows = np.arange(len(choices))
    mine = choices.chosen >= 0
    top = np.where(mine, value[rows, choices.chosen], choices.chosen_share)
    gradient = np.einsum("nk,nks->s", slope / total[:, None], choices.signals)
    gain = (slope[rows, choices.chosen] / np.maximum(top, 1e-12))[mine]
    gradient -= gain @ choices.signals[rows[mine], choices.chosen[mine]]
    return float(-np.log(np.maximum(top, 1e-12) / total).sum()), gradient


def _fit(choices: Choices, used: NDArray[np.bool_]) -> Floats:
    """Weights of the signals in `used`; 0 for the others. No signal but `dislike` may be negative, and that one not positive."""
    prior = np.array([PRIOR[signal] for signal in SIGNALS]) * used

    def objective(weights: Floats) -> tuple[float, Floats]:
        loss, gradient = _loss(weights, choices)
        away = weights - prior
        return loss + PULL * float(away @ away), gradient + 2 * PULL * away

    bounds = [(0.0, 0.0) if not there else (None, 0.0) if signal == "dislike" else (0.0, None) for signal, there in zip(SIGNALS, used, strict=True)]
    function: Callable[[Floats], tuple[float, Floats]] = objective
    found = minimize(function, prior, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 200})
    return np.asarray(found.x, np.float64)


def _ablation(choices: Choices) -> dict[str, dict[str, float]]:
    edge = np.quantile(choices.at, 0.8)
    earlier, later = choices.rows(choices.at < edge), choices.rows(choices.at >= edge)
    if not len(earlier) or not len(later):
        return {}
    sources = {"none": "", "B": "B", "S": "S", "N": "N", "B+S": "BS", "B+N": "BN", "S+N": "SN", "B+S+N": "BSN"}
    letters = {"B": SOURCES["behaviour"], "S": SOURCES["social"], "N": SOURCES["preference"]}
    found = {}
    for name, kept in sources.items():
        used = np.array([any(signal in letters[letter] for letter in kept) for signal in SIGNALS])
        weights = _fit(earlier, used) if used.any() else np.zeros(len(SIGNALS))
        found[name] = {"log_loss": _loss(weights, later)[0] / len(later), "ndcg_5": _ndcg(weights, later)}
    return found


def _ndcg(weights: Floats, choices: Choices) -> float:
    """Mean NDCG@5 of the one chosen key among all keys; keys without evidence compete by their share, ties count against the chosen."""
    real = choices.share > 0
    value, _ = _numerator(choices.share + choices.signals @ weights, choices.share)
    rows = np.arange(len(choices))
    top = np.where(choices.chosen >= 0, value[rows, choices.chosen], choices.chosen_share)
    mine_above = (real & (value >= top[:, None])).sum(axis=1)
    all_above = len(choices.crowd) - np.searchsorted(choices.crowd, top, side="left")
    crowd_above = all_above - (real & (choices.share >= top[:, None])).sum(axis=1)
    rank = np.maximum(mine_above + crowd_above, 1)
    return float(np.where(rank <= 5, 1.0 / np.log2(1.0 + rank), 0.0).mean())


def choices_of(
    before: Sequence[Interests],
    chosen_keys: Sequence[str],
    share: Mapping[str, float],
    at: Sequence[float],
    kind: str,
    most_keys: int,
) -> Choices:
    """Choices of one kind ("category" or "brand"): entry i is a choice of `chosen_keys[i]` at `at[i]` by a user whose interests were `before[i]`.

    `share` is pi over all keys of the kind; a chosen key that it does not hold is left out.
    """
    kept = [position for position, key in enumerate(chosen_keys) if key in share]
    n = len(kept)
    shares, signals = np.zeros((n, most_keys)), np.zeros((n, most_keys, len(SIGNALS)))
    chosen, chosen_share = np.full(n, -1, np.int64), np.zeros(n)
    for row, position in enumerate(kept):
        mine = [(key, values) for key, values in zip(before[position].keys, before[position].signals, strict=True) if key in share]
        mine = [(key, values) for key, values in mine if key.startswith(f"{kind}:")][:most_keys]
        for column, (key, values) in enumerate(mine):
            shares[row, column], signals[row, column] = share[key], values
            if key == chosen_keys[position]:
                chosen[row] = column
        chosen_share[row] = share[chosen_keys[position]]
    times = np.array([at[position] for position in kept], np.float64)
    return Choices(shares, signals, chosen, chosen_share, times, np.sort(np.array(list(share.values()), np.float64)))
