"""The table in the process says what the store says, after every change, alone or shared between processes."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureStore
from feast.protos.feast.types.Value_pb2 import Value

from feature_repo.packed import table as module
from feature_repo.packed.errors import PackedError
from feature_repo.packed.filling import Filling
from feature_repo.packed.index import Coded, IdIndex
from feature_repo.packed.reader import Answer, PackedReader
from feature_repo.packed.store import PackedOnlineStore
from feature_repo.packed.table import EntityTable
from tests.feature_repo.packed import shelf
from tests.feature_repo.packed.shelf import NOON, TYPES

NUMBERS = ("float32", "float64", "int32", "int64", "flag", "moment", "text", "decimal", "vector")
Open = Callable[[], EntityTable]


def _rows(count: int, seed: int) -> pa.Table:
    found = shelf.every_type(count, seed=seed)
    random = np.random.default_rng(seed)
    return found.append_column("vector", pa.array([None if each % 7 == 3 else random.random(4).tolist() for each in range(count)]))


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.needs("redis"))])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FeatureStore]:
    options: dict[str, Any] = {"type": shelf.PACKED}
    options |= {"redis": request.getfixturevalue("redis_url")} if request.param == "redis" else {"path": "online.db"}
    fields = TYPES | {"vector": TYPES["floats32"]}
    views = [
        shelf.view(tmp_path, {name: fields[name] for name in NUMBERS}, "things"),
        shelf.view(tmp_path, {"clicks": TYPES["int64"], "words": TYPES["text"]}, "acts", ttl=timedelta(hours=1)),
    ]
    found = shelf.applied(tmp_path, options, views, project=f"p{abs(hash(request.node.name))}")
    _packed(found).clock = lambda: NOON
    shelf.write(tmp_path, _rows(300, 1))
    shelf.write(tmp_path, _acts(range(100, 320)), "acts")
    shelf.materialised(found)
    yield found
    _packed(found).rows(found.config).clear()


def _acts(numbers: range) -> pa.Table:
    times = pa.array([NOON - timedelta(minutes=each % 90) for each in numbers], pa.timestamp("us", "UTC"))
    columns = {"thing_id": [f"t{each}" for each in numbers], "event_timestamp": times, "created_timestamp": times}
    return pa.table(columns | {"clicks": [2**53 + each for each in numbers], "words": [f"w{each % 5}" for each in numbers]})


def _packed(store: FeatureStore) -> PackedOnlineStore:
    found = store._get_provider().online_store
    assert isinstance(found, PackedOnlineStore)
    return found


def _reader(store: FeatureStore) -> PackedReader:
    return PackedReader(store, store.get_feature_service("all"))


def _same(table: EntityTable, reader: PackedReader) -> None:
    """The table against a read of the store."""
    ids = table.ids.tolist()
    values, missing = table.gather(np.arange(len(ids)))
    expected: Answer = reader.read({"thing_id": ids})
    for name, want in expected.values.items():
        np.testing.assert_array_equal(missing[name], expected.missing[name], err_msg=name)
        np.testing.assert_array_equal(table.gone(name, np.arange(len(ids))), expected.missing[name], err_msg=name)
        if name == "vector":
            assert values[name].dtype == np.float32
            for have, each, gone in zip(values[name], want, missing[name], strict=True):
                assert gone or have.tolist() == each.tolist()
        else:
            np.testing.assert_array_equal(values[name], want, err_msg=name)
            assert values[name].dtype == want.dtype, name
    assert table.index.rows(ids).tolist() == list(range(len(ids))) and table.index.get("nobody") is None


def _push(store: FeatureStore, things: list[str], minute: int, seed: int = 0) -> None:
    """New values of some things: in both views, or (odd minutes) in one."""
    moment = NOON + timedelta(minutes=minute)
    frame = pa.Table.from_pylist(_rows(len(things) + 2, seed + 50).slice(2).to_pylist())
    kept = frame.select(list(NUMBERS)).append_column("thing_id", pa.array(things))
    times = pa.array([moment] * len(things), pa.timestamp("us", "UTC"))
    kept = kept.append_column("event_timestamp", times).append_column("created_timestamp", times)
    _packed(store).write_table(store.config, store.get_feature_view("things"), kept)
    if minute % 2 == 0:
        acts = pd.DataFrame({"thing_id": things, "event_timestamp": moment, "created_timestamp": moment, "clicks": seed, "words": "new"})
        store.push("acts_push", acts)


def test_a_table_says_what_the_store_says(store: FeatureStore) -> None:
    reader = _reader(store)
    table = EntityTable.load(reader)
    assert len(table.ids) == 320 and table.ids.tolist() == sorted(table.ids.tolist())
    _same(table, reader)
    big = table.column("clicks", table.index.rows(["t150"]))
    assert big.dtype == np.int64 and big[0] == 2**53 + 150
    assert table.refreshed() is table


@pytest.mark.parametrize("way", ["alone", "shared"])
def test_what_changed_is_what_a_full_load_finds(store: FeatureStore, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows changed, rows added, rows refused, in random order; the table that was there before never moves."""
    reader, folder = _reader(store), tmp_path / "shared"
    table = EntityTable.load(reader) if way == "alone" else EntityTable.shared(reader, folder)
    first = {name: np.array(values, copy=True) for name, values in table.gather(np.arange(300))[0].items()}
    held, read = table, []
    monkeypatch.setattr(type(reader.rows), "scan", lambda *_: read.append(1) or iter([]))
    random = np.random.default_rng(0)
    for minute in range(1, 7):
        things = [f"t{each}" for each in random.choice(330, 5, replace=False)] + ([f"new{minute}"] if minute > 3 else [])
        _push(store, things, minute, seed=minute)
        _push(store, things[:2], -90, seed=99)  # older than what is there
        _packed(store).clock = lambda at=NOON + timedelta(minutes=7 * minute): at
        table = table.refreshed()
        _same(table, reader)
    assert not read  # nothing but the changes
    monkeypatch.undo()
    again = EntityTable.load(reader)
    order = again.index.rows(table.ids)
    for name, values in table.gather(np.arange(len(order)))[0].items():
        np.testing.assert_array_equal(values, again.gather(order)[0][name], err_msg=name)
    _packed(store).clock = lambda: NOON
    for name, values in held.gather(np.arange(300))[0].items():
        np.testing.assert_array_equal(values, first[name], err_msg=name)


