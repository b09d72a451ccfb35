"""Raw cells to typed values: what is read, what is empty and what is marked unreadable."""

import datetime
import decimal
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from feature_repo.events import TABLES
from feature_repo.values import read_column

BERLIN = ZoneInfo("Europe/Berlin")


def read(column: str, cells: Any, table: str = "events") -> tuple[list[Any], list[str]]:
    """Values (None where empty) and per row the faults found."""
    raw = cells if isinstance(cells, pd.Series) else pd.Series(cells, dtype=object)
    typed, masks = read_column(TABLES[table][column], raw, BERLIN)
    assert str(typed.dtype) == {"integer": "Int64", "flag": "boolean"}.get(TABLES[table][column].dtype, TABLES[table][column].pandas_dtype)
    faults = [", ".join(reason for mask, reason in masks if mask[row]) for row in range(len(raw))]
    return [None if pd.isna(value) else value for value in typed], faults


def utc(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz="UTC")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2024-07-01T12:00:00", "2024-07-01 10:00:00"),  # local, summer time
        ("2024-01-01 12:00", "2024-01-01 11:00:00"),
        ("2024-03-01", "2024-02-29 23:00:00"),  # a day begins at local midnight
        ("2024-07-01T12:00:00Z", "2024-07-01 12:00:00"),
        ("2024-07-01T12:00:00-0500", "2024-07-01 17:00:00"),
        ("2024-07-01T12:00:00.123456+02:00", "2024-07-01 10:00:00.123456"),
        ("2024-07-01 12:00:00+02", "2024-07-01 10:00:00"),
        ("1700000000", "2023-11-14 22:13:20"),
        ("1700000000123", "2023-11-14 22:13:20.123"),
        ("2024-03-31T02:30:00", "2024-03-31 01:00:00"),  # left out in spring: the first moment after the gap
        ("2024-10-27T02:30:00", "2024-10-27 00:30:00"),  # twice in autumn: the first
        ("2024-10-27T02:30:00+01:00", "2024-10-27 01:30:00"),
    ],
)
def test_times(written: str, meant: str) -> None:
    assert read("event_time", [written]) == ([utc(meant)], [""])


def test_times_of_a_parquet_file() -> None:
    july = pd.Series(pd.to_datetime(["2024-07-01 12:00", None]))
    assert read("event_time", july) == ([utc("2024-07-01 10:00"), None], ["", ""])
    assert read("event_time", july.dt.tz_localize("UTC")) == ([utc("2024-07-01 12:00"), None], ["", ""])
    assert read("event_time", pd.Series([1_700_000_000])) == ([utc("2023-11-14 22:13:20")], [""])
    assert read("event_time", [datetime.date(2024, 7, 1)]) == ([utc("2024-06-30 22:00")], [""])


@pytest.mark.parametrize("written", ["soon", "now", "today", "31/12/2024", "2024-13-01", "99999999999999", "0001-01-01"])
def test_what_is_no_time(written: str) -> None:
    assert read("event_time", [written]) == ([None], ["event_time: not a time"])


def test_a_zero_time_is_not_believed() -> None:
    assert read("event_time", ["1970-01-01T00:00:00Z"]) == ([None], ["event_time: before 1990"])


def test_ids_stay_as_the_shop_writes_them() -> None:
    assert read("product_id", ["007", "85123A", " ", "", None])[0] == ["007", "85123A", None, None, None]


def test_numbers_as_ids_lose_the_fraction_that_empty_cells_gave_them() -> None:
    assert read("user_id", pd.Series([17850.0, None]))[0] == ["17850", None]
    assert read("user_id", pd.Series([17850, None], dtype="Int64"))[0] == ["17850", None]


def test_an_id_of_unreasonable_length_is_marked() -> None:
    assert read("product_id", ["x" * 201])[1] == ["product_id: longer than 200 characters"]


def test_an_id_with_a_line_break_is_marked() -> None:
    """A stray quote makes two rows of a CSV file one cell, and that file is still well formed."""
    assert read("user_id", ["ann,007,2024-05-01\nview,bob", "c\rd", "e f"])[1] == [*["user_id: a line break in it"] * 2, ""]


def test_numbers() -> None:
    values, faults = read("price", ["1.50", " 2 ", "1,50", "£3", "inf", "nan", ""])
    assert values == [1.5, 2.0, None, None, None, None, None]
    assert faults == ["", "", *["price: not a number"] * 4, ""]
    assert read("price", [decimal.Decimal("1.50"), None]) == ([1.5, None], ["", ""])


def test_whole_numbers() -> None:
    assert read("position", ["3", "1.5", "first"]) == ([3, None, None], ["", "position: not a whole number", "position: not a number"])


def test_flags() -> None:
    values, faults = read("granted", ["Yes", "0", "perhaps", ""], "consents")
    assert (values, faults) == ([True, False, None, None], ["", "", "granted: neither true nor false", ""])
    assert read("granted", pd.Series([True, False]), "consents")[0] == [True, False]


def test_json() -> None:
    values, faults = read("context", ['{"a": [1]}', "{a}", "[1]", '{"a": NaN}', None])
    assert values == ['{"a": [1]}', None, None, None, None]
    assert faults == ["", "context: malformed JSON", "context: JSON, but not an object", "context: malformed JSON", ""]
    assert read("context", [{"a": 1}])[0] == ['{"a": 1}']


def test_facts_are_plain_values_or_measures() -> None:
    good = '{"material": "oak", "weight": {"value": 1.4, "unit": "kg"}, "handmade": true}'
    values, faults = read("attributes", [good, '{"sizes": [1, 2]}', '{"weight": {"value": 1}}', '{"x": null}'], "products")
    assert values == [good, None, None, None]
    assert faults == ["", *['attributes: a value is not text, number, true/false or {"value", "unit"}'] * 3]


def test_allowed_words_are_read_in_any_case() -> None:
    assert read("event_type", [" Purchase ", "VIEW"])[0] == ["purchase", "view"]


@pytest.mark.parametrize("column", TABLES["events"].columns, ids=lambda column: column.name)
def test_a_column_without_rows_or_values_is_read(column: Any) -> None:
    assert read(column.name, []) == ([], [])
    assert read(column.name, [None, None])[0] == [None, None]
