"""`make demo`: python -m monitoring.demo [--weeks 2] [--shoppers 6000] [--drift taste_shift] [--placebo]

Simulated shoppers use the running service for simulated weeks: they ask for their feed over HTTP, look at what comes, click and
buy as the frozen response model says (docs/simulator.md), and post their events. Time passes by moving the shop's clock. It ends with
a table: click-through and conversion of three arms with intervals, and beside it the same shelves answered by a shadow placebo. On a shop made with
`placebo = true` in its demo.toml it is the trained placebo.
"""

import argparse
import hashlib
import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from feature_repo import logs
from feature_repo.errors import StoryshelfError
from feature_repo.events import ASPECTS, TONES
from feature_repo.home import ShopHome
from feature_repo.sources.demo.catalogue import Catalogue, make_catalogue
from feature_repo.sources.demo.history import HOURS, NOBODY, RELATED_SHARE, choose
from feature_repo.sources.demo.response import CHANNELS, NO_ASPECT, VERSION, ResponseModel, Shown
from feature_repo.sources.demo.shoppers import Shoppers
from feature_repo.sources.demo.world import NAMED_DRIFTS, Drift, World
from feature_repo.store import Build
from monitoring.errors import MonitoringError
from serving.settings import ServingSettings

log = logging.getLogger("monitoring.demo")  # not __name__, which is __main__ when run as a command

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEP = timedelta(hours=6)
"""How far the shop's clock moves at a time."""
RESAMPLES = 2000
POSTED_AT_ONCE = 500
PLAIN = TONES.index("plain")
FRAGILE = ("view", "cart", "impression")
"""What a broken feed loses."""


@dataclass(frozen=True)
class Arm:
    """What a third of the shoppers gets."""

    name: str
    policy: str
    copy: str


ARMS = (
    Arm("full", "default", "personalised"),
    Arm("popularity", "popular", "personalised"),
    Arm("plain copy", "default", "plain"),
)
"""The first arm is the platform as it is; each other one leaves one thing out."""


def arm_of(shopper: str) -> int:
    """A shopper's arm: always the same for the same id."""
    return int.from_bytes(hashlib.sha256(f"storyshelf-demo:{shopper}".encode()).digest()[:8], "big") % len(ARMS)


class Feed(Protocol):
    """What a run needs of the service."""

    def feed(self, shopper: str, arm: Arm, n: int) -> dict[str, Any]: ...

    def post(self, events: Sequence[Mapping[str, Any]]) -> int: ...

    def at(self, instant: datetime) -> None: ...


