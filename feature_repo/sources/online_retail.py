"""Online Retail: every invoice of a real UK gift wholesaler, 2010-12-01 to 2011-12-09, with prices, minute times and returns.

Publisher: UCI Machine Learning Repository, https://archive.ics.uci.edu/dataset/352/online+retail; donor Dr Daqing Chen.
Reads `transactions.parquet` (InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, CustomerID, Country).

What each line becomes:

* a sale (quantity above 0, price above 0) -> one `purchase`; the invoice is its session; a line without a customer is anonymous;
* a line of a cancellation (invoice "C…") -> one `return`, quantity positive;
* postage, fees, discounts, samples, manual entries, vouchers, bad debt, stock corrections and free lines -> set aside with a reason.

Stock codes are written in both cases ("85123a", "85123A"): the upper case is the product's id. Times are UK wall-clock times. A product's title
is the description it was sold under most often (the later one of equals), in title case; its category, colour and number of pieces are read from the
title by the word lists below, because the file has none. Prices come from the sales themselves, so products are undated.
"""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from feature_repo.errors import FeatureRepoError
from feature_repo.shop import ShopConfig
from feature_repo.sources import ShopTables
from feature_repo.sources.tables import read_file

CONFIG = ShopConfig(name="Online Retail", currency="GBP", time_zone="Europe/London", repeat_buying=True)

SERVICES = {
    "POST": "postage", "DOT": "postage", "C2": "carriage", "23444": "carriage", "BANK CHARGES": "bank charges", "AMAZONFEE": "marketplace fee",
    "CRUK": "charity commission", "D": "discount", "S": "samples", "M": "manual entry", "B": "bad debt", "PADS": "cushion pads at a nominal price",
}  # fmt: skip
"""Stock codes that are no products, and what they are."""

CATEGORIES: tuple[tuple[str, str, str], ...] = (
    ("Christmas", "圣诞", r"christmas|xmas|advent|santa|reindeer|snowflake|bauble|stocking|snowman|wreath"),
    ("Easter", "复活节", r"easter|bunny|chick"),
    ("Jewellery & Hair", "首饰与发饰", r"necklace|bracelet|earrings?|ring|brooch|bangle|hair|diamante|charm|pendant|tiara|choker|lariat"),
    ("Bags & Purses", "包袋", r"bags?|handbag|purse|shopper|backpack|rucksack|charlotte|passport|luggage|wallet|suitcase"),
    ("Candles & Lights", "蜡烛与灯具", r"candles?|candlestick|t-lights?|lights?|lantern|lamp|lampshade|incense|chandelier|nightlight|tealight"),
    ("Clocks", "时钟", r"clocks?"),
    ("Signs & Frames", "标牌与相框", r"sign|frames?|photo|picture|wall art|blackboard|chalkboard|noticeboard|plaque|doormat|memo|mirror"),
    ("Toys & Games", "玩具与游戏", r"toys?|games?|jigsaw|puzzle|doll|dolly|babushka|skittles|ludo|dominoes|yo-?yo|marbles|skipping|playhouse"),
    ("Cards & Wrap", "贺卡与包装", r"cards?|wrap|ribbons?|gift tape|tissues?|envelopes?|tags?|paper"),
    ("Stationery", "文具", r"pencils?|pens?|notebooks?|stickers?|book|rulers?|eraser|stamps?|sketchbook|journal|magnets?|tape|folder|writing|pouffe"),
    ("Party", "派对", r"party|bunting|balloons?|garland|napkins|streamers|birthday|confetti|parasols?|straws"),
    ("Cups & Tea", "杯与茶具", r"mugs?|cups?|tea|teapot|saucer|coffee|teacup|flask|bottles?|glass(?:es)?|tumbler|goblet|jug"),
    ("Baking", "烘焙", r"cake|cakestand|baking|cases|jelly|muffin|cupcake|cookie|rolling pin|mould"),
    (
        "Kitchen & Dining", "厨房与餐具",
        r"kitchen|cutlery|plates?|bowls?|trays?|apron|dish|spoons?|jars?|tins?|lunch|oven|egg|coasters?|chopsticks|recipe|scales|colander|snack|pantry|tablecloth|dinner",
    ),
    ("Garden", "花园", r"garden|gardeners?|watering|plant|flower pot|pots?|planter|bird|trowel|herb|seeds?|wheelbarrow|windmill|picnic|umbrella"),
    ("Textiles & Cushions", "家纺与靠垫", r"cushions?|quilt|blanket|throw|towels?|flannel|slippers|hot water|cosy|rug|curtain|scarf|gloves|socks"),
    ("Bath", "卫浴", r"bath|bathroom|soap|toilet|washbag|sponge|shower"),
    ("Storage & Furniture", "收纳与家具", r"box(?:es)?|baskets?|drawers?|cabinet|storage|hooks?|hangers?|shelf|chest|stool|chair|table|crate|rack"),
    ("Decorations", "装饰", r"decorations?|hanging|hearts?|wicker|ornament|bells?|flowers?|butterfly|vase|feather|trinket|bird ?cage|wreath|art"),
)  # fmt: skip
"""Category, its Chinese name, and the words that put a title into it; the first that fits counts. A title without any is in `OTHER`."""

