"""The outbox: what a campaign means to send, what became of it, and who wants nothing more (`home.outbox_db`).

SQLite with a write-ahead log and `synchronous=FULL`: a commit that returned survives a kill and a power cut. It holds pseudonyms and no address.

The life of a delivery, one row per campaign and user:

    queued -> sending -> sent | failed | queued again (temporary) | unknown
    queued -> skipped (looked at again by the next run)

`sending` is committed before the first byte of a message leaves. A row that still says so when nobody holds the campaign's lock belongs to a
process that died: its message may or may not have been accepted, so it counts as `unknown` and only a person takes it from there (`resolve`).
"""

import fcntl
import hashlib
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from serving.errors import ServingError

SCHEMA_VERSION = 1
"""Version of the outbox's tables, kept in SQLite's `user_version`."""

_INTERRUPTED = "interrupted"
_LOOKS = 10
"""Times that a run asks for its campaign's lock before it says that another has it."""

_SCHEMA = """
CREATE TABLE campaigns (
    name TEXT PRIMARY KEY, channel TEXT NOT NULL, audience TEXT NOT NULL, language TEXT NOT NULL, products INTEGER NOT NULL, created_at TEXT NOT NULL
);
CREATE TABLE deliveries (
    campaign TEXT NOT NULL REFERENCES campaigns (name), user_id TEXT NOT NULL, message_id TEXT NOT NULL UNIQUE, request_id TEXT NOT NULL,
    status TEXT NOT NULL, reason TEXT NOT NULL, attempts INTEGER NOT NULL, not_before REAL NOT NULL, updated_at TEXT NOT NULL,
    PRIMARY KEY (campaign, user_id)
) WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (campaign, status, not_before, user_id);
CREATE TABLE suppressions (
    user_id TEXT NOT NULL, channel TEXT NOT NULL, at TEXT NOT NULL, source TEXT NOT NULL, PRIMARY KEY (user_id, channel)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Campaign:
    """What a campaign's name stands for. `audience` is the expression as written, `language` empty for each shopper's own."""

    name: str
    channel: str
    audience: str
    language: str
    products: int


@dataclass(frozen=True)
class Delivery:
    """One message of one campaign to one user. `not_before` is wall time in unix seconds; `updated_at` is wall time."""

    campaign: str
    user_id: str
    message_id: str
    request_id: str
    status: str
    reason: str
    attempts: int
    not_before: float
    updated_at: str


class Outbox:
    """Opens (and makes) the file; safe to use from several threads and beside other processes. `read_only` makes and changes nothing.

    Raises:
        ServingError: the file was written by a newer program, or is no outbox.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path = path
        self._lock = threading.RLock()
        in_memory = read_only and not path.exists()
        target = ":memory:" if in_memory else f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        self._db = sqlite3.connect(target, timeout=30.0, isolation_level=None, check_same_thread=False, uri=not in_memory)
        try:
            self._prepare(make=in_memory or not read_only)
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise ServingError(f"{path} is not a readable outbox ({error}): restore it; without it nobody knows who was mailed.") from error
        except ServingError:
            self._db.close()
            raise

    def _prepare(self, make: bool) -> None:
        version = self._version()
        if version > SCHEMA_VERSION:
            raise ServingError(f"{self.path} has schema {version}, this program knows {SCHEMA_VERSION}: update Storyshelf.")
        if not make:
            return
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        with self.transaction():
            if self._version() == 0:  # asked again: another process may have been faster
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        if self.path.exists():
            self.path.chmod(0o600)

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is committed together, and no other process writes in between."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def running(self, campaign: str) -> Iterator[None]:
        """Hold a campaign for this process; the lock goes with the process, however it ends.

        Raises:
            ServingError: another process is running it.
        """
        with self._lock_file(campaign).open("w") as file:
            for _ in range(_LOOKS):
                if _locked(file):
                    break
                time.sleep(0.05)  # `unknown` holds the lock while it looks
            else:
                raise ServingError(f"Campaign '{campaign}' is being run by another process: wait for it or stop it.")
            yield

    def _lock_file(self, campaign: str) -> Path:
        digest = hashlib.sha256(campaign.encode()).hexdigest()[:16]
        return self.path.with_name(f"{self.path.stem}.{digest}.lock")

    @contextmanager
    def _abandoned(self, campaign: str) -> Iterator[bool]:
        """Whether nobody runs the campaign; while inside, nobody begins to. Makes nothing."""
        path = self._lock_file(campaign)
        if not path.exists():
            yield True
            return
        with path.open("rb") as file:
            yield _locked(file)

    # Campaigns

    def start(self, campaign: Campaign) -> bool:
        """Put the campaign down; False if it was there already.

        Raises:
            ServingError: the name stands for something else.
        """
        with self.transaction():
            known = self.campaign(campaign.name)
            if known is None:
                row = (campaign.name, campaign.channel, campaign.audience, campaign.language, campaign.products, _wall())
                self._db.execute("INSERT INTO campaigns VALUES (?, ?, ?, ?, ?, ?)", row)
                return True
        if known != campaign:
            raise ServingError(
                f"Campaign '{campaign.name}' was started with --audience '{known.audience}' --channel {known.channel} --language "
                f"'{known.language}' --n {known.products}: run it with these, or take another --name."
            )
        return False

    def campaign(self, name: str) -> Campaign | None:
        row = self._one("SELECT name, channel, audience, language, products FROM campaigns WHERE name = ?", (name,))
        return Campaign(*row) if row else None

    # Deliveries

    def enrol(self, campaign: str, rows: Iterable[tuple[str, str, str]]) -> int:
        """Queue (user_id, message_id, request_id); who is in the campaign already stays as they are. Returns how many were new."""
        with self.transaction():
            before = self._db.total_changes
            self._db.executemany(
                "INSERT INTO deliveries VALUES (?, ?, ?, ?, 'queued', '', 0, 0, ?) ON CONFLICT (campaign, user_id) DO NOTHING",
                ((campaign, *row, _wall()) for row in rows),
            )
            return self._db.total_changes - before

    def recover(self, campaign: str) -> int:
        """Rows that a dead process left in `sending` become `unknown`; call it while holding the campaign. Returns their number."""
        with self.transaction():
            sql = "UPDATE deliveries SET status = 'unknown', reason = ?, updated_at = ? WHERE campaign = ? AND status = 'sending'"
            return self._db.execute(sql, (_INTERRUPTED, _wall(), campaign)).rowcount

    def reopen(self, campaign: str) -> None:
        """Who was skipped is looked at again: the reason may be gone. Call it at the start of a run."""
        with self.transaction():
            self._db.execute("UPDATE deliveries SET status = 'queued', reason = '' WHERE campaign = ? AND status = 'skipped'", (campaign,))

    def next_queued(self, campaign: str) -> Delivery | None:
        """The queued delivery that is due first; look at its `not_before`."""
        sql = "SELECT * FROM deliveries WHERE campaign = ? AND status = 'queued' ORDER BY not_before, user_id LIMIT 1"
        row = self._one(sql, (campaign,))
        return Delivery(*row) if row else None

    def sending(self, delivery: Delivery) -> None:
        """Commit the intent to send.

        Raises:
            ServingError: the row is not queued any more.
        """
        change = "UPDATE deliveries SET status = 'sending', attempts = attempts + 1, updated_at = ?"
        sql = change + " WHERE campaign = ? AND user_id = ? AND status = 'queued'"
        with self.transaction():
            if self._db.execute(sql, (_wall(), delivery.campaign, delivery.user_id)).rowcount != 1:
                raise ServingError(f"Message {delivery.message_id} is not queued any more: something else changed the outbox while the campaign ran.")

    def settle(self, delivery: Delivery, status: str, reason: str = "") -> None:
        """Commit what became of a delivery: sent, failed, unknown or skipped."""
        self._set(delivery, status, reason, delivery.not_before)

    def postpone(self, delivery: Delivery, reason: str, not_before: float) -> None:
        """Back to the queue: it was certainly not accepted. The attempt counts."""
        self._set(delivery, "queued", reason, not_before)

    def withdraw(self, delivery: Delivery) -> None:
        """Back to the queue as it was before `sending`: nothing left this machine, and the attempt does not count."""
        with self.transaction():
            sql = "UPDATE deliveries SET status = 'queued', attempts = ?, updated_at = ? WHERE campaign = ? AND user_id = ?"
            self._db.execute(sql, (delivery.attempts, _wall(), delivery.campaign, delivery.user_id))

    def unknown(self, campaign: str = "") -> list[Delivery]:
        """Deliveries whose outcome nobody knows, of one campaign or of all, with those that a dead process left in `sending`. Changes nothing."""
        found = self._with_status("unknown", campaign)
        for name in sorted({each.campaign for each in self._with_status("sending", campaign)}):
            with self._abandoned(name) as abandoned:
                if abandoned:
                    found += [replace(each, status="unknown", reason=_INTERRUPTED) for each in self._with_status("sending", name)]
        return sorted(found, key=lambda each: (each.campaign, each.user_id))

    def resolve(self, message_id: str, arrived: bool) -> Delivery:
        """A person found out: the message arrived (`sent`), or did not and goes back to the queue with the same Message-ID.

        Raises:
            ServingError: no unknown delivery has that Message-ID, or it is being sent at this moment.
        """
        if sending := self._one("SELECT campaign FROM deliveries WHERE message_id = ? AND status = 'sending'", (message_id,)):
            with self.running(sending[0]):
                self.recover(sending[0])
        with self.transaction():
            row = self._one("SELECT * FROM deliveries WHERE message_id = ? AND status = 'unknown'", (message_id,))
            if row is None:
                raise ServingError(f"No message of unknown outcome has the Message-ID {message_id}: --unknown lists those that do.")
            self._set(Delivery(*row), "sent" if arrived else "queued", "resolved by hand", 0.0)
            return Delivery(*row)

    def counts(self, campaign: str) -> dict[tuple[str, str], int]:
        """Number of deliveries by (status, reason)."""
        sql = "SELECT status, reason, count(*) FROM deliveries WHERE campaign = ? GROUP BY status, reason"
        with self._lock:
            return {(str(status), str(reason)): int(count) for status, reason, count in self._db.execute(sql, (campaign,))}

    # Suppressions

    def suppress(self, user_id: str, channel: str, source: str, at: datetime) -> None:
        """The user wants nothing more on the channel as of `at` (the shop's time). A later one replaces an earlier one."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO suppressions VALUES (?, ?, ?, ?) ON CONFLICT (user_id, channel) DO UPDATE SET at = excluded.at, source = excluded.source"
                " WHERE excluded.at > suppressions.at",
                (user_id, channel, at.astimezone(UTC).isoformat(timespec="microseconds"), source),
            )

    def suppressed_at(self, user_id: str, channel: str) -> datetime | None:
        """When the user was suppressed, as committed by any process; None if never."""
        row = self._one("SELECT at FROM suppressions WHERE user_id = ? AND channel = ?", (user_id, channel))
        return datetime.fromisoformat(str(row[0])) if row else None

    def _with_status(self, status: str, campaign: str) -> list[Delivery]:
        """Of one campaign, or of all if it is empty."""
        sql = "SELECT * FROM deliveries WHERE status = ? AND (campaign = ? OR ? = '')"
        with self._lock:
            return [Delivery(*row) for row in self._db.execute(sql, (status, campaign, campaign))]

    def _set(self, delivery: Delivery, status: str, reason: str, not_before: float) -> None:
        with self.transaction():
            sql = "UPDATE deliveries SET status = ?, reason = ?, not_before = ?, updated_at = ? WHERE campaign = ? AND user_id = ?"
            self._db.execute(sql, (status, reason, not_before, _wall(), delivery.campaign, delivery.user_id))

    def _one(self, sql: str, values: tuple[str, ...]) -> tuple[Any, ...] | None:
        with self._lock:
            row: tuple[Any, ...] | None = self._db.execute(sql, values).fetchone()
            return row


def _locked(file: IO[Any]) -> bool:
    """Take the file's lock, which goes with the open file; False if another has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wall() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
