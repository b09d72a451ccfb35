"""Simulated weeks against a hand-made feed and a real HTTP server: what is measured, what drifts, what is posted."""

import argparse
import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_repo.definitions import definitions
from feature_repo.events import ASPECTS, TONES, EventType
from feature_repo.home import ShopHome
from feature_repo.settings import Settings
from feature_repo.sources.demo.response import NO_ASPECT, ResponseModel, Shown
from feature_repo.sources.demo.world import NAMED_DRIFTS, Drift, World
from feature_repo.store import Build
from monitoring.demo import ARMS, Arm, Plan, Run, Service, Tally, arguments, arm_of, demo, main, measure, report_of, table
from monitoring.errors import MonitoringError
from serving.settings import ServingSettings

WORLD = World(shoppers=600, products_per_category=12, sessions_per_shopper=40)
START = datetime(2025, 6, 30, tzinfo=UTC)


@dataclass
class KnowingFeed:
    """Gives every shopper what they like, in words they like; best sellers to the popularity arm, plain words to the plain arm."""

    world: World = WORLD
    events: list[Mapping[str, Any]] = field(default_factory=list)
    moments: list[datetime] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        run = Run(Plan(), self.world, self, START)
        self.goods, self.people, self.price = run.catalogue, run.shoppers, run.price
        self.order = np.argsort(-ResponseModel(self.people, self.goods).affinity_matrix(np.arange(len(self.people)), self.price), axis=1)
        self.popular = np.argsort(-self.goods.appeal)

    def feed(self, shopper: str, arm: Arm, n: int) -> dict[str, Any]:
        self.asked += 1
        index = self.people.ids.index(shopper)
        chosen = (self.popular if arm.policy == "popular" else self.order[index])[:n]
        words: dict[str, Any] = {"tone": "plain", "aspects": [], "backend": "writer"}
        if arm.copy == "personalised":
            words |= {"tone": TONES[int(self.people.tone[index].argmax())], "aspects": [ASPECTS[int(self.people.aspect[index].argmax())]]}
        items = [{"product_id": self.goods.products[each].product_id, "price": float(self.price[each]), "copy": words} for each in chosen]
        return {"request_id": f"q{self.asked}", "items": items}

    def post(self, events: Sequence[Mapping[str, Any]]) -> int:
        for each in events:
            assert datetime.fromisoformat(each["event_time"]) <= self.moments[-1], "an event lies ahead of the shop's clock"
        self.events += events
        return 0

    def at(self, instant: datetime) -> None:
        self.moments.append(instant)


def simulated(**changes: Any) -> tuple[Run, KnowingFeed]:
    feed = KnowingFeed()
    run = Run(Plan(**({"weeks": 1, "shoppers": 600, "drift_week": 1} | changes)), WORLD, feed, START)
    run.weeks()
    return run, feed


@pytest.fixture(scope="module")
def calm() -> tuple[Run, KnowingFeed]:
    return simulated()


def test_arms_are_stable_and_even() -> None:
    arms = np.bincount([arm_of(f"s{number:05d}") for number in range(3000)], minlength=len(ARMS))
    assert arm_of("s00001") == arm_of("s00001")
    assert (abs(arms - 1000) < 120).all()


def test_a_feed_that_knows_its_shoppers_leads_both_control_arms(calm: tuple[Run, KnowingFeed]) -> None:
    found = measure(calm[0].tally)
    assert found["full_minus"]["popularity"]["click_through"]["low"] > 0
    assert found["full_minus"]["plain copy"]["click_through"]["low"] > 0
    assert found["full_minus"]["popularity"]["conversion"]["low"] > 0


def test_the_placebo_answers_of_the_same_shelves_show_no_lead(calm: tuple[Run, KnowingFeed]) -> None:
    found = measure(calm[0].placebo)
    assert found["arms"]["full"]["shown"] == measure(calm[0].tally)["arms"]["full"]["shown"] > 500
    for lead in found["full_minus"].values():
        for rate in lead.values():
            assert rate["low"] - 0.01 < 0 < rate["high"] + 0.01


