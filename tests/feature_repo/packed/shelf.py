"""A small Feast repository with a view of every type, over any online store; for the tests of this folder."""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, PushSource, RepoConfig
from feast.types import (
    Array,
    Bool,
    Bytes,
    Decimal,
    FeastType,
    Float32,
    Float64,
    Int32,
    Int64,
    Json,
    Map,
    Set,
    String,
    Struct,
    TimeUuid,
    UnixTimestamp,
    Uuid,
)
from feast.value_type import ValueType

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
PACKED = "feature_repo.packed.store.PackedOnlineStore"
COLUMNAR = "feature_repo.packed.engine.ColumnarEngine"

TYPES: dict[str, FeastType] = {
    "float32": Float32,
    "float64": Float64,
    "int32": Int32,
    "int64": Int64,
    "flag": Bool,
    "text": String,
    "blob": Bytes,
    "moment": UnixTimestamp,
    "uuid": Uuid,
    "time_uuid": TimeUuid,
    "decimal": Decimal,
    "json": Json,
    "floats32": Array(Float32),
    "floats64": Array(Float64),
    "ints32": Array(Int32),
    "ints64": Array(Int64),
    "flags": Array(Bool),
    "texts": Array(String),
    "blobs": Array(Bytes),
    "moments": Array(UnixTimestamp),
    "mapping": Map,
    "text_set": Set(String),
    "nested": Array(Array(Int64)),
    "struct": Struct({"a": Int64, "b": String}),
}


def config(folder: Path, online: dict[str, Any], columnar: bool = True, project: str = "shelf") -> RepoConfig:
    """A repository of its own in `folder`."""
    return RepoConfig(
        project=project,
        provider="local",
        entity_key_serialization_version=3,
        registry={"registry_type": "sql", "path": f"sqlite:///{folder / 'registry.db'}", "cache_ttl_seconds": 60},
        offline_store={"type": "duckdb"},
        online_store=online,
        materialization={"pull_latest_features": True},
        batch_engine={"type": COLUMNAR} if columnar else "local",
        repo_path=folder,
    )  # fmt: skip


def view(
    folder: Path, fields: dict[str, FeastType], name: str = "things", ttl: timedelta | None = None, keys: Sequence[str] = ("thing",)
) -> FeatureView:
    """Over `<name>.parquet` in the folder; it also takes pushes to `<name>_push`."""
    source = FileSource(path=str(folder / f"{name}.parquet"), timestamp_field="event_timestamp", created_timestamp_column="created_timestamp")
    entities = [Entity(name=key, join_keys=[f"{key}_id"], value_type=ValueType.STRING) for key in keys]
    schema = [Field(name=f"{key}_id", dtype=String) for key in keys] + [Field(name=field, dtype=dtype) for field, dtype in fields.items()]
    return FeatureView(name=name, entities=entities, schema=schema, source=PushSource(name=f"{name}_push", batch_source=source), ttl=ttl)


def entities(of: FeatureView) -> list[Entity]:
    return [Entity(name=name, join_keys=[f"{name}_id"], value_type=ValueType.STRING) for name in of.entities]


def applied(folder: Path, online: dict[str, Any], views: Sequence[FeatureView], columnar: bool = True, project: str = "shelf") -> FeatureStore:
    store = FeatureStore(config=config(folder, online, columnar, project))
    with redirect_stdout(io.StringIO()):
        store.apply([*(each for one in views for each in entities(one)), *views, FeatureService(name="all", features=list(views))])
    return store


def materialised(store: FeatureStore, until: datetime = NOON + timedelta(days=1)) -> None:
    with redirect_stdout(io.StringIO()):
        store.materialize(datetime(1970, 1, 2, tzinfo=UTC), until)
    if ibis.options.default_backend is not None:  # or DuckDB's bindings print pages when the tests end
        ibis.options.default_backend.disconnect()
        ibis.options.default_backend = None


