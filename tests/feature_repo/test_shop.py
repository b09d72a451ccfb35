"""shop.toml: what it may say, and that a mistake in it is named."""

from pathlib import Path

import pytest

from feature_repo.errors import FeatureRepoError
from feature_repo.shop import ShopConfig


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert ShopConfig.read(tmp_path) == ShopConfig()


def test_it_survives_the_way_through_json() -> None:
    config = ShopConfig(name="x", currency="EUR", columns={"events": {"user_id": "customer"}}, constants={"events": {"quantity": 1}})
    assert ShopConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("currency = 'euro'", "currency"),
        ("time_zone = 'Berlin'", "Berlin"),
        ("languages = ['fr']", "languages"),
        ("colour = 'red'", "colour"),
        ("[columns.event]\nuser_id = 'u'", "columns.event"),
        ("[columns.events]\nuser = 'u'", "no column user"),
        ("[event_types]\norder = 'bought'", "bought"),
        ("[constants.events]\nevent_type = 'order'", "constants.events.event_type: 'order' is none of view, cart"),
        ("[constants.ties]\nkind = 'friend'", "constants.ties.kind: 'friend' is none of follow, group"),
        ("name = ", "TOML"),
    ],
)
def test_a_mistake_is_named_with_its_file(text: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text(text)
    with pytest.raises(FeatureRepoError, match=r"shop\.toml") as error:
        ShopConfig.read(tmp_path)
    assert named in str(error.value)
