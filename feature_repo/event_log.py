"""Events that the service accepted: durable once acknowledged, each kept once, readable while others write.

One SQLite table in WAL mode with `synchronous=FULL`: a transaction that returned survives kill -9 and loss of power. Several processes may
append. The next `make features` reads them together with the shop's files.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from feature_repo.errors import FeatureRepoError
from feature_repo.events import EVENTS, Column, Event

SCHEMA_VERSION = 1
BUSY_S = 30.0
"""How long a writer waits for another one's transaction before it gives up."""


def _definition(column: Column) -> str:
    kind = {"number": "REAL", "integer": "INTEGER"}.get(column.dtype, "TEXT")
    return f"{column.name} {kind}" + ("" if column.nullable else " NOT NULL") + (" PRIMARY KEY" if column.name == "event_id" else "")


class EventLog:
    """The log in one file, made on first use."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, events: Sequence[Event]) -> list[str]:
        """Store events in one transaction; returns the ids that are new, in the order given.

        An id that is already there is left as it was and not returned, so that sending a batch again does no harm.

        Raises:
            FeatureRepoError: the log can't be written (disk full, locked for half a minute, newer schema); then no event of the batch is kept.
        """
        new = []
        try:
            with self._connect() as connection, connection:
                connection.execute("BEGIN IMMEDIATE")
                for event in events:
                    marks = ", ".join("?" * len(EVENTS.columns))
                    done = connection.execute(f"INSERT OR IGNORE INTO events ({', '.join(EVENTS.names)}) VALUES ({marks})", _row(event))
                    if done.rowcount:
                        new.append(event.event_id)
        except sqlite3.Error as error:
            raise FeatureRepoError(f"The event log {self.path} can't be written: {error}. No event of this batch was kept; send it again.") from error
        return new

    def read(self) -> pd.DataFrame:
        """All events, oldest first, with the columns and dtypes of the events table.

        Raises:
            FeatureRepoError: the log can't be read, or a newer program wrote it.
        """
        if not self.path.exists():
            return EVENTS.empty()
        try:
            with self._connect() as connection:
                rows = connection.execute(f"SELECT {', '.join(EVENTS.names)} FROM events ORDER BY event_time, sequence, event_id").fetchall()
        except sqlite3.Error as error:
            raise FeatureRepoError(f"The event log {self.path} can't be read: {error}. Restore it from a copy, or move it away.") from error
        frame = pd.DataFrame(rows, columns=EVENTS.names, dtype=object)
        for column in EVENTS.columns:
            if column.dtype == "time":
                frame[column.name] = pd.to_datetime(frame[column.name], format="ISO8601", utc=True)
        return frame.astype({column.name: column.pandas_dtype for column in EVENTS.columns})

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous=FULL")
            self._prepare(connection)
            yield connection
        finally:
            connection.close()

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise FeatureRepoError(f"The event log {self.path} has schema {version}, this program knows {SCHEMA_VERSION}: update Storyshelf.")
        if version == 0:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"CREATE TABLE IF NOT EXISTS events ({', '.join(map(_definition, EVENTS.columns))}) STRICT")
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            connection.execute("COMMIT")


def _row(event: Event) -> tuple[object, ...]:
    context = None if event.context is None else json.dumps(dict(event.context), ensure_ascii=False)
    return (
        event.event_id, str(event.event_type), event.user_id, event.product_id, _utc(event.event_time), _utc(event.arrived_at), event.sequence,
        event.quantity, event.price, event.rating, event.request_id, event.position, event.channel, event.session_id, context,
    )  # fmt: skip


def _utc(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
