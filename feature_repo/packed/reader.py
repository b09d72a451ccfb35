"""Reads packed rows straight into numpy columns: what `get_online_features` answers, without a protobuf per value.

    reader = PackedReader(store, store.get_feature_service("ranker_v1"))      # or ["view:feature", ...]
    found = reader.read({"user_id": ["u1"] * 200, "product_id": products})
    found.values["product_price"], found.missing["product_price"]              # float64[200], bool[200]
    reader.one({"user_id": "u1"})["user_views_7d"]                              # a number, or None for a missing one

Nothing is kept between two reads but the layout of the rows and the connection.
"""

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from feast import FeatureService, FeatureStore, FeatureView
from feast.protos.feast.types.Value_pb2 import ValueType as Wire
from feast.value_type import ValueType
from numpy.typing import NDArray

from .errors import PackedError
from .layout import Flags, Heads, Layout
from .moments import alive, moment_of
from .slots import Slot, taken
from .store import PackedOnlineStore, view_name

_NUMBER: Mapping[ValueType, tuple[str, int]] = {
    ValueType.INT32: ("<i", Wire.INT32),
    ValueType.INT64: ("<q", Wire.INT64),
    ValueType.UNIX_TIMESTAMP: ("<q", Wire.UNIX_TIMESTAMP),
}


@dataclass(frozen=True)
class Answer:
    """Columns of n requested rows. Where `missing`, a float is NaN, an integer 0 and a text None."""

    values: dict[str, NDArray[Any]]
    missing: dict[str, Flags]


Joins = tuple[tuple[str, str, ValueType], ...]


@dataclass(frozen=True)
class Part:
    """What is read of one view. `joins`: join key, the name it is asked by, its type. `shown`: name of each feature in the answer."""

    view: str
    name: str
    layout: Layout
    slots: tuple[Slot, ...]
    shown: tuple[str, ...]
    joins: Joins
    ttl: timedelta | None

    @classmethod
    def of(cls, store: FeatureStore, packed: PackedOnlineStore, view: FeatureView, names: Sequence[str], full: bool) -> "Part":
        layout = packed.layout(view)
        if unknown := [name for name in names if name not in layout.by_name]:
            raise PackedError(f"View '{view.name}' has no feature {', '.join(unknown)}: it has {', '.join(layout.by_name)}.")
        asked = view.projection.join_key_map
        joins = tuple((column.name, asked.get(column.name, column.name), column.dtype.to_value_type()) for column in view.entity_columns)
        prefix = f"{view.projection.name_to_use()}__" if full else ""
        slots = tuple(layout.by_name[name] for name in names)
        shown = tuple(prefix + name for name in names)
        return cls(view.name, view_name(store.config, view), layout, slots, shown, tuple(sorted(joins)), view.ttl or None)

    def keys(self, columns: Sequence[Sequence[Any]]) -> list[bytes]:
        """Feast's entity keys of rows, given a column per join key in the order of `joins`."""
        head = _key_head([name for name, _, _ in self.joins])
        makers = [_key_part(name, kind) for name, _, kind in self.joins]
        if len(makers) == 1:
            make = makers[0]
            return [head + make(value) for value in columns[0]]
        return [b"".join((head, *(make(value) for make, value in zip(makers, row, strict=True)))) for row in zip(*columns, strict=True)]

    def heads(self, rows: Sequence[bytes | None]) -> tuple[Heads, list[bytes], NDArray[np.int64]]:
        """The readable rows with an empty one behind them, and for each of `rows` which of those it is: -1, the empty one, where it is not there or
        is of another schema."""
        layout, schema = self.layout, self.layout.schema
        if None not in rows:  # mostly all are there and of this schema, which is then seen in one look
            whole = [*rows, layout.empty]
            joined = b"".join([row[: layout.size] for row in whole])  # type: ignore[index]
            if len(joined) == len(whole) * layout.size:
                heads = Heads(layout, np.frombuffer(joined, np.uint8).reshape(-1, layout.size))
                if (heads.schemas == layout.schema_number).all():
                    return heads, whole, np.arange(len(rows))  # type: ignore[return-value]
        good = [row is not None and row[16:24] == schema for row in rows]
        kept = [row for row, fine in zip(rows, good, strict=True) if fine and row is not None]
        kept.append(layout.empty)
        place = np.cumsum(good, dtype=np.int64) - 1
        place[~np.array(good, np.bool_)] = -1
        return layout.heads(kept), kept, place


