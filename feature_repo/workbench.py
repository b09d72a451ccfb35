"""The DuckDB session in which a build computes: a shop's tables with users and products as small integers."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import ibis
import numpy as np
import pandas as pd

US = 1_000_000
HOUR_US = 3_600 * US
DAY_US = 86_400 * US
AHEAD_DAYS = 31
"""Days after the build's until the longest window of whole days (social, market) is empty."""


@dataclass(frozen=True)
class Workbench:
    """Tables in DuckDB: `users` (user_id int, name), `items` (product_id int, name), `events` (both ids as ints), and what transforms add.

    Small integers as ids: sorting and grouping by them is what a build does most.
    """

    backend: Any  # ibis.backends.duckdb.Backend
    tables: dict[str, pd.DataFrame]
    as_of: datetime
    start_us: int  # a day before the first event: when what is undated counts as known

    @classmethod
    def open(cls, tables: dict[str, pd.DataFrame], as_of: datetime, scratch: Path, threads: int = 2) -> "Workbench":
        backend = ibis.duckdb.connect()
        backend.raw_sql(f"set threads={threads}; set memory_limit='4GB'; set temp_directory='{scratch}'")
        backend.raw_sql("set timezone='UTC'; set preserve_insertion_order=false")
        events = tables["events"]
        first = events["event_time"].min() if len(events) else pd.Timestamp(as_of)
        start = int(first.timestamp()) * US // DAY_US * DAY_US - DAY_US
        bench = cls(backend, tables, as_of, start)
        bench._index()
        return bench

    @staticmethod
    def plain() -> Any:
        """A bare DuckDB connection, UTC."""
        connection = duckdb.connect()
        connection.execute("set timezone='UTC'; set threads=2")
        return connection

    @property
    def as_of_us(self) -> int:
        return int(self.as_of.timestamp() * US)

    def sql(self, text: str) -> None:
        self.backend.raw_sql(text)

    def frame(self, text: str) -> pd.DataFrame:
        found: pd.DataFrame = self.backend.raw_sql(text).df()
        return found

    def arrays(self, text: str) -> dict[str, Any]:
        """Columns as numpy arrays, without a detour through pandas."""
        return dict(self.backend.raw_sql(text).fetchnumpy())

    def add(self, name: str, frame: pd.DataFrame) -> None:
        """Make a table of a frame."""
        empty = [column for column in frame if frame[column].dtype == object and frame[column].isna().all()]
        # DuckDB gives a column of nothing but None a type of its own, which compares with nothing.
        self.backend.con.register("_incoming", frame.astype(dict.fromkeys(empty, "string")))
        self.sql(f"create or replace table {name} as select * from _incoming")
        self.backend.con.unregister("_incoming")

    def _index(self) -> None:
        events, ties = self.tables["events"], self.tables["ties"]
        people = [events["user_id"], self.tables["users"]["user_id"], ties["user_id"], self.tables["preferences"]["user_id"]]
        people.append(ties.loc[ties["kind"] == "follow", "target"])
        users = np.sort(pd.concat(people).dropna().unique().astype(str))
        items = np.sort(self.tables["products"]["product_id"].unique().astype(str))
        self.add("users", pd.DataFrame({"user_id": np.arange(len(users), dtype=np.int32), "name": users}))
        self.add("items", pd.DataFrame({"product_id": np.arange(len(items), dtype=np.int32), "name": items}))
        renamed = self.tables["events"].assign(
            event_us=_microseconds(events["event_time"]),
            known_us=np.maximum(_microseconds(events["event_time"]), _microseconds(events["arrived_at"])),
            place=np.arange(len(events)),  # among all events, which come in order of time and sequence
        )
        columns = ["event_type", "user_id", "product_id", "event_us", "known_us", "place", "quantity", "price", "rating", "channel", "context"]
        self.add("_events", renamed[columns])
        self.sql(
            """create or replace table events as
            select e.event_type, u.user_id, i.product_id, e.event_us, e.known_us, e.place, e.quantity, e.price, e.rating, e.channel,
                   json_extract_string(e.context, '$.tone') as tone, json_extract_string(e.context, '$.aspect') as aspect
            from _events e left join users u on u.name = e.user_id left join items i on i.name = e.product_id"""
        )
        self.sql("drop table _events")


def _microseconds(times: pd.Series) -> np.ndarray:
    return np.asarray(times.dt.tz_convert(UTC).dt.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64))
