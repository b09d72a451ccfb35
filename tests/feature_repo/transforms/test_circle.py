"""What a circle chose, on ties and choices whose answer is known."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from feature_repo.declarations import CIRCLE_SIZE, HALF_LIFE
from feature_repo.transforms import circle as transform
from feature_repo.transforms.acts import acts
from feature_repo.transforms.circle import circle
from feature_repo.workbench import Workbench

START = datetime(2024, 3, 1, tzinfo=UTC)
ASKED = START + timedelta(days=20, hours=12)
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)


def act(user: str, product: str, day: float, kind: str = "purchase", known: float | None = None, rating: float = np.nan) -> dict[str, Any]:
    """`day` after START; `known`: when it arrived, if later."""
    at = START + timedelta(days=day)
    return {
        "event_type": kind, "user_id": user, "product_id": product, "event_time": at, "arrived_at": START + timedelta(days=known or day),
        "quantity": np.nan, "price": np.nan, "rating": rating, "channel": None, "context": None,
    }  # fmt: skip


def follow(user: str, target: str, since: datetime = ALWAYS) -> dict[str, Any]:
    return {"user_id": user, "kind": "follow", "target": target, "since": since}


def group(target: str, *users: str, since: datetime = ALWAYS) -> list[dict[str, Any]]:
    return [{"user_id": user, "kind": "group", "target": target, "since": since} for user in users]


def circles(scratch: Path, ties: list[dict[str, Any]], events: list[dict[str, Any]]) -> pd.DataFrame:
    """user_circle by names, `day` counted from START."""
    frame = pd.DataFrame(events).sort_values("event_time", kind="stable").reset_index(drop=True)
    for name in ("event_time", "arrived_at"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    made = pd.DataFrame(ties, columns=["user_id", "kind", "target", "since"])
    made["since"] = pd.to_datetime(made["since"], utc=True)
    tables = {
        "events": frame, "ties": made, "products": pd.DataFrame({"product_id": sorted(frame["product_id"].unique())}),
        "users": pd.DataFrame({"user_id": frame["user_id"].unique()}), "preferences": pd.DataFrame({"user_id": pd.Series([], dtype=str)}),
    }  # fmt: skip
    bench = Workbench.open(tables, ASKED, scratch, threads=1)
    bench.sql(
        "create table offers as select product_id, 0::bigint as at_us, null as product_price, '' as product_category, '' as product_brand from items"
    )
    bench.sql("create table market as select product_id, 0::bigint as at_us, 0.5 as product_price_rank from items")
    acts(bench)
    found = circle(bench).to_pandas()
    names = bench.frame("select name from users order by user_id")["name"]
    bench.backend.disconnect()
    first = START.timestamp()
    return found.assign(user=names[found["user_id"]].to_numpy(), day=(found["at_us"] / 1e6 - first) / 86_400)


def as_of(found: pd.DataFrame, user: str, day: float) -> dict[str, tuple[float, float]]:
    """Product -> weight (as of the row) and people, from the row that holds at `day`; {} where there is none."""
    rows = found[(found["user"] == user) & (found["day"] <= day)].sort_values("day")
    if rows.empty:
        return {}
    row = rows.iloc[-1]
    return {
        product: (float(weight), float(people))
        for product, weight, people in zip(row["circle_products"], row["circle_weights"], row["circle_people"], strict=True)
    }


def test_a_choice_of_a_followed_person_is_known_from_the_next_day_on_and_fades(tmp_path: Path) -> None:
    found = circles(tmp_path, [follow("me", "ann")], [act("ann", "mug", 2.5), act("me", "pot", 2.6), act("me", "pot", 5.5)])
    assert as_of(found, "me", 2.9) == {}
    assert as_of(found, "me", 3) == {"mug": (1.0, 1.0)}, "the midnight after an act of one's own, which is also the one after hers"
    weight, people = as_of(found, "me", 6)["mug"]
    assert people == 1 and weight == pytest.approx(2 ** (-3 / HALF_LIFE.days))
    assert found["circle_at"].iloc[-1] == found["at_us"].iloc[-1] / 1e6


def test_one_s_own_choices_and_those_of_people_who_only_follow_one_do_not_count(tmp_path: Path) -> None:
    ties = [follow("me", "ann"), follow("ben", "me"), *group("club", "me")]
    found = circles(tmp_path, ties, [act("me", "pot", 1), act("ann", "mug", 2), act("ben", "cup", 2), act("cara", "jug", 2)])
    assert set(as_of(found, "me", 21)) == {"mug"}
    assert set(as_of(found, "ben", 21)) == {"pot"}
    assert as_of(found, "ann", 21) == as_of(found, "cara", 21) == {}


def test_a_tie_counts_from_the_day_after_it_was_made(tmp_path: Path) -> None:
    since = START + timedelta(days=6, hours=8)
    mine = [act("me", "pot", day) for day in (2.5, 6.5, 9.5)]
    found = circles(tmp_path, [follow("me", "ann", since)], [act("ann", "mug", 1), *mine])
    assert as_of(found, "me", 6.9) == {}
    assert set(as_of(found, "me", 7)) == {"mug"}


def test_what_arrived_late_is_known_late(tmp_path: Path) -> None:
    mine = [act("me", "pot", day) for day in (2.5, 6.5, 9.5)]
    found = circles(tmp_path, [follow("me", "ann")], [act("ann", "mug", 1, known=8.2), *mine])
    assert as_of(found, "me", 8.9) == {}
    assert set(as_of(found, "me", 9)) == {"mug"}


def test_what_comes_later_does_not_change_what_was_known(tmp_path: Path) -> None:
    ties = [follow("me", "ann"), *group("club", "me", "ann", "ben")]
    early = [act("ann", "mug", 1), act("ben", "cup", 2), act("me", "pot", 4.5)]
    before = circles(tmp_path, ties, early)
    after = circles(tmp_path, ties, [*early, act("ann", "cup", 7), act("ben", "jug", 8), act("me", "jug", 9)])
    assert as_of(before, "me", 5) == as_of(after, "me", 5) != {}


def test_a_person_counts_once_per_product_and_says_less_of_each_the_more_they_chose(tmp_path: Path) -> None:
    found = circles(
        tmp_path, [follow("me", "ann"), follow("me", "ben")], [act("ann", "mug", 20, "cart"), act("ann", "mug", 20), act("ann", "mug", 20)]
    )
    assert as_of(found, "me", 21) == {"mug": (1.0, 1.0)}
    busy = [act("ann", name, 20) for name in ("mug", "cup", "jug", "pan")]
    found = circles(tmp_path, [follow("me", "ann"), follow("me", "ben")], [*busy, act("ben", "mug", 20), act("me", "pot", 19)])
    assert as_of(found, "me", 21) == {"mug": (1.5, 2.0), "cup": (0.5, 1.0), "jug": (0.5, 1.0), "pan": (0.5, 1.0)}
    assert next(iter(as_of(found, "me", 21))) == "mug", "the strongest first"


def test_what_is_a_choice(tmp_path: Path) -> None:
    events = [
        act("ann", "looked at", 20, "view"), act("ben", "in the cart", 20, "cart"), act("cara", "rated badly", 20, "review", rating=2),
        act("dan", "rated well", 20, "review", rating=4), act("eve", "rated", 20, "review"),
    ]  # fmt: skip
    found = as_of(circles(tmp_path, [follow("me", each["user_id"]) for each in events], events), "me", 21)
    assert {product: people for product, (_, people) in found.items()} == {"in the cart": 0, "rated well": 1, "rated": 1}
    assert found["in the cart"][0] == pytest.approx(0.4) and found["rated"][0] == pytest.approx(0.6)


def test_a_group_counts_as_the_mean_of_the_others(tmp_path: Path) -> None:
    ties = [*group("club", "me", "ann", "ben", "cara"), *group("choir", "dan", "eve")]
    events = [act("me", "mug", 20), act("ann", "mug", 20), act("ben", "mug", 20), act("dan", "jug", 20)]
    found = circles(tmp_path, ties, events)
    assert as_of(found, "me", 21) == {"mug": (pytest.approx(2 / 3), 2.0)}
    assert as_of(found, "ann", 21) == {"mug": (pytest.approx(2 / 3), 2.0)}
    assert as_of(found, "cara", 21) == {"mug": (1.0, 3.0)}
    assert as_of(found, "eve", 21) == {"jug": (1.0, 1.0)} and as_of(found, "dan", 21) == {}


def test_whoever_is_met_twice_is_one_person(tmp_path: Path) -> None:
    ties = [follow("me", "ann"), *group("club", "me", "ann"), *group("choir", "me", "ann", "ben")]
    found = circles(tmp_path, ties, [act("ann", "mug", 20), act("ben", "mug", 20)])
    assert as_of(found, "me", 21)["mug"][1] <= 2


def test_acts_of_the_last_day_come_in_with_the_next_midnight(tmp_path: Path) -> None:
    found = circles(tmp_path, [follow("me", "ann")], [act("ann", "mug", 20.2)])
    assert as_of(found, "me", 20.9) == {}
    assert as_of(found, "me", 21) == {"mug": (1.0, 1.0)}


def test_the_strongest_are_kept_and_of_a_group_what_most_of_it_chose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [act("ann", f"p{number:03}", 20) for number in range(CIRCLE_SIZE + 20)]
    found = circles(tmp_path, [follow("me", "ann"), follow("me", "ben")], [*many, act("ben", "p110", 20)])
    assert len(as_of(found, "me", 21)) == CIRCLE_SIZE and next(iter(as_of(found, "me", 21))) == "p110"
    monkeypatch.setattr(transform, "GROUP_PRODUCTS", 1)
    liked = [act(user, "mug", 20) for user in ("ann", "ben")]
    found = circles(tmp_path, group("club", "me", "ann", "ben"), [*liked, act("ann", "cup", 20)])
    assert set(as_of(found, "me", 21)) == {"mug"}


def test_random_circles_are_what_counting_by_hand_gives(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    users, products = [f"u{n}" for n in range(12)], [f"p{n}" for n in range(9)]
    ties = [follow(a, b) for a in users for b in users if a != b and random.random() < 0.25]
    clubs = {name: [user for user in users if random.random() < 0.4] for name in ("x", "y")}
    ties += [tie for name, members in clubs.items() for tie in group(name, *members)]
    events = [act(str(random.choice(users)), str(random.choice(products)), float(random.integers(0, 20)) + 0.5) for _ in range(60)]
    found = circles(tmp_path, ties, events)
    chosen: dict[str, dict[str, float]] = {user: {} for user in users}
    for each in events:
        age = 20 - (each["event_time"] - START).days
        chosen[each["user_id"]][each["product_id"]] = max(chosen[each["user_id"]].get(each["product_id"], 0), 2 ** (-age / HALF_LIFE.days))
    voice = {user: {product: value / np.sqrt(len(said)) for product, value in said.items()} for user, said in chosen.items()}
    for user in users:
        followed = {tie["target"] for tie in ties if tie["kind"] == "follow" and tie["user_id"] == user}
        others = [other for members in clubs.values() if user in members for other in members if other != user]
        expected = {}
        for product in products:
            weight = sum(voice[each].get(product, 0) for each in followed)
            weight += sum(voice[each].get(product, 0) for each in others) / max(len(others), 1)
            if weight > 0:
                expected[product] = weight
        mine = as_of(found, user, 21)
        assert {product: weight for product, (weight, _) in mine.items()} == pytest.approx(expected, rel=1e-5)
        for product, (_, people) in mine.items():
            assert people <= sum(product in voice[each] for each in followed | set(others)), "never more people than there are"


def test_nobody_is_tied(tmp_path: Path) -> None:
    assert circles(tmp_path, [], [act("ann", "mug", 1)]).empty
    assert circles(tmp_path, [follow("me", "ann")], [act("me", "mug", 1)]).empty
