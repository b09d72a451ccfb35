"""`python -m feature_repo.benchmark.features`: our online store and read model against Feast's own stores, on SQLite and on Redis.

Three measurements, each with both sides in one run on the same rows:
- write: `materialize` of one view of 20 features, rows a second;
- read: 1 user and 200 products x 50 features in five views. Feast's side is the call of `get_online_features` alone, without turning its answer into
  Python values. Ours are the packed store's read with nothing kept in the process (`PackedReader.read`), and what serving does: products from columns
  in the process (`EntityTable`), the user read from the store (`PackedReader.one`). Requests alternate between the sides, and every value of every
  request is compared;
- a catalogue of a million products in the columns that serving holds (`million.py`).
"""

import argparse
import io
import logging
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Bool, FeastType, Float32, Float64, Int64, String, UnixTimestamp
from feast.value_type import ValueType
from tqdm import tqdm

from feature_repo import logs
from feature_repo.benchmark.million import million
from feature_repo.benchmark.redis_server import redis_server
from feature_repo.circumstances import write_report
from feature_repo.packed.reader import Answer, PackedReader
from feature_repo.packed.table import EntityTable
from feature_repo.store import leave_duckdb

log = logging.getLogger(__name__)

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
KINDS: tuple[tuple[FeastType, int], ...] = ((Float32, 5), (Float64, 1), (Int64, 1), (Bool, 1), (UnixTimestamp, 1), (String, 1))
"""Types of ten features; one value in ten is missing."""
VIEWS = {"user": ("user_a", "user_b"), "product": ("product_a", "product_b", "product_c")}


def fields(view: str, count: int) -> dict[str, FeastType]:
    """Names and types of a view's features."""
    kinds = [kind for kind, times in KINDS for _ in range(times)]
    return {f"{view}_{number}": kinds[number % len(kinds)] for number in range(count)}


def column(kind: FeastType, rows: int, random: np.random.Generator) -> pa.Array:
    """Random values of a type, some missing."""
    gone = random.random(rows) < 0.1
    if kind == Float32:
        return pa.array(random.normal(size=rows).astype(np.float32), mask=gone)
    if kind == Float64:
        return pa.array(random.lognormal(3, 2, rows), mask=gone)
    if kind == Int64:  # beyond float32; beyond 2**53 Feast's own way would round them beside a missing one
        return pa.array(random.integers(-(2**50), 2**50, rows), mask=gone)
    if kind == Bool:
        return pa.array(random.random(rows) < 0.5, mask=gone)
    if kind == UnixTimestamp:
        return pa.array(random.integers(10**9, 2 * 10**9, rows), mask=gone).cast(pa.timestamp("s", "UTC"))
    return pa.array(np.array([f"word {number}" for number in range(500)], object)[random.integers(0, 500, rows)], pa.string(), mask=gone)


def ids(entity: str, rows: int) -> list[str]:
    return [f"{entity[0]}{number:07d}" for number in range(rows)]


def write_table(folder: Path, view: str, entity: str, rows: int, features: Mapping[str, FeastType], random: np.random.Generator) -> FeatureView:
    """A view's rows as Parquet, one for each entity, and its declaration."""
    times = pa.array([NOON] * rows, pa.timestamp("us", "UTC"))
    table = {f"{entity}_id": pa.array(ids(entity, rows)), "event_timestamp": times, "created_timestamp": times}
    pq.write_table(pa.table(table | {name: column(kind, rows, random) for name, kind in features.items()}), folder / f"{view}.parquet")
    source = FileSource(path=str(folder / f"{view}.parquet"), timestamp_field="event_timestamp", created_timestamp_column="created_timestamp")
    schema = [Field(name=f"{entity}_id", dtype=String), *(Field(name=name, dtype=kind) for name, kind in features.items())]
    return FeatureView(name=view, entities=[_entity(entity)], schema=schema, source=source)


def _entity(name: str) -> Entity:
    return Entity(name=name, join_keys=[f"{name}_id"], value_type=ValueType.STRING)


def sides(folder: Path, redis: str) -> dict[str, dict[str, Any]]:
    """The four online stores and the engine of each."""
    packed = "feature_repo.packed.store.PackedOnlineStore"
    address = urlsplit(redis)
    return {
        "stock_sqlite": {"online_store": {"type": "sqlite", "path": str(folder / "stock.db")}, "batch_engine": "local"},
        "stock_redis": {"online_store": {"type": "redis", "connection_string": f"{address.hostname}:{address.port},db=0"}, "batch_engine": "local"},
        "sqlite": {"online_store": {"type": packed, "path": str(folder / "ours.db"), "redis": ""}, "batch_engine": _ENGINE},
        "redis": {"online_store": {"type": packed, "redis": redis}, "batch_engine": _ENGINE},
    }


