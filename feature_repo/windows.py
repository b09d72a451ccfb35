"""Windowed features: declared as data, executed by Ibis on DuckDB in batch.

A window is whole UTC buckets (hour or day) plus the current one. An event counts from the moment it was known until its bucket leaves the
window. So each event is two changes: `+v` when it is known, `-v` when it leaves; the value at a moment is the running sum of the changes so far.
That makes one row per entity and moment of change, and a point-in-time join finds the value that was known then, late events and expiries
included. Sums run over integers (1/10,000 of a unit): a window that empties is exactly 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import ibis

Measure = Literal["count", "sum", "mean", "first", "last", "days", "distinct"]
Entity = Literal["user_id", "product_id"]

UNIT = 10_000
"""Sums run over integers of 1/10,000 of a unit."""
_US = 1_000_000
_DAY = 86_400 * _US
_BUCKETS = {"hour": 3_600 * _US, "day": _DAY}


@dataclass(frozen=True)
class Windowed:
    """One windowed feature; window None means ever.

    `column` names a number of the events for sum and mean, any column for distinct; `where` keeps events whose column has that value; `days`
    counts distinct UTC days; `first` and `last` are unix seconds of event times (only ever). Before any event: counts and sums are 0, the
    others missing.
    """

    name: str
    entity: Entity
    event_types: tuple[str, ...]
    measure: Measure
    window: timedelta | None
    description: str
    bucket: Literal["hour", "day"] = "day"
    column: str = ""
    where: tuple[str, str] | None = None

    def tags(self) -> dict[str, str]:
        """The declaration as Feast field tags."""
        window = "ever" if self.window is None else f"{self.window.days}d"
        found = {"measure": self.measure, "events": ",".join(self.event_types), "window": window, "bucket": self.bucket}
        if self.column:
            found["column"] = self.column
        if self.where:
            found["where"] = "=".join(self.where)
        return found


@dataclass(frozen=True)
class Ratio:
    """One windowed feature over another; missing where the lower one is 0."""

    name: str
    over: str
    under: str
    description: str

    def tags(self) -> dict[str, str]:
        """The declaration as Feast field tags."""
        return {"measure": "ratio", "over": self.over, "under": self.under}


Declared = Windowed | Ratio


@dataclass(frozen=True)
class _Change:
    """A column of running changes: `value` is added when known, taken away when its bucket has left the window."""

    name: str
    value: Any  # Ibis int64 expression over the stream; 0 where the event does not count
    window: timedelta | None
    bucket: str

    @property
    def span(self) -> tuple[int, int] | None:
        return None if self.window is None else (self.window // timedelta(microseconds=1), _BUCKETS[self.bucket])


def execute(events: Any, declared: Sequence[Declared], until: datetime) -> Any:
    """One row per entity and moment at which any declared value changes, as an Ibis table.

    Args:
        events: Ibis table with event_type, the entity's column, `event_us` and `known_us` (int64, microseconds since 1970 UTC) and the
            columns that the declarations name. Rows without the entity are left out.
        declared: features of one entity.
        until: changes after this moment are not written. Later than the last event: expiries that lie ahead are then found by later reads.

    Returns:
        the entity's column, event_timestamp, created_timestamp (both: when it was known, UTC), and a float64 column per declaration.
    """
    windowed = [item for item in declared if isinstance(item, Windowed)]
    entity = windowed[0].entity
    events = events.filter(events[entity].notnull())
    limit = int(until.timestamp() * _US)
    plain = [item for item in windowed if item.measure in ("count", "sum", "mean")]
    marks = [item for item in windowed if item.measure in ("first", "last")]
    changes = [change for item in plain for change in _plain(events, item)]
    parts = _changes(events, entity, changes, [(item.name, item.measure, _mark(events, item)) for item in marks])
    for item in windowed:
        if item.measure == "days":
            days = _days(events, item)
            parts += _changes(days, entity, [_Change(item.name, ibis.literal(1, "int64"), item.window, "day")], [])
        elif item.measure == "distinct":
            parts.append(_distinct(events, item))
    adds = [name for item in windowed for name in _columns(item) if item.measure not in ("first", "last")]
    found = _together(parts, entity, adds, marks).filter(lambda t: t.at <= limit)
    return _values(_running(found, entity, adds, marks), entity, declared)


def _columns(item: Windowed) -> list[str]:
    return [item.name, f"{item.name}__n"] if item.measure == "mean" else [item.name]


def _counts(events: Any, item: Windowed) -> Any:
    """Whether an event counts for the declaration."""
    chosen = events.event_type.isin(item.event_types)
    if item.where:
        chosen &= (events[item.where[0]] == item.where[1]).fill_null(False)
    return chosen.fill_null(False)


def _plain(events: Any, item: Windowed) -> list[_Change]:
    chosen = _counts(events, item)
    if item.measure == "count":
        return [_Change(item.name, chosen.cast("int64"), item.window, item.bucket)]
    number = (events[item.column].cast("float64") * UNIT).round().cast("int64")
    total = _Change(item.name, chosen.ifelse(number.fill_null(0), 0), item.window, item.bucket)
    if item.measure == "sum":
        return [total]
    there = (chosen & events[item.column].notnull()).cast("int64")
    return [total, _Change(f"{item.name}__n", there, item.window, item.bucket)]


def _mark(events: Any, item: Windowed) -> Any:
    return _counts(events, item).ifelse(events.event_us, ibis.null("int64"))


def _days(events: Any, item: Windowed) -> Any:
    """One row per entity and UTC day with an event that counts, known since the first of them was."""
    entity = item.entity
    chosen = events.filter(_counts(events, item)).mutate(event_us=lambda t: t.event_us // _DAY * _DAY)
    return chosen.group_by([entity, "event_us"]).aggregate(known_us=lambda t: t.known_us.min())


def _changes(stream: Any, entity: str, changes: list[_Change], marks: list[tuple[str, str, Any]]) -> list[Any]:
    """Tables (entity, at, …) of changes: one for what becomes known, one per window for what leaves it."""
    base = stream.select(
        entity, "event_us", "known_us", **{c.name: c.value for c in changes}, **{name: value for name, _, value in marks}
    )  # fmt: skip
    comes = base.group_by([entity, base.known_us.name("at")]).aggregate(
        **{c.name: base[c.name].sum(where=_in_time(base, c)) for c in changes},
        **{name: base[name].min() if measure == "first" else base[name].max() for name, measure, _ in marks},
    )
    parts = [comes]
    for span in sorted({c.span for c in changes if c.span}):
        mine = [c for c in changes if c.span == span]
        some = base.filter(_in_time(base, mine[0]) & ibis.or_(*(base[c.name] != 0 for c in mine)))
        parts.append(
            some.group_by([entity, _leaves(some, span).name("at")]).aggregate(**{c.name: -some[c.name].sum() for c in mine}),
        )
    return parts


def _leaves(table: Any, span: tuple[int, int]) -> Any:
    window, bucket = span
    return table.event_us // bucket * bucket + (window + bucket)


def _in_time(table: Any, change: _Change) -> Any:
    """Whether the event became known before it left the window."""
    return ibis.literal(True) if change.span is None else table.known_us < _leaves(table, change.span)


def _distinct(events: Any, item: Windowed) -> Any:
    """Changes of the number of distinct values: +1 when a value's first event comes, -1 when its last one leaves."""
    entity = item.entity
    chosen = events.filter(_counts(events, item) & events[item.column].notnull())
    stream = chosen.mutate(**{entity: ibis.struct({"entity": chosen[entity], "value": chosen[item.column]})})
    changes = _union(_changes(stream, entity, [_Change("v", ibis.literal(1, "int64"), item.window, item.bucket)], []), entity, {"v": "int64"})
    by_value = changes.group_by([entity, "at"]).aggregate(v=lambda t: t.v.sum())
    order = ibis.window(group_by=entity, order_by="at", preceding=None, following=0)
    live = by_value.mutate(live=(by_value.v.sum().over(order) > 0).cast("int64"))
    earlier = live.live.lag().over(ibis.window(group_by=entity, order_by="at")).fill_null(0)
    steps = live.select(**{entity: live[entity]["entity"], "at": live.at, item.name: live.live - earlier})
    return steps.filter(steps[item.name] != 0).group_by([entity, "at"]).aggregate(**{item.name: lambda t: t[item.name].sum()})


