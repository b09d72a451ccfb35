"""The journal: what is recorded is read back, whatever happens to the process that wrote it."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from feature_repo import journal
from feature_repo.errors import FeatureRepoError
from feature_repo.journal import Content, Decision, Item, Journal, JournalLimits, Reason

AT = datetime(2024, 5, 4, 12, 30, 0, 123456, tzinfo=UTC)


def decision(number: int = 0) -> Decision:
    shown = Item(
        "00017", 1, 0.75, True, 1.0, np.array([0.1, np.nan, 3.0], np.float32), "Lamps", 49.9, (Reason("taste", "You like lamps", "你喜欢灯具"),),
        1.0, "score",
    )  # fmt: skip
    other = Item("00018", 0, -0.5, False, 0.0, np.array([0.2, 1.0, 4.0], np.float32), None, None, (), 0.04, "")
    text = Content("00017", "title", "en", "warm", ("design",), "A lamp", None, None, "embedded", ("material",))
    return Decision(
        f"r-{number}",
        AT + timedelta(seconds=number),
        "feed",
        "home",
        "u_1",
        10,
        {"ranker": "abc"},
        user_features={"user_views_7d": 3.0},
        product_matrix_version="m1",
        candidate_ids=["00017", "00018"],
        feature_names=("a", "b", "c"),
        degraded=("new_user",),
        sample_share=0.5,
        items=(shown, other),
        contents=(text,),
        rules={"diversity": "cap", "max_price": 20.0},
        kept_off={"stock": 3},
    )


def recorded(folder: Path, count: int, limits: JournalLimits | None = None) -> None:
    writer = Journal(folder, limits)
    for number in range(count):
        writer.record(decision(number))
    writer.close()


def test_what_is_recorded_is_read_back(tmp_path: Path) -> None:
    recorded(tmp_path, 2)
    found = list(journal.decisions(tmp_path))
    assert [each.request_id for each in found] == ["r-0", "r-1"]
    expected = decision(0)
    assert replace(found[0], items=(), candidate_ids=()) == replace(expected, items=(), candidate_ids=())
    assert found[0].items[0].reasons == expected.items[0].reasons
    np.testing.assert_array_equal(np.array(found[0].items[0].features, np.float32), expected.items[0].features)


def test_a_journal_of_the_first_version_is_read_as_what_it_was(tmp_path: Path) -> None:
    """It knew deterministic shelves only: what was shown was shown for certain, what was not could not have been."""
    recorded(tmp_path, 1)
    file = journal.segments(tmp_path)[0]
    header, names, line = (orjson.loads(each) for each in file.read_bytes().splitlines())
    assert header["journal"] == journal.SCHEMA_VERSION == 2
    for item in line["items"]:
        del item["inclusion"], item["rule"]
    del line["rules"], line["kept_off"]
    file.write_bytes(b"\n".join(orjson.dumps(each) for each in (header | {"journal": 1}, names, line)) + b"\n")
    found = next(journal.decisions(tmp_path))
    assert [(item.propensity, item.inclusion, item.rule) for item in found.items] == [(1.0, 1.0, ""), (0.0, 0.0, "")]
    assert (found.rules, found.kept_off) == ({}, {})
    assert journal.read(tmp_path).items["inclusion"].tolist() == [1.0, 0.0]


def test_frames_have_one_row_per_decision_item_and_text(tmp_path: Path) -> None:
    recorded(tmp_path, 3)
    frames = journal.read(tmp_path)
    assert list(frames.decisions["request_id"]) == ["r-0", "r-1", "r-2"]
    assert list(frames.items.columns) == journal.ITEM_COLUMNS
    assert list(frames.items["rank"]) == [1, 0] * 3
    assert frames.items["features"][0].keys() == {"a", "b", "c"}
    assert frames.contents["text"].tolist() == ["A lamp"] * 3
    assert str(frames.items["at"].dtype) == "datetime64[us, UTC]"


def test_a_window_takes_its_start_and_leaves_its_end(tmp_path: Path) -> None:
    recorded(tmp_path, 5)
    frames = journal.read(tmp_path, AT + timedelta(seconds=1), AT + timedelta(seconds=3))
    assert list(frames.decisions["request_id"]) == ["r-1", "r-2"]


def test_nothing_recorded_is_three_empty_frames(tmp_path: Path) -> None:
    frames = journal.read(tmp_path)
    assert (len(frames.decisions), len(frames.items), len(frames.contents), frames.torn) == (0, 0, 0, 0)
    assert list(frames.decisions.columns) == journal.DECISION_COLUMNS


def test_segments_turn_over_by_size(tmp_path: Path) -> None:
    recorded(tmp_path, 20, JournalLimits(batch=1, segment_bytes=2000))
    files = journal.segments(tmp_path)
    assert len(files) > 3
    assert all(orjson.loads(file.read_bytes().splitlines()[0])["journal"] == journal.SCHEMA_VERSION for file in files)
    assert len(journal.read(tmp_path).decisions) == 20


def test_segments_turn_over_by_age(tmp_path: Path) -> None:
    now = [1_700_000_000.0]
    writer = Journal(tmp_path, JournalLimits(segment_age_s=60), wall=lambda: now[0])
    for number in range(3):
        writer.record(decision(number))
        assert writer.flush()
        now[0] += 61
    writer.close()
    assert len(journal.segments(tmp_path)) == 3


def test_old_segments_are_deleted(tmp_path: Path) -> None:
    recorded(tmp_path, 1)
    old = journal.segments(tmp_path)[0]
    os.utime(old, (1_600_000_000, 1_600_000_000))
    recorded(tmp_path, 1)
    assert old not in journal.segments(tmp_path)
    assert len(journal.segments(tmp_path)) == 1


def test_a_journal_that_nothing_is_recorded_in_touches_nothing(tmp_path: Path) -> None:
    recorded(tmp_path / "old", 1)
    os.utime(journal.segments(tmp_path / "old")[0], (1_600_000_000, 1_600_000_000))
    recorded(tmp_path / "old", 0)
    recorded(tmp_path / "none", 0)
    assert len(journal.segments(tmp_path / "old")) == 1
    assert not (tmp_path / "none").exists()


def test_a_torn_last_line_is_skipped_and_counted(tmp_path: Path) -> None:
    recorded(tmp_path, 3)
    file = journal.segments(tmp_path)[0]
    file.write_bytes(file.read_bytes()[:-20])
    frames = journal.read(tmp_path)
    assert list(frames.decisions["request_id"]) == ["r-0", "r-1"]
    assert frames.torn == 1


def test_damage_elsewhere_is_an_error(tmp_path: Path) -> None:
    recorded(tmp_path, 3)
    file = journal.segments(tmp_path)[0]
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:2], lines[2][:40] + b"\n", *lines[3:]]))
    with pytest.raises(FeatureRepoError, match="damaged"):
        journal.read(tmp_path)


def test_a_newer_segment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "20990101T000000-1.jsonl").write_bytes(orjson.dumps({"journal": journal.SCHEMA_VERSION + 1}) + b"\n")
    with pytest.raises(FeatureRepoError, match="update Storyshelf"):
        journal.read(tmp_path)


def test_a_disk_that_fails_loses_nothing_that_waits(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    writer = Journal(folder, JournalLimits(flush_s=0.01))
    folder.write_text("in the way")
    writer.record(decision(0))
    assert not writer.flush(timeout_s=0.2)
    folder.unlink()
    folder.mkdir()
    assert writer.flush()
    writer.close()
    assert len(journal.read(folder).decisions) == 1


@pytest.mark.parametrize(
    "bad",
    [
        {"user_features": {"user_views_7d": {1, 2}}},
        {"surface": "\ud800"},
        {"candidate_ids": [2**70]},
        {"feature_names": ("a", "\ud800")},
        {"feature_names": ["not hashable"]},
    ],
)
def test_a_decision_that_can_t_be_written_costs_no_other(tmp_path: Path, bad: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """Guards against the writer thread ending, or a whole batch being lost, by one value."""
    writer = Journal(tmp_path, JournalLimits(flush_s=60))
    for each in (decision(0), replace(decision(1), **bad), decision(2)):
        writer.record(each)
    assert writer.flush()
    writer.record(decision(3))
    assert writer.flush()
    writer.close()
    assert [each.request_id for each in journal.decisions(tmp_path)] == ["r-0", "r-2", "r-3"]
    assert (writer.written, writer.dropped) == (3, 1)
    assert "Decision r-1 was not kept" in caplog.text


def test_a_full_queue_drops_and_counts(tmp_path: Path) -> None:
    writer = Journal(tmp_path, JournalLimits(flush_s=60, batch=1000, max_pending=5))
    for number in range(8):
        writer.record(decision(number))
    writer.close()
    assert writer.dropped == 3
    assert len(journal.read(tmp_path).decisions) == 5


WRITER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2]); sys.path.insert(0, sys.argv[3])
from feature_repo.journal import Journal, JournalLimits
from test_journal import decision
journal = Journal(Path(sys.argv[1]), JournalLimits(segment_bytes=200_000))
number = 0
while True:
    journal.record(decision(number))
    print(number, time.monotonic(), journal.written, journal.slowest_write_s, flush=True)
    number += 1
"""


def test_kill_9_loses_at_most_the_last_flush_and_write(tmp_path: Path) -> None:
    """The bound that docs/journal.md states, on the writer's own clock, and no gap before the end."""
    command = [sys.executable, "-c", WRITER, str(tmp_path), str(Path(__file__).parents[2]), str(Path(__file__).parent)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout
    said = []
    for line in child.stdout:
        said.append(line.split())
        if len(said) == 3000:
            child.send_signal(signal.SIGKILL)
            break
    said += [line.split() for line in child.stdout if line.endswith("\n") and len(line.split()) == 4]
    child.wait()
    kept = [each.request_id for each in journal.decisions(tmp_path)]
    assert kept == [f"r-{number}" for number in range(len(kept))]
    assert len(kept) >= int(said[-1][2]) > 0
    if len(kept) < len(said):
        lost_for = float(said[-1][1]) - float(said[len(kept)][1])
        assert lost_for <= JournalLimits().flush_s + 2 * float(said[-1][3]) + 1.0
