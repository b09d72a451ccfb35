"""Which row of a view each label sees, without a sort or a join of the view's rows.

The distinct (entity, time) pairs of the labels are sorted once. A row of the view is known from `max(event time, created time)` on: a binary
search finds the first pair of its entity at or after that moment, and of the rows that fall on one pair only the latest by (event time,
created time) is kept. Going through an entity's pairs in time with the latest of all so far gives, for each, the latest event among what was known
by then: a correction that arrived late is seen by later labels alone, and earlier ones see what it corrected. The view's rows pass by
in batches in whatever order they are stored, so memory grows with the labels and not with them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_repo.errors import FeatureRepoError
from feature_repo.parquet_rows import ParquetRows

Ints = NDArray[np.int64]
NEVER = np.iinfo(np.int64).min
"""Before all times. Stands for a missing one."""


@dataclass(frozen=True)
class View:
    """What is read of a feature view.

    `keys`: its columns and the labels' that name an entity; `columns`: its features and their names in the answer; `sees_late`: a row counts
    from its event on, even if it was created later.
    """

    name: str
    rows: ParquetRows
    time: str
    created: str | None
    sees_late: bool
    keys: dict[str, str]
    columns: dict[str, str]
    ttl: timedelta | None

    def seen(self, moments: "Moments", threads: int) -> Ints:
        """Number of the row that each label sees, int64[labels]; -1 for none.

        A label sees the latest event among the rows known by its time; ties go to what was created last. If that one is older than
        the time to live, so are all others.
        """
        times = [self.time] if self.created is None else [self.time, self.created]
        best = _Best(len(moments.at))

        def candidates(start: int, table: pa.Table) -> _Candidates:
            event, *created = (microseconds(table[name]) for name in times)
            version = created[0] if created else event
            bounds = [event] if self.sees_late else [event, version]
            known = np.where(np.minimum.reduce(bounds) == NEVER, _AFTER_ALL, np.maximum.reduce(bounds))
            rows, slots = moments.first_after([table[key] for key in self.keys], known)
            event, version, known = event[rows], version[rows], known[rows]
            return _Candidates.of(slots, event, version, rows + start, bool((known > event).any()))

        for found in _in_turn(candidates, self.rows.scan([*self.keys, *times]), threads):
            best.take(found)
        slot = best.until_then(moments.entity)
        row = np.where(slot >= 0, best.row[slot], -1)
        if self.ttl:
            row[best.event[slot] + self.ttl // timedelta(microseconds=1) < moments.at] = -1
        return moments.by_label(row)


_AFTER_ALL = np.iinfo(np.int64).max


class Moments:
    """Distinct (entity, time) pairs of the labels, sorted by both. `entity`, `at` (microseconds): int64[pairs]."""

    def __init__(self, keys: Sequence[pa.ChunkedArray], at: Ints) -> None:
        """
        Args:
            keys: the labels' join keys, in the types of the view's; none for a view without an entity. A label with a missing one sees nothing.
            at: the labels' times, microseconds; NEVER where missing.
        """
        self._values: list[pa.Array] = []
        self._pairs: list[Ints] = []
        code = np.zeros(len(at), np.int64)
        for number, key in enumerate(keys):
            self._values.append(pc.unique(key).drop_null())
            part = _places(key, self._values[-1])
            if number == 0:
                code = part
                continue
            both = self._both(code, part, number)
            self._pairs.append(np.unique(both[both >= 0]))
            code = _found(self._pairs[-1], both)
        here = np.flatnonzero((code >= 0) & (at != NEVER))
        code, time = code[here], at[here]
        self._from, self._to = (int(time.min()), int(time.max())) if len(time) else (0, 0)
        # Entity and time in one number if 63 bits hold them; if not, times that share what is left are told apart afterwards.
        self._bits = min((self._to - self._from).bit_length(), 63 - int(code.max(initial=0)).bit_length())
        self._shift = (self._to - self._from).bit_length() - self._bits
        packed = self._packed(code, time)
        order = np.lexsort((time, code)) if self._shift else np.argsort(packed)
        code, time, packed = code[order], time[order], packed[order]
        new = np.ones(len(code), bool)
        new[1:] = (code[1:] != code[:-1]) | (time[1:] != time[:-1])
        self._slot = np.full(len(at), -1)
        self._slot[here[order]] = np.cumsum(new) - 1
        self.entity, self.at, self._sorted = code[new], time[new], packed[new]

    def by_label(self, values: Ints) -> Ints:
        """What the labels see of the pairs' values, -1 where a key or the time is missing."""
        return np.where(self._slot >= 0, values[self._slot], -1) if len(values) else np.full(len(self._slot), -1)

    def first_after(self, keys: Sequence[pa.ChunkedArray], known: Ints) -> tuple[Ints, Ints]:
        """Rows that some label may see, and the first pair that does; pairs rise. Rows of other entities, or known after all labels, are left out."""
        code = np.zeros(len(known), np.int64) if len(self.at) else np.full(len(known), -1)
        for number, (key, values) in enumerate(zip(keys, self._values, strict=True)):
            part = _places(key, values)
            code = part if number == 0 else _found(self._pairs[number - 1], self._both(code, part, number))
        rows = np.flatnonzero((code >= 0) & (known <= self._to))
        code, known = code[rows], np.maximum(known[rows], self._from)
        wanted = self._packed(code, known)
        order = np.argsort(wanted)  # four times as fast as searching in any order
        rows, code, known = rows[order], code[order], known[order]
        slots = np.searchsorted(self._sorted, wanted[order])
        end = len(self.at)
        while self._shift:
            there = np.minimum(slots, end - 1)
            early = (slots < end) & (self.entity[there] == code) & (self.at[there] < known)
            if not early.any():
                break
            slots += early
        inside = (slots < end) & (self.entity[np.minimum(slots, end - 1)] == code) if end else np.zeros(0, bool)
        return rows[inside], slots[inside]

    def _both(self, code: Ints, part: Ints, number: int) -> Ints:
        return np.where((code < 0) | (part < 0), -1, code * len(self._values[number]) + part)

    def _packed(self, code: Ints, time: Ints) -> Ints:
        return (code << self._bits) | ((time - self._from) >> self._shift)