@dataclass
class WordyFeed(KnowingFeed):
    """The same four products with the same words for everybody, whatever the arm."""

    def feed(self, shopper: str, arm: Arm, n: int) -> dict[str, Any]:
        self.asked += 1
        warm = {"tone": "warm", "aspects": ["design"]}
        copies = [warm | {"backend": "writer"}, warm | {"backend": "template"}, None, {"tone": "plain", "aspects": ["value"], "backend": "writer"}]
        items = [{"product_id": self.goods.products[row].product_id, "price": 10.0, "copy": copy} for row, copy in enumerate(copies)]
        return {"request_id": f"q{self.asked}", "items": items}


def test_answers_go_by_the_words_that_were_shown_not_by_the_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a bonus for personal copy by the arm's name, where the answer carried a template or no copy at all."""
    seen: list[Shown] = []
    click = ResponseModel.click
    monkeypatch.setattr(ResponseModel, "click", lambda model, shown: seen.append(shown) or click(model, shown))
    feed = WordyFeed()
    run = Run(Plan(weeks=1, shoppers=200), WORLD, feed, START)
    run.weeks()
    assert {arm_of(run.shoppers.ids[int(shown.shopper[0])]) for shown in seen} == {0, 1, 2}
    for shown in seen:
        assert shown.tone.tolist() == [TONES.index("warm"), 0, 0, 0]
        assert shown.aspect.tolist() == [ASPECTS.index("design"), NO_ASPECT, NO_ASPECT, ASPECTS.index("value")]
        assert shown.personal.tolist() == [True, False, False, False]
    posted = [each["context"] for each in feed.events if each["event_type"] == "impression"][:4]
    assert [(each["tone"], each.get("aspect")) for each in posted] == [("warm", "design"), ("warm", "design"), ("plain", None), ("plain", "value")]


def test_a_placebo_run_shows_no_lead_either() -> None:
    run, _ = simulated(placebo=True)
    for lead in measure(run.tally)["full_minus"].values():
        assert lead["click_through"]["low"] - 0.01 < 0 < lead["click_through"]["high"] + 0.01


def test_posted_events_are_what_was_shown_and_done(calm: tuple[Run, KnowingFeed]) -> None:
    run, feed = calm
    kinds = [each["event_type"] for each in feed.events]
    assert set(kinds) == {"impression", "click", "cart", "purchase", "view"} <= set(EventType)
    assert kinds.count("impression") == run.tally.counts[:, 1].sum() == 6 * feed.asked
    assert kinds.count("click") == run.tally.counts[:, 2].sum()
    assert len({each["event_id"] for each in feed.events}) == len(feed.events)
    shown = {(each["request_id"], each["product_id"]) for each in feed.events if each["event_type"] == "impression"}
    assert {(each["request_id"], each["product_id"]) for each in feed.events if each["event_type"] == "click"} <= shown
    first = next(each for each in feed.events if each["event_type"] == "impression")
    assert first["context"]["tone"] in TONES
    assert first["position"] >= 1
    assert first["price"] > 0
    assert "mei" not in {each["user_id"] for each in feed.events}


def test_the_same_seed_gives_the_same_run(calm: tuple[Run, KnowingFeed]) -> None:
    assert simulated()[1].events == calm[1].events


def test_time_passes_in_steps_and_ends_with_the_week(calm: tuple[Run, KnowingFeed]) -> None:
    moments = calm[1].moments
    assert moments == sorted(moments)
    assert moments[-1] == START + timedelta(days=7)
    assert len(set(moments)) == 29


@pytest.mark.parametrize(("days", "times"), [(1, 20), (7, 2), (0, 0)])
def test_features_are_refreshed_every_so_many_days(days: int, times: int) -> None:
    called: list[int] = []
    feed = KnowingFeed()
    run = Run(Plan(weeks=3, shoppers=50), WORLD, feed, START, lambda: called.append(len(feed.events)), days)
    run.weeks()
    assert len(called) == times
    assert called == sorted(called) and all(called)


