"""The decision journal: what was decided for whom, on which values, by which models.

A decision is one answered request. It is written as one line of JSON into a segment file; docs/journal.md shows one. The request
thread only puts it on a queue: a writer thread appends what has gathered every `flush_s` and calls fsync. A process that is killed
(kill -9) loses at most the decisions of its last `flush_s` seconds and of the write then under way; what a reader finds is always
the beginning of what one writer recorded, without gaps, but for decisions that were dropped and counted: the disk could not keep up, or a
value of theirs has no form in JSON.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import orjson

from feature_repo.errors import FeatureRepoError

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 2
"""Version of the lines in a segment; its first line names it. Raise it together with a branch in `_decision`.

1 had no `inclusion` and `rule` of items and no `kept_off` and `rules` of decisions.
"""

Kind = Literal["recommendations", "content", "feed", "email"]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reason:
    """Why an item was shown: a code that stays the same and the sentence a shopper may read."""

    code: str
    text: str
    text_zh: str = ""


@dataclass(frozen=True)
class Item:
    """One product that was shown (`rank` from 1) or, sampled, one candidate that was not (`rank` 0).

    `features` are in the order of `Decision.feature_names`; NaN where missing. `propensity`: probability that the policy puts this product
    at this rank; 1 for a deterministic policy, 0 for what it did not show. `inclusion`: probability that it puts it anywhere on this shelf, for what
    was not shown too. `rule`: what gave it its place (score, fill, exploration), or what kept it off ("" for nothing but a low score).
    """

    product_id: str
    rank: int
    score: float
    returned: bool
    propensity: float
    features: Sequence[float] = ()
    category: str | None = None
    price: float | None = None
    reasons: tuple[Reason, ...] = ()
    inclusion: float = 0.0
    rule: str = ""


@dataclass(frozen=True)
class Content:
    """One text that was written: `text`, or `subject` and `body` for an e-mail."""

    product_id: str
    channel: str
    language: str
    tone: str | None
    aspects: tuple[str, ...]
    text: str | None
    subject: str | None
    body: str | None
    backend: str
    facts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """One answered request. `at` is the shop's time (aware, UTC); `user_id` is a pseudonym; no address or shop id belongs in here.

    `sample_share`: share of the candidates not shown whose values were kept as items with rank 0. `rules`: settings that the shelf was made by, with
    the request's own bounds. `kept_off`: rule -> candidates that it kept off the shelf.
    """

    request_id: str
    at: datetime
    kind: Kind
    surface: str
    user_id: str
    n: int
    models: Mapping[str, str]
    user_features: Mapping[str, Any] = field(default_factory=dict)
    product_matrix_version: str = ""
    candidate_ids: Sequence[str] = ()
    feature_names: tuple[str, ...] = ()
    policy: str = "default"
    degraded: tuple[str, ...] = ()
    latency_ms: float = 0.0
    arm: str | None = None
    sample_share: float = 0.0
    items: tuple[Item, ...] = ()
    contents: tuple[Content, ...] = ()
    rules: Mapping[str, Any] = field(default_factory=dict)
    kept_off: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class JournalLimits:
    """How the writer works. Times in seconds, sizes in bytes; retention is by the age of a segment's last write."""

    flush_s: float = 0.2
    batch: int = 256
    max_pending: int = 20_000
    segment_bytes: int = 64 * 2**20
    segment_age_s: float = 3600.0
    retention: timedelta = timedelta(days=90)


@dataclass(frozen=True)
class JournalFrames:
    """What `read` found. Grain: one row per decision, per item (an impression is one row) and per text. `torn`: unreadable last lines."""

    decisions: "pd.DataFrame"
    items: "pd.DataFrame"
    contents: "pd.DataFrame"
    torn: int


