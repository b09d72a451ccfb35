"""Audience expressions, on a shop small enough to know the answers."""

from datetime import timedelta
from pathlib import Path

import pytest

from feature_repo.home import ShopHome
from serving import audience
from serving.audience import AudienceError
from tests.serving.campaign_shop import NOW, make_home, settings, write

IDS = ["anna", "ben", "cleo", "dora"]


@pytest.fixture
def home(tmp_path: Path) -> ShopHome:
    """anna (CN, zh) viewed a lamp, ben (GB, en) bought a rug long ago, cleo (CN, en) was shown a lamp, dora (GB, zh) likes lighting."""
    home = make_home(tmp_path, IDS)
    pseudonym = home.pseudonyms(settings(tmp_path)).user
    product = {"title": "x", "currency": "GBP"}
    write(
        home,
        "products",
        [
            product | {"product_id": "lamp", "category": "Lamps", "category_path": "Home > Lighting > Lamps"},
            product | {"product_id": "rug", "category": "Bed, Bath", "category_path": "Home > Bed, Bath"},
        ],
    )
    acts = [("view", "anna", "lamp", 5), ("purchase", "ben", "rug", 60), ("impression", "cleo", "lamp", 1), ("view", "dora", "rug", 2)]
    write(
        home,
        "events",
        [
            {"event_id": f"e{i}", "event_type": kind, "user_id": pseudonym(who), "product_id": what, "event_time": NOW - timedelta(days=ago),
             "arrived_at": NOW - timedelta(days=ago), "sequence": i}
            for i, (kind, who, what, ago) in enumerate(acts)
        ],
    )  # fmt: skip
    likes = [("dora", "like", "Lighting"), ("anna", "dislike", "Lighting")]
    write(home, "preferences", [{"user_id": pseudonym(who), "sentiment": what, "subject_kind": "category", "subject": on} for who, what, on in likes])
    return home


def chosen(home: ShopHome, folder: Path, expression: str) -> set[str]:
    names = {home.pseudonyms(settings(folder)).user(each): each for each in [*IDS, "stranger"]}
    return {names[each] for each in audience.select(home, settings(folder), expression)}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("all", set(IDS)),
        ("country:gb", {"ben", "dora"}),
        ("language:zh", {"anna", "dora"}),
        ("active:30d", {"anna", "dora"}),
        ("active:90d", {"anna", "ben", "dora"}),
        ("interest:Lamps", {"anna"}),
        ("interest:Lighting", {"dora"}),
        ("interest:Bed, Bath", {"ben", "dora"}),
        ("interest:Bed, Bath, active:30d ,country:GB", {"dora"}),
        ("all,country:CN", {"anna", "cleo"}),
        ("country:XX", set()),
    ],
)
def test_expressions(home: ShopHome, tmp_path: Path, expression: str, expected: set[str]) -> None:
    assert chosen(home, tmp_path, expression) == expected


def test_a_file_holds_the_shop_s_own_ids(home: ShopHome, tmp_path: Path) -> None:
    file = tmp_path / "vip.txt"
    file.write_text("\ufeffanna\r\n\n stranger \n", encoding="utf-8")
    assert chosen(home, tmp_path, f"users:{file}") == {"anna", "stranger"}
    assert chosen(home, tmp_path, f"users:{file},country:CN") == {"anna"}


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "audience is empty"),
        (" , ", "no audience"),
        ("everyone", "no audience"),
        ("all,contry:GB", "no audience"),
        ("country:", "no audience"),
        ("active:soon", "number of days"),
        ("active:0d", "number of days"),
        ("interest:Lamp", "near it: Lamps"),
        ("users:nowhere.txt", "Can't read"),
    ],
)
def test_wrong_expressions_are_named(home: ShopHome, tmp_path: Path, expression: str, message: str) -> None:
    with pytest.raises(AudienceError, match=message):
        audience.select(home, settings(tmp_path), expression)


def test_a_shop_without_tables_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(AudienceError, match="make features"):
        audience.select(ShopHome.create(settings(tmp_path), "new"), settings(tmp_path), "all")
