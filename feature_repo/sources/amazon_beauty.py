"""Amazon Beauty, 5-core (2014 crawl): the standard benchmark file for next-item recommendation. No prices, descriptions or images.

Publisher: Julian McAuley, UC San Diego, https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html (no licence stated; research use).
Reads `interactions.parquet` (user_idx, item_idx, asin, pos, timestamp) and `items.parquet` (asin, title, attributes; the last two may be missing).

A review stands for a purchase, because a reviewer bought the product and the file names no other act; it carries no stars, so it becomes one
`purchase` event. Times are whole days (midnight UTC); `pos`, the file's order within a user, becomes `sequence`.
"""

import html
from pathlib import Path

import numpy as np
import pandas as pd

from feature_repo.errors import FeatureRepoError
from feature_repo.shop import ShopConfig
from feature_repo.sources import ShopTables
from feature_repo.sources.tables import read_file

CONFIG = ShopConfig(name="Beauty", time_zone="UTC", repeat_buying=False)

DEPARTMENTS = {"Bath & Body", "Fragrance", "Hair Care", "Makeup", "Skin Care", "Tools & Accessories"}
"""The widest categories. An item's attributes are its brand, if the brand is frequent, and then its path, which begins with one of these."""


def read(folder: Path | None, progress: bool = False) -> ShopTables:
    """The benchmark as a shop.

    Raises:
        FeatureRepoError: no folder was named, or a file is missing or can't be read.
    """
    if folder is None:
        raise FeatureRepoError("Say where Amazon Beauty is: DATA=<folder with interactions.parquet and items.parquet>.")
    interactions, items = folder / "interactions.parquet", folder / "items.parquet"
    return ShopTables(
        config=CONFIG,
        tables={"products": _products(read_file(items)), "events": _events(read_file(interactions))},
        files={"products": str(items), "events": str(interactions)},
    )


def _events(interactions: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "event_id": [f"review-{row}" for row in range(1, len(interactions) + 1)],
            "event_type": "purchase",
            "user_id": interactions["user_idx"],
            "product_id": interactions["asin"],
            "event_time": interactions["timestamp"].dt.tz_localize("UTC"),
            "sequence": interactions["pos"],
            "quantity": 1,
        }
    )


def _products(items: pd.DataFrame) -> pd.DataFrame:
    given = items["attributes"] if "attributes" in items else pd.Series(None, index=items.index, dtype=object)
    labels = [[html.unescape(str(label)) for label in row] if np.iterable(row) else [] for row in given]
    paths = [row if not row or row[0] in DEPARTMENTS else row[1:] for row in labels]
    titles = items["title"] if "title" in items else pd.Series(None, index=items.index, dtype=object)
    return pd.DataFrame(
        {
            "product_id": items["asin"],
            "title": titles.map(lambda title: html.unescape(title) if isinstance(title, str) else None),
            "category_path": [" > ".join(path) or None for path in paths],
            "brand": [row[0] if row and row[0] not in DEPARTMENTS else None for row in labels],
        }
    )
