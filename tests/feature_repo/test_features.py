"""A small shop through the whole build: what Feast answers, what serving reads, and what the definitions promise."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from feast import FeatureStore
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore

from feature_repo.build import BuildReport, build, prepared
from feature_repo.declarations import HALF_LIFE, PRODUCT_ACTIVITY, RETRIEVERS, USER_ACTIVITY
from feature_repo.definitions import definitions
from feature_repo.errors import FeatureRepoError
from feature_repo.events import SIGNALS, Event, EventType
from feature_repo.home import ShopHome
from feature_repo.ingest import read_tables
from feature_repo.online import ProductMatrix, UserReader, UserRow, ranker_matrix
from feature_repo.settings import Settings
from feature_repo.store import Build, catch_up, features_of, fingerprint
from feature_repo.transforms.affinity import PAIR_NAMES
from feature_repo.vectors import PRODUCT_SCALARS, RANKER_FEATURES, USER_SCALARS
from feature_repo.windows import Windowed

SHOP = Path(__file__).parents[1] / "data" / "corner_shop"
ROOT = Path(__file__).parents[2]
JUST_BEFORE = pd.Timedelta(microseconds=1)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ShopHome, BuildReport]]:
    settings = Settings(home=tmp_path_factory.mktemp("homes"))
    with prepared(settings, str(SHOP), None) as home:
        report = build(home, settings, progress=False)
    yield home, report


@pytest.fixture(scope="module")
def home(built: tuple[ShopHome, BuildReport]) -> ShopHome:
    return built[0]


@pytest.fixture(scope="module")
def store(home: ShopHome) -> FeatureStore:
    return Build.current(home).store()


@pytest.fixture(scope="module")
def as_of(built: tuple[ShopHome, BuildReport]) -> pd.Timestamp:
    return pd.Timestamp(built[1].as_of)


@pytest.fixture(scope="module")
def purchases(home: ShopHome) -> pd.DataFrame:
    events = read_tables(home)["events"]
    chosen = events[(events["event_type"] == "purchase") & events["user_id"].notna()]
    return chosen.assign(known_at=chosen[["event_time", "arrived_at"]].max(axis=1)).reset_index(drop=True)


def _users(home: ShopHome) -> list[str]:
    return sorted(pd.read_parquet(home.features / "current" / "user_history.parquet", columns=["user_id"])["user_id"].unique())


def test_there_are_as_many_features_as_promised() -> None:
    assert len(USER_SCALARS) >= 25
    assert len(PRODUCT_SCALARS) >= 20
    assert len(set(RANKER_FEATURES)) == len(RANKER_FEATURES)


def test_every_view_is_written_and_unique_by_entity_and_time(home: ShopHome) -> None:
    for view in definitions(home.features / "current").views:
        table = pd.read_parquet(home.features / "current" / f"{view.name}.parquet")
        key = "user_id" if view.entities == ["user"] else "product_id"
        assert len(table), view.name
        assert not table.duplicated([key, "event_timestamp"]).any(), view.name
        assert {field.name for field in view.features} <= set(table.columns), view.name


def test_one_row_per_label_in_order_and_new_users_are_kept(store: FeatureStore, purchases: pd.DataFrame) -> None:
    labels = pd.DataFrame({"user_id": purchases["user_id"], "event_timestamp": purchases["event_time"] - JUST_BEFORE})
    labels = pd.concat([labels, labels.iloc[:3], pd.DataFrame({"user_id": ["u_nobody"], "event_timestamp": [labels["event_timestamp"].max()]})])
    labels = labels.sample(frac=1, random_state=0).reset_index(drop=True)
    found = features_of(store, "user", labels)
    assert found["user_id"].tolist() == labels["user_id"].tolist()
    assert (found["event_timestamp"] == labels["event_timestamp"]).all()
    stranger = found[found["user_id"] == "u_nobody"]
    assert stranger["user_views_7d"].isna().all()
    assert stranger["interest_keys"].isna().all()


def test_a_label_does_not_see_its_own_event(store: FeatureStore, purchases: pd.DataFrame) -> None:
    at = purchases["known_at"]
    before = features_of(store, "user", pd.DataFrame({"user_id": purchases["user_id"], "event_timestamp": at - JUST_BEFORE}))
    after = features_of(store, "user", pd.DataFrame({"user_id": purchases["user_id"], "event_timestamp": at}))
    lines = purchases.groupby(["user_id", "known_at"])["event_id"].transform("count")
    assert (after["user_purchases_ever"] - before["user_purchases_ever"].fillna(0) == lines).all()
    assert len(lines) > 50
    for _, row in pd.concat([before, purchases[["product_id"]]], axis=1).iterrows():
        if isinstance(row["history_products"], np.ndarray):
            times = np.maximum(row["history_last_purchase_at"], row["history_last_view_at"])
            assert (times <= row["event_timestamp"].timestamp()).all()


def test_time_zones_of_labels_do_not_matter(store: FeatureStore, purchases: pd.DataFrame) -> None:
    labels = pd.DataFrame({"user_id": purchases["user_id"], "event_timestamp": purchases["event_time"]})
    moved = labels.assign(event_timestamp=labels["event_timestamp"].dt.tz_convert("Asia/Shanghai"))
    naive = labels.assign(event_timestamp=labels["event_timestamp"].dt.tz_localize(None))
    expected = features_of(store, "user", labels)[list(USER_SCALARS)]
    pd.testing.assert_frame_equal(features_of(store, "user", moved)[list(USER_SCALARS)], expected)
    pd.testing.assert_frame_equal(features_of(store, "user", naive)[list(USER_SCALARS)], expected)


def test_the_asof_join_answers_what_feasts_own_join_does(home: ShopHome, store: FeatureStore, purchases: pd.DataFrame) -> None:
    class Stock(DuckDBOfflineStore):
        pass

    labels = pd.DataFrame({"product_id": purchases["product_id"], "event_timestamp": purchases["event_time"] - JUST_BEFORE}).drop_duplicates()[:150]
    names = [f"product_activity:{item.name}" for item in PRODUCT_ACTIVITY] + ["product_offer:product_price", "product_market:product_price_rank"]
    ours = store.get_historical_features(entity_df=labels.reset_index(drop=True), features=names).to_df()
    views = [store.get_feature_view(name) for name in ("product_activity", "product_offer", "product_market")]
    theirs = Stock.get_historical_features(store.config, views, names, labels.reset_index(drop=True), store.registry, store.project).to_df()
    keys = ["product_id", "event_timestamp"]
    pd.testing.assert_frame_equal(
        ours.sort_values(keys).reset_index(drop=True), theirs[ours.columns].sort_values(keys).reset_index(drop=True), check_dtype=False
    )


def test_a_view_with_a_time_to_live_forgets(home: ShopHome, as_of: pd.Timestamp) -> None:
    store = Build.current(home).store()
    view = store.get_feature_view("user_preferences")
    labels = pd.DataFrame({"user_id": _users(home)[:5], "event_timestamp": as_of})
    from feature_repo.asof_store import AsofOfflineStore

    def likes(ttl: timedelta) -> pd.Series:
        view.ttl = ttl
        job = AsofOfflineStore.get_historical_features(store.config, [view], ["user_preferences:user_likes"], labels, store.registry, store.project)
        return job.to_df()["user_likes"]

    assert likes(timedelta(0)).notna().any()
    assert likes(timedelta(seconds=1)).isna().all()


def test_online_values_are_the_historical_values_of_that_moment(home: ShopHome, store: FeatureStore, as_of: pd.Timestamp) -> None:
    users = _users(home)
    past = features_of(store, "user", pd.DataFrame({"user_id": users, "event_timestamp": as_of}))
    reader = UserReader(home)
    for number, user in enumerate(users):
        row = reader.read(user, as_of.timestamp())
        assert row is not None
        np.testing.assert_array_equal(row.scalars, past.loc[number, list(USER_SCALARS)].to_numpy(np.float32, na_value=np.nan))
        assert list(row.interests.keys) == list(past["interest_keys"][number])
        np.testing.assert_allclose(row.interests.signals.ravel(), past["interest_signals"][number], rtol=1e-6)
        assert list(row.history.products) == list(past["history_products"][number])
        np.testing.assert_array_equal(row.history.last_view_at, past["history_last_view_at"][number])
        _same_circle(row, past.loc[number], as_of)


def _same_circle(row: UserRow, past: pd.Series, now: pd.Timestamp) -> None:
    """What serving reads is what Feast's table says, decayed on."""
    tied = isinstance(past["circle_products"], np.ndarray)
    assert list(row.circle.products) == (list(past["circle_products"]) if tied else [])
    if tied:
        left = 2.0 ** (-(now.timestamp() - past["circle_at"]) / HALF_LIFE.total_seconds())
        np.testing.assert_allclose(row.circle.weights, past["circle_weights"] * left, rtol=1e-6)
        np.testing.assert_array_equal(row.circle.people, past["circle_people"])


