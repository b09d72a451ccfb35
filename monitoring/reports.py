"""A window's frames in, an Evidently snapshot and findings out: one function per kind of report."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.core.report import Snapshot
from evidently.core.serialization import SnapshotModel
from evidently.metrics import CategoryCount

from monitoring.drift import Comparison, Finding, compare, drift_findings, drift_metrics
from monitoring.engagement import OUTCOMES, difference, rates
from monitoring.measures import BrokenColumns, DriftedShare, GroupRate, Rows, ShelfMeasure, SteadyShare
from monitoring.settings import MonitoringSettings
from monitoring.shelves import MEASURES, measures
from monitoring.windows import Window

PICTURES = 8
"""Distributions drawn per report, those of the columns with the highest scores; one takes 33 kB in the workspace."""

GROUPS = 12
"""Most groups of a dimension, by showings, whose rate is shown."""

SHARE_RISE = 0.02
"""Rise of a share of bad answers (degraded, empty) that counts, if it is also certain."""

ALL = "all"
"""Dimension with one group of the same name: everything together."""

RATES: tuple[tuple[str, str], ...] = (
    *((outcome, ALL) for outcome in OUTCOMES.values()),
    *((outcome, "channel") for outcome in OUTCOMES.values()),
    *(("clicked", name) for name in ("tone", "aspect", "writer", "ranker", "backend", "arm")),
    ("purchased", "ranker"),
    ("purchased", "arm"),
)
"""(outcome, dimension) of every rate that is reported."""

MIX = ("channel", "tone", "aspect", "writer", "backend")
"""Dimensions of a showing whose own distribution is compared."""


@dataclass(frozen=True)
class Built:
    """One part of a window's report: what the UI shows, what the table of findings gets, and the line that says what it stands on."""

    part: str
    model: SnapshotModel
    findings: list[Finding]
    note: str


def joined(title: str, window: Window, parts: Sequence[Built]) -> SnapshotModel:
    """The parts as one snapshot. With several snapshots of one time the UI breaks its lines between them."""
    first = parts[0].model
    return SnapshotModel(
        report=first.report,
        name=f"{title}, {window}",
        timestamp=first.timestamp,
        metadata={"window": str(window)} | {built.part: built.note for built in parts},
        tags=[built.part for built in parts],
        metric_results={key: result for built in parts for key, result in built.model.metric_results.items()},
        top_level_metrics=[key for built in parts for key in built.model.top_level_metrics],
        widgets=[widget for built in parts for widget in built.model.widgets],
        tests_widgets=[],
    )


def column_report(part: str, window: Window, current: pd.DataFrame, reference: pd.DataFrame | None, why: str, settings: MonitoringSettings) -> Built:
    """Drift of every column of a frame. `why` says what the reference is, or why there is none."""
    compared = compare(current, reference, settings)
    note = _note(compared, why, settings)
    metrics: list[Any] = [Rows(part=part)]
    if compared.reference is not None:
        metrics += [
            DriftedShare(part=part, low_is_drift=settings.monitor_drift_method == "ks").under(compared.limits),
            SteadyShare(part=part),
            BrokenColumns(part=part, jump=settings.monitor_missing_jump),
            *drift_metrics(compared, settings),
        ]
    metrics += _category_shares(compared)
    snapshot = _report(metrics, part, window, compared.rows, note).run(*compared.datasets(), timestamp=window.start)
    found = drift_findings(snapshot, compared, settings) + _category_findings(snapshot, compared.rows)
    return Built(part, slim(snapshot), found, note)


def _category_shares(compared: Comparison) -> list[Any]:
    """Shares of the most frequent categories, where the frame has a column of that name."""
    if "category" not in compared.current:
        return []
    source = compared.current if compared.reference is None else compared.reference
    return [CategoryCount(column="category", category=name) for name in source["category"].value_counts().index[:GROUPS]]