def test_a_second_process_maps_the_files_of_the_first(store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "shared"
    one = EntityTable.shared(_reader(store), folder)
    monkeypatch.setattr(EntityTable, "load", None)
    two = EntityTable.shared(_reader(store), folder)
    assert one.base and two.base and one.base.token == two.base.token
    _push(store, ["t5", "t6"], 2)
    one, before = one.refreshed(), two
    assert one.base and one.base.token == two.base.token and one.base.changed.tolist() == one.index.rows(["t5", "t6"]).tolist()
    _same(one, one.reader)
    assert before.column("words", before.index.rows(["t5"]))[0] is None  # the other process has not looked yet
    _same(two.refreshed(), two.reader)
    monkeypatch.setattr(module, "_REBASE", 10**6)
    three = one.refreshed()
    _push(store, ["t7"], 2)
    three = three.refreshed()
    assert three.base and three.base.token != one.base.token  # so much had changed that the files were written anew
    two = two.refreshed()
    assert two.base and two.base.token == three.base.token
    _same(two, two.reader)
    assert [path.name for path in folder.glob("*/*") if path.is_dir()] == [three.base.token]


def test_of_two_processes_that_take_in_new_things_one_writes_the_files(store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower one goes on from the files of the faster, with what came in between."""
    one, two = (EntityTable.shared(_reader(store), tmp_path) for _ in range(2))
    _push(store, ["new", "t3"], 2)
    faster, copy = [], Filling.copy

    def first(*given: Any) -> Filling:
        if not faster:
            faster.append(None)
            faster[0] = two.refreshed()
            _push(store, ["t4"], 3)
        return copy(*given)

    monkeypatch.setattr(Filling, "copy", first)
    one = one.refreshed()
    assert one.base and faster[0].base and one.base.token == faster[0].base.token and len(one.ids) == 321
    _same(one, one.reader)


def test_tables_of_two_versions_lie_side_by_side_in_one_folder(store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of the old features and one of the new, at once: neither reads nor replaces the other's files."""
    versions = [["things:float32"], ["things:float32", "things:int64", "acts:clicks"]]
    readers = [PackedReader(store, names) for names in versions]
    old, new = (EntityTable.shared(reader, tmp_path) for reader in readers)
    monkeypatch.setattr(EntityTable, "load", None)
    for reader, had in zip(readers, (old, new), strict=True):
        again = EntityTable.shared(reader, tmp_path)
        assert again.base and had.base and again.base.token == had.base.token and again.fingerprint == had.fingerprint
    _push(store, ["t5", "new"], 2)
    for table in (old, new):
        _same(table.refreshed(), table.reader)


@pytest.mark.parametrize("way", ["alone", "shared"])
def test_what_has_outlived_its_time_to_live_is_taken_out_of_every_column(store: FeatureStore, tmp_path: Path, way: str) -> None:
    reader = _reader(store)
    floats = ["float32", "clicks"]
    table = EntityTable.load(reader, floats) if way == "alone" else EntityTable.shared(reader, tmp_path, floats)
    held = table.floats.copy()
    found = table.expired(NOON)
    rows = found.index.rows([f"t{each}" for each in range(100, 320)])
    old = np.array([each % 90 > 60 for each in range(100, 320)])
    assert old.sum() == found.gone("clicks", rows, NOON - timedelta(days=1)).sum() > 0
    assert np.isnan(found.floats[rows[old], 1]).all() and not np.isnan(found.floats[rows[~old], 1]).any()
    np.testing.assert_array_equal(found.floats[:, 0], held[:, 0])
    np.testing.assert_array_equal(table.floats, held)
    assert found.expired(NOON) is found
    _same(found, reader)
    _push(store, ["t170"], 2)  # it was dead and comes to life again
    again = found.refreshed().expired(NOON)
    assert again.column("words", again.index.rows(["t170"]))[0] == "new" and again.floats[again.index["t170"], 1] == 0
    _same(again, reader)


def test_real_processes_share_one_base(store: FeatureStore, tmp_path: Path) -> None:
    """Three at once in an empty folder: one writes, all read the same."""
    code = """
import sys; from pathlib import Path; import numpy as np; from feast import FeatureStore
from feature_repo.packed.reader import PackedReader; from feature_repo.packed.table import EntityTable; from tests.feature_repo.packed import shelf
folder, options = Path(sys.argv[1]), eval(sys.argv[2])
store = FeatureStore(config=shelf.config(folder, options, project=sys.argv[3]))
table = EntityTable.shared(PackedReader(store, store.get_feature_service("all")), folder / "shared")
print(table.base.token, len(table.ids), float(np.nansum(table.column("float64", np.arange(len(table.ids))))))
"""
    options = store.config.online_store.model_dump(exclude_defaults=True) | {"type": shelf.PACKED}
    command = [sys.executable, "-c", code, str(tmp_path), repr(options), store.project]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) for _ in range(3)]
    said = {process.communicate(timeout=120)[0] for process in running}
    assert len(said) == 1 and " 320 " in said.pop()