def test_feasts_own_online_read_gives_the_same(home: ShopHome, store: FeatureStore) -> None:
    users = _users(home)[:6]
    names = [f"user_activity:{item.name}" for item in USER_ACTIVITY] + ["user_interest:interest_keys", "user_preferences:user_language"]
    found = store.get_online_features(features=names, entity_rows=[{"user_id": user} for user in [*users, "u_nobody"]]).to_dict()
    reader = UserReader(home)
    for number, user in enumerate(users):
        row = reader.read(user, 0.0)
        assert row is not None
        for item in USER_ACTIVITY:
            if item.name in USER_SCALARS:
                expected = found[item.name][number]
                assert row.scalar(item.name) == pytest.approx(np.nan if expected is None else np.float32(expected), nan_ok=True)
        assert list(row.interests.keys) == found["interest_keys"][number]
        assert row.texts["user_language"] == found["user_language"][number]
    assert found["user_views_7d"][-1] is None
    assert reader.read("u_nobody", 0.0) is None


def test_the_hot_path_gives_the_vector_that_feasts_on_demand_view_gives(home: ShopHome, store: FeatureStore, as_of: pd.Timestamp) -> None:
    matrix, reader, random = ProductMatrix.load(Build.current(home)), UserReader(home), np.random.default_rng(0)
    now = as_of.timestamp()
    weights = random.normal(size=8).astype(np.float32)
    service = store.get_feature_service("ranker_v1")
    for user in [*_users(home)[:4], "u_nobody"]:
        index = random.permutation(len(matrix.product_ids))[:7]
        scores = random.random((7, len(RETRIEVERS))).astype(np.float32)
        ranks = np.where(scores > 0.6, np.nan, np.round(scores * 10)).astype(np.float32)
        labels = pd.DataFrame(
            {"user_id": user, "product_id": matrix.product_ids[index], "pair_product": matrix.product_ids[index], "event_timestamp": as_of}
        )
        labels["request_at"] = now
        for number, signal in enumerate(SIGNALS):
            labels[f"weight_{signal}"] = float(weights[number])
        for number, name in enumerate(RETRIEVERS):
            labels[f"score_of_{name}"], labels[f"rank_of_{name}"] = scores[:, number].astype(float), ranks[:, number].astype(float)
        feast_says = store.get_historical_features(entity_df=labels, features=service).to_df()
        ours = ranker_matrix(reader.read(user, now), matrix, index, now, weights, scores, ranks)
        assert ours.shape == (7, len(RANKER_FEATURES))
        expected = feast_says[list(RANKER_FEATURES)].to_numpy(np.float32, na_value=np.nan)
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_a_new_build_is_noticed_and_takes_posted_events(tmp_path: Path) -> None:
    from feature_repo.event_log import EventLog

    settings = Settings(home=tmp_path)
    with prepared(settings, str(SHOP), None) as home:
        first = build(home, settings, progress=False)
    reader, matrix = UserReader(home), ProductMatrix.load(Build.current(home))
    user = _users(home)[0]
    before = reader.read(user, 0.0)
    assert before is not None
    now = home.clock().now()
    event = Event("posted-1", EventType.VIEW, user, str(matrix.product_ids[0]), now, now)
    assert EventLog(home.events_db).append([event]) == ["posted-1"]
    second = build(home, settings, progress=False)
    after = reader.read(user, 0.0)
    assert after is not None
    assert first.version != second.version
    assert after.at["user_last_view_at"] == pytest.approx(now.timestamp(), abs=1e-3)
    assert after.scalar("user_views_1d") == before.scalar("user_views_1d") + 1
    assert str(matrix.product_ids[0]) == after.history.products[0]


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory: pytest.TempPathFactory) -> ShopHome:
    """A home whose clock goes on."""
    settings = Settings(home=tmp_path_factory.mktemp("homes"))
    with prepared(settings, str(SHOP), None) as home:
        build(home, settings, progress=False)
    return home