@dataclass
class Service:
    """The running service over HTTP, one kept connection. `home` is the shop whose clock it follows."""

    url: str
    home: ShopHome
    key: str = ""
    connection: http.client.HTTPConnection | None = None

    def feed(self, shopper: str, arm: Arm, n: int) -> dict[str, Any]:
        return self.call("POST", "/v1/feed", {"user_id": shopper, "n": n, "policy": arm.policy, "copy": arm.copy})

    def post(self, events: Sequence[Mapping[str, Any]]) -> int:
        """Posts events; returns how many were turned down (each is logged)."""
        turned_down = 0
        for start in range(0, len(events), POSTED_AT_ONCE):
            answer = self.call("POST", "/v1/events", {"events": events[start : start + POSTED_AT_ONCE]})
            for each in answer["rejected"]:
                log.warning("An event was turned down: %s", each["message"])
            turned_down += len(answer["rejected"])
        return turned_down

    def at(self, instant: datetime) -> None:
        """Moves the shop's clock and waits until the service follows, with the features of the last build."""
        self.home.write_manifest({"clock_offset_s": (datetime.now(UTC) - instant).total_seconds()})
        built, patience = Build.current(self.home).version, time.monotonic() + 120

        def follows() -> bool:
            shop = self.call("GET", "/v1/shop")
            return abs(datetime.fromisoformat(shop["now"]) - instant) < timedelta(minutes=5) and shop["features"].startswith(built)

        while not follows():
            if time.monotonic() > patience:
                raise MonitoringError(f"The service at {self.url} does not follow the clock of {self.home.root}: serve this home with `make serve`.")
            time.sleep(0.1)

    def answers(self) -> bool:
        """Whether anything listens at the address."""
        parts = urlsplit(self.url)
        try:
            with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=5):
                return True
        except OSError:
            return False

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One request; a connection that the other side closed is opened again once.

        Raises:
            MonitoringError: nobody answers, or the answer is an error.
        """
        headers = {"Content-Type": "application/json"} | ({"X-API-Key": self.key} if self.key else {})
        payload = json.dumps(body) if body is not None else None
        for last in (False, True):
            try:
                self.connection = self.connection or self._connect()
                self.connection.request(method, path, payload, headers)
                response = self.connection.getresponse()
                text = response.read()
            except (OSError, http.client.HTTPException) as error:
                self.connection = None
                if last:
                    raise MonitoringError(f"No service answers at {self.url} ({error}): start it with `make serve`.") from error
                continue
            if response.status == 429 and not last:
                time.sleep(1)
                continue
            if response.status >= 400:
                raise MonitoringError(f"{self.url}{path} answered {response.status}: {text[:300].decode(errors='replace')}")
            return dict(json.loads(text))
        raise MonitoringError(f"{self.url} is too busy: run `make demo` while nothing else uses it.")

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise MonitoringError(f"'{self.url}' is no address: write it as http://127.0.0.1:3000.")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname, parts.port, timeout=120)


@dataclass(frozen=True)
class Shelf:
    """A feed as one shopper saw it: index arrays over the catalogue, in order of position.

    `tone` and `aspect` are what the answer says of its copy, and what is posted; `written`: the copy is the writer's, neither a template nor none.
    """

    shopper: int
    arm: int
    request_id: str
    at: datetime
    product: Ints
    position: Ints
    price: Floats
    tone: Ints
    aspect: Ints
    written: NDArray[np.bool_]


@dataclass
class Tally:
    """Per shopper and arm what was shown and what came of it: int64[K, 4] visits, shown, clicks, purchases."""

    counts: Ints
    arms: Ints

    @classmethod
    def over(cls, shoppers: Shoppers) -> "Tally":
        return cls(np.zeros((len(shoppers), 4), dtype=np.int64), np.array([arm_of(each) for each in shoppers.ids]))

    def add(self, shelf: Shelf, clicks: int, purchases: int) -> None:
        self.counts[shelf.shopper] += (1, len(shelf.product), clicks, purchases)


@dataclass
class Crowd:
    """The simulated shoppers with what they remember of the shelves shown to them."""

    model: ResponseModel
    rng: np.random.Generator
    seen: dict[int, list[tuple[datetime, int]]] = field(default_factory=dict)
    repeats: dict[tuple[int, int], list[datetime]] = field(default_factory=dict)

    def answer(self, shelves: Sequence[Shelf]) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]]:
        """Clicks, carts and purchases of each shelf, bool[len(shelf)] each. The shelves are then remembered.

        Answers go by what was shown, never by the arm. No copy and template copy are plain words that stress nothing: a template states facts,
        whatever tone was planned. Copy is personal where the writer wrote it in another tone than plain, the one that leaves the shopper out of it.
        """
        answers = []
        for shelf in shelves:
            count = len(shelf.product)
            who = np.full(count, shelf.shopper)
            tone, aspect = np.where(shelf.written, shelf.tone, PLAIN), np.where(shelf.written, shelf.aspect, NO_ASPECT)
            shown = Shown(
                who, shelf.product, shelf.price, shelf.position, np.zeros(count, dtype=np.int64), tone, aspect, tone != PLAIN,
                np.full(count, self._seen(shelf)), self._repeats(shelf),
            )  # fmt: skip
            clicks = self.rng.random(count) < self.model.click(shown)
            affinity = self.model.affinity(who, shelf.product, shelf.price)
            carts = clicks & (self.rng.random(count) < self.model.cart(affinity))
            answers.append((clicks, carts, carts & (self.rng.random(count) < self.model.buy(affinity))))
            self._remember(shelf)
        return answers

    def _seen(self, shelf: Shelf) -> float:
        """Products shown to this shopper in the last 7 days."""
        kept = [(at, count) for at, count in self.seen.get(shelf.shopper, []) if at > shelf.at - timedelta(days=7)]
        self.seen[shelf.shopper] = kept
        return float(sum(count for _, count in kept))

    def _repeats(self, shelf: Shelf) -> Floats:
        """How often each product was shown to this shopper in the last 14 days."""
        since = shelf.at - timedelta(days=14)
        return np.array([sum(at > since for at in self.repeats.get((shelf.shopper, int(index)), ())) for index in shelf.product], dtype=np.float64)

    def _remember(self, shelf: Shelf) -> None:
        self.seen.setdefault(shelf.shopper, []).append((shelf.at, len(shelf.product)))
        for index in shelf.product:
            self.repeats.setdefault((shelf.shopper, int(index)), []).append(shelf.at)


@dataclass(frozen=True)
class Plan:
    """What is run: `drift` sets in at the beginning of week `drift_week` (from 1)."""

    weeks: int = 2
    shoppers: int = 6000
    items: int = 6
    drift: Drift = field(default_factory=Drift)
    drift_week: int = 2
    placebo: bool = False
    seed: int = 1


@dataclass
class Run:
    """One run against a service. `refresh` is called every `refresh_days` days of it, 0 for never."""

    plan: Plan
    world: World
    service: Feed
    start: datetime
    refresh: Callable[[], None] = lambda: None
    refresh_days: int = 1
    turned_down: int = 0

    def __post_init__(self) -> None:
        self.catalogue: Catalogue = make_catalogue(self.world)
        self.shoppers = Shoppers.of(self.world)
        self.index = {each: number for number, each in enumerate(self.catalogue.ids)}
        self.rng = np.random.default_rng([self.plan.seed, self.world.seed])
        self.price = self.catalogue.offers.price_at(np.arange(len(self.catalogue)), np.full(len(self.catalogue), self.world.end_us))
        model = ResponseModel(self.shoppers, self.catalogue, placebo=self.plan.placebo)
        self.crowd = Crowd(model, np.random.default_rng([self.plan.seed, 1]))
        self.shadow = Crowd(replace(model, placebo=True), np.random.default_rng([self.plan.seed, 2]))
        self.tally, self.placebo = Tally.over(self.shoppers), Tally.over(self.shoppers)
        self.name = f"demo-{self.start:%Y%m%dT%H%M%S}-{self.plan.seed}"
        self.posted = 0

    def weeks(self) -> None:
        """Every simulated week, step by step, with a live view."""
        chosen = self.rng.choice(len(self.shoppers), size=min(self.plan.shoppers, len(self.shoppers)), replace=False)
        steps, nights = int(timedelta(days=7) / STEP), self.refresh_days * int(timedelta(days=1) / STEP)
        pending: list[dict[str, Any]] = []
        with tqdm(total=self.plan.weeks * steps, desc="simulated days", unit="step", disable=None) as bar:
            for number in range(self.plan.weeks * steps):
                week, now = number // steps + 1, self.start + number * STEP
                if number and nights and number % nights == 0:
                    self._deliver(pending, now)
                    pending = []
                    self.refresh()
                self._set_drift(week)
                self.service.at(now)
                self.turned_down += self.service.post(pending)
                pending = self.step(chosen, now)
                bar.update()
                bar.set_postfix_str(self.line())
                if bar.disable and number % 4 == 3:
                    log.info("Simulated day %d of %d: %s", number // 4 + 1, self.plan.weeks * 7, self.line())
        self._deliver(pending, self.start + self.plan.weeks * timedelta(days=7))

    def _deliver(self, events: list[dict[str, Any]], now: datetime) -> None:
        self.service.at(now)
        self.turned_down += self.service.post(events)

    def _set_drift(self, week: int) -> None:
        if week >= self.plan.drift_week and self.crowd.model.drift != self.plan.drift:
            self.crowd.model = replace(self.crowd.model, drift=self.plan.drift)

    def step(self, chosen: Ints, now: datetime) -> list[dict[str, Any]]:
        """Six hours: who comes, what they are shown, what they do. Returns the events, which lie before the next step."""
        rate = self.shoppers.activity[chosen] * self.world.sessions_per_shopper * 1.15 / self.world.days
        share = np.roll(HOURS, -now.hour)[: int(STEP / timedelta(hours=1))].sum() / HOURS.sum()
        visitors = chosen[self.rng.random(len(chosen)) < rate * share]
        visitors = visitors[visitors != 0]  # the shopper of the worked example stays as written
        events = self._organic(visitors, now)
        factor = self.crowd.model.drift.price_shock
        shelves = [self._shelf(int(index), now, factor) for index in visitors]
        for shelf, (clicks, carts, purchases) in zip(shelves, self.crowd.answer(shelves), strict=True):
            self.tally.add(shelf, int(clicks.sum()), int(purchases.sum()))
            events += self._events(shelf, clicks, carts, purchases)
        for shelf, (clicks, _, purchases) in zip(shelves, self.shadow.answer(shelves), strict=True):
            self.placebo.add(shelf, int(clicks.sum()), int(purchases.sum()))
        lost = self.crowd.model.drift.broken_feed
        return [each for each in events if each["event_type"] not in FRAGILE or self.rng.random() >= lost]

    def _shelf(self, shopper: int, now: datetime, factor: float) -> Shelf:
        arm = int(self.tally.arms[shopper])
        answer = self.service.feed(self.shoppers.ids[shopper], ARMS[arm], self.plan.items)
        items = [(rank, item) for rank, item in enumerate(answer["items"], 1) if item["product_id"] in self.index]
        product = np.array([self.index[item["product_id"]] for _, item in items], dtype=np.int64)
        listed = [item.get("price") for _, item in items]
        price = np.array([self.price[index] if each is None else each for index, each in zip(product, listed, strict=True)], dtype=np.float64)
        words = [item.get("copy") or {} for _, item in items]
        return Shelf(
            shopper=shopper,
            arm=arm,
            request_id=answer["request_id"],
            at=now + timedelta(seconds=float(self.rng.uniform(2, 60))),
            product=product,
            position=np.array([rank for rank, _ in items], dtype=np.int64),
            price=np.round(price * factor, 2),
            tone=np.array([_tone(each) for each in words], dtype=np.int64),
            aspect=np.array([_aspect(each) for each in words], dtype=np.int64),
            written=np.array([each.get("backend") == "writer" for each in words], dtype=np.bool_),
        )

    def _events(self, shelf: Shelf, clicks: NDArray[np.bool_], carts: NDArray[np.bool_], purchases: NDArray[np.bool_]) -> list[dict[str, Any]]:
        """An impression per product shown, and what followed within minutes."""
        found = []
        for place in range(len(shelf.product)):
            context: dict[str, str] = {"tone": TONES[shelf.tone[place]], "arm": ARMS[shelf.arm].name}
            if shelf.aspect[place] != NO_ASPECT:
                context["aspect"] = ASPECTS[shelf.aspect[place]]
            about = {"request_id": shelf.request_id, "position": int(shelf.position[place]), "channel": CHANNELS[0], "context": context}
            steps = [("impression", True, 0), ("click", clicks[place], 20), ("cart", carts[place], 90), ("purchase", purchases[place], 400)]
            for kind, happened, later in steps:
                if happened:
                    found.append(self._event(kind, shelf.shopper, int(shelf.product[place]), float(shelf.price[place]), shelf.at, later, **about))
        return found

    def _organic(self, visitors: Ints, now: datetime) -> list[dict[str, Any]]:
        """What visitors look at and buy of their own accord, as in the history."""
        model, rng = self.crowd.model, self.rng
        who = np.repeat(visitors, 1 + rng.poisson(0.9, len(visitors)))
        wish = (0.0 if model.placebo else 1.3 * model.taste()[who]) + rng.gumbel(size=(len(who), model.taste().shape[1]))
        category = np.where(rng.random(len(who)) < RELATED_SHARE, NOBODY, wish.argmax(axis=1)) if len(who) else np.empty(0, dtype=np.int64)
        price = np.round(self.price * model.drift.price_shock, 2)
        product = choose(model, who, category, price, np.ones(len(self.catalogue), dtype=bool), rng)
        affinity = model.affinity(who, product, price[product])
        carts = rng.random(len(who)) < model.cart(affinity)
        buys = carts & (rng.random(len(who)) < model.buy(affinity))
        found = []
        for row, shopper in enumerate(who):
            at = now + timedelta(seconds=float(rng.uniform(30, STEP.total_seconds() - 1200)))
            for kind, happened, later in (("view", True, 0), ("cart", carts[row], 60), ("purchase", buys[row], 400)):
                if happened:
                    goods = int(product[row])
                    found.append(self._event(kind, int(shopper), goods, float(price[goods]), at, later, channel=CHANNELS[0]))
        return found

    def _event(self, kind: str, shopper: int, product: int, price: float, at: datetime, later: int, **more: Any) -> dict[str, Any]:
        self.posted += 1
        event = {
            "event_id": f"{self.name}-{self.posted}",
            "event_type": kind,
            "user_id": self.shoppers.ids[shopper],
            "product_id": self.catalogue.products[product].product_id,
            "event_time": (at + timedelta(seconds=later)).isoformat(),
            "price": price,
        }
        return event | ({"quantity": 1} if kind in ("cart", "purchase") else {}) | more

    def line(self) -> str:
        """Click-through so far, for the live view."""
        parts = []
        for number, arm in enumerate(ARMS):
            _, shown, clicks, _ = self.tally.counts[self.tally.arms == number].sum(axis=0)
            parts.append(f"{arm.name} {clicks / shown:.1%}" if shown else f"{arm.name} -")
        return "click-through " + ", ".join(parts)


def _tone(copy: Mapping[str, Any]) -> int:
    """Index of the copy's tone; plain where it is unknown."""
    return TONES.index(copy["tone"]) if copy.get("tone") in TONES else PLAIN


