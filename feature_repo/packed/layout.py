"""The packed row: every feature of one view and entity as one run of bytes that a batch of rows decodes with `numpy.frombuffer`.

    0   event time       8 bytes, big-endian microseconds since 1970 plus 2**63, so that bytes compare as times do
    8   created time     the same, or eight zero bytes: not given
    16  schema           first 8 bytes of the SHA-256 of the view's feature names and types
    24  numbers          little-endian; first float64, int64 and timestamps (seconds), then float32, int32, then bool
        ends             one uint32 per feature of varying length: where its value ends in the tail
        missing          one bit per feature in the view's order, the lowest bit of a byte first; padded to 8 bytes
    …   tail             values of varying length, one after the other, each in its own form (below)

Fixed sizes come first, so the same bytes of every row line up. Values of varying length: texts are UTF-8; lists of numbers are their numbers; lists
of texts are their count, the end of each (uint32) and the texts; all other types (maps, structs, sets, nested lists, zoned times) are Feast's own
protobuf value. A missing float is also NaN in its place; a missing integer is 0 there, and only the bit tells it from a zero.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from feast.protos.feast.types.Value_pb2 import Value
from feast.value_type import ValueType
from numpy.typing import NDArray

from .errors import PackedError

HEADER = 24
"""Bytes before the numbers."""
_BIAS = 1 << 63
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
NO_TIME = -_BIAS
"""What Feast's own conversion makes of an empty timestamp; it is stored as missing."""

Form = Literal["fixed", "text", "bytes", "numbers", "texts", "blobs", "value"]

_FIXED: Mapping[ValueType, tuple[str, str]] = {
    ValueType.DOUBLE: ("d", "<f8"),
    ValueType.INT64: ("q", "<i8"),
    ValueType.UNIX_TIMESTAMP: ("q", "<i8"),
    ValueType.FLOAT: ("f", "<f4"),
    ValueType.INT32: ("i", "<i4"),
    ValueType.BOOL: ("?", "|b1"),
}
_TEXT = {ValueType.STRING, ValueType.JSON, ValueType.UUID, ValueType.TIME_UUID, ValueType.DECIMAL}
_BYTES = {ValueType.BYTES, ValueType.PDF_BYTES, ValueType.IMAGE_BYTES}
_NUMBERS: Mapping[ValueType, str] = {
    ValueType.DOUBLE_LIST: "<f8",
    ValueType.INT64_LIST: "<i8",
    ValueType.UNIX_TIMESTAMP_LIST: "<i8",
    ValueType.FLOAT_LIST: "<f4",
    ValueType.INT32_LIST: "<i4",
    ValueType.BOOL_LIST: "|b1",
}
_TEXTS = {ValueType.STRING_LIST, ValueType.UUID_LIST, ValueType.TIME_UUID_LIST, ValueType.DECIMAL_LIST, ValueType.JSON_LIST}

Bytes2 = NDArray[np.uint8]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Slot:
    """Where and how one feature lies in a row. `at`: first byte of a number, or place among the ends."""

    name: str
    number: int
    kind: ValueType
    form: Form
    at: int
    dtype: str = ""

    @cached_property
    def width(self) -> int:
        """Bytes of a number."""
        return np.dtype(self.dtype).itemsize

    @cached_property
    def proto(self) -> str:
        """Field of Feast's `Value`."""
        return "bytes_val" if self.kind in _BYTES else f"{self.kind.name.lower()}_val"


