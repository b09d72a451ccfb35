"""A shop as training reads it: its events, its catalogue, Feast, and how its time is divided."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import pandas as pd

from feature_repo.home import ShopHome
from feature_repo.ingest import config, read_tables
from feature_repo.online import ProductMatrix
from feature_repo.store import Build, features_of
from training import labels
from training.dataset import Catalogue, Reader
from training.labels import Periods
from training.retrieval.model import Params, RetrieverSet
from training.retrieval.train import Fitter
from training.settings import TrainingSettings


@dataclass(frozen=True)
class Shop:
    """What training reads of a shop: its events, its catalogue, Feast and how its time is divided."""

    home: ShopHome
    events: pd.DataFrame
    catalogue: Catalogue
    reader: Reader
    periods: Periods
    kind: str
    repeat_buying: bool
    data_hash: str
    seed: int

    @property
    def window(self) -> tuple[str, str]:
        """First and last moment of its data, as ISO texts."""
        return self.periods.start.isoformat(), self.periods.end.isoformat()

    def retrievers(self, cut: datetime, params: Params, weights: Sequence[float], earlier: RetrieverSet | None = None) -> RetrieverSet:
        """Fitted on what was known before `cut`. `earlier`: a set of a cut before, which training goes on from."""
        return self.fitter(cut, earlier).set(params, self.repeat_buying, weights, self.catalogue.embedding_version)

    def fitter(self, cut: datetime, earlier: RetrieverSet | None = None) -> Fitter:
        """What retrievers of this cut are fitted on."""
        return Fitter.before(self.events, self.catalogue.known_at(cut).products(), cut, self.seed, earlier)


def open_shop(home: ShopHome, settings: TrainingSettings) -> Shop:
    """A shop whose features were built.

    Raises:
        TrainingError: too short a past, or nobody did anything.
    """
    build = Build.current(home)
    tables = read_tables(home)
    # What was posted since the build waits for the next one: labels and features end at the same moment.
    events = tables["events"]
    events = tables["events"] = events[events[["event_time", "arrived_at"]].max(axis=1) <= pd.Timestamp(build.as_of)].reset_index(drop=True)
    return Shop(
        home,
        events,
        Catalogue.of(ProductMatrix.load(build)),
        partial(features_of, build.store()),
        Periods.of(events, settings),
        labels.target_type(events),
        config(home).repeat_buying,
        data_hash(tables),
        settings.seed,
    )


def data_hash(tables: Mapping[str, pd.DataFrame]) -> str:
    """Hash of the rows that were read, posted events included."""
    found = hashlib.sha256()
    for name, frame in sorted(tables.items()):
        found.update(name.encode() + pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return found.hexdigest()[:16]
