"""Feast's DuckDB offline store with point-in-time joins of our own: one row per label, nothing that was not known by then, bounded memory.

What differs from Feast's is `get_historical_features`. Feast's joins every label with every earlier row of its entity before it keeps the
latest, which for a popular product with thousands of changes is thousands of rows per label; `asof_join` finds the one row. Feast's
stores see a value that was created after the label unless a read says `filter_by_created_timestamp`; this one never does, unless its
config says so. All else is inherited. docs/decisions/point-in-time.md says how the engine was chosen.
"""

import os
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureView, OnDemandFeatureView
from feast.data_format import ParquetFormat
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import RepoConfig
from feast.saved_dataset import SavedDatasetStorage, ValidationReference
from pydantic import Field

from feature_repo.asof_join import Ints, Moments, View, key_column, microseconds, plain
from feature_repo.errors import FeatureRepoError
from feature_repo.parquet_rows import ParquetRows

SMALL = 10_000
"""Labels that are never cut into slices: no row is so wide that they would not fit."""
SLICE_BYTES = 1 << 30
"""The most that a slice of the answer may hold: Arrow counts the text of one column's chunk in 31 bits."""


class AsofOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]
    """Options of the store."""

    type: Literal["feature_repo.asof_store.AsofOfflineStore"] = "feature_repo.asof_store.AsofOfflineStore"
    threads: int = Field(2, ge=1, description="Threads of a join.")
    exclude_late: bool = Field(
        True, description="A label sees a value only if it was created by then; false: as Feast's own stores, which see later ones."
    )
    memory_limit_mb: int = Field(
        2048, ge=1, description="What a join may hold beside the labels. A larger answer is joined in slices and kept in a file that is mapped."
    )
    temporary_folder: str | None = Field(None, description="Where that file is made; none: the system's folder for temporary files.")


class AsofOfflineStore(DuckDBOfflineStore):  # type: ignore[misc]
    """Feast's offline store over Parquet files. Everything but `get_historical_features` is inherited from its DuckDB store."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """As Feast's own. `filter_by_created_timestamp` holds in any case, unless the config's `exclude_late` is false.

        Raises:
            FeatureRepoError: labels are no frame, lack a join key or are named as a feature is; or a view is not read from Parquet.
        """
        if not isinstance(entity_df, pd.DataFrame):
            told = "SQL" if isinstance(entity_df, str) else "a range of dates"
            raise FeatureRepoError(
                f"Labels came as {told}: this store joins a pandas frame with the join keys and event_timestamp. Read the query into a frame first."
            )
        time = infer_event_timestamp_from_entity_df(dict(zip(entity_df.columns, entity_df.dtypes, strict=True)))
        moments = pd.to_datetime(entity_df[time], utc=True)
        late = not (config.offline_store.exclude_late or filter_by_created_timestamp)
        metadata = RetrievalMetadata(
            features=feature_refs,
            keys=[c for c in entity_df.columns if c != time],
            min_event_timestamp=moments.min(),
            max_event_timestamp=moments.max(),
        )
        views = [_view(view, feature_refs, full_feature_names, late, str(config.repo_path or "")) for view in feature_views]
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        return AsofRetrievalJob(entity_df.assign(**{time: moments}), time, views, config, on_demand, full_feature_names, metadata)


class AsofRetrievalJob(RetrievalJob):  # type: ignore[misc]
    """Runs the join when the result is asked for."""

    def __init__(
        self,
        labels: pd.DataFrame,
        time: str,
        views: list[View],
        config: RepoConfig,
        on_demand: list[OnDemandFeatureView],
        full_feature_names: bool,
        metadata: RetrievalMetadata,
    ) -> None:
        super().__init__()
        self._labels, self._time, self._views, self._config = labels, time, views, config
        self._on_demand, self._full, self._metadata = on_demand, full_feature_names, metadata

    @property
    def full_feature_names(self) -> bool:
        return self._full

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata:
        return self._metadata

    def to_df(self, validation_reference: ValidationReference | None = None, timeout: int | None = None) -> pd.DataFrame:
        """As Feast's, without the copy that its new index makes of the whole frame."""
        found: pd.DataFrame = self.to_arrow(validation_reference=validation_reference, timeout=timeout).to_pandas()
        return found

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        found: pd.DataFrame = self._to_arrow_internal(timeout).to_pandas()
        return found

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return _join(self._labels, self._time, self._views, self._config.offline_store)

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the answer, on-demand features included, to a Parquet file, or as part of a folder.

        Raises:
            SavedDatasetLocationAlreadyExists: there is something there, and it must not be overwritten.
            FeatureRepoError: the storage is of another kind.
        """
        source = storage.to_data_source()
        _only_parquet("The saved dataset", source)
        uri = str(FileSource.get_uri_for_file_path(repo_path=str(self._config.repo_path or ""), uri=source.path))
        if Path(uri).exists() and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=source.path)
        filesystem, path = FileSource.create_filesystem_and_path(uri, source.s3_endpoint_override)
        if path.endswith(".parquet"):
            pq.write_table(self.to_arrow(timeout=timeout), path, filesystem=filesystem)
        else:
            pq.write_to_dataset(self.to_arrow(timeout=timeout), root_path=path, filesystem=filesystem)


def _only_parquet(what: str, source: Any) -> None:
    if not isinstance(source, FileSource) or not (source.file_format is None or isinstance(source.file_format, ParquetFormat)):
        raise FeatureRepoError(f"{what} is kept in {type(source).__name__}: this store reads and writes Parquet files alone (FileSource).")


def _view(view: FeatureView, feature_refs: list[str], full: bool, late: bool, repo_path: str) -> View:
    """What to read of a view. Names in its file are those before the source's field mapping."""
    source = view.batch_source
    _only_parquet(f"View '{view.name}'", source)
    in_file = {new: old for old, new in source.field_mapping.items()}
    prefix, shown = view.projection.name_to_use(), view.projection.name_alias or view.name
    names = dict.fromkeys(ref.split(":", 1)[1] for ref in feature_refs if ref.startswith(f"{prefix}:"))
    label_of = view.projection.join_key_map
    created = source.created_timestamp_column or None
    found = View(
        name=view.name,
        rows=ParquetRows(source, repo_path),
        time=in_file.get(source.timestamp_field, source.timestamp_field),
        created=in_file.get(created, created) if created else None,
        sees_late=late,
        keys={in_file.get(column.name, column.name): label_of.get(column.name, column.name) for column in view.entity_columns},
        columns={in_file.get(name, name): f"{shown}__{name}" if full else name for name in names},
        ttl=view.ttl or None,
    )
    needed = [*found.keys, *found.columns, found.time, *([found.created] if found.created else [])]
    if missing := [name for name in needed if name not in found.rows.types]:
        raise FeatureRepoError(f"The table of view '{view.name}' has no column {', '.join(missing)}: it was written for another definition.")
    return found


