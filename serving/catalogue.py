"""The catalogue as it stands now: one row per product, as the shop wrote it, for names in Chinese and for the facts that copy may state."""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.home import ShopHome
from training.content.facts import FactLedger, ledger
from training.content.policy import HIDDEN

_MARKUP = re.compile(r"<!--.*?-->|</?[a-z][^<>]*>", re.IGNORECASE | re.DOTALL)


def plain_text(text: str) -> str:
    """A name without HTML, entities and invisible characters: `<b>Lamp</b> &amp; Shade` is "Lamp & Shade". May be empty.

    Angle brackets and braces that are left go too: in copy they mark places to fill in.
    """
    shown = _MARKUP.sub(" ", html.unescape(_MARKUP.sub(" ", text)))  # a tag's attributes may hold entities, and entities may spell a tag
    return " ".join(re.sub(r"[<>{}]", " ", HIDDEN.sub("", shown)).split())


def facts_of(row: Mapping[str, Any]) -> FactLedger:
    """The ledger of a product row, with its titles as plain text. Brand and category stay as the shop wrote them: dislikes name them so."""
    titles = {column: plain_text(value) for column in ("title", "title_zh") if isinstance(value := row.get(column), str)}
    return ledger({**row, **titles})


@dataclass(frozen=True)
class Catalogue:
    """Rows by product id. Ledgers are made when they are first asked for; a price that the shop did not write is the one of the features."""

    rows: Mapping[str, Mapping[str, Any]]
    currency: str | None
    _ledgers: dict[str, FactLedger] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, home: ShopHome, now: datetime, currency: str | None) -> "Catalogue":
        """The latest row of each product that holds at `now`; a product that begins later is there with its first row."""
        table = pq.read_table(home.tables / "products.parquet").sort_by([("valid_from", "ascending")])
        undated_first = pa.concat_tables([table.filter(pc.is_null(table["valid_from"])), table.filter(pc.is_valid(table["valid_from"]))])
        rows: dict[str, Mapping[str, Any]] = {}
        for row in undated_first.to_pylist():
            since = row["valid_from"]
            if row["product_id"] not in rows or since is None or since <= now:
                rows[row["product_id"]] = row
        return cls(rows, currency)

    def text(self, product_id: str, column: str) -> str | None:
        return self.rows.get(product_id, {}).get(column) or None

    def ledger(self, product_id: str, price: float | None) -> FactLedger | None:
        """The product's facts; `price` is what is shown beside it, and what copy says too. None for a product without a row."""
        found = self._ledgers.get(product_id)
        if found is None and (row := self.rows.get(product_id)):
            found = self._ledgers[product_id] = facts_of({**row, "price": price, "currency": self.currency or row.get("currency")})
        return found

    def brands(self) -> list[str]:
        return sorted({str(row["brand"]) for row in self.rows.values() if row.get("brand")})

    def chinese(self) -> dict[str, str]:
        """Category -> its Chinese name, where the shop wrote one."""
        return {str(row["category"]): str(row["category_zh"]) for row in self.rows.values() if row.get("category") and row.get("category_zh")}
