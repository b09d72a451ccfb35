"""The snapshot that serving answers from: replaced when a window moves on, kept when the home can't be read."""

import shutil
import threading
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from feature_repo.home import ShopHome
from serving.snapshot import Keeper
from tests.serving import corner
from training.retrieval.model import RetrieverSet


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    """Over a copy of the home: what a moved clock materialises stays there."""
    shutil.copytree(corner.trained().root, tmp_path / "corner", symlinks=True, ignore=shutil.ignore_patterns("bentos", "mlartifacts"))
    return Keeper(ShopHome(tmp_path / "corner"), RetrieverSet.load(corner.packed() / "src" / "models" / "retriever"), every_s=0.02)


def test_a_window_that_moves_on_replaces_the_matrix_together_with_the_clock(keeper: Keeper) -> None:
    home, before, then = keeper.home, keeper.current, keeper.current.now()
    assert before.due is not None and not keeper.look()
    home.write_manifest({"clock_offset_s": home.manifest()["clock_offset_s"] - timedelta(days=40).total_seconds()})
    assert keeper.look()
    after = keeper.current
    assert after.now() - then >= timedelta(days=40) and after.matrix.as_of - before.matrix.as_of >= timedelta(days=40)
    assert np.nanmax(after.matrix.column("product_views_30d")) == 0 < np.nanmax(before.matrix.column("product_views_30d"))
    assert not keeper.look()


def test_a_home_that_can_not_be_read_ends_no_watch(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB, SQLite and Feast have errors of their own."""
    looks, again = [], threading.Event()

    def broken(self: Keeper) -> bool:
        looks.append(self)
        if len(looks) > 1:
            again.set()
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(Keeper, "look", broken)
    keeper.start()
    assert again.wait(timeout=30)
    keeper.close()
