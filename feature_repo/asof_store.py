"""Feast's DuckDB offline store with point-in-time joins by DuckDB's ASOF JOIN.

Feast's own joins every label with every earlier row of its entity before it keeps the latest, which for a popular product with
thousands of changes is thousands of rows per label. ASOF JOIN finds the one row by a merge. Same interface and the same answers (a test compares).
"""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

import duckdb
import pandas as pd
import pyarrow as pa
from feast import FeatureView, OnDemandFeatureView
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import RepoConfig

from feature_repo.errors import FeatureRepoError


class AsofOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]
    """Options of the store."""

    type: Literal["feature_repo.asof_store.AsofOfflineStore"] = "feature_repo.asof_store.AsofOfflineStore"
    threads: int = 2


class AsofOfflineStore(DuckDBOfflineStore):  # type: ignore[misc]
    """What differs from Feast's store: `get_historical_features`. A view's rows must be unique by entity and time, as our builds write them."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        **kwargs: Any,
    ) -> RetrievalJob:
        if not isinstance(entity_df, pd.DataFrame):
            raise FeatureRepoError("Labels must come as a pandas frame with event_timestamp.")
        time = infer_event_timestamp_from_entity_df(dict(zip(entity_df.columns, entity_df.dtypes, strict=True)))

        def read() -> pa.Table:
            return _join(entity_df, time, [_Join.of(view, feature_refs, full_feature_names) for view in feature_views], config.offline_store.threads)

        moments = pd.to_datetime(entity_df[time], utc=True)
        metadata = RetrievalMetadata(
            features=feature_refs,
            keys=[c for c in entity_df.columns if c != time],
            min_event_timestamp=moments.min(),
            max_event_timestamp=moments.max(),
        )
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        return AsofRetrievalJob(read, on_demand, full_feature_names, metadata)


class AsofRetrievalJob(RetrievalJob):  # type: ignore[misc]
    """Runs the join when the result is asked for."""

    def __init__(
        self, read: Callable[[], pa.Table], on_demand: list[OnDemandFeatureView], full_feature_names: bool, metadata: RetrievalMetadata
    ) -> None:
        super().__init__()
        self._read, self._on_demand, self._full, self._metadata = read, on_demand, full_feature_names, metadata

    @property
    def full_feature_names(self) -> bool:
        return self._full

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata:
        return self._metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._read()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        found: pd.DataFrame = self._read().to_pandas()
        return found


class _Join:
    """One view's part of the join."""

    def __init__(self, path: str, time: str, keys: dict[str, str], columns: dict[str, str], ttl: timedelta | None) -> None:
        self.path, self.time, self.keys, self.columns, self.ttl = path, time, keys, columns, ttl

    @classmethod
    def of(cls, view: FeatureView, feature_refs: list[str], full: bool) -> "_Join":
        source = view.batch_source
        assert isinstance(source, FileSource)
        prefix = view.projection.name_to_use()
        names = [ref.split(":", 1)[1] for ref in feature_refs if ref.startswith(f"{prefix}:")]
        label_of = view.projection.join_key_map
        keys = {column.name: label_of.get(column.name, column.name) for column in view.entity_columns}
        return cls(source.path, source.timestamp_field, keys, {name: f"{prefix}__{name}" if full else name for name in names}, view.ttl or None)


def _join(labels: pd.DataFrame, time: str, joins: list[_Join], threads: int) -> pa.Table:
    """Labels in their order, one row each, with the columns of every view."""
    connection = duckdb.connect()
    connection.execute(f"set threads={threads}; set timezone='UTC'")
    frame = labels.reset_index(drop=True)
    frame[time] = pd.to_datetime(frame[time], utc=True)
    number = f"_row_{uuid.uuid4().hex[:8]}"
    connection.register("_labels", frame.assign(**{number: range(len(frame))}))
    connection.execute("create table labels as select * from _labels")
    selected = [f'labels."{column}"' for column in frame.columns]
    text = ""
    for index, join in enumerate(joins):
        # Each (entity, time) once: labels of one shelf share the user's row.
        keys = ", ".join(f'"{label}"' for label in join.keys.values())
        on = " and ".join(f'l."{label}" = f."{key}"' for key, label in join.keys.items())
        columns = ", ".join(f'f."{name}" as "{shown}"' for name, shown in join.columns.items())
        alive = "" if join.ttl is None else f' where f."{join.time}" + interval \'{int(join.ttl.total_seconds())} seconds\' >= l."{time}"'
        connection.execute(
            f"""create table v{index} as select l.*, {columns} from (select distinct {keys}, "{time}" from labels) l
            asof join '{join.path}' f on {on} and f."{join.time}" <= l."{time}"{alive}"""
        )
        same = " and ".join(f'labels."{label}" is not distinct from v{index}."{label}"' for label in [*join.keys.values(), time])
        text += f" left join v{index} on {same}"
        selected += [f'v{index}."{shown}"' for shown in join.columns.values()]
    found = connection.sql(f'select {", ".join(selected)} from labels{text} order by labels."{number}"')
    table = found.to_arrow_table()
    connection.close()
    return table
