"""The past of a shop of any size: feature rows and labels as point-in-time joins meet them, drawn by a generator with a fixed seed.

Three views in the order in which their rows became known, ten features each. One row in ten came late, up to days after its event; three in a hundred
correct an earlier row of the same event. One label in fifty is of a user nobody knows, and a user's activity is forgotten after thirty days.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureView, Field, FileSource
from feast.types import FeastType, Float32, Float64, Int64, String
from feast.value_type import ValueType
from numpy.typing import NDArray

START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 180
LATE, CORRECTED, UNKNOWN = 0.1, 0.03, 0.02
VIEWS = {"user_activity": ("user", 5, timedelta(days=30)), "product_activity": ("product", 3, None), "product_offer": ("product", 2, None)}
"""Each view's entity, its part of ten of all rows, and its time to live."""
ENTITIES = {name: Entity(name=name, join_keys=[f"{name}_id"], value_type=ValueType.STRING) for name in ("user", "product")}
KINDS: tuple[tuple[FeastType, int], ...] = ((Float32, 7), (Float64, 1), (Int64, 1), (String, 1))
"""Types of a view's ten features; one value in twenty is missing."""
_DAY_US = 86_400_000_000

Array = NDArray[Any]


@dataclass(frozen=True)
class Size:
    """How much past. `skew`: the n-th most popular entity has n**-skew of what the first one has, labels and rows alike; 0 is all alike."""

    labels: int = 1_000_000
    rows: int = 10_000_000
    users: int = 200_000
    products: int = 50_000
    skew: float = 0.0
    seed: int = 20

    def half(self) -> "Size":
        """Half of everything: as many rows per entity, and per label."""
        return Size(self.labels // 2, self.rows // 2, self.users // 2, self.products // 2, self.skew, self.seed)


def features(view: str) -> dict[str, FeastType]:
    """Names and types of a view's features."""
    kinds = [kind for kind, times in KINDS for _ in range(times)]
    return {f"{view}_{number}": kind for number, kind in enumerate(kinds)}


def write(folder: Path, size: Size) -> None:
    """Labels and the views' tables as Parquet."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(size.seed)
    for view, (entity, tenths, _) in VIEWS.items():
        pq.write_table(_table(view, entity, size.rows * tenths // 10, size, random), folder / f"{view}.parquet")
    unknown = random.random(size.labels) < UNKNOWN
    frame = {
        "user_id": _ids("user", np.where(unknown, size.users + np.arange(size.labels), _drawn(size.users, size.labels, size.skew, random))),
        "product_id": _ids("product", _drawn(size.products, size.labels, size.skew, random)),
        "event_timestamp": _times(random.uniform(DAYS / 6, DAYS, size.labels) * _DAY_US),
        "number": pa.array(np.arange(size.labels)),
    }
    pq.write_table(pa.table(frame), folder / "labels.parquet")


def labels(folder: Path) -> pd.DataFrame:
    """One row per label: user_id, product_id, event_timestamp, number."""
    return pd.read_parquet(folder / "labels.parquet")


def views(folder: Path) -> list[FeatureView]:
    """Declarations of the tables that `write` made there."""
    return [_view(folder, view, entity, ttl) for view, (entity, _, ttl) in VIEWS.items()]


def references() -> list[str]:
    """Every feature of every view, as Feast names them."""
    return [f"{view}:{name}" for view in VIEWS for name in features(view)]


def _view(folder: Path, view: str, entity: str, ttl: timedelta | None) -> FeatureView:
    source = FileSource(path=str(folder / f"{view}.parquet"), timestamp_field="event_timestamp", created_timestamp_column="created_timestamp")
    schema = [Field(name=f"{entity}_id", dtype=String), *(Field(name=name, dtype=kind) for name, kind in features(view).items())]
    return FeatureView(name=view, entities=[ENTITIES[entity]], schema=schema, source=source, ttl=ttl)


def _table(view: str, entity: str, rows: int, size: Size, random: np.random.Generator) -> pa.Table:
    who = _drawn(size.users if entity == "user" else size.products, rows, size.skew, random)
    event = random.uniform(0, DAYS, rows) * _DAY_US
    again = np.flatnonzero(random.random(rows) < CORRECTED)
    first = random.integers(0, rows, len(again))
    first = np.where(np.isin(first, again), again, first)  # a correction of a correction would share its times
    who[again], event[again] = who[first], event[first]
    delay = np.where(random.random(rows) < LATE, random.exponential(_DAY_US, rows), 0)
    created = event + delay
    created[again] += random.uniform(1, 3 * _DAY_US, len(again))
    order = np.argsort(created)
    columns = {f"{entity}_id": _ids(entity, who[order]), "event_timestamp": _times(event[order]), "created_timestamp": _times(created[order])}
    return pa.table(columns | {name: _values(kind, rows, random) for name, kind in features(view).items()})


def _drawn(count: int, many: int, skew: float, random: np.random.Generator) -> NDArray[np.int64]:
    if not skew:
        return random.integers(0, count, many)
    weight = np.cumsum(np.arange(1, count + 1) ** -skew)
    found: NDArray[np.int64] = np.searchsorted(weight, random.random(many) * weight[-1])
    return found


def _ids(entity: str, numbers: NDArray[np.int64]) -> pa.Array:
    names = pa.array([f"{entity[0]}{number:07d}" for number in range(int(numbers.max(initial=-1)) + 1)])
    return names.take(pa.array(numbers))


def _times(microseconds: Array) -> pa.Array:
    return pa.array(microseconds.astype(np.int64) + int(START.timestamp()) * 1_000_000).cast(pa.timestamp("us", "UTC"))


def _values(kind: FeastType, rows: int, random: np.random.Generator) -> pa.Array:
    gone = random.random(rows) < 0.05
    if kind == Float32:
        return pa.array(random.standard_normal(rows, np.float32), mask=gone)
    if kind == Float64:
        return pa.array(random.lognormal(3, 1, rows), mask=gone)
    if kind == Int64:
        return pa.array(random.integers(0, 1_000_000, rows), mask=gone)
    return pa.array([f"kind {number}" for number in range(500)]).take(pa.array(random.integers(0, 500, rows), mask=gone))
