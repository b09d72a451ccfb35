"""`materialize` by columns says what Feast's own way says, value by value and for every type."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast.types import Float32, Int32, Int64, Json, String

from feature_repo.packed.errors import PackedError
from tests.feature_repo.packed import shelf
from tests.feature_repo.packed.shelf import NOON, TYPES

_UTC = pa.timestamp("us", "UTC")


def _stores(tmp_path: Path, fields: dict[str, Any]) -> list[Any]:
    """Feast's SQLite store with its engine, and ours."""
    stock, ours = tmp_path / "stock", tmp_path / "ours"
    view = shelf.view(tmp_path, fields)
    stock.mkdir()
    ours.mkdir()
    return [
        shelf.applied(stock, {"type": "sqlite", "path": str(stock / "online.db")}, [view], columnar=False),
        shelf.applied(ours, {"type": shelf.PACKED, "path": str(ours / "online.db")}, [view]),
    ]


def _protos(store: Any, ids: list[str], names: list[str]) -> list[list[Any]]:
    """Feast's values as they came from the store, with the status of each."""
    found = store.get_online_features(features=[f"things:{name}" for name in names], entity_rows=[{"thing_id": each} for each in ids])
    proto = found.proto
    order = list(proto.metadata.feature_names.val)
    return [[(value, status) for value, status in zip(*_column(proto, order.index(name)), strict=True)] for name in names]


def _column(proto: Any, place: int) -> tuple[Any, Any]:
    return proto.results[place].values, proto.results[place].statuses


def test_the_columnar_way_writes_what_feasts_own_way_writes(tmp_path: Path) -> None:
    table = shelf.every_type(400, seed=3)
    shelf.write(tmp_path, table)
    stores = _stores(tmp_path, TYPES)
    for store in stores:
        shelf.materialised(store)
    ids = [*table.column("thing_id").to_pylist(), "nobody"]
    for name in TYPES:
        (theirs,), (ours,) = (_protos(store, ids, [name]) for store in stores)
        for place, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            if name == "moment" and one[0].unix_timestamp_val < -(2**62):
                assert not other[0].WhichOneof("val")  # Feast writes a number that stands for none; both read as None
            elif name == "text_set":
                assert set(one[0].string_set_val.val) == set(other[0].string_set_val.val), (name, ids[place])
            else:
                assert one == other, (name, ids[place])
        said = [shelf.answer(store, ids, [name])[name] for store in stores]
        assert said[0] == said[1] if name != "text_set" else True, name


def test_of_several_rows_the_latest_is_written_and_of_one_time_the_one_created_last(tmp_path: Path) -> None:
    hour = timedelta(hours=1)
    rows = [
        ("a", NOON - hour, NOON, 1), ("a", NOON, NOON, 2), ("a", NOON - 2 * hour, NOON + hour, 3),
        ("b", NOON, NOON + hour, 4), ("b", NOON, NOON, 5),
    ]  # fmt: skip
    schema = {"thing_id": pa.string(), "event_timestamp": _UTC, "created_timestamp": _UTC, "n": pa.int64()}
    columns = zip(*rows, strict=True)
    shelf.write(tmp_path, pa.table({name: pa.array(column, kind) for (name, kind), column in zip(schema.items(), columns, strict=True)}))
    store = shelf.applied(tmp_path, {"type": shelf.PACKED}, [shelf.view(tmp_path, {"n": Int64})])
    for latest in (True, False):
        store.config.materialization_config.pull_latest_features = latest
        shelf.materialised(store)
        assert shelf.answer(store, ["a", "b"], ["n"])["n"] == [2, 4]


def test_an_integer_beside_a_missing_one_stays_exact(tmp_path: Path) -> None:
    big = [2**24 + 1, 2**53 + 1, 2**63 - 1, -(2**63), None]
    times = pa.array([NOON] * 5, _UTC)
    ids = list("abcde")
    shelf.write(tmp_path, pa.table({"thing_id": ids, "event_timestamp": times, "created_timestamp": times, "n": pa.array(big, pa.int64())}))
    store = shelf.applied(tmp_path, {"type": shelf.PACKED}, [shelf.view(tmp_path, {"n": Int64})])
    shelf.materialised(store)
    assert shelf.answer(store, ids, ["n"])["n"] == big


