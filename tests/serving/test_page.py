"""The front page in Debian's Chromium, against the real service."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from feature_repo.event_log import EventLog
from tests.serving import corner

pytestmark = pytest.mark.needs("chromium")

SHOPPER = "c-0031"
PATIENCE_S = 120


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[WebDriver]:
    options = webdriver.ChromeOptions()
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--window-size=1280,1000",
        f"--user-data-dir={tmp_path}",
        "--lang=en",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.binary_location = "/usr/bin/chromium"
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver", env=dict(os.environ)))
    yield made
    made.quit()


def texts(browser: WebDriver, selector: str) -> list[str]:
    """What stands in the elements, read in one step: the page may be drawn again at any time."""
    script = "return [...document.querySelectorAll(arguments[0])].map((element) => element.innerText)"
    return list(browser.execute_script(script, selector))


def ask(browser: WebDriver, shopper: str) -> None:
    browser.get(f"http://127.0.0.1:{corner.service().port}/")
    field = browser.find_element(By.ID, "shopper")
    field.clear()
    field.send_keys(shopper)
    browser.find_element(By.CSS_SELECTOR, "#ask .primary").click()
    WebDriverWait(browser, PATIENCE_S).until(lambda page: len(texts(page, ".card .copy.second")) == len(texts(page, ".card")) > 0)


def test_a_shopper_s_profile_shelf_and_copy_in_both_languages(browser: WebDriver) -> None:
    ask(browser, SHOPPER)
    assert texts(browser, ".interest .number")
    assert all(texts(browser, ".card h3"))
    assert all(texts(browser, ".card .reasons"))
    assert browser.find_element(By.CSS_SELECTOR, ".card .copy").get_attribute("lang") == "en"
    english = texts(browser, ".card .copy:not(.second)")
    browser.find_element(By.CSS_SELECTOR, ".tongue[data-language=zh]").click()
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "zh-Hans"
    assert texts(browser, "#shelf-title") == ["货架"]
    assert texts(browser, ".card .copy.second") == english
    assert any("\u4e00" <= letter <= "\u9fff" for letter in texts(browser, ".card .copy")[0])


def test_a_stranger_sees_what_is_popular_and_is_told_so(browser: WebDriver) -> None:
    ask(browser, "<img src=x onerror=alert(1)>")
    assert "everybody" in texts(browser, "#degraded")[0]
    assert texts(browser, "#none") != [""]
    assert "<img src=x onerror=alert(1)>" in texts(browser, "#who")[0]


def test_the_story_dialog_shows_every_channel(browser: WebDriver) -> None:
    ask(browser, SHOPPER)
    browser.find_element(By.CSS_SELECTOR, ".card .open").click()
    WebDriverWait(browser, PATIENCE_S).until(lambda page: len(texts(page, "#texts section")) == 4)
    assert all(texts(browser, "#texts section p"))


def test_nothing_comes_from_elsewhere_and_nothing_fails(browser: WebDriver) -> None:
    ask(browser, SHOPPER)
    home = f"http://127.0.0.1:{corner.service().port}/"
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert loaded
    assert all(address.startswith(home) for address in loaded)
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []
    browser.get(home + "docs")
    WebDriverWait(browser, PATIENCE_S).until(lambda page: "/v1/recommendations" in page.find_element(By.TAG_NAME, "body").text)


def test_coming_by_a_letter_s_link_is_one_click(browser: WebDriver) -> None:
    home = f"http://127.0.0.1:{corner.service().port}/"

    def settled(page: WebDriver) -> bool:
        script = "return performance.getEntriesByName(arguments[0] + 'v1/events').filter((entry) => entry.responseEnd).length"
        return bool(page.execute_script(script, home))

    browser.get(f"{home}?r=0123456789abcdef0123456789abcdef&p=00017")
    WebDriverWait(browser, PATIENCE_S).until(settled)
    browser.refresh()
    WebDriverWait(browser, PATIENCE_S).until(settled)
    kept = EventLog(corner.trained().events_db).read()
    (click,) = kept[kept["request_id"] == "0123456789abcdef0123456789abcdef"].to_dict("records")
    assert (click["event_type"], click["channel"], click["product_id"], click["user_id"]) == ("click", "email", "00017", None)
    browser.get(home)
    WebDriverWait(browser, PATIENCE_S).until(lambda page: texts(page, "#shop") != [""])
    assert not settled(browser)


def test_it_fits_a_telephone(browser: WebDriver) -> None:
    browser.set_window_size(500, 900)  # the narrowest window that Chromium makes
    ask(browser, SHOPPER)
    assert browser.execute_script("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("id_", ["shopper", "popular", "plain"])
def test_every_field_has_a_label(browser: WebDriver, id_: str) -> None:
    browser.get(f"http://127.0.0.1:{corner.service().port}/")
    assert browser.execute_script("return document.getElementById(arguments[0]).labels.length", id_) == 1