class Journal:
    """Appends decisions to segments in `folder`. Several processes may write to one folder; each has segments of its own.

    Nothing is made or deleted before the first decision: whoever only composes, as a campaign's dry run does, leaves the folder as it is.

    `written`: decisions handed to the operating system and fsynced. `dropped`: decisions not kept, since `max_pending` waited already or since
    they can't be written as JSON.
    """

    def __init__(self, folder: Path, limits: JournalLimits | None = None, wall: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.limits = limits or JournalLimits()
        self.written = 0
        self.dropped = 0
        self.slowest_write_s = 0.0
        self._wall = wall
        self._waiting: deque[Decision] = deque()
        self._counting = threading.Lock()
        self._wake = threading.Event()
        self._empty = threading.Condition()
        self._closing = False
        self._segment: _Segment | None = None
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def record(self, decision: Decision) -> None:
        """Keep `decision`. Never blocks and never fails: where the disk is too slow it is dropped, counted and logged."""
        if len(self._waiting) >= self.limits.max_pending:
            dropped = self._drop()
            if dropped == 1 or dropped % 1000 == 0:
                log.error("The journal can't keep up: %d decisions were not kept.", dropped)
            return
        self._waiting.append(decision)
        if len(self._waiting) >= self.limits.batch:
            self._wake.set()

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until everything recorded so far is on disk; False if that took longer than `timeout_s`."""
        with self._empty:
            self._wake.set()
            return self._empty.wait_for(lambda: not self._waiting, timeout_s)

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout=30)

    def _drop(self) -> int:
        with self._counting:
            self.dropped += 1
            return self.dropped

    def _run(self) -> None:
        while True:
            self._wake.wait(self.limits.flush_s)
            self._wake.clear()
            closing = self._closing
            try:
                self._write_waiting()
            except OSError as error:
                log.error("The journal can't be written (%s): free some space in %s.", error, self.folder)
                self._segment = None
            with self._empty:
                self._empty.notify_all()
            if closing and (not self._waiting or self._segment is None):
                break
        if self._segment:
            self._segment.close()

    def _write_waiting(self) -> None:
        while self._waiting:
            # Decisions leave the queue only when they are on disk: a full disk loses none that `max_pending` has room for.
            batch = [self._waiting[i] for i in range(min(self.limits.batch, len(self._waiting)))]
            began = time.monotonic()
            segment = self._current()
            refused = segment.append(batch)
            self.slowest_write_s = max(self.slowest_write_s, time.monotonic() - began)
            self.written += len(batch) - len(refused)
            for _ in batch:
                self._waiting.popleft()
            for decision, reason in refused:
                self._drop()
                log.error("Decision %s was not kept, a value of it can't be written (%s).", decision.request_id, reason)

    def _current(self) -> "_Segment":
        segment, now = self._segment, self._wall()
        if segment and (segment.size >= self.limits.segment_bytes or now - segment.opened_at >= self.limits.segment_age_s):
            segment.close()
            segment = None
        if segment is None:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._expire()
            segment = self._segment = _Segment(self.folder, now)
        return segment

    def _expire(self) -> None:
        oldest = self._wall() - self.limits.retention.total_seconds()
        for file in segments(self.folder):
            if file.stat().st_mtime < oldest:
                file.unlink(missing_ok=True)
                log.info("Journal segment %s is older than %s and was deleted.", file.name, self.limits.retention)


class _Segment:
    """One file being written. Names of features are written once per segment, decisions refer to them by number."""

    def __init__(self, folder: Path, opened_at: float) -> None:
        self.opened_at = opened_at
        stamp = datetime.fromtimestamp(opened_at, UTC).strftime("%Y%m%dT%H%M%S%f")
        self._file: BinaryIO = (folder / f"{stamp}-{os.getpid()}.jsonl").open("xb", buffering=0)
        self._names: dict[tuple[str, ...], int] = {}
        header = _dump({"journal": SCHEMA_VERSION, "opened_at": datetime.fromtimestamp(opened_at, UTC)})
        self.size = len(header)
        self._write(header)

    def append(self, decisions: Sequence[Decision]) -> list[tuple[Decision, str]]:
        """Write all that can be written; returns the others, each with what is wrong with it."""
        lines: list[bytes] = []
        refused = []
        for decision in decisions:
            try:
                lines += self._lines(decision)
            except TypeError as error:  # orjson's own errors are among these
                refused.append((decision, str(error)))
        block = b"".join(lines)
        self._write(block)
        os.fsync(self._file.fileno())
        self.size += len(block)
        return refused

    def _lines(self, decision: Decision) -> list[bytes]:
        number = self._names.get(decision.feature_names, len(self._names))
        line = _line(decision, number)
        if decision.feature_names in self._names:
            return [line]
        named = _dump({"names": number, "values": decision.feature_names})
        self._names[decision.feature_names] = number
        return [named, line]

    def close(self) -> None:
        self._file.close()

    def _write(self, block: bytes) -> None:
        view = memoryview(block)
        while view:  # an unbuffered write may take only a part
            view = view[self._file.write(view) :]


def segments(folder: Path) -> list[Path]:
    """The journal's files, oldest first."""
    return sorted(folder.glob("*.jsonl"))


def read(folder: Path, since: datetime | None = None, until: datetime | None = None) -> JournalFrames:
    """Decisions with `since <= at < until` (shop time), oldest first, as three frames; empty frames if there are none.

    A line that a killed process left unfinished is skipped and counted. A decision that stands in two segments counts once.

    Raises:
        FeatureRepoError: a segment was written by a newer program, or is damaged other than at its end.
    """
    decisions, torn = _read_decisions(folder, since, until)
    return _frames(decisions, torn)


def decisions(folder: Path, since: datetime | None = None, until: datetime | None = None) -> Iterator[Decision]:
    """The same as records, one by one."""
    yield from _read_decisions(folder, since, until)[0]


def _read_decisions(folder: Path, since: datetime | None, until: datetime | None) -> tuple[list[Decision], int]:
    found: dict[tuple[str, str, datetime], Decision] = {}
    torn = 0
    for file in segments(folder):
        names: dict[int, tuple[str, ...]] = {}
        for line, last in _lines(file):
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                if last:
                    torn += 1
                    continue
                raise FeatureRepoError(f"Journal segment {file} is damaged: move it away, the others can be read without it.") from error
            if "journal" in row:
                _check_version(file, row["journal"])
            elif "names" in row:
                names[row["names"]] = tuple(row["values"])
            else:
                decision = _decision(row, names)
                if (since is None or decision.at >= since) and (until is None or decision.at < until):
                    found[decision.request_id, decision.kind, decision.at] = decision  # a letter sent again keeps its request_id
    return sorted(found.values(), key=lambda each: each.at), torn


def _lines(file: Path) -> Iterator[tuple[bytes, bool]]:
    """A segment's lines, each with whether it may be torn, that is, is the last and has no line end."""
    with file.open("rb") as opened:
        for line in opened:
            yield line, not line.endswith(b"\n")


def _check_version(file: Path, version: int) -> None:
    if version > SCHEMA_VERSION:
        raise FeatureRepoError(
            f"Journal segment {file} has version {version}, this program knows {SCHEMA_VERSION}: update Storyshelf, or move it away."
        )


def _dump(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)


def _line(decision: Decision, names: int) -> bytes:
    """One line. Dataclasses are written by orjson as they are, numpy arrays as lists, NaN as null."""
    row = {name: getattr(decision, name) for name in Decision.__dataclass_fields__ if name != "feature_names"}
    return _dump(row | {"names_of": names})


def _decision(row: dict[str, Any], names: dict[int, tuple[str, ...]]) -> Decision:
    items = tuple(
        Item(
            **each
            | {
                "features": tuple(float("nan") if value is None else float(value) for value in each["features"]),
                "reasons": tuple(Reason(**reason) for reason in each["reasons"]),
                # Version 1 knew deterministic shelves only, on which a product stands for certain where it stands.
                "inclusion": each.get("inclusion", each["propensity"]),
            }
        )
        for each in row["items"]
    )
    contents = tuple(Content(**each | {"aspects": tuple(each["aspects"]), "facts": tuple(each["facts"])}) for each in row["contents"])
    own = {name: value for name, value in row.items() if name not in ("names_of", "items", "contents")}
    own |= {"at": datetime.fromisoformat(row["at"]), "degraded": tuple(row["degraded"])}
    return replace(Decision(**own), feature_names=names[row["names_of"]], items=items, contents=contents)


DECISION_COLUMNS = [
    "request_id",
    "at",
    "kind",
    "surface",
    "user_id",
    "n",
    "user_features",
    "product_matrix_version",
    "candidate_ids",
    "models",
    "policy",
    "degraded",
    "latency_ms",
    "arm",
    "sample_share",
    "rules",
    "kept_off",
]
ITEM_COLUMNS = [
    "request_id",
    "at",
    "user_id",
    "surface",
    "product_id",
    "rank",
    "score",
    "returned",
    "propensity",
    "features",
    "category",
    "price",
    "reasons",
    "inclusion",
    "rule",
]
CONTENT_COLUMNS = [
    "request_id",
    "at",
    "user_id",
    "product_id",
    "channel",
    "language",
    "tone",
    "aspects",
    "text",
    "subject",
    "body",
    "backend",
    "facts",
    "models",
]


def _frames(found: list[Decision], torn: int) -> JournalFrames:
    import pandas as pd  # the service imports this module for its writer and never loads pandas

    def frame(rows: list[dict[str, Any]], columns: list[str]) -> "pd.DataFrame":
        made = pd.DataFrame(rows, columns=columns)
        made["at"] = pd.to_datetime(made["at"], utc=True).astype("datetime64[us, UTC]")
        return made

    rows = [{name: getattr(each, name) for name in DECISION_COLUMNS} | {"degraded": list(each.degraded)} for each in found]
    items = [_item_row(each, item) for each in found for item in each.items]
    contents = [_content_row(each, content) for each in found for content in each.contents]
    return JournalFrames(frame(rows, DECISION_COLUMNS), frame(items, ITEM_COLUMNS), frame(contents, CONTENT_COLUMNS), torn)


def _item_row(decision: Decision, item: Item) -> dict[str, Any]:
    row = {name: getattr(item, name) for name in Item.__dataclass_fields__}
    row |= {name: getattr(decision, name) for name in ("request_id", "at", "user_id", "surface")}
    row["features"] = dict(zip(decision.feature_names, item.features, strict=False))
    row["reasons"] = [{"code": reason.code, "text": reason.text, "text_zh": reason.text_zh} for reason in item.reasons]
    return row


def _content_row(decision: Decision, content: Content) -> dict[str, Any]:
    row = {name: getattr(content, name) for name in Content.__dataclass_fields__}
    row |= {name: getattr(decision, name) for name in ("request_id", "at", "user_id")}
    return row | {"models": dict(decision.models), "aspects": list(content.aspects), "facts": list(content.facts)}
