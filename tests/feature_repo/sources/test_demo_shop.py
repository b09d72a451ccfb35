"""The demo shop as a source: the contract's tables, repeatable, with nothing hidden in them, and people who act as their ties say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feature_repo.errors import FeatureRepoError
from feature_repo.events import ASPECTS, TABLES, TONES, EventType
from feature_repo.sources import ShopTables, reader
from feature_repo.sources.demo.shop import read
from feature_repo.sources.demo.shoppers import CIRCLES, Shoppers
from feature_repo.sources.demo.world import NAMED_DRIFTS, Drift, World

SMALL = World().scaled(0.01)
MIDDLE = replace(World().scaled(0.1), days=120, sessions_per_shopper=6.0)


@pytest.fixture(scope="module")
def shop() -> ShopTables:
    return read(world=SMALL)


@pytest.fixture(scope="module")
def middle() -> ShopTables:
    return read(world=MIDDLE)


def by_category(shop: ShopTables, kind: str = "view") -> pd.DataFrame:
    products = shop.tables["products"].drop_duplicates("product_id").set_index("product_id")
    events = shop.tables["events"]
    return events[events["event_type"] == kind].assign(category=lambda rows: rows["product_id"].map(products["category"]))


def test_the_source_table_names_the_demo_shop() -> None:
    assert reader("demo") is read


def test_all_tables_of_the_contract_are_there_with_its_columns(shop: ShopTables) -> None:
    assert set(shop.tables) == set(TABLES)
    for name, table in shop.tables.items():
        assert list(table.columns) == TABLES[name].names, name
        for column in TABLES[name].columns:
            if not column.nullable:
                assert table[column.name].notna().all(), (name, column.name)
            if column.values:
                assert set(table[column.name].dropna()) <= set(column.values), (name, column.name)


def test_the_same_seed_gives_the_same_tables_and_another_seed_others(shop: ShopTables) -> None:
    again, other = read(world=SMALL), read(world=replace(SMALL, seed=8))
    for name, table in shop.tables.items():
        pd.testing.assert_frame_equal(table, again.tables[name])
    assert not shop.tables["events"]["event_time"].equals(other.tables["events"]["event_time"])


def test_a_small_world_is_small_and_has_every_kind_of_event(shop: ShopTables, middle: ShopTables) -> None:
    assert len(shop.tables["users"]) == 200
    assert 2_000 < len(shop.tables["events"]) < 12_000
    assert set(middle.tables["events"]["event_type"]) == set(EventType)


def test_events_lie_within_the_history_and_refer_to_what_exists(shop: ShopTables) -> None:
    events = shop.tables["events"]
    start, end = pd.Timestamp(SMALL.end) - pd.Timedelta(days=SMALL.days), pd.Timestamp(SMALL.end)
    assert events["event_time"].between(start, end).all()
    assert (events["arrived_at"] >= events["event_time"]).all()
    assert (events["arrived_at"] <= end).all()
    late = (events["arrived_at"] - events["event_time"] > pd.Timedelta(hours=1)).mean()
    assert 0.005 < late < 0.06
    assert set(events["product_id"].dropna()) <= set(shop.tables["products"]["product_id"])
    assert set(events["user_id"].dropna()) <= set(shop.tables["users"]["user_id"])
    assert events["event_id"].is_unique
    assert events["event_time"].is_monotonic_increasing
    assert 0.01 < events.loc[events["event_type"] == "view", "user_id"].isna().mean() < 0.15


def test_nobody_acts_before_they_joined_and_nothing_sells_before_it_launched(middle: ShopTables) -> None:
    events = middle.tables["events"]
    joined = events["user_id"].map(middle.tables["users"].set_index("user_id")["created_at"])
    assert (events["event_time"] >= joined)[joined.notna()].all()
    launched = events["product_id"].map(middle.tables["products"].groupby("product_id")["valid_from"].min())
    assert ((events["event_time"] >= launched) | launched.isna()).all()


def test_a_purchase_is_paid_at_the_price_of_the_catalogue(middle: ShopTables) -> None:
    offers = middle.tables["products"].sort_values("valid_from")[["product_id", "valid_from", "price"]]
    bought = middle.tables["events"].query("event_type == 'purchase'")
    joined = pd.merge_asof(bought, offers, left_on="event_time", right_on="valid_from", by="product_id", suffixes=("", "_listed"))
    assert (joined["price"] == joined["price_listed"]).mean() > 0.99  # a few offers change between a look and its payment


def test_impressions_carry_what_a_ranker_and_a_copywriter_learn_from(middle: ShopTables) -> None:
    shown = middle.tables["events"].query("event_type == 'impression'")
    assert shown[["request_id", "position", "channel", "context", "price"]].notna().all().all()
    assert set(shown["channel"]) == {"site", "email", "push"}
    contexts = pd.json_normalize(shown["context"].map(pd.io.json.ujson_loads).tolist())
    assert set(contexts["tone"]) == set(TONES)
    assert set(contexts["aspect"].dropna()) == set(ASPECTS)
    assert not shown.duplicated(["request_id", "product_id"]).any()
    assert shown["product_id"].nunique() > 0.9 * middle.tables["products"]["product_id"].nunique()
    clicks = middle.tables["events"].query("event_type == 'click'")
    assert clicks.set_index(["request_id", "product_id"]).index.isin(shown.set_index(["request_id", "product_id"]).index).all()
    assert 0.03 < len(clicks) / len(shown) < 0.2
    rate = clicks["position"].value_counts() / shown["position"].value_counts()
    assert rate[1] > 1.3 * rate[6]


def test_hidden_truth_is_in_no_table(shop: ShopTables) -> None:
    """Neither its names nor its numbers: no column correlates with a hidden array beyond what acts reveal."""
    hidden = {name for name in Shoppers.__dataclass_fields__ if name not in ("ids", "country", "language", "created_at")} - {"email", "push"}
    for table in shop.tables.values():
        assert not hidden & set(table.columns)
    assert set(shop.tables["users"].columns) == {"user_id", "created_at", "country", "language"}
    truth = Shoppers.of(SMALL)
    numbers = {round(float(value), 6) for array in (truth.taste, truth.style, truth.tone, truth.price_level) for value in array.ravel() if value}
    for table in shop.tables.values():
        for name in table.select_dtypes("float"):
            found = {round(float(value), 6) for value in table[name].dropna()} - {round(float(value)) for value in range(2000)}
            assert len(found & numbers) < 3, name


def test_whom_people_follow_shares_their_taste() -> None:
    truth = Shoppers.of(MIDDLE)
    who, target = truth.follows(MIDDLE)
    taste = truth.taste / np.linalg.norm(truth.taste, axis=1, keepdims=True)
    tied = np.einsum("nc,nc->n", taste[who], taste[target]).mean()
    strangers = np.einsum("nc,nc->n", taste[who], taste[np.random.default_rng(0).permutation(target)]).mean()
    assert tied > strangers + 0.3


@pytest.mark.parametrize(("group", "category"), [("tech circle", "Tablets"), ("photography", "Cameras"), ("gardeners", "Garden")])
def test_members_of_a_group_act_like_such_people(middle: ShopTables, group: str, category: str) -> None:
    views = by_category(middle)
    members = set(middle.tables["ties"].query("kind == 'group' and target == @group")["user_id"])
    inside = views["user_id"].isin(members)
    assert (views[inside]["category"] == category).mean() > 1.5 * (views[~inside]["category"] == category).mean()


def test_stated_likes_and_dislikes_agree_with_what_people_do(middle: ShopTables) -> None:
    views = by_category(middle).dropna(subset=["user_id"])
    said = middle.tables["preferences"].query("subject_kind == 'category'")
    seen = views.merge(said, on="user_id")
    share = (seen["category"] == seen["subject"]).groupby(seen["sentiment"]).mean()
    assert share["like"] > 0.12
    assert share["dislike"] < 0.04


def test_consents_and_contacts_fit_each_other(shop: ShopTables) -> None:
    consents, contacts = shop.tables["consents"], shop.tables["contacts"]
    agreed = set(consents.query("channel == 'email' and granted")["user_id"])
    assert 0.3 < len(agreed) / len(shop.tables["users"]) < 0.6
    assert agreed <= set(contacts["user_id"])
    assert contacts["address"].str.endswith("@example.invalid").all()


def test_nobody_is_mailed_after_unsubscribing(middle: ShopTables) -> None:
    events = middle.tables["events"]
    left = events.query("event_type == 'unsubscribe'").groupby("user_id")["event_time"].min()
    mailed = events.query("event_type == 'impression' and channel != 'site'")
    after = mailed["event_time"] - mailed["user_id"].map(left)
    assert len(left) > 0
    assert not (after > pd.Timedelta(days=7)).any()


def test_the_shopper_of_the_worked_example_is_as_told(shop: ShopTables) -> None:
    acts = {kind: by_category(shop, kind).query("user_id == 'mei'") for kind in ("purchase", "view", "review")}
    assert "Phones" in set(acts["purchase"]["category"])
    assert (acts["view"]["category"] == "Tablets").sum() >= 3
    assert list(acts["review"]["category"]) == ["Laptops"]
    ties = shop.tables["ties"].query("user_id == 'mei'")
    assert set(ties.query("kind == 'group'")["target"]) == {"tech circle", "photography"}
    tech = set(shop.tables["ties"].query("kind == 'group' and target == 'tech circle'")["user_id"])
    followed = set(ties.query("kind == 'follow'")["target"])
    assert followed
    assert followed <= tech
    said = shop.tables["preferences"].query("user_id == 'mei'")
    assert set(zip(said["sentiment"], said["subject_kind"], said["subject"], strict=True)) == {
        ("like", "category", "Films"),
        ("dislike", "category", "Games"),
    }
    assert "mei@example.invalid" in set(shop.tables["contacts"]["address"])
    assert shop.tables["consents"].query("user_id == 'mei' and channel == 'email'")["granted"].all()


def late_share(world: World, category: str) -> float:
    views = by_category(read(world=world))
    late = views[views["event_time"] > pd.Timestamp(world.end) - pd.Timedelta(days=world.drift.days)]
    return float((late["category"] == category).mean())


def test_a_new_category_is_taken_up_only_if_told_so() -> None:
    calm, drifted = (late_share(replace(MIDDLE, drift=drift), "Home robots") for drift in (Drift(), NAMED_DRIFTS["new_category"]))
    assert drifted > calm + 0.05


def test_a_taste_shift_changes_what_the_same_people_look_at() -> None:
    def overlap(drift: Drift) -> float:
        """Share of late views that fall into a shopper's own circle's categories."""
        world = replace(MIDDLE, drift=drift)
        truth = Shoppers.of(world)
        liked = {each: set(list(CIRCLES.values())[circle].likes) for each, circle in zip(truth.ids, truth.circle, strict=True)}
        views = by_category(read(world=world)).dropna(subset=["user_id"])
        late = views[views["event_time"] > pd.Timestamp(world.end) - pd.Timedelta(days=drift.days)]
        return float(np.mean([category in liked[user] for user, category in zip(late["user_id"], late["category"], strict=True)]))

    assert overlap(Drift()) > overlap(NAMED_DRIFTS["taste_shift"]) + 0.2


def test_a_broken_feed_loses_views_but_no_purchases() -> None:
    def counts(drift: Drift) -> pd.Series:
        events = read(world=replace(MIDDLE, drift=drift)).tables["events"]
        return events[events["event_time"] > pd.Timestamp(MIDDLE.end) - pd.Timedelta(days=drift.days)]["event_type"].value_counts()

    calm, broken = counts(Drift()), counts(NAMED_DRIFTS["broken_feed"])
    assert broken["view"] < 0.5 * calm["view"]
    assert broken["purchase"] == calm["purchase"]


def test_a_folder_may_change_the_world(tmp_path: Path) -> None:
    (tmp_path / "demo.toml").write_text(
        'seed = 3\nshoppers = 50\nproducts_per_category = 10\nend = "2024-01-31T00:00:00Z"\n[drift]\nprice_shock = 1.2\n'
    )
    world = World.read(tmp_path)
    assert (world.seed, world.shoppers, world.drift.price_shock, world.end.year) == (3, 50, 1.2, 2024)
    assert len(read(tmp_path).tables["users"]) == 50


def test_the_smallest_world_works() -> None:
    """Guards against the worked example's shopper asking a tiny catalogue for products it does not have."""
    made = read(world=World(shoppers=20, products_per_category=5, days=80))
    assert {"mei"} <= set(made.tables["events"]["user_id"].dropna())


@pytest.mark.parametrize("text", ["sead = 3", 'seed = "x"', 'drift = "earthquake"', "seed = [", "shoppers = -5", "days = 30", 'end = "soon"'])
def test_a_wrong_world_file_is_named_with_its_cure(tmp_path: Path, text: str) -> None:
    (tmp_path / "demo.toml").write_text(text)
    with pytest.raises(FeatureRepoError, match=r"demo\.toml can't be read.*docs/simulator\.md"):
        World.read(tmp_path)
