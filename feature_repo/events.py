"""The vocabulary of the platform and the tables it reads, declared once as data.

The check of incoming rows (`validate.py`), the shape of what is stored and docs/data.md all come from `TABLES`.
Examples are real values of the corner shop in tests/data, as that shop writes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

import pandas as pd


class EventType(StrEnum):
    """What a shopper did, or what was shown to them."""

    VIEW = "view"
    CART = "cart"
    PURCHASE = "purchase"
    RETURN = "return"
    REVIEW = "review"
    IMPRESSION = "impression"
    CLICK = "click"
    DISMISS = "dismiss"
    UNSUBSCRIBE = "unsubscribe"


SIGNALS = ("view", "cart", "purchase", "review", "follow", "group", "like", "dislike")
"""Sources of a profile, in the order of every array that holds one number per signal."""

TONES = ("plain", "warm", "playful", "expert")
ASPECTS = ("comfort", "design", "performance", "value", "quality")
COPY_CHANNELS = ("title", "push", "email", "article")
LANGUAGES = ("en", "zh")

Dtype = Literal["id", "text", "number", "integer", "time", "flag", "json", "facts"]

PANDAS_DTYPES: Mapping[Dtype, str] = {
    "id": "object",  # str, None where empty
    "text": "object",  # str, None where empty
    "json": "object",  # str that holds a JSON object, None where empty
    "facts": "object",  # the same; its values are text, number, true/false or {"value", "unit"}
    "number": "float64",  # NaN where empty
    "integer": "Int64",  # NA where empty
    "time": "datetime64[us, UTC]",  # NaT where empty
    "flag": "boolean",  # NA where empty
}
"""How a column is held in a frame. Integers and flags that may not be empty are plain int64 and bool (`Column.pandas_dtype`)."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    `required`: the shop's file must have the column. `nullable`: its cells may be empty. `values`: the only ones allowed.
    `user`: holds a user's id, which is stored as a pseudonym only. `minimum` and `maximum` are allowed values themselves, `above` is not.
    `filled`: what the shop leaves empty is filled in at the door. `folded`: capitals and blanks around don't matter.
    """

    name: str
    dtype: Dtype
    meaning: str
    example: str
    required: bool = False
    nullable: bool = True
    values: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    user: bool = False
    filled: bool = False
    folded: bool = False

    @property
    def pandas_dtype(self) -> str:
        if not self.nullable and self.dtype == "integer":
            return "int64"
        if not self.nullable and self.dtype == "flag":
            return "bool"
        return PANDAS_DTYPES[self.dtype]


@dataclass(frozen=True)
class Table:
    """One table: `key` is what no two rows share, `required` whether a shop must bring it."""

    name: str
    meaning: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    required: bool = False

    def __getitem__(self, column: str) -> Column:
        return next(each for each in self.columns if each.name == column)

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def empty(self) -> pd.DataFrame:
        """The table with no rows, with the dtypes it is stored with."""
        return pd.DataFrame({column.name: pd.Series([], dtype=column.pandas_dtype) for column in self.columns})


PRODUCTS = Table(
    name="products",
    meaning="The catalogue.",
    grain="One row per product, or per product and moment at which its offer changed (`valid_from`).",
    key=("product_id", "valid_from"),
    required=True,
    columns=(
        Column("product_id", "id", "The shop's id of the product, as the shop writes it.", "00017", required=True, nullable=False),
        Column("title", "text", "Name of the product, English (or the shop's first language).", "Porcelain Travel Mug", required=True),
        Column("title_zh", "text", "Name in Chinese.", "瓷马克杯"),
        Column(
            "description",
            "text",
            "What it is, in English; copy states nothing that is not in this table.",
            "A white travel mug made of porcelain. It weighs 0.5 kg.",
        ),
        Column("description_zh", "text", "What it is, in Chinese.", "白色马克杯，瓷制，重 0.5 kg。"),
        Column("category", "text", "The narrowest category it is in.", "Mugs"),
        Column("category_zh", "text", "That category's name in Chinese.", "马克杯"),
        Column("category_path", "text", "Categories from the widest to the narrowest, between ` > `.", "Kitchen > Drinking > Mugs"),
        Column("brand", "text", "Brand or maker.", "Ember & Ash"),
        Column("price", "number", "Price of one unit, in the shop's currency.", "11.90", minimum=0),
        Column("currency", "text", "ISO 4217 code; a shop has one currency.", "EUR"),
        Column("stock", "number", "Units on hand; empty = not known, 0 = sold out.", "17", minimum=0),
        Column(
            "attributes",
            "facts",
            'Facts as a JSON object: name -> text, number, true/false, or {"value", "unit"}.',
            '{"material": "porcelain", "colour": "white", "weight": {"value": 0.5, "unit": "kg"}, "handmade": false}',
        ),
        Column(
            "attributes_zh",
            "facts",
            "The same facts with Chinese names and values.",
            '{"材质": "瓷", "颜色": "白色", "重量": {"value": 0.5, "unit": "kg"}}',
        ),
        Column("image_url", "text", "Address of a picture.", "https://corner.example/img/00017.jpg"),
        Column("valid_from", "time", "Since when this row holds; empty = undated.", "2024-01-01T00:00:00+01:00"),
    ),
)

EVENTS = Table(
    name="events",
    meaning="What shoppers did and what was shown to them.",
    grain="One row per event; a purchase of three different products is three events.",
    key=("event_id",),
    required=True,
    columns=(
        Column("event_id", "id", "Id of the event; without the column it is made from the row's content.", "e-000204", nullable=False),
        Column("event_type", "id", "What happened.", "order", required=True, nullable=False, values=tuple(EventType)),
        Column("user_id", "id", "Who; empty = anonymous (the event counts for the product only).", "c-0043", required=True, user=True),
        Column("product_id", "id", "Which product; may be empty for `unsubscribe` only.", "00030", required=True),
        Column("event_time", "time", "When it happened.", "2024-02-13T10:54:02", required=True, nullable=False),
        Column(
            "arrived_at", "time", "When the shop's systems knew of it; without it, `event_time`.", "2024-02-13T10:54:04", nullable=False, filled=True
        ),
        Column(
            "sequence",
            "integer",
            "Breaks ties of `event_time`: smaller is earlier; without it, the order of rows.",
            "204",
            nullable=False,
            filled=True,
        ),
        Column("quantity", "number", "Units bought, put in the cart or sent back (a return is its own event type).", "2", above=0),
        Column("price", "number", "Price of one unit that was paid or shown, in the shop's currency.", "65.90", minimum=0),
        Column("rating", "number", "Stars of a review.", "4", minimum=1, maximum=5),
        Column("request_id", "id", "Request whose answer was shown or acted on.", "r-00a6"),
        Column("position", "integer", "Place on the shelf it was shown at, from 1.", "4", minimum=1),
        Column("channel", "id", "Where: site, push, email and so on.", "site", folded=True),
        Column("session_id", "id", "Visit or order it belongs to.", "s-1166"),
        Column(
            "context",
            "json",
            "Anything else, as a JSON object; `tone` and `aspect` of the copy that was shown.",
            '{"tone": "expert", "aspect": "quality"}',
        ),
    ),
)

USERS = Table(
    name="users",
    meaning="What the shop knows of its shoppers apart from events.",
    grain="One row per user.",
    key=("user_id",),
    columns=(
        Column("user_id", "id", "The shop's id of the user.", "c-0031", required=True, nullable=False, user=True),
        Column("created_at", "time", "Since when they are known.", "2023-08-15T09:12:00"),
        Column("country", "text", "Country of the user.", "FR"),
        Column("language", "text", "Language to write to them in.", "en"),
    ),
)

TIES = Table(
    name="ties",
    meaning="Whom users follow and which groups they belong to.",
    grain="One row per user and tie.",
    key=("user_id", "kind", "target"),
    columns=(
        Column("user_id", "id", "Who follows or belongs.", "c-0031", required=True, nullable=False, user=True),
        Column("kind", "id", "Sort of tie.", "follow", required=True, nullable=False, values=("follow", "group")),
        Column("target", "id", "The followed user's id, or the group's name.", "c-0042", required=True, nullable=False),
        Column("since", "time", "Since when; empty = always.", "2024-02-02T00:00:00"),
    ),
)

PREFERENCES = Table(
    name="preferences",
    meaning="What users said they like or dislike.",
    grain="One row per user, subject and moment.",
    key=("user_id", "subject_kind", "subject", "since"),
    columns=(
        Column("user_id", "id", "Who said so.", "c-0031", required=True, nullable=False, user=True),
        Column("sentiment", "id", "Which way.", "like", required=True, nullable=False, values=("like", "dislike")),
        Column(
            "subject_kind", "id", "Sort of subject.", "category", required=True, nullable=False, values=("category", "brand", "product", "attribute")
        ),
        Column("subject", "text", "The category, brand, product id or attribute value.", "Blankets", required=True, nullable=False),
        Column("since", "time", "Since when; empty = always.", "2024-02-02T00:00:00"),
    ),
)

CONSENTS = Table(
    name="consents",
    meaning="What users agreed to receive. Without this table nobody is written to.",
    grain="One row per user, channel and decision; the latest decision counts.",
    key=("user_id", "channel", "at"),
    columns=(
        Column("user_id", "id", "Whose decision.", "c-0031", required=True, nullable=False, user=True),
        Column("channel", "id", "The channel it is about: email, push and so on.", "email", required=True, nullable=False, folded=True),
        Column("granted", "flag", "true = may be written to, false = may not.", "yes", required=True, nullable=False),
        Column("at", "time", "When they decided; empty = before everything else.", "2024-01-15T10:00:00"),
    ),
)

CONTACTS = Table(
    name="contacts",
    meaning="Addresses. They are kept apart from the other tables (SQLite, mode 600) and read by channels only.",
    grain="One row per user and channel.",
    key=("user_id", "channel"),
    columns=(
        Column("user_id", "id", "Whose address.", "c-0031", required=True, nullable=False, user=True),
        Column("channel", "id", "The channel it belongs to.", "email", required=True, nullable=False, folded=True),
        Column("address", "text", "The address itself.", "reader.31@corner.example", required=True, nullable=False),
        Column("language", "text", "Language to write in, if it differs from the user's.", "en"),
    ),
)

TABLES: Mapping[str, Table] = {table.name: table for table in (PRODUCTS, EVENTS, USERS, TIES, PREFERENCES, CONSENTS, CONTACTS)}
"""Every table that a shop may bring, by name."""


@dataclass(frozen=True)
class Event:
    """One event as the service accepts it: fields are the columns of `EVENTS`, `user_id` is a pseudonym, times are aware."""

    event_id: str
    event_type: EventType
    user_id: str | None
    product_id: str | None
    event_time: datetime
    arrived_at: datetime
    sequence: int = 0
    quantity: float | None = None
    price: float | None = None
    rating: float | None = None
    request_id: str | None = None
    position: int | None = None
    channel: str | None = None
    session_id: str | None = None
    context: Mapping[str, Any] | None = None


def describe() -> str:
    """The tables as Markdown, for docs/data.md."""
    lines = []
    for table in TABLES.values():
        lines += [f"### {table.name}", "", f"{table.meaning} {table.grain} {'Required.' if table.required else 'Optional.'}", ""]
        lines += ["| column | type | required | may be empty | meaning | example |", "|---|---|---|---|---|---|"]
        for column in table.columns:
            limits = ", ".join(column.values) or _bounds(column)
            meaning = f"{column.meaning} ({limits})" if limits else column.meaning
            cells = (
                f"`{column.name}`",
                column.dtype,
                "yes" if column.required else "",
                "yes" if column.nullable or column.filled else "",
                meaning,
                f"`{column.example}`",
            )
            lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _bounds(column: Column) -> str:
    sides = ((column.minimum, "at least"), (column.above, "above"), (column.maximum, "at most"))
    return ", ".join(f"{word} {limit:g}" for limit, word in sides if limit is not None)


if __name__ == "__main__":
    print(describe(), end="")