def test_an_entity_whose_rows_are_gone_or_of_another_schema_is_missing(store: FeatureStore) -> None:
    reader = _reader(store)
    rows, table = reader.rows, EntityTable.load(reader)
    part = reader.parts[0]
    rows.write(part.name, part.keys([["t9"]]), [reader.parts[1].layout.pack({"clicks": Value(int64_val=1)}, NOON + timedelta(days=1), None)])
    found = table.refreshed()
    assert found.gone("float64", found.index.rows(["t9"]))[0]
    _same(found, reader)
    rows.drop(part.name)
    rows.declare(part.name)
    _same(found.refreshed(), reader)
    assert len(found.refreshed().ids) == 220


def test_lists_of_several_lengths_are_python_values(store: FeatureStore) -> None:
    reader = _reader(store)
    table = EntityTable.load(reader)
    assert table.columns.vectors["vector"].shape == (320, 4)
    view = store.get_feature_view("things")
    row = _rows(4, 9).slice(3).select(["event_timestamp", "created_timestamp", *NUMBERS])
    longer = row.set_column(row.column_names.index("vector"), "vector", pa.array([[1.0, 2.0]])).append_column("thing_id", pa.array(["t1"]))
    longer = longer.set_column(0, "event_timestamp", pa.array([NOON + timedelta(days=1)], pa.timestamp("us", "UTC")))
    _packed(store).write_table(store.config, view, longer)
    found = table.refreshed()
    assert found.columns.objects["vector"][found.index.rows(["t1"])[0]].tolist() == [1.0, 2.0]
    assert (
        found.columns.objects["vector"][found.index.rows(["t2"])[0]].tolist() == table.columns.vectors["vector"][table.index.rows(["t2"])[0]].tolist()
    )


