"""A shop's tables -> its home: read, check, pseudonymise, store. `make features` and `make train` begin here.

The stored tables are replaced all at once: a reader sees the old ones or the new ones, never some of each.
"""

import logging
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict

from feature_repo.errors import FeatureRepoError
from feature_repo.event_log import EventLog
from feature_repo.events import TABLES
from feature_repo.home import ShopHome
from feature_repo.settings import Settings
from feature_repo.shop import ShopConfig
from feature_repo.sources import reader
from feature_repo.validate import Checked, CheckedShop, validate

log = logging.getLogger(__name__)

HISTORICAL_AFTER = timedelta(days=2)
"""A shop whose last event is older than this is taken for a historical data set, and its clock goes on from that event."""
LATE_WITHIN = timedelta(days=2)
"""An arrival this long after the last event belongs to the history, and the clock goes on from it. A later one is the day of an export."""

STORED = tuple(name for name in TABLES if name != "contacts")


class TableReport(BaseModel):
    """Where the rows of one table went: read = accepted + the sum of set_aside (reason -> rows)."""

    model_config = ConfigDict(frozen=True)

    table: str
    read: int
    accepted: int
    set_aside: dict[str, int]


class IngestReport(BaseModel):
    """What one ingestion did; kept as `ingest_report.json` in the shop's home."""

    model_config = ConfigDict(frozen=True)

    shop: str
    source: str
    ingested_at: datetime
    seconds: float
    tables: tuple[TableReport, ...]
    notes: tuple[str, ...]

    def text(self) -> str:
        """The report as a table for a console."""
        lines = [f"{'table':<12}{'read':>10}{'accepted':>10}{'set aside':>11}  reason"]
        for table in self.tables:
            total = sum(table.set_aside.values())
            lines.append(f"{table.table:<12}{table.read:>10,}{table.accepted:>10,}{total:>11,}")
            lines += [f"{'':<32}{count:>11,}  {reason}" for reason, count in table.set_aside.items()]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def ingest(home: ShopHome, settings: Settings, source: str, folder: Path | None) -> IngestReport:
    """Bring a shop's tables into its home.

    `source` is a name in `sources.READERS`, anything else means a folder in our own format. Rows that break the contract go to
    `home.quarantine`; user ids are pseudonyms from here on; addresses go to `home.contacts_db` only.

    Raises:
        FeatureRepoError: the key is lost, a file or the event log can't be read, a table or column is missing, or not one product was accepted. The
            tables of an earlier ingestion stay as they were.
    """
    started = time.monotonic()
    pseudonyms = home.pseudonyms(settings)
    shop = reader(source)(folder, progress=sys.stderr.isatty())
    now = datetime.now(UTC)
    checked = validate(shop, pseudonyms, now)
    _write_quarantine(home, checked)
    report = IngestReport(
        shop=home.shop, source=source, ingested_at=now, seconds=round(time.monotonic() - started, 1),
        tables=tuple(_report(name, table) for name, table in checked.tables.items()), notes=checked.notes,
    )  # fmt: skip
    home.ingest_report_file.write_text(report.model_dump_json(indent=1))
    _require_products(home, checked)
    last = _last_known(home, checked)
    _write_tables(home, checked)
    _write_contacts(home, checked.tables["contacts"].accepted)
    about = {
        "source": source, "folder": None if folder is None else str(folder.resolve()), "config": checked.config.model_dump(mode="json"),
        "ingested_at": now.isoformat(),
    }  # fmt: skip
    home.write_manifest(lambda old: about | {"clock_offset_s": _clock_offset(old, about, last, now)})
    return report


def read_tables(home: ShopHome) -> dict[str, pd.DataFrame]:
    """The stored tables by name (all but contacts), with the dtypes of `events.TABLES`; `events` includes those posted to the service.

    Raises:
        FeatureRepoError: nothing was ingested yet.
    """
    if not home.tables.exists():
        raise FeatureRepoError(f"Shop '{home.shop}' has no tables yet: run `make features SHOP=<source> DATA=<folder>`.")
    folder = home.tables.resolve()  # one version, even if another is put in its place meanwhile
    tables = {name: _typed(pd.read_parquet(folder / f"{name}.parquet"), name) for name in STORED}
    posted = EventLog(home.events_db).read()
    posted = posted[~posted["event_id"].isin(tables["events"]["event_id"])]
    gone = posted["product_id"].notna() & ~posted["product_id"].isin(tables["products"]["product_id"])
    if gone.any():
        log.warning(
            "%d posted events are left out: their products are no longer in the catalogue (they stay in %s).", gone.sum(), home.events_db.name
        )
        posted = posted[~gone]
    if len(posted):
        both = pd.concat([tables["events"], posted], ignore_index=True)
        tables["events"] = both.sort_values(["event_time", "sequence"], kind="stable").reset_index(drop=True)
    return tables


