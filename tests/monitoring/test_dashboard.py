"""The command as it is run, and Evidently's own UI in a real browser."""

import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from feature_repo.home import ShopHome
from monitoring.panels import DASHBOARDS, ENGAGEMENT, FEATURES, RECOMMENDATIONS
from tests.monitoring import synthetic

ROOT = Path(__file__).parents[2]
HEADINGS = {
    FEATURES: ["Share of features that drifted", "Features whose missing values jumped", "Drift score, user features"],
    RECOMMENDATIONS: ["Degraded and empty answers", "Coverage of the catalogue", "Categories shown, share of items", "Mean price shown"],
    ENGAGEMENT: ["Click rate by channel", "Click rate by tone", "Click rate by version of the writer", "Unsubscribes by channel"],
}


def environment(home: ShopHome, **more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("STORYSHELF_")}
    return own | {"STORYSHELF_HOME": str(home.root.parent), "STORYSHELF_SHOP": home.shop, "STORYSHELF_MONITOR_REFERENCE_DAYS": "2", **more}


def command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "monitoring.dashboard", *flags]


FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--window-size=1400,4000")  # fmt: skip
NOW = synthetic.START + timedelta(days=3, hours=20)


def written_shop(folder: Path, days: int = 4, per_day: int = 80) -> ShopHome:
    """A shop with tables, a journal and a clock, as ingestion and the service leave them."""
    home = synthetic.home(folder)
    synthetic.write(home, synthetic.inputs(days, per_day, shift_on=3), NOW)
    return home


@pytest.fixture(scope="module")
def dashboards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the real command serving a shop on a free port."""
    home = written_shop(tmp_path_factory.mktemp("homes"))
    process = subprocess.Popen(command("--port", "0"), cwd=ROOT, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"on (http://127\.0\.0\.1:\d+)", line):
                break
        else:
            pytest.fail("the dashboards were not served: " + "".join(said))
        yield found.group(1)
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.panel)
def test_each_dashboard_draws_its_panels(dashboards: str, browser: webdriver.Chrome, dashboard: Any) -> None:
    browser.get(f"{dashboards}/projects/{dashboard.id}")
    texts = [dashboard.description, *HEADINGS[dashboard.panel]]
    WebDriverWait(browser, 120).until(lambda driver: all(text in driver.find_element(By.TAG_NAME, "body").text for text in texts))
    WebDriverWait(browser, 120).until(lambda driver: len(driver.find_elements(By.CSS_SELECTOR, "svg path")) > 3 * len(HEADINGS[dashboard.panel]))
    seen = browser.find_element(By.TAG_NAME, "body").text
    assert "no value" not in seen
    assert "rror" not in seen
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.mark.needs("chromium")
def test_a_report_shows_what_it_stands_on_and_a_distribution(dashboards: str, browser: webdriver.Chrome) -> None:
    browser.get(f"{dashboards}/projects/{DASHBOARDS[0].id}/reports")
    WebDriverWait(browser, 120).until(lambda driver: driver.find_elements(By.LINK_TEXT, "View"))
    browser.find_elements(By.LINK_TEXT, "View")[0].click()
    wanted = ("Drift of user features", "Compared with", "Drift in column")
    WebDriverWait(browser, 120).until(lambda driver: all(text in driver.find_element(By.TAG_NAME, "body").text for text in wanted))


def test_the_ui_is_evidently_s_and_lists_three_projects(dashboards: str) -> None:
    with urllib.request.urlopen(f"{dashboards}/api/projects/", timeout=60) as answer:  # noqa: S310
        text = answer.read().decode()
    assert all(dashboard.title in text for dashboard in DASHBOARDS)


def test_no_serve_reads_the_journal_and_refreshes(tmp_path: Path) -> None:
    home = written_shop(tmp_path, days=2, per_day=10)
    ended = subprocess.run(command("--no-serve"), cwd=ROOT, env=environment(home), capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "6 reports built" in ended.stdout
    assert "10 decisions" in ended.stdout


@pytest.mark.parametrize(
    ("shop", "cure"),
    [("nobody", "make train"), ("invented", "make features")],
    ids=["no home", "no tables"],
)
def test_what_is_missing_is_one_line_with_its_cure(tmp_path: Path, shop: str, cure: str) -> None:
    home = synthetic.home(tmp_path)
    given = environment(home, STORYSHELF_SHOP=shop)
    ended = subprocess.run(command("--no-serve"), cwd=ROOT, env=given, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert cure in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    home = written_shop(tmp_path, days=1, per_day=2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = subprocess.run(command("--port", port), cwd=ROOT, env=environment(home), capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 2
    assert f"127.0.0.1:{port}" in ended.stderr
