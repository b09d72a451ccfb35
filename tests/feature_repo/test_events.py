"""The declared tables: their examples are real, and the docs list every column."""

from pathlib import Path

import pandas as pd
import pytest

from feature_repo.events import TABLES, Column, Event, EventType, describe
from feature_repo.sources import reader

ROOT = Path(__file__).parents[2]
CORNER_SHOP = ROOT / "tests/data/corner_shop"

COLUMNS = [(table.name, column) for table in TABLES.values() for column in table.columns]


@pytest.fixture(scope="module")
def corner_shop() -> dict[str, pd.DataFrame]:
    return dict(reader("corner")(CORNER_SHOP).tables)


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=lambda part: part.name if isinstance(part, Column) else part)
def test_every_example_stands_in_the_corner_shop(table: str, column: Column, corner_shop: dict[str, pd.DataFrame]) -> None:
    assert column.example in set(corner_shop[table][column.name])


def test_the_docs_hold_the_declared_tables() -> None:
    page = (ROOT / "docs/data.md").read_text()
    assert describe() in page, "regenerate that part of docs/data.md with `python -m feature_repo.events`"


def test_an_event_record_has_the_columns_of_its_table() -> None:
    assert list(Event.__dataclass_fields__) == TABLES["events"].names
    assert TABLES["events"]["event_type"].values == tuple(EventType)


def test_an_empty_table_has_every_column_and_dtype() -> None:
    empty = TABLES["events"].empty()
    assert len(empty) == 0
    assert {name: str(dtype) for name, dtype in empty.dtypes.items()} == {column.name: column.pandas_dtype for column in TABLES["events"].columns}


def test_the_docs_hold_a_shop_toml_that_is_read() -> None:
    page = (ROOT / "docs/data.md").read_text()
    assert (CORNER_SHOP / "shop.toml").read_text() in page