OTHER = ("Other Gifts", "其他礼品")

COLOURS = {
    "red": "红色", "pink": "粉色", "blue": "蓝色", "green": "绿色", "white": "白色", "black": "黑色", "ivory": "象牙色", "cream": "米色",
    "purple": "紫色", "yellow": "黄色", "orange": "橙色", "silver": "银色", "gold": "金色", "brown": "棕色", "grey": "灰色", "turquoise": "绿松石色",
    "lilac": "淡紫色",
}  # fmt: skip

PIECES = re.compile(r"\b(?:set|pack|box)\s*(?:of\s*|/\s*)(\d{1,3})\b|\bs/(\d{1,3})\b", re.IGNORECASE)
SMALL_WORDS = {"of", "and", "the", "with", "for", "in", "to", "on", "a", "an", "at", "by", "or", "from"}


def read(folder: Path | None, progress: bool = False) -> ShopTables:
    """The wholesaler as a shop.

    Raises:
        FeatureRepoError: no folder was named, or the file is missing or can't be read.
    """
    if folder is None:
        raise FeatureRepoError("Say where Online Retail is: DATA=<folder with transactions.parquet>.")
    file = folder / "transactions.parquet"
    lines = read_file(file)
    lines["StockCode"] = lines["StockCode"].str.strip().str.upper()
    lines["row"] = np.arange(1, len(lines) + 1)
    reason = _reasons(lines)
    products = _products(lines[reason == ""])
    events = _events(lines)
    return ShopTables(
        config=CONFIG,
        tables={"products": products, "events": events[reason == ""], "users": _users(lines[reason == ""])},
        set_aside={"events": events.assign(reason=reason, row=lines["row"])[reason != ""]},
        files=dict.fromkeys(("products", "events", "users"), str(file)),
    )


def _reasons(lines: pd.DataFrame) -> pd.Series:
    """Why a line is no sale or return of a product; "" if it is one."""
    code, note = lines["StockCode"], lines["Description"].fillna("")
    cancelled = lines["InvoiceNo"].str.startswith("C")
    service = code.map({each: f"no product: {what}" for each, what in SERVICES.items()})
    voucher = code.str.startswith("GIFT_") | note.str.contains("gift voucher", case=False)
    return pd.Series(
        np.select(
            [
                lines["InvoiceNo"].str.startswith("A"), service.notna(), voucher, note.eq("High Resolution Image"),
                (lines["Quantity"] <= 0) & ~cancelled, lines["UnitPrice"] <= 0, lines["Quantity"] == 0,
            ],
            [
                "no product: bad debt", service.fillna(""), "no product: gift voucher", "no product: picture service",
                "stock correction", "free of charge or stock correction (price 0)", "nothing moved (quantity 0)",
            ],
            "",
        ),
        index=lines.index, dtype=object,
    )  # fmt: skip


