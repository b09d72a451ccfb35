"""Feast's own interface over packed rows, on SQLite and on a real Redis server, and what `PackedReader` reads of the same rows."""

import io
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from feast import FeatureStore
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, FeastType, Float32, Float64, Int64, Map, String, UnixTimestamp

from feature_repo.packed.errors import PackedError
from feature_repo.packed.reader import PackedReader
from feature_repo.packed.store import PackedOnlineStore
from tests.feature_repo.packed import shelf
from tests.feature_repo.packed.shelf import NOON, TYPES

Make = Callable[..., FeatureStore]
FIELDS: dict[str, FeastType] = {"price": Float64, "clicks": Int64, "title": String, "vector": Array(Float32)}


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.needs("redis"))])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """A store of a view with given fields over one place of rows, whose clock stands at NOON."""
    options: dict[str, Any] = {"type": shelf.PACKED}
    options |= {"redis": request.getfixturevalue("redis_url")} if request.param == "redis" else {"path": "online.db"}
    project, made = f"p{abs(hash(request.node.name))}", []

    def opened(fields: dict[str, FeastType] = FIELDS, folder: str = ".", **more: Any) -> FeatureStore:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        view = shelf.view(place, fields, **more)
        made.append(shelf.applied(place, options, [view], project=project))
        _packed(made[-1]).clock = lambda: NOON
        return made[-1]

    yield opened
    for store in made:
        _packed(store).rows(store.config).clear()


def _packed(store: FeatureStore) -> PackedOnlineStore:
    found = store._get_provider().online_store
    assert isinstance(found, PackedOnlineStore)
    return found


def _push(store: FeatureStore, at: datetime = NOON, **values: Any) -> None:
    """One row of `things`."""
    row = {"thing_id": "a", "event_timestamp": at, "created_timestamp": at, "price": 1.5, "clicks": 1, "title": "Mug", "vector": [0.5, 1.0]} | values
    store.push("things_push", pd.DataFrame([row]))


def _said(store: FeatureStore, thing: str = "a") -> dict[str, Any]:
    return {name: values[0] for name, values in shelf.answer(store, [thing], list(FIELDS)).items() if name != "thing_id"}


def test_what_is_pushed_is_what_is_read(make: Make) -> None:
    store = make()
    _push(store, clicks=2**53 + 1)
    assert _said(store) == {"price": 1.5, "clicks": 2**53 + 1, "title": "Mug", "vector": [0.5, 1.0]}
    assert _said(store, "b") == dict.fromkeys(FIELDS)
    store.write_to_online_store("things", pd.DataFrame([{"thing_id": "b", "event_timestamp": NOON, "created_timestamp": NOON} | _said(store)]))
    assert _said(store, "b") == _said(store)


def test_an_older_push_is_refused_and_a_correction_taken(make: Make) -> None:
    store = make()
    _push(store, title="first")
    _push(store, NOON - timedelta(seconds=1), title="older")
    assert _said(store)["title"] == "first"
    _push(store, title="corrected")
    assert _said(store)["title"] == "corrected"


def test_materialize_does_not_undo_a_newer_push(make: Make, tmp_path: Path) -> None:
    store = make({"int64": Int64, "text": String})
    table = shelf.every_type(30)
    shelf.write(tmp_path, table)
    pushed = pd.DataFrame([{"thing_id": "t7", "event_timestamp": NOON + timedelta(hours=1), "created_timestamp": NOON, "int64": 5, "text": "pushed"}])
    store.push("things_push", pushed)
    shelf.materialised(store)
    found = shelf.answer(store, table.column("thing_id").to_pylist(), ["text"])["text"]
    assert found[7] == "pushed" and found[8:] == table.column("text").to_pylist()[8:]


def test_a_time_to_live_holds_when_it_is_read(make: Make) -> None:
    store = make(ttl=timedelta(hours=1))
    _push(store, NOON - timedelta(minutes=59))
    reader = PackedReader(store, store.get_feature_service("all"))
    assert _said(store)["title"] == "Mug" and not reader.read({"thing_id": ["a"]}).missing["title"][0]
    _packed(store).clock = lambda: NOON + timedelta(minutes=1)
    assert _said(store)["title"] == "Mug"  # to the microsecond: not older than the hour
    _packed(store).clock = lambda: NOON + timedelta(minutes=1, microseconds=1)
    assert _said(store) == dict.fromkeys(FIELDS)
    assert all(gone[0] for gone in reader.read({"thing_id": ["a"]}).missing.values())


def test_one_row_is_what_a_column_of_one_is(make: Make, tmp_path: Path) -> None:
    store = make(TYPES, ttl=timedelta(days=2))
    table = shelf.every_type(60, seed=8)
    shelf.write(tmp_path, table)
    shelf.materialised(store)
    reader = PackedReader(store, [f"things:{name}" for name in TYPES])
    for thing in [*table.column("thing_id").to_pylist(), "nobody"]:
        expected, found = reader.read({"thing_id": [thing]}), reader.one({"thing_id": thing})
        assert list(found) == list(TYPES)
        for name, value in found.items():
            assert (value is None) == expected.missing[name][0], (thing, name)
            if value is not None:
                np.testing.assert_array_equal(value, expected.values[name][0], err_msg=name)
    later = NOON + timedelta(days=9)
    assert all(value is None for value in reader.one({"thing_id": "t1"}, later).values())
    assert all(gone.all() for gone in reader.read({"thing_id": ["t1", "t2"]}, later).missing.values())
    with pytest.raises(PackedError, match="No values for thing_id"):
        reader.one({"user_id": "a"})