@pytest.mark.parametrize("days", [0.5, 3, 8, 40, 92])
def test_windows_move_on_without_a_build(left_alone: ShopHome, days: float) -> None:
    """What serving reads later is what the offline store says of that moment; after the longest window nothing is in any window."""
    home = left_alone
    later = pd.Timestamp(Build.current(home).as_of) + pd.Timedelta(days=days)
    made, users = catch_up(home, later.to_pydatetime()), _users(home)
    matrix, reader = ProductMatrix.load(made, later.to_pydatetime()), UserReader(home)
    past = features_of(made.store(), "user", pd.DataFrame({"user_id": users, "event_timestamp": later}))
    for number, user in enumerate(users):
        row = reader.read(user, later.timestamp())
        assert row is not None
        np.testing.assert_array_equal(row.scalars, past.loc[number, list(USER_SCALARS)].to_numpy(np.float32, na_value=np.nan))
        _same_circle(row, past.loc[number], later)
    products = features_of(made.store(), "product", pd.DataFrame({"product_id": matrix.product_ids, "event_timestamp": later}))
    np.testing.assert_array_equal(matrix.column("product_views_7d"), products["product_views_7d"].to_numpy(np.float32, na_value=np.nan))
    counts = [item.name for item in USER_ACTIVITY if isinstance(item, Windowed) and item.measure == "count" and item.window]
    left = past[counts].sum().sum() + matrix.column("product_views_30d")[~np.isnan(matrix.column("product_views_30d"))].sum()
    assert (left > 0) == (days < 92)
    assert matrix.column("product_category_purchases_30d")[0] == 0 or days < 32
    assert made.next_change(later.to_pydatetime()) is None or days < 92


