"""`python tests/data/make_corner_shop.py`: write tests/data/corner_shop, the small stranger's shop of tests and docs.

Everything in it is invented. It calls its columns and events by its own names, writes Berlin wall-clock times across the change to summer time,
has ids with leading zeros, Chinese words for half its products, and a few rows of every kind that must not be accepted.
"""

import csv
import json
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "corner_shop"
FIRST, DAYS = datetime(2024, 2, 1), 100

CATEGORIES: dict[str, tuple[str, str, str, str, list[str], tuple[int, int]]] = {
    "Lamps": ("Home > Lighting > Lamps", "灯具", "Lamp", "灯", ["Desk", "Floor", "Bedside", "Reading", "Garden"], (19, 90)),
    "Chairs": ("Home > Furniture > Chairs", "椅子", "Chair", "椅", ["Dining", "Rocking", "Folding", "Office", "Garden"], (39, 190)),
    "Shelves": ("Home > Furniture > Shelves", "书架", "Shelf", "书架", ["Wall", "Corner", "Book", "Hall", "Spice"], (25, 120)),
    "Mugs": ("Kitchen > Drinking > Mugs", "马克杯", "Mug", "马克杯", ["Breakfast", "Travel", "Camping", "Enamel", "Cocoa"], (8, 24)),
    "Teapots": ("Kitchen > Drinking > Teapots", "茶壶", "Teapot", "茶壶", ["Morning", "Glass", "Iron", "Two-Cup", "Party"], (18, 70)),
    "Pans": ("Kitchen > Cooking > Pans", "平底锅", "Pan", "平底锅", ["Frying", "Crepe", "Sauce", "Grill", "Egg"], (22, 99)),
    "Blankets": ("Textiles > Bedroom > Blankets", "毯子", "Blanket", "毯", ["Winter", "Picnic", "Baby", "Sofa", "Travel"], (29, 130)),
    "Cushions": ("Textiles > Living > Cushions", "靠垫", "Cushion", "靠垫", ["Sofa", "Floor", "Neck", "Bench", "Garden"], (12, 49)),
}
MATERIALS: dict[str, list[tuple[str, str]]] = {
    "Lamps": [("oak", "橡木"), ("brass", "黄铜"), ("paper", "纸")],
    "Chairs": [("oak", "橡木"), ("beech", "山毛榉木"), ("steel", "钢")],
    "Shelves": [("oak", "橡木"), ("pine", "松木"), ("steel", "钢")],
    "Mugs": [("stoneware", "炻器"), ("enamel", "搪瓷"), ("porcelain", "瓷")],
    "Teapots": [("glass", "玻璃"), ("cast iron", "铸铁"), ("porcelain", "瓷")],
    "Pans": [("cast iron", "铸铁"), ("steel", "钢"), ("copper", "铜")],
    "Blankets": [("wool", "羊毛"), ("cotton", "棉"), ("linen", "亚麻")],
    "Cushions": [("wool", "羊毛"), ("cotton", "棉"), ("velvet", "天鹅绒")],
}
WEIGHTS = {
    "Lamps": (0.8, 4.0), "Chairs": (3.0, 9.0), "Shelves": (2.0, 9.0), "Mugs": (0.2, 0.5),
    "Teapots": (0.5, 1.9), "Pans": (0.7, 2.9), "Blankets": (0.6, 2.2), "Cushions": (0.3, 1.1),
}  # fmt: skip
COLOURS = [("green", "绿色"), ("blue", "蓝色"), ("red", "红色"), ("black", "黑色"), ("white", "白色"), ("grey", "灰色")]
MAKERS = ["Ember & Ash", "Nordlicht", "Teehaus", "Wollwerk", "Old Mill"]
GROUPS = ["Tea Circle", "Slow Cooking", "Light & Shade", "Woodworkers"]

Row = dict[str, Any]


def products(draw: random.Random) -> list[Row]:
    rows = []
    for category, (path, category_zh, noun, noun_zh, kinds, (low, high)) in CATEGORIES.items():
        for kind in kinds:
            number = len(rows) + 1
            material, colour = draw.choice(MATERIALS[category]), draw.choice(COLOURS)
            weight, chinese = round(draw.uniform(*WEIGHTS[category]), 1), number % 2 == 1
            facts = {"material": material[0], "colour": colour[0], "weight": {"value": weight, "unit": "kg"}, "handmade": draw.random() < 0.3}
            facts_zh = {"材质": material[1], "颜色": colour[1], "重量": {"value": weight, "unit": "kg"}}
            rows.append(
                {
                    "sku": f"{number:05d}", "name": f"{material[0].title()} {kind} {noun}", "name_zh": f"{material[1]}{noun_zh}" if chinese else "",
                    "text": f"A {colour[0]} {kind.lower()} {noun.lower()} made of {material[0]}. It weighs {weight} kg.",
                    "text_zh": f"{colour[1]}{noun_zh}，{material[1]}制，重 {weight} kg。" if chinese else "",
                    "group": category, "group_zh": category_zh, "group_path": path, "maker": draw.choice(MAKERS),
                    "unit_price": f"{draw.randint(low, high) - 0.1:.2f}", "currency": "EUR", "on_hand": draw.randint(0, 40),
                    "facts": json.dumps(facts), "facts_zh": json.dumps(facts_zh, ensure_ascii=False) if chinese else "",
                    "picture": f"https://corner.example/img/{number:05d}.jpg", "since": "2024-01-01T00:00:00+01:00" if number % 10 else "",
                }
            )  # fmt: skip
    for row in [row for row in rows if row["sku"] in ("00001", "00017", "00022")]:
        rows.append(row | {"unit_price": f"{float(row['unit_price']) * 0.8:.2f}", "since": "2024-04-02T00:00:00"})
    return rows


