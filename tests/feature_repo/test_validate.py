"""The door: every kind of bad row is set aside for the right reason, and every row is accounted for."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from feature_repo.errors import FeatureRepoError
from feature_repo.events import TABLES
from feature_repo.home import Pseudonyms
from feature_repo.shop import ShopConfig
from feature_repo.sources import ShopTables
from feature_repo.validate import CONFLICT, DOUBTFUL_CONSENT, REPEATED, Checked, CheckedShop, schema, validate

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
KEY = Pseudonyms(b"k" * 32)

LAMP = {"product_id": "007", "title": "Lamp", "price": "9.50", "currency": "EUR", "category_path": "Home>Lamps"}
VIEW = {"event_id": "e1", "event_type": "view", "user_id": "ann", "product_id": "007", "event_time": "2024-05-01T10:00:00"}

Row = Mapping[str, Any]


def check(config: ShopConfig | None = None, **tables: list[Row]) -> CheckedShop:
    """A shop of the given rows; one lamp and one view where the test says nothing of products and events."""
    rows = {"products": [LAMP], "events": [VIEW]} | tables
    return validate(ShopTables(config or ShopConfig(), {name: pd.DataFrame(each, dtype=object) for name, each in rows.items()}), KEY, NOW)


def only_reason(checked: Checked) -> str:
    assert len(checked.quarantined) == 1
    return str(checked.quarantined["reason"].iloc[0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"product_id": "008"}, "product_id: unknown product"),
        ({"product_id": ""}, "product_id: empty"),
        ({"product_id": "x" * 201}, "product_id: longer than 200 characters"),
        ({"event_type": "teleport"}, f"event_type: not one of {', '.join(TABLES['events']['event_type'].values)}"),
        ({"event_type": ""}, "event_type: empty"),
        ({"event_time": "soon"}, "event_time: not a time"),
        ({"event_time": ""}, "event_time: empty"),
        ({"event_time": "1970-01-01"}, "event_time: before 1990"),
        ({"event_time": "2024-06-01T12:05:01Z"}, "event_time: in the future"),
        ({"arrived_at": "2024-06-02"}, "arrived_at: in the future"),
        ({"event_id": " "}, "event_id: empty"),
        ({"price": "-1"}, "price: below 0"),
        ({"price": "1,50"}, "price: not a number"),
        ({"quantity": "0"}, "quantity: not above 0"),
        ({"rating": "0"}, "rating: below 1"),
        ({"rating": "6"}, "rating: above 5"),
        ({"position": "0"}, "position: below 1"),
        ({"position": "1.5"}, "position: not a whole number"),
        ({"context": "{tone"}, "context: malformed JSON"),
        ({"event_type": "unsubscribe", "user_id": ""}, "user_id: empty in an unsubscribe"),
        ({"currency": "USD"}, "currency: not the shop's currency"),
    ],
)
def test_a_bad_event_is_set_aside(change: Row, reason: str) -> None:
    checked = check(events=[VIEW, VIEW | {"event_id": "e2"} | change]).tables["events"]
    assert only_reason(checked) == reason
    assert checked.quarantined["row"].tolist() == [2]
    assert checked.accepted["event_id"].tolist() == ["e1"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"product_id": None}, "product_id: empty"),
        ({"price": "-0.01"}, "price: below 0"),
        ({"stock": "-1"}, "stock: below 0"),
        ({"currency": "USD"}, "currency: not the shop's currency"),
        ({"attributes": "oak"}, "attributes: malformed JSON"),
        ({"attributes": "[]"}, "attributes: JSON, but not an object"),
        ({"valid_from": "2025-01-01"}, "valid_from: in the future"),
    ],
)
def test_a_bad_product_is_set_aside_and_so_are_its_events(change: Row, reason: str) -> None:
    shop = check(
        products=[LAMP, LAMP | {"product_id": "009"}, LAMP | {"product_id": "008"} | change],
        events=[VIEW, VIEW | {"event_id": "e2", "product_id": "008"}],
    )
    assert only_reason(shop.tables["products"]) == reason
    expected = "product_id: unknown product" if change.get("product_id", "") is None else "product_id: product was set aside"
    assert only_reason(shop.tables["events"]) == expected


@pytest.mark.parametrize(
    ("table", "row", "reason"),
    [
        ("ties", {"user_id": "ann", "kind": "follow", "target": "ann"}, "target: a user who follows themselves"),
        ("ties", {"user_id": "ann", "kind": "friend", "target": "bob"}, "kind: not one of follow, group"),
        ("ties", {"user_id": "", "kind": "group", "target": "Chess"}, "user_id: empty"),
        ("preferences", {"user_id": "ann", "sentiment": "hate", "subject_kind": "brand", "subject": "x"}, "sentiment: not one of like, dislike"),
        ("preferences", {"user_id": "ann", "sentiment": "like", "subject_kind": "product", "subject": "9"}, "subject: unknown product"),
        ("preferences", {"user_id": "ann", "sentiment": "like", "subject_kind": "brand", "subject": ""}, "subject: empty"),
        ("consents", {"user_id": "ann", "channel": "email", "granted": "perhaps"}, "granted: neither true nor false"),
        ("consents", {"user_id": "ann", "channel": "email", "granted": ""}, "granted: empty"),
        ("contacts", {"user_id": "ann", "channel": "email", "address": "ann"}, "address: not an e-mail address"),
        ("contacts", {"user_id": "ann", "channel": "email", "address": "a@b.example\nBcc: c@d.example"}, "address: control characters"),
        ("contacts", {"user_id": "ann", "channel": "sms", "address": "+49\r1"}, "address: control characters"),
        ("users", {"user_id": None, "country": "DE"}, "user_id: empty"),
    ],
)
def test_a_bad_row_of_an_optional_table_is_set_aside(table: str, row: Row, reason: str) -> None:
    assert only_reason(check(**{table: [row]}).tables[table]) == reason


def test_a_clock_that_runs_a_little_ahead_is_forgiven() -> None:
    assert len(check(events=[VIEW | {"event_time": "2024-06-01T12:04:59Z"}]).tables["events"].accepted) == 1


def test_a_followed_user_and_a_user_are_the_same_pseudonym_and_a_group_keeps_its_name() -> None:
    rows = [{"user_id": "ann", "kind": "follow", "target": "bob"}, {"user_id": "bob", "kind": "group", "target": "Chess"}]
    ties = check(ties=rows).tables["ties"].accepted
    assert set(ties["target"]) == {KEY.user("bob"), "Chess"}
    assert set(ties["user_id"]) == {KEY.user("ann"), KEY.user("bob")}


def test_no_raw_user_id_is_in_quarantine_and_of_a_contact_only_row_and_reason() -> None:
    shop = check(
        events=[VIEW | {"product_id": "?"}],
        ties=[{"user_id": "ann", "kind": "friend", "target": "bob"}],
        contacts=[{"user_id": "ann", "channel": "email", "address": "ann's address"}],
    )
    for name in ("events", "ties", "contacts"):
        cells = set(shop.tables[name].quarantined.astype(str).to_numpy().ravel())
        assert not cells & {"ann", "bob", "ann's address"}
    assert list(shop.tables["contacts"].quarantined) == ["reason", "row"]
    assert shop.tables["events"].quarantined["user_id"].tolist() == [KEY.user("ann")]


def test_of_equal_event_ids_the_first_is_kept() -> None:
    checked = check(events=[VIEW, VIEW, VIEW | {"event_time": "2024-05-02T10:00:00"}]).tables["events"]
    assert checked.quarantined["reason"].tolist() == [REPEATED, CONFLICT]
    assert checked.accepted["event_time"].tolist() == [pd.Timestamp("2024-05-01T10:00:00Z")]


def test_a_row_that_was_set_aside_is_no_earlier_row() -> None:
    checked = check(events=[VIEW | {"price": "-1"}, VIEW]).tables["events"]
    assert checked.quarantined["reason"].tolist() == ["price: below 0"]
    assert len(checked.accepted) == 1


def test_a_product_may_have_a_history_but_one_offer_per_moment() -> None:
    history = [
        LAMP | {"valid_from": "2024-01-01"},
        LAMP | {"valid_from": "2024-02-01", "price": "8"},
        LAMP | {"valid_from": "2024-02-01", "price": "7"},
    ]
    products = check(products=history).tables["products"]
    assert products.accepted["price"].tolist() == [9.5, 8.0]
    assert only_reason(products) == CONFLICT


def test_two_undated_rows_of_a_product_contradict_each_other() -> None:
    assert only_reason(check(products=[LAMP, LAMP | {"price": "1"}]).tables["products"]) == CONFLICT


def test_the_shop_s_currency_is_the_one_most_products_carry_unless_it_is_set() -> None:
    rows = [LAMP, LAMP | {"product_id": "008"}, LAMP | {"product_id": "009", "currency": "USD"}, LAMP | {"product_id": "010", "currency": ""}]
    shop = check(products=rows)
    assert shop.config.currency == "EUR"
    assert set(shop.tables["products"].accepted["currency"]) == {"EUR"}
    assert shop.tables["products"].accepted["product_id"].tolist() == ["007", "008", "010"]
    dollars = check(ShopConfig(currency="USD"), products=rows)
    assert dollars.tables["products"].accepted["product_id"].tolist() == ["009", "010"]


def test_prices_without_any_currency_are_kept_and_said() -> None:
    shop = check(products=[{"product_id": "007", "title": "Lamp", "price": 3}])
    assert shop.config.currency is None
    assert any("currency" in note for note in shop.notes)


def test_preferences_that_move_nothing_are_kept_and_said_without_the_user() -> None:
    products = [LAMP | {"category_path": "Home > Lighting > Lamps", "brand": "Nordlicht"}]
    kept = [("category", "Lamps"), ("category", "Lighting"), ("brand", "Nordlicht"), ("product", "007"), ("attribute", "oak"), ("attribute", "blue")]
    lost = [("category", "lamps"), ("brand", "Lamps"), ("category", "Teapots"), ("category", "Teapots"), ("brand", "A" * 100)]
    rows = [{"user_id": f"ann{row}", "sentiment": "like", "subject_kind": kind, "subject": each} for row, (kind, each) in enumerate(kept + lost)]
    shop = check(products=products, preferences=[*rows, rows[-1]])
    assert len(shop.tables["preferences"].accepted) == len(rows)
    unmatched, attributes = (note for note in shop.notes if note.startswith("preferences"))
    assert "5 name a category or brand that no product has (category 'lamps', brand 'Lamps', category 'Teapots', …)" in unmatched
    assert attributes == "preferences: 2 about attributes; they are kept and only counted among the user's likes and dislikes"
    assert "ann" not in unmatched + attributes


def test_preferences_that_all_match_are_no_note() -> None:
    stated = {"user_id": "ann", "sentiment": "like", "subject_kind": "category", "subject": "Lamps"}
    for shop in (check(preferences=[stated]), check()):
        assert not [note for note in shop.notes if note.startswith("preferences")]


def test_categories_are_completed() -> None:
    rows = [LAMP, {"product_id": "008", "title": "x", "category": "Chairs"}, {"product_id": "009", "title": "y"}]
    products = check(products=rows).tables["products"].accepted
    assert products["category"].tolist() == ["Lamps", "Chairs", None]
    assert products["category_path"].tolist() == ["Home > Lamps", "Chairs", None]


def test_what_an_event_lacks_is_filled_in() -> None:
    bare = [{name: value for name, value in VIEW.items() if name != "event_id"}] * 2
    shop = check(events=[*bare, bare[0] | {"user_id": None}])
    events = shop.tables["events"].accepted
    assert events["arrived_at"].equals(events["event_time"].rename("arrived_at"))
    assert events["sequence"].tolist() == [1, 2, 3]
    assert events["event_id"].is_unique
    assert events["event_id"].iloc[1] == events["event_id"].iloc[0] + "-2"
    assert any("equal an earlier row" in note for note in shop.notes)


def test_made_event_ids_don_t_depend_on_the_order_of_the_file() -> None:
    rows = [{name: value for name, value in VIEW.items() if name != "event_id"} | {"event_time": f"2024-05-0{day}"} for day in range(1, 5)]
    there, back = check(events=rows).tables["events"].accepted, check(events=rows[::-1]).tables["events"].accepted
    assert there["event_id"].tolist() == back["event_id"].tolist()


def test_events_come_out_in_order_of_time_and_sequence() -> None:
    rows = [VIEW | {"event_id": "b", "sequence": 2}, VIEW | {"event_id": "a", "sequence": 1}, VIEW | {"event_id": "0", "event_time": "2024-04-01"}]
    assert check(events=rows).tables["events"].accepted["event_id"].tolist() == ["0", "a", "b"]


def test_the_shop_s_own_words_for_events() -> None:
    config = ShopConfig(event_types={"order": "purchase", "heartbeat": "ignore"})
    words = ["order", "view", "heartbeat"]
    checked = check(config, events=[VIEW | {"event_id": word, "event_type": word} for word in words]).tables["events"]
    assert checked.accepted.set_index("event_id")["event_type"].to_dict() == {"order": "purchase", "view": "view"}
    assert only_reason(checked) == "event_type: shop.toml says to ignore it"


def test_an_anonymous_event_is_kept() -> None:
    assert check(events=[VIEW | {"user_id": ""}]).tables["events"].accepted["user_id"].tolist() == [None]


@pytest.mark.parametrize(
    "doubt",
    [
        {"consents": [{"user_id": "ann", "channel": "email", "granted": "nope", "at": "2024-03-01"}]},
        {"consents": [{"user_id": "ann", "channel": "email", "granted": "no", "at": "soon"}]},
        {"consents": [{"user_id": "ann", "channel": "email", "granted": "no", "at": "2024-01-01"}]},
        {"events": [VIEW | {"event_type": "unsubscribe", "event_time": "soon"}]},
    ],
)
def test_who_may_have_refused_is_not_written_to(doubt: dict[str, list[Row]]) -> None:
    granted = [{"user_id": user, "channel": "email", "granted": "yes", "at": "2024-01-01"} for user in ("ann", "bob")]
    consents = check(**{**doubt, "consents": granted + doubt.get("consents", [])}).tables["consents"]
    assert set(consents.accepted.query("granted")["user_id"]) == {KEY.user("bob")}
    assert DOUBTFUL_CONSENT in consents.reasons


def test_a_repeated_consent_raises_no_doubt() -> None:
    granted = {"user_id": "ann", "channel": "email", "granted": "yes", "at": "2024-01-01"}
    assert check(consents=[granted, granted]).tables["consents"].accepted["granted"].tolist() == [True]


@pytest.mark.parametrize("column", ["product_id", "title"])
def test_a_missing_column_is_an_error_that_names_the_cure(column: str) -> None:
    with pytest.raises(FeatureRepoError) as error:
        check(products=[{name: value for name, value in LAMP.items() if name != column}])
    assert f'[columns.products] {column} = "' in str(error.value)


def test_events_without_a_column_of_users_are_never_cured_by_one_user_for_all() -> None:
    nobody = {name: value for name, value in VIEW.items() if name != "user_id"}
    with pytest.raises(FeatureRepoError) as error:
        check(events=[nobody])
    assert str(error.value).endswith("""[columns.events] user_id = "<its name>"; if every visitor is anonymous, add an empty column 'user_id'.""")
    assert check(events=[nobody | {"user_id": ""}]).tables["events"].accepted["user_id"].tolist() == [None]
    with pytest.raises(FeatureRepoError, match=r'user_id = "<its name>"\.$'):
        check(users=[{"country": "DE"}])


def test_a_missing_word_may_be_a_constant() -> None:
    with pytest.raises(FeatureRepoError, match=r'every row has the same value: \[constants\.events\] event_type = "<value>"'):
        check(events=[{name: value for name, value in VIEW.items() if name != "event_type"}])


def test_a_shop_without_events_is_an_error() -> None:
    with pytest.raises(FeatureRepoError, match="events"):
        validate(ShopTables(ShopConfig(), {"products": pd.DataFrame([LAMP])}), KEY, NOW)


def test_empty_tables_come_back_with_their_columns() -> None:
    shop = validate(ShopTables(ShopConfig(), {"products": TABLES["products"].empty(), "events": TABLES["events"].empty()}), KEY, NOW)
    for name, checked in shop.tables.items():
        assert list(checked.accepted) == TABLES[name].names
        assert checked.read == 0


def test_what_a_source_sets_aside_is_counted_and_pseudonymised() -> None:
    aside = pd.DataFrame([VIEW | {"reason": "no product: postage", "row": 17}])
    shop = ShopTables(ShopConfig(), {"products": pd.DataFrame([LAMP]), "events": pd.DataFrame([VIEW])}, {"events": aside})
    events = validate(shop, KEY, NOW).tables["events"]
    assert (events.read, len(events.accepted), events.reasons) == (2, 1, {"no product: postage": 1})
    assert events.quarantined[["row", "user_id"]].to_numpy().tolist() == [[17, KEY.user("ann")]]


def test_rows_that_vanish_are_noticed() -> None:
    with pytest.raises(AssertionError, match="3 rows read"):
        Checked(TABLES["events"], TABLES["events"].empty(), pd.DataFrame({"reason": []}), read=3)


def test_every_row_of_a_large_wild_table_is_accounted_for() -> None:
    """Seeded noise in every column: accepted rows satisfy the schema, and none is lost."""
    draw = np.random.default_rng(7)
    n = 20_000
    noise = ["", None, "x", "-1", "0", "1", "3", "2024-05-01", "2031-01-01", "{", "{}", "007", "view", "purchase", "unsubscribe", "ann"]
    events = pd.DataFrame({name: draw.choice(np.array(noise, dtype=object), n) for name in TABLES["events"].names})
    usual = {"event_id": [f"e{number}" for number in range(n)], "event_type": "view", "product_id": "007", "event_time": "2024-05-01"}
    for name, value in usual.items():
        events[name] = np.where(draw.random(n) < 0.9, np.array(value, dtype=object), events[name])
    for name in ("arrived_at", "sequence", "quantity", "price", "rating", "position", "context"):
        events[name] = np.where(draw.random(n) < 0.9, None, events[name])
    checked = validate(ShopTables(ShopConfig(), {"products": pd.DataFrame([LAMP]), "events": events}), KEY, NOW).tables["events"]
    assert checked.read == n == len(checked.accepted) + sum(checked.reasons.values())
    assert 5_000 < len(checked.accepted) < n
    assert checked.accepted["event_id"].is_unique
    assert checked.accepted["event_time"].max() <= pd.Timestamp(NOW + timedelta(minutes=5))
    schema("events").validate(checked.accepted.astype({"sequence": "Int64"}))
