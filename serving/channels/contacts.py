"""Addresses of shoppers (`home.contacts_db`). Only channels import this module; what it returns goes to the mail server and nowhere else."""

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Contact:
    """Where to reach one user on one channel. The address is left out of `repr`, so that no log can show it."""

    address: str = field(repr=False)
    language: str | None


class Contacts:
    """Read-only view of the contacts table. A shop that brought none has no file, and nobody is reachable."""

    def __init__(self, path: Path, channel: str) -> None:
        self._path, self._channel = path, channel
        self._db: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None

    def find(self, user_id: str) -> Contact | None:
        """The user's contact on this channel; None without one. Of several rows, the last one read counts."""
        self._reopen()
        if self._db is None:
            return None
        sql = "SELECT address, language FROM contacts WHERE user_id = ? AND channel = ? AND address <> '' ORDER BY rowid DESC LIMIT 1"
        row = self._db.execute(sql, (user_id, self._channel)).fetchone()
        return Contact(str(row[0]), str(row[1]) if row[1] else None) if row else None

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        self._opened = None

    def _reopen(self) -> None:
        """The table is replaced as a whole when the shop is read again: who was taken out of it is not written to from then on."""
        file = self._path.stat() if self._path.exists() else None
        found = (file.st_ino, file.st_mtime_ns) if file else None
        if found == self._opened:
            return
        self.close()
        if found:
            self._db = sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        self._opened = found
