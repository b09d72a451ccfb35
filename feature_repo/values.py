"""A shop's raw values -> typed columns, and which rows hold something that can't be read. Vectorised: two million events take seconds."""

import json
from collections.abc import Callable, Mapping
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.events import PANDAS_DTYPES, Column, Dtype

LONGEST_ID = 200
EARLIEST = pd.Timestamp("1990-01-01", tz="UTC")
"""Times before it are taken for zeros and typing errors: no shop kept such records by then."""

FLAGS = {"true": True, "t": True, "yes": True, "y": True, "1": True, "false": False, "f": False, "no": False, "n": False, "0": False}

OFFSET = r"[T ]\d{2}:?\d{2}.*(?:[Zz]|[+-]\d{2}(?::?\d{2})?)$"
"""An ISO 8601 time that ends with its offset from UTC."""

Masks = list[tuple[np.ndarray, str]]
"""Which rows broke the contract, and how."""


def read_column(column: Column, raw: pd.Series, zone: ZoneInfo) -> tuple[pd.Series, Masks]:
    """The column with its pandas dtype, empty where a cell is empty or unreadable, and the unreadable rows with a reason.

    Empty and blank cells are not unreadable: whether they are allowed is the schema's business.
    """
    typed, masks = _READERS[column.dtype](column, raw, zone)
    typed.index = raw.index
    typed.name = column.name
    return typed, masks


def texts(raw: pd.Series) -> pa.ChunkedArray:
    """Strings as written, null where empty or blank. Numbers that a file holds for ids are written without a fraction ("17850", not "17850.0")."""
    if pd.api.types.is_float_dtype(raw.dtype):
        whole = raw.isna() | (raw == np.floor(raw))
        raw = raw.astype("Int64").astype("string") if whole.all() else raw.astype("string")
    elif pd.api.types.infer_dtype(raw, skipna=True) not in ("string", "empty"):
        raw = raw.astype("string")
    array = pa.chunked_array([pa.array(raw.astype(object), type=pa.string(), from_pandas=True)])
    blank = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(array)), 0)
    kept: pa.ChunkedArray = pc.if_else(pc.fill_null(blank, True), pa.scalar(None, pa.string()), array)
    return kept


def local_to_utc(naive: pd.Series, zone: ZoneInfo) -> pd.Series:
    """Wall-clock times of a zone in UTC.

    Of the hour that occurs twice in autumn the first occurrence is meant (daylight-saving time); a time that spring leaves out is moved to
    the first moment after the gap.
    """
    first = np.ones(len(naive), dtype=bool)
    moved: pd.Series = naive.dt.tz_localize(zone, ambiguous=first, nonexistent="shift_forward").dt.tz_convert("UTC")
    return moved


def _text(column: Column, raw: pd.Series, zone: ZoneInfo) -> tuple[pd.Series, Masks]:
    array = texts(raw)
    masks: Masks = []
    if column.dtype == "id":
        long = pc.fill_null(pc.greater(pc.utf8_length(array), LONGEST_ID), False)
        masks.append((_mask(long), f"{column.name}: longer than {LONGEST_ID} characters"))
        broken = pc.fill_null(pc.match_substring_regex(array, r"[\r\n]"), False)  # a stray quote in a CSV swallows the rows up to the next one
        masks.append((_mask(broken), f"{column.name}: a line break in it"))
    if column.values or column.folded:
        array = pc.utf8_lower(pc.utf8_trim_whitespace(array))
    return array.to_pandas().astype(object), masks


def _number(column: Column, raw: pd.Series, zone: ZoneInfo) -> tuple[pd.Series, Masks]:
    if pd.api.types.is_numeric_dtype(raw.dtype):
        number, filled = raw.astype("float64"), raw.notna()
    else:
        written = texts(raw)
        number, filled = pd.to_numeric(written.to_pandas(), errors="coerce").astype("float64"), pd.Series(_mask(pc.is_valid(written)))
    bad = filled.to_numpy() & ~np.isfinite(number.to_numpy())
    return number.mask(bad), [(bad, f"{column.name}: not a number")]


def _integer(column: Column, raw: pd.Series, zone: ZoneInfo) -> tuple[pd.Series, Masks]:
    number, masks = _number(column, raw, zone)
    broken = number.notna().to_numpy() & ((number % 1 != 0) | (number.abs() > 2**53)).to_numpy()
    return number.mask(broken).astype("Int64"), [*masks, (broken, f"{column.name}: not a whole number")]


def _flag(column: Column, raw: pd.Series, zone: ZoneInfo) -> tuple[pd.Series, Masks]:
    written = texts(raw).to_pandas()
    flag = written.str.strip().str.lower().map(FLAGS) if len(written) else written
    bad = written.notna().to_numpy() & flag.isna().to_numpy()
    return flag.astype("boolean"), [(bad, f"{column.name}: neither true nor false")]


