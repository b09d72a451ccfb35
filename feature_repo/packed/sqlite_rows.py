"""Packed rows in one SQLite file, a table per view."""

import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path

from .errors import PackedError
from .rows import Changes, Found

FORMAT = 2
"""Of the file, in `pragma user_version`. 1 kept Feast's protobuf values."""
_AT_ONCE = 500  # keys per statement; SQLite takes 32,766 variables, but plans for many are made anew

_MAKE = (
    "create table if not exists {view} (entity blob primary key, row blob not null, number integer not null) without rowid",
    "create index if not exists {index} on {view} (number)",
)
_WRITE = """insert into {view} (entity, row, number) values (?, ?, (select coalesce(max(number), 0) + 1 from {view})) on conflict (entity) do update
set number = excluded.number, row = excluded.row
where substr(excluded.row, 17, 8) <> substr(row, 17, 8) or substr(excluded.row, 1, 8) > substr(row, 1, 8)
or (substr(excluded.row, 1, 8) = substr(row, 1, 8)
    and (substr(excluded.row, 9, 8) >= substr(row, 9, 8) or substr(excluded.row, 9, 8) = zeroblob(8)))"""
"""Bytes compare as times do (`layout.py`)."""


class SqliteRows:
    """The file; one connection per thread, opened anew when another file was put in its place. `number` grows with each write: what changed last
    is last. A write makes the file, a read never does; of a file that was deleted whoever has read it reads on.

    `bulk`: the file is new and nobody reads it yet, so writes need not survive a crash; `settle` ends that.
    """

    def __init__(self, path: Path, bulk: bool = False) -> None:
        self.path, self.bulk = path, bulk
        self._local = threading.local()

    def connection(self) -> sqlite3.Connection:
        """A connection to the file that lies there now.

        Raises:
            PackedError: the file is of another format.
        """
        now = _identity(self.path)
        if getattr(self._local, "identity", None) != now or now is None:
            self.close()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            opened = sqlite3.connect(self.path, timeout=30, cached_statements=256)
            try:
                self._prepare(opened, new=now is None)
            except BaseException:
                opened.close()
                raise
            self._local.connection, self._local.declared = opened, set()
            # Of the file that was seen before it was opened: if another took its place meanwhile, the next call opens that one.
            self._local.identity = now if now is not None else _identity(self.path)
        found: sqlite3.Connection = self._local.connection
        return found

    def _reading(self) -> sqlite3.Connection | None:
        """`connection` of a file that is there, or was when it was opened; None if there is none."""
        if _identity(self.path) is not None:
            return self.connection()
        return self._local.connection if getattr(self._local, "identity", None) is not None else None

    def _prepare(self, opened: sqlite3.Connection, new: bool) -> None:
        if self.bulk:
            opened.execute("pragma journal_mode=off")
            opened.execute("pragma synchronous=off")
            opened.execute("pragma cache_size=-200000")
        else:
            if new:
                opened.execute("pragma journal_mode=wal")  # readers never wait for a writer
            opened.execute("pragma synchronous=normal")
        version = opened.execute("pragma user_version").fetchone()[0]
        if version == FORMAT:
            return
        if opened.execute("select count(*) from sqlite_master").fetchone()[0]:
            raise PackedError(
                f"{self.path} is an online store of format {version or 1}, this program reads {FORMAT}: run `make features` (or delete the file, "
                "then `feast apply` and `feast materialize`)."
            )
        opened.execute(f"pragma user_version={FORMAT}")
        _renew(opened)
        opened.commit()

    def settle(self) -> None:
        """What was written in bulk is whole: from now on readers and a writer share the file."""
        self.connection().execute("pragma journal_mode=wal")
        self.close()

    def close(self) -> None:
        if getattr(self._local, "identity", None) is not None:
            self._local.connection.close()
            self._local.identity = None

    def declare(self, view: str) -> None:
        connection = self.connection()
        if view in self._local.declared:
            return
        with connection:
            for statement in _MAKE:
                connection.execute(statement.format(view=_quoted(view), index=_quoted(f"{view}:number")))
        self._local.declared.add(view)

    def write(self, view: str, keys: Sequence[bytes], rows: Sequence[bytes]) -> None:
        ordered = sorted(zip(keys, rows, strict=True), key=itemgetter(0))  # stable; pages are then filled one after the other
        with self.connection() as connection:
            connection.executemany(_WRITE.format(view=_quoted(view)), ordered)

    def read(self, wanted: Sequence[tuple[str, Sequence[bytes]]]) -> list[Found]:
        return [self._read(view, keys) for view, keys in wanted]

    def _read(self, view: str, keys: Sequence[bytes]) -> Found:
        connection = self._reading()
        if connection is None:
            return [None] * len(keys)
        found: dict[bytes, bytes] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            text = f"select entity, row from {_quoted(view)} where entity in ({','.join('?' * len(some))})"
            try:
                found.update(connection.execute(text, some).fetchall())
            except sqlite3.OperationalError as error:
                if _is_missing(error):
                    return [None] * len(keys)
                raise
        return list(map(found.get, keys))

    def scan(self, view: str, size: int = 20_000) -> Iterator[tuple[list[bytes], list[bytes]]]:
        for some in self._all(view, "entity, row", size):
            keys, rows = zip(*some, strict=True)
            yield list(keys), list(rows)

    def keys(self, view: str, size: int = 50_000) -> Iterator[list[bytes]]:
        for some in self._all(view, "entity", size):
            yield [key for (key,) in some]

    def _all(self, view: str, columns: str, size: int) -> Iterator[list[tuple[bytes, ...]]]:
        connection = self._reading()
        if connection is None:
            return
        try:
            cursor = connection.execute(f"select {columns} from {_quoted(view)}")
        except sqlite3.OperationalError as error:
            if _is_missing(error):
                return
            raise
        while some := cursor.fetchmany(size):
            yield some

    def position(self, view: str) -> str:
        return f"{self._name()}/{self._last(view)}"

    def changes(self, view: str, since: str) -> Changes:
        connection, name, last = self._reading(), self._name(), self._last(view)
        file, _, number = since.rpartition("/")
        here = f"{name}/{last}"
        if connection is None or file != name or last < int(number):
            return Changes(None, here)
        if last == int(number):
            return Changes([], here)
        keys = [key for (key,) in connection.execute(f"select entity from {_quoted(view)} where number > ? and number <= ?", (int(number), last))]
        return Changes(keys, here)

    def _name(self) -> str:
        """Of the file and of what it held since a view was last dropped: numbers begin anew with another name."""
        connection = self._reading()
        return "" if connection is None else str(connection.execute("pragma application_id").fetchone()[0])

    def _last(self, view: str) -> int:
        connection = self._reading()
        if connection is None:
            return 0
        try:
            found = connection.execute(f"select max(number) from {_quoted(view)}").fetchone()[0]
        except sqlite3.OperationalError as error:
            if _is_missing(error):
                return 0
            raise
        return int(found or 0)

    def drop(self, view: str) -> None:
        with self.connection() as connection:
            connection.execute(f"drop table if exists {_quoted(view)}")
            _renew(connection)
        self._local.declared.discard(view)

    def clear(self) -> None:
        self.close()
        for end in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(f"{self.path}{end}")  # noqa: PTH108


def _renew(connection: sqlite3.Connection) -> None:
    connection.execute(f"pragma application_id={secrets.randbits(31)}")


def _quoted(view: str) -> str:
    return '"' + view.replace('"', '""') + '"'


def _is_missing(error: sqlite3.OperationalError) -> bool:
    """A view that nobody wrote yet has no table."""
    return str(error).startswith("no such table")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116  (half the cost of Path.stat, on every read)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