def config(home: ShopHome) -> ShopConfig:
    """How the shop was read; `currency` is filled in where its products named one.

    Raises:
        FeatureRepoError: nothing was ingested yet.
    """
    written = home.manifest().get("config")
    if written is None:
        raise FeatureRepoError(f"Shop '{home.shop}' has no tables yet: run `make features SHOP=<source> DATA=<folder>`.")
    return ShopConfig.model_validate(written)


def _typed(frame: pd.DataFrame, table: str) -> pd.DataFrame:
    return frame.astype({column.name: column.pandas_dtype for column in TABLES[table].columns})


def _report(name: str, table: Checked) -> TableReport:
    return TableReport(table=name, read=table.read, accepted=len(table.accepted), set_aside=table.reasons)


def _require_products(home: ShopHome, checked: CheckedShop) -> None:
    products = checked.tables["products"]
    if products.read and products.accepted.empty:
        reason, count = next(iter(products.reasons.items()))
        raise FeatureRepoError(f"None of {products.read} products was accepted; {count} because of: {reason}. The rows are in {home.quarantine}.")


def _write_quarantine(home: ShopHome, checked: CheckedShop) -> None:
    part = Path(tempfile.mkdtemp(prefix="quarantine-", dir=home.root))
    for name, table in checked.tables.items():
        table.quarantined.to_parquet(part / f"{name}.parquet", index=False)
    _put_in_place(part, home.quarantine)


def _write_tables(home: ShopHome, checked: CheckedShop) -> None:
    part = Path(tempfile.mkdtemp(prefix="tables-", dir=home.root))
    for name in STORED:
        checked.tables[name].accepted.to_parquet(part / f"{name}.parquet", index=False)
    _put_in_place(part, home.tables)


def _put_in_place(version: Path, link: Path) -> None:
    """Point `link` at a new version in one step. The version before stays for readers that have it open; older ones are deleted."""
    before = link.readlink().name if link.is_symlink() else ""
    if link.is_dir() and not link.is_symlink():
        link.rename(link.with_name(f"{link.name}-before"))
    fresh = link.with_name(f"{version.name}.link")
    fresh.symlink_to(version.name)
    fresh.replace(link)
    for old in link.parent.glob(f"{link.name}-*"):
        if old.is_dir() and old.name not in (version.name, before):
            shutil.rmtree(old)


def _write_contacts(home: ShopHome, contacts: pd.DataFrame) -> None:
    """Addresses into their own SQLite file, readable by its owner only from the first byte on."""
    part = home.contacts_db.with_suffix(".part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    connection = sqlite3.connect(part)
    with connection:
        columns = "user_id TEXT NOT NULL, channel TEXT NOT NULL, address TEXT NOT NULL, language TEXT"
        connection.execute(f"CREATE TABLE contacts ({columns}, PRIMARY KEY (user_id, channel))")
        connection.executemany("INSERT INTO contacts VALUES (?, ?, ?, ?)", contacts[TABLES["contacts"].names].itertuples(index=False, name=None))
    connection.close()
    part.replace(home.contacts_db)


def _last_known(home: ShopHome, checked: CheckedShop) -> datetime | None:
    """The latest moment that the shop knows of: the last event of its files, the last arrival soon after it, the last event posted to the service.

    Raises:
        FeatureRepoError: the posted events can't be read.
    """
    events, posted = checked.tables["events"].accepted, EventLog(home.events_db).read()
    last = events["event_time"].max()
    late = events["arrived_at"][events["arrived_at"] <= last + LATE_WITHIN]
    known = [moment for moment in (last, late.max(), posted["arrived_at"].max()) if not pd.isna(moment)]
    return max(known).to_pydatetime() if known else None


def _clock_offset(old: dict[str, Any], about: dict[str, Any], last: datetime | None, now: datetime) -> float:
    """Seconds of wall time minus shop time: 0 for a live shop, of a historical one the time since its last known moment.

    A clock never goes back: it goes on as it was, unless newer events came. So nothing that was posted or decided meanwhile lies in the future, and
    a live shop whose feed stands still stays live.
    """
    before = old.get("clock_offset_s")
    if last is None:
        return 0.0 if before is None else float(before)
    wanted = 0.0 if now - last <= HISTORICAL_AFTER else (now - last).total_seconds()
    if before is None or wanted <= before:
        return wanted
    shown = now - timedelta(seconds=before)
    if shown - last > HISTORICAL_AFTER and (old.get("source"), old.get("folder")) != (about["source"], about["folder"]):
        log.warning(
            "The clock of '%s' stays at %s, although its last event is of %s: a clock never goes back. If other data took the place of the old ones, "
            "`make reset SHOP=%s` and read them again.", old["shop"], f"{shown:%Y-%m-%d %H:%M}", f"{last:%Y-%m-%d %H:%M}", old["shop"],
        )  # fmt: skip
    return float(before)