def every_type(rows: int, seed: int = 0, missing: float = 0.2) -> pa.Table:
    """Random values of TYPES, some missing; unique `thing_id`, times of several days. The first row has nothing, the second everything."""
    random = np.random.default_rng(seed)

    def column(kind: pa.DataType, values: list[Any]) -> pa.Array:
        gone = random.random(rows) < missing
        gone[0], gone[1] = True, False
        return pa.array([None if none else value for value, none in zip(values, gone, strict=True)], kind)

    def each(make: Any) -> list[Any]:
        return [make() for _ in range(rows)]

    def some(make: Any, most: int = 4) -> list[list[Any]]:
        return [[make() for _ in range(random.integers(0, most))] for _ in range(rows - 2)] + [[make()], [make(), make()]]

    words = ["", "a", "Größe", "零售", "x" * 300, 'it\'s "quoted"\n', "\0zero"]

    def text() -> str:
        return str(random.choice(words)) + str(random.integers(0, 10**6))

    def integer(bits: int = 63) -> int:
        return int(random.integers(-(2 ** int(random.integers(1, bits))), 2 ** int(random.integers(1, bits))))

    def moment() -> datetime:
        return NOON + timedelta(seconds=int(random.integers(-(10**9), 10**8)))

    def uuid() -> str:
        return str(UUID(bytes=random.bytes(16)))

    small = [integer(52) for _ in range(rows)]  # beside a missing one Feast's own way rounds above 2**53
    times = [NOON - timedelta(minutes=int(random.integers(0, 10_000))) for _ in range(rows)]
    return pa.table(
        {
            "thing_id": pa.array([f"t{number}" for number in range(rows)]),
            "event_timestamp": pa.array(times, pa.timestamp("us", "UTC")),
            "created_timestamp": pa.array([moment + timedelta(hours=1) for moment in times], pa.timestamp("us", "UTC")),
            "float32": column(pa.float32(), each(lambda: float(np.float32(random.normal())))),
            "float64": column(pa.float64(), each(lambda: float(random.normal() * 10.0 ** random.integers(-300, 300)))),
            "int32": column(pa.int32(), each(lambda: integer(31))),
            "int64": column(pa.int64(), small),
            "flag": column(pa.bool_(), each(lambda: bool(random.random() < 0.5))),
            "text": column(pa.string(), each(text)),
            "blob": column(pa.binary(), each(lambda: random.bytes(int(random.integers(0, 40))))),
            "moment": column(pa.timestamp("us", "UTC"), each(moment)),
            "uuid": column(pa.string(), each(uuid)),
            "time_uuid": column(pa.string(), each(uuid)),
            "decimal": column(pa.string(), each(lambda: f"{integer()}.{abs(integer(20))}")),
            "json": column(pa.string(), each(lambda: f'{{"a": [{integer()}, null], "b": "ü"}}')),
            "floats32": column(pa.list_(pa.float32()), some(lambda: float(np.float32(random.normal())))),
            "floats64": column(pa.list_(pa.float64()), some(lambda: float(random.normal()))),
            "ints32": column(pa.list_(pa.int32()), some(lambda: integer(31))),
            "ints64": column(pa.list_(pa.int64()), some(integer)),
            "flags": column(pa.list_(pa.bool_()), some(lambda: bool(random.random() < 0.5))),
            "texts": column(pa.list_(pa.string()), some(text)),
            "blobs": column(pa.list_(pa.binary()), some(lambda: random.bytes(5))),
            "moments": column(pa.list_(pa.int64()), some(lambda: integer(33))),
            "mapping": column(pa.string(), each(lambda: f'{{"size": {integer(20)}, "name": "n"}}')),
            "text_set": column(pa.list_(pa.string()), some(lambda: text())),
            "nested": column(pa.list_(pa.list_(pa.int64())), [[[integer(), 1], [2]] for _ in range(rows)]),
            "struct": column(pa.string(), each(lambda: f'{{"a": {integer(20)}, "b": "n"}}')),
        }
    )


def write(folder: Path, table: pa.Table, name: str = "things") -> None:
    pq.write_table(table, folder / f"{name}.parquet")


def answer(store: FeatureStore, ids: Sequence[str], names: Sequence[str], of: str = "things") -> dict[str, list[Any]]:
    """What `get_online_features` says."""
    found = store.get_online_features(features=[f"{of}:{name}" for name in names], entity_rows=[{"thing_id": each} for each in ids])
    said: dict[str, list[Any]] = found.to_dict()
    return said
