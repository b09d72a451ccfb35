"""A new recommender against the champion, on what people did since the champion was trained and within the test period: days that neither has seen.

The champion is scored as it serves. The new one is fitted again, with the parameters found before the test period, on what was known at that moment.
"""

import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mlflow.exceptions import MlflowException

from feature_repo.errors import StoryshelfError
from feature_repo.home import ShopHome
from feature_repo.store import fingerprint
from training.dataset import Audience, Catalogue, Reader, Scored
from training.evaluate import ndcgs, recall, upper
from training.profile import ProfileModel
from training.ranker.model import Ranker
from training.registry import ModelFolder, download
from training.registry import champion as registered
from training.retrieval.model import RetrieverSet

log = logging.getLogger(__name__)

FEWEST_USERS = 20
"""With fewer users since the champion nothing is compared."""


@dataclass(frozen=True)
class Champion:
    """What serves: retrievers, profile and ranker that belong together, the window they were trained on, and their metrics by kind."""

    retrievers: RetrieverSet
    profile: ProfileModel
    ranker: Ranker
    window: tuple[str, str]
    metrics: Mapping[str, Mapping[str, float]]

    @property
    def until(self) -> datetime:
        """The end of what it was trained on."""
        return datetime.fromisoformat(self.window[1])

    @classmethod
    def of(cls, home: ShopHome) -> "Champion | None":
        """None if there is none yet, it can't be read any more, or it was trained with other features and can't be scored with these."""
        if not (registered(home, "ranker") and registered(home, "retriever")):
            return None
        try:
            return cls._read(home)
        except (StoryshelfError, MlflowException, OSError, StopIteration, KeyError, ValueError) as error:
            log.warning("The champion can't be read, so nothing is compared with it: %s", error)
            return None

    @classmethod
    def _read(cls, home: ShopHome) -> "Champion | None":
        with tempfile.TemporaryDirectory(dir=home.root, prefix="champion-") as scratch:
            folders = {kind: download(home, kind, "champion", Path(scratch) / kind) for kind in ("retriever", "ranker")}
            if not _fits(folders["ranker"], folders["retriever"]):
                return None
            ranker = Ranker.load(folders["ranker"].path, folders["ranker"].meta.feature_fingerprint)
            retriever = folders["retriever"].path
            metrics = {kind: folder.meta.metrics for kind, folder in folders.items()}
            return cls(RetrieverSet.load(retriever), ProfileModel.load(retriever), ranker, folders["ranker"].meta.window, metrics)

    def scored(self, people: Audience, catalogue: Catalogue, since: datetime, reader: Reader, count: int) -> Scored:
        """As it serves at `since`, where `people` are: products that came after it was trained are added to its retrievers by their text."""
        known, retrievers = catalogue.known_at(since), self.retrievers
        if known.embedding_version == retrievers.embedding_version:
            retrievers = retrievers.extend(known.products())
        return Scored.of(people, retrievers, reader, self.profile.weights, count)


def _fits(ranker: ModelFolder, retriever: ModelFolder) -> bool:
    return ranker.meta.requires.get("retriever") == retriever.version and ranker.meta.feature_fingerprint == fingerprint("ranker_v1")


def compare(
    reigning: Champion,
    people: Audience,
    catalogue: Catalogue,
    since: datetime,
    reader: Reader,
    count: int,
    fresh: Callable[[], tuple[Scored, Ranker]],
) -> dict[str, dict[str, float]]:
    """Metrics of the ranker and of the retriever, by kind; none if too few users did anything since.

    `people` are as of `since`; `fresh()` fits the new recommender on what was known then and scores them with it.
    """
    if len(people.people) < FEWEST_USERS:
        return {"ranker": {}, "retriever": {}}
    old = reigning.scored(people, catalogue, since, reader, count)
    new, ranker = fresh()
    theirs, ours = (ndcgs(scored.ranked(by.score), scored.targets.products) for scored, by in ((old, reigning.ranker), (new, ranker)))
    recalls = {name: recall([found.index for found in scored.candidates], scored.targets) for name, scored in (("new", new), ("old", old))}
    users = {"since_champion_users": float(len(people.people))}
    of_ranker = {"since_champion_ndcg_10": float(ours.mean()), "champion_ndcg_10": float(theirs.mean()), "above_champion_upper": upper(ours - theirs)}
    return {
        "ranker": users | of_ranker,
        "retriever": users
        | {"champion_recall_candidates": recalls["old"], "since_champion_recall_candidates": recalls["new"]}
        | {"above_champion_upper": recalls["new"] - recalls["old"]},
    }
