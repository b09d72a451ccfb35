"""Packing: what is refused, and what is not done twice."""

import socket
from pathlib import Path

import pytest

from feature_repo.home import ShopHome
from feature_repo.settings import Settings
from serving.bundle import check_free, pack
from serving.errors import ServingError
from serving.release import Release, bundle_folder
from tests.serving import corner


def test_without_a_champion_it_says_what_to_run(tmp_path: Path) -> None:
    home = ShopHome.create(Settings(home=tmp_path), "empty")
    with pytest.raises(ServingError, match=r"No champion retriever .* run `make train` first"):
        pack(home)


def test_without_a_bundle_it_says_what_to_run(tmp_path: Path) -> None:
    home = ShopHome.create(Settings(home=tmp_path), "empty")
    with pytest.raises(ServingError, match="run `make train` first"):
        bundle_folder(home, Path())


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ServingError, match="--port"):
            check_free("127.0.0.1", taken.getsockname()[1])


def test_a_host_that_is_no_address() -> None:
    with pytest.raises(ServingError, match="STORYSHELF_HOST"):
        check_free("shop.example", 3000)


def test_the_same_models_and_code_are_packed_once() -> None:
    bento = corner.packed()
    before = (bento / "bento.yaml").stat().st_mtime_ns
    assert pack(corner.trained()) == bento
    assert (bento / "bento.yaml").stat().st_mtime_ns == before


def test_the_bundle_s_models_load_and_fit() -> None:
    release = Release.load(bundle_folder(corner.trained(), Path()))
    assert release.ranker.requires["retriever"] == release.versions["retriever"]
