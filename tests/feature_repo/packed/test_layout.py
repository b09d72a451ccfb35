"""The packed row gives back what was put in: every type, beside every other, missing or not."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from feast.protos.feast.types.Value_pb2 import DoubleList, Int64List, Map, StringList, Value, ZonedTimestamp
from feast.types import Array, Float32, Int64, String
from feast.types import Map as MapType
from feast.types import ZonedTimestamp as ZonedType
from feast.value_type import ValueType

from feature_repo.packed.errors import PackedError
from feature_repo.packed.layout import Layout
from feature_repo.packed.moments import moment_of
from tests.feature_repo.packed.shelf import NOON

EDGES: dict[ValueType, list[Value]] = {
    ValueType.FLOAT: [Value(float_val=each) for each in (0.0, -0.0, 1.5, float("inf"), 3.4e38)],
    ValueType.DOUBLE: [Value(double_val=each) for each in (0.0, 1e-320, 2.0**53 + 2, float("-inf"))],
    ValueType.INT32: [Value(int32_val=each) for each in (0, 2**31 - 1, -(2**31))],
    ValueType.INT64: [Value(int64_val=each) for each in (0, 2**24 + 1, 2**53 + 1, 2**63 - 1, -(2**63))],
    ValueType.BOOL: [Value(bool_val=True), Value(bool_val=False)],
    ValueType.UNIX_TIMESTAMP: [Value(unix_timestamp_val=each) for each in (0, -1, 253_402_300_799)],
    ValueType.STRING: [Value(string_val=each) for each in ("", "零售", "x" * 70_000, "\0")],
    ValueType.BYTES: [Value(bytes_val=each) for each in (b"", b"\0\xff" * 9)],
    ValueType.JSON: [Value(json_val='{"a": 1}')],
    ValueType.UUID: [Value(uuid_val="6f1c0d5e-0000-4000-8000-000000000000")],
    ValueType.DECIMAL: [Value(decimal_val="12345678901234567890.5")],
    ValueType.DOUBLE_LIST: [Value(double_list_val=DoubleList(val=each)) for each in ([], [1.5, float("inf")])],
    ValueType.INT64_LIST: [Value(int64_list_val=Int64List(val=each)) for each in ([], [2**63 - 1, -1])],
    ValueType.UNIX_TIMESTAMP_LIST: [Value(unix_timestamp_list_val=Int64List(val=[0, -5]))],
    ValueType.STRING_LIST: [Value(string_list_val=StringList(val=each)) for each in ([], [""], ["a", "", "ü" * 99])],
    ValueType.MAP: [Value(map_val=Map(val={"a": Value(int64_val=1), "b": Value(map_val=Map(val={"c": Value(string_val="d")}))}))],
    ValueType.ZONED_TIMESTAMP: [Value(zoned_timestamp_val=ZonedTimestamp(unix_timestamp=5, zone="Asia/Shanghai"))],
}  # fmt: skip
NOTHING = Value()


def test_random_rows_of_random_layouts_come_back_as_they_were() -> None:
    draw = random.Random(7)
    for _ in range(300):
        kinds = draw.choices(list(EDGES), k=draw.randrange(0, 40))
        layout = Layout.of([(f"f{number}", kind.name, kind) for number, kind in enumerate(kinds)])
        values = {f"f{number}": draw.choice([*EDGES[kind], NOTHING]) for number, kind in enumerate(kinds)}
        at = datetime(1, 1, 1, tzinfo=UTC) + timedelta(microseconds=draw.randrange(0, 10**17))
        row = layout.pack(values, at, draw.choice([None, NOON]))
        assert layout.unpack(row) == values and moment_of(row) == at
        some = draw.sample(sorted(values), len(values) // 2)
        assert layout.unpack(row, [*some, "unknown"]) == {name: values[name] for name in some}
        heads = layout.heads([row, layout.empty])
        assert heads.missing.tolist() == [[value is NOTHING for value in values.values()], [True] * len(values)]
        for slot in layout.slots:
            if slot.form == "fixed" and values[slot.name] is not NOTHING:
                assert heads.numbers(slot)[0] == getattr(values[slot.name], slot.proto)


def test_a_nan_that_was_written_is_no_missing_value() -> None:
    layout = Layout.of([("f", "Float32", ValueType.FLOAT), ("d", "Float64", ValueType.DOUBLE)])
    row = layout.pack({"f": Value(float_val=float("nan"))}, NOON, None)
    found = layout.unpack(row)
    assert np.isnan(found["f"].float_val) and found["f"].WhichOneof("val") == "float_val" and found["d"].WhichOneof("val") is None
    assert layout.heads([row]).missing.tolist() == [[False, True]] and np.isnan(layout.heads([row]).numbers(layout.by_name["d"])[0])


def test_the_number_that_feast_writes_for_no_time_is_missing() -> None:
    layout = Layout.of([("m", "UnixTimestamp", ValueType.UNIX_TIMESTAMP)])
    assert layout.unpack(layout.pack({"m": Value(unix_timestamp_val=-(2**63))}, NOON, None))["m"] == NOTHING


@pytest.mark.parametrize("given", [Value(double_val=1), Value(string_val="1"), Value(int64_val=1)])
def test_a_value_of_another_type_than_declared_is_an_error(given: Value) -> None:
    layout = Layout.of([("clicks", "Int32", ValueType.INT32)])
    with pytest.raises(PackedError, match=f"'clicks' is declared INT32 and was given {given.WhichOneof('val')}.*feast apply"):
        layout.pack({"clicks": given}, NOON, None)


def test_names_types_and_order_make_the_schema() -> None:
    def schema(*features: tuple[str, Any]) -> bytes:
        return Layout.of([(name, str(kind), kind.to_value_type()) for name, kind in features]).schema

    base = schema(("a", Float32), ("b", String))
    assert base == schema(("a", Float32), ("b", String))
    others = [
        schema(("b", String), ("a", Float32)),
        schema(("a", Int64), ("b", String)),
        schema(("a", Float32), ("c", String)),
        schema(("a", Float32)),
        schema(("a", Array(Float32)), ("b", String)),
        schema(("a", MapType), ("b", ZonedType)),
    ]
    assert len({base, *others}) == 7