def test_rows_of_another_schema_are_never_misread(make: Make) -> None:
    before = make()
    _push(before)
    after = make(dict(reversed(FIELDS.items())))
    assert shelf.answer(after, ["a"], ["price"])["price"] == [None]
    assert _said(before)["title"] == "Mug"  # whoever still knows the old declaration reads it, until the row is written anew
    _push(after, NOON - timedelta(days=9), title="new shape")
    assert _said(after)["title"] == "new shape"
    assert shelf.answer(before, ["a"], ["title"])["title"] == [None]


def test_a_view_that_is_taken_away_is_forgotten(make: Make) -> None:
    store = make()
    _push(store)
    with redirect_stdout(io.StringIO()):
        store.apply([], objects_to_delete=[store.get_feature_view("things")], partial=False)
    assert list(_packed(store).rows(store.config).scan("things")) == []


def test_every_type_reads_as_feast_reads_it(make: Make, tmp_path: Path) -> None:
    """`PackedReader` against `get_online_features` over the same rows."""
    store = make(TYPES)
    table = shelf.every_type(120, seed=5)
    shelf.write(tmp_path, table)
    shelf.materialised(store)
    ids = [*table.column("thing_id").to_pylist(), "nobody", "t3"]
    found = PackedReader(store, [f"things:{name}" for name in TYPES]).read({"thing_id": ids})
    asked = store.get_online_features(features=[f"things:{name}" for name in TYPES], entity_rows=[{"thing_id": each} for each in ids]).proto
    names = list(asked.metadata.feature_names.val)
    for name in TYPES:
        for place, value in enumerate(asked.results[names.index(name)].values):
            kind = value.WhichOneof("val")
            assert found.missing[name][place] == (kind is None), (name, place)
            if kind is None:
                continue
            expected = getattr(value, kind)
            mine = found.values[name][place]
            if kind.endswith("_list_val"):
                assert list(mine) == list(expected.val), name
            else:
                assert (mine == value) if isinstance(mine, Value) else (mine == expected), name


def test_users_and_products_are_read_together_each_once(make: Make, tmp_path: Path) -> None:
    store = make({"float32": Float32, "text": String, "moment": UnixTimestamp})
    table = shelf.every_type(40)
    shelf.write(tmp_path, table)
    shelf.write(tmp_path, table.rename_columns(["owner_id" if name == "thing_id" else name for name in table.column_names]), "owners")
    owners = shelf.view(tmp_path, {"int64": Int64, "flags": TYPES["flags"]}, "owners", keys=("owner",))
    with redirect_stdout(io.StringIO()):
        store.apply([*shelf.entities(owners), owners])
    shelf.materialised(store)
    names = ["things:float32", "things:text", "owners:int64", "owners:flags"]
    asked = {"thing_id": [f"t{each}" for each in range(39, -1, -1)] + ["x"], "owner_id": ["t4"] * 41}
    found = PackedReader(store, names).read(asked)
    expected = store.get_online_features(features=names, entity_rows=pd.DataFrame(asked).to_dict("records")).to_dict()
    for name in ("text", "int64"):
        assert [None if gone else value for value, gone in zip(found.values[name].tolist(), found.missing[name], strict=True)] == expected[name]
    np.testing.assert_array_equal(found.values["float32"], np.array([np.nan if each is None else each for each in expected["float32"]], np.float32))
    assert found.values["float32"].dtype == np.float32 and np.isnan(found.values["float32"][-1])


def test_a_reader_says_what_it_lacks(make: Make, tmp_path: Path) -> None:
    store = make()
    with pytest.raises(PackedError, match="no feature colour: it has price"):
        PackedReader(store, ["things:colour"])
    with pytest.raises(PackedError, match="No values for thing_id"):
        PackedReader(store, ["things:price"]).read({"user_id": ["a"]})
    (tmp_path / "stock").mkdir()
    other = shelf.applied(tmp_path / "stock", {"type": "sqlite", "path": str(tmp_path / "stock.db")}, [shelf.view(tmp_path, FIELDS)])
    with pytest.raises(PackedError, match="SqliteOnlineStore, not PackedOnlineStore"):
        PackedReader(other, ["things:price"])


def test_two_services_of_one_store_are_read_side_by_side(make: Make) -> None:
    """A model of the old features and one of the new, at once."""
    store = make()
    _push(store)
    old, new = (PackedReader(store, [f"things:{name}" for name in names]) for names in (["price"], ["price", "clicks"]))
    assert old.fingerprint != new.fingerprint
    assert set(old.read({"thing_id": ["a"]}).values) == {"price"} and new.read({"thing_id": ["a"]}).values["clicks"].tolist() == [1]


def test_what_a_value_can_not_be_is_said(make: Make) -> None:
    store = make({"m": Map})
    key = EntityKey(join_keys=["thing_id"], entity_values=[Value(string_val="a")])
    view = store.get_feature_view("things")
    _packed(store).online_write_batch(store.config, view, [(key, {"m": Value()}, NOON, None)], None)
    assert shelf.answer(store, ["a"], ["m"])["m"] == [None]
    typed = make(FIELDS, folder="typed").get_feature_view("things")
    with pytest.raises(PackedError, match="'clicks' is declared INT64 and was given string_val"):
        _packed(store).online_write_batch(store.config, typed, [(key, {"clicks": Value(string_val="1")}, NOON, None)], None)


def test_keys_are_feasts_own(make: Make) -> None:
    store = make()
    part = PackedReader(store, ["things:price"]).parts[0]
    expected = serialize_entity_key(EntityKey(join_keys=["thing_id"], entity_values=[Value(string_val="Größe")]), 3)
    assert part.keys([["Größe"]]) == [expected]
