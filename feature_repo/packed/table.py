"""All entities of one kind as columns in the process: what serving ranks from, equal to what Feast answers.

    table = EntityTable.load(PackedReader(store, service))           # or EntityTable.shared(reader, folder) for several processes
    rows = table.index.rows(["p1", "p2"])                            # int32[2]
    table.floats[rows]                                               # float32[2, len(table.shape.floats)], NaN where missing
    table = table.refreshed()                                        # another table with what changed since; this one stays as it is

Columns keep their declared type: integers above 2**24 stay exact. What is missing is NaN, 0 or None and stands in `missing`.
"""

import fcntl
import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from feast.value_type import ValueType
from numpy.typing import NDArray

from .errors import PackedError
from .index import Coded, IdIndex
from .layout import Flags
from .moments import alive
from .reader import PackedReader, Part, key_value
from .slots import Slot, taken

_MANY_WORDS = 65_536
"""From here on words lie in numpy's own strings: 16 bytes and the text, where Python's take 50 more."""
_REBASE = 8
"""A shared base is written anew when one row in so many differs from it."""
_BLOCKS = {"<f8": "doubles", "<i8": "longs", "<i4": "ints", "|b1": "flags"}
_FILL = {"floats": np.float32("nan"), "doubles": np.float64("nan"), "longs": np.int64(0), "ints": np.int32(0), "flags": np.bool_(False)}


@dataclass(frozen=True)
class Shape:
    """Where every feature stands. `floats`: names of the float32 block, in order; a Float64 or integer feature may stand there beside its exact
    column. `exact`: name -> block and column."""

    floats: tuple[str, ...]
    exact: Mapping[str, tuple[str, int]]
    texts: tuple[str, ...]
    vectors: tuple[str, ...]
    objects: tuple[str, ...]

    @classmethod
    def of(cls, parts: Sequence[Part], floats: Sequence[str] | None) -> "Shape":
        """
        Raises:
            PackedError: a name of `floats` is no number of these parts.
        """
        slots = {shown: slot for part in parts for shown, slot in zip(part.shown, part.slots, strict=True)}
        numbers = [name for name, slot in slots.items() if slot.form == "fixed"]
        chosen = tuple(floats if floats is not None else [name for name in numbers if slots[name].kind == ValueType.FLOAT])
        if wrong := [name for name in chosen if name not in numbers]:
            raise PackedError(f"No numbers of these views: {', '.join(wrong)}.")
        exact: dict[str, tuple[str, int]] = {}
        columns = dict.fromkeys(_FILL, 0)
        for place, name in enumerate(chosen):
            if slots[name].kind == ValueType.FLOAT:
                exact[name] = ("floats", place)
        columns["floats"] = len(chosen)
        for name in numbers:
            if name not in exact:
                block = _BLOCKS.get(slots[name].dtype, "doubles")  # a float32 that the block of floats leaves out
                exact[name] = (block, columns[block])
                columns[block] += 1
        texts = tuple(name for name, slot in slots.items() if slot.form == "text")
        vectors = tuple(name for name, slot in slots.items() if slot.form == "numbers")
        objects = tuple(name for name, slot in slots.items() if slot.form not in ("fixed", "text", "numbers"))
        return cls(chosen, exact, texts, vectors, objects)

    def widths(self) -> dict[str, int]:
        """Columns of each block."""
        return {block: len(self.floats) if block == "floats" else sum(found == block for found, _ in self.exact.values()) for block in _FILL}


@dataclass(frozen=True)
class Base:
    """Files that several processes map; `changed`: rows of this process that differ from them."""

    folder: Path
    token: str
    changed: NDArray[np.int64]