class PackedReader:
    """The stored features of a FeatureService, or of a list of 'view:feature', on a store whose online store is `PackedOnlineStore`.

    On-demand views are left out: they are computed of what is read. Safe in threads.
    """

    def __init__(self, store: FeatureStore, features: FeatureService | Sequence[str], full_feature_names: bool = False) -> None:
        """
        Raises:
            PackedError: another online store, a view or feature that is not there, two features of one name without `full_feature_names`.
        """
        packed = store._get_provider().online_store
        if not isinstance(packed, PackedOnlineStore):
            raise PackedError(f"The online store is {type(packed).__name__}, not PackedOnlineStore: name it in feature_store.yaml.")
        self.store, self.packed = store, packed
        self.rows = packed.rows(store.config)
        self.parts = tuple(Part.of(store, packed, view, names, full_feature_names) for view, names in _views(store, features))
        shown = [name for part in self.parts for name in part.shown]
        if len(set(shown)) < len(shown):
            twice = sorted({name for name in shown if shown.count(name) > 1})
            raise PackedError(f"Two views have a feature {', '.join(twice)}: ask with full_feature_names.")

    @property
    def fingerprint(self) -> str:
        """Of names and types of what is read, in order."""
        shape = [
            f"{shown}\t{part.layout.features[slot.number][1]}" for part in self.parts for shown, slot in zip(part.shown, part.slots, strict=True)
        ]
        return hashlib.sha256("\n".join(shape).encode()).hexdigest()[:12]

    def one(self, entity: Mapping[str, Any], now: datetime | None = None) -> dict[str, Any]:
        """The features of one row as Python values (numbers, texts, arrays of numbers, lists), None for a missing one: without arrays of one element.

        Args:
            now: what times to live are measured by; by default the store's clock.

        Raises:
            PackedError: a join key is not there.
        """
        self._require(entity)
        wanted = [(part.name, part.keys([[entity[asked]] for _, asked, _ in part.joins])) for part in self.parts]
        found: dict[str, Any] = {}
        for part, (row,) in zip(self.parts, self.rows.read(wanted), strict=True):
            if row is None or row[16:24] != part.layout.schema or (part.ttl and moment_of(row) < (now or self.now()) - part.ttl):
                found.update(dict.fromkeys(part.shown))
            else:
                found.update(zip(part.shown, part.layout.values(row, part.slots), strict=True))
        return found

    def now(self) -> datetime:
        """The store's clock, by which times to live are measured."""
        return self.packed.now(self.store.config)

    def _require(self, entities: Mapping[str, Any]) -> None:
        if lacking := {asked for part in self.parts for _, asked, _ in part.joins} - entities.keys():
            raise PackedError(f"No values for {', '.join(sorted(lacking))}: the features are looked up by them.")

    def read(self, entities: Mapping[str, Sequence[Any]], now: datetime | None = None) -> Answer:
        """One row per place of the entities' columns, which are all of one length.

        Args:
            now: what times to live are measured by; by default the store's clock.

        Raises:
            PackedError: a join key is not among the entities.
        """
        self._require(entities)
        wanted, places = [], []
        looked_up: dict[Joins, tuple[list[bytes], NDArray[np.int64] | None]] = {}  # views of one entity share their keys
        for part in self.parts:
            if part.joins not in looked_up:
                columns, place = _distinct([entities[asked] for _, asked, _ in part.joins])
                looked_up[part.joins] = part.keys(columns), place
            keys, place = looked_up[part.joins]
            wanted.append((part.name, keys))
            places.append(place)
        values: dict[str, NDArray[Any]] = {}
        missing: dict[str, Flags] = {}
        for part, rows, place in zip(self.parts, self.rows.read(wanted), places, strict=True):
            heads, kept, found = part.heads(rows)
            if part.ttl:
                found[~alive(heads.at, part.ttl, now or self.now())[found]] = -1
            if place is not None:
                found = found[place]
            chosen = Heads(part.layout, heads.raw[found])
            empty = chosen.missing
            for shown, slot in zip(part.shown, part.slots, strict=True):
                values[shown] = chosen.numbers(slot) if slot.form == "fixed" else _loose(part.layout, slot, heads, kept)[found]
                missing[shown] = empty[:, slot.number]
        return Answer(values, missing)


