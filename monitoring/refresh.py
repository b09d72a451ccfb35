"""FLOW of a refresh: journal + events -> frames by window -> reports against the reference -> workspace, findings, dashboards.

Done again it changes nothing: a window's report has an id derived from its name, is built again only while its inputs still change,
and is final `monitor_settle_hours` after its end.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
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
from monitoring.engagement import DIMENSIONS, OUTCOMES, showings
from monitoring.findings import Findings
from monitoring.panels import DASHBOARDS, ENGAGEMENT, FEATURES, MEASURED, PAIRS, RECOMMENDATIONS, SHELF, SHOWN, USERS, Dashboard, Known, dashboard_of
from monitoring.reports import Built, column_report, engagement_report, measure_report, measures_by_window
from monitoring.settings import MonitoringSettings
from monitoring.shelves import decision_frame, item_frame, pair_frame, user_frame
from monitoring.windows import Window, between, floor, reference_of

log = logging.getLogger(__name__)

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


@dataclass(frozen=True)
class Job:
    """One report to be built unless it is final or its inputs are as they were. `make` gets the reference, or None, and why."""

    dashboard: Dashboard
    part: str
    window: Window
    current: pd.DataFrame
    reference: Callable[[], tuple[pd.DataFrame | None, str]]
    make: Callable[[str, Window, pd.DataFrame, pd.DataFrame | None, str, MonitoringSettings], Built]

    def run(self, workspace: Workspace, found: Findings, settings: MonitoringSettings, now: datetime) -> bool:
        before = found.inputs(self.dashboard.panel, self.part, self.window)
        if before and before[1]:
            return False
        reference, why = self.reference()
        settled = now >= self.window.end + timedelta(hours=settings.monitor_settle_hours)
        inputs = _fingerprint(self.current, reference, why, settings)
        if before and before[0] == inputs and not settled:
            return False
        snapshot_id = uuid5(self.dashboard.id, f"{self.part}/{self.window.start.isoformat()}/{self.window.end.isoformat()}")
        built = self.make(self.part, self.window, self.current, reference, why, settings)
        if not before or before[0] != inputs:
            _write_snapshot(Path(workspace.path) / str(self.dashboard.id) / "snapshots" / f"{snapshot_id}.json", built.model)
        found.record(
            self.dashboard.panel,
            self.part,
            self.window,
            built.findings,
            inputs=inputs,
            rows=built.rows,
            snapshot_id=str(snapshot_id),
            settled=settled,
            note=built.note,
        )
        return True


def _fingerprint(current: pd.DataFrame, reference: pd.DataFrame | None, why: str, settings: MonitoringSettings) -> str:
    """Changes when a row is added or answered, or the reference or a setting changes."""
    answers = {name: int(current[name].sum()) for name in OUTCOMES.values() if name in current}
    judged = {name: value for name, value in settings.model_dump(mode="json").items() if name.startswith("monitor_") and "host" not in name}
    told = [len(current), answers, -1 if reference is None else len(reference), why, judged]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:24]


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
    shelves = inputs.decisions[inputs.decisions["kind"].isin(["recommendations", "feed", "email"])]
    frames = {
        USERS: user_frame(shelves[shelves["user_features"].map(bool)], hours),
        PAIRS: pair_frame(inputs.items),
        SHELF: item_frame(inputs.decisions, inputs.items),
        MEASURED: decision_frame(inputs.decisions, inputs.items, inputs.contents),
    }
    anchor = datetime.fromisoformat(found.meta("journal_anchor", floor(inputs.decisions["at"].min().to_pydatetime(), hours).isoformat()))
    windows = list(between(anchor, now, hours))[-settings.monitor_lookback_windows :]
    features, recommendations = (next(each for each in DASHBOARDS if each.panel == panel) for panel in (FEATURES, RECOMMENDATIONS))
    for dashboard, part in ((features, USERS), (features, PAIRS), (recommendations, SHELF)):
        references = References(home, part, frames[part], anchor, settings, now)
        for window in windows:
            if len(current := cut(frames[part], window)):
                yield Job(dashboard, part, window, current, references.of(window), column_report)
    references = References(home, MEASURED, frames[MEASURED], anchor, settings, now)
    for window in windows:
        if len(cut(frames[MEASURED], window)):
            current = measures_by_window(frames[SHELF], frames[MEASURED], inputs.catalogue, [window])
            yield Job(recommendations, MEASURED, window, current, _measured(references, window, frames, inputs, hours), measure_report)


def _measured(
    references: "References", window: Window, frames: dict[str, pd.DataFrame], inputs: Inputs, hours: int
) -> Callable[[], tuple[pd.DataFrame | None, str]]:
    """The reference of the measures is one row per window of the reference period."""

    def of() -> tuple[pd.DataFrame | None, str]:
        rows, why = references.of(window)()
        if rows is None or rows.empty:
            return None, why
        windows = list(between(rows["at"].min().to_pydatetime(), rows["at"].max().to_pydatetime(), hours))
        return measures_by_window(frames[SHELF], rows, inputs.catalogue, windows), why

    return of


def _engagement_work(home: ShopHome, settings: MonitoringSettings, now: datetime, inputs: Inputs, found: Findings) -> Iterator[Job]:
    """With a journal: its windows against the days before it, or its own first days. Without: the last of the shop's history."""
    hours, days = settings.monitor_window_hours, timedelta(days=settings.monitor_reference_days)
    shown = showings(inputs.events, inputs.decisions, inputs.contents)
    if shown.empty:
        return
    last = shown["at"].max().to_pydatetime()
    if inputs.decisions.empty:
        since = floor(last, hours) - (min(settings.monitor_lookback_windows, 14) - 1) * timedelta(hours=hours)
    else:
        first = floor(inputs.decisions["at"].min().to_pydatetime(), hours)
        since = datetime.fromisoformat(found.meta("journal_anchor", first.isoformat()))
    history = cut(shown, Window(since - days, since))
    anchor = since - days if len(history) >= settings.monitor_min_rows else since
    windows = list(between(since, min(now, last), hours))[-settings.monitor_lookback_windows :]
    references = References(home, SHOWN, shown, anchor, settings, now)
    dashboard = next(each for each in DASHBOARDS if each.panel == ENGAGEMENT)
    for window in windows:
        if len(current := cut(shown, window)):
            yield Job(dashboard, SHOWN, window, current, references.of(window), engagement_report)


