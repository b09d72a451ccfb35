"""The log of posted events: each kept once, durable once acknowledged, several writers."""

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from feature_repo.errors import FeatureRepoError
from feature_repo.event_log import EventLog
from feature_repo.events import TABLES, Event, EventType

ROOT = Path(__file__).parents[2]
AT = datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)


def event(number: int, at: datetime = AT) -> Event:
    return Event(f"p-{number}", EventType.CLICK, "u_1", "007", at, at, position=number, context={"tone": "warm"})


def test_what_goes_in_comes_out_as_the_events_table(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.db")
    assert log.append([event(1), Event("p-2", EventType.UNSUBSCRIBE, "u_2", None, AT, AT)]) == ["p-1", "p-2"]
    frame = log.read()
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {column.name: column.pandas_dtype for column in TABLES["events"].columns}
    first = frame.iloc[0]
    assert (first["event_type"], first["position"], first["context"], first["event_time"]) == ("click", 1, '{"tone": "warm"}', AT)
    assert frame["product_id"].tolist() == ["007", None]


def test_an_event_sent_twice_is_kept_once_as_it_was(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.db")
    log.append([event(1)])
    assert log.append([event(1, AT + timedelta(days=1)), event(2), event(2)]) == ["p-2"]
    assert log.read()["event_time"].tolist() == [AT, AT]


def test_times_are_utc_whatever_their_zone(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.db")
    log.append([event(1, AT.astimezone(timezone(timedelta(hours=8))))])
    assert log.read()["event_time"].tolist() == [AT]
    with pytest.raises(ValueError, match="time zone"):
        log.append([event(2, AT.replace(tzinfo=None))])


def test_a_batch_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.db")
    with pytest.raises(ValueError, match="time zone"):
        log.append([event(1), event(2, AT.replace(tzinfo=None))])
    assert log.read().empty


def test_no_log_is_an_empty_table(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.db")
    assert log.read().equals(TABLES["events"].empty())
    assert not log.path.exists()


def test_a_newer_log_is_refused_with_the_cure(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.db")
    log.append([event(1)])
    connection = sqlite3.connect(log.path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    for use in (log.read, lambda: log.append([event(2)])):
        with pytest.raises(FeatureRepoError, match="update Storyshelf"):
            use()


def test_a_damaged_log_is_named(tmp_path: Path) -> None:
    (tmp_path / "events.db").write_bytes(b"not a database, by any means" * 100)
    with pytest.raises(FeatureRepoError, match=r"events\.db"):
        EventLog(tmp_path / "events.db").read()


def _append_many(path: Path, start: int) -> None:
    log = EventLog(path)
    for number in range(start, start + 25):
        log.append([event(number), event(number + 1)])


def test_several_processes_may_append(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_many, args=(path, start)) for start in (0, 10, 100)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert set(EventLog(path).read()["event_id"]) == {f"p-{number}" for number in [*range(36), *range(100, 126)]}


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    program = (
        "import sys; from datetime import UTC, datetime; from pathlib import Path\n"
        "from feature_repo.event_log import EventLog; from feature_repo.events import Event, EventType\n"
        "log, at = EventLog(Path(sys.argv[1])), datetime(2024, 5, 1, tzinfo=UTC)\n"
        "for number in range(10**6):\n"
        "    print(*log.append([Event(f'p-{number}', EventType.VIEW, None, 'x', at, at)]), flush=True)\n"
    )
    path = tmp_path / "events.db"
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline().strip() for _ in range(20)]
        os.kill(writer.pid, signal.SIGKILL)
    assert set(acknowledged) <= set(EventLog(path).read()["event_id"])
