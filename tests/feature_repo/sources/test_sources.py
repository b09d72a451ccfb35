"""What every source of shops keeps to, and what is particular to the public ones."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from feature_repo.errors import FeatureRepoError
from feature_repo.events import TABLES
from feature_repo.home import Pseudonyms
from feature_repo.sources import READERS, ShopTables, reader
from feature_repo.sources.online_retail import category, title_case
from feature_repo.validate import CheckedShop, validate

CORNER_SHOP = Path(__file__).parents[2] / "data/corner_shop"
KEY = Pseudonyms(b"k" * 32)

SOURCES = [
    pytest.param("corner", id="folder"),
    pytest.param("demo", id="demo"),
    pytest.param("online_retail", marks=pytest.mark.needs("data")),
    pytest.param("amazon_beauty", marks=pytest.mark.needs("data")),
]

_read: dict[str, tuple[ShopTables, CheckedShop]] = {}


def folder_of(name: str, request: pytest.FixtureRequest) -> Path:
    """Where a source's data are; the demo is asked for a small world."""
    if name == "corner":
        return CORNER_SHOP
    if name == "demo":
        folder: Path = request.getfixturevalue("tmp_path")
        (folder / "demo.toml").write_text("shoppers = 60\nproducts_per_category = 10\ndays = 80\n")
        return folder
    return Path(request.getfixturevalue("data") / name)


@pytest.fixture
def source(request: pytest.FixtureRequest) -> tuple[ShopTables, CheckedShop]:
    """A source's tables and what the door made of them, read once."""
    name: str = request.param
    if name not in _read:
        shop = reader(name)(folder_of(name, request))
        _read[name] = shop, validate(shop, KEY, datetime.now(UTC))
    return _read[name]


every_source = pytest.mark.parametrize("source", SOURCES, indirect=True)


@every_source
def test_it_brings_the_required_tables_with_the_required_columns(source: tuple[ShopTables, CheckedShop]) -> None:
    shop, _ = source
    for table in TABLES.values():
        assert not table.required or len(shop.tables[table.name])
        if table.name in shop.tables:
            assert {column.name for column in table.columns if column.required} <= set(shop.tables[table.name])


@every_source
def test_every_row_is_accepted_or_set_aside(source: tuple[ShopTables, CheckedShop]) -> None:
    shop, checked = source
    for name, table in checked.tables.items():
        rows = len(shop.tables.get(name, ())) + len(shop.set_aside.get(name, ()))
        assert rows == table.read == len(table.accepted) + sum(table.reasons.values())


@every_source
def test_the_door_accepts_nearly_all_of_it(source: tuple[ShopTables, CheckedShop]) -> None:
    _, checked = source
    events = checked.tables["events"]
    assert len(events.accepted) > 0.98 * events.read


@every_source
def test_ids_and_users_are_sound(source: tuple[ShopTables, CheckedShop]) -> None:
    shop, checked = source
    events, products = checked.tables["events"].accepted, checked.tables["products"].accepted
    assert events["event_id"].is_unique
    assert set(events["product_id"].dropna()) <= set(products["product_id"])
    assert set(shop.tables["products"]["product_id"].dropna()) >= set(products["product_id"])
    assert events["user_id"].dropna().str.fullmatch("u_[0-9a-f]{24}").all()
    assert not events["event_id"].str.contains(r"c-00\d\d").any()


@every_source
def test_reading_twice_gives_the_same(source: tuple[ShopTables, CheckedShop], request: pytest.FixtureRequest) -> None:
    shop, _ = source
    name = request.node.callspec.params["source"]
    again = reader(name)(folder_of(name, request))
    for name, frame in shop.tables.items():
        pd.testing.assert_frame_equal(frame, again.tables[name])


@pytest.mark.parametrize("name", [*(name for name in READERS if name != "demo"), "a_folder"])
def test_a_source_without_its_folder_says_what_it_needs(name: str, tmp_path: Path) -> None:
    with pytest.raises(FeatureRepoError, match="DATA="):
        reader(name)(None)
    with pytest.raises(FeatureRepoError):
        reader(name)(tmp_path / "nowhere")


# --- Online Retail, on a few lines made by hand ---

LINE = {
    "InvoiceNo": "1", "StockCode": "85123A", "Description": "SET OF 6 RED MUGS", "Quantity": 2, "InvoiceDate": "2011-06-01 10:00", "UnitPrice": 2.5,
    "CustomerID": 17850, "Country": "Spain",
}  # fmt: skip


def online_retail(folder: Path, *changes: dict[str, object]) -> ShopTables:
    lines = pd.DataFrame([LINE | change for change in changes])
    lines["InvoiceDate"], lines["CustomerID"] = pd.to_datetime(lines["InvoiceDate"]), lines["CustomerID"].astype("Int64")
    lines.to_parquet(folder / "transactions.parquet")
    return reader("online_retail")(folder)


