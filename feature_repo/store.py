"""Feast's FeatureStore of a shop's home, and the fingerprint by which a model knows the features it was trained with."""

import hashlib
import io
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

import duckdb
import ibis
import pandas as pd
import yaml  # type: ignore[import-untyped]
from feast import FeatureStore
from feast.repo_config import RepoConfig

from feature_repo.definitions import Definitions, definitions
from feature_repo.errors import FeatureRepoError
from feature_repo.home import ShopHome
from feature_repo.packed.errors import PackedError
from feature_repo.packed.reader import PackedReader
from feature_repo.packed.redis_rows import RedisRows
from feature_repo.packed.rows import Rows
from feature_repo.packed.sqlite_rows import FORMAT

YAML = Path(__file__).parent / "feature_store.yaml"
SERVICES = ("ranker_v1", "retriever_v1", "writer_v1")
"""The FeatureServices that models are trained with."""


@dataclass(frozen=True)
class Build:
    """One build of a shop's features: a folder with the feature tables, Feast's registry and its online store, never mixed with another's."""

    folder: Path
    version: str
    as_of: datetime
    embedding_version: str
    derived_categories: bool
    services: Mapping[str, str] = field(default_factory=lambda: fingerprints())
    """FeatureService -> fingerprint that it was built with."""

    @classmethod
    def current(cls, home: ShopHome) -> "Build":
        """The one that holds now. Whoever reads more than once keeps this object: a later build takes the place of `current`, not of this folder.

        Raises:
            FeatureRepoError: no features were built yet, or by a program that knew other views.
        """
        try:
            folder = current(home).resolve(strict=True)
            about = json.loads((folder / _ABOUT).read_text())
        except (OSError, ValueError) as error:
            raise FeatureRepoError(f"Shop '{home.shop}' has no features yet: run `make features SHOP={home.shop}`.") from error
        if missing := [view.name for view in definitions(Path()).views if not (folder / f"{view.name}.parquet").exists()]:
            raise FeatureRepoError(
                f"The features of shop '{home.shop}' are of another version (no {', '.join(missing)}): run `make train SHOP={home.shop}`."
            )
        if about.get("rows") != FORMAT:
            raise FeatureRepoError(
                f"The features of shop '{home.shop}' were stored by another version of this program: run `make features SHOP={home.shop}`."
            )
        if (kept := about["online"]) != (wanted := _online_kind(folder)):
            raise FeatureRepoError(
                f"The features of shop '{home.shop}' lie in {kept}, and STORYSHELF_ONLINE_STORE asks for {wanted}: "
                f"run `make features SHOP={home.shop}`, or set it as it was."
            )
        for name, declared in fingerprints().items():
            if (built := about["services"].get(name)) != declared:
                raise FeatureRepoError(
                    f"The features of shop '{home.shop}' were built as {built}, this program declares {declared}: run `make train SHOP={home.shop}`, "
                    "or the program that built them."
                )
        return cls(
            folder,
            about["version"],
            datetime.fromisoformat(about["as_of"]),
            about["embedding_version"],
            about["derived_categories"],
            about["services"],
        )

    def seal(self) -> None:
        """Write down what the folder holds: the last step before it takes its place."""
        about = {name: value for name, value in vars(self).items() if name != "folder"}
        about |= {"as_of": self.as_of.isoformat(), "services": dict(self.services)}
        about |= {"rows": FORMAT, "online": _online_kind(self.folder)}
        (self.folder / _ABOUT).write_text(json.dumps(about, indent=1))

    @staticmethod
    def sealed(folder: Path) -> bool:
        """Whether a build ended there."""
        return (folder / _ABOUT).exists()

    def store(self, new: bool = False) -> FeatureStore:
        """Feast over this build. `new`: it is being written and nobody reads it yet."""
        return FeatureStore(config=repo_config(self.folder, new))

    def table(self, view: str) -> Path:
        """Feast's offline table of a view."""
        return self.folder / f"{view}.parquet"

    def next_change(self, after: datetime) -> datetime | None:
        """The first moment after `after` at which a value of any view changes; None when nothing does any more."""
        connection = duckdb.connect()
        tables = " union all ".join(
            f"select min(event_timestamp) as moment from '{self.table(view.name)}' where event_timestamp > ?" for view in definitions(Path()).views
        )
        try:
            found = connection.execute(f"select epoch_us(min(moment)) from ({tables})", [after] * tables.count("?")).fetchone()
        finally:
            connection.close()
        return None if found is None or found[0] is None else datetime.fromtimestamp(found[0] / 1e6, UTC)