def rate(feed: KnowingFeed, above: str, below: str) -> float:
    kinds = [each["event_type"] for each in feed.events]
    return kinds.count(above) / kinds.count(below)


def test_every_drift_moves_what_it_says(calm: tuple[Run, KnowingFeed]) -> None:
    before = calm[1]
    for name in ("taste_shift", "dull_copy", "price_shock"):
        _, feed = simulated(drift=NAMED_DRIFTS[name])
        assert rate(feed, "click", "impression") < 0.97 * rate(before, "click", "impression"), name
    _, broken = simulated(drift=NAMED_DRIFTS["broken_feed"])
    assert rate(broken, "click", "impression") > 2 * rate(before, "click", "impression")
    _, taken = simulated(drift=NAMED_DRIFTS["new_category"])
    new = {product.product_id for product in before.goods.products if product.category == before.goods.category.max()}
    shares = [np.mean([each["product_id"] in new for each in feed.events if each["event_type"] == "view"]) for feed in (before, taken)]
    assert shares[1] > shares[0] + 0.03


def test_a_drift_begins_in_its_week() -> None:
    feed = KnowingFeed()
    run = Run(Plan(weeks=2, shoppers=600, drift=Drift(price_shock=1.4), drift_week=2), WORLD, feed, START)
    run.weeks()
    listed = {product.product_id: price for product, price in zip(feed.goods.products, feed.price, strict=True)}
    for each in feed.events:
        if each["event_type"] == "impression":
            late = datetime.fromisoformat(each["event_time"]) >= START + timedelta(days=7)
            assert each["price"] == pytest.approx(listed[each["product_id"]] * (1.4 if late else 1.0), abs=0.01)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Coverage of the bootstrap over shoppers when the visits of one shopper resemble each other: nominal 95 %."""
    rng, hits = np.random.default_rng(0), 0
    arms = np.array([arm_of(f"x{number}") for number in range(450)])
    for trial in range(60):
        taste = rng.beta(2, 18, 450)
        visits = rng.integers(1, 6, 450)
        clicks = rng.binomial(visits * 6, taste)
        tally = Tally(np.stack([visits, visits * 6, clicks, clicks // 3], axis=1), arms)
        found = measure(tally, trial, 300)["arms"]["full"]["click_through"]
        hits += found["low"] <= 0.1 <= found["high"]
    assert hits >= 51


def test_the_table_is_labelled_and_shows_the_placebo_beside_it(calm: tuple[Run, KnowingFeed]) -> None:
    run = calm[0]
    report = {"shop": "demo", "weeks": 1, "drift": "none", "response_model": "1", "simulated": measure(run.tally), "placebo": measure(run.placebo)}
    text = table(report)
    assert text.startswith("SIMULATED")
    assert text.index("full minus plain copy") < text.index("SHADOW PLACEBO")
    assert text.count("full minus popularity") == 2
    assert "they say nothing about the platform" in text


@pytest.mark.parametrize(
    ("trained", "said"), [(True, "TRAINED PLACEBO: models of a history without tastes"), (False, "models that have learned tastes")]
)
def test_the_table_of_a_placebo_run_says_what_its_models_have_learned(trained: bool, said: str, home: ShopHome) -> None:
    run = Run(Plan(weeks=1, shoppers=60, placebo=True), replace(WORLD, placebo=trained), KnowingFeed(), START)
    run.weeks()
    text = table(report_of(run, home, "none"))
    assert said in text
    assert "SHADOW" not in text
    assert text.count("full minus popularity") == 1


def test_zero_has_no_sign_in_the_table(calm: tuple[Run, KnowingFeed]) -> None:
    found = measure(calm[0].placebo)
    found["full_minus"]["popularity"]["click_through"] = {"value": -0.00004, "low": -0.00006, "high": 0.00004}
    report = {"shop": "demo", "weeks": 1, "drift": "none", "response_model": "1", "trained_placebo": True, "placebo": found}
    assert "0.00 % [-0.01, 0.00]" in table(report)
    assert "-0.00" not in table(report)
    assert "+0.00" not in table(report)


@pytest.fixture
def home(tmp_path: Path) -> ShopHome:
    made = ShopHome.create(Settings(home=tmp_path), "demo")
    made.write_manifest({"source": "demo", "folder": None, "clock_offset_s": 0.0})
    folder = made.features / "one"
    folder.mkdir(parents=True)
    for view in definitions(Path()).views:
        (folder / f"{view.name}.parquet").touch()  # nobody reads them here
    Build(folder, "v1", START, "", derived_categories=False).seal()
    (made.features / "current").symlink_to(folder.name)
    return made


@pytest.fixture
def server(home: ShopHome) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """A server that speaks the API's shapes and follows the clock of the home."""
    seen: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer({"shop": "demo", "now": home.clock().now().isoformat(), "features": "v1@20250702T06"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.path, body))
            if self.path == "/v1/feed":
                self._answer(
                    {"request_id": "q1", "items": []} if body["user_id"] != "bad" else {"error": {}}, 200 if body["user_id"] != "bad" else 500
                )
            else:
                self._answer({"rejected": [{"message": "no"}] if len(body["events"]) == 1 else []}, 202)

        def _answer(self, body: Mapping[str, Any], status: int = 200) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            return

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}", seen
    listening.shutdown()
    listening.server_close()


