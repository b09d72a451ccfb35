"""Arrow columns to packed rows, a column at a time: the way of `materialize`, with no protobuf per value.

What Feast's own conversion makes of a value, this makes of it too (a test compares every type), but for one thing: an integer beside a missing one
stays exact, where Feast's way through floats rounds above 2**53. A NaN in a float column is missing, as in Feast; missing elements of a list become
"", 0 or False, as in Feast. What has no columnar way here (maps, sets, JSON, which Feast checks, and types that have to be converted) goes through
Feast's own conversion, that column alone.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast.protos.feast.types.Value_pb2 import ValueType as Wire
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType
from numpy.typing import NDArray

from .errors import PackedError
from .layout import Bytes2, Flags, Layout
from .moments import stamps
from .slots import NO_TIME, Slot, body

Int64s = NDArray[np.int64]
_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_KEYS: Mapping[ValueType, int] = {
    ValueType.STRING: Wire.STRING,
    ValueType.BYTES: Wire.BYTES,
    ValueType.INT32: Wire.INT32,
    ValueType.INT64: Wire.INT64,
    ValueType.UNIX_TIMESTAMP: Wire.UNIX_TIMESTAMP,
}
"""Types that Feast serialises into an entity key, and their numbers there."""


def pack_table(layout: Layout, table: pa.Table, at: str, created: str | None) -> list[bytes]:
    """The rows of a table that has a column per feature, an event time and perhaps a created time.

    Raises:
        PackedError: a column is missing or holds what its declared type can't.
    """
    count = table.num_rows
    raw: Bytes2 = np.zeros((count, layout.size), np.uint8)
    raw[:, :8] = stamps(event_times(table, at))
    if created is not None and created in table.column_names:
        column = _single(table.column(created))
        raw[:, 8:16] = np.where(_valid(column)[:, None], stamps(_microseconds(pc.fill_null(column, 0))), 0)
    raw[:, 16:24] = np.frombuffer(layout.schema, np.uint8)
    missing: Flags = np.zeros((count, len(layout.slots)), np.bool_)
    tails: list[pa.LargeBinaryArray] = []
    ends = np.zeros((count, len(layout.loose)), np.int64)
    for slot in sorted(layout.slots, key=lambda each: (each.form != "fixed", each.at)):
        if slot.name not in table.column_names:
            raise PackedError(f"The rows have no column '{slot.name}': they have {', '.join(table.column_names)}.")
        column = _single(table.column(slot.name))
        if slot.form == "fixed":
            values, empty = _numbers(slot, column)
            raw[:, slot.at : slot.at + values.dtype.itemsize] = values.view(np.uint8).reshape(count, -1)
        else:
            parts, empty = _bodies(slot, column)
            ends[:, slot.at] = sum(_lengths(part) for part in parts)
            tails += parts
        missing[:, slot.number] = empty
    if count and layout.loose:
        upto = np.cumsum(ends, axis=1)
        if upto.size and int(upto.max()) >= 2**32:
            raise PackedError("The values of one row take more than 4 GB.")
        raw[:, layout.ends : layout.ends + 4 * len(layout.loose)] = upto.astype("<u4").view(np.uint8).reshape(count, -1)
    bits = np.packbits(missing, axis=1, bitorder="little")
    raw[:, layout.missing : layout.missing + bits.shape[1]] = bits
    return _joined(raw, tails)


def _joined(raw: Bytes2, tails: Sequence[pa.LargeBinaryArray]) -> list[bytes]:
    count, size = raw.shape
    if not tails:
        whole = raw.tobytes()
        return [whole[start : start + size] for start in range(0, count * size, size)]
    heads = _binary(np.arange(0, (count + 1) * size, size, dtype=np.int64), raw)
    rows: list[bytes] = pc.binary_join_element_wise(heads, *tails, pa.scalar(b"", pa.large_binary())).to_pylist()
    return rows


def entity_keys(names: Sequence[tuple[str, ValueType]], table: pa.Table) -> list[bytes]:
    """Feast's serialised entity key (version 3) of each row. Args: join keys with their types, in any order.

    Raises:
        PackedError: a join key has no column, is missing in a row, or is of a type that Feast can't look up.
    """
    ordered = sorted(names)
    head = struct.pack("<I", len(ordered)) + b"".join(struct.pack("<II", Wire.STRING, len(name.encode())) + name.encode() for name, _ in ordered)
    parts: list[Any] = [pa.scalar(head, pa.large_binary())]
    for name, kind in ordered:
        if kind not in _KEYS:
            raise PackedError(f"Join key '{name}' is of type {kind.name}, which Feast can't look up: use a string or an integer.")
        if name not in table.column_names:
            raise PackedError(f"The rows have no column of the join key '{name}': they have {', '.join(table.column_names)}.")
        column = _single(table.column(name))
        if column.null_count:
            raise PackedError(f"{column.null_count} rows have no '{name}': a row without its key can't be found again.")
        if kind in (ValueType.STRING, ValueType.BYTES):
            values = _binary_of(Slot(name, 0, kind, "text", 0), column)
        else:
            slot = Slot(name, 0, kind, "fixed", 0, "<i4" if kind == ValueType.INT32 else "<i8")
            values = _fixed_binary(_numbers(slot, column)[0])
        width = _lengths(values)
        front = np.empty((len(width), 2), "<u4")
        front[:, 0], front[:, 1] = _KEYS[kind], width
        parts += [_fixed_binary(front), values]
    keys: list[bytes] = pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.large_binary())).to_pylist()
    return keys


def event_times(table: pa.Table, at: str) -> Int64s:
    """Event times in microseconds, int64[n].

    Raises:
        PackedError: a row has none.
    """
    column = _single(table.column(at))
    if column.null_count:
        raise PackedError(f"{column.null_count} rows have no '{at}': without its time nobody can tell whether a row is newer.")
    return _microseconds(column)


def _microseconds(column: pa.Array) -> Int64s:
    if not pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us"))
    values = np.asarray(column.cast(pa.timestamp(column.type.unit)).view(pa.int64()))
    per = _SECOND[column.type.unit]
    return np.ascontiguousarray(values // (per // 1_000_000) if per > 1_000_000 else values * (1_000_000 // per))


def _numbers(slot: Slot, column: pa.Array) -> tuple[NDArray[Any], Flags]:
    """Values and which are missing; NaN or 0 stands where one is."""
    kind, empty = column.type, ~_valid(column)
    if slot.kind in (ValueType.FLOAT, ValueType.DOUBLE) and (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        with np.errstate(over="ignore"):  # beyond float32 it is infinite, as in protobuf
            held = np.asarray(column.to_numpy(zero_copy_only=False)).astype(slot.dtype)
        empty |= np.isnan(held)
        held[empty] = np.nan
        return held, empty
    if slot.kind in (ValueType.INT32, ValueType.INT64) and pa.types.is_integer(kind):
        wide = pc.fill_null(column, 0)
        try:
            return np.array(wide.cast(pa.int32() if slot.dtype == "<i4" else pa.int64()), dtype=slot.dtype), empty
        except pa.ArrowInvalid as error:
            raise PackedError(f"Feature '{slot.name}' is declared {slot.kind.name}: {error}") from error
    if slot.kind in (ValueType.INT32, ValueType.INT64) and pa.types.is_floating(kind):
        floats = np.asarray(column.to_numpy(zero_copy_only=False)).astype(np.float64)
        empty |= np.isnan(floats)
        whole = np.where(empty, 0, np.trunc(floats))
        limit = 2.0**31 if slot.dtype == "<i4" else 2.0**63
        if ((whole < -limit) | (whole >= limit)).any():
            raise PackedError(f"Feature '{slot.name}' is declared {slot.kind.name} and has values that it can't hold.")
        return whole.astype(slot.dtype), empty
    if slot.kind == ValueType.BOOL and pa.types.is_boolean(kind):
        return np.asarray(pc.fill_null(column, False).to_numpy(zero_copy_only=False)).astype(np.bool_), empty
    if slot.kind == ValueType.UNIX_TIMESTAMP and (pa.types.is_timestamp(kind) or pa.types.is_int64(kind)):
        ticks = np.asarray(pc.fill_null(column.view(pa.int64()), 0))
        seconds = ticks if pa.types.is_int64(kind) else ticks // _SECOND[kind.unit]
        return np.ascontiguousarray(seconds, dtype="<i8"), empty
    protos = _by_feast(slot, column)
    empty = np.array([value is None for value in protos], np.bool_)
    filler = float("nan") if slot.dtype in ("<f8", "<f4") else 0
    return np.array([filler if value is None else value for value in protos], slot.dtype), empty


def _bodies(slot: Slot, column: pa.Array) -> tuple[list[pa.LargeBinaryArray], Flags]:
    """What the tail carries, in one or more runs per row, and which are missing."""
    empty = ~_valid(column)
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if slot.kind == ValueType.JSON or not _columnar(slot, kind):
        protos = _by_feast(slot, column)
        parts = [b"" if value is None else body(slot, value) for value in protos]
        return [pa.array(parts, pa.large_binary())], np.array([value is None for value in protos], np.bool_)
    if slot.form in ("text", "bytes"):
        return [_binary_of(slot, column)], empty
    offsets, values = _flat(column)
    if slot.form == "numbers":
        return [_binary(offsets * np.dtype(slot.dtype).itemsize, _elements(slot, values))], empty
    texts = _binary_of(slot, values)
    starts = _offsets(texts)
    counts = np.diff(offsets)
    ends = (starts[1:] - np.repeat(starts[offsets[:-1]], counts)).astype("<u4")
    return [
        _fixed_binary(np.where(empty, 0, counts).astype("<u4"), ~empty),
        _binary(offsets * 4, ends),
        _binary(starts[offsets], np.frombuffer(texts.buffers()[2] or b"", np.uint8)),
    ], empty


def _columnar(slot: Slot, kind: pa.DataType) -> bool:
    """Whether a column of this type needs no conversion by Feast."""
    if slot.form in ("text", "bytes"):
        return _is_binary(kind, slot.form)
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return False
    inner = kind.value_type
    if slot.form in ("texts", "blobs"):
        return slot.kind != ValueType.JSON_LIST and _is_binary(inner, "bytes" if slot.form == "blobs" else "text")
    if slot.kind in (ValueType.FLOAT_LIST, ValueType.DOUBLE_LIST):
        return bool(pa.types.is_floating(inner))
    if slot.kind == ValueType.BOOL_LIST:
        return bool(pa.types.is_boolean(inner))
    return slot.form == "numbers" and bool(pa.types.is_signed_integer(inner)) and inner.bit_width <= 8 * np.dtype(slot.dtype).itemsize


def _is_binary(kind: pa.DataType, form: str) -> bool:
    texts = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return bool(texts if form == "text" else pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _flat(column: pa.Array) -> tuple[Int64s, pa.Array]:
    """Offsets int64[n + 1] from 0 and the elements of a list column; a missing list has none."""
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0)).astype(np.int64)
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), _single(column.flatten())


def _elements(slot: Slot, values: pa.Array) -> NDArray[Any]:
    if pa.types.is_boolean(values.type):
        return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False)).astype(slot.dtype)
    default = NO_TIME if slot.kind == ValueType.UNIX_TIMESTAMP_LIST else 0
    return np.asarray(pc.fill_null(values, default)).astype(slot.dtype)


def _by_feast(slot: Slot, column: pa.Array) -> list[Any]:
    """Feast's own conversion, value by value: what `layout.body` or a number's place takes, None for a missing one."""
    protos = python_values_to_proto_values(column.to_numpy(zero_copy_only=False), slot.kind)
    if slot.form == "value":
        return [value if value.WhichOneof("val") else None for value in protos]
    held = [getattr(value, slot.proto) if value.HasField(slot.proto) else None for value in protos]
    if slot.kind == ValueType.UNIX_TIMESTAMP:
        return [None if value == NO_TIME else value for value in held]
    return held if slot.form in ("fixed", "text", "bytes") else [None if value is None else value.val for value in held]


def _binary_of(slot: Slot, column: pa.Array) -> pa.LargeBinaryArray:
    """Texts or bytes as large_binary, missing ones empty; a number that is a join key of type string is written as text."""
    if not (_is_binary(column.type, "text") or _is_binary(column.type, "bytes")):
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        elif slot.kind == ValueType.STRING and pa.types.is_integer(column.type):
            column = column.cast(pa.string())
        else:
            raise PackedError(f"'{slot.name}' is declared {slot.kind.name} and its column is {column.type}: convert it in the table.")
    return pc.fill_null(column.cast(pa.large_binary()), b"")


def _single(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column


def _valid(column: pa.Array) -> Flags:
    return np.asarray(column.is_valid().to_numpy(zero_copy_only=False)).astype(np.bool_)


def _offsets(column: pa.LargeBinaryArray) -> Int64s:
    return np.frombuffer(column.buffers()[1], np.int64)[column.offset : column.offset + len(column) + 1]


def _lengths(column: pa.LargeBinaryArray) -> Int64s:
    return np.diff(_offsets(column))


def _binary(offsets: Int64s, data: NDArray[Any]) -> pa.LargeBinaryArray:
    """large_binary[n] over bytes that lie there already."""
    buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets, dtype=np.int64)), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def _fixed_binary(values: NDArray[Any], kept: Flags | None = None) -> pa.LargeBinaryArray:
    """Each row of an array as bytes; none where `kept` is False."""
    data = np.ascontiguousarray(values)
    if kept is not None:
        data = data[kept]
        widths = np.where(kept, values.dtype.itemsize, 0)
    else:
        widths = np.full(len(values), data.nbytes // max(len(values), 1))
    return _binary(np.concatenate([[0], np.cumsum(widths)]).astype(np.int64), data)
