"""A shop's way into its home: pseudonyms only, addresses apart, tables replaced at once, the clock."""

import shutil
import sqlite3
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from feature_repo.errors import FeatureRepoError
from feature_repo.event_log import EventLog
from feature_repo.events import TABLES, Event, EventType
from feature_repo.home import ShopHome
from feature_repo.ingest import IngestReport, config, ingest, read_tables
from feature_repo.settings import Settings

CORNER_SHOP = Path(__file__).parents[1] / "data/corner_shop"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "homes")


@pytest.fixture
def home(settings: Settings) -> ShopHome:
    return ShopHome.create(settings, "corner")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the corner shop that a test may change."""
    return Path(shutil.copytree(CORNER_SHOP, tmp_path / "shop"))


def test_the_corner_shop(home: ShopHome, settings: Settings) -> None:
    report = ingest(home, settings, "corner", CORNER_SHOP)
    read = {table.table: (table.read, table.accepted) for table in report.tables}
    assert read == {
        "products": (52, 43), "events": (1666, 1648), "users": (62, 60), "ties": (144, 140), "preferences": (46, 44), "consents": (61, 59),
        "contacts": (63, 60),
    }  # fmt: skip
    for table in report.tables:
        assert table.read == table.accepted + sum(table.set_aside.values())
        assert len(pd.read_parquet(home.quarantine / f"{table.table}.parquet")) == sum(table.set_aside.values())
    assert IngestReport.model_validate_json((home.root / "ingest_report.json").read_text()) == report
    assert "attributes: malformed JSON" in report.text()
    tables = read_tables(home)
    for name, frame in tables.items():
        assert {column: str(dtype) for column, dtype in frame.dtypes.items()} == {column.name: column.pandas_dtype for column in TABLES[name].columns}
    assert "contacts" not in tables
    assert config(home).name == "Corner & Co."
    assert "00017" in set(tables["events"]["product_id"])
    assert tables["products"].query("product_id == '00017'")["price"].tolist() == [11.9, 9.52]


def test_times_are_berlin_s_before_and_after_the_change_to_summer_time(home: ShopHome, settings: Settings) -> None:
    ingest(home, settings, "corner", CORNER_SHOP)
    written = pd.read_csv(CORNER_SHOP / "events.csv", dtype=str).drop_duplicates("id").set_index("id")["ts"]
    events = read_tables(home)["events"].set_index("event_id")["event_time"].dt.tz_convert(None)
    ahead = pd.to_datetime(written.loc[events.index]) - events
    winter = events < pd.Timestamp("2024-03-31 01:00")
    assert winter.any()
    assert set(ahead[winter]) == {pd.Timedelta(hours=1)}
    assert set(ahead[~winter]) == {pd.Timedelta(hours=2)}


def test_no_user_id_and_no_address_is_anywhere_but_in_the_contacts(home: ShopHome, settings: Settings) -> None:
    ingest(home, settings, "corner", CORNER_SHOP)
    for file in (file for file in home.root.rglob("*") if file.is_file()):
        text = pd.read_parquet(file).to_csv() if file.suffix == ".parquet" else file.read_bytes().decode("latin-1")
        assert "c-00" not in text, file
        assert ("corner.example" in text.replace("corner.example/img", "")) == (file == home.contacts_db), file
    pseudonym = home.pseudonyms(settings).user("c-0043")
    assert pseudonym in set(read_tables(home)["events"]["user_id"])
    with sqlite3.connect(home.contacts_db) as connection:
        found = connection.execute("SELECT channel, address, language FROM contacts WHERE user_id = ?", [pseudonym]).fetchall()
    assert found == [("email", "reader.43@corner.example", "en")]


def test_contacts_are_for_their_owner_only(home: ShopHome, settings: Settings) -> None:
    ingest(home, settings, "corner", CORNER_SHOP)
    assert stat.S_IMODE(home.contacts_db.stat().st_mode) == 0o600


def test_the_same_folder_gives_the_same_tables(home: ShopHome, settings: Settings) -> None:
    ingest(home, settings, "corner", CORNER_SHOP)
    first = read_tables(home)
    ingest(home, settings, "corner", CORNER_SHOP)
    for name, frame in read_tables(home).items():
        pd.testing.assert_frame_equal(frame, first[name])


@pytest.mark.parametrize("loss", ["gone", "another"])
def test_without_its_key_nothing_is_read(loss: str, home: ShopHome, settings: Settings) -> None:
    if loss == "gone":
        home.key_file.unlink()
    else:
        home.key_file.write_text("0" * 64)
    with pytest.raises(FeatureRepoError, match="key"):
        ingest(home, settings, "corner", CORNER_SHOP)
    assert not home.tables.exists()


def test_a_failed_ingestion_leaves_the_old_tables(home: ShopHome, settings: Settings, folder: Path) -> None:
    ingest(home, settings, "corner", folder)
    before = read_tables(home)["events"]
    (folder / "events.csv").write_bytes(b"id,what\nx\n")
    with pytest.raises(FeatureRepoError, match=r"events\.csv"):
        ingest(home, settings, "corner", folder)
    pd.testing.assert_frame_equal(read_tables(home)["events"], before)


def test_a_catalogue_without_one_good_product_is_an_error_that_names_the_reason(home: ShopHome, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text("product_id,title,price\n1,Lamp,-1\n")
    (tmp_path / "events.csv").write_text("event_type,user_id,product_id,event_time\n")
    with pytest.raises(FeatureRepoError, match="price: below 0"):
        ingest(home, settings, "x", tmp_path)
    assert pd.read_parquet(home.quarantine / "products.parquet")["reason"].tolist() == ["price: below 0"]


def test_empty_files_make_empty_tables(home: ShopHome, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text("product_id,title\n")
    (tmp_path / "events.csv").write_text("event_type,user_id,product_id,event_time\n")
    ingest(home, settings, "x", tmp_path)
    assert all(frame.empty for frame in read_tables(home).values())
    assert home.clock().offset == timedelta(0)


def test_tables_in_use_stay_readable_while_new_ones_are_put_in_place(home: ShopHome, settings: Settings) -> None:
    ingest(home, settings, "corner", CORNER_SHOP)
    in_use = home.tables.resolve()
    ingest(home, settings, "corner", CORNER_SHOP)
    assert home.tables.resolve() != in_use
    assert len(pd.read_parquet(in_use / "products.parquet")) == 43
    ingest(home, settings, "corner", CORNER_SHOP)
    assert len([path for path in home.root.glob("tables-*") if path.is_dir()]) == 2


def test_nothing_ingested_is_said(home: ShopHome) -> None:
    for ask in (read_tables, config):
        with pytest.raises(FeatureRepoError, match="make features"):
            ask(home)


def posted(name: str, at: datetime) -> Event:
    return Event(name, EventType.VIEW, "u_1", "00017", at, at)


def test_posted_events_are_read_with_the_others_each_once(home: ShopHome, settings: Settings) -> None:
    ingest(home, settings, "corner", CORNER_SHOP)
    at = datetime(2024, 3, 1, tzinfo=UTC)
    EventLog(home.events_db).append([posted("new", at), posted("e-000204", at)])
    events = read_tables(home)["events"]
    assert len(events) == 1649
    assert events["event_time"].is_monotonic_increasing
    assert events.set_index("event_id").loc["e-000204", "event_type"] == "purchase"
    assert str(events["sequence"].dtype) == "int64"


def test_posted_events_about_products_that_left_the_catalogue_are_left_out_and_said(
    home: ShopHome, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    ingest(home, settings, "corner", CORNER_SHOP)
    at = datetime(2024, 3, 1, tzinfo=UTC)
    EventLog(home.events_db).append([Event("gone", EventType.VIEW, "u_1", "left", at, at), Event("stop", EventType.UNSUBSCRIBE, "u_1", None, at, at)])
    ids = set(read_tables(home)["events"]["event_id"])
    assert "stop" in ids
    assert "gone" not in ids
    assert "1 posted events are left out" in caplog.text


def test_a_historical_shop_goes_on_from_its_last_event(home: ShopHome, settings: Settings) -> None:
    ingest(home, settings, "corner", CORNER_SHOP)
    last = read_tables(home)["events"]["event_time"].max()
    assert timedelta(0) <= home.clock().now() - last < timedelta(minutes=10)


def test_the_clock_goes_on_when_the_same_shop_is_read_again(home: ShopHome, settings: Settings, folder: Path) -> None:
    ingest(home, settings, "corner", folder)
    home.write_manifest({"clock_offset_s": home.clock().offset.total_seconds() - 86400})  # a day went by
    before = home.clock()
    ingest(home, settings, "corner", folder)
    assert home.clock() == before
    newer = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    with (folder / "events.csv").open("a") as file:
        file.write(f"y-1,9999,page,c-0001,00017,{newer},,,,,,,,,\n")
    ingest(home, settings, "corner", folder)
    assert home.clock().offset == timedelta(0)


def small_shop(folder: Path, last: datetime, arrived: str = "") -> Path:
    """A shop with one lamp and two views of it, the last one at `last`."""
    folder.mkdir(exist_ok=True)
    (folder / "products.csv").write_text("product_id,title\n00017,Lamp\n")
    first = last - timedelta(days=9)
    rows = f"view,ann,00017,{first.isoformat()},\nview,ann,00017,{last.isoformat()},{arrived}\n"
    (folder / "events.csv").write_text("event_type,user_id,product_id,event_time,arrived_at\n" + rows)
    return folder


LAST = datetime(2024, 3, 1, 12, tzinfo=UTC)
INSTANT = timedelta(minutes=1)


@pytest.mark.parametrize(("late", "from_it"), [(timedelta(hours=30), True), (timedelta(days=2), True), (timedelta(days=40), False)])
def test_the_clock_goes_on_from_an_arrival_soon_after_the_last_event(
    late: timedelta, from_it: bool, home: ShopHome, settings: Settings, tmp_path: Path
) -> None:
    """Else that event would not be known yet, and wait for a later build. An arrival long after is the day on which the data set was written."""
    ingest(home, settings, "x", small_shop(tmp_path / "shop", LAST, (LAST + late).isoformat()))
    assert timedelta(0) <= home.clock().now() - (LAST + late if from_it else LAST) < INSTANT


def test_the_clock_never_goes_back_under_posted_events(home: ShopHome, settings: Settings, tmp_path: Path) -> None:
    """A correction of the files, or files in another folder, once set it back to the last event of the files."""
    ingest(home, settings, "x", small_shop(tmp_path / "shop", LAST))
    home.write_manifest({"clock_offset_s": home.clock().offset.total_seconds() - 3 * 86400})  # three days went by
    EventLog(home.events_db).append([posted("new", LAST + timedelta(days=3))])
    for folder, last in (("shop", LAST - timedelta(hours=5)), ("elsewhere", LAST), ("shop", LAST + timedelta(hours=1))):
        before = home.clock().now()
        ingest(home, settings, "x", small_shop(tmp_path / folder, last))
        assert timedelta(0) <= home.clock().now() - before < INSTANT


def test_the_clock_goes_on_from_the_last_posted_event(home: ShopHome, settings: Settings, tmp_path: Path) -> None:
    """Where the manifest lags behind them, as after a copy of the home was put back."""
    ingest(home, settings, "x", small_shop(tmp_path / "shop", LAST))
    EventLog(home.events_db).append([posted("new", LAST + timedelta(days=3))])
    ingest(home, settings, "x", tmp_path / "shop")
    assert timedelta(0) <= home.clock().now() - (LAST + timedelta(days=3)) < INSTANT


def test_a_posted_event_with_another_clocks_time_does_not_move_the_shops(home: ShopHome, settings: Settings, tmp_path: Path) -> None:
    """A mail provider reports an unsubscribe with the time on its own wall."""
    ingest(home, settings, "x", small_shop(tmp_path / "shop", LAST))
    foreign = replace(posted("gone", LAST), event_type=EventType.UNSUBSCRIBE, product_id=None, event_time=datetime.now(UTC), arrived_at=LAST)
    EventLog(home.events_db).append([foreign])
    ingest(home, settings, "x", tmp_path / "shop")
    assert timedelta(0) <= home.clock().now() - LAST < INSTANT


def test_a_clock_that_stays_far_ahead_of_the_data_is_said(
    home: ShopHome, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ingest(home, settings, "x", small_shop(tmp_path / "shop", LAST))
    ingest(home, settings, "x", tmp_path / "shop")
    assert "clock" not in caplog.text
    ingest(home, settings, "x", small_shop(tmp_path / "old", LAST - timedelta(days=90)))
    assert timedelta(0) <= home.clock().now() - LAST < INSTANT
    assert "stays at 2024-03-01 12:00, although its last event is of 2023-12-02 12:00" in caplog.text
    assert "make reset SHOP=corner" in caplog.text


def test_a_live_shop_whose_feed_stands_still_stays_live(home: ShopHome, settings: Settings, tmp_path: Path) -> None:
    ingest(home, settings, "x", small_shop(tmp_path / "shop", datetime.now(UTC) - timedelta(hours=1)))
    assert home.clock().offset == timedelta(0)
    ingest(home, settings, "x", small_shop(tmp_path / "shop", datetime.now(UTC) - timedelta(days=3)))
    assert home.clock().offset == timedelta(0)


def test_a_historical_shop_whose_files_lost_their_events_keeps_its_clock(home: ShopHome, settings: Settings, tmp_path: Path) -> None:
    ingest(home, settings, "x", small_shop(tmp_path / "shop", LAST))
    (tmp_path / "shop/events.csv").write_text("event_type,user_id,product_id,event_time\n")
    ingest(home, settings, "x", tmp_path / "shop")
    assert timedelta(0) <= home.clock().now() - LAST < INSTANT


def test_a_damaged_event_log_leaves_the_old_tables(home: ShopHome, settings: Settings, tmp_path: Path) -> None:
    ingest(home, settings, "x", small_shop(tmp_path / "shop", LAST))
    before = home.tables.resolve()
    home.events_db.write_bytes(b"no database at all" * 100)
    with pytest.raises(FeatureRepoError, match="event log"):
        ingest(home, settings, "x", tmp_path / "shop")
    assert home.tables.resolve() == before
