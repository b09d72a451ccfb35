"""Where shops come from: a name -> reader table. Every reader yields the same tables.

A reader is `read(folder: Path | None, progress: bool = False) -> ShopTables`. A name that is not listed is a folder in our own format.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import pandas as pd

from feature_repo.shop import ShopConfig

READERS: Mapping[str, str] = {
    "demo": "feature_repo.sources.demo.shop",
    "online_retail": "feature_repo.sources.online_retail",
    "amazon_beauty": "feature_repo.sources.amazon_beauty",
}
"""Source -> module that holds its `read`. Imported when asked for, because the simulator is large."""

FOLDER = "feature_repo.sources.tables"


@dataclass(frozen=True)
class ShopTables:
    """A shop as its source wrote it: our column names, the shop's raw ids and values, nothing checked yet.

    `tables`: name -> rows; a table that the shop does not bring is not in it. `set_aside`: rows that the source itself
    recognises as not belonging (postage, stock corrections), with a `reason` column; they are kept in quarantine.
    `files`: table -> the file it was read from, for messages.
    """

    config: ShopConfig
    tables: Mapping[str, pd.DataFrame]
    set_aside: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


class Reader(Protocol):
    def __call__(self, folder: Path | None, progress: bool = False) -> ShopTables: ...


def reader(source: str) -> Reader:
    """The reader of a source; of a folder in our own format for any name that is not listed."""
    return cast(Reader, import_module(READERS.get(source, FOLDER)).read)
