"""All entities of one kind as columns in the process: what serving ranks from, equal to what Feast answers.

    table = EntityTable.load(PackedReader(store, service))           # or EntityTable.shared(reader, folder) for several processes
    rows = table.index.rows(["p1", "p2"])                            # int32[2]
    table.floats[rows]                                               # float32[2, len(table.shape.floats)], NaN where missing
    table = table.refreshed()                                        # another table with what changed since; this one stays as it is

Columns keep their declared type: integers above 2**24 stay exact. What is missing is NaN, 0 or None and `gone` says so.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .columns import Columns
from .errors import PackedError
from .files import SharedFiles
from .filling import Filling
from .index import IdIndex
from .layout import Flags
from .moments import alive
from .reader import PackedReader, key_value
from .shape import Shape

_REBASE = 8
"""Shared files are written anew when one row in so many differs from them."""


@dataclass(frozen=True)
class Base:
    """Files that several processes map; `changed`: rows of this process that differ from them."""

    files: SharedFiles
    token: str
    changed: NDArray[np.int64]


@dataclass(frozen=True)
class EntityTable:
    """P entities of one join key. Never changed after it is made, so whoever holds one reads one state."""

    reader: PackedReader = field(repr=False)
    ids: NDArray[np.object_] = field(repr=False)  # [P], sorted; those that came later stand behind
    index: IdIndex = field(repr=False)
    columns: Columns = field(repr=False)
    positions: tuple[str, ...]  # per part: up to where its changes are in
    base: Base | None = None

    @property
    def shape(self) -> Shape:
        """Where every feature stands."""
        return self.columns.shape

    @property
    def floats(self) -> NDArray[np.float32]:
        """float32[P, len(shape.floats)]"""
        return self.columns.blocks["floats"]

    @property
    def nbytes(self) -> int:
        """What the columns take, strings of ids and words apart."""
        return sum(array.nbytes for _, array in self.columns.arrays()) + self.index.nbytes

    @property
    def fingerprint(self) -> str:
        """Of the names and types it holds."""
        return self.reader.fingerprint

    def require(self, fingerprint: str, who: str) -> None:
        """
        Raises:
            PackedError: a model was trained on other features.
        """
        if fingerprint != self.fingerprint:
            raise PackedError(
                f"{who} was trained on features {fingerprint}, this table holds {self.fingerprint}: load a table of the model's FeatureService, "
                "or train it again."
            )

    def gone(self, name: str, rows: NDArray[np.integer], now: datetime | None = None) -> Flags:
        """`Columns.gone`, by default at the store's clock."""
        return self.columns.gone(name, rows, now or self.reader.now())

    def column(self, name: str, rows: NDArray[np.integer]) -> NDArray[Any]:
        """`Columns.column`."""
        return self.columns.column(name, rows)

    def gather(self, rows: NDArray[np.integer], now: datetime | None = None) -> tuple[dict[str, NDArray[Any]], dict[str, Flags]]:
        """`Columns.gather`, by default at the store's clock."""
        return self.columns.gather(rows, now or self.reader.now())

    @classmethod
    def load(cls, reader: PackedReader, floats: Sequence[str] | None = None) -> "EntityTable":
        """Read every entity that any view of the reader has.

        Raises:
            PackedError: the views have different join keys, or more than one.
        """
        positions = tuple(reader.rows.position(part.name) for part in reader.parts)  # what is written from here on, `refreshed` reads
        keys = _ordered(reader, {key for part in reader.parts for some in reader.rows.keys(part.name) for key in some})
        made = Filling.empty(reader.parts, Shape.of(reader.parts, floats), len(keys))
        where = {key: row for row, (key, _) in enumerate(keys)}
        ids = np.fromiter((name for _, name in keys), object, len(keys))
        del keys
        for number, part in enumerate(reader.parts):
            for some, rows in reader.rows.scan(part.name):
                places = [where.get(key, -1) for key in some]
                known = [row for row, place in zip(rows, places, strict=True) if place >= 0]
                made.put(number, np.array([place for place in places if place >= 0], np.int64), known)
        return cls(reader, ids, IdIndex(ids), made.columns(), positions)

    @classmethod
    def of_rows(cls, reader: PackedReader, ids: Sequence[Any], rows: Sequence[Sequence[bytes]], floats: Sequence[str] | None = None) -> "EntityTable":
        """Of packed rows at hand: per part of the reader one for each id, which are sorted. It stands for itself and is not refreshed."""
        made = Filling.empty(reader.parts, Shape.of(reader.parts, floats), len(ids))
        for number, some in enumerate(rows):
            made.put(number, np.arange(len(ids)), some)
        named = np.fromiter(ids, object, len(ids))
        return cls(reader, named, IdIndex(named), made.columns(), ())

    @classmethod
    def shared(cls, reader: PackedReader, folder: Path, floats: Sequence[str] | None = None) -> "EntityTable":
        """The same over files in `folder`, which every process maps: the first one reads the store and writes them. Columns then lie in memory
        once, whatever the number of processes; ids, words and index are each process' own. Tables of other features have files of their own."""
        files = SharedFiles(folder, reader, Shape.of(reader.parts, floats))
        with files.locked():
            found = _opened(reader, files) or cls.load(reader, floats)._based(files)
        return found.refreshed()

    def refreshed(self) -> "EntityTable":
        """The table with what was written since; itself if nothing was. Only entities that changed are read."""
        if not self.positions:
            return self
        found = self
        if self.base is not None and self.base.files.current() != self.base.token:
            found = _opened(self.reader, self.base.files) or self  # another process has taken in what it saw
        rows = found.reader.rows
        changes = [rows.changes(part.name, since) for part, since in zip(found.reader.parts, found.positions, strict=True)]
        if any(change.keys is None for change in changes):
            return found._again()
        positions = tuple(change.upto for change in changes)
        keys = [change.keys or [] for change in changes]
        if not any(keys):
            return found if positions == found.positions else replace(found, positions=positions)
        read = rows.read([(part.name, some) for part, some in zip(found.reader.parts, keys, strict=True)])
        return found._with(keys, read, positions)

    def expired(self, now: datetime) -> "EntityTable":
        """The table without what is older at `now` than its view lets it live: missing in `floats` and all columns. Itself if all lives."""
        dead = [
            np.flatnonzero((times != 0) & ~alive(times, part.ttl, now)) if times is not None else np.zeros(0, np.int64)
            for part, times in zip(self.reader.parts, self.columns.at, strict=True)
        ]
        if not any(map(len, dead)):
            return self
        return self._put(self.ids, self.index, dead, [[None] * len(places) for places in dead], self.positions)

    def _with(self, keys: list[list[bytes]], read: list[list[bytes | None]], positions: tuple[str, ...]) -> "EntityTable":
        names = [[key_value(part, key) for key in some] for part, some in zip(self.reader.parts, keys, strict=True)]
        new = sorted({name for some in names for name in some if self.index.get(name) is None})
        ids = np.concatenate([self.ids, np.fromiter(new, object, len(new))]) if new else self.ids
        index = self.index.extended(ids) if new else self.index
        found = self._put(ids, index, [index.rows(some).astype(np.int64) for some in names], read, positions)
        base = self.base
        if base is None or (found.base is not None and len(found.base.changed) * _REBASE <= len(ids)):
            return found
        with base.files.locked():
            if base.files.current() == base.token:
                return found._based(base.files)
        return self.refreshed()  # another process was faster: go on from its files

    def _put(
        self,
        ids: NDArray[np.object_],
        index: IdIndex,
        places: Sequence[NDArray[np.int64]],
        rows: Sequence[Sequence[bytes | None]],
        positions: tuple[str, ...],
    ) -> "EntityTable":
        """The table with these rows of each part at these places; over the same base, unless it has grown."""
        touched, base = [number for number, some in enumerate(places) if len(some)], self.base if len(ids) == len(self.ids) else None
        own = {} if base is None else _Copies(base, self.columns)
        made = Filling.copy(self.columns, touched, len(ids), own)
        for number in touched:
            made.put(number, places[number], rows[number])
        if base is not None:
            base = replace(base, changed=np.unique(np.concatenate([*places, base.changed])))
        return EntityTable(self.reader, ids, index, made.columns(), positions, base)

    def _again(self) -> "EntityTable":
        """Everything is read, by one of the processes that share files."""
        if self.base is None:
            return EntityTable.load(self.reader, self.shape.floats)
        with self.base.files.locked():
            if self.base.files.current() == self.base.token:
                return EntityTable.load(self.reader, self.shape.floats)._based(self.base.files)
        return self.refreshed()

    def _based(self, files: SharedFiles) -> "EntityTable":
        """Written to files and mapped from there; a table with Python values stays as it is. Call it under the lock."""
        if self.columns.objects:
            return self
        files.save(self.columns, self.ids, self.positions)
        token = files.current()
        return replace(self, columns=files.columns(token), base=Base(files, token, np.zeros(0, np.int64)))