@dataclass(frozen=True)
class _Candidates:
    """The latest row of each pair in a batch; all int64[pairs that have one]. `late`: a row of the batch was created after its event."""

    slot: Ints
    event: Ints
    created: Ints
    row: Ints
    late: bool

    @classmethod
    def of(cls, slot: Ints, event: Ints, created: Ints, row: Ints, late: bool) -> "_Candidates":
        if not len(slot):
            return cls(slot, event, created, row, late)
        new = np.ones(len(slot), bool)
        new[1:] = slot[1:] != slot[:-1]
        first = np.flatnonzero(new)
        group = np.cumsum(new) - 1
        latest = np.maximum.reduceat(event, first)
        created = np.where(event == latest[group], created, NEVER)
        last = np.maximum.reduceat(created, first)
        row = np.where((event == latest[group]) & (created == last[group]), row, -1)
        return cls(slot[first], latest, last, np.maximum.reduceat(row, first), late)


class _Best:
    """The latest row that falls on each pair, of all batches so far. Of two that are equal in both times the later in the file."""

    def __init__(self, pairs: int) -> None:
        self.event, self.created, self.row = np.full(pairs, NEVER), np.full(pairs, NEVER), np.full(pairs, -1)
        self._late = False

    def take(self, found: _Candidates) -> None:
        event, created = self.event[found.slot], self.created[found.slot]
        better = (found.event > event) | ((found.event == event) & (found.created >= created))
        slot = found.slot[better]
        self.event[slot], self.created[slot], self.row[slot] = found.event[better], found.created[better], found.row[better]
        self._late |= found.late

    def until_then(self, entity: Ints) -> Ints:
        """For each pair, the pair on or before it of the same entity that has the latest row; -1 if none has any."""
        count = len(entity)
        # Where nothing came late, later pairs have later events.
        order = np.lexsort((self.row, self.created, self.event)) if self._late else np.arange(count)
        rank = np.empty(count, np.int64)
        rank[order] = np.arange(1, count + 1)
        below = entity * (count + 1)
        top = np.maximum.accumulate(np.where(self.row >= 0, rank, 0) + below) - below
        return np.where(top > 0, order[top - 1], -1) if count else order


def microseconds(times: pa.ChunkedArray) -> Ints:
    """Times of any unit as microseconds, NEVER where missing; without a zone they are UTC."""
    if not pa.types.is_timestamp(times.type):
        times = times.cast(pa.timestamp("us"))
    exact = times.cast(pa.timestamp("us", times.type.tz), safe=False).cast(pa.int64())
    found: Ints = exact.fill_null(NEVER).to_numpy()
    return found


def _places(key: pa.ChunkedArray, values: pa.Array) -> Ints:
    """Place of each value among `values`, -1 where it is not there."""
    plain = key.cast(values.type) if key.type != values.type else key
    found: Ints = pc.index_in(plain, value_set=values).fill_null(-1).to_numpy().astype(np.int64)
    return found


def _found(values: Ints, wanted: Ints) -> Ints:
    """Place of each number among rising ones, -1 where it is not there."""
    if not len(values):
        return np.full(len(wanted), -1)
    place = np.minimum(np.searchsorted(values, wanted), len(values) - 1)
    return np.where(values[place] == wanted, place, -1)


def _in_turn(work: Callable[[int, pa.Table], _Candidates], batches: Iterable[tuple[int, pa.Table]], threads: int) -> Iterator[_Candidates]:
    """What `work` makes of each batch, in order; no more batches are read than there are threads to work on them."""
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[_Candidates]] = deque()
        for start, table in batches:
            ahead.append(pool.submit(work, start, table))
            if len(ahead) > threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def key_column(labels: pa.Table, view: View, key: str, label: str) -> pa.ChunkedArray:
    """The labels' join key in the type of the view's.

    Raises:
        FeatureRepoError: the labels have no such column, or it holds what cannot be of that type.
    """
    if label not in labels.column_names:
        raise FeatureRepoError(f"View '{view.name}' is joined by '{label}', which the labels don't have: they have {', '.join(labels.column_names)}.")
    wanted = plain(view.rows.types[key])
    try:
        return labels[label].cast(wanted)
    except pa.ArrowInvalid as error:
        raise FeatureRepoError(f"The labels' '{label}' is {labels[label].type} and cannot be the {wanted} of view '{view.name}': {error}.") from error


def plain(kind: pa.DataType) -> pa.DataType:
    """The type in which Feast's DuckDB store answers a column of that type (a test compares)."""
    types = pa.types
    if types.is_dictionary(kind):
        return plain(kind.value_type)
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind) or types.is_fixed_size_binary(kind):
        return pa.binary()
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return pa.list_(plain(kind.value_type))
    if types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    if types.is_time(kind):
        return pa.time64("ns")
    return pa.float32() if types.is_float16(kind) else kind