@dataclass(frozen=True)
class Layout:
    """How the rows of one view lie; made of its features' names and types alone."""

    features: tuple[tuple[str, str, ValueType], ...]
    slots: tuple[Slot, ...] = field(repr=False)
    ends: int
    missing: int
    size: int  # of the part before the tail

    @classmethod
    def of(cls, features: Sequence[tuple[str, str, ValueType]]) -> "Layout":
        """Args: name, type as Feast writes it, and Feast's value type, in the view's order."""
        slots: dict[str, Slot] = {}
        place = HEADER
        for dtype in ("<f8", "<i8", "<f4", "<i4", None, "|b1"):
            if dtype is None:
                ends = place
                loose = [(number, name, kind) for number, (name, _, kind) in enumerate(features) if kind not in _FIXED]
                for order, (number, name, kind) in enumerate(loose):
                    slots[name] = Slot(name, number, kind, _form(kind), order, _NUMBERS.get(kind, ""))
                place += 4 * len(loose)
                continue
            for number, (name, _, kind) in enumerate(features):
                if kind in _FIXED and _FIXED[kind][1] == dtype:
                    slots[name] = Slot(name, number, kind, "fixed", place, dtype)
                    place += np.dtype(dtype).itemsize
        if len(slots) < len(features):
            raise PackedError("Two features of a view have one name.")
        size = -(-(place + -(-len(features) // 8)) // 8) * 8
        return cls(tuple(features), tuple(slots[name] for name, _, _ in features), ends, place, size)

    @cached_property
    def schema(self) -> bytes:
        """Tells rows of this layout from those of another."""
        return hashlib.sha256("\n".join(f"{name}\t{text}" for name, text, _ in self.features).encode()).digest()[:8]

    @cached_property
    def schema_number(self) -> np.uint64:
        """`schema` as `Heads.schemas` shows it."""
        return np.uint64(int.from_bytes(self.schema, "little"))

    @cached_property
    def empty(self) -> bytes:
        """A row in which every feature is missing; it stands for one that is not there."""
        return self.pack({}, _EPOCH, None)

    @cached_property
    def by_name(self) -> Mapping[str, Slot]:
        return {slot.name: slot for slot in self.slots}

    @cached_property
    def loose(self) -> tuple[Slot, ...]:
        """Features of varying length, in the order of their ends."""
        return tuple(sorted((slot for slot in self.slots if slot.form != "fixed"), key=lambda slot: slot.at))

    @cached_property
    def _struct(self) -> tuple[struct.Struct, tuple[Slot, ...]]:
        """What packs numbers, ends and missing bits of one row, and the fixed slots in that order."""
        fixed = tuple(sorted((slot for slot in self.slots if slot.form == "fixed"), key=lambda slot: slot.at))
        before = "".join(_FIXED[slot.kind][0] for slot in fixed if slot.at < self.ends)
        after = "".join(_FIXED[slot.kind][0] for slot in fixed if slot.at >= self.ends)
        bits = -(-len(self.slots) // 8)
        return struct.Struct(f"<{before}{len(self.loose)}I{after}{bits}s{self.size - self.missing - bits}x"), fixed

    @cached_property
    def _cut(self) -> int:
        """Numbers before the ends."""
        return sum(slot.at < self.ends for slot in self._struct[1])

    def pack(self, values: Mapping[str, Value], at: datetime, created: datetime | None) -> bytes:
        """One row of Feast's values. A feature without a value is missing.

        Raises:
            PackedError: a value is of another type than its feature is declared with.
        """
        bits, numbers, bodies = 0, [], []
        packer, fixed = self._struct
        for slot in fixed:
            value = values.get(slot.name)
            if (given := _given(slot, value)) is None:
                bits |= 1 << slot.number
                given = float("nan") if slot.dtype in ("<f8", "<f4") else 0
            numbers.append(given)
        for slot in self.loose:
            value = values.get(slot.name)
            given = _given(slot, value)
            if given is None:
                bits |= 1 << slot.number
            bodies.append(b"" if given is None else body(slot, given))
        ends = np.cumsum([len(each) for each in bodies]).tolist() if bodies else []
        cut = self._cut
        packed = packer.pack(*numbers[:cut], *ends, *numbers[cut:], bits.to_bytes(-(-len(self.slots) // 8), "little"))
        return b"".join((stamp(at), stamp(created), self.schema, packed, *bodies))

    def unpack(self, row: bytes, names: Sequence[str] | None = None) -> dict[str, Value]:
        """Feast's values of one row of this layout; a missing one is an empty `Value`."""
        packer, fixed = self._struct
        parts = packer.unpack_from(row, HEADER)
        cut = self._cut
        ends = parts[cut : cut + len(self.loose)]
        numbers = (*parts[:cut], *parts[cut + len(self.loose) : -1])
        bits = int.from_bytes(parts[-1], "little")
        place = {slot.name: number for number, slot in enumerate(fixed)}
        found = {}
        for name in names if names is not None else (slot.name for slot in self.slots):
            slot = self.by_name.get(name)
            if slot is None:
                continue
            if bits >> slot.number & 1:
                found[name] = Value()
            elif slot.form == "fixed":
                found[name] = Value(**{slot.proto: numbers[place[name]]})
            else:
                start = ends[slot.at - 1] if slot.at else 0
                found[name] = _proto(slot, row[self.size + start : self.size + ends[slot.at]])
        return found

    def heads(self, rows: Sequence[bytes]) -> "Heads":
        """The fixed parts of rows of this layout."""
        size = self.size
        return Heads(self, np.frombuffer(b"".join([row[:size] for row in rows]), np.uint8).reshape(-1, size))

    def bodies(self, slot: Slot, rows: Sequence[bytes], heads: "Heads") -> list[bytes]:
        """The bytes of one feature of varying length in each row."""
        ends = heads.ends
        last = (ends[:, slot.at].astype(np.int64) + self.size).tolist()
        first = (ends[:, slot.at - 1].astype(np.int64) + self.size).tolist() if slot.at else [self.size] * len(last)
        return [row[start:end] for row, start, end in zip(rows, first, last, strict=True)]


@dataclass(frozen=True)
class Heads:
    """The fixed parts of n rows as one array uint8[n, size]; columns are views into it."""

    layout: Layout
    raw: Bytes2

    @property
    def at(self) -> NDArray[np.int64]:
        """Event times, microseconds since 1970, int64[n]."""
        return times(self.raw)

    @property
    def schemas(self) -> NDArray[np.uint64]:
        """The schema of every row as a number; `Layout.schema_number` is this layout's."""
        return self.raw[:, 16:24].view("<u8")[:, 0]

    @property
    def ends(self) -> NDArray[np.uint32]:
        """uint32[n, features of varying length]"""
        layout = self.layout
        return self.raw[:, layout.ends : layout.ends + 4 * len(layout.loose)].view("<u4")

    @cached_property
    def missing(self) -> Flags:
        """bool[n, features], in the view's order."""
        layout = self.layout
        bits = self.raw[:, layout.missing : layout.missing + -(-len(layout.slots) // 8)]
        return np.unpackbits(bits, axis=1, count=len(layout.slots), bitorder="little").view(np.bool_)

    def numbers(self, slot: Slot) -> NDArray[Any]:
        """One number of every row, in its own type."""
        return self.raw[:, slot.at : slot.at + slot.width].view(slot.dtype)[:, 0]


def times(raw: Bytes2) -> NDArray[np.int64]:
    """Event times (microseconds since 1970) of rows whose first eight bytes at least are there, uint8[n, 8 or more]."""
    return (np.ascontiguousarray(raw[:, :8]).view(">u8")[:, 0].astype(np.uint64) ^ np.uint64(_BIAS)).view(np.int64)


def stamp(moment: datetime | None) -> bytes:
    """A time as a row carries it. A naive one is UTC, as everywhere in Feast."""
    return b"\0" * 8 if moment is None else (microseconds(moment) + _BIAS).to_bytes(8, "big")


def stamps(moments: NDArray[np.int64]) -> Bytes2:
    """Times (microseconds, int64[n]) as rows carry them, uint8[n, 8]."""
    return np.ascontiguousarray((moments.view(np.uint64) ^ np.uint64(_BIAS)).astype(">u8")).view(np.uint8).reshape(-1, 8)


def moment_of(row: bytes) -> datetime:
    """Event time of a row."""
    return _EPOCH + timedelta(microseconds=int.from_bytes(row[:8], "big") - _BIAS)


def microseconds(moment: datetime) -> int:
    """Since 1970; exact."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MICROSECOND


def _form(kind: ValueType) -> Form:
    if kind in _TEXT:
        return "text"
    if kind in _BYTES:
        return "bytes"
    if kind in _NUMBERS:
        return "numbers"
    if kind in _TEXTS:
        return "texts"
    return "blobs" if kind == ValueType.BYTES_LIST else "value"


def _given(slot: Slot, value: Value | None) -> Any:
    """The value that a proto holds, as its slot takes it; None if there is none."""
    kind = None if value is None else value.WhichOneof("val")
    if value is None or kind is None or kind == "null_val":
        return None
    if slot.form == "value":
        return value
    if kind != slot.proto:
        raise PackedError(
            f"Feature '{slot.name}' is declared {slot.kind.name} and was given {kind}: write the declared type, or change the declaration and "
            "run `feast apply`."
        )
    held = getattr(value, kind)
    if slot.kind == ValueType.UNIX_TIMESTAMP and held == NO_TIME:
        return None
    return held if slot.form in ("fixed", "text", "bytes") else held.val


def body(slot: Slot, held: Any) -> bytes:
    """What the tail carries of a value of varying length."""
    if slot.form == "text":
        return bytes(held.encode())
    if slot.form == "bytes":
        return bytes(held)
    if slot.form == "numbers":
        return np.array(held, slot.dtype).tobytes()
    if slot.form == "value":
        return bytes(held.SerializeToString())
    parts = [each.encode() if isinstance(each, str) else each for each in held]
    ends = np.cumsum([len(each) for each in parts], dtype="<u4") if parts else np.zeros(0, "<u4")
    return b"".join((struct.pack("<I", len(parts)), ends.astype("<u4").tobytes(), *parts))


def taken(slot: Slot, found: bytes) -> Any:
    """The Python value that a tail carries: str, bytes, a numpy array, a list, or Feast's `Value`."""
    if slot.form == "text":
        return found.decode()
    if slot.form == "bytes":
        return found
    if slot.form == "numbers":
        return np.frombuffer(found, slot.dtype)
    if slot.form == "value":
        return Value.FromString(found)
    (count,) = struct.unpack_from("<I", found)
    ends = [0, *struct.unpack_from(f"<{count}I", found, 4)]
    start = 4 + 4 * count
    parts = [found[start + a : start + b] for a, b in pairwise(ends)]
    return parts if slot.form == "blobs" else [each.decode() for each in parts]


def _proto(slot: Slot, found: bytes) -> Value:
    held = taken(slot, found)
    if slot.form == "value":
        value: Value = held
        return value
    if slot.form in ("text", "bytes"):
        return Value(**{slot.proto: held})
    value = Value()
    inner = getattr(value, slot.proto)
    inner.SetInParent()
    inner.val.extend(held.tolist() if slot.form == "numbers" else held)
    return value
