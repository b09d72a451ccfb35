"""What every place of packed rows has to do; SQLite and a real Redis server are held to it."""

import random
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from feast.protos.feast.types.Value_pb2 import Value
from feast.value_type import ValueType

from feature_repo.benchmark.redis_server import redis_server
from feature_repo.packed.errors import PackedError
from feature_repo.packed.layout import Layout
from feature_repo.packed.redis_rows import RedisRows
from feature_repo.packed.rows import Rows
from feature_repo.packed.sqlite_rows import SqliteRows

LAYOUT = Layout.of([("n", "Int64", ValueType.INT64), ("t", "String", ValueType.STRING)])
OTHER = Layout.of([("n", "Float64", ValueType.DOUBLE)])
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
Open = Callable[[], Rows]


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.needs("redis"))])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same place again and again, as several processes would."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    name = f"rows-{request.node.name}"
    yield lambda: RedisRows(url, name) if url else SqliteRows(tmp_path / "online.db")
    (RedisRows(url, name) if url else SqliteRows(tmp_path / "online.db")).clear()


@pytest.fixture
def rows(opened: Open) -> Rows:
    found = opened()
    found.declare("v")
    return found


def row(number: int, at: datetime = NOON, created: datetime | None = None) -> bytes:
    return LAYOUT.pack({"n": Value(int64_val=number), "t": Value(string_val=f"text {number}")}, at, created)


def number(rows: Rows, key: bytes = b"k", view: str = "v") -> int | None:
    found = rows.read([(view, [key])])[0][0]
    return None if found is None else int(LAYOUT.unpack(found)["n"].int64_val)


def test_rows_are_read_in_the_order_of_the_keys_and_missing_ones_are_none(rows: Rows) -> None:
    keys = [f"k{each}".encode() for each in range(1_500)]
    rows.write("v", keys, [row(each) for each in range(1_500)])
    asked = [keys[7], b"nobody", keys[1_400], keys[7]]
    first, second, third = rows.read([("v", asked), ("never declared", [b"k"]), ("v", [])])
    assert [None if each is None else LAYOUT.unpack(each)["n"].int64_val for each in first] == [7, None, 1_400, 7]
    assert (second, third) == ([None], [])
    every = rows.read([("v", keys)])[0]
    assert [LAYOUT.unpack(each or b"")["t"].string_val for each in every] == [f"text {each}" for each in range(1_500)]


@pytest.mark.parametrize(
    ("then", "kept"),
    [
        ((timedelta(microseconds=-1), None), 1),
        ((timedelta(microseconds=1), None), 2),
        ((timedelta(0), None), 2),  # a correction of the same moment, written later
        ((timedelta(0), NOON), 2),
        ((timedelta(days=-40_000), NOON), 1),  # before 1970
    ],
)
def test_an_older_value_never_replaces_a_newer_one(rows: Rows, then: tuple[timedelta, datetime | None], kept: int) -> None:
    rows.write("v", [b"k"], [row(1)])
    rows.write("v", [b"k"], [row(2, NOON + then[0], then[1])])
    assert number(rows) == kept


def test_of_two_values_of_one_moment_the_one_created_later_holds(rows: Rows) -> None:
    hour = timedelta(hours=1)
    rows.write("v", [b"k"], [row(1, created=NOON + hour)])
    rows.write("v", [b"k"], [row(2, created=NOON)])
    assert number(rows) == 1
    rows.write("v", [b"k"], [row(3, created=NOON + hour)])
    assert number(rows) == 3
    rows.write("v", [b"k"], [row(4)])
    assert number(rows) == 4
    rows.write("v", [b"k", b"k", b"k"], [row(5, NOON + 2 * hour), row(7, NOON + 4 * hour), row(6, NOON + 3 * hour)])
    assert number(rows) == 7


def test_a_row_of_another_schema_is_replaced_whatever_its_time(rows: Rows) -> None:
    rows.write("v", [b"k"], [OTHER.pack({"n": Value(double_val=1)}, NOON, None)])
    rows.write("v", [b"k"], [row(2, NOON - timedelta(days=1))])
    assert number(rows) == 2


def test_writers_at_once_leave_the_newest_of_every_key(opened: Open) -> None:
    """Several threads with connections of their own write the same keys in another order each."""
    keys = [f"k{each}".encode() for each in range(40)]
    opened().declare("v")

    def write(seed: int) -> None:
        mine, order = opened(), random.Random(seed)
        moments = order.sample(range(1_000), 200)
        for moment in moments:
            some = order.sample(range(40), 20)
            mine.write("v", [keys[each] for each in some], [row(moment, NOON + timedelta(seconds=moment)) for _ in some])
            done[seed].update(dict.fromkeys(some, 0) | {each: max(moment, done[seed].get(each, -1)) for each in some})
        mine.close()

    done: list[dict[int, int]] = [{} for _ in range(4)]
    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = opened().read([("v", keys)])[0]
    newest = [max(each.get(key, -1) for each in done) for key in range(40)]
    assert [LAYOUT.unpack(each or b"")["n"].int64_val for each in found] == newest