def test_a_nan_of_a_table_is_missing_as_in_feast(tmp_path: Path) -> None:
    times = pa.array([NOON] * 3, _UTC)
    columns = {"thing_id": list("abc"), "event_timestamp": times, "created_timestamp": times, "f": pa.array([float("nan"), None, 1.0])}
    shelf.write(tmp_path, pa.table(columns))
    stores = _stores(tmp_path, {"f": Float32})
    for store in stores:
        shelf.materialised(store)
    assert [shelf.answer(store, list("abc"), ["f"])["f"] for store in stores] == [[None, None, 1.0]] * 2


@pytest.mark.parametrize(
    ("kind", "column", "says"),
    [
        (Int32, pa.array([2**31], pa.int64()), "n.*INT32"),
        (Int64, pa.array([1e300]), "n.*INT64"),
        (Json, pa.array(["{broken"]), "Invalid JSON"),
    ],
)
def test_a_value_that_its_type_can_not_hold_is_an_error(tmp_path: Path, kind: Any, column: pa.Array, says: str) -> None:
    times = pa.array([NOON], _UTC)
    shelf.write(tmp_path, pa.table({"thing_id": ["a"], "event_timestamp": times, "created_timestamp": times, "n": column}))
    store = shelf.applied(tmp_path, {"type": shelf.PACKED}, [shelf.view(tmp_path, {"n": kind})])
    with pytest.raises((PackedError, ValueError), match=says):
        shelf.materialised(store)


def test_a_row_without_its_key_is_an_error(tmp_path: Path) -> None:
    times = pa.array([NOON] * 2, _UTC)
    shelf.write(tmp_path, pa.table({"thing_id": ["a", None], "event_timestamp": times, "created_timestamp": times, "n": [1, 2]}))
    store = shelf.applied(tmp_path, {"type": shelf.PACKED}, [shelf.view(tmp_path, {"n": Int64})])
    with pytest.raises(PackedError, match="1 rows have no 'thing_id'"):
        shelf.materialised(store)


def test_columns_of_other_types_are_converted_as_feast_converts_them(tmp_path: Path) -> None:
    times = pa.array([NOON] * 2, pa.timestamp("ns"))
    columns = {
        "thing_id": pa.array(["a", "b"]).dictionary_encode(),
        "event_timestamp": times,
        "created_timestamp": times,
        "f": pa.array([1, None], pa.int64()),
        "i": pa.array([2.0, None], pa.float64()),
        "s": pa.array([3, 4], pa.int64()),
        "d": pa.array(["x", "y"]).dictionary_encode(),
    }
    shelf.write(tmp_path, pa.table(columns))
    stores = _stores(tmp_path, {"f": Float32, "i": Int64, "s": String, "d": String})
    for store in stores:
        shelf.materialised(store)
    said = [shelf.answer(store, ["a", "b"], ["f", "i", "s", "d"]) for store in stores]
    assert said[0] == said[1]
    assert said[1]["s"] == ["3", "4"] and said[1]["f"] == [1.0, None]


def test_an_incremental_run_writes_what_came_since(tmp_path: Path) -> None:
    table = shelf.every_type(50)
    shelf.write(tmp_path, table)
    store = shelf.applied(tmp_path, {"type": shelf.PACKED}, [shelf.view(tmp_path, {"int64": Int64})])
    shelf.materialised(store, NOON - timedelta(days=3))
    early = [moment <= NOON - timedelta(days=3) for moment in table.column("event_timestamp").to_pylist()]
    values, ids = table.column("int64").to_pylist(), table.column("thing_id").to_pylist()
    assert shelf.answer(store, ids, ["int64"])["int64"] == [value if known else None for value, known in zip(values, early, strict=True)]
    store.materialize_incremental(datetime(2024, 5, 2, tzinfo=UTC))
    assert shelf.answer(store, ids, ["int64"])["int64"] == values and not all(early)
