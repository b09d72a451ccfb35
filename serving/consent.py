"""Who may be written to, and on which channel. Without a recorded yes the answer is no.

Three records speak: the shop's consents table (`home.tables`), unsubscribe events (the shop's and those posted to the service), and suppressions
(`home.outbox_db`, made by unsubscribe links), which stay when the tables are built again. The latest word counts; at the same moment a no wins.
"""

import sqlite3
import threading
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import pyarrow.parquet as pq

from feature_repo.home import ShopHome
from serving.outbox import Outbox

_CONTACTING = frozenset({"email", "push", "sms"})
_EVERY_CHANNEL = ""
"""Key of an unsubscribe that names no channel."""
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Standing(StrEnum):
    """Whether a user may be written to, and if not, why."""

    GRANTED = "granted"
    NO_CONSENT = "no consent"
    WITHDRAWN = "consent refused"
    UNSUBSCRIBED = "unsubscribed"


class Consent:
    """Consent of one shop's users; each question is answered from what is committed and stored at that moment.

    Open it once and ask often: tables are read again only when their files change. Safe to use from several threads.

    Raises:
        ServingError: the outbox can't be read (see `Outbox`).
    """

    def __init__(self, home: ShopHome, outbox: Outbox | None = None) -> None:
        self._home = home
        self._outbox = outbox or Outbox(home.outbox_db)
        self._granted: dict[tuple[str, str], tuple[bool, datetime]] = {}
        self._stopped: dict[tuple[str, str], datetime] = {}
        self._read: dict[Path, tuple[int, int, int]] = {}
        self._posted: sqlite3.Connection | None = None
        self._posted_rowid = 0
        self._lock = threading.Lock()

    def allowed(self, user_id: str, channel: str) -> bool:
        return self.standing(user_id, channel) is Standing.GRANTED

    def standing(self, user_id: str, channel: str) -> Standing:
        """What the records say about the user and channel now."""
        with self._lock:
            self._refresh()
        granted, since = self._granted.get((user_id, channel), (None, None))
        if granted is None or since is None:
            return Standing.NO_CONSENT
        if not granted:
            return Standing.WITHDRAWN
        stops = (
            self._outbox.suppressed_at(user_id, channel),
            self._stopped.get((user_id, channel)),
            self._stopped.get((user_id, _EVERY_CHANNEL)),
        )
        return Standing.UNSUBSCRIBED if any(stop is not None and stop >= since for stop in stops) else Standing.GRANTED

    def suppress(self, user_id: str, channel: str, source: str, at: datetime | None = None) -> None:
        """The user wants nothing more on the channel, as of `at` (the shop's time, default now); committed on return. `source` says who told us."""
        if at is None:
            with self._lock:
                self._refresh()
            _, since = self._granted.get((user_id, channel), (False, _LONG_AGO))
            at = max(self._home.clock().now(), since)  # the clock of a historical shop lies before consents given today
        self._outbox.suppress(user_id, channel, source, at)

    def close(self) -> None:
        self._outbox.close()
        if self._posted is not None:
            self._posted.close()

    def _refresh(self) -> None:
        consents, events = self._home.tables / "consents.parquet", self._home.tables / "events.parquet"
        if self._changed(consents):
            self._granted = _latest_consents(consents)
        if self._changed(events):
            self._stopped = _unsubscribes(events)
            self._posted_rowid = 0
        self._read_posted()

    def _changed(self, file: Path) -> bool:
        state = (stat.st_mtime_ns, stat.st_size, stat.st_ino) if file.exists() and (stat := file.stat()) else (0, 0, 0)
        if self._read.get(file) == state:
            return False
        self._read[file] = state
        return True

    def _read_posted(self) -> None:
        """Unsubscribe events that the service accepted since the last look."""
        if self._posted is None:
            if not self._home.events_db.exists():
                return
            uri = f"{self._home.events_db.resolve().as_uri()}?mode=ro"
            self._posted = sqlite3.connect(uri, uri=True, timeout=30.0, isolation_level=None, check_same_thread=False)
        last = int(self._posted.execute("SELECT coalesce(max(rowid), 0) FROM events").fetchone()[0])
        if last == self._posted_rowid:
            return
        new = "SELECT user_id, channel, event_time FROM events WHERE rowid > ? AND rowid <= ?"
        rows = self._posted.execute(f"{new} AND event_type = 'unsubscribe' AND user_id IS NOT NULL", (self._posted_rowid, last)).fetchall()
        for user_id, channel, at in rows:
            key, when = (str(user_id), _stopped_by(channel)), datetime.fromisoformat(str(at)).astimezone(UTC)
            self._stopped[key] = max(when, self._stopped.get(key, when))
        self._posted_rowid = last


def _stopped_by(channel: str | None) -> str:
    """The channel that an unsubscribe event stops: the one it names, all of them if it names none or only says where it was said (site)."""
    named = (channel or "").strip().lower()
    return named if named in _CONTACTING else _EVERY_CHANNEL


def _latest_consents(file: Path) -> dict[tuple[str, str], tuple[bool, datetime]]:
    """(granted, at) of the latest row per user and channel; a row without a time is older than any other, one without an answer is a no."""
    if not file.exists():
        return {}
    rows = pq.read_table(file, columns=["user_id", "channel", "granted", "at"])
    answers: dict[tuple[str, str], tuple[bool, datetime]] = {}
    for user_id, channel, granted, at in zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True):
        answer, key = (bool(granted), at or _LONG_AGO), (str(user_id), str(channel))
        known = answers.get(key)
        if known is None or answer[1] > known[1] or (answer[1] == known[1] and not answer[0]):
            answers[key] = answer
    return answers


def _unsubscribes(file: Path) -> dict[tuple[str, str], datetime]:
    """Time of the last unsubscribe event per user and channel."""
    if not file.exists():
        return {}
    rows = pq.read_table(file, columns=["user_id", "channel", "event_time"], filters=[("event_type", "==", "unsubscribe")])
    last: dict[tuple[str, str], datetime] = {}
    for user_id, channel, at in zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True):
        if user_id is not None:
            key = (str(user_id), _stopped_by(channel))
            last[key] = max(at, last.get(key, at))
    return last
