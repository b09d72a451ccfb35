"""What one feature takes in a packed row: its place, and the bytes of its values.

Values of varying length: texts are UTF-8; lists of numbers are their numbers; lists of texts are their count, the end of each (uint32) and the texts;
all other types (maps, structs, sets, nested lists, zoned times) are Feast's own protobuf value.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from feast.protos.feast.types.Value_pb2 import Value
from feast.value_type import ValueType

from .errors import PackedError

NO_TIME = -(2**63)
"""What Feast's own conversion makes of an empty timestamp; it is stored as missing."""

Form = Literal["fixed", "text", "bytes", "numbers", "texts", "blobs", "value"]

FIXED: Mapping[ValueType, tuple[str, str]] = {  # letter of `struct`, dtype of numpy
    ValueType.DOUBLE: ("d", "<f8"),
    ValueType.INT64: ("q", "<i8"),
    ValueType.UNIX_TIMESTAMP: ("q", "<i8"),
    ValueType.FLOAT: ("f", "<f4"),
    ValueType.INT32: ("i", "<i4"),
    ValueType.BOOL: ("?", "|b1"),
}
_TEXT = {ValueType.STRING, ValueType.JSON, ValueType.UUID, ValueType.TIME_UUID, ValueType.DECIMAL}
_BYTES = {ValueType.BYTES, ValueType.PDF_BYTES, ValueType.IMAGE_BYTES}
NUMBERS: Mapping[ValueType, str] = {
    ValueType.DOUBLE_LIST: "<f8",
    ValueType.INT64_LIST: "<i8",
    ValueType.UNIX_TIMESTAMP_LIST: "<i8",
    ValueType.FLOAT_LIST: "<f4",
    ValueType.INT32_LIST: "<i4",
    ValueType.BOOL_LIST: "|b1",
}
_TEXTS = {ValueType.STRING_LIST, ValueType.UUID_LIST, ValueType.TIME_UUID_LIST, ValueType.DECIMAL_LIST, ValueType.JSON_LIST}


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


def form_of(kind: ValueType) -> Form:
    """How a type that is not in FIXED is written."""
    if kind in _TEXT:
        return "text"
    if kind in _BYTES:
        return "bytes"
    if kind in NUMBERS:
        return "numbers"
    if kind in _TEXTS:
        return "texts"
    return "blobs" if kind == ValueType.BYTES_LIST else "value"


def given(slot: Slot, value: Value | None) -> Any:
    """The value that a proto holds, as its slot takes it; None if there is none.

    Raises:
        PackedError: it is of another type than declared.
    """
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


def proto(slot: Slot, found: bytes) -> Value:
    """Feast's value that a tail carries."""
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
