"""`python -m feature_repo.benchmark.engines NAME FOLDER`: one engine's point-in-time join of a past (past.py), in a process of its own.

Writes the answer to `NAME.parquet` in that folder and says on standard output, as JSON: seconds of the call until the pandas frame is there,
gigabytes held before it and at the most, and rows. Feast's own stores are asked twice: as they come, which shows a label what was created after
it, and with `filter_by_created_timestamp`, which is the question that the others answer.
"""

import argparse
import io
import json
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
from feast import FeatureStore, RepoConfig

from feature_repo.benchmark.past import ENTITIES, VIEWS, features, labels, references, views
from feature_repo.circumstances import peak_gb


@dataclass(frozen=True)
class Engine:
    """What is measured. `store`: Feast's options of an offline store; none: plain SQL."""

    title: str
    store: dict[str, Any] | None
    excludes_late: bool = True


ENGINES = {
    "ours": Engine("ours", {"type": "feature_repo.asof_store.AsofOfflineStore"}),
    "asof_join": Engine("DuckDB's ASOF JOIN, no store", None),
    "duckdb": Engine("Feast's DuckDB store", {"type": "duckdb"}, False),
    "duckdb_known": Engine("Feast's DuckDB store, late values excluded", {"type": "duckdb"}),
    "dask": Engine("Feast's dask store", {"type": "dask"}, False),
    "dask_known": Engine("Feast's dask store, late values excluded", {"type": "dask"}),
}
"""By the names that the report has."""


def opened(name: str, folder: Path) -> FeatureStore:
    """A Feast project over the past's tables, with an offline store of that name."""
    config = RepoConfig(
        project="past", provider="local", registry=str(folder / f"{name}.registry"), offline_store=ENGINES[name].store,
        online_store={"type": "sqlite", "path": str(folder / f"{name}.db")}, entity_key_serialization_version=3, repo_path=folder,
    )  # fmt: skip
    store = FeatureStore(config=config)
    with redirect_stdout(io.StringIO()):
        store.apply([*ENTITIES.values(), *views(folder)])
    return store


def by_feast(store: FeatureStore, known: bool, frame: pd.DataFrame) -> pd.DataFrame:
    """The answer of a Feast offline store."""
    found: pd.DataFrame = store.get_historical_features(entity_df=frame, features=references(), filter_by_created_timestamp=known).to_df()
    return found


def by_asof_join(folder: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """DuckDB's ASOF JOIN in plain SQL, the best we know to say in it.

    A row is seen from `known` on, and only if no later event of its entity was known by then: the others are sifted out first. What is left
    rises in both times, so the latest known row is the latest event.
    """
    connection = duckdb.connect()
    connection.execute("set timezone='UTC'")
    connection.register("given", frame)
    connection.execute("create table labels as select * from given")
    selected, joined = ["labels.*"], ""
    for view, (entity, _, ttl) in VIEWS.items():
        key, names = f"{entity}_id", ", ".join(features(view))
        connection.execute(
            f"""create view {view}_known as select {key}, event_timestamp, known, {names} from (
                select *, max((event_timestamp, created_timestamp)) over (partition by {key} order by known) as latest
                from (select *, greatest(event_timestamp, created_timestamp) as known from '{folder / view}.parquet'))
            where (event_timestamp, created_timestamp) = latest"""
        )
        alive = f" where f.event_timestamp + interval '{int(ttl.total_seconds())} seconds' >= l.event_timestamp" if ttl else ""
        shown = ", ".join(f"f.{name}" for name in features(view))
        connection.execute(
            f"""create table {view} as select l.{key}, l.event_timestamp, {shown} from (select distinct {key}, event_timestamp from labels) l
            asof join {view}_known f on l.{key} = f.{key} and f.known <= l.event_timestamp{alive}"""
        )
        joined += f" left join {view} on labels.{key} = {view}.{key} and labels.event_timestamp = {view}.event_timestamp"
        selected += [f"{view}.{name}" for name in features(view)]
    found: pd.DataFrame = connection.sql(f"select {', '.join(selected)} from labels{joined} order by labels.number").df()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="One engine's point-in-time join.")
    parser.add_argument("name", choices=ENGINES, help="Feast's stores, and DuckDB's ASOF JOIN without one")
    parser.add_argument("folder", type=Path, help="where past.py wrote tables and labels")
    asked = parser.parse_args()
    engine = ENGINES[asked.name]
    join: Callable[[pd.DataFrame], pd.DataFrame] = (
        partial(by_feast, opened(asked.name, asked.folder), engine.excludes_late) if engine.store else partial(by_asof_join, asked.folder)
    )
    frame = labels(asked.folder)
    before, started = peak_gb(), time.perf_counter()
    found = join(frame)
    told = {"seconds": time.perf_counter() - started, "before_gb": before, "peak_gb": peak_gb(), "rows": len(found)}
    found.to_parquet(asked.folder / f"{asked.name}.parquet")
    print(json.dumps(told))


if __name__ == "__main__":
    main()
