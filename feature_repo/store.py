"""Feast's FeatureStore of a shop's home, and the fingerprint by which a model knows the features it was trained with."""

import hashlib
import io
import json
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Any

import ibis
import pandas as pd
import yaml  # type: ignore[import-untyped]
from feast import FeatureStore
from feast.repo_config import RepoConfig

from feature_repo.definitions import Definitions, definitions
from feature_repo.errors import FeatureRepoError
from feature_repo.home import ShopHome

YAML = Path(__file__).parent / "feature_store.yaml"


def current(home: ShopHome) -> Path:
    """The folder with the feature tables that hold now (a link to a version)."""
    return home.features / "current"


def repo_config(home: ShopHome, building: Path | None = None) -> RepoConfig:
    """feature_store.yaml for this home. `building`: a folder for a new registry and online store that take the places of the home's at the end."""
    text = Template(YAML.read_text()).substitute(STORYSHELF_SHOP_HOME=str(home.root.resolve()))
    raw: dict[str, Any] = yaml.safe_load(text)
    if building is not None:
        raw["registry"]["path"] = f"sqlite:///{(building / home.registry_db.name).resolve()}"
        raw["online_store"] |= {"path": str((building / home.online_db.name).resolve()), "bulk": True}
    return RepoConfig(**raw, repo_path=YAML.parent)


def open_store(home: ShopHome) -> FeatureStore:
    """The store as the last build left it.

    Raises:
        FeatureRepoError: no features were built yet.
    """
    if not home.registry_db.exists() or not current(home).exists():
        raise FeatureRepoError(f"Shop '{home.shop}' has no features yet: run `make features SHOP={home.shop}`.")
    return FeatureStore(config=repo_config(home))


def materialise(store: FeatureStore, as_of: datetime) -> None:
    """Write every view's latest values as of a moment to the online store, without Feast's coloured lines on stdout."""
    with redirect_stdout(io.StringIO()):
        store.materialize(start_date=datetime(1970, 1, 2, tzinfo=UTC), end_date=as_of)
    # Feast reads through Ibis' default session; left open, DuckDB's bindings print pages about it when the process ends.
    if ibis.options.default_backend is not None:
        ibis.options.default_backend.disconnect()
        ibis.options.default_backend = None


def features_of(store: FeatureStore, entity: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Every stored feature of an entity as of each row's time, one row per row and in order.

    Args:
        entity: "user" or "product".
        rows: `user_id` or `product_id`, and `event_timestamp` (UTC); for a label, its time less one microsecond.
    """
    refs = [
        f"{view.name}:{field.name}" for view in definitions(Path()).views if view.entities == [entity] for field in view.features
    ]  # fmt: skip
    found: pd.DataFrame = store.get_historical_features(entity_df=rows, features=refs).to_df()
    return found


def fingerprint(home: ShopHome, service: str) -> str:
    """Hash of a FeatureService: names, types and declarations of its features, in order. A model refuses to run with another one.

    Raises:
        FeatureRepoError: no such service.
    """
    defined: Definitions = definitions(current(home))
    services = {item.name: item for item in defined.services}
    if service not in services:
        raise FeatureRepoError(f"There is no FeatureService '{service}': feature_repo/definitions.py has {', '.join(services)}.")
    shape = [
        [projection.name, [[field.name, str(field.dtype), field.tags] for field in projection.features]]
        for projection in services[service].feature_view_projections
    ]
    return f"{service}-{hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:12]}"