def _union(parts: list[Any], entity: str, columns: dict[str, str]) -> Any:
    full = [
        part.select(
            entity,
            "at",
            **{name: (part[name] if name in part.columns else ibis.null()).cast(dtype) for name, dtype in columns.items()},
        )
        for part in parts
    ]
    return ibis.union(*full, distinct=False) if len(full) > 1 else full[0]


def _together(parts: list[Any], entity: str, adds: list[str], marks: list[Windowed]) -> Any:
    columns = dict.fromkeys([*adds, *(item.name for item in marks)], "int64")
    every = _union(parts, entity, columns)
    return every.group_by([entity, "at"]).aggregate(
        **{name: every[name].sum().fill_null(0).cast("int64") for name in adds},
        **{item.name: every[item.name].min() if item.measure == "first" else every[item.name].max() for item in marks},
    )


def _running(table: Any, entity: str, adds: list[str], marks: list[Windowed]) -> Any:
    so_far = ibis.window(group_by=entity, order_by="at", preceding=None, following=0)
    return table.select(
        entity,
        "at",
        **{name: table[name].sum().over(so_far).cast("int64") for name in adds},
        **{item.name: (table[item.name].min() if item.measure == "first" else table[item.name].max()).over(so_far) for item in marks},
    )


def _values(table: Any, entity: str, declared: Sequence[Declared]) -> Any:
    """Integers back to units, means and ratios."""
    found: dict[str, Any] = {}
    for item in declared:
        if isinstance(item, Ratio):
            found[item.name] = found[item.over] / found[item.under].nullif(0)
        elif item.measure == "mean":
            found[item.name] = table[item.name].cast("float64") / UNIT / table[f"{item.name}__n"].nullif(0)
        elif item.measure == "sum":
            found[item.name] = table[item.name].cast("float64") / UNIT
        elif item.measure in ("first", "last"):
            found[item.name] = table[item.name].cast("float64") / _US
        else:
            found[item.name] = table[item.name].cast("float64")
    at = _moment(table.at)
    return table.select(entity, event_timestamp=at, created_timestamp=at, **found)


@ibis.udf.scalar.builtin(name="make_timestamptz", signature=(("int64",), "timestamp('UTC', 6)"))  # type: ignore[untyped-decorator]
def _moment(microseconds: Any) -> Any:
    """DuckDB's own function; Ibis has none for microseconds there."""
