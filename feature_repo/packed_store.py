"""Feast's online store on SQLite with one packed row per view and entity.

Feast's own SQLite store writes one row per feature value, about 700 entities of 20 features a second; a shop of 20,000 users would take minutes.
Here the values of a view are one blob: Feast's `RepeatedValue`, in the order of the view's features, which table `views` keeps.
"""

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from feast import Entity, FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import StrictStr

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Row = tuple[datetime, dict[str, Value]]


class PackedOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Options of the store. `bulk`: the file is new and nobody reads it yet, so writes need not survive a crash."""

    type: Literal["feature_repo.packed_store.PackedOnlineStore"] = "feature_repo.packed_store.PackedOnlineStore"
    path: StrictStr = "online.db"
    bulk: bool = False


class PackedFile:
    """The file behind the store; one connection per thread, opened anew when another file was put in its place."""

    def __init__(self, path: Path, bulk: bool = False) -> None:
        self.path, self.bulk = path, bulk
        self._local = threading.local()

    def connection(self) -> sqlite3.Connection:
        """A connection to the file that lies there now."""
        now = _identity(self.path)
        if getattr(self._local, "identity", None) != now or now is None:
            self.close()
            self._local.connection = sqlite3.connect(self.path, timeout=30)
            if self.bulk:
                self._local.connection.execute("pragma journal_mode=off")
            elif now is None:
                self._local.connection.execute("pragma journal_mode=wal")  # readers never wait for a writer
            self._local.connection.execute("pragma synchronous=off" if self.bulk else "pragma synchronous=normal")
            self._local.connection.execute("create table if not exists views (view text primary key, features text)")
            # Of the file that was seen before it was opened: if another took its place meanwhile, the next call opens that one.
            self._local.identity = now if now is not None else _identity(self.path)
            self._local.features = {}
        found: sqlite3.Connection = self._local.connection
        return found

    def settle(self) -> None:
        """What was written in bulk is whole: from now on readers and a writer share the file."""
        self.connection().execute("pragma journal_mode=wal")
        self.close()

    def close(self) -> None:
        if getattr(self._local, "identity", None) is not None:
            self._local.connection.close()
            self._local.identity = None

    def features(self, view: str) -> list[str]:
        """Order of a view's values; empty if the view was never written."""
        connection = self.connection()
        known: dict[str, list[str]] = self._local.features
        if view not in known:
            row = connection.execute("select features from views where view = ?", (view,)).fetchone()
            if row is None:
                return []
            known[view] = json.loads(row[0])
        return known[view]

    def prepare(self, view: str, features: Sequence[str]) -> None:
        """Make the view's table. Another order or set of features empties it: its rows could not be read."""
        connection = self.connection()
        if self.features(view) == list(features):
            return
        with connection:
            connection.execute(f'drop table if exists "{view}"')
            connection.execute(f'create table "{view}" (entity blob primary key, at integer not null, packed blob not null) without rowid')
            connection.execute("insert or replace into views values (?, ?)", (view, json.dumps(list(features))))
        self._local.features[view] = list(features)

    def write(self, view: str, rows: Sequence[tuple[bytes, int, bytes]]) -> None:
        """Upsert (key, microseconds, packed); an older row never replaces a newer one."""
        with self.connection() as connection:
            connection.executemany(
                f'insert into "{view}" values (?, ?, ?) on conflict (entity) do update set at = excluded.at, packed = excluded.packed '
                "where excluded.at >= at",
                rows,
            )

    def read(self, view: str, keys: Sequence[bytes]) -> dict[bytes, tuple[int, RepeatedValue]]:
        """Rows of the keys that are there."""
        if not self.features(view):
            return {}
        connection = self.connection()
        found: dict[bytes, tuple[int, RepeatedValue]] = {}
        for start in range(0, len(keys), 500):
            some = list(keys[start : start + 500])
            for key, at, packed in connection.execute(f'select entity, at, packed from "{view}" where entity in ({",".join("?" * len(some))})', some):
                values = RepeatedValue()
                values.ParseFromString(packed)
                found[key] = (at, values)
        return found

    def drop(self, view: str) -> None:
        with self.connection() as connection:
            connection.execute(f'drop table if exists "{view}"')
            connection.execute("delete from views where view = ?", (view,))
        self._local.features.pop(view, None)


class PackedOnlineStore(OnlineStore):  # type: ignore[misc]
    """Feast's interface to `PackedFile`."""

    def __init__(self) -> None:
        self._files: dict[str, PackedFile] = {}

    def file(self, config: RepoConfig) -> PackedFile:
        path = config.online_store.path
        if path not in self._files:
            self._files[path] = PackedFile(Path(path), config.online_store.bulk)
        return self._files[path]

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        names = [field.name for field in table.features]
        file = self.file(config)
        file.prepare(table.name, names)
        missing = Value()
        rows = []
        for key, values, at, _ in data:
            packed = RepeatedValue(val=[values.get(name, missing) for name in names]).SerializeToString()
            rows.append((serialize_entity_key(key, config.entity_key_serialization_version), _microseconds(at), packed))
        file.write(table.name, rows)
        if progress:
            progress(len(rows))

    def online_read(
        self, config: RepoConfig, table: FeatureView, entity_keys: list[EntityKey], requested_features: list[str] | None = None
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        file = self.file(config)
        keys = [serialize_entity_key(key, config.entity_key_serialization_version) for key in entity_keys]
        found = file.read(table.name, keys)
        names = file.features(table.name)
        answers: list[tuple[datetime | None, dict[str, Value] | None]] = []
        for key in keys:
            if key not in found:
                answers.append((None, None))
                continue
            at, packed = found[key]
            values = dict(zip(names, packed.val, strict=True))
            wanted = values if requested_features is None else {name: values[name] for name in requested_features if name in values}
            answers.append((datetime.fromtimestamp(at / 1_000_000, UTC), wanted))
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
        file = self.file(config)
        for view in tables_to_delete:
            file.drop(view.name)
        for view in tables_to_keep:
            file.prepare(view.name, [field.name for field in view.features])

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        file = self.file(config)
        file.close()
        file.path.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116  (half the cost of Path.stat, on every read)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _microseconds(at: datetime) -> int:
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    gone = aware - _EPOCH
    return (gone.days * 86_400 + gone.seconds) * 1_000_000 + gone.microseconds