def bad_products(good: list[Row]) -> list[Row]:
    lamp = good[0]
    return [
        lamp | {"sku": "00901", "currency": "USD"}, lamp | {"sku": "00902", "unit_price": "-4.00"}, lamp | {"sku": ""},
        lamp | {"sku": "00903", "facts": "{material: oak"}, lamp | {"sku": "00904", "unit_price": "12,50"}, lamp, lamp | {"name": "Another Lamp"},
        lamp | {"sku": "00905", "on_hand": "-1"}, lamp | {"sku": "00906", "since": "soon"},
    ]  # fmt: skip


def shoppers(draw: random.Random) -> dict[str, tuple[str, ...]]:
    """User -> the two categories they care for."""
    return {f"c-{number:04d}": tuple(draw.sample(list(CATEGORIES), 2)) for number in range(1, 61)}


def events(draw: random.Random, goods: list[Row], tastes: dict[str, tuple[str, ...]]) -> list[Row]:
    rows: list[Row] = []
    current = {row["sku"]: row for row in goods}
    by_category = {name: [row["sku"] for row in current.values() if row["group"] == name] for name in CATEGORIES}

    def add(what: str, customer: str, sku: str, at: datetime, **more: Any) -> None:
        received = at + timedelta(seconds=draw.choice([1, 2, 2, 3, 7200 if len(rows) % 97 == 0 else 4]))
        row = {"what": what, "customer": customer, "sku": sku, "ts": at.isoformat(), "received": received.isoformat(), **more}
        rows.append(row)

    for visit in range(1, 211):
        customer = draw.choice(list(tastes)) if visit % 12 else ""
        taste = tastes.get(customer, tuple(draw.sample(list(CATEGORIES), 2)))
        at = FIRST + timedelta(days=draw.random() * DAYS, seconds=0)
        at = at.replace(hour=draw.randint(7, 22), microsecond=0)
        session, request, tone = f"s-{1000 + visit}", f"r-{visit:04x}", draw.choice(["plain", "warm", "playful", "expert"])
        shelf = [*draw.sample(list(current), 3), draw.choice(by_category[draw.choice(taste)])]
        for place, sku in enumerate(shelf, start=1):
            extra = json.dumps({"tone": tone, "aspect": draw.choice(["comfort", "design", "quality"])})
            add("shown", customer, sku, at, req=request, slot=place, where="site", visit=session, extra=extra)
            if current[sku]["group"] in taste and draw.random() < 0.6:
                at += timedelta(seconds=draw.randint(3, 40))
                add("click", customer, sku, at, req=request, slot=place, where="site", visit=session, extra=extra)
            elif draw.random() < 0.03:
                add("hide", customer, sku, at + timedelta(seconds=2), req=request, slot=place, where="site", visit=session)
        wanted = draw.choice(by_category[draw.choice(taste)])
        at += timedelta(seconds=draw.randint(20, 200))
        add("page", customer, wanted, at, where="site", visit=session)
        if draw.random() < 0.75:
            at += timedelta(seconds=draw.randint(20, 90))
            count, price = draw.choice([1, 1, 1, 2]), current[wanted]["unit_price"]
            add("basket", customer, wanted, at, qty=count, paid=price, where="site", visit=session)
            if draw.random() < 0.9:
                add("order", customer, wanted, at + timedelta(minutes=2), qty=count, paid=price, where="site", visit=session)
                if customer and draw.random() < 0.4:
                    add("stars", customer, wanted, at + timedelta(days=5), stars=draw.choice([3, 4, 4, 5, 5, 1]), where="site")
                elif draw.random() < 0.06:
                    add("refund", customer, wanted, at + timedelta(days=8), qty=count, paid=price)
    add("optout", "c-0002", "", FIRST + timedelta(days=60), where="email")
    rows.sort(key=lambda row: row["ts"])
    return [{"id": f"e-{number:06d}", "no": number, **row} for number, row in enumerate(rows, start=1)]


