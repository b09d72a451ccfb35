"""The outbox: committed intents, recovery, the lock, suppressions, its schema version."""

import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving.errors import ServingError
from serving.outbox import SCHEMA_VERSION, Campaign, Outbox

AUTUMN = Campaign("autumn", "email", "all", "", 3)


def filled(path: Path, users: int = 3) -> Outbox:
    outbox = Outbox(path)
    outbox.start(AUTUMN)
    outbox.enrol("autumn", [(f"u_{i}", f"<m{i}@shop.example>", f"r{i}") for i in range(users)])
    return outbox


def test_a_campaign_s_name_stands_for_one_thing(tmp_path: Path) -> None:
    outbox = filled(tmp_path / "outbox.db")
    assert outbox.start(AUTUMN) is False
    with pytest.raises(ServingError, match="take another --name"):
        outbox.start(Campaign("autumn", "email", "country:GB", "", 3))


def test_enrolling_again_changes_nothing_for_those_already_in(tmp_path: Path) -> None:
    outbox = filled(tmp_path / "outbox.db")
    first = outbox.next_queued("autumn")
    assert first
    outbox.sending(first)
    outbox.settle(first, "sent")
    assert outbox.enrol("autumn", [("u_0", "<m0@shop.example>", "r0"), ("u_9", "<m9@shop.example>", "r9")]) == 1
    assert outbox.counts("autumn") == {("sent", ""): 1, ("queued", ""): 3}


def test_an_intent_that_a_dead_process_left_becomes_unknown_and_stays_so(tmp_path: Path) -> None:
    outbox = filled(tmp_path / "outbox.db")
    first = outbox.next_queued("autumn")
    assert first
    outbox.sending(first)
    outbox.close()
    again = Outbox(tmp_path / "outbox.db")
    assert again.recover("autumn") == 1
    assert [each.message_id for each in again.unknown("autumn")] == ["<m0@shop.example>"]
    following = again.next_queued("autumn")
    assert following and following.user_id == "u_1"
    assert again.recover("autumn") == 0
    with pytest.raises(ServingError, match="not queued any more"):
        again.sending(first)


def test_what_a_dead_sender_left_is_listed_before_the_next_run_and_what_a_living_one_sends_is_not(tmp_path: Path) -> None:
    outbox = filled(tmp_path / "outbox.db", users=2)
    reader = Outbox(tmp_path / "outbox.db", read_only=True)
    with outbox.running("autumn"):
        for _ in range(2):
            delivery = outbox.next_queued("autumn")
            assert delivery
            outbox.sending(delivery)
        assert reader.unknown() == reader.unknown("autumn") == []
        with pytest.raises(ServingError, match="run by another process"):
            Outbox(tmp_path / "outbox.db").resolve("<m0@shop.example>", arrived=True)
    files = sorted(tmp_path.iterdir())
    assert [(each.message_id, each.status, each.reason) for each in reader.unknown("autumn")] == [
        ("<m0@shop.example>", "unknown", "interrupted"),
        ("<m1@shop.example>", "unknown", "interrupted"),
    ]
    assert reader.unknown("winter") == []
    assert sorted(tmp_path.iterdir()) == files
    assert outbox.counts("autumn") == {("sending", ""): 2}
    outbox.resolve("<m1@shop.example>", arrived=False)
    assert outbox.counts("autumn") == {("unknown", "interrupted"): 1, ("queued", "resolved by hand"): 1}


def test_a_look_at_what_is_unknown_stops_no_run(tmp_path: Path) -> None:
    outbox = filled(tmp_path / "outbox.db")
    with outbox.running("autumn"):
        pass
    look = outbox._abandoned("autumn")
    assert look.__enter__()
    threading.Timer(0.1, look.__exit__, (None, None, None)).start()
    with outbox.running("autumn"):
        pass


def test_a_person_resolves_what_is_unknown(tmp_path: Path) -> None:
    outbox = filled(tmp_path / "outbox.db", users=2)
    for _ in range(2):
        delivery = outbox.next_queued("autumn")
        assert delivery
        outbox.sending(delivery)
    outbox.recover("autumn")
    outbox.resolve("<m0@shop.example>", arrived=True)
    outbox.resolve("<m1@shop.example>", arrived=False)
    assert outbox.counts("autumn") == {("sent", "resolved by hand"): 1, ("queued", "resolved by hand"): 1}
    with pytest.raises(ServingError, match="--unknown"):
        outbox.resolve("<m1@shop.example>", arrived=True)


def test_what_was_postponed_comes_after_what_is_due(tmp_path: Path) -> None:
    outbox = filled(tmp_path / "outbox.db", users=2)
    first = outbox.next_queued("autumn")
    assert first
    outbox.sending(first)
    outbox.postpone(first, "451", not_before=5.0)
    second = outbox.next_queued("autumn")
    assert second and second.user_id == "u_1"
    outbox.settle(second, "sent")
    last = outbox.next_queued("autumn")
    assert last and (last.user_id, last.not_before, last.attempts) == ("u_0", 5.0, 1)


def test_a_campaign_runs_once_at_a_time_and_a_dead_process_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    hold = (
        "import sys; from pathlib import Path; from serving.outbox import Outbox\n"
        "with Outbox(Path(sys.argv[1])).running('autumn'):\n print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert process.stdout and process.stdout.readline() == b"held\n"
    outbox = Outbox(path)
    with pytest.raises(ServingError, match="run by another process"), outbox.running("autumn"):
        pass
    with outbox.running("winter"):
        pass
    process.kill()
    process.wait()
    with outbox.running("autumn"):
        pass


def test_the_latest_suppression_counts(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    late = datetime(2026, 1, 2, tzinfo=UTC)
    outbox.suppress("u_1", "email", "link", late)
    outbox.suppress("u_1", "email", "shop", late - timedelta(days=1))
    assert outbox.suppressed_at("u_1", "email") == late
    assert outbox.suppressed_at("u_1", "push") is None


def test_commits_are_durable(tmp_path: Path) -> None:
    outbox = filled(tmp_path / "outbox.db")
    assert outbox._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert outbox._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert (tmp_path / "outbox.db").stat().st_mode & 0o777 == 0o600


def test_a_newer_outbox_is_refused_with_the_cure(tmp_path: Path) -> None:
    filled(tmp_path / "outbox.db").close()
    with sqlite3.connect(tmp_path / "outbox.db") as db:
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(ServingError, match="update Storyshelf"):
        Outbox(tmp_path / "outbox.db")


def test_a_file_that_is_no_outbox_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"not a database" * 100)
    with pytest.raises(ServingError, match="not a readable outbox"):
        Outbox(tmp_path / "outbox.db")


def test_reading_only_makes_no_file(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", read_only=True)
    assert outbox.suppressed_at("u_1", "email") is None
    assert not (tmp_path / "outbox.db").exists()
    filled(tmp_path / "outbox.db").close()
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        Outbox(tmp_path / "outbox.db", read_only=True).suppress("u_1", "email", "link", datetime.now(UTC))