class _Copies(dict[str, NDArray[Any]]):
    """Copies of the arrays over a base, made as they are asked for: another map of the same file, of which only the pages that are written become the
    process' own."""

    def __init__(self, base: Base, columns: Columns) -> None:
        super().__init__()
        self.base, self.had = base, dict(columns.arrays())

    def __contains__(self, name: object) -> bool:
        return name in self.had

    def __missing__(self, name: str) -> NDArray[Any]:
        again = self.base.files.array(self.base.token, name)
        again[self.base.changed] = self.had[name][self.base.changed]
        return again


def _opened(reader: PackedReader, files: SharedFiles) -> EntityTable | None:
    """The table that lies in files; None if there is none."""
    token = files.current()
    if not token:
        return None
    try:
        ids, positions = files.ids(token), files.positions(token)
        return EntityTable(reader, ids, IdIndex(ids), files.columns(token), positions, Base(files, token, np.zeros(0, np.int64)))
    except FileNotFoundError:  # another process has just written newer ones
        return None


def _ordered(reader: PackedReader, keys: Iterable[bytes]) -> list[tuple[bytes, Any]]:
    """Keys with the ids they stand for, sorted by these."""
    joins = {part.joins for part in reader.parts}
    if len(joins) != 1 or len(next(iter(joins))) != 1:
        raise PackedError("A table is of one entity with one join key: ask for views of that entity only.")
    part = reader.parts[0]
    return sorted(((key, key_value(part, key)) for key in keys), key=lambda pair: pair[1])
