"""What the service knows of the shop at this moment: products, clock, vetoes. Replaced as a whole when the shop's home changes."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_repo.home import ShopClock, ShopHome
from feature_repo.ingest import config
from feature_repo.online import ProductMatrix
from feature_repo.store import catch_up, current
from serving.catalogue import Catalogue
from training.retrieval.contract import Products
from training.retrieval.model import RetrieverSet

log = logging.getLogger(__name__)

Index = NDArray[np.int32]


@dataclass(frozen=True)
class Snapshot:
    """One state of the shop, never changed after it is made.

    `row_of` int32[retrievers' products]: row in the matrix, -1 for a product that the catalogue no longer has. `lineage` holds for each row its
    categories from the narrowest to the widest. `disliked_products`: user -> products they said they dislike. `build`: folder of the features it
    was read from. `due`: when a window moves on and the snapshot has to be taken again; None for never.
    """

    matrix: ProductMatrix
    retrievers: RetrieverSet
    row_of: Index
    lineage: tuple[tuple[str, ...], ...]
    categories_zh: Mapping[str, str]
    disliked_products: Mapping[str, frozenset[str]]
    catalogue: Catalogue
    clock: ShopClock
    stale_embedding: bool
    build: Path
    due: datetime | None

    def now(self) -> datetime:
        return self.clock.now()

    @classmethod
    def take(cls, home: ShopHome, fitted: RetrieverSet) -> "Snapshot":
        """Read the home as of its clock. Products that came after `fitted` was trained are added to it by their text.

        Raises:
            StoryshelfError: the home has no features yet.
        """
        clock = home.clock()
        now = clock.now()
        build = catch_up(home, now)
        matrix = ProductMatrix.online(build, now)
        category, brand = ([name or "" for name in matrix.texts[f"product_{kind}"]] for kind in ("category", "brand"))
        retrievers = fitted
        stale = bool(matrix.embedding_version) and matrix.embedding_version != fitted.embedding_version
        if not stale:
            retrievers = fitted.extend(Products.of([str(each) for each in matrix.product_ids], category, brand, matrix.embedding))
        row_of = np.array([matrix.index.get(str(product), -1) for product in retrievers.product_ids], np.int32)
        paths = [str(path or "") for path in matrix.texts["product_category_path"]]
        lineage = tuple(_lineage(name, path) for name, path in zip(category, paths, strict=True))
        catalogue = Catalogue.load(home, now, config(home).currency)
        due = build.next_change(now)
        return cls(matrix, retrievers, row_of, lineage, catalogue.chinese(), _disliked(home), catalogue, clock, stale, build.folder, due)

    def freshened(self, home: ShopHome, clock: ShopClock, fitted: RetrieverSet) -> "Snapshot":
        """With the products that changed since, and what is due by now; itself if there is nothing new. The build is the same."""
        now, due, as_of = clock.now(), self.due, None
        if due is not None and now >= due:
            due, as_of = catch_up(home, now).next_change(now), now
        matrix = self.matrix.refreshed(as_of, now)
        if matrix is not self.matrix and not matrix.has_texts_of(self.matrix):
            return Snapshot.take(home, fitted)
        return self if matrix is self.matrix and clock == self.clock else replace(self, matrix=matrix, clock=clock, due=due)


def _lineage(category: str, path: str) -> tuple[str, ...]:
    names = [category, *(part.strip() for part in reversed(path.split(">")))]
    return tuple(dict.fromkeys(name for name in names if name))


def _disliked(home: ShopHome) -> dict[str, frozenset[str]]:
    """Products that users said they dislike, unless they said later that they like them."""
    file = home.tables / "preferences.parquet"
    if not file.exists():
        return {}
    rows = pq.read_table(file, filters=[("subject_kind", "=", "product")]).sort_by([("since", "ascending")]).to_pylist()
    latest = {(row["user_id"], row["subject"]): row["sentiment"] for row in rows}
    found: dict[str, set[str]] = {}
    for (user, product), sentiment in latest.items():
        if sentiment == "dislike":
            found.setdefault(user, set()).add(product)
    return {user: frozenset(products) for user, products in found.items()}


class Keeper:
    """Holds the current snapshot and looks every `every_s` whether the clock was moved, features were built, a window moved on or products changed.

    A clock that moved costs nothing, and of products only those that changed are read; features load in the background and are swapped in as one
    reference. A home that can't be read keeps the old snapshot and says so in the log.
    """

    def __init__(self, home: ShopHome, fitted: RetrieverSet, every_s: float, loaded: Callable[[Snapshot], None] = lambda _: None) -> None:
        self.home, self.fitted, self.every_s, self._loaded = home, fitted, every_s, loaded
        self._seen = _mark(home.manifest_file)
        self.current = Snapshot.take(home, fitted)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="snapshot", daemon=True)

    def start(self) -> "Keeper":
        self._thread.start()
        return self

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def look(self) -> bool:
        """Take what changed; True if something did."""
        mark, had = _mark(self.home.manifest_file), self.current
        clock = self.home.clock() if mark != self._seen else had.clock
        if current(self.home).resolve() != had.build:
            self.current = Snapshot.take(self.home, self.fitted)
        else:
            self.current = had.freshened(self.home, clock, self.fitted)  # a new clock and the windows as of it come together
        if self.current.matrix.version != had.matrix.version:
            self._loaded(self.current)
            log.info("Features %s are in use.", self.current.matrix.version)
        self._seen = mark
        return self.current is not had

    def _watch(self) -> None:
        while not self._stop.wait(self.every_s):
            try:
                self.look()
            except Exception:  # whatever Feast, DuckDB or SQLite raise: the next look may find the home whole again
                log.exception("The shop's home changed but can't be read, what was read before stays in use.")
                self._stop.wait(10 * self.every_s)


def _mark(file: Path) -> tuple[int, int]:
    about = file.stat()
    return about.st_mtime_ns, about.st_ino