def _join(frame: pd.DataFrame, time: str, views: list[View], options: AsofOfflineStoreConfig) -> pa.Table:
    """Labels in their order, one row each, with the columns of every view."""
    labels = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    labels = labels.cast(pa.schema([(field.name, plain(field.type)) for field in labels.schema]), safe=False)
    shown = [name for view in views for name in view.columns.values()]
    if twice := sorted(set(labels.column_names) & set(shown)):
        raise FeatureRepoError(
            f"The labels have a column that is named as a feature is ({', '.join(twice)}): rename it, or ask for full_feature_names."
        )
    at = microseconds(labels[time])
    known: dict[tuple[tuple[str, pa.DataType], ...], Moments] = {}
    seen: list[Ints] = []
    for view in views:
        keys = {label: key_column(labels, view, key, label) for key, label in view.keys.items()}
        entity = tuple((label, column.type) for label, column in keys.items())
        if entity not in known:
            known[entity] = Moments(list(keys.values()), at)
        seen.append(view.seen(known[entity], options.threads))
    known.clear()

    size = _slice(labels, views, seen, options.memory_limit_mb << 20)
    parts = (
        _filled(labels.slice(start, size), views, [rows[start : start + size] for rows in seen]) for start in range(0, max(1, len(labels)), size)
    )
    return next(parts) if size >= len(labels) else _mapped(parts, options.temporary_folder)


def _slice(labels: pa.Table, views: list[View], seen: list[Ints], limit: int) -> int:
    """Labels to fill at once. A view's rows are there three times then: as they are read, in one piece, and as the labels see them."""
    if len(labels) <= SMALL:
        return SMALL
    width = labels.nbytes / len(labels) + sum(view.rows.width(rows[rows >= 0], list(view.columns)) for view, rows in zip(views, seen, strict=True))
    return max(SMALL, int(min(limit / 4, SLICE_BYTES) / max(1.0, width)))


def _filled(labels: pa.Table, views: list[View], seen: list[Ints]) -> pa.Table:
    """The labels with what they see. Each row of a view is read once, however many labels see it."""
    for view, rows in zip(views, seen, strict=True):
        wanted, place = np.unique(rows, return_inverse=True)
        none = int(len(wanted) > 0 and wanted[0] < 0)
        names = list(view.columns)
        found = view.rows.take(wanted[none:], names)
        found = found.cast(pa.schema([(name, plain(view.rows.types[name])) for name in names])).combine_chunks()
        found = found.take(pa.array(place - none, mask=place < none))
        for name, shown in view.columns.items():
            labels = labels.append_column(shown, found[name])
    return labels


def _mapped(parts: Iterator[pa.Table], folder: str | None) -> pa.Table:
    """The parts one after another in a file that goes when the table does; the system keeps in memory what is read of it, as it sees fit."""
    number, path = tempfile.mkstemp(suffix=".arrow", prefix="labels-", dir=folder)
    try:
        with os.fdopen(number, "wb") as file:
            first = next(parts)
            with pa.ipc.new_file(file, first.schema) as writer:
                writer.write_table(first)
                del first
                for part in parts:
                    writer.write_table(part)
        table: pa.Table = pa.ipc.open_file(pa.memory_map(path)).read_all()
    finally:
        Path(path).unlink()  # the mapping holds on to what was written
    return table