def test_floats_hold_wider_numbers_too_and_the_exact_ones_stay(store: FeatureStore) -> None:
    table = EntityTable.load(_reader(store), floats=["int64", "float32", "clicks"])
    rows = np.arange(len(table.ids))
    assert table.floats.shape == (320, 3) and table.shape.floats == ("int64", "float32", "clicks")
    gone = table.gone("int64", rows)
    assert np.isnan(table.floats[gone, 0]).all() and (table.floats[~gone, 0] == table.column("int64", rows)[~gone].astype(np.float32)).all()
    assert table.column("clicks", rows).dtype == np.int64
    with pytest.raises(PackedError, match="No numbers of these views: text"):
        EntityTable.load(_reader(store), floats=["text"])


def test_a_model_of_other_features_is_refused_by_name(store: FeatureStore) -> None:
    old = EntityTable.load(PackedReader(store, ["things:float32"]))
    new = EntityTable.load(PackedReader(store, ["things:float32", "things:int64"]))
    new.require(new.fingerprint, "The ranker")
    says = f"The ranker was trained on features {old.fingerprint}, this table holds {new.fingerprint}.*train it again"
    with pytest.raises(PackedError, match=says):
        new.require(old.fingerprint, "The ranker")


def test_an_index_finds_every_id_and_no_other() -> None:
    names = np.array([f"p{number}" for number in range(5_000)], object)
    index = IdIndex(names[:3_000])
    assert index.rows(names).tolist() == [*range(3_000), *[-1] * 2_000]
    grown = index.extended(names[:3_100]).extended(names)
    assert grown.rows(names).tolist() == list(range(5_000)) and grown["p7"] == 7 and "x" not in grown and len(grown) == 5_000
    with pytest.raises(KeyError, match="nobody"):
        grown["nobody"]
    assert IdIndex(np.zeros(0, object)).get("a", -1) == -1


def test_a_coded_column_behaves_as_the_texts_it_stands_for() -> None:
    words = ["a", None, "b", "a"]
    column = Coded(np.array([0, -1, 1, 0], np.int32), np.array(["a", "b"], object))
    assert list(column) == words and column[1] is None and column[2] == "b" and column[np.array([3, 1])].tolist() == ["a", None]
    assert pd.DataFrame({"w": np.asarray(column)})["w"].tolist() == words and (column == "a").tolist() == [True, False, False, True]
