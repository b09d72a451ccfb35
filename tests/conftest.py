"""Shared by all tests: real parts that may be missing, and a count of what was skipped for want of them."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_repo.benchmark.redis_server import redis_server


def _missing(part: str) -> str:
    """Why a real part can't be used here; empty if it can."""
    if part == "chromium":
        return "" if shutil.which("chromium") and shutil.which("chromedriver") else "Debian's chromium and chromium-driver are not installed"
    if part == "data":
        folder = os.environ.get("STORYSHELF_DATA", "")
        return "" if folder and Path(folder).is_dir() else "STORYSHELF_DATA does not name the parent folder of the public data sets"
    if part == "redis":
        return "" if shutil.which("redis-server") else "Debian's redis-server is not installed"
    return "" if shutil.which(part) else f"{part} is not installed"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "needs(*parts): real parts (chromium, redis, data, a program) without which a test is skipped, or fails if required"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    required = os.environ.get("STORYSHELF_REQUIRE", "").split(",")
    for marker in item.iter_markers("needs"):
        for part in marker.args:
            if reason := _missing(part):
                if part in required:
                    pytest.fail(f"STORYSHELF_REQUIRE names {part}, but {reason}")
                pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else "other" for report in skipped)
    terminalreporter.section(f"{len(skipped)} skipped, by reason")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:4}  {reason}")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real server on a free port, empty at first; use it in tests marked `needs("redis")`, each with names of its own."""
    with redis_server() as url:
        yield url


@pytest.fixture
def data() -> Path:
    """Parent folder of the public data sets; use it in tests marked `needs("data")`."""
    return Path(os.environ["STORYSHELF_DATA"])