def _category_findings(snapshot: Snapshot, rows: int) -> list[Finding]:
    """Shares as they are; whether they have drifted is the column's own finding."""
    shares = [each for each in snapshot.metric_results.values() if each.metric_value_location.metric.params["type"].endswith(":CategoryCount")]
    return [
        Finding("share", "category", float(each.share.value), group=str(each.metric_value_location.metric.params["categories"][0]), rows=rows)
        for each in shares
    ]


def measure_report(part: str, window: Window, current: pd.DataFrame, reference: pd.DataFrame | None, why: str, settings: MonitoringSettings) -> Built:
    """Measures of the shelves of a window. `current` has one row, `reference` one per window of the reference; `decisions` is the number of rows."""
    row = current.iloc[0]
    names = [name for name in MEASURES if name in current and np.isfinite(row[name])]
    rows = int(row["decisions"])
    before = None if reference is None or reference.empty else reference
    note = f"{rows} decisions. {why}" + ("" if before is None else f" {len(before)} windows.")
    definition = DataDefinition(numerical_columns=list(names))
    snapshot = _report([Rows(part=part), *(ShelfMeasure(measure=name) for name in names)], part, window, rows, note).run(
        Dataset.from_pandas(current[names].astype(float), data_definition=definition),
        None if before is None else Dataset.from_pandas(before.reindex(columns=names).astype(float), data_definition=definition),
        timestamp=window.start,
    )
    return Built(part, slim(snapshot), [_judged_measure(name, row, before, settings) for name in names if MEASURES[name].judged], note)


def _judged_measure(name: str, row: pd.Series, before: pd.DataFrame | None, settings: MonitoringSettings) -> Finding:
    value, rows = float(row[name]), int(row["decisions"])
    past = before[name].dropna() if before is not None and name in before else pd.Series(dtype=float)
    if past.empty:
        return Finding("measure", name, value, rows=rows, note="no reference")
    usual = float(past.mean())
    if rows < settings.monitor_min_rows:
        return Finding("measure", name, value, reference=usual, rows=rows, note=f"{rows} decisions, {settings.monitor_min_rows} needed")
    assert before is not None
    if MEASURES[name].share:
        total = int(before.loc[past.index, "decisions"].sum())
        bad = round(float((before.loc[past.index, "decisions"] * past).sum()))
        lower, upper = difference((round(value * rows), rows), (bad, total), settings.monitor_confidence)
        drifted = lower > 0 and value - bad / total >= SHARE_RISE
        return Finding(
            "measure", name, value, SHARE_RISE, drifted, reference=bad / total, lower=lower, upper=upper, rows=rows, note="rise of a share"
        )
    band = max(settings.monitor_measure_change * abs(usual), 3 * float(past.std(ddof=1)) if len(past) > 2 else 0.0)
    drifted = abs(value - usual) > band
    return Finding(
        "measure", name, value, band, drifted, reference=usual, lower=usual - band, upper=usual + band, rows=rows, note="distance from the reference"
    )


def engagement_report(
    part: str, window: Window, current: pd.DataFrame, reference: pd.DataFrame | None, why: str, settings: MonitoringSettings
) -> Built:
    """Rates of every group, and drift of what was shown. Rates are counted on all rows, distributions on a sample."""
    current = current.assign(**{ALL: ALL}).reset_index(drop=True)
    before = None if reference is None or reference.empty else reference.assign(**{ALL: ALL}).reset_index(drop=True)
    mix = compare(current[["user_id", *MIX]], None if before is None else before[["user_id", *MIX]], settings)
    note = _note(mix, why, settings)
    groups = [(outcome, name, group) for outcome, name in RATES for group in current[name].value_counts().index[:GROUPS]]
    confidence = settings.monitor_confidence
    metrics: list[Any] = [Rows(part=part)]
    metrics += [GroupRate(outcome=outcome, dimension=name, group=group, confidence=confidence) for outcome, name, group in groups]
    metrics += drift_metrics(mix, settings)
    definition = DataDefinition(categorical_columns=[*MIX, "ranker", "arm", ALL])
    snapshot = _report(metrics, part, window, len(current), note).run(
        Dataset.from_pandas(current, data_definition=definition),
        None if before is None else Dataset.from_pandas(before, data_definition=definition),
        timestamp=window.start,
    )
    found = [_judged_rate(current, before, *each, settings) for each in groups]
    return Built(part, slim(snapshot), found + drift_findings(snapshot, mix, settings), note)


