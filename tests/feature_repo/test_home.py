"""A shop's home: made once, opened by name, its key guarded."""

import stat
from pathlib import Path

import pytest

from feature_repo.errors import FeatureRepoError
from feature_repo.home import SCHEMA_VERSION, ShopHome, last_shop
from feature_repo.reset import reset
from feature_repo.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "homes")


def test_a_home_is_made_once_and_keeps_its_key(settings: Settings) -> None:
    first = ShopHome.create(settings, "corner")
    again = ShopHome.create(settings, "corner")
    assert first.pseudonyms(settings).user("007") == again.pseudonyms(settings).user("007")
    assert stat.S_IMODE(first.key_file.stat().st_mode) == 0o600


def test_pseudonyms_differ_by_key_and_keep_leading_zeros_apart(settings: Settings) -> None:
    one = ShopHome.create(settings, "one").pseudonyms(settings)
    two = ShopHome.create(settings, "two").pseudonyms(settings)
    assert one.user("7") != two.user("7")
    assert one.user("7") != one.user("007")


def test_a_lost_key_is_a_named_error(settings: Settings) -> None:
    home = ShopHome.create(settings, "corner")
    home.key_file.unlink()
    with pytest.raises(FeatureRepoError, match="key of shop 'corner' is gone"):
        ShopHome.open(settings, "corner").pseudonyms(settings)


def test_another_key_is_refused(settings: Settings) -> None:
    ShopHome.create(settings, "corner")
    other = Settings(home=settings.home, key="ab" * 32)
    with pytest.raises(FeatureRepoError, match="not the one"):
        ShopHome.open(other, "corner").pseudonyms(other)


def test_a_set_key_is_used_and_not_written(settings: Settings) -> None:
    keyed = Settings(home=settings.home, key="ab" * 32)
    home = ShopHome.create(keyed, "corner")
    assert home.pseudonyms(keyed).user("x").startswith("u_")
    assert not home.key_file.exists()


def test_a_newer_schema_is_refused_with_the_cure(settings: Settings) -> None:
    ShopHome.create(settings, "corner").write_manifest({"schema_version": SCHEMA_VERSION + 1})
    with pytest.raises(FeatureRepoError, match="update Storyshelf"):
        ShopHome.open(settings, "corner")


def test_without_a_name_the_shop_trained_last_is_opened(settings: Settings) -> None:
    with pytest.raises(FeatureRepoError, match="make train"):
        last_shop(settings)
    ShopHome.create(settings, "a")
    ShopHome.create(settings, "b").remember_as_last()
    assert ShopHome.open(settings).shop == "b"


@pytest.mark.parametrize("name", ["", "../up", "a/b", "-x", "a b"])
def test_a_bad_shop_name_is_refused(settings: Settings, name: str) -> None:
    with pytest.raises(FeatureRepoError, match="no shop name"):
        ShopHome.create(settings, name)


def test_reset_deletes_only_that_home_and_only_when_confirmed(settings: Settings) -> None:
    ShopHome.create(settings, "a").remember_as_last()
    ShopHome.create(settings, "b")
    with pytest.raises(FeatureRepoError, match="needs an answer"):
        reset(settings, "a", confirmed=False)
    assert "Deleted" in reset(settings, "a", confirmed=True)
    assert not (settings.home / "a").exists()
    assert (settings.home / "b").exists()
    with pytest.raises(FeatureRepoError, match="no home"):
        reset(settings, "a", confirmed=True)


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "..", ""])
def test_no_name_leads_out_of_the_folder_of_homes(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "home.json").write_text("{}")
    settings = Settings(home=tmp_path / "homes")
    with pytest.raises(FeatureRepoError):
        reset(settings, name, confirmed=True)
    with pytest.raises(FeatureRepoError):
        ShopHome.open(settings, name)
    assert outside.exists()


@pytest.mark.parametrize("content", ["{", "[1]", '{"schema_version": null}'])
def test_a_damaged_manifest_is_named(tmp_path: Path, content: str) -> None:
    settings = Settings(home=tmp_path)
    home = ShopHome.create(settings, "corner")
    home.manifest_file.write_text(content)
    with pytest.raises(FeatureRepoError, match=r"home\.json is damaged"):
        ShopHome.open(settings, "corner")


def test_a_home_without_its_manifest_keeps_its_key(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    before = ShopHome.create(settings, "corner").pseudonyms(settings).user("u")
    (tmp_path / "corner" / "home.json").unlink()
    assert ShopHome.create(settings, "corner").pseudonyms(settings).user("u") == before
    (tmp_path / "corner" / "home.json").unlink()
    assert "Deleted" in reset(settings, "corner", confirmed=True)