def test_the_service_is_asked_as_the_api_says(home: ShopHome, server: tuple[str, list[tuple[str, Any]]]) -> None:
    service = Service(server[0], home)
    service.feed("s00001", ARMS[1], 6)
    assert server[1][-1] == ("/v1/feed", {"user_id": "s00001", "n": 6, "policy": "popular", "copy": "personalised"})
    assert service.post([{"event_id": str(number)} for number in range(501)]) == 1
    assert [len(body["events"]) for path, body in server[1] if path == "/v1/events"] == [500, 1]
    with pytest.raises(MonitoringError, match="answered 500"):
        service.feed("bad", ARMS[0], 6)


def test_the_clock_of_the_shop_is_moved(home: ShopHome, server: tuple[str, list[tuple[str, Any]]]) -> None:
    instant = datetime(2025, 7, 2, 6, tzinfo=UTC)
    Service(server[0], home).at(instant)
    assert abs(home.clock().now() - instant) < timedelta(seconds=20)


def test_nobody_at_the_address_is_a_named_error(home: ShopHome) -> None:
    with pytest.raises(MonitoringError, match="make serve"):
        Service("http://127.0.0.1:9", home).feed("s00001", ARMS[0], 6)
    with pytest.raises(MonitoringError, match="no address"):
        Service("nonsense", home).feed("s00001", ARMS[0], 6)


def test_a_real_shop_has_no_simulated_shoppers(tmp_path: Path) -> None:
    made = ShopHome.create(Settings(home=tmp_path), "corner")
    made.write_manifest({"source": "corner", "folder": "/somewhere"})
    options = argparse.Namespace(shop="corner", weeks=1, shoppers=10, items=6, drift_week=1, refresh_days=1, port=None, url=None)
    with pytest.raises(MonitoringError, match="only the demo shop"):
        demo(options, ServingSettings(home=tmp_path))


def test_the_command_ends_with_one_line_and_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("STORYSHELF_HOME", str(tmp_path))
    assert main(["--weeks", "1"]) == 2
    assert "make train" in capsys.readouterr().err


def test_no_service_is_started_in_place_of_one_named_by_address(home: ShopHome, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = arguments().parse_args(["--url", "http://127.0.0.1:9", "--weeks", "1"])
    with pytest.raises(MonitoringError, match="make serve"):
        demo(options, ServingSettings(home=tmp_path))
    assert not (home.root / "demo-service.log").exists()


def test_a_service_that_cannot_start_is_named_with_its_last_word(home: ShopHome, tmp_path: Path) -> None:
    """The home holds no model, so the real command refuses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(MonitoringError, match=r"did not start; it said: .*make train"):
        demo(arguments().parse_args(["--port", str(port)]), ServingSettings(home=tmp_path))