_ENGINE = {"type": "feature_repo.packed.engine.ColumnarEngine"}


def opened(folder: Path, name: str, side: Mapping[str, Any], views: Sequence[FeatureView]) -> FeatureStore:
    """A store with the views applied; the offline side is the same for all."""
    config = RepoConfig(
        project=name, provider="local", entity_key_serialization_version=3, offline_store={"type": "duckdb"}, repo_path=folder,
        registry={"registry_type": "sql", "path": f"sqlite:///{folder / name}.registry", "cache_ttl_seconds": 600},
        materialization={"pull_latest_features": True}, **side,
    )  # fmt: skip
    store = FeatureStore(config=config)
    with redirect_stdout(io.StringIO()):
        store.apply([*{view.entities[0]: _entity(view.entities[0]) for view in views}.values(), *views])
    return store


def materialise(store: FeatureStore) -> float:
    """Seconds of `materialize`."""
    with redirect_stdout(io.StringIO()):
        started = time.perf_counter()
        store.materialize(datetime(1970, 1, 2, tzinfo=UTC), NOON + timedelta(hours=1))
        seconds = time.perf_counter() - started
    leave_duckdb()
    return seconds


def measure_writes(folder: Path, redis: str, rows: int) -> dict[str, float]:
    """Rows a second of each store, one view of 20 features."""
    folder.mkdir()
    view = write_table(folder, "wide", "product", rows, fields("wide", 20), np.random.default_rng(1))
    found = {}
    for name, side in sides(folder, redis).items():
        seconds = materialise(opened(folder, f"write_{name}", side, [view]))
        found[name] = rows / seconds
        log.info("materialize, %s: %.0f rows/s (%.1f s)", name, found[name], seconds)
    return found


class Requests:
    """The three ways to read on one kind of server: Feast's, the packed store's, and the read model's."""

    def __init__(self, stock: FeatureStore, ours: FeatureStore) -> None:
        refs = {entity: [f"{view}:{name}" for view in views for name in fields(view, 10)] for entity, views in VIEWS.items()}
        self.refs = refs["user"] + refs["product"]
        self.stock = stock
        self.reader, self.users = PackedReader(ours, self.refs), PackedReader(ours, refs["user"])
        self.table = EntityTable.load(PackedReader(ours, refs["product"]))

    def ways(self, user: str, products: list[str]) -> dict[str, Callable[[], Any]]:
        rows = [{"user_id": user, "product_id": product} for product in products]
        asked = {"user_id": [user] * len(products), "product_id": products}
        return {
            "stock": lambda: self.stock.get_online_features(features=self.refs, entity_rows=rows),
            "store": lambda: self.reader.read(asked),
            "model": lambda: (self.users.one({"user_id": user}), self.table.gather(self.table.index.rows(products))),
        }

    def differences(self, stock: Any, store: Answer, model: tuple[dict[str, Any], tuple[dict[str, Any], dict[str, Any]]]) -> int:
        """Values that one of our ways gives otherwise than Feast."""
        said, (user, (values, gone)) = stock.to_dict(), model
        wrong = 0
        for ref in self.refs:
            name = ref.split(":")[1]
            expected = said[name]
            theirs = [user[name]] * len(expected) if name in user else values[name]
            missing = [user[name] is None] * len(expected) if name in user else gone[name]
            for mine, none in ((store.values[name], store.missing[name]), (theirs, missing)):
                wrong += sum(not same(value, absent, want) for value, absent, want in zip(mine, none, expected, strict=True))
        return wrong


def same(value: Any, missing: Any, expected: Any) -> bool:
    """Whether a value is what Feast says: None for a missing one, a datetime for seconds."""
    if missing or expected is None:
        return bool(missing) and expected is None
    if isinstance(expected, datetime):
        return bool(int(value) == int(expected.timestamp()))
    return bool(value == expected) or (isinstance(expected, float) and math.isnan(expected) and bool(np.isnan(value)))


