"""Which columns of a frame are distributed differently from a reference: what is compared, what is too little to judge, what was found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset
from evidently.core.report import Snapshot
from evidently.metrics import ValueDrift
from scipy.spatial.distance import jensenshannon

from monitoring.settings import MonitoringSettings

KEYS = frozenset({"at", "request_id", "product_id", "user_id"})
"""Columns that say which row it is; they are not compared."""

MOST_LABELS = 50
"""A text column with more distinct values than this in the reference is an id of some kind and is not compared."""

CLIP = 0.01
"""Numbers are cut at this quantile of the reference and its mirror: Evidently's bins are equally wide, one outlier would empty them."""

NOISE_LEVEL = 0.999
"""Chance alone stays below a column's threshold this often. With few rows the threshold is raised until it does."""


Floats = np.ndarray[Any, np.dtype[np.float64]]

NOISE_DRAWS = 4000
EMPTY_BIN = 0.0001
"""What Evidently's PSI takes for the share of an empty bin."""


@dataclass(frozen=True)
class Finding:
    """One judged number of a window. `drifted` is None where there was too little to judge; `note` says why, or how it was judged."""

    metric: str
    column: str
    value: float
    threshold: float | None = None
    drifted: bool | None = None
    group: str = ""
    reference: float | None = None
    lower: float | None = None
    upper: float | None = None
    rows: int = 0
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """A window's rows beside the reference's, sampled and cut, with the columns that can be judged.

    `current`, `reference`: the sampled frames without `KEYS`; `reference` is None when there is none. `limits`: judged
    column -> its threshold, the setting's or what chance reaches, whichever is higher (a p-value under ks). `unjudged`: column -> why not.
    `rows`, `reference_rows`: before sampling.
    """

    current: pd.DataFrame
    reference: pd.DataFrame | None
    rows: int
    reference_rows: int
    numeric: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)
    unjudged: Mapping[str, str] = field(default_factory=dict)

    def datasets(self) -> tuple[Dataset, Dataset | None]:
        definition = DataDefinition(numerical_columns=list(self.numeric), categorical_columns=list(self.labels))
        return (
            Dataset.from_pandas(self.current, data_definition=definition),
            None if self.reference is None else Dataset.from_pandas(self.reference, data_definition=definition),
        )


def compare(current: pd.DataFrame, reference: pd.DataFrame | None, settings: MonitoringSettings) -> Comparison:
    """Choose the columns that both frames have and that can be judged.

    Rows of one user resemble each other, so the number of users, where the frames have a `user_id`, is what has to suffice.
    """
    rows, reference_rows = len(current), 0 if reference is None else len(reference)
    if reference is None or reference.empty:
        return Comparison(_values(sample(current, settings)), None, rows, 0)
    users = (_units(current), _units(reference))
    now, before = _values(sample(current, settings)), _values(sample(reference, settings))
    numeric: list[str] = []
    labels: list[str] = []
    limits: dict[str, float] = {}
    unjudged: dict[str, str] = {}
    for name in (name for name in now.columns if name in before.columns):
        is_number = pd.api.types.is_numeric_dtype(before[name]) and pd.api.types.is_numeric_dtype(now[name])
        if is_number:
            now[name], before[name] = _clipped(now[name].astype(float), before[name].astype(float))
        counts = tuple(min(int(values.notna().sum()), unit) for values, unit in zip((now[name], before[name]), users, strict=True))
        if min(counts) < settings.monitor_min_rows:
            unjudged[name] = f"{min(counts)} rows or users with a value, {settings.monitor_min_rows} needed"
        elif not is_number and before[name].nunique() > MOST_LABELS:
            unjudged[name] = f"more than {MOST_LABELS} different values"
        else:
            (numeric if is_number else labels).append(name)
            limits[name] = _limit(settings, now[name], before[name], is_number, (counts[0], counts[1]))
    return Comparison(now, before, rows, reference_rows, tuple(numeric), tuple(labels), limits, unjudged)


def sample(frame: pd.DataFrame, settings: MonitoringSettings) -> pd.DataFrame:
    """At most `monitor_sample_rows` rows, drawn with the seed of the settings, in their order."""
    if len(frame) <= settings.monitor_sample_rows:
        return frame
    chosen = np.random.default_rng(settings.monitor_seed).choice(len(frame), settings.monitor_sample_rows, replace=False)
    return frame.iloc[np.sort(chosen)]


def _values(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=[name for name in frame.columns if name in KEYS]).replace([np.inf, -np.inf], np.nan).reset_index(drop=True)


def _units(frame: pd.DataFrame) -> int:
    """Number of users; each row without one counts for itself."""
    return int(frame["user_id"].nunique() + frame["user_id"].isna().sum()) if "user_id" in frame else len(frame)