def _json(column: Column, raw: pd.Series, zone: ZoneInfo) -> tuple[pd.Series, Masks]:
    written = raw.map(lambda cell: json.dumps(cell, ensure_ascii=False, default=str) if isinstance(cell, dict) else cell)
    codes, uniques = pd.factorize(texts(written).to_pandas())
    reasons = np.array([_json_fault(text, column.dtype == "facts") for text in uniques] + [""], dtype=object)[codes]
    typed = pd.Series(np.append(np.asarray(uniques, dtype=object), [None])[codes], dtype=object)
    masks = [(reasons == fault, f"{column.name}: {fault}") for fault in (_NO_JSON, _NO_OBJECT, _NO_FACT)]
    return typed.mask(reasons != "", None), masks


_NO_JSON, _NO_OBJECT = "malformed JSON", "JSON, but not an object"
_NO_FACT = 'a value is not text, number, true/false or {"value", "unit"}'


def _json_fault(text: str, facts: bool) -> str:
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _NO_JSON
    if not isinstance(found, dict):
        return _NO_OBJECT
    plain = (str, int, float, bool)
    for value in found.values() if facts else ():
        measured = isinstance(value, dict) and set(value) == {"value", "unit"} and all(isinstance(part, plain) for part in value.values())
        if not measured and not isinstance(value, plain):
            return _NO_FACT
    return ""


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _time(column: Column, raw: pd.Series, zone: ZoneInfo) -> tuple[pd.Series, Masks]:
    if isinstance(raw.dtype, pd.DatetimeTZDtype):
        moment, filled = raw.dt.tz_convert("UTC"), raw.notna().to_numpy()
    elif pd.api.types.is_datetime64_dtype(raw.dtype):
        moment, filled = local_to_utc(raw, zone), raw.notna().to_numpy()
    elif pd.api.types.is_numeric_dtype(raw.dtype):
        moment, filled = _unix(raw.astype("float64")), raw.notna().to_numpy()
    else:
        written = texts(raw)
        moment, filled = _written_times(written, zone), _mask(pc.is_valid(written))
    moment = moment.dt.as_unit("us")
    missing = moment.isna().to_numpy()
    early = ~missing & (moment < EARLIEST).to_numpy()
    masks = [(filled & missing, f"{column.name}: not a time"), (early, f"{column.name}: before {EARLIEST.year}")]
    return moment.mask(early), masks


def _written_times(written: pa.ChunkedArray, zone: ZoneInfo) -> pd.Series:
    """ISO 8601 with an offset, ISO 8601 without one (then local), or unix time in seconds or milliseconds."""
    text = written.to_pandas()
    digits = _mask(pc.fill_null(pc.match_substring_regex(written, r"^\s*(\d{9,14}(\.\d+)?|0|-\d+)\s*$"), False))
    offset = _mask(pc.fill_null(pc.match_substring_regex(written, OFFSET), False))
    # pandas would also take "now" and "today" for times.
    dated = _mask(pc.fill_null(pc.match_substring_regex(written, r"^\s*\d{4}"), False))
    offset &= dated
    local = dated & ~digits & ~offset
    moment = pd.Series(pd.NaT, index=text.index, dtype="datetime64[ns, UTC]")
    if digits.any():
        moment[digits] = _unix(pd.to_numeric(text[digits], errors="coerce"))
    if offset.any():
        moment[offset] = pd.to_datetime(text[offset].str.strip(), format="ISO8601", errors="coerce", utc=True)
    if local.any():
        naive = pd.to_datetime(text[local].str.strip(), format="ISO8601", errors="coerce")
        moment[local] = local_to_utc(naive, zone)
    return moment


def _unix(number: pd.Series) -> pd.Series:
    """Seconds, or milliseconds where that many seconds would lie beyond the year 5000."""
    seconds = number.where(number < 1e11, number / 1000)
    seconds = seconds.where(seconds.between(-1e10, 1e10))
    return pd.to_datetime((seconds * 1e6).round(), unit="us", errors="coerce", utc=True)


def _mask(array: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(array.to_numpy(zero_copy_only=False) if isinstance(array, pa.Array) else array.to_numpy(), dtype=bool)


_Read = Callable[[Column, pd.Series, ZoneInfo], tuple[pd.Series, Masks]]
_READERS: Mapping[Dtype, _Read] = {
    "id": _text,
    "text": _text,
    "number": _number,
    "integer": _integer,
    "flag": _flag,
    "json": _json,
    "facts": _json,
    "time": _time,
}


def empty_column(column: Column, index: pd.Index) -> pd.Series:
    """A column that the shop does not have."""
    return pd.Series(None, index=index, dtype=PANDAS_DTYPES[column.dtype], name=column.name)