def _aspect(copy: Mapping[str, Any]) -> int:
    """Index of the first aspect that the copy stresses."""
    return next((ASPECTS.index(each) for each in copy.get("aspects") or () if each in ASPECTS), NO_ASPECT)


@dataclass(frozen=True)
class Estimate:
    """A share with its 95 % interval."""

    value: float
    low: float
    high: float

    def json(self) -> dict[str, float]:
        return {"value": round(self.value, 6), "low": round(self.low, 6), "high": round(self.high, 6)}


def measure(tally: Tally, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Click-through (clicks per product shown) and conversion (purchases through the feed per visit) of each arm, and the full arm's lead.

    Intervals: percentile bootstrap over shoppers, because the visits of one shopper are not independent (Efron and Tibshirani 1993, ch. 13).
    """
    rng = np.random.default_rng(seed)
    arms: dict[str, Any] = {}
    drawn: dict[str, dict[str, tuple[float, Floats]]] = {"click_through": {}, "conversion": {}}
    for number, arm in enumerate(ARMS):
        rows = tally.counts[(tally.arms == number) & (tally.counts[:, 0] > 0)].astype(np.float64)
        visits, shown, clicks, purchases = rows.sum(axis=0).astype(int) if len(rows) else (0, 0, 0, 0)
        arms[arm.name] = {"shoppers": len(rows), "visits": int(visits), "shown": int(shown), "clicks": int(clicks), "purchases": int(purchases)}
        sums = np.array([rows[rng.integers(len(rows), size=len(rows))].sum(axis=0) for _ in range(resamples)]) if len(rows) else np.zeros((1, 4))
        for name, above, below in (("click_through", 2, 1), ("conversion", 3, 0)):
            whole = rows[:, above].sum() / rows[:, below].sum() if len(rows) and rows[:, below].sum() else 0.0
            spread = np.divide(sums[:, above], sums[:, below], out=np.zeros(len(sums)), where=sums[:, below] > 0)
            drawn[name][arm.name] = (float(whole), spread)
            arms[arm.name][name] = _estimate(float(whole), spread).json()
    leads: dict[str, Any] = {}
    for arm in ARMS[1:]:
        leads[arm.name] = {}
        for name, found in drawn.items():
            (full, spread), (other, rest) = found[ARMS[0].name], found[arm.name]
            size = min(len(spread), len(rest))
            leads[arm.name][name] = _estimate(full - other, spread[:size] - rest[:size]).json()
    return {"arms": arms, "full_minus": leads}


def _estimate(value: float, spread: Floats) -> Estimate:
    low, high = np.percentile(spread, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def table(report: Mapping[str, Any]) -> str:
    """The report as the text that ends a run."""
    about = f"shop '{report['shop']}', {report['weeks']} week(s), drift: {report['drift']}, response model {report['response_model']}"
    lines = [
        f"SIMULATED RESULTS - {about}.",
        "No real shopper took part. Click-through: clicks per product shown; conversion: purchases through the feed per visit; 95 % intervals.",
    ]
    if report.get("simulated"):
        lines += ["", *_block(("simulated shoppers",), report["simulated"])]
        title = SHADOW_PLACEBO
    else:
        title = TRAINED_PLACEBO if report["trained_placebo"] else UNTRAINED_PLACEBO
    lines += ["", *_block(title, report["placebo"])]
    return "\n".join(lines)


SHADOW_PLACEBO = (
    "SHADOW PLACEBO: the very same shelves, answered by shoppers without tastes, whom no words move.",
    "Leads of zero show that the counting is fair; they say nothing about the platform.",
)
TRAINED_PLACEBO = (
    "TRAINED PLACEBO: models of a history without tastes, shelves answered by shoppers without tastes, whom no words move.",
    "Leads of zero show that the platform makes none where there is nothing to learn.",
)
UNTRAINED_PLACEBO = (
    "PLACEBO ANSWERS: models that have learned tastes, shelves answered by shoppers without tastes, whom no words move.",
    "Leads of zero show that the counting is fair; for the trained placebo, make the shop with placebo = true (docs/simulator.md).",
)


def _block(title: Sequence[str], found: Mapping[str, Any]) -> list[str]:
    lines = [*title, f"  {'arm':<24}{'shoppers':>9}{'visits':>8}{'shown':>8}   {'click-through':<26}{'conversion':<26}"]
    for name, arm in found["arms"].items():
        rates = "".join(f"{_percent(arm[rate]):<26}" for rate in ("click_through", "conversion"))
        lines.append(f"  {name:<24}{arm['shoppers']:>9,}{arm['visits']:>8,}{arm['shown']:>8,}   {rates}".rstrip())
    for name, lead in found["full_minus"].items():
        rates = "".join(f"{_percent(lead[rate], sign=True):<26}" for rate in ("click_through", "conversion"))
        lines.append(f"  {'full minus ' + name:<52}{rates}".rstrip())
    return lines


def _percent(estimate: Mapping[str, float], sign: bool = False) -> str:
    value, low, high = (_figure(100 * estimate[part], sign) for part in ("value", "low", "high"))
    return f"{value} % [{low}, {high}]"


def _figure(percent: float, sign: bool) -> str:
    """Two decimals; what rounds to zero has no sign."""
    return "0.00" if round(percent, 2) == 0 else format(percent, "+.2f" if sign else ".2f")


def report_of(run: Run, home: ShopHome, drift: str) -> dict[str, Any]:
    """What a run found, as JSON."""
    found: dict[str, Any] = {
        "label": "SIMULATED",
        "shop": home.shop,
        "weeks": run.plan.weeks,
        "shoppers": run.plan.shoppers,
        "drift": drift,
        "response_model": VERSION,
        "from": run.start.isoformat(),
        "to": (run.start + run.plan.weeks * timedelta(days=7)).isoformat(),
        "events_turned_down": run.turned_down,
        "placebo": measure(run.placebo),
    }
    if run.plan.placebo:
        return found | {"placebo": measure(run.tally), "trained_placebo": run.world.placebo}
    return found | {"simulated": measure(run.tally)}


@contextmanager
def running(service: Service, port: int | None) -> Iterator[None]:
    """The service at its address; started on `port` for the time of the run if nobody answers there yet (never for a port of None)."""
    if service.answers() or port is None:
        yield
        return
    log.info("No service at %s yet: starting one.", service.url)
    command = [sys.executable, "-m", "serving.bundle", "--serve", "--shop", service.home.shop, "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"STORYSHELF_HOME": str(service.home.root.parent.resolve())}
    output = service.home.root / "demo-service.log"
    with output.open("w") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        _await_ready(service, process, output)
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)


def _await_ready(service: Service, process: "subprocess.Popen[bytes]", output: Path) -> None:
    patience = time.monotonic() + 300
    while True:
        try:
            service.call("GET", "/readyz")
            return
        except MonitoringError as error:
            if process.poll() is not None:
                last = (output.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
                raise MonitoringError(f"The service did not start; it said: {last} (all of it: {output})") from error
            if time.monotonic() > patience:
                raise MonitoringError(f"The service was not ready after 5 minutes; see {output}.") from error
            time.sleep(0.5)


def refresh_features(home: ShopHome) -> None:
    """`make features` for this shop: the posted events reach the features.

    Raises:
        MonitoringError: the build failed.
    """
    log.info("Refreshing the features.")
    environment = os.environ | {"STORYSHELF_HOME": str(home.root.parent.resolve())}
    folder = home.manifest().get("folder")
    command = [sys.executable, "-m", "feature_repo.build", "--shop", home.shop, *(["--data", folder] if folder else [])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise MonitoringError(f"`make features SHOP={home.shop}` failed between two simulated days: {last}")


def world_of(home: ShopHome) -> World:
    """The world that the shop's home was read from.

    Raises:
        MonitoringError: the shop is no demo shop.
    """
    manifest = home.manifest()
    if manifest.get("source") != "demo":
        raise MonitoringError(f"Shop '{home.shop}' is real: only the demo shop has simulated shoppers. Run `make demo SHOP=demo`.")
    return World.read(Path(manifest["folder"]) if manifest.get("folder") else None)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m monitoring.demo", description="Let simulated shoppers use the running service for simulated weeks."
    )
    parser.add_argument("--shop", default="demo", help="shop whose service is used (a demo shop)")
    parser.add_argument("--weeks", type=int, default=2, help="simulated weeks")
    parser.add_argument("--shoppers", type=int, default=6000, help="how many of the shop's shoppers may come")
    parser.add_argument("--items", type=int, default=6, help="products per feed")
    parser.add_argument("--drift", choices=sorted(NAMED_DRIFTS), default="none", help="what goes wrong")
    parser.add_argument("--drift-week", type=int, default=2, help="week in which it begins, from 1")
    parser.add_argument(
        "--placebo", action="store_true", help="switch tastes and tone effects off for the whole run (a shop with placebo = true always is)"
    )
    parser.add_argument("--refresh-days", type=int, default=1, help="simulated days between two runs of `make features`; 0 for none")
    parser.add_argument("--seed", type=int, default=1, help="seed of the shoppers' answers")
    parser.add_argument("--port", type=int, help="port of the service on this machine")
    parser.add_argument("--url", help="address of the service")
    parser.add_argument("--out", type=Path, help="where to write the results as JSON (default: monitoring/demo.json in the shop's home)")
    return parser


def demo(options: argparse.Namespace, settings: ServingSettings) -> str:
    """The whole command; returns the table."""
    if min(options.weeks, options.shoppers, options.items, options.drift_week) < 1 or options.refresh_days < 0:
        raise MonitoringError("--weeks, --shoppers, --items and --drift-week must be 1 or more, --refresh-days 0 or more.")
    home = ShopHome.open(settings, options.shop)
    world = world_of(home)
    port = options.port or settings.port
    service = Service(options.url or f"http://127.0.0.1:{port}", home, settings.api_key.get_secret_value())
    plan = Plan(
        options.weeks,
        options.shoppers,
        options.items,
        NAMED_DRIFTS[options.drift],
        min(options.drift_week, options.weeks),
        options.placebo or world.placebo,
        options.seed,
    )
    with running(service, None if options.url else port):
        if (found := service.call("GET", "/v1/shop")["shop"]) != home.shop:
            raise MonitoringError(f"The service at {service.url} serves '{found}', not '{home.shop}': stop it, or give another --port.")
        start = home.clock().now().replace(microsecond=0)
        run = Run(plan, world, service, start, lambda: refresh_features(home), options.refresh_days)
        run.weeks()
    report = report_of(run, home, options.drift)
    out = options.out or home.monitoring / "demo.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1))
    return f"{table(report)}\n\nwritten to {out}"


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments().parse_args(argv)
    logs.configure()
    try:
        print(demo(options, ServingSettings.read()))
    except StoryshelfError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
