"""Feast's online store over packed rows, in a SQLite file or in Redis.

    online_store:
        type: feature_repo.packed.store.PackedOnlineStore
        path: online.db                          # SQLite; or instead of it
        redis: redis://localhost:6379/0          # a server of Redis 7
    batch_engine:
        type: feature_repo.packed.engine.ColumnarEngine     # `materialize` without a protobuf per value

`push`, `write_to_online_store`, `materialize` and `get_online_features` work as with Feast's own stores. What is different: an older value never
takes the place of a newer one, a corrected value of the same event time does, and a view's time to live holds when it is read.
"""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from feast import Entity, FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel
from pydantic import Field, StrictStr, field_validator

from .arrow import entity_keys, pack_table
from .layout import Layout
from .moments import moment_of
from .redis_rows import RedisRows
from .rows import Rows
from .sqlite_rows import SqliteRows

_BATCH = 50_000  # rows packed at once: some 20 MB of 50 features


class PackedOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Options of the store."""

    type: StrictStr = "feature_repo.packed.store.PackedOnlineStore"
    path: StrictStr = "online.db"
    """SQLite file; relative to the repository's folder."""
    redis: StrictStr = Field(default_factory=lambda: os.environ.get("STORYSHELF_ONLINE_STORE", ""))
    """redis://…, rediss://… or unix://… of a server; empty: the SQLite file."""
    namespace: StrictStr = ""
    """First part of every name in Redis; empty: the project's name. Two of them are two stores on one server. A folder stands for its last three
    names, links followed."""
    bulk: bool = False
    """The SQLite file is new and nobody reads it yet, so writes need not survive a crash."""
    clock_offset_s: float = 0.0
    """Wall time minus the time that the data live in, for a data set that is replayed; times to live count from it."""

    @field_validator("namespace")
    @classmethod
    def _of_folder(cls, value: str) -> str:
        return "/".join(Path(value).resolve().parts[-3:]) if value and Path(value).is_dir() else value


class PackedOnlineStore(OnlineStore):  # type: ignore[misc]
    """Feast's interface to packed rows. `clock`: what a time to live is measured by; tests set it."""

    _versioned_read_supported = True

    def __init__(self) -> None:
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._rows: dict[tuple[str, str], Rows] = {}
        self._layouts: dict[tuple[str, tuple[tuple[str, str], ...]], Layout] = {}

    def rows(self, config: RepoConfig) -> Rows:
        """Where the rows are kept."""
        options = config.online_store
        where = (options.redis, options.namespace or config.project) if options.redis else (options.path, "")
        if where not in self._rows:
            self._rows[where] = RedisRows(*where) if options.redis else SqliteRows(_path(config), options.bulk)
        return self._rows[where]

    def layout(self, view: FeatureView) -> Layout:
        """How the rows of a view lie."""
        shape = tuple((feature.name, str(feature.dtype)) for feature in view.features)
        if (view.name, shape) not in self._layouts:
            self._layouts[view.name, shape] = layout_of(view)
        return self._layouts[view.name, shape]

    def now(self, config: RepoConfig) -> datetime:
        """The time that the data live in."""
        return self.clock() - timedelta(seconds=config.online_store.clock_offset_s)

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        layout, rows, name = self.layout(table), self.rows(config), view_name(config, table)
        keys = [serialize_entity_key(key, config.entity_key_serialization_version) for key, _, _, _ in data]
        rows.declare(name)
        rows.write(name, keys, [layout.pack(values, at, created) for _, values, at, created in data])
        if progress:
            progress(len(data))

    def write_table(self, config: RepoConfig, view: FeatureView, table: pa.Table) -> None:
        """Write Arrow columns, named as the view names them and its source's times: the way of `ColumnarEngine`.

        Raises:
            PackedError: a column is missing or holds what its declared type can't.
        """
        layout, rows, name = self.layout(view), self.rows(config), view_name(config, view)
        source = view.batch_source
        times = [source.field_mapping.get(column, column) for column in (source.timestamp_field, source.created_timestamp_column)]
        joins = [(column.name, column.dtype.to_value_type()) for column in view.entity_columns]
        rows.declare(name)
        for start in range(0, table.num_rows, _BATCH):
            some = table.slice(start, _BATCH)
            rows.write(name, entity_keys(joins, some), pack_table(layout, some, times[0], times[1] or None))

    def online_read(
        self, config: RepoConfig, table: FeatureView, entity_keys: list[EntityKey], requested_features: list[str] | None = None
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        layout, rows = self.layout(table), self.rows(config)
        keys = [serialize_entity_key(key, config.entity_key_serialization_version) for key in entity_keys]
        oldest = self.now(config) - table.ttl if getattr(table, "ttl", None) else None
        answers: list[tuple[datetime | None, dict[str, Value] | None]] = []
        for row in rows.read([(view_name(config, table), keys)])[0]:
            if row is None or row[16:24] != layout.schema or (oldest is not None and moment_of(row) < oldest):
                answers.append((None, None))
            else:
                answers.append((moment_of(row), layout.unpack(row, requested_features)))
        return answers

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        rows = self.rows(config)
        for view in tables_to_delete:
            rows.drop(view_name(config, view))
        for view in tables_to_keep:
            rows.declare(view_name(config, view))

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        self.rows(config).clear()


def view_name(config: RepoConfig, view: FeatureView) -> str:
    """Name of a view's rows; with its version where Feast keeps several."""
    name: str = compute_versioned_name(view, config.registry.enable_online_feature_view_versioning)
    return name


def layout_of(view: FeatureView) -> Layout:
    """How the rows of a view lie."""
    return Layout.of([(feature.name, str(feature.dtype), feature.dtype.to_value_type()) for feature in view.features])


def _path(config: RepoConfig) -> Path:
    path = Path(config.online_store.path)
    return path if path.is_absolute() or not config.repo_path else Path(config.repo_path) / path
