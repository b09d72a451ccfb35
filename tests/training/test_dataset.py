"""Everything that training reads is what Feast's own offline store would have told it, value for value."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from feast import FeatureStore
from feast.infra.offline_stores.duckdb import DuckDBOfflineStoreConfig

from feature_repo.asof_store import AsofOfflineStoreConfig
from feature_repo.build import build, prepared
from feature_repo.store import Build, features_of, leave_duckdb, repo_config
from training import dataset, labels
from training.retrieval.model import Params
from training.settings import TrainingSettings
from training.shop import Shop, open_shop

WORLD = 'shoppers = 120\nproducts_per_category = 5\ndays = 100\nend = "2024-05-01T00:00:00Z"\n'


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> TrainingSettings:
    small = {"label_groups": 150, "holdout_days": 10, "label_days": 40, "candidates": 40, "negatives": 20}
    return TrainingSettings(home=tmp_path_factory.mktemp("homes"), **small)


@pytest.fixture(scope="module")
def shop(settings: TrainingSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("world")
    (folder / "demo.toml").write_text(WORLD)
    with prepared(settings, "demo", folder) as home:
        build(home, settings, progress=False)
    yield open_shop(home, settings)
    leave_duckdb()


class BothStores:
    """A reader that asks our offline store and Feast's own, and lets nothing pass in which they differ. `values`: how many each feature took."""

    def __init__(self, shop: Shop) -> None:
        build = Build.current(shop.home)
        self._ours = build.store()
        self._feasts = FeatureStore(config=repo_config(build.folder).model_copy(update={"offline_config": {"type": "duckdb"}}))
        self._frames: list[pd.DataFrame] = []
        assert isinstance(self._ours.config.offline_store, AsofOfflineStoreConfig)
        assert type(self._feasts.config.offline_store) is DuckDBOfflineStoreConfig

    def __call__(self, entity: str, frame: pd.DataFrame) -> pd.DataFrame:
        found = features_of(self._ours, entity, frame)
        numbered = frame.reset_index(drop=True).assign(number=range(len(frame)))  # Feast's own store answers in any order
        theirs = features_of(self._feasts, entity, numbered).sort_values("number", ignore_index=True)
        pd.testing.assert_frame_equal(found, theirs[found.columns.tolist()], check_exact=True)
        self._frames.append(found)
        return found

    def values(self) -> dict[str, int]:
        names = {name for frame in self._frames for name in frame.columns}
        return {name: pd.concat([frame[name] for frame in self._frames if name in frame]).astype(str).nunique() for name in names}


def test_training_reads_what_feasts_own_store_answers(shop: Shop, settings: TrainingSettings) -> None:
    both, periods = BothStores(shop), shop.periods
    assert len(dataset.choices(shop.events, shop.catalogue, periods, both, settings).chosen) > 50
    assert dataset.audience(shop.events, shop.kind, periods.test, periods.end, both, settings).people
    retrievers = [shop.retrievers(cut, Params(), [0.1] * 8) for cut in periods.cuts]
    groups = dataset.groups_of(labels.labels_of(shop.events, shop.kind, periods, settings), both, retrievers, periods, settings)
    rows = dataset.training_rows(groups, retrievers, both, np.full(8, 0.1, np.float32), settings)
    assert len(rows.matrix) > 1000
    found = both.values()
    assert sum(count >= 20 for count in found.values()) > 40
    assert sum(count < 2 for count in found.values()) < 10
