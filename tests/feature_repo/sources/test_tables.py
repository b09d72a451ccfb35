"""A stranger's folder: both file formats, ids as written, and a clear word about a file that can't be read."""

import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.errors import FeatureRepoError
from feature_repo.home import Pseudonyms
from feature_repo.sources.tables import read, read_file
from feature_repo.validate import validate

PRODUCTS = "product_id,title\n007,Lamp\n"
EVENTS = "event_type,user_id,product_id,event_time\nview,0042,007,2024-05-01\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "products.csv").write_text(PRODUCTS)
    (tmp_path / "events.csv").write_text(EVENTS)
    return tmp_path


def test_leading_zeros_stay(folder: Path) -> None:
    tables = read(folder).tables
    assert tables["products"]["product_id"].tolist() == ["007"]
    assert tables["events"]["user_id"].tolist() == ["0042"]


def test_parquet_and_csv_say_the_same(folder: Path) -> None:
    before = read(folder).tables["events"]
    pd.read_csv(folder / "events.csv", dtype=str).to_parquet(folder / "events.parquet")
    (folder / "events.csv").unlink()
    pd.testing.assert_frame_equal(read(folder).tables["events"], before)


def test_a_table_may_be_a_folder_of_parquet_parts(folder: Path) -> None:
    (folder / "events.csv").rename(folder / "kept.csv")
    (folder / "events").mkdir()
    for part in ("a", "b"):
        pd.read_csv(folder / "kept.csv", dtype=str).to_parquet(folder / f"events/{part}.parquet")
    assert len(read(folder).tables["events"]) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfproduct_id,title\n007,L\xc3\xa4mp\n",
        "product_id;title\r\n007;Lämp\r\n".encode(),
        "product_id\ttitle\n007\tLämp".encode(),
        'product_id,title\n"007","Lämp"\n\n'.encode(),
    ],
    ids=["byte order mark", "semicolons and CRLF", "tabs", "quotes and an empty line"],
)
def test_ways_to_write_csv(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    assert read_file(tmp_path / "x.csv").to_dict("list") == {"product_id": ["007"], "title": ["Lämp"]}


def test_compressed_csv(tmp_path: Path) -> None:
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(PRODUCTS.encode()))
    assert read_file(tmp_path / "x.csv.gz")["product_id"].tolist() == ["007"]


def test_a_cell_may_hold_line_breaks_and_the_word_null(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('product_id,title\nNA,"two\nlines"\n,null\n')
    assert read_file(tmp_path / "x.csv").to_dict("list") == {"product_id": ["NA", None], "title": ["two\nlines", "null"]}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.csv", b"a,b\n1,2\n3\n", "row 3"),
        ("x.csv", b"a,b\n1,2\n3,4,5\n", "row 3"),
        ("x.csv", b"a,b\n1,2\n3,\xe4\n", "line 3 is not UTF-8"),
        ("x.csv", "a,b\n1,2\n".encode("utf-16"), "not UTF-8"),
        ("x.csv", b'a,b\n1,"2\n3,4\n', "never closed"),
        ("x.csv", b"a,b\r1,2\r", "CR alone"),
        ("x.csv", b"a,b\r1,2\n3,4\n", "CR alone"),
        ("x.csv", b"", "empty"),
        ("x.csv", b"a,a\n1,2\n", "a occurs twice"),
        ("x.parquet", b"PAR1 or so", "Parquet"),
        ("x.csv.gz", b"no gzip", "x.csv.gz"),
    ],
)
def test_an_unreadable_file_is_named_with_the_place(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FeatureRepoError, match=name) as error:
        read_file(tmp_path / name)
    assert said in str(error.value)


@pytest.mark.parametrize("kind", [pa.binary(), pa.string()])
def test_bytes_in_a_parquet_column_are_named_and_not_repeated(kind: pa.DataType, tmp_path: Path) -> None:
    found = pa.Array.from_buffers(kind, 2, pa.array([b"ann\xff", b"x"]).buffers())
    pq.write_table(pa.table({"product_id": ["007", "008"], "title": found}), tmp_path / "x.parquet")
    with pytest.raises(FeatureRepoError, match=r"x\.parquet can't be read: column 'title' holds bytes that are no UTF-8 text") as error:
        read_file(tmp_path / "x.parquet")
    assert "ann" not in str(error.value)


def test_the_message_about_a_broken_row_does_not_repeat_it(tmp_path: Path) -> None:
    (tmp_path / "contacts.csv").write_text("user_id,channel,address\n1,email,ann@corner.example,oops\n")
    with pytest.raises(FeatureRepoError) as error:
        read_file(tmp_path / "contacts.csv")
    assert "ann" not in str(error.value)


def _remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def _write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_remove("products.csv"), "no products.parquet or products.csv"),
        (_remove("events.csv"), "no events.parquet or events.csv"),
        (_write("events.csv.gz", ""), "more than once"),
        (_write("shop.toml", "[files]\nevents = 'acts.csv'"), "acts.csv"),
        (_write("shop.toml", "[columns.events]\nuser_id = 'customer'"), "no column 'customer'"),
    ],
)
def test_a_folder_that_lacks_something(change: Callable[[Path], object], said: str, folder: Path) -> None:
    change(folder)
    with pytest.raises(FeatureRepoError) as error:
        read(folder)
    assert said in str(error.value)


def test_columns_and_constants_of_shop_toml(folder: Path) -> None:
    (folder / "products.csv").write_text("sku,product_id,title\n007,internal,Lamp\n")
    (folder / "shop.toml").write_text("[columns.products]\nproduct_id = 'sku'\n[constants.products]\nbrand = 'Own'\n")
    products = read(folder).tables["products"]
    assert products[["product_id", "title", "brand"]].to_numpy().tolist() == [["007", "Lamp", "Own"]]


def test_a_table_of_orders_needs_no_column_of_event_types(folder: Path) -> None:
    (folder / "events.csv").write_text("user_id,product_id,event_time\n0042,007,2024-05-01\n0043,007,2024-05-02\n")
    (folder / "shop.toml").write_text("[constants.events]\nevent_type = 'order'\n[event_types]\norder = 'purchase'\n")
    events = validate(read(folder), Pseudonyms(b"k" * 32), datetime(2024, 6, 1, tzinfo=UTC)).tables["events"]
    assert events.accepted["event_type"].tolist() == ["purchase", "purchase"]


@pytest.mark.parametrize(
    ("header", "toml", "said"),
    [
        ("event_type", "", "has a column for event_type ('event_type')"),
        ("what", "[columns.events]\nevent_type = 'what'\n", "has a column for event_type ('what')"),
    ],
)
def test_a_constant_beside_the_column_is_not_silently_dropped(header: str, toml: str, said: str, folder: Path) -> None:
    (folder / "events.csv").write_text(EVENTS.replace("event_type", header))
    (folder / "shop.toml").write_text(toml + "[constants.events]\nevent_type = 'purchase'\n")
    with pytest.raises(FeatureRepoError, match=r"remove \[constants\.events\] event_type, or the column") as error:
        read(folder)
    assert said in str(error.value)


def test_optional_tables_are_optional(folder: Path) -> None:
    assert set(read(folder).tables) == {"products", "events"}
