"""Who may be written to: consents, withdrawals, unsubscribe events, suppressions, and which of them wins."""

from datetime import timedelta
from pathlib import Path

import pytest

from feature_repo.event_log import EventLog
from feature_repo.events import Event, EventType
from feature_repo.home import ShopHome
from serving.consent import Consent, Standing
from tests.serving.campaign_shop import NOW, make_home, user, write

DAY = timedelta(days=1)


@pytest.fixture
def home(tmp_path: Path) -> ShopHome:
    return make_home(tmp_path, ["anna", "ben"])


@pytest.fixture
def anna(home: ShopHome, tmp_path: Path) -> str:
    return user(home, tmp_path, "anna")


def says(home: ShopHome, *rows: tuple[str, bool | None, timedelta]) -> None:
    write(home, "consents", [{"user_id": who, "channel": "email", "granted": granted, "at": NOW - ago} for who, granted, ago in rows])


def unsubscribe(who: str, channel: str | None, ago: timedelta, event_id: str = "e1") -> Event:
    return Event(event_id, EventType.UNSUBSCRIBE, who, None, NOW - ago, NOW - ago, channel=channel)


def test_a_yes_counts_for_its_channel_only(home: ShopHome, anna: str) -> None:
    consent = Consent(home)
    assert consent.allowed(anna, "email")
    assert consent.standing(anna, "push") is Standing.NO_CONSENT
    assert consent.standing("u_stranger", "email") is Standing.NO_CONSENT


def test_without_a_consents_table_nobody_is_written_to(home: ShopHome, anna: str) -> None:
    (home.tables / "consents.parquet").unlink()
    assert Consent(home).standing(anna, "email") is Standing.NO_CONSENT


@pytest.mark.parametrize(
    ("rows", "standing"),
    [
        ([(True, 3), (False, 2)], Standing.WITHDRAWN),
        ([(False, 3), (True, 2)], Standing.GRANTED),
        ([(True, 2), (False, 3)], Standing.GRANTED),
        ([(True, 2), (False, 2)], Standing.WITHDRAWN),
        ([(False, 2), (True, 2)], Standing.WITHDRAWN),
    ],
)
def test_the_latest_row_counts_and_a_no_wins_a_tie(home: ShopHome, anna: str, rows: list[tuple[bool, int]], standing: Standing) -> None:
    says(home, *((anna, granted, days * DAY) for granted, days in rows))
    assert Consent(home).standing(anna, "email") is standing


def test_a_suppression_is_heeded_at_once_by_others_who_are_running(home: ShopHome, anna: str) -> None:
    running = Consent(home)
    assert running.allowed(anna, "email")
    Consent(home).suppress(anna, "email", "link")
    assert running.standing(anna, "email") is Standing.UNSUBSCRIBED


def test_a_suppression_survives_new_tables_and_ends_with_a_later_yes(home: ShopHome, anna: str) -> None:
    consent = Consent(home)
    consent.suppress(anna, "email", "link", NOW - 5 * DAY)
    says(home, (anna, True, 9 * DAY))
    assert consent.standing(anna, "email") is Standing.UNSUBSCRIBED
    says(home, (anna, True, 5 * DAY))
    assert consent.standing(anna, "email") is Standing.UNSUBSCRIBED
    says(home, (anna, True, 4 * DAY))
    assert consent.allowed(anna, "email")


def test_unsubscribe_events_of_the_shop_count(home: ShopHome, anna: str, tmp_path: Path) -> None:
    event = {
        "event_id": "e1",
        "event_type": "unsubscribe",
        "user_id": anna,
        "channel": "email",
        "event_time": NOW - DAY,
        "arrived_at": NOW,
        "sequence": 0,
    }
    write(home, "events", [event, event | {"event_id": "e2", "user_id": None}])
    consent = Consent(home)
    assert consent.standing(anna, "email") is Standing.UNSUBSCRIBED
    assert consent.allowed(user(home, tmp_path, "ben"), "email")
    write(home, "events", [event | {"channel": "push"}])
    assert consent.allowed(anna, "email")


def test_unsubscribe_events_posted_to_the_service_count_at_once(home: ShopHome, anna: str, tmp_path: Path) -> None:
    consent, log, ben = Consent(home), EventLog(home.events_db), user(home, tmp_path, "ben")
    assert consent.allowed(anna, "email")
    log.append([unsubscribe(anna, "push", DAY, "e1")])
    assert consent.allowed(anna, "email")
    log.append([unsubscribe(anna, None, DAY, "e2")])
    assert consent.standing(anna, "email") is Standing.UNSUBSCRIBED
    assert consent.allowed(ben, "email")
    log.append([unsubscribe(ben, "email", 400 * DAY, "e3")])
    assert consent.allowed(ben, "email")  # ben agreed again after that
    log.append([unsubscribe(ben, "email", DAY, "e4")])
    assert consent.standing(ben, "email") is Standing.UNSUBSCRIBED


def test_a_link_stops_mail_though_the_shop_s_clock_lies_before_the_consent(home: ShopHome, anna: str) -> None:
    says(home, (anna, True, -2 * DAY))  # given after the shop's now, as in a historical shop
    consent = Consent(home)
    assert consent.allowed(anna, "email")
    consent.suppress(anna, "email", "link")
    assert consent.standing(anna, "email") is Standing.UNSUBSCRIBED


@pytest.mark.parametrize(("channel", "stops"), [("Email ", True), ("site", True), ("push", False)])
def test_an_unsubscribe_stops_the_channel_it_names_or_all(home: ShopHome, anna: str, channel: str, stops: bool) -> None:
    EventLog(home.events_db).append([unsubscribe(anna, channel, timedelta(0))])
    assert (Consent(home).standing(anna, "email") is Standing.UNSUBSCRIBED) is stops