def _events(lines: pd.DataFrame) -> pd.DataFrame:
    """One event per invoice line; its id is the invoice and the line's place in it."""
    cancelled = lines["InvoiceNo"].str.startswith("C")
    place = lines.groupby("InvoiceNo", sort=False).cumcount() + 1
    return pd.DataFrame(
        {
            "event_id": lines["InvoiceNo"] + "-" + place.astype(str),
            "event_type": np.where(cancelled, "return", "purchase"),
            "user_id": lines["CustomerID"],
            "product_id": lines["StockCode"],
            "event_time": lines["InvoiceDate"],
            "sequence": lines["row"],
            "quantity": lines["Quantity"].abs(),
            "price": lines["UnitPrice"],
            "session_id": lines["InvoiceNo"],
        }
    )


def _users(lines: pd.DataFrame) -> pd.DataFrame:
    """Customers with the country of their latest invoice; everyone is written to in English."""
    known = lines.dropna(subset=["CustomerID"]).drop_duplicates("CustomerID", keep="last")
    country = known["Country"].replace("Unspecified", "")
    return pd.DataFrame({"user_id": known["CustomerID"], "country": country, "language": "en"})


def _products(sold: pd.DataFrame) -> pd.DataFrame:
    described = sold.dropna(subset=["Description"]).assign(Description=lambda frame: frame["Description"].str.split().str.join(" "))
    counted = described.groupby(["StockCode", "Description"], sort=False)["row"].agg(["size", "max"]).reset_index()
    best = counted.sort_values(["size", "max"]).drop_duplicates("StockCode", keep="last").set_index("StockCode")["Description"]
    codes = pd.Index(sorted(sold["StockCode"].unique()), name="product_id")
    titles = [title_case(title) if isinstance(title, str) else None for title in best.reindex(codes)]
    categories = [category(title or "") for title in titles]
    facts = [_facts(title or "") for title in titles]
    return pd.DataFrame(
        {
            "product_id": codes,
            "title": titles,
            "category": [english for english, _ in categories],
            "category_zh": [chinese for _, chinese in categories],
            "attributes": [json.dumps(english) if english else None for english, _ in facts],
            "attributes_zh": [json.dumps(chinese, ensure_ascii=False) if chinese else None for _, chinese in facts],
        }
    )


def title_case(shouted: str) -> str:
    """ "SET OF 6 SOLDIER SKITTLES" -> "Set of 6 Soldier Skittles"; words with digits ("45x45cm") keep lower case."""
    words = [word.lower() for word in shouted.split()]
    return " ".join(word if index and word in SMALL_WORDS else _capital(word) for index, word in enumerate(words))


def _capital(word: str) -> str:
    if word[:1].isdigit():
        return word
    return re.sub(r"(^|[-/(+&\"])([a-z])", lambda found: found[1] + found[2].upper(), word)


def category(title: str) -> tuple[str, str]:
    """Category of a title and its Chinese name."""
    return next(((english, chinese) for english, chinese, words in CATEGORIES if re.search(rf"\b(?:{words})\b", title, re.IGNORECASE)), OTHER)


def _facts(title: str) -> tuple[dict[str, str | int], dict[str, str | int]]:
    """What a title says for certain: one colour (none if it names several) and the number of pieces, in both languages."""
    english: dict[str, str | int] = {}
    chinese: dict[str, str | int] = {}
    colours = [colour for colour in COLOURS if re.search(rf"\b{colour}\b", title, re.IGNORECASE)]
    if len(colours) == 1:
        english["colour"], chinese["颜色"] = colours[0], COLOURS[colours[0]]
    if found := PIECES.search(title):
        english["pieces"] = chinese["件数"] = int(found[1] or found[2])
    return english, chinese