def cut(frame: pd.DataFrame, window: Window) -> pd.DataFrame:
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

    def of(self, window: Window) -> Callable[[], tuple[pd.DataFrame | None, str]]:
        return lambda: self._of(window)

    def _of(self, window: Window) -> tuple[pd.DataFrame | None, str]:
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
        newest = own[own["window_start"] == own["window_start"].max()]
        lines = [f"{row.part}: {row.note}" for row in newest.itertuples()]
        if dashboard.panel == ENGAGEMENT and inputs.decisions.empty:
            lines.insert(0, NO_DECISIONS + "These are the impressions of the shop's own history.")
        when = newest.iloc[0]
        told[dashboard.panel] = f"Newest window {Window(when['window_start'].to_pydatetime(), when['window_end'].to_pydatetime())}. " + " ".join(
            line if len(line) < 400 else line[:400] + " …" for line in lines
        )
    return told


def _known(found: Findings, messages: dict[str, str]) -> Known:
    frame = found.read()
    drift = frame[(frame["metric"] == "drift") & frame["value"].notna()]
    columns = {str(part): list(own.groupby("column")["value"].max().sort_values(ascending=False).index) for part, own in drift.groupby("part")}
    windows = found.windows()
    for part in windows["part"].unique():
        columns.setdefault(str(part), [])
    groups: dict[tuple[str, str], list[str]] = {}
    answered = frame[frame["metric"].isin(list(OUTCOMES.values())) & frame["column"].isin([*DIMENSIONS, "all"])]
    for (outcome, dimension), own in answered.groupby(["metric", "column"]):
        groups[(str(outcome), str(dimension))] = list(own.groupby("group")["rows"].sum().sort_values(ascending=False).index[:10])
    measured = list(frame.loc[frame["metric"] == "measure", "column"].unique())
    categories = list(frame.loc[frame["metric"] == "share", "group"].unique())
    return Known(columns, groups, categories, measured, messages)


def newest_drift(frame: pd.DataFrame) -> list[str]:
    """One line per finding of drift in the newest window of its part."""
    if frame.empty:
        return []
    newest = frame[frame["window_start"] == frame.groupby(["panel", "part"])["window_start"].transform("max")]
    rows: Any = newest[newest["drifted"].fillna(False).astype(bool)].itertuples()
    return [f"{row.panel}: {row.metric} of {row.column} {row.group}".strip() + f" is {row.value:.3g}" for row in rows]
