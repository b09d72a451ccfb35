"""What was found in which window: a table in the shop's home (SQLite, `home.monitoring / "findings.db"`) that other pages may read.

Table `findings`, one row per window, panel, part, metric, column and group; table `windows`, one row per window and panel.
"""

import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from monitoring.drift import Finding
from monitoring.errors import MonitoringError
from monitoring.windows import Window

SCHEMA_VERSION = 1

_SCHEMA = """
create table if not exists windows (
    panel text not null, window_start text not null, window_end text not null, inputs text not null,
    snapshot_id text not null, settled integer not null, note text not null, built_at text not null,
    primary key (panel, window_start));
create table if not exists findings (
    window_start text not null, window_end text not null, panel text not null, part text not null, metric text not null,
    "column" text not null, "group" text not null, value real, reference real, lower real, upper real, threshold real,
    drifted integer, rows integer not null, note text not null,
    primary key (panel, part, window_start, metric, "column", "group"));
create table if not exists meta (name text primary key, value text not null);
"""


class Findings:
    """The two tables. `drifted` is 1, 0 or null (not judged); times are ISO-8601 UTC text."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path
        with self._open() as db:
            version = int(db.execute("pragma user_version").fetchone()[0])
            if version > SCHEMA_VERSION:
                raise MonitoringError(f"{path} has schema {version}, this program knows {SCHEMA_VERSION}: update Storyshelf, or delete the file.")
            db.executescript(_SCHEMA)
            db.execute(f"pragma user_version = {SCHEMA_VERSION}")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self.path, timeout=30)
        try:
            with db:
                yield db
        finally:
            db.close()

    def meta(self, name: str, default: str) -> str:
        """A remembered value; the first call writes `default`."""
        with self._open() as db:
            db.execute("insert or ignore into meta values (?, ?)", (name, default))
            return str(db.execute("select value from meta where name = ?", (name,)).fetchone()[0])

    def built(self, panel: str, window: Window) -> tuple[str, bool] | None:
        """From what the window's report was last built, and whether it is final; None if it was never built."""
        with self._open() as db:
            query = "select inputs, settled from windows where panel = ? and window_start = ?"
            row = db.execute(query, (panel, window.start.isoformat())).fetchone()
        return (str(row[0]), bool(row[1])) if row else None

    def settle(self, panel: str, window: Window) -> None:
        """Mark the window's report as final."""
        with self._open() as db:
            db.execute("update windows set settled = 1 where panel = ? and window_start = ?", (panel, window.start.isoformat()))

    def record(
        self, panel: str, window: Window, found: Mapping[str, Sequence[Finding]], *, inputs: str, snapshot_id: str, settled: bool, note: str
    ) -> None:
        """Replace everything known of this window's report, in one transaction. `found`: part -> findings."""
        key = (panel, window.start.isoformat())
        with self._open() as db:
            db.execute("delete from findings where panel = ? and window_start = ?", key)
            db.executemany(
                "insert into findings values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_row(panel, part, window, each) for part, own in found.items() for each in own],
            )
            db.execute(
                "insert or replace into windows values (?, ?, ?, ?, ?, ?, ?, ?)",
                (*key, window.end.isoformat(), inputs, snapshot_id, int(settled), note, datetime.now(UTC).isoformat()),
            )

    def read(self) -> pd.DataFrame:
        """All findings, oldest window first; `drifted` as nullable boolean."""
        return self._frame("findings")

    def windows(self) -> pd.DataFrame:
        """All windows, oldest first."""
        return self._frame("windows")

    def _frame(self, table: str) -> pd.DataFrame:
        with self._open() as db:
            frame = pd.read_sql_query(f"select * from {table} order by window_start, panel", db)
        for name in ("window_start", "window_end"):
            frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601")
        if "drifted" in frame:
            frame["drifted"] = frame["drifted"].astype("Int64").astype("boolean")
        return frame


def _row(panel: str, part: str, window: Window, each: Finding) -> tuple[object, ...]:
    numbers = (each.value, each.reference, each.lower, each.upper, each.threshold)
    return (
        window.start.isoformat(),
        window.end.isoformat(),
        panel,
        part,
        each.metric,
        each.column,
        each.group,
        *(None if value is None or math.isnan(value) else float(value) for value in numbers),
        None if each.drifted is None else int(each.drifted),
        each.rows,
        each.note,
    )