@dataclass(frozen=True)
class EntityTable:
    """P entities of one join key. Never changed after it is made, so whoever holds one reads one state."""

    reader: PackedReader = field(repr=False)
    shape: Shape = field(repr=False)
    ids: NDArray[np.object_] = field(repr=False)  # [P], sorted; those that came later stand behind
    index: IdIndex = field(repr=False)
    blocks: dict[str, NDArray[Any]] = field(repr=False)  # name -> [P, columns]
    missing: tuple[NDArray[np.uint8], ...] = field(repr=False)  # per part: uint8[P, bytes], the lowest bit first
    texts: dict[str, Coded] = field(repr=False)
    vectors: dict[str, NDArray[Any]] = field(repr=False)  # [P, length]; a missing one is 0
    objects: dict[str, NDArray[np.object_]] = field(repr=False)  # everything else, as Python values
    at: tuple[NDArray[np.int64] | None, ...] = field(repr=False)  # per part with a time to live: event times in microseconds
    positions: tuple[str, ...]
    base: Base | None = None

    @property
    def floats(self) -> NDArray[np.float32]:
        """float32[P, len(shape.floats)]"""
        return self.blocks["floats"]

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

    @property
    def nbytes(self) -> int:
        """What the columns take, strings of ids and words apart."""
        arrays = [*self.blocks.values(), *self.missing, *self.vectors.values(), *(text.codes for text in self.texts.values())]
        return sum(array.nbytes for array in [*arrays, *(at for at in self.at if at is not None)]) + self.index.nbytes

    @classmethod
    def load(cls, reader: PackedReader, floats: Sequence[str] | None = None) -> "EntityTable":
        """Read every entity that any view of the reader has.

        Raises:
            PackedError: the views have different join keys, or more than one.
        """
        positions = tuple(reader.rows.position(part.name) for part in reader.parts)  # what is written from here on, `refreshed` reads
        keys = _ordered(reader, {key for part in reader.parts for some in reader.rows.keys(part.name) for key in some})
        made = _Filling.empty(reader, Shape.of(reader.parts, floats), len(keys))
        where = {key: row for row, (key, _) in enumerate(keys)}
        ids = np.fromiter((name for _, name in keys), object, len(keys))
        del keys
        for number, part in enumerate(reader.parts):
            for some, rows in reader.rows.scan(part.name):
                places = [where.get(key, -1) for key in some]
                known = [row for row, place in zip(rows, places, strict=True) if place >= 0]
                made.put(number, np.array([place for place in places if place >= 0], np.int64), known)
        return made.table(ids, IdIndex(ids), positions)

    @classmethod
    def of_rows(cls, reader: PackedReader, ids: Sequence[Any], rows: Sequence[Sequence[bytes]], floats: Sequence[str] | None = None) -> "EntityTable":
        """Of packed rows at hand: per part of the reader one for each id, which are sorted. It stands for itself and is not refreshed."""
        made = _Filling.empty(reader, Shape.of(reader.parts, floats), len(ids))
        for number, some in enumerate(rows):
            made.put(number, np.arange(len(ids)), some)
        named = np.fromiter(ids, object, len(ids))
        return made.table(named, IdIndex(named), ())

    @classmethod
    def shared(cls, reader: PackedReader, folder: Path, floats: Sequence[str] | None = None) -> "EntityTable":
        """The same over files in `folder`, which every process maps: the first one reads the store and writes them. Columns then lie in memory
        once, whatever the number of processes; ids, words and index are each process' own."""
        with _locked(folder):
            found = _opened(reader, folder, Shape.of(reader.parts, floats))
            if found is None:
                found = cls.load(reader, floats).based(folder)
        return found.refreshed()

    def based(self, folder: Path) -> "EntityTable":
        """Written to files in `folder` and mapped from there. Tables with Python values stay as they are. Call it under the folder's lock."""
        if self.objects:
            return self
        token = uuid.uuid4().hex[:12]
        _save(self, folder / f"{token}.part")
        (folder / f"{token}.part").rename(folder / token)
        pointer = folder / "current.part"
        pointer.write_text(token)
        pointer.replace(folder / "current")
        for old in folder.iterdir():
            if old.is_dir() and old.name != token:
                shutil.rmtree(old, ignore_errors=True)  # whoever maps it keeps it
        found = _opened(self.reader, folder, self.shape, (self.ids, self.index))
        assert found is not None
        return found

    def refreshed(self) -> "EntityTable":
        """The table with what was written since; itself if nothing was. Only entities that changed are read."""
        if not self.positions:
            return self
        found = self._newer_base()
        rows = found.reader.rows
        changes = [rows.changes(part.name, since) for part, since in zip(found.reader.parts, found.positions, strict=True)]
        if any(change.keys is None for change in changes):
            again = EntityTable.load(found.reader, found.shape.floats)
            return again if found.base is None else again._rebased(found.base.folder)
        positions = tuple(change.upto for change in changes)
        keys = [change.keys or [] for change in changes]
        if not any(keys):
            return found if positions == found.positions else replace(found, positions=positions)
        read = rows.read([(part.name, some) for part, some in zip(found.reader.parts, keys, strict=True)])
        return found._with(keys, read, positions)

    def _with(self, keys: list[list[bytes]], read: list[list[bytes | None]], positions: tuple[str, ...]) -> "EntityTable":
        parts = self.reader.parts
        names = [[key_value(part, key) for key in some] for part, some in zip(parts, keys, strict=True)]
        new = sorted({name for some in names for name in some if self.index.get(name) is None})
        ids = np.concatenate([self.ids, np.fromiter(new, object, len(new))]) if new else self.ids
        index = self.index.extended(ids) if new else self.index
        places = [index.rows(some).astype(np.int64) for some in names]
        touched = [number for number, some in enumerate(keys) if some]
        made = _Filling.copy(self, touched, len(ids))
        for number in touched:
            made.put(number, places[number], read[number])
        changed = np.unique(np.concatenate([*places, self.base.changed if self.base else np.zeros(0, np.int64)]))
        found = made.table(ids, index, positions)
        if self.base is None:
            return found
        if new or len(changed) * _REBASE > len(ids):
            return found._rebased(self.base.folder)
        return replace(found, base=replace(self.base, changed=changed))

    def _rebased(self, folder: Path) -> "EntityTable":
        with _locked(folder):
            return self.based(folder)

    def _newer_base(self) -> "EntityTable":
        """The files that another process has written since, if it did."""
        if self.base is None or _current(self.base.folder) == self.base.token:
            return self
        return _opened(self.reader, self.base.folder, self.shape) or self

    def gone(self, name: str, rows: NDArray[np.integer]) -> Flags:
        """bool[n]: whether a feature is missing at these rows, or older than its view lets it live."""
        number, part, place = self._where[name]
        found = np.asarray(self.missing[number][rows, place // 8] >> (place % 8) & 1, np.bool_)
        times = self.at[number]
        if times is not None:
            found |= ~alive(times[rows], part.ttl, self.reader.packed.now(self.reader.store.config))
        return found

    def column(self, name: str, rows: NDArray[np.integer]) -> NDArray[Any]:
        """The values of a feature at these rows in its declared type. Times to live are not looked at: `gone` does."""
        if name in self.shape.exact:
            block, column = self.shape.exact[name]
            found: NDArray[Any] = self.blocks[block][rows, column]
        elif name in self.texts:
            found = self.texts[name][rows]
        else:
            found = (self.vectors if name in self.vectors else self.objects)[name][rows]
        return found

    def gather(self, rows: NDArray[np.integer]) -> tuple[dict[str, NDArray[Any]], dict[str, Flags]]:
        """Every feature at these rows, and where it is missing (or older than its view lets it live): what `PackedReader.read` answers."""
        taken_blocks = {block: array[rows] for block, array in self.blocks.items() if array.shape[1]}
        values: dict[str, NDArray[Any]] = {}
        gone: dict[str, Flags] = {}
        for number, part in enumerate(self.reader.parts):
            bits = np.unpackbits(self.missing[number][rows], axis=1, count=len(part.slots), bitorder="little").view(np.bool_)
            times = self.at[number]
            dead = None if times is None else ~alive(times[rows], part.ttl, self.reader.packed.now(self.reader.store.config))
            if dead is not None:
                bits |= dead[:, None]
            for place, name in enumerate(part.shown):
                gone[name] = bits[:, place]
                if name in self.shape.exact:
                    block, column = self.shape.exact[name]
                    values[name] = taken_blocks[block][:, column]
                else:
                    values[name] = self.column(name, rows)
                if dead is not None and dead.any():
                    values[name] = _emptied(values[name], dead)
        return values, gone

    @cached_property
    def _where(self) -> dict[str, tuple[int, Part, int]]:
        return {name: (number, part, place) for number, part in enumerate(self.reader.parts) for place, name in enumerate(part.shown)}


def _emptied(values: NDArray[Any], dead: Flags) -> NDArray[Any]:
    found = values.copy()
    found[dead] = None if found.dtype == object else np.nan if found.dtype.kind == "f" and found.ndim == 1 else 0
    return found


class _Filling:
    """A table that is being made."""

    def __init__(self, reader: PackedReader, shape: Shape, size: int) -> None:
        self.reader, self.shape, self.size = reader, shape, size
        self.blocks: dict[str, NDArray[Any]] = {}
        self.missing: list[NDArray[np.uint8]] = []
        self.vectors: dict[str, NDArray[Any]] = {}
        self.objects: dict[str, NDArray[np.object_]] = {}
        self.at: list[NDArray[np.int64] | None] = []
        self.codes: dict[str, NDArray[np.int32]] = {}
        self.words: dict[str, dict[bytes, int]] = {}
        self.known: dict[str, NDArray[Any]] = {}
        self.first: dict[str, int] = {}  # code of the first of `words`

    @classmethod
    def empty(cls, reader: PackedReader, shape: Shape, size: int) -> "_Filling":
        made = cls(reader, shape, size)
        made.blocks = {block: np.full((size, width), _FILL[block]) for block, width in shape.widths().items()}
        made.missing = [np.full((size, -(-len(part.slots) // 8)), 255, np.uint8) for part in reader.parts]
        made.at = [np.zeros(size, np.int64) if part.ttl else None for part in reader.parts]
        made.objects = {name: np.full(size, None, object) for name in shape.objects}
        made.codes = {name: np.full(size, -1, np.int32) for name in shape.texts}
        made.words = {name: {} for name in shape.texts}
        made.known = {name: np.zeros(0, object) for name in shape.texts}
        made.first = dict.fromkeys(shape.texts, 0)
        return made

    @classmethod
    def copy(cls, table: EntityTable, touched: Sequence[int], size: int) -> "_Filling":
        """A copy of what the touched parts write to; the rest is the table's own. Over a base it is another map of the same file, of which only
        the pages that are written become the process' own."""
        made = cls(table.reader, table.shape, size)
        parts = [table.reader.parts[number] for number in touched]
        names = {name for part in parts for name in part.shown}
        blocks = {table.shape.exact[name][0] for name in names if name in table.shape.exact} | (
            {"floats"} if names & set(table.shape.floats) else set()
        )

        def own(file: str, array: NDArray[Any], fill: Any, wanted: bool) -> NDArray[Any]:
            if len(array) < size:
                grown = np.full((size, *array.shape[1:]), fill, array.dtype)
                grown[: len(array)] = array
                return grown
            if not wanted:
                return array
            if table.base is None or not file:
                return array.copy()
            again = _mapped(table.base.folder / table.base.token / f"{file}.npy")
            again[table.base.changed] = array[table.base.changed]
            return again

        made.blocks = {block: own(block, array, _FILL[block], block in blocks) for block, array in table.blocks.items()}
        made.missing = [own(f"missing{number}", array, 255, number in touched) for number, array in enumerate(table.missing)]
        made.at = [None if array is None else own(f"at{number}", array, 0, number in touched) for number, array in enumerate(table.at)]
        made.vectors = {name: own(f"vector-{name}", array, 0, name in names) for name, array in table.vectors.items()}
        made.objects = {name: own("", array, None, name in names) for name, array in table.objects.items()}
        for name, text in table.texts.items():
            made.codes[name] = own(f"codes-{name}", text.codes, -1, name in names)
            few = name in names and len(text.words) < _MANY_WORDS
            made.words[name] = {str(word).encode(): code for code, word in enumerate(text.words)} if few else {}
            made.known[name], made.first[name] = text.words, 0 if few else len(text.words)
        return made

    def put(self, number: int, places: NDArray[np.int64], rows: Sequence[bytes | None]) -> None:
        """Write the rows of one part at `places`; None empties one."""
        part = self.reader.parts[number]
        heads, kept, found = part.heads(rows)
        numbers = [slot.number for slot in part.slots]
        empty = heads.missing[:, numbers]
        self.missing[number][places] = np.packbits(empty, axis=1, bitorder="little")[found]
        times = self.at[number]
        if times is not None:
            times[places] = heads.at[found]
        in_floats = {name: place for place, name in enumerate(self.shape.floats)}
        for place, (name, slot) in enumerate(zip(part.shown, part.slots, strict=True)):
            if slot.form == "fixed":
                values = heads.numbers(slot)[found]
                block, column = self.shape.exact[name]
                self.blocks[block][places, column] = values
                if name in in_floats and block != "floats":
                    narrow = values.astype(np.float32)
                    narrow[empty[:, place][found]] = np.nan
                    self.blocks["floats"][places, in_floats[name]] = narrow
            else:
                bodies = part.layout.bodies(slot, kept, heads)
                self._put_loose(name, slot, places, bodies, empty[:, place], found)

    def _put_loose(self, name: str, slot: Slot, places: NDArray[np.int64], bodies: list[bytes], empty: Flags, found: NDArray[np.int64]) -> None:
        if name in self.codes:
            words, first = self.words[name], self.first[name]
            codes = [-1 if gone else words.setdefault(body, first + len(words)) for body, gone in zip(bodies, empty.tolist(), strict=True)]
            self.codes[name][places] = np.array(codes, np.int32)[found]
        elif name in self.objects or not self._put_vector(name, slot, places, bodies, empty, found):
            values = (None if gone else taken(slot, body) for body, gone in zip(bodies, empty.tolist(), strict=True))
            self.objects[name][places] = np.fromiter(values, object, len(bodies))[found]

    def _put_vector(self, name: str, slot: Slot, places: NDArray[np.int64], bodies: list[bytes], empty: Flags, found: NDArray[np.int64]) -> bool:
        """False if the lists are not all of one length: then they are Python values."""
        lengths = {len(body) for body, gone in zip(bodies, empty.tolist(), strict=True) if not gone}
        width = np.dtype(slot.dtype).itemsize
        if name not in self.vectors and lengths:
            self.vectors[name] = np.zeros((self.size, max(lengths) // width), slot.dtype)
        if not lengths:
            if name in self.vectors:
                self.vectors[name][places] = 0
            return True
        held = self.vectors[name]
        if lengths != {held.shape[1] * width}:
            self.objects[name] = _as_objects(self.vectors.pop(name), self._gone(name))
            return False
        nothing = b"\0" * (held.shape[1] * width)
        whole = b"".join([nothing if gone else body for body, gone in zip(bodies, empty.tolist(), strict=True)])
        held[places] = np.frombuffer(whole, slot.dtype).reshape(len(bodies), -1)[found]
        return True

    def _gone(self, name: str) -> Flags:
        for number, part in enumerate(self.reader.parts):
            if name in part.shown:
                place = part.shown.index(name)
                return np.asarray(self.missing[number][:, place // 8] >> (place % 8) & 1, np.bool_)
        raise KeyError(name)

    def table(self, ids: NDArray[np.object_], index: IdIndex, positions: tuple[str, ...]) -> EntityTable:
        texts = {}
        for name, codes in self.codes.items():
            known, words = self.known[name], self.words.pop(name)
            new = [word.decode() for word, code in words.items() if code >= len(known)]
            texts[name] = Coded(codes, _words(known, new) if new else known)
        for name in self.shape.vectors:
            if name not in self.vectors and name not in self.objects:
                self.vectors[name] = np.zeros((self.size, 0), np.float32)
        return EntityTable(
            self.reader, self.shape, ids, index, self.blocks, tuple(self.missing), texts, self.vectors, self.objects, tuple(self.at), positions
        )


def _as_objects(vectors: NDArray[Any], gone: Flags) -> NDArray[np.object_]:
    return np.fromiter((None if none else vector.copy() for vector, none in zip(vectors, gone.tolist(), strict=True)), object, len(vectors))


def _words(known: NDArray[Any], new: list[str]) -> NDArray[Any]:
    kind: Any = np.dtypes.StringDType() if len(known) + len(new) > _MANY_WORDS else object
    found = np.empty(len(known) + len(new), kind)
    found[: len(known)] = known
    found[len(known) :] = np.array(new, kind)
    return found


def _ordered(reader: PackedReader, keys: Iterable[bytes]) -> list[tuple[bytes, Any]]:
    """Keys with the ids they stand for, sorted by these."""
    joins = {part.joins for part in reader.parts}
    if len(joins) != 1 or len(next(iter(joins))) != 1:
        raise PackedError("A table is of one entity with one join key: ask for views of that entity only.")
    part = reader.parts[0]
    return sorted(((key, key_value(part, key)) for key in keys), key=lambda pair: pair[1])


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _current(folder: Path) -> str:
    try:
        return (folder / "current").read_text()
    except FileNotFoundError:
        return ""


def _save(table: EntityTable, folder: Path) -> None:
    folder.mkdir(parents=True)
    arrays: dict[str, NDArray[Any]] = dict(table.blocks)
    arrays |= {f"missing{number}": array for number, array in enumerate(table.missing)}
    arrays |= {f"at{number}": array for number, array in enumerate(table.at) if array is not None}
    arrays |= {f"vector-{name}": array for name, array in table.vectors.items()}
    arrays |= {f"codes-{name}": text.codes for name, text in table.texts.items()}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    _save_texts(folder / "ids.arrow", table.ids)
    for name, text in table.texts.items():
        _save_texts(folder / f"words-{name}.arrow", text.words)
    about = {"fingerprint": _print(table.reader, table.shape), "positions": list(table.positions)}
    (folder / "about.json").write_text(json.dumps(about))


def _print(reader: PackedReader, shape: Shape) -> list[Any]:
    return [reader.fingerprint, list(shape.floats), [[part.name, part.layout.schema.hex()] for part in reader.parts]]


def _opened(reader: PackedReader, folder: Path, shape: Shape, had: tuple[NDArray[np.object_], IdIndex] | None = None) -> EntityTable | None:
    """The table that lies in the folder; None if there is none, or one of other features."""
    token = _current(folder)
    place = folder / token
    try:
        about = json.loads((place / "about.json").read_text()) if token else {}
        if about.get("fingerprint") != _print(reader, shape):
            return None
        ids = had[0] if had else _texts(place / "ids.arrow", object)
        texts = {name: Coded(_mapped(place / f"codes-{name}.npy"), _texts(place / f"words-{name}.arrow")) for name in shape.texts}
        return EntityTable(
            reader=reader, shape=shape, ids=ids, index=had[1] if had else IdIndex(ids),
            blocks={block: _mapped(place / f"{block}.npy") for block in _FILL},
            missing=tuple(_mapped(place / f"missing{number}.npy") for number in range(len(reader.parts))),
            texts=texts,
            vectors={name: _mapped(place / f"vector-{name}.npy") for name in shape.vectors},
            objects={},
            at=tuple(_mapped(place / f"at{number}.npy") if part.ttl else None for number, part in enumerate(reader.parts)),
            positions=tuple(about["positions"]), base=Base(folder, token, np.zeros(0, np.int64)),
        )  # fmt: skip
    except FileNotFoundError:  # another process has just written a newer one
        return None


def _mapped(file: Path) -> NDArray[Any]:
    """The array of a file, shared with all who map it; what is written stays the process' own."""
    size = np.lib.format.open_memmap(file, mode="c") if file.stat().st_size > 4096 else np.load(file)
    return np.asarray(size)


def _save_texts(file: Path, texts: NDArray[Any]) -> None:
    whole = any(not isinstance(each, str) for each in texts[:1])
    column = pa.array(texts.tolist(), pa.int64() if whole else pa.large_string())
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, pa.schema([("text", column.type)])) as writer:
        writer.write_batch(pa.record_batch([column], names=["text"]))


def _texts(file: Path, kind: Any = None) -> NDArray[Any]:
    with pa.memory_map(str(file)) as source:
        column = pa.ipc.open_file(source).read_all().column("text")
        found = np.empty(len(column), kind or (np.dtypes.StringDType() if len(column) > _MANY_WORDS else object))
        for start in range(0, len(column), 50_000):
            some = column.slice(start, 50_000).to_pylist()
            found[start : start + len(some)] = np.array(some, found.dtype) if kind is None else np.fromiter(some, object, len(some))
    return found
