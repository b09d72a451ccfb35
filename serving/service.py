"""The bento's service: BentoML starts, watches and stops the process; the app in `api.py` answers.

Built and started by `python -m serving.bundle --serve`. What it serves is named by STORYSHELF_HOME and STORYSHELF_SHOP; the models lie beside this
package in a bento (`models/`), or where STORYSHELF_BUNDLE says.
"""

import logging
from pathlib import Path

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from feature_repo import logs
from feature_repo.home import ShopHome
from serving.answers import Answers
from serving.api import create_app
from serving.settings import ServingSettings


def load() -> Answers:
    """Open the shop's home and load what lies in the bento. Runs once, as the process starts."""
    logs.configure()
    for name in ("bentoml", "bentoml.serve", "uvicorn", "uvicorn.error"):  # their lines in our format
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    settings = ServingSettings.read()
    beside = Path(__file__).parents[1] / "models"
    if settings.bundle == Path() and beside.is_dir():
        settings = settings.model_copy(update={"bundle": beside})
    return Answers.open(ShopHome.open(settings), settings)


_settings = ServingSettings.read()
app = create_app(load, _settings)


class Straight:
    """Lets our app answer what comes over HTTP, all of it: BentoML has routes of its own for the probes, in another shape, and its middlewares take
    time of every answer. Starting and stopping stay BentoML's."""

    def __init__(self, bento: ASGIApp) -> None:
        self.bento = bento

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (app if scope["type"] == "http" else self.bento)(scope, receive, send)


@bentoml.service(
    name="storyshelf",
    workers=_settings.workers,
    traffic={"timeout": 120},
    metrics={"enabled": False},  # ours are at /metrics; BentoML's label each path, and a path may hold a token
    logging={"access": {"enabled": False}},  # the same
)
@bentoml.asgi_app(app)
class Storyshelf:
    """STORYSHELF_WORKERS processes, each whole: the core is called, not sent for."""


Storyshelf.add_asgi_middleware(Straight)  # type: ignore[attr-defined]  # the decorator made a bentoml.Service of it