_ABOUT = "build.json"


def current(home: ShopHome) -> Path:
    """The link to the build that holds now."""
    return home.features / "current"


def repo_config(folder: Path, new: bool = False) -> RepoConfig:
    """feature_store.yaml over a build's folder."""
    raw: dict[str, Any] = yaml.safe_load(Template(YAML.read_text()).substitute(STORYSHELF_FEATURES=str(folder.resolve())))
    raw["online_store"] |= {"bulk": new, "clock_offset_s": _clock_offset(folder)}
    return RepoConfig(**raw, repo_path=YAML.parent)


def _clock_offset(folder: Path) -> float:
    """Seconds that the shop's clock lies behind, which times to live go by; 0 for a build outside a home."""
    home = ShopHome(folder.resolve().parents[1])
    return home.clock().offset.total_seconds() if home.manifest_file.exists() else 0.0


def _online_kind(folder: Path) -> str:
    return "Redis" if repo_config(folder).online_store.redis else "SQLite"


def online_rows(store: FeatureStore) -> Rows:
    """Where a store keeps its online rows."""
    return PackedReader(store, []).rows


def forget(folder: Path) -> None:
    """Delete a build: its folder, and its rows where they lie in Redis."""
    options = repo_config(folder).online_store
    if options.redis:
        RedisRows(options.redis, options.namespace).clear()
    shutil.rmtree(folder)


def materialise(store: FeatureStore, as_of: datetime) -> None:
    """Write every view's latest values as of a moment to the online store: all of them the first time, later what changed since.

    The tables hold what expires after the build as well, so this is how windows move on between two builds.
    """
    with redirect_stdout(io.StringIO()), told():  # Feast's coloured lines
        if all(view.most_recent_end_time for view in store.list_feature_views()):
            store.materialize_incremental(end_date=as_of)
        else:
            store.materialize(start_date=datetime(1970, 1, 2, tzinfo=UTC), end_date=as_of)
    leave_duckdb()


def leave_duckdb() -> None:
    """Feast reads through Ibis' default session; left open, DuckDB's bindings print pages about it when the process ends."""
    if ibis.options.default_backend is not None:
        ibis.options.default_backend.disconnect()
        ibis.options.default_backend = None


@contextmanager
def told() -> Iterator[None]:
    """The packed store's errors as ours, so that commands say them without a traceback."""
    try:
        yield
    except PackedError as error:
        raise FeatureRepoError(str(error)) from error


def catch_up(home: ShopHome, now: datetime) -> Build:
    """Bring the online store of the build that holds to `now`, if a value changed since it was last brought up."""
    build = Build.current(home)
    with home.locked("online"):
        store = build.store()
        done = min(view.most_recent_end_time for view in store.list_feature_views())
        change = build.next_change(done)
        if change is not None and change <= now:
            materialise(store, now)
    return build


def features_of(store: FeatureStore, entity: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Every stored feature of an entity as of each row's time, one row per row and in order.

    Args:
        entity: "user" or "product".
        rows: `user_id` or `product_id`, and `event_timestamp` (UTC); for a label, its time less one microsecond.
    """
    found: pd.DataFrame = store.get_historical_features(entity_df=rows, features=feature_refs(entity)).to_df()
    return found


def feature_refs(entity: str) -> list[str]:
    """'view:feature' of every stored feature of an entity, "user" or "product"."""
    return [f"{view.name}:{field.name}" for view in definitions(Path()).views if view.entities == [entity] for field in view.features]


def fingerprints() -> dict[str, str]:
    """Of every FeatureService that models are trained with."""
    return {name: fingerprint(name) for name in SERVICES}


@cache
def fingerprint(service: str) -> str:
    """Hash of a FeatureService: names, types and declarations of its features, in order. A model refuses to run with another one.

    Raises:
        FeatureRepoError: no such service.
    """
    defined: Definitions = definitions(Path())
    services = {item.name: item for item in defined.services}
    if service not in services:
        raise FeatureRepoError(f"There is no FeatureService '{service}': feature_repo/definitions.py has {', '.join(services)}.")
    shape = [
        [projection.name, [[field.name, str(field.dtype), field.tags] for field in projection.features]]
        for projection in services[service].feature_view_projections
    ]
    return f"{service}-{hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:12]}"