def test_online_retail_sales_and_returns(tmp_path: Path) -> None:
    shop = online_retail(tmp_path, {}, {"StockCode": "85123a", "CustomerID": None}, {"InvoiceNo": "C2", "Quantity": -1})
    events = validate(shop, KEY, datetime.now(UTC)).tables["events"].accepted
    assert events["event_type"].tolist() == ["purchase", "purchase", "return"]
    assert events["event_id"].tolist() == ["1-1", "1-2", "C2-1"]
    assert set(events["product_id"]) == {"85123A"}
    assert events["user_id"].tolist() == [KEY.user("17850"), None, KEY.user("17850")]
    assert events["quantity"].tolist() == [2, 2, 1]
    assert events["event_time"].iloc[0] == pd.Timestamp("2011-06-01 09:00", tz="UTC"), "June invoices are written in British summer time"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"StockCode": "POST"}, "no product: postage"),
        ({"StockCode": "m"}, "no product: manual entry"),
        ({"StockCode": "BANK CHARGES"}, "no product: bank charges"),
        ({"StockCode": "gift_0001_20"}, "no product: gift voucher"),
        ({"InvoiceNo": "A3", "StockCode": "B"}, "no product: bad debt"),
        ({"Quantity": -5, "UnitPrice": 0.0, "Description": "wet damaged"}, "stock correction"),
        ({"UnitPrice": 0.0}, "free of charge or stock correction (price 0)"),
    ],
)
def test_online_retail_lines_that_are_no_sale(change: dict[str, object], reason: str, tmp_path: Path) -> None:
    shop = online_retail(tmp_path, {}, change)
    assert len(shop.tables["events"]) == 1
    assert shop.set_aside["events"][["row", "reason"]].to_numpy().tolist() == [[2, reason]]


def test_online_retail_products_are_called_as_they_were_sold_most(tmp_path: Path) -> None:
    names = ["SET OF 6 RED MUGS", "BLUE MUG", " SET  OF 6 RED MUGS", None]
    products = online_retail(tmp_path, *({"Description": name} for name in names)).tables["products"]
    assert products["title"].tolist() == ["Set of 6 Red Mugs"]
    assert json.loads(products["attributes"].iloc[0]) == {"colour": "red", "pieces": 6}
    assert json.loads(products["attributes_zh"].iloc[0]) == {"颜色": "红色", "件数": 6}
    assert products["category"].tolist() == ["Cups & Tea"]


@pytest.mark.parametrize(
    ("title", "found"),
    [
        ("Jumbo Bag Red Retrospot", "Bags & Purses"),
        ("Hanging Heart T-Light Holder", "Candles & Lights"),
        ("Thing", "Other Gifts"),
        ("Teacher's Desk", "Other Gifts"),
    ],
)
def test_online_retail_categories(title: str, found: str) -> None:
    assert category(title)[0] == found


def test_titles_are_no_longer_shouted() -> None:
    assert title_case("WHITE HANGING HEART T-LIGHT HOLDER") == "White Hanging Heart T-Light Holder"
    assert title_case("POLYESTER FILLER PAD 45x45cm") == "Polyester Filler Pad 45x45cm"


# --- Amazon Beauty, on a few rows made by hand ---


def test_amazon_beauty_reviews_become_purchases_in_the_file_s_order(tmp_path: Path) -> None:
    pd.DataFrame(
        {
            "user_idx": [5, 5],
            "item_idx": [1, 2],
            "asin": ["0001", "B2"],
            "pos": [0, 1],
            "timestamp": pd.to_datetime(["2014-01-01"] * 2),
            "loo_split": "train",
        }
    ).to_parquet(tmp_path / "interactions.parquet")
    pd.DataFrame(
        {"item_idx": [1, 2], "asin": ["0001", "B2"], "title": ["Soap", None], "attributes": [["A&amp;B", "Skin Care", "Face"], ["Hair Care"]]}
    ).to_parquet(tmp_path / "items.parquet")
    tables = validate(reader("amazon_beauty")(tmp_path), KEY, datetime.now(UTC)).tables
    events, products = tables["events"].accepted, tables["products"].accepted
    assert events["product_id"].tolist() == ["0001", "B2"]
    assert events["sequence"].tolist() == [0, 1]
    assert set(events["event_type"]) == {"purchase"}
    assert set(events["event_time"]) == {pd.Timestamp("2014-01-01", tz="UTC")}
    assert products["brand"].tolist() == ["A&B", None]
    assert products["category_path"].tolist() == ["Skin Care > Face", "Hair Care"]
    assert products["category"].tolist() == ["Face", "Hair Care"]


def test_a_beauty_catalogue_may_name_nothing_but_its_products(tmp_path: Path) -> None:
    rows = {"user_idx": ["u"], "asin": ["A"], "pos": [0], "timestamp": [pd.Timestamp("2024-01-01")]}
    pd.DataFrame(rows).to_parquet(tmp_path / "interactions.parquet")
    pd.DataFrame({"asin": ["A", "B"]}).to_parquet(tmp_path / "items.parquet")
    products = reader("amazon_beauty")(tmp_path).tables["products"]
    assert products["product_id"].tolist() == ["A", "B"] and products[["title", "category_path", "brand"]].isna().all().all()
