"""FLOW of a refresh: journal + events -> frames by window -> reports against the reference -> workspace, findings, dashboards.

Done again it changes nothing: a window's report has an id derived from its name, is built again only while its inputs still change,
and is final `monitor_settle_hours` after its end.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid5

import pandas as pd
from evidently.core.serialization import SnapshotModel
from evidently.legacy.utils import NumpyEncoder
from evidently.sdk.models import ProjectModel
from evidently.ui.workspace import Workspace
from tqdm import tqdm

from feature_repo import journal
from feature_repo.home import ShopHome
from feature_repo.ingest import read_tables
from monitoring.drift import KEYS
from monitoring.engagement import DIMENSIONS, OUTCOMES, showings
from monitoring.findings import Findings
from monitoring.panels import DASHBOARDS, ENGAGEMENT, FEATURES, MEASURED, PAIRS, RECOMMENDATIONS, SHELF, SHOWN, USERS, Dashboard, Known, dashboard_of
from monitoring.reports import Built, column_report, engagement_report, joined, measure_report, measures_by_window
from monitoring.settings import MonitoringSettings
from monitoring.shelves import decision_frame, item_frame, pair_frame, user_frame
from monitoring.windows import Window, between, floor, reference_of

log = logging.getLogger(__name__)

HISTORY_WINDOWS = 14
"""Windows shown of a shop's history while its journal is empty."""

BY_PANEL = {dashboard.panel: dashboard for dashboard in DASHBOARDS}

NO_DECISIONS = "No decisions are journaled yet: run `make serve` and use it, or `make demo`. "


