"""The packed row: every feature of one view and entity as one run of bytes that a batch of rows decodes with `numpy.frombuffer`.

    0   event time       8 bytes, `moments.py`; bytes compare as times do
    8   created time     the same, or eight zero bytes: not given
    16  schema           first 8 bytes of the SHA-256 of the view's feature names and types
    24  numbers          little-endian; first float64, int64 and timestamps (seconds), then float32, int32, then bool
        ends             one uint32 per feature of varying length: where its value ends in the tail
        missing          one bit per feature in the view's order, the lowest bit of a byte first; padded to 8 bytes
    …   tail             values of varying length, one after the other, each in its own form (`slots.py`)

Fixed sizes come first, so the same bytes of every row line up. A missing float is also NaN in its place; a missing integer is 0 there, and only the
bit tells it from a zero.
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from feast.protos.feast.types.Value_pb2 import Value
from feast.value_type import ValueType
from numpy.typing import NDArray

from .errors import PackedError
from .moments import EPOCH, stamp, times
from .slots import FIXED, NUMBERS, Slot, body, form_of, given, proto, taken

HEADER = 24
"""Bytes before the numbers."""
Bytes2 = NDArray[np.uint8]
Flags = NDArray[np.bool_]


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
                loose = [(number, name, kind) for number, (name, _, kind) in enumerate(features) if kind not in FIXED]
                for order, (number, name, kind) in enumerate(loose):
                    slots[name] = Slot(name, number, kind, form_of(kind), order, NUMBERS.get(kind, ""))
                place += 4 * len(loose)
                continue
            for number, (name, _, kind) in enumerate(features):
                if kind in FIXED and FIXED[kind][1] == dtype:
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
        return self.pack({}, EPOCH, None)

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
        before = "".join(FIXED[slot.kind][0] for slot in fixed if slot.at < self.ends)
        after = "".join(FIXED[slot.kind][0] for slot in fixed if slot.at >= self.ends)
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
            held = given(slot, values.get(slot.name))
            if held is None:
                bits |= 1 << slot.number
                held = float("nan") if slot.dtype in ("<f8", "<f4") else 0
            numbers.append(held)
        for slot in self.loose:
            held = given(slot, values.get(slot.name))
            if held is None:
                bits |= 1 << slot.number
            bodies.append(b"" if held is None else body(slot, held))
        ends = np.cumsum([len(each) for each in bodies]).tolist() if bodies else []
        cut = self._cut
        packed = packer.pack(*numbers[:cut], *ends, *numbers[cut:], bits.to_bytes(-(-len(self.slots) // 8), "little"))
        return b"".join((stamp(at), stamp(created), self.schema, packed, *bodies))

    def unpack(self, row: bytes, names: Sequence[str] | None = None) -> dict[str, Value]:
        """Feast's values of one row of this layout; a missing one is an empty `Value`. Names that it does not have are left out."""
        slots = self.slots if names is None else [self.by_name[name] for name in names if name in self.by_name]
        found = {}
        for slot, held in zip(slots, self._held(row, slots), strict=True):
            if held is None:
                found[slot.name] = Value()
            else:
                found[slot.name] = Value(**{slot.proto: held}) if slot.form == "fixed" else proto(slot, held)
        return found

    def values(self, row: bytes, slots: Sequence[Slot]) -> list[Any]:
        """Python values of one row of this layout: numbers, texts, arrays of numbers, lists; None for a missing one."""
        return [held if held is None or slot.form == "fixed" else taken(slot, held) for slot, held in zip(slots, self._held(row, slots), strict=True)]

    def _held(self, row: bytes, slots: Sequence[Slot]) -> Iterator[Any]:
        """Of each slot the number, or the bytes in the tail; None where missing."""
        packer, place = self._struct[0], self._places
        parts = packer.unpack_from(row, HEADER)
        bits = int.from_bytes(parts[-1], "little")
        for slot in slots:
            if bits >> slot.number & 1:
                yield None
            elif slot.form == "fixed":
                yield parts[place[slot.name]]
            else:
                end = self._cut + slot.at
                yield row[self.size + (parts[end - 1] if slot.at else 0) : self.size + parts[end]]

    @cached_property
    def _places(self) -> Mapping[str, int]:
        """Where each number stands in what `_struct` unpacks."""
        cut, loose = self._cut, len(self.loose)
        return {slot.name: number if number < cut else number + loose for number, slot in enumerate(self._struct[1])}

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