def measure_reads(folder: Path, redis: str, products: int, users: int, requests: int, candidates: int) -> dict[str, dict[str, float]]:
    """Milliseconds (p50, p99) of each way on each server, and the number of values that differ."""
    folder.mkdir()
    random = np.random.default_rng(2)
    sizes = {"user": users, "product": products}
    views = [write_table(folder, view, entity, sizes[entity], fields(view, 10), random) for entity, names in VIEWS.items() for view in names]
    found: dict[str, dict[str, float]] = {}
    stores = {name: opened(folder, f"read_{name}", side, views) for name, side in sides(folder, redis).items()}
    for store in stores.values():
        materialise(store)
    names = {entity: ids(entity, size) for entity, size in sizes.items()}
    for server in ("sqlite", "redis"):
        ask = Requests(stores[f"stock_{server}"], stores[server])
        seconds: dict[str, list[float]] = {"stock": [], "store": [], "model": []}
        wrong = 0
        for number in tqdm(range(-5, requests), desc=server, disable=None):
            chosen = [names["product"][row] for row in random.choice(products, candidates, replace=False)]
            answers = {}
            for way, call in ask.ways(names["user"][random.integers(users)], chosen).items():
                started = time.perf_counter()
                answers[way] = call()
                if number >= 0:  # the first five warm up
                    seconds[way].append(time.perf_counter() - started)
            wrong += ask.differences(**answers)
        milliseconds = {way: 1_000 * np.array(each) for way, each in seconds.items()}
        found[server] = {f"{way}_p{share}_ms": float(np.percentile(each, share)) for way, each in milliseconds.items() for share in (50, 99)}
        found[server] |= {"values": float(2 * len(ask.refs) * candidates * (requests + 5)), "different": float(wrong)}
    return found


def figures(writes: Mapping[str, float], reads: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """What the report's head says."""
    found: dict[str, Any] = {}
    for server, read in reads.items():
        found[f"store_ratio_p50_{server}"] = round(read["stock_p50_ms"] / read["store_p50_ms"], 1)
        found[f"ratio_p50_{server}"] = round(read["stock_p50_ms"] / read["model_p50_ms"], 1)
        found[f"p99_ms_{server}"] = round(read["model_p99_ms"], 3)
        found[f"write_ratio_{server}"] = round(writes[server] / writes[f"stock_{server}"], 1)
    found["equal"] = all(read["different"] == 0 for read in reads.values())
    return found


def table(writes: Mapping[str, float], reads: Mapping[str, Mapping[str, float]], catalogue: Mapping[str, float]) -> str:
    """For people."""
    lines = ["| | SQLite | Redis |", "|---|---|---|"]
    rows = {"materialize, Feast, rows/s": "stock_{}", "materialize, ours, rows/s": "{}"}
    lines += [f"| {what} | " + " | ".join(f"{writes[name.format(server)]:,.0f}" for server in reads) + " |" for what, name in rows.items()]
    ways = {"stock": "get_online_features", "store": "packed store", "model": "read model"}
    for way, what in ways.items():
        for share in (50, 99):
            lines.append(f"| {what}, p{share}, ms | " + " | ".join(f"{read[f'{way}_p{share}_ms']:.3f}" for read in reads.values()) + " |")
    lines.append(
        "| values compared / different | " + " | ".join(f"{read['values']:,.0f} / {read['different']:,.0f}" for read in reads.values()) + " |"
    )
    if catalogue:
        lines += ["", "| catalogue | |", "|---|---|", *(f"| {name} | {value:,.1f} |" for name, value in catalogue.items())]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Our online store and read model against Feast's own stores.")
    parser.add_argument("--out", type=Path, default=Path("reports/bench_features.json"), help="report (JSON)")
    parser.add_argument("--rows", type=int, default=50_000, help="rows of the view that is written")
    parser.add_argument("--products", type=int, default=10_000, help="products that are read from")
    parser.add_argument("--users", type=int, default=5_000, help="users that are read from")
    parser.add_argument("--requests", type=int, default=300, help="reads on each server")
    parser.add_argument("--candidates", type=int, default=200, help="products of a read")
    parser.add_argument("--catalogue", type=int, default=1_000_000, help="products held in columns; 0 leaves that out")
    asked = parser.parse_args()
    logs.configure()
    with tempfile.TemporaryDirectory() as place, redis_server() as redis:
        folder = Path(place)
        writes = measure_writes(folder / "writes", redis, asked.rows)
        reads = measure_reads(folder / "reads", redis, asked.products, asked.users, asked.requests, asked.candidates)
        catalogue = million(folder / "catalogue", asked.catalogue) if asked.catalogue else {}
    print(table(writes, reads, catalogue))
    sizes = {name: value for name, value in vars(asked).items() if name != "out"}
    head = figures(writes, reads) | {name: round(value, 1) for name, value in catalogue.items()}
    write_report(asked.out, head, rows_per_second=writes, reads=reads, sizes=sizes)


if __name__ == "__main__":
    main()
