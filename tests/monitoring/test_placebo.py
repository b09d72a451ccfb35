"""The trained placebo from end to end: a tiny shop made with `placebo = true`, really trained, served over HTTP and answered without tastes."""

import json
import socket

import pytest

from feature_repo.home import ShopHome
from feature_repo.store import Build
from monitoring.demo import arguments, demo
from serving.bundle import pack
from serving.settings import ServingSettings
from tests.serving.corner import train


@pytest.fixture(scope="module")
def placebo(tmp_path_factory: pytest.TempPathFactory) -> ShopHome:
    folder = tmp_path_factory.mktemp("placebo")
    (folder / "demo.toml").write_text("shoppers = 220\nproducts_per_category = 14\ndays = 100\nplacebo = true\n")
    home = train(folder / "homes", "demo", folder)
    pack(home)
    return home


def test_a_shop_made_as_a_placebo_is_answered_as_one_and_shows_no_lead(placebo: ShopHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also without the flag: nobody in that world has tastes. Features are built again between the weeks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("STORYSHELF_RELOAD_S", "0.1")  # the service follows the clock at once
    before = Build.current(placebo).version
    options = arguments().parse_args(["--weeks", "2", "--shoppers", "30", "--items", "2", "--port", str(port)])
    text = demo(options, ServingSettings(home=placebo.root.parent, shop="demo"))
    assert "TRAINED PLACEBO" in text
    assert "simulated shoppers\n" not in text
    report = json.loads((placebo.monitoring / "demo.json").read_text())
    assert report["trained_placebo"]
    assert report["events_turned_down"] == 0
    assert Build.current(placebo).version != before
    assert min(arm["visits"] for arm in report["placebo"]["arms"].values()) > 0
    for lead in report["placebo"]["full_minus"].values():
        assert lead["click_through"]["low"] <= 0 <= lead["click_through"]["high"]