def _clipped(now: pd.Series, before: pd.Series) -> tuple[pd.Series, pd.Series]:
    if before.nunique() <= 20:  # Evidently compares so few values one by one
        return now, before
    low, high = before.quantile(CLIP), before.quantile(1 - CLIP)
    return now.clip(low, high), before.clip(low, high)


def _limit(settings: MonitoringSettings, now: pd.Series, before: pd.Series, is_number: bool, users: tuple[int, int]) -> float:
    """A column's threshold; ks knows its own noise."""
    if settings.monitor_drift_method == "ks":
        return settings.monitor_drift_p_value
    return max(settings.monitor_drift_threshold, noise(_shares(now, before, is_number), *users, settings.monitor_drift_method))


def _shares(now: pd.Series, before: pd.Series, is_number: bool) -> Floats:
    """float64[bins]: shares of the reference in the bins that Evidently makes (Sturges' rule on both frames, or one bin per value)."""
    now, before = now.dropna(), before.dropna()
    if is_number and before.nunique() > 20:
        edges = np.histogram_bin_edges(pd.concat([before, now]).to_numpy(float), bins="sturges")
        counts: Floats = np.histogram(before.to_numpy(float), edges)[0].astype(np.float64)
        return counts / len(before)
    shares = before.value_counts(normalize=True).reindex(pd.concat([before, now]).unique(), fill_value=0.0)
    return np.array(shares, dtype=np.float64)


def noise(shares: Floats, rows: int, reference_rows: int, method: str) -> float:
    """Score that two samples of one distribution stay below with probability `NOISE_LEVEL`, by a seeded parametric bootstrap.

    `shares`: float64[bins], of that distribution. The textbook's chi-squared bound on PSI is too low where bins are nearly empty, since
    Evidently puts 1 in 10,000 in place of 0: of 100 columns without drift, 100 rows each, it flagged 4.
    """
    draw = np.random.default_rng(0)
    samples = [draw.multinomial(count, shares, size=NOISE_DRAWS) / count for count in (rows, reference_rows)]
    if method == "jensenshannon":
        scores = jensenshannon(*samples, axis=1)
    else:
        now, before = (np.where(sample == 0, EMPTY_BIN, sample) for sample in samples)
        scores = ((before - now) * np.log(before / now)).sum(axis=1)
    return float(np.quantile(scores, NOISE_LEVEL))


def drift_metrics(compared: Comparison, settings: MonitoringSettings) -> list[ValueDrift]:
    """One Evidently metric per column that can be judged. ks compares numbers only: labels then take the chi-squared test."""
    if settings.monitor_drift_method == "ks":
        limit = settings.monitor_drift_p_value
        return [ValueDrift(column=name, method="ks", threshold=limit) for name in compared.numeric] + [
            ValueDrift(column=name, method="chisquare", threshold=limit) for name in compared.labels
        ]
    method, limit = settings.monitor_drift_method, settings.monitor_drift_threshold
    return [ValueDrift(column=name, method=method, threshold=limit) for name in (*compared.numeric, *compared.labels)]


def drift_findings(snapshot: Snapshot, compared: Comparison, settings: MonitoringSettings) -> list[Finding]:
    """The scores of a report's `ValueDrift` metrics, the columns that were not judged, and every column whose missing values jumped."""
    found = []
    low = settings.monitor_drift_method == "ks"
    for result in snapshot.metric_results.values():
        params = result.metric_value_location.metric.params
        if params["type"].endswith(":ValueDrift"):
            score, threshold = float(result.value), compared.limits[params["column"]]
            drifted = score < threshold if low else score >= threshold
            found.append(Finding("drift", params["column"], score, threshold, drifted, rows=compared.rows, note=params["method"]))
    found += [Finding("drift", name, float("nan"), rows=compared.rows, note=reason) for name, reason in compared.unjudged.items()]
    return found + missing_findings(compared, settings)


def missing_findings(compared: Comparison, settings: MonitoringSettings) -> list[Finding]:
    """One finding per column that has, or had, missing values."""
    if compared.reference is None or len(compared.current) < settings.monitor_min_rows:
        return []
    now, before = compared.current.isna().mean(), compared.reference.isna().mean()
    return [
        Finding(
            "missing",
            str(name),
            float(now[name]),
            settings.monitor_missing_jump,
            bool(now[name] - before.get(name, 0.0) >= settings.monitor_missing_jump),
            reference=float(before.get(name, 0.0)),
            rows=compared.rows,
            note="rise against the reference",
        )
        for name in now.index
        if now[name] > 0 or before.get(name, 0.0) > 0
    ]