def test_interests_decay_until_they_are_read(home: ShopHome, as_of: pd.Timestamp) -> None:
    now, then = (_row(home, at) for at in (as_of, as_of + HALF_LIFE))
    assert np.abs(now.interests.signals[:, :6]).max() > 0
    np.testing.assert_allclose(then.interests.signals[:, :6], now.interests.signals[:, :6] / 2, rtol=1e-5)
    np.testing.assert_array_equal(then.interests.signals[:, 6:], now.interests.signals[:, 6:])


def _row(home: ShopHome, at: pd.Timestamp) -> UserRow:
    """The first user who has interests."""
    rows = (UserReader(home).read(user, at.timestamp()) for user in _users(home))
    return next(row for row in rows if row and len(row.interests.keys))


def test_one_at_a_time_works_on_a_home(home: ShopHome) -> None:
    """A lock of another process, as `make features` during `make train` would meet it."""
    code = "import sys; from pathlib import Path; from feature_repo.home import ShopHome\n"
    code += "with ShopHome(Path(sys.argv[1])).at_work(): print('in'); input()"
    command = [sys.executable, "-uc", code, str(home.root)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdout.readline() == "in\n"
        with pytest.raises(FeatureRepoError, match=f"{home.shop}.*at work"), prepared(Settings(home=home.root.parent), home.shop, None):
            pass
        other.kill()
    with home.at_work():
        pass


def test_a_build_that_fails_leaves_the_old_one_in_place(home: ShopHome, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Build.current(home)
    monkeypatch.setattr("feature_repo.build.materialise", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build(home, Settings(home=home.root.parent), progress=False)
    assert Build.current(home) == before
    assert UserReader(home).read(_users(home)[0], 0.0) is not None


def test_undated_products_and_the_report(built: tuple[ShopHome, BuildReport]) -> None:
    home, report = built
    catalogue = read_tables(home)["products"]
    undated = catalogue.groupby("product_id")["valid_from"].apply(lambda column: column.isna().all())
    assert report.undated == int(undated.sum())
    assert report.products == catalogue["product_id"].nunique()
    assert "undated" in report.text()


def test_signals_of_the_social_and_preference_kind_reach_the_interests(home: ShopHome) -> None:
    table = pd.read_parquet(home.features / "current" / "user_interest.parquet")
    every = np.concatenate([np.reshape(row, (-1, 8)) for row in table["interest_signals"] if len(row)])
    assert {signal for signal, values in zip(SIGNALS, every.T, strict=True) if np.abs(values).max() > 0} == set(SIGNALS)


def test_whoever_has_no_ties_has_no_circle(home: ShopHome, as_of: pd.Timestamp) -> None:
    tied = set(read_tables(home)["ties"]["user_id"])
    reader = UserReader(home)
    rows = {user: row for user in _users(home) if (row := reader.read(user, as_of.timestamp()))}
    assert sum(len(row.circle.products) > 0 for row in rows.values()) > 10
    assert not [user for user, row in rows.items() if row.circle.products and user not in tied]
    assert max(row.circle.people.max(initial=0) for row in rows.values()) > 1


def test_features_of_another_version_say_what_to_run(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with prepared(settings, str(SHOP), None) as made:
        build(made, settings, progress=False)
    Build.current(made).table("user_circle").unlink()
    with pytest.raises(FeatureRepoError, match=r"another version.*user_circle.*make train"):
        Build.current(made)


def test_the_fingerprint_is_of_the_service_and_unknown_ones_are_named(home: ShopHome) -> None:
    assert fingerprint("ranker_v1") == fingerprint("ranker_v1")
    assert fingerprint("ranker_v1") != fingerprint("writer_v1")
    with pytest.raises(FeatureRepoError, match="ranker_v9"):
        fingerprint("ranker_v9")


def test_a_home_without_features_says_what_to_run(tmp_path: Path) -> None:
    home = ShopHome.create(Settings(home=tmp_path), "empty")
    with pytest.raises(FeatureRepoError, match="make features"):
        Build.current(home).store()


def test_a_shop_that_knows_nobody_has_features_of_its_products(tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text("product_id,title,price,currency,valid_from\na,Mug,1,EUR,2024-01-01\nb,Cup,2,EUR,2024-01-01\n")
    (tmp_path / "events.csv").write_text("event_type,user_id,product_id,event_time\nview,,a,2024-02-01T00:00:00Z\n")
    settings = Settings(home=tmp_path / "homes")
    with prepared(settings, "nobody", tmp_path) as made:
        report = build(made, settings, progress=False)
    assert (report.users, report.products) == (0, 2)
    assert ProductMatrix.load(Build.current(made)).product_ids.tolist() == ["a", "b"]


def test_the_latest_statement_holds_and_no_amount_of_buying_hides_it(tmp_path: Path) -> None:
    goods = [f"p{number},Thing {number},Kind {number},1,EUR,2024-01-01" for number in range(45)]
    (tmp_path / "products.csv").write_text("\n".join(["product_id,title,category,price,currency,valid_from", *goods, "g,Go,Games,1,EUR,2024-01-01"]))
    bought = [f"purchase,u,p{number},2024-02-{day:02}T00:00:00Z" for number in range(45) for day in range(1, 6)]
    (tmp_path / "events.csv").write_text("\n".join(["event_type,user_id,product_id,event_time", *bought]))
    said = ["u,like,category,Games,2024-01-02", "u,dislike,category,Games,2024-02-02", "u,like,category,Kind 3,2024-01-02"]
    (tmp_path / "preferences.csv").write_text("\n".join(["user_id,sentiment,subject_kind,subject,since", *said]))
    settings = Settings(home=tmp_path / "homes")
    with prepared(settings, "stated", tmp_path) as made:
        build(made, settings, progress=False)
    user = UserReader(made).read(made.pseudonyms(settings).user("u"), 0.0)
    assert user
    signals = dict(zip(user.interests.keys, user.interests.signals, strict=True))
    like, dislike = SIGNALS.index("like"), SIGNALS.index("dislike")
    assert (signals["category:Games"][like], signals["category:Games"][dislike]) == (0, 1)
    assert signals["category:Kind 3"][like] == 1


def test_products_alone_never_speak_as_loud_as_their_category(tmp_path: Path) -> None:
    goods = [f"p{number},Go {number},Games,1,EUR,2024-01-01" for number in range(6)]
    (tmp_path / "products.csv").write_text("\n".join(["product_id,title,category,price,currency,valid_from", *goods]))
    (tmp_path / "events.csv").write_text("event_type,user_id,product_id,event_time\nview,u,p0,2024-03-01T00:00:00Z\nview,v,p0,2024-03-01T00:00:00Z\n")
    said = [f"{user},dislike,product,p{number},2024-02-0{number + 1}" for user, count in (("u", 6), ("v", 2)) for number in range(count)]
    taken_back = [f"u,like,product,p{number},2024-02-1{number}" for number in range(5)]
    (tmp_path / "preferences.csv").write_text("\n".join(["user_id,sentiment,subject_kind,subject,since", *said, *taken_back]))
    settings = Settings(home=tmp_path / "homes")
    with prepared(settings, "products", tmp_path) as made:
        build(made, settings, progress=False)
    like, dislike = SIGNALS.index("like"), SIGNALS.index("dislike")
    found = []
    for name in ("u", "v"):
        user = UserReader(made).read(made.pseudonyms(settings).user(name), 0.0)
        assert user
        games = dict(zip(user.interests.keys, user.interests.signals, strict=True))["category:Games"]
        found.append((games[like], games[dislike]))
    # Six were disliked, five of these are liked by now: at the most as many as count.
    assert found == [(pytest.approx(0.9), pytest.approx(0.3)), (0, pytest.approx(0.6))]


def test_a_review_is_a_purchase_where_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text("product_id,title,price,currency,valid_from\na,Mug,1,EUR,2024-01-01\nb,Cup,2,EUR,2024-01-01\n")
    acts = ["event_type,user_id,product_id,event_time", "review,u,a,2024-02-01T00:00:00Z", "view,u,b,2024-02-02T00:00:00Z"]
    settings, found = Settings(home=tmp_path / "homes"), []
    for name, more in (("reviews", []), ("purchases", ["purchase,v,b,2024-02-01T00:00:00Z"])):
        (tmp_path / "events.csv").write_text("\n".join([*acts, *more]))
        with prepared(settings, name, tmp_path) as made:
            build(made, settings, progress=False)
        user = UserReader(made).read(made.pseudonyms(settings).user("u"), 0.0)
        assert user
        found.append((user.history.products, user.history.purchases.tolist()))
    assert found == [(("b", "a"), [0, 1]), (("b",), [0])]


def test_acts_of_one_moment_are_told_apart_by_their_sequence(tmp_path: Path) -> None:
    goods = [f"{product},Thing {product},1,EUR,2024-01-01" for product in "abc"]
    (tmp_path / "products.csv").write_text("\n".join(["product_id,title,price,currency,valid_from", *goods]))
    bought = [f"purchase,u,{product},2024-02-01T00:00:00Z,{place}" for product, place in (("b", 1), ("c", 2), ("a", 3))]
    (tmp_path / "events.csv").write_text("\n".join(["event_type,user_id,product_id,event_time,sequence", *bought]))
    settings = Settings(home=tmp_path / "homes")
    with prepared(settings, "ordered", tmp_path) as made:
        build(made, settings, progress=False)
    user = UserReader(made).read(made.pseudonyms(settings).user("u"), 0.0)
    assert user and user.history.products == ("a", "c", "b")


def test_a_refresh_keeps_the_embedding_that_the_models_know(tmp_path: Path) -> None:
    header, settings = "product_id,title,price,currency,valid_from\n", Settings(home=tmp_path / "homes")
    (tmp_path / "products.csv").write_text(header + "a,Blue mug,1,EUR,2024-01-01\nb,Red cup,2,EUR,2024-01-01\n")
    (tmp_path / "events.csv").write_text("event_type,user_id,product_id,event_time\nview,u,a,2024-02-01T00:00:00Z\n")
    with prepared(settings, "grows", tmp_path) as made:
        build(made, settings, progress=False)
    before = ProductMatrix.load(Build.current(made)).embedding_version
    (tmp_path / "products.csv").write_text(header + "a,Blue mug,1,EUR,2024-01-01\nb,Red cup,2,EUR,2024-01-01\nc,Green pot,2,EUR,2024-01-01\n")
    environment = os.environ | {"STORYSHELF_HOME": str(settings.home)}
    command = [sys.executable, "-m", "feature_repo.build", "--shop", "grows", "--data", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    after = ProductMatrix.load(Build.current(made))
    assert after.embedding_version == before and len(after.product_ids) == 3


def test_feasts_command_applies_the_definitions(home: ShopHome) -> None:
    environment = {**os.environ, "STORYSHELF_FEATURES": str(home.features / "current"), "PYTHONPATH": str(ROOT)}
    command = [str(Path(sys.executable).parent / "feast"), "-c", "feature_repo", "apply", "--skip-source-validation"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert Build.current(home).store().get_feature_service("writer_v1").name == "writer_v1"


def test_every_feature_stands_in_the_docs() -> None:
    text = (ROOT / "docs" / "features.md").read_text()
    named = [field.name for view in definitions(Path()).views for field in view.features] + list(PAIR_NAMES)
    assert [name for name in named if f"`{name}`" not in text] == []


def test_feast_scans_the_definitions_only() -> None:
    ignored = (ROOT / "feature_repo" / ".feastignore").read_text().split()
    assert {file.name for file in (ROOT / "feature_repo").glob("*.py")} - set(ignored) == {"definitions.py"}