def _loose(layout: Layout, slot: Slot, heads: Heads, kept: Sequence[bytes]) -> NDArray[np.object_]:
    """The values of varying length of rows, None where missing."""
    bodies = zip(layout.bodies(slot, kept, heads), heads.missing[:, slot.number].tolist(), strict=True)
    if slot.form == "text":
        return np.array([None if gone else body.decode() for body, gone in bodies], object)
    return np.fromiter((None if gone else taken(slot, body) for body, gone in bodies), object, len(kept))


def _distinct(columns: Sequence[Sequence[Any]]) -> tuple[list[list[Any]], NDArray[np.int64] | None]:
    """Each combination of join keys once, and which of them every row is (None: as they stand)."""
    rows = list(columns[0]) if len(columns) == 1 else list(zip(*columns, strict=True))
    once = dict.fromkeys(rows)
    if len(once) == len(rows):
        return [list(column) for column in columns], None
    number = {row: place for place, row in enumerate(once)}
    place = np.array([number[row] for row in rows], np.int64)
    return ([list(once)] if len(columns) == 1 else [list(column) for column in zip(*once, strict=True)]), place


def _views(store: FeatureStore, features: FeatureService | Sequence[str]) -> list[tuple[FeatureView, list[str]]]:
    found: list[tuple[FeatureView, list[str]]] = []
    if isinstance(features, FeatureService):
        for projection in features.feature_view_projections:
            view = store.registry.get_any_feature_view(projection.name, store.project, allow_cache=True)
            if isinstance(view, FeatureView):
                found.append((view.with_projection(projection), [feature.name for feature in projection.features]))
        return found
    grouped: dict[str, list[str]] = {}
    for ref in features:
        view_ref, _, name = ref.partition(":")
        grouped.setdefault(view_ref, []).append(name)
    return [(store.registry.get_any_feature_view(name, store.project, allow_cache=True), names) for name, names in grouped.items()]


def _key_head(names: Sequence[str]) -> bytes:
    parts = [struct.pack("<II", Wire.STRING, len(name.encode())) + name.encode() for name in names]
    return struct.pack("<I", len(names)) + b"".join(parts)


def _key_part(name: str, kind: ValueType) -> Callable[[Any], bytes]:
    if kind in _NUMBER:
        form, wire = _NUMBER[kind]
        front, pack = struct.pack("<II", wire, struct.calcsize(form)), struct.Struct(form).pack
        return lambda value: front + pack(value)
    if kind not in (ValueType.STRING, ValueType.BYTES):
        raise PackedError(f"Join key '{name}' is of type {kind.name}, which Feast can't look up: use a string or an integer.")
    sizes = struct.Struct("<II").pack
    if kind == ValueType.BYTES:
        return lambda value: sizes(Wire.BYTES, len(value)) + value

    def text(value: Any) -> bytes:
        encoded = str(value).encode()
        return sizes(Wire.STRING, len(encoded)) + encoded

    return text


def key_value(part: Part, key: bytes) -> Any:
    """The value of a view's only join key, of a stored key."""
    ((_, _, kind),) = part.joins
    start = len(_key_head([name for name, _, _ in part.joins])) + 8
    if kind in _NUMBER:
        return struct.unpack_from(_NUMBER[kind][0], key, start)[0]
    return key[start:].decode() if kind == ValueType.STRING else key[start:]
