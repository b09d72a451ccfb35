"""What serving reads of the products: the online store's values, kept fresh by deltas, on SQLite and on Redis."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feature_repo.build import build, prepared
from feature_repo.errors import FeatureRepoError
from feature_repo.home import ShopHome
from feature_repo.online import ProductMatrix, UserReader
from feature_repo.packed.redis_rows import RedisRows
from feature_repo.packed.table import EntityTable
from feature_repo.settings import Settings
from feature_repo.store import Build, catch_up, online_rows, repo_config

SHOP = Path(__file__).parents[1] / "data" / "corner_shop"


@pytest.fixture(scope="module", params=["sqlite", pytest.param("redis", marks=pytest.mark.needs("redis"))])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShopHome]:
    """A built shop whose clock goes on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORYSHELF_ONLINE_STORE", request.getfixturevalue("redis_url") if request.param == "redis" else "")
        settings = Settings(home=tmp_path_factory.mktemp("homes"))
        with prepared(settings, str(SHOP), None) as made:
            build(made, settings, progress=False)
        yield made


def _same(one: ProductMatrix, other: ProductMatrix) -> None:
    order = other.index.rows(one.product_ids)
    assert (order >= 0).all() and len(order) == len(other.product_ids)
    np.testing.assert_array_equal(one.scalars, other.scalars[order])
    np.testing.assert_array_equal(one.embedding, other.embedding[order])
    for name, values in one.at.items():
        np.testing.assert_array_equal(values, other.at[name][order])
    for name, texts in one.texts.items():
        assert list(texts) == np.asarray(other.texts[name])[order].tolist()
    assert one.embedding_version == other.embedding_version and one.version == other.version
    names = {code: key for key, code in other.codes.items()}
    for kind in ("category", "brand"):
        mine = {code: key for key, code in one.codes.items()}
        assert [mine.get(code) for code in getattr(one, kind)] == [names.get(code) for code in getattr(other, kind)[order]]


def test_the_online_matrix_is_the_offline_one_of_that_moment(home: ShopHome) -> None:
    made = Build.current(home)
    matrix = ProductMatrix.online(made, made.as_of)
    _same(matrix, ProductMatrix.load(made))
    assert matrix.refreshed() is matrix and len(matrix.product_ids) == 40


def test_when_windows_move_on_only_the_products_that_changed_are_read(home: ShopHome, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Build.current(home)
    before = ProductMatrix.online(made, made.as_of)
    later, held = made.as_of + timedelta(days=8), before.scalars.copy()
    catch_up(home, later)
    with monkeypatch.context() as patch:
        patch.setattr(EntityTable, "load", None)
        after = before.refreshed(later)
    _same(after, ProductMatrix.load(made, later))
    assert after.has_texts_of(before) and after.version != before.version
    np.testing.assert_array_equal(before.scalars, held)
    assert not np.array_equal(after.scalars, held, equal_nan=True)


def test_what_is_pushed_to_feast_reaches_the_matrix(home: ShopHome) -> None:
    made = Build.current(home)
    store = made.store()
    before = ProductMatrix.online(made, made.as_of)
    view = store.get_feature_view("product_offer")
    moment = datetime.now(UTC) + timedelta(days=1)
    row = {"product_id": "brand new", "event_timestamp": moment, "created_timestamp": moment}
    row |= {field.name: "Text" if str(field.dtype) == "String" else 3.5 for field in view.features}
    store.write_to_online_store("product_offer", pd.DataFrame([row]))
    after = before.refreshed()
    assert len(after.product_ids) == len(before.product_ids) + 1 and not after.has_texts_of(before)
    place = after.index["brand new"]
    assert after.column("product_price")[place] == 3.5 and np.isnan(after.column("product_views_7d")[place])
    assert after.texts["product_title"][place] == "Text" and after.category[place] == after.codes["category:Text"]


def test_builds_lie_side_by_side_and_old_ones_are_forgotten(home: ShopHome) -> None:
    settings, first = Settings(home=home.root.parent), Build.current(home)
    old = ProductMatrix.online(first, first.as_of)
    reader = UserReader(home)
    user = sorted(pd.read_parquet(first.table("user_history"), columns=["user_id"])["user_id"].unique())[0]
    for _ in range(3):
        build(home, settings, progress=False)
        now = Build.current(home)
        assert reader.read(user, now.as_of.timestamp()) is not None
    assert not first.folder.exists()
    options = repo_config(now.folder).online_store
    if options.redis:
        gone = RedisRows(options.redis, f"{home.shop}/features/{first.folder.name}")
        assert list(gone.scan("product_offer")) == [] and list(online_rows(now.store()).scan("product_offer"))
    assert len(ProductMatrix.online(now, now.as_of).product_ids) == 40 and old.scalars.shape[0] >= 40  # whoever still holds the old one reads on


def test_two_programs_serve_one_home_each_with_its_own_features(home: ShopHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a service of the old version still runs, the new one builds its features: the old one goes on with the build it has."""
    settings, first = Settings(home=home.root.parent), Build.current(home)
    user = sorted(pd.read_parquet(first.table("user_history"), columns=["user_id"])["user_id"].unique())[0]
    now = first.as_of.timestamp()
    old, matrix = UserReader(home), ProductMatrix.online(first, first.as_of)
    known = old.read(user, now)
    assert known is not None
    with monkeypatch.context() as patch:
        patch.setattr("feature_repo.store.fingerprints", lambda: {"ranker_v1": "ranker_v1-next"})
        build(home, settings, progress=False)
        new = UserReader(home)
        for _ in range(2):
            assert new.read(user, now) is not None
    again = old.read(user, now)
    assert again is not None and again.history.products == known.history.products and matrix.refreshed().version == matrix.version
    with pytest.raises(FeatureRepoError, match="were built as ranker_v1-next"):
        Build.current(home)
    build(home, settings, progress=False)
    assert old.read(user, now) is not None and Build.current(home).folder != first.folder


def test_features_of_another_program_say_what_to_run(home: ShopHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(home.root, tmp_path / home.shop, symlinks=True)
    copied = ShopHome(tmp_path / home.shop)
    monkeypatch.setattr("feature_repo.store.fingerprints", lambda: {"ranker_v1": "ranker_v1-other"})
    with pytest.raises(FeatureRepoError, match=r"built as ranker_v1-[0-9a-f]+, this program declares ranker_v1-other: run `make train"):
        Build.current(copied)
    monkeypatch.setattr("feature_repo.store.FORMAT", 99)
    with pytest.raises(FeatureRepoError, match=r"another version of this program: run `make features"):
        Build.current(copied)


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORYSHELF_ONLINE_STORE", "redis://me:secret@127.0.0.1:1/0")
    settings = Settings(home=tmp_path)
    with prepared(settings, str(SHOP), None) as made, pytest.raises(FeatureRepoError, match=r"127.0.0.1:1 .*SQLite") as said:
        build(made, settings, progress=False)
    assert "secret" not in str(said.value)


def test_a_build_of_another_server_says_so(home: ShopHome, monkeypatch: pytest.MonkeyPatch) -> None:
    redis = bool(repo_config(Build.current(home).folder).online_store.redis)
    monkeypatch.setenv("STORYSHELF_ONLINE_STORE", "" if redis else "redis://127.0.0.1:1/0")
    kept, asked = ("Redis", "SQLite") if redis else ("SQLite", "Redis")
    with pytest.raises(FeatureRepoError, match=f"lie in {kept}, and STORYSHELF_ONLINE_STORE asks for {asked}.*make features"):
        Build.current(home)