def bad_events(good: list[Row]) -> list[Row]:
    view = next(row for row in good if row["what"] == "page") | {"no": ""}
    cart = next(row for row in good if row["what"] == "basket") | {"no": ""}
    return [
        view | {"id": "x-01", "sku": "99999"}, view | {"id": "x-02", "sku": ""}, view | {"id": "x-03", "what": "teleport"},
        view | {"id": "x-04", "ts": "2093-01-01T00:00:00"}, view | {"id": "x-05", "ts": "yesterday"}, view | {"id": ""},
        cart | {"id": "x-06", "paid": "-1"}, cart | {"id": "x-07", "qty": "0"}, view | {"id": "x-08", "what": "stars", "stars": "9"},
        view | {"id": "x-09", "extra": "{tone"}, good[10], good[11] | {"sku": good[12]["sku"], "what": "page"}, view | {"id": "x-10", "sku": "00901"},
        view | {"id": "x-11", "what": "optout", "customer": ""}, view | {"id": "x-12", "what": "heartbeat"}, view | {"id": "x-13", "slot": "0"},
        view | {"id": "x-14", "slot": "first"}, view | {"id": "x-15", "ts": "1970-01-01T00:00:00"},
    ]  # fmt: skip


def people(draw: random.Random, tastes: dict[str, tuple[str, ...]]) -> dict[str, list[Row]]:
    users, ties, likes, consents, contacts = [], [], [], [], []
    for number, (customer, taste) in enumerate(tastes.items(), start=1):
        language = "zh" if number % 4 == 0 else "en"
        users.append(
            {"customer": customer, "joined": f"2023-{number % 12 + 1:02d}-15T09:12:00", "country": draw.choice(["DE", "AT", "FR"]), "lang": language}
        )
        alike = [other for other, theirs in tastes.items() if other != customer and set(theirs) & set(taste)]
        for friend in draw.sample(alike, min(2, len(alike))):
            ties.append({"customer": customer, "kind": "follow", "whom": friend, "since": "2024-02-02T00:00:00"})
        if number % 3 == 0:
            ties.append({"customer": customer, "kind": "group", "whom": GROUPS[list(CATEGORIES).index(taste[0]) % 4], "since": "2024-01-10"})
        if number % 2:
            likes.append({"customer": customer, "sentiment": "like", "sort": "category", "what": taste[0], "since": "2024-02-02T00:00:00"})
        if number % 5 == 0:
            unloved = draw.choice([name for name in CATEGORIES if name not in taste])
            likes.append({"customer": customer, "sentiment": "dislike", "sort": "category", "what": unloved, "since": ""})
        consents.append({"customer": customer, "channel": "email", "ok": "yes" if number % 3 else "no", "decided": "2024-01-15T10:00:00"})
        contacts.append({"customer": customer, "channel": "email", "address": f"reader.{number:02d}@corner.example", "lang": language})
    likes.append({"customer": "c-0001", "sentiment": "like", "sort": "brand", "what": MAKERS[0], "since": "2024-02-03"})
    likes.append({"customer": "c-0001", "sentiment": "dislike", "sort": "product", "what": "00017", "since": "2024-02-03"})
    ties += [
        {"customer": "c-0001", "kind": "follow", "whom": "c-0001", "since": ""},
        {"customer": "c-0002", "kind": "friend", "whom": "c-0003", "since": ""},
        {"customer": "", "kind": "group", "whom": "Tea Circle", "since": ""}, ties[0],
    ]  # fmt: skip
    likes += [
        {"customer": "c-0003", "sentiment": "hate", "sort": "category", "what": "Lamps", "since": ""},
        {"customer": "c-0003", "sentiment": "like", "sort": "product", "what": "99999", "since": ""},
    ]
    users += [users[0], users[1] | {"country": "CH"}]
    consents.append({"customer": "c-0004", "channel": "email", "ok": "perhaps", "decided": "2024-03-01T10:00:00"})
    contacts += [
        {"customer": "c-0005", "channel": "email", "address": "reader.99@corner.example", "lang": ""},
        {"customer": "c-0099", "channel": "email", "address": "not an address", "lang": ""},
        {"customer": "c-0098", "channel": "email", "address": "a@corner.example\r\nBcc: b@corner.example", "lang": ""},
    ]
    return {"users": users, "ties": ties, "tastes": likes, "consents": consents, "contacts": contacts}


def write(name: str, rows: list[Row]) -> None:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with (FOLDER / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    draw = random.Random(20240201)
    FOLDER.mkdir(exist_ok=True)
    goods, tastes = products(draw), shoppers(draw)
    acts = events(draw, goods, tastes)
    write("catalogue", goods + bad_products(goods))
    write("events", acts + bad_events(acts))
    for name, rows in people(draw, tastes).items():
        write(name, rows)


if __name__ == "__main__":
    main()