def test_changes_are_the_keys_written_since(rows: Rows, opened: Open) -> None:
    start = rows.position("v")
    rows.write("v", [b"a", b"b"], [row(1), row(2)])
    first = rows.changes("v", start)
    assert sorted(first.keys or []) == [b"a", b"b"]
    assert rows.changes("v", first.upto).keys == []
    opened().write("v", [b"b", b"a"], [row(3, NOON + timedelta(1)), row(4, NOON - timedelta(1))])  # the second is refused
    assert rows.changes("v", first.upto).keys == [b"b"]
    assert rows.changes("v", rows.position("v")).keys == []


def test_whoever_stood_still_too_long_reads_everything(rows: Rows) -> None:
    rows.write("v", [b"a"], [row(1)])
    before = rows.position("v")
    assert rows.changes("v", before).keys == []
    rows.drop("v")
    rows.declare("v")
    rows.write("v", [b"a"], [row(1)])
    after = rows.changes("v", before)
    assert after.keys is None
    assert rows.changes("v", after.upto).keys == []
    assert rows.changes("v", "nowhere/7" if isinstance(rows, SqliteRows) else "7-7").keys is None


def test_a_scan_shows_every_row_once_and_a_dropped_view_is_gone(rows: Rows) -> None:
    keys = [f"k{each}".encode() for each in range(3_000)]
    rows.write("v", keys, [row(each) for each in range(3_000)])
    seen = [(key, LAYOUT.unpack(found)["n"].int64_val) for some, of in rows.scan("v", 500) for key, found in zip(some, of, strict=True)]
    assert sorted(seen) == sorted((key, each) for each, key in enumerate(keys))
    assert list(rows.scan("never declared")) == []
    rows.drop("v")
    assert number(rows) is None and list(rows.scan("v")) == []


def test_names_are_no_patterns_and_no_sql(rows: Rows) -> None:
    """`clear` of one namespace leaves the others alone."""
    rows.declare('a "view" [of]*')
    rows.write('a "view" [of]*', [b"k"], [row(1)])
    assert number(rows, view='a "view" [of]*') == 1
    if isinstance(rows, RedisRows):
        other = RedisRows(rows.url, "rows-x")
        other.write("v", [b"k"], [row(1)])
        RedisRows(rows.url, "rows-*").clear()
        assert number(other) == 1
        other.clear()
        assert number(other) is None


def test_a_file_of_the_old_format_says_what_to_run(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "online.db") as old:
        old.execute("create table views (view text primary key, features text)")
    with pytest.raises(PackedError, match=r"format 1.*make features"):
        SqliteRows(tmp_path / "online.db").read([("v", [b"k"])])


def test_a_read_makes_no_file_and_a_deleted_one_is_read_on(tmp_path: Path) -> None:
    """As when a build is forgotten that an older program still serves."""
    rows = SqliteRows(tmp_path / "build" / "online.db")
    assert number(rows) is None and list(rows.scan("v")) == [] and rows.changes("v", rows.position("v")).keys is None
    assert not (tmp_path / "build").exists()
    rows.declare("v")
    rows.write("v", [b"k"], [row(1)])
    before = rows.position("v")
    shutil.rmtree(tmp_path / "build")
    assert number(rows) == 1 and rows.changes("v", before).keys == [] and len(list(rows.scan("v"))) == 1
    assert not (tmp_path / "build").exists()
    rows.declare("v")
    rows.write("v", [b"k"], [row(2)])
    assert number(rows) == 2 and rows.changes("v", before).keys is None


def test_another_file_in_its_place_is_noticed(tmp_path: Path) -> None:
    """As a build does: a link is turned to another folder."""
    for name, value in (("a", 1), ("b", 2)):
        built = SqliteRows(tmp_path / name / "online.db", bulk=True)
        built.declare("v")
        built.write("v", [b"k"], [row(value)])
        built.settle()
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "a")
    reader = SqliteRows(link / "online.db")
    before = reader.position("v")
    assert number(reader) == 1
    link.unlink()
    link.symlink_to(tmp_path / "b")
    assert number(reader) == 2
    assert reader.changes("v", before).keys is None


@pytest.mark.needs("redis")
def test_a_redis_that_comes_back_is_read_on_and_one_that_does_not_is_named() -> None:
    """What a restart leaves of a thread's connection is not read as an answer."""
    with redis_server() as url:
        rows = RedisRows(url, "n")
        rows.write("v", [b"k"], [row(1)])
        assert number(rows) == 1
        rows._local.connection._sock.shutdown(2)  # as an idle time-out of the server or a proxy does
        assert number(rows) == 1
    for _ in range(2):
        with pytest.raises(PackedError, match=r"Redis does not answer at 127\.0\.0\.1:.*ConnectionError"):
            number(rows)
    for call in (lambda: rows.declare("v"), lambda: rows.write("v", [b"k"], [row(2)])):
        with pytest.raises(PackedError, match="Redis does not answer"):
            call()