@dataclass(frozen=True)
class Inputs:
    """What a refresh reads. Journal frames as in `feature_repo.journal`, events as in the events table, `catalogue`: number of products."""

    decisions: pd.DataFrame
    items: pd.DataFrame
    contents: pd.DataFrame
    events: pd.DataFrame
    catalogue: int


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did: reports built and left as they were, columns and rates that drifted in the newest window, and what to tell."""

    built: int
    kept: int
    drifted: list[str]
    messages: dict[str, str]


def load(home: ShopHome) -> Inputs:
    """Everything the shop has.

    Raises:
        FeatureRepoError: nothing was ingested yet, or the journal can't be read.
    """
    tables = read_tables(home)
    kept = journal.read(home.journal)
    return Inputs(kept.decisions, kept.items, kept.contents, tables["events"], int(tables["products"]["product_id"].nunique()))


def workspace_folder(home: ShopHome) -> Path:
    return home.monitoring / "workspace"


def refresh(home: ShopHome, settings: MonitoringSettings, now: datetime, inputs: Inputs | None = None, rebuild: bool = False) -> Refreshed:
    """Bring workspace, findings and dashboards up to `now` (the shop's time)."""
    inputs = inputs or load(home)
    if rebuild:
        (home.monitoring / "findings.db").unlink(missing_ok=True)
        for file in (home.monitoring / "reference").glob("*.parquet"):
            file.unlink()
    folder = workspace_folder(home)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = Findings(home.monitoring / "findings.db")
    workspace = Workspace(str(folder))
    for dashboard in DASHBOARDS:
        project = ProjectModel(id=dashboard.id, name=f"{dashboard.title} · {home.shop}", description=dashboard.description)
        if workspace.get_project(dashboard.id) is None:
            workspace.add_project(project)
    work = [*_journal_work(home, settings, now, inputs, found), *_engagement_work(home, settings, now, inputs, found)]
    built = kept = 0
    for job in tqdm(work, desc="reports", disable=None):
        if job.run(workspace, found, settings, now):
            built += 1
        else:
            kept += 1
    messages = _messages(inputs, found, settings)
    known = _known(found, messages)
    for dashboard in DASHBOARDS:
        workspace.save_dashboard(dashboard.id, dashboard_of(dashboard, known))
    drifted = newest_drift(found.read())
    log.info("Monitoring of %s: %d reports built, %d left as they were, %d findings of drift now.", home.shop, built, kept, len(drifted))
    return Refreshed(built, kept, drifted, messages)


Reference = Callable[[Window], tuple[pd.DataFrame | None, str]]
"""Of a window: the rows it is compared with, or None, and a sentence about them."""


@dataclass(frozen=True)
class Part:
    """One part of a dashboard's reports. `frame`: rows of all windows, with `at`; `current` and `reference` make a window's frames."""

    name: str
    current: Callable[[Window], pd.DataFrame]
    reference: Reference
    make: Callable[[str, Window, pd.DataFrame, pd.DataFrame | None, str, MonitoringSettings], Built]


@dataclass(frozen=True)
class Job:
    """One dashboard's report of one window."""

    dashboard: Dashboard
    window: Window
    parts: Sequence[Part]

    def run(self, workspace: Workspace, found: Findings, settings: MonitoringSettings, now: datetime) -> bool:
        """Build it, unless it is final or nothing it stands on has changed; whether it was built."""
        before = found.built(self.dashboard.panel, self.window)
        if before and before[1]:
            return False
        frames = [(part, part.current(self.window), *part.reference(self.window)) for part in self.parts]
        frames = [each for each in frames if len(each[1])]
        inputs = _fingerprint([(current, reference, why) for _, current, reference, why in frames], settings)
        settled = now >= self.window.end + timedelta(hours=settings.monitor_settle_hours)
        if not frames or (before and before[0] == inputs):
            if before and settled:
                found.settle(self.dashboard.panel, self.window)
            return False
        built = [part.make(part.name, self.window, current, reference, why, settings) for part, current, reference, why in frames]
        snapshot_id = uuid5(self.dashboard.id, f"{self.window.start.isoformat()}/{self.window.end.isoformat()}")
        path = Path(workspace.path) / str(self.dashboard.id) / "snapshots" / f"{snapshot_id}.json"
        _write_snapshot(path, joined(self.dashboard.title, self.window, built))
        found.record(
            self.dashboard.panel,
            self.window,
            {each.part: each.findings for each in built},
            inputs=inputs,
            snapshot_id=str(snapshot_id),
            settled=settled,
            note=" ".join(f"{each.part.capitalize()}: {each.note}" for each in built),
        )
        return True


def _fingerprint(frames: Sequence[tuple[pd.DataFrame, pd.DataFrame | None, str]], settings: MonitoringSettings) -> str:
    """Changes when a row is added or answered, or the reference or a setting changes."""
    told = [
        [
            len(current),
            {name: int(current[name].sum()) for name in OUTCOMES.values() if name in current},
            -1 if reference is None else len(reference),
            why,
        ]
        for current, reference, why in frames
    ]
    fixed = {"monitor_host", "monitor_port", "monitor_interval_s", "monitor_lookback_windows", "monitor_settle_hours"}
    judged = {name: value for name, value in settings.model_dump(mode="json").items() if name.startswith("monitor_") and name not in fixed}
    return hashlib.sha256(json.dumps([told, judged], sort_keys=True).encode()).hexdigest()[:24]


def _write_snapshot(path: Path, model: SnapshotModel) -> None:
    """In place of Evidently's own writer: never half a file, which would keep its UI from starting."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(model.dict(), cls=NumpyEncoder))
    part.replace(path)
    os.utime(path)  # a running UI watches for changed files, not for renamed ones


def _journal_work(home: ShopHome, settings: MonitoringSettings, now: datetime, inputs: Inputs, found: Findings) -> Iterator[Job]:
    if inputs.decisions.empty:
        return
    hours = settings.monitor_window_hours
    anchor = datetime.fromisoformat(found.meta("journal_anchor", floor(inputs.decisions["at"].min().to_pydatetime(), hours).isoformat()))
    with_features = inputs.decisions[inputs.decisions["user_features"].map(bool)]
    users = user_frame(with_features, hours)
    pairs = pair_frame(inputs.items)
    pairs = pairs[[name for name in pairs.columns if name in KEYS or name not in users.columns]]
    items, answers = item_frame(inputs.decisions, inputs.items), decision_frame(inputs.decisions, inputs.items, inputs.contents)

    def part(name: str, frame: pd.DataFrame) -> Part:
        return Part(name, partial(cut, frame), References(home, name, frame, anchor, settings, now).of, column_report)

    def measured(window: Window) -> pd.DataFrame:
        return measures_by_window(items, answers, inputs.catalogue, [window])

    def usual(window: Window) -> tuple[pd.DataFrame | None, str]:
        """Measures of each window of the reference, on the rows that are kept of it."""
        shown, why = References(home, SHELF, items, anchor, settings, now).of(window)
        made, _ = References(home, MEASURED, answers, anchor, settings, now).of(window)
        if shown is None or made is None:
            return None, why
        past = list(between(made["at"].min().to_pydatetime(), made["at"].max().to_pydatetime(), hours))
        return measures_by_window(shown, made, inputs.catalogue, past), why

    work = {
        FEATURES: [part(USERS, users), part(PAIRS, pairs)],
        RECOMMENDATIONS: [Part(MEASURED, measured, usual, measure_report), part(SHELF, items)],
    }
    windows = list(between(anchor, now, hours))[-settings.monitor_lookback_windows :]
    for panel, parts in work.items():
        for window in windows:
            yield Job(BY_PANEL[panel], window, parts)


def _engagement_work(home: ShopHome, settings: MonitoringSettings, now: datetime, inputs: Inputs, found: Findings) -> Iterator[Job]:
    """With a journal: its windows against the days before it, or its own first days. Without: the last of the shop's history."""
    hours, days = settings.monitor_window_hours, timedelta(days=settings.monitor_reference_days)
    shown = showings(inputs.events, inputs.decisions, inputs.contents)
    if shown.empty:
        return
    last = shown["at"].max().to_pydatetime()
    if inputs.decisions.empty:
        since = floor(last, hours) - (min(settings.monitor_lookback_windows, HISTORY_WINDOWS) - 1) * timedelta(hours=hours)
    else:
        first = floor(inputs.decisions["at"].min().to_pydatetime(), hours)
        since = datetime.fromisoformat(found.meta("journal_anchor", first.isoformat()))
    history = cut(shown, Window(since - days, since))
    anchor = since - days if len(history) >= settings.monitor_min_rows else since
    references = References(home, SHOWN, shown, anchor, settings, now)
    for window in list(between(since, min(now, last), hours))[-settings.monitor_lookback_windows :]:
        yield Job(BY_PANEL[ENGAGEMENT], window, [Part(SHOWN, partial(cut, shown), references.of, engagement_report)])


def cut(frame: pd.DataFrame, window: Window) -> pd.DataFrame:
    """Rows whose `at` lies in the window."""
    return frame[(frame["at"] >= window.start) & (frame["at"] < window.end)]


@dataclass(frozen=True)
class References:
    """Reference rows of one frame. A first-days reference that is complete is kept as Parquet, since the journal is deleted in time."""

    home: ShopHome
    part: str
    frame: pd.DataFrame
    anchor: datetime
    settings: MonitoringSettings
    now: datetime

    def of(self, window: Window) -> tuple[pd.DataFrame | None, str]:
        """The rows that `window` is compared with, or None, and a sentence about them."""
        settings = self.settings
        period = reference_of(window, self.anchor, settings.monitor_reference_days, settings.monitor_reference)
        if window.overlaps(period):
            return None, f"Part of the reference ({period}): shown, not judged."
        rows = self._kept(period) if settings.monitor_reference == "first" else cut(self.frame, period)
        if rows.empty:
            return None, f"Nothing to compare with: no rows in the reference ({period})."
        return rows, f"Compared with {period},"

    def _kept(self, period: Window) -> pd.DataFrame:
        folder = self.home.monitoring / "reference"
        name = f"{self.part.replace(' ', '-')}-{period.start:%Y%m%dT%H%M}-{period.end:%Y%m%dT%H%M}.parquet"
        if (folder / name).exists():
            return pd.read_parquet(folder / name)
        rows = cut(self.frame, period)
        if self.now >= period.end + timedelta(hours=self.settings.monitor_settle_hours) and len(rows):
            folder.mkdir(parents=True, exist_ok=True)
            part = folder / f"{name}.part"
            rows.to_parquet(part, index=False)
            part.replace(folder / name)
        return rows


def _messages(inputs: Inputs, found: Findings, settings: MonitoringSettings) -> dict[str, str]:
    """The line under each dashboard's title: what its newest report stands on, or what to do to get one."""
    windows = found.windows()
    told = {}
    for dashboard in DASHBOARDS:
        own = windows[windows["panel"] == dashboard.panel]
        if own.empty:
            told[dashboard.panel] = NO_DECISIONS if inputs.decisions.empty else "There is nothing to show yet."
            if dashboard.panel == ENGAGEMENT:
                told[dashboard.panel] = "Nothing was shown to anybody yet: no impression events and no campaign. " + told[dashboard.panel]
            continue
        newest = own.iloc[-1]
        history = dashboard.panel == ENGAGEMENT and inputs.decisions.empty
        told[dashboard.panel] = (
            (NO_DECISIONS + "These are impressions of the shop's own history. " if history else "")
            + f"Newest window: {Window(newest['window_start'].to_pydatetime(), newest['window_end'].to_pydatetime())}. "
            + (newest["note"] if len(newest["note"]) < 700 else newest["note"][:700] + " … (the rest is in the report)")
        )
    return told


def _known(found: Findings, messages: dict[str, str]) -> Known:
    frame = found.read()
    drift = frame[(frame["metric"] == "drift") & frame["value"].notna()]
    columns = {str(part): list(own.groupby("column")["value"].max().sort_values(ascending=False).index) for part, own in drift.groupby("part")}
    groups: dict[tuple[str, str], list[str]] = {}
    answered = frame[frame["metric"].isin(list(OUTCOMES.values())) & frame["column"].isin([*DIMENSIONS, "all"])]
    for (outcome, dimension), own in answered.groupby(["metric", "column"]):
        groups[(str(outcome), str(dimension))] = list(own.groupby("group")["rows"].sum().sort_values(ascending=False).index[:10])
    measured = list(frame.loc[frame["metric"] == "measure", "column"].unique())
    if "degraded" in measured:
        measured.append("full")
    categories = list(frame.loc[frame["metric"] == "share", "group"].unique())
    return Known(columns, groups, categories, measured, set(found.windows()["panel"]), messages)


def newest_drift(frame: pd.DataFrame) -> list[str]:
    """One line per finding of drift in the newest window of its part."""
    if frame.empty:
        return []
    newest = frame[frame["window_start"] == frame.groupby(["panel", "part"])["window_start"].transform("max")]
    rows: Any = newest[newest["drifted"].fillna(False).astype(bool)].itertuples()
    return [f"{row.panel}: {row.metric} of {row.column} {row.group}".strip() + f" is {row.value:.3g}" for row in rows]
