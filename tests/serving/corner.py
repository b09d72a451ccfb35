"""The corner shop of tests/data, really trained (a few trees, a few steps of the writer), packed and served on a free port; once per test run."""

import atexit
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from feature_repo.build import build, prepared
from feature_repo.home import ShopHome
from serving.bundle import environment, pack
from serving.settings import ServingSettings
from training.content.train import Effort, train_writer
from training.pipeline import Timings, register, seal, train_recommender
from training.settings import TrainingSettings
from training.shop import open_shop

TABLES = Path(__file__).parents[1] / "data" / "corner_shop"
SHOP = "corner"
TINY = {"trees": 20, "label_groups": 100, "evaluation_users": 30, "candidates": 30, "negatives": 10, "threads": 1, "profile_choices": 500}
TINY |= {"gate_violating": 1.0, "gate_fallback": 1.0, "gate_below_popular": 1.0, "gate_below_best": 1.0}  # so little training teaches little
TINY |= {"gate_similar": -1.0, "gate_dislike": -1.0, "gate_complement": -1.0, "gate_new_user": 0.0}
WRITER = Effort(lines=300, steps=10, measured=8)


@cache
def trained() -> ShopHome:
    """The shop's home with features and three champions."""
    given = os.environ.get("STORYSHELF_TEST_CORNER", "")  # a home made by an earlier run, to try tests against quickly
    if given:
        return ShopHome(Path(given))
    folder = Path(tempfile.mkdtemp(prefix="storyshelf-corner-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return train(folder)


def train(folder: Path, shop: str = SHOP, tables: Path = TABLES) -> ShopHome:
    """The same flow as training.pipeline, with little effort, for homes in `folder`."""
    settings = TrainingSettings(home=folder, shop=shop, **TINY)
    with prepared(settings, shop, tables) as home:
        build(home, settings)
    shop = open_shop(home, settings)
    found = train_recommender(shop, settings, Timings())
    writer = train_writer(home, settings, home.root / "scratch" / "writer", progress=False, effort=WRITER)
    register(shop, found, writer, seal(shop, found, writer, home.root / "scratch", settings), settings)
    home.remember_as_last()
    return home


@cache
def packed() -> Path:
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    return pack(trained())


def settings(**more: Any) -> ServingSettings:
    return ServingSettings(**{"home": trained().root.parent, "shop": trained().shop, "bundle": packed() / "src" / "models"} | more)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def error(self) -> dict[str, Any]:
        """The error's body, checked to have the one shape."""
        content = self.json()
        assert content.keys() == {"error"}
        assert content["error"].keys() == {"code", "message", "request_id", "details"}
        assert content["error"]["request_id"] == self.headers["x-request-id"]
        return dict(content["error"])


@dataclass(frozen=True)
class Service:
    """A running service."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def call(self, method: str, path: str, body: Any = None, raw: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        payload = raw if raw is not None else None if body is None else json.dumps(body).encode()
        sent = {"content-type": "application/json"} if payload is not None else {}
        connection.request(method, path, payload, {**sent, **(headers or {})})
        response = connection.getresponse()
        answer = Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
        connection.close()
        return answer

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
        return self.call("POST", path, body, headers=headers)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.call("GET", path, headers=headers)


@cache
def service() -> Service:
    """The bento, served from a copied folder by BentoML; ended with the tests."""
    return serve({})


def serve(more: Mapping[str, str]) -> Service:
    """A service of its own with `more` environment, ended with the tests."""
    home = trained()
    elsewhere = Path(tempfile.mkdtemp(prefix="storyshelf-bento-"))
    atexit.register(shutil.rmtree, elsewhere, ignore_errors=True)
    bento = elsewhere / "copied"
    shutil.copytree(packed(), bento)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = elsewhere / "log"
    # A BENTOML_HOME of its own: two services that share one mix their metrics.
    environ = environment(home) | {"BENTOML_HOME": str(elsewhere / "home")} | dict(more)
    command = [sys.executable, "-m", "bentoml", "serve", str(bento), "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=elsewhere, env=environ, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    atexit.register(_end, process)
    started = Service(port, process, log)
    _await(started)
    return started


def _await(started: Service) -> None:
    """Until /readyz answers; an error with the log if the process ends or five minutes pass."""
    patience = time.monotonic() + 300
    while time.monotonic() < patience and started.process.poll() is None:
        try:
            if started.get("/readyz").status in (200, 503):
                return
        except OSError:
            time.sleep(0.2)  # not listening yet
    raise AssertionError(f"The service did not start:\n{started.log.read_text()[-4000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)