def _judged_rate(current: pd.DataFrame, before: pd.DataFrame | None, outcome: str, name: str, group: str, settings: MonitoringSettings) -> Finding:
    confidence = settings.monitor_confidence
    now = _rate(current, outcome, name, group, confidence)
    past = None if before is None else _rate(before, outcome, name, group, confidence)
    assert now is not None
    value, shown = float(now["rate"]), int(now["shown"])
    known = Finding(outcome, name, value, group=group, lower=float(now["lower"]), upper=float(now["upper"]), rows=shown)
    if past is None:
        return replace(known, note="not in the reference")
    usual = float(past["rate"])
    if min(shown, past["shown"]) < settings.monitor_min_rows:
        return replace(known, reference=usual, note=f"{settings.monitor_min_rows} showings needed")
    lower, upper = difference((now["answered"], shown), (past["answered"], past["shown"]), confidence)
    change = settings.monitor_rate_change * usual
    drifted = (lower > 0 or upper < 0) and abs(value - usual) >= change
    return replace(known, threshold=change, drifted=bool(drifted), reference=usual, note=f"difference {lower:+.4f} to {upper:+.4f}")


def _rate(frame: pd.DataFrame, outcome: str, name: str, group: str, confidence: float) -> pd.Series | None:
    found = rates(frame[frame[name] == group], outcome, name, confidence)
    return None if found.empty else found.iloc[0]


def _note(compared: Comparison, why: str, settings: MonitoringSettings) -> str:
    told = f"{compared.rows} rows"
    if len(compared.current) < compared.rows:
        told += f", distributions on {len(compared.current)} of them drawn with seed {settings.monitor_seed}"
    told += f". {why}"
    if compared.reference is not None:
        told += f" {compared.reference_rows} rows."
        if compared.unjudged:
            told += " Not judged: " + "; ".join(f"{name} ({reason})" for name, reason in sorted(compared.unjudged.items())) + "."
    return told


def _report(metrics: list[Any], part: str, window: Window, rows: int, note: str) -> Report:
    return Report(metrics, metadata={"window": str(window), "part": part, "rows": str(rows), "note": note}, tags=[part])


def slim(snapshot: Snapshot) -> SnapshotModel:
    """The snapshot with the pictures of its `PICTURES` highest scores only, and none twice. The UI loads every snapshot whole."""
    model = snapshot.to_snapshot_model()
    scores = {
        key: float(result.value)
        for key, result in model.metric_results.items()
        if result.metric_value_location.metric.params["type"].endswith(":ValueDrift")
    }
    low = any(result.metric_value_location.metric.params.get("method") == "ks" for result in model.metric_results.values())
    drawn = sorted(scores, key=lambda key: scores[key], reverse=not low)[:PICTURES]
    dropped = set(scores) - set(drawn)
    model.widgets = [widget for widget in model.widgets if not dropped & set(widget.linked_metrics or [])]
    for result in model.metric_results.values():
        result.widget = []
    return model


def measures_by_window(items: pd.DataFrame, decisions: pd.DataFrame, catalogue: int, windows: Sequence[Window]) -> pd.DataFrame:
    """One row per window that has decisions: its measures and `decisions`, their number."""
    rows = []
    for window in windows:
        own = decisions[(decisions["at"] >= window.start) & (decisions["at"] < window.end)]
        shown = items[(items["at"] >= window.start) & (items["at"] < window.end)]
        if len(own):
            rows.append({"decisions": len(own), **measures(shown, own, catalogue)})
    return pd.DataFrame(rows)
