"""The door: a shop's rows are accepted, or set aside with a reason. Rows in = accepted + quarantined, always.

Two kinds of outcome. A fault of a whole file (a required table or column is missing) is an error that names the cure. A fault of a row puts
the row into quarantine with the first reason found, in the order: unreadable value, empty or disallowed value, rule of its table, repeated key.
docs/data.md lists every outcome. User ids leave here as pseudonyms only, in accepted and quarantined rows alike; of a contact that is set
aside only row number and reason are kept.
"""

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from textwrap import shorten

import numpy as np
import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.errors import FeatureRepoError
from feature_repo.events import TABLES, Column, EventType, Table
from feature_repo.home import Pseudonyms
from feature_repo.shop import IGNORE, ShopConfig
from feature_repo.sources import ShopTables
from feature_repo.values import Masks, empty_column, read_column

CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far ahead of our clock a shop's may run before its times count as lying in the future."""

REPEATED = "repeats an earlier row"
CONFLICT = "contradicts an earlier row with the same key"
UNKNOWN_PRODUCT = "unknown product"
SET_ASIDE_PRODUCT = "product was set aside"
DOUBTFUL_CONSENT = "withheld: another row about this user's consent was set aside"
NOTED_EXAMPLES, NOTED_CHARACTERS = 3, 60
"""How many preferences that match nothing a note quotes, and how much of each."""


@dataclass(frozen=True)
class Checked:
    """One table after the check.

    `accepted`: our columns and dtypes, one row per accepted row. `quarantined`: `reason`, `row` (from 1, as in the file), then our columns
    as the shop wrote them (text).
    """

    table: Table
    accepted: pd.DataFrame
    quarantined: pd.DataFrame
    read: int

    def __post_init__(self) -> None:
        if self.read != len(self.accepted) + len(self.quarantined):
            raise AssertionError(f"{self.table.name}: {self.read} rows read, {len(self.accepted)} accepted, {len(self.quarantined)} set aside")

    @property
    def reasons(self) -> dict[str, int]:
        """Rows set aside by reason, most first."""
        return {str(reason): int(count) for reason, count in self.quarantined["reason"].value_counts().items()}


@dataclass(frozen=True)
class CheckedShop:
    """A shop whose every row is accounted for. `config.currency` is the shop's currency where any was found; `notes` are for a person to read."""

    config: ShopConfig
    tables: Mapping[str, Checked]
    notes: tuple[str, ...] = ()


@dataclass
class _Rows:
    """A table under examination: raw and typed rows side by side, and per row the first fault found ("" = none)."""

    table: Table
    raw: pd.DataFrame
    typed: pd.DataFrame
    fault: np.ndarray
    absent: frozenset[str]
    notes: list[str] = field(default_factory=list)

    def set_aside(self, mask: np.ndarray | pd.Series, reason: str) -> None:
        self.fault[np.asarray(mask, dtype=bool) & (self.fault == "")] = reason

    @property
    def good(self) -> np.ndarray:
        return np.asarray(self.fault == "", dtype=bool)

    def count(self, mask: np.ndarray | pd.Series) -> int:
        return int((np.asarray(mask, dtype=bool) & self.good).sum())


def validate(shop: ShopTables, pseudonyms: Pseudonyms, now: datetime) -> CheckedShop:
    """Check every table of a shop; tables it did not bring come back empty.

    Raises:
        FeatureRepoError: a required table or column is missing.
    """
    rows = {name: _read(table, shop, pseudonyms) for name, table in TABLES.items()}
    for each in rows.values():
        _check_schema(each)
        _check_times(each, now)
    config = _check_products(rows["products"], shop.config)
    _check_repeats(rows["products"])
    _check_events(rows["events"], rows["products"], config)
    _check_ties(rows["ties"])
    _check_preferences(rows["preferences"], rows["products"])
    _check_contacts(rows["contacts"])
    for name in ("events", "users", "ties", "preferences", "consents", "contacts"):
        _check_repeats(rows[name])
    _note_preferences(rows["preferences"], rows["products"])
    _withhold_doubtful_consents(rows["consents"], rows["events"])
    notes = [note for each in rows.values() for note in each.notes]
    return CheckedShop(config, {name: _split(each, shop.set_aside.get(name), pseudonyms) for name, each in rows.items()}, tuple(notes))


@cache
def schema(table: str) -> pandera.DataFrameSchema:
    """The Pandera schema of a table, built from its declaration. It says what one cell may hold; rules across cells and tables are below."""
    return pandera.DataFrameSchema(
        {
            column.name: pandera.Column(_dtype(column), checks=_checks(column), nullable=column.nullable or column.filled)
            for column in TABLES[table].columns
        },
        strict=True,
        name=table,
    )


def _dtype(column: Column) -> str:
    return {"integer": "Int64", "flag": "boolean"}.get(column.dtype, column.pandas_dtype)


def _checks(column: Column) -> list[pandera.Check]:
    checks = []
    if column.values:
        checks.append(pandera.Check.isin(column.values, error=f"not one of {', '.join(column.values)}"))
    if column.minimum is not None:
        checks.append(pandera.Check.ge(column.minimum, error=f"below {column.minimum:g}"))
    if column.above is not None:
        checks.append(pandera.Check.gt(column.above, error=f"not above {column.above:g}"))
    if column.maximum is not None:
        checks.append(pandera.Check.le(column.maximum, error=f"above {column.maximum:g}"))
    return checks


def _read(table: Table, shop: ShopTables, pseudonyms: Pseudonyms) -> _Rows:
    """Typed rows of one table, unreadable values marked, users as pseudonyms, generated columns filled in."""
    if table.name not in shop.tables and table.required:
        raise FeatureRepoError(f"The shop has no table '{table.name}': it needs {', '.join(name for name in TABLES if TABLES[name].required)}.")
    raw = shop.tables.get(table.name, table.empty()).reset_index(drop=True)
    _require_columns(table, raw, shop)
    if table.name == "events":
        raw = _translate_event_types(raw, shop.config)
    typed, masks = {}, Masks()
    for column in table.columns:
        if column.name in raw:
            typed[column.name], found = read_column(column, raw[column.name], shop.config.zone)
            masks += found
        else:
            typed[column.name] = empty_column(column, raw.index)
    rows = _Rows(table, raw, pd.DataFrame(typed, index=raw.index), np.full(len(raw), "", dtype=object), frozenset(set(table.names) - set(raw)))
    for mask, reason in masks:
        rows.set_aside(mask, reason)
    _pseudonymise(rows.typed, table, pseudonyms)
    if table.name == "events":
        _fill_events(rows)
    if unused := [name for name in raw.columns if name not in table.names]:
        rows.notes.append(f"{table.name}: columns not used: {', '.join(map(str, unused))}")
    return rows


def _require_columns(table: Table, raw: pd.DataFrame, shop: ShopTables) -> None:
    where = shop.files.get(table.name, f"table '{table.name}'")
    for column in table.columns:
        if column.required and column.name not in raw:
            raise FeatureRepoError(
                f"{where} has no column '{column.name}' (it has {', '.join(map(str, raw.columns)) or 'none'}). "
                f'Add it, or say in shop.toml what the shop calls it: [columns.{table.name}] {column.name} = "<its name>"{_instead(table, column)}.'
            )


def _instead(table: Table, column: Column) -> str:
    """What else a shop may do that does not have the column. One user for all rows is never meant."""
    if column.user:
        return f"; if every visitor is anonymous, add an empty column '{column.name}'" if column.nullable else ""
    return f'; if every row has the same value: [constants.{table.name}] {column.name} = "<value>"'


def _translate_event_types(raw: pd.DataFrame, config: ShopConfig) -> pd.DataFrame:
    if not config.event_types:
        return raw
    words = raw["event_type"].astype("string").str.strip()
    return raw.assign(event_type=words.map(dict(config.event_types)).fillna(words).astype(object))


def _pseudonymise(frame: pd.DataFrame, table: Table, pseudonyms: Pseudonyms) -> None:
    """Replace user ids in place. The target of a tie is one unless the tie is to a group."""
    for column in table.columns:
        if column.user:
            frame[column.name] = _pseudonyms(frame[column.name], pseudonyms)
    if table.name == "ties":
        person = frame["kind"].ne("group") & frame["target"].notna()
        frame["target"] = _pseudonyms(frame["target"].where(person), pseudonyms).where(person, frame["target"])


def _pseudonyms(ids: pd.Series, pseudonyms: Pseudonyms) -> pd.Series:
    codes, uniques = pd.factorize(ids)
    hidden = np.array([pseudonyms.user(str(each)) for each in uniques] + [None], dtype=object)
    return pd.Series(hidden[codes], index=ids.index, dtype=object)


def _fill_events(rows: _Rows) -> None:
    events = rows.typed
    events["arrived_at"] = events["arrived_at"].fillna(events["event_time"])
    events["sequence"] = events["sequence"].fillna(pd.Series(np.arange(1, len(events) + 1), index=events.index, dtype="Int64"))
    if "event_id" in rows.absent:
        events["event_id"], again = content_ids(events)
        if again:
            rows.notes.append(
                f"events: {again} rows without an event_id equal an earlier row; they are kept, because nothing tells a repeat from a second one"
            )


def content_ids(events: pd.DataFrame) -> tuple[pd.Series, int]:
    """Ids for events that have none, and how many rows equal an earlier one.

    `h_` and 24 hex digits of SHA-256 over what happened, to whom (pseudonym) and when; `-2`, `-3` … for equal rows. The same row gets the same
    id however often and in whatever order the shop's file is read.
    """
    names = [name for name in events if name not in ("event_id", "arrived_at", "sequence")]
    parts = [pc.fill_null(pa.array(_plain(events[name]), from_pandas=True).cast(pa.string()), "") for name in names]
    lines = pc.binary_join_element_wise(*parts, "\x1f").to_pylist() if len(events) else []
    ids = pd.Series([f"h_{hashlib.sha256(line.encode()).hexdigest()[:24]}" for line in lines], index=events.index, dtype=object)
    shared = ids[ids.duplicated(keep=False)]
    again = shared.groupby(shared, sort=False).cumcount()
    again = again[again > 0]
    ids[again.index] = shared[again.index] + "-" + (again + 1).astype(str)
    return ids, len(again)


def _plain(column: pd.Series) -> pd.Series:
    return column.dt.tz_convert(None).astype("int64") if isinstance(column.dtype, pd.DatetimeTZDtype) else column


def _check_schema(rows: _Rows) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # Pandera concatenates empty frames on its way to the failure cases
            schema(rows.table.name).validate(rows.typed, lazy=True)
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases
        if cases["index"].isna().any():
            raise AssertionError(f"{rows.table.name} was typed wrongly: {cases[cases['index'].isna()].iloc[0].to_dict()}") from error
        for (column, check), found in cases.groupby(["column", "check"], sort=False)["index"]:
            mask = np.zeros(len(rows.typed), dtype=bool)
            mask[found.to_numpy(dtype="int64")] = True
            rows.set_aside(mask, f"{column}: {'empty' if check == 'not_nullable' else check}")


def _check_times(rows: _Rows, now: datetime) -> None:
    latest = pd.Timestamp(now + CLOCK_TOLERANCE)
    for column in rows.table.columns:
        if column.dtype == "time":
            rows.set_aside(rows.typed[column.name] > latest, f"{column.name}: in the future")


def _check_products(rows: _Rows, config: ShopConfig) -> ShopConfig:
    """Set products in a foreign currency aside and complete categories. Returns the config with the shop's currency."""
    products = rows.typed
    products["currency"] = products["currency"].str.strip().str.upper() if len(products) else products["currency"]
    coded = products["currency"].astype("string").str.fullmatch(r"[A-Z]{3}").fillna(True).astype(bool)
    rows.set_aside(~coded, "currency: no ISO 4217 code")
    named = products["currency"][rows.good & products["currency"].notna()]
    currency = config.currency or (str(named.mode().iloc[0]) if len(named) else None)
    if currency:
        rows.set_aside(products["currency"].notna() & (products["currency"] != currency), "currency: not the shop's currency")
        products["currency"] = products["currency"].fillna(currency)
    elif rows.count(products["price"].notna()):
        rows.notes.append('products: prices without a currency; copy can\'t state them until shop.toml says currency = "EUR" (or another)')
    _complete_categories(products)
    dated = products["valid_from"].notna()
    if undated := rows.count(~dated):
        rows.notes.append(f"products: {undated} undated rows (no valid_from); their price and stock of the past come from events, if at all")
    return config.model_copy(update={"currency": currency})


def _complete_categories(products: pd.DataFrame) -> None:
    """A path from the category or the category from the path, whichever is missing; separators are written ` > `."""
    path = products["category_path"].str.split(r"\s*>\s*", regex=True).str.join(" > ").str.strip() if len(products) else products["category_path"]
    leaf = path.str.rsplit(" > ", n=1).str[-1] if len(products) else path
    products["category_path"] = _objects(path.where(path.notna(), products["category"]))
    products["category"] = _objects(products["category"].where(products["category"].notna(), leaf))


def _objects(column: pd.Series) -> pd.Series:
    """Strings with None, not NaN, where empty."""
    cells = column.to_numpy(dtype=object, copy=True)
    cells[column.isna().to_numpy()] = None
    return pd.Series(cells, index=column.index, dtype=object)


def _check_events(rows: _Rows, products: _Rows, config: ShopConfig) -> None:
    events = rows.typed
    unsubscribe = events["event_type"].eq(EventType.UNSUBSCRIBE)
    ignored = (rows.raw["event_type"] == IGNORE).to_numpy(dtype=bool) if IGNORE in config.event_types.values() else np.zeros(len(events), dtype=bool)
    rows.fault[ignored] = "event_type: shop.toml says to ignore it"
    if "currency" in rows.raw and config.currency:
        written = rows.raw["currency"].astype("string").str.strip().str.upper()
        rows.set_aside(written.notna() & written.ne("") & written.ne(config.currency), "currency: not the shop's currency")
    rows.set_aside(events["product_id"].isna() & ~unsubscribe, "product_id: empty")
    rows.set_aside(events["user_id"].isna() & unsubscribe, "user_id: empty in an unsubscribe")
    _check_product_ids(rows, "product_id", ~unsubscribe, products)


def _check_product_ids(rows: _Rows, column: str, where: pd.Series, products: _Rows) -> None:
    ids = rows.typed[column].where(where)
    known = set(products.typed["product_id"][products.good])
    seen = set(products.typed["product_id"].dropna()) - known
    missing = ids.notna() & ~ids.isin(known)
    rows.set_aside(missing & ids.isin(seen), f"{column}: {SET_ASIDE_PRODUCT}")
    rows.set_aside(missing, f"{column}: {UNKNOWN_PRODUCT}")


def _check_ties(rows: _Rows) -> None:
    rows.set_aside(rows.typed["kind"].eq("follow") & rows.typed["user_id"].eq(rows.typed["target"]), "target: a user who follows themselves")


def _check_preferences(rows: _Rows, products: _Rows) -> None:
    _check_product_ids(rows, "subject", rows.typed["subject_kind"].eq("product"), products)


def _note_preferences(rows: _Rows, products: _Rows) -> None:
    """Say how many accepted preferences move nothing: no product has their category (at any level of a path) or brand, or an attribute is meant."""
    catalogue, stated = products.typed[products.good], rows.typed[rows.good]
    levels = catalogue["category_path"].dropna().astype(str).str.split(" > ").explode()
    known = {"category": {*catalogue["category"].dropna(), *levels}, "brand": set(catalogue["brand"].dropna())}
    said = list(zip(stated["subject_kind"], stated["subject"], strict=True))
    lost = [f"{kind} '{shorten(subject, NOTED_CHARACTERS)}'" for kind, subject in said if kind in known and subject not in known[kind]]
    if lost:
        named = list(dict.fromkeys(lost))
        more = ", …" if len(named) > NOTED_EXAMPLES else ""
        rows.notes.append(
            f"preferences: {len(lost)} name a category or brand that no product has ({', '.join(named[:NOTED_EXAMPLES])}{more}); "
            "they are kept, and matter once a product has it: write subjects as products does, capitals included"
        )
    if attributes := sum(kind == "attribute" for kind, _ in said):
        rows.notes.append(f"preferences: {attributes} about attributes; they are kept and only counted among the user's likes and dislikes")


def _check_contacts(rows: _Rows) -> None:
    """An e-mail address is one word with one @ and a dot behind it; nothing that could end a header line is let through in any address."""
    address = rows.typed["address"].astype("string").fillna("")
    rows.set_aside(address.str.contains(r"[\x00-\x1f\x7f]", regex=True), "address: control characters")
    email = rows.typed["channel"].eq("email").to_numpy(dtype=bool)
    fits = address.str.fullmatch(r"[^@\s<>,;]{1,64}@[^@\s<>,;]+\.[^@\s<>,;]+").to_numpy(dtype=bool) & (address.str.len() <= 254).to_numpy(dtype=bool)
    rows.set_aside(email & ~fits, "address: not an e-mail address")


def _check_repeats(rows: _Rows) -> None:
    """Of rows with the same key the first is kept; an equal one repeats it, another contradicts it. What we filled in is not compared."""
    chosen = np.flatnonzero(rows.good)
    keys = rows.typed[list(rows.table.key)].iloc[chosen]
    repeated = keys.duplicated(keep="first").to_numpy()
    if not repeated.any():
        return
    groups = keys.groupby(list(keys), dropna=False, sort=False).ngroup().to_numpy()
    first = np.full(groups.max() + 1, -1)
    first[groups[~repeated]] = np.flatnonzero(~repeated)
    compared = [name for name in rows.typed if name not in rows.absent or name == "event_id"]
    later, earlier = rows.typed[compared].iloc[chosen[repeated]], rows.typed[compared].iloc[chosen[first[groups[repeated]]]]
    same = np.ones(len(later), dtype=bool)
    for name in compared:
        mine, theirs = later[name].reset_index(drop=True), earlier[name].reset_index(drop=True)
        same &= ((mine == theirs).fillna(False) | (mine.isna() & theirs.isna())).to_numpy(dtype=bool)
    rows.fault[chosen[repeated]] = np.where(same, REPEATED, CONFLICT)


def _withhold_doubtful_consents(consents: _Rows, events: _Rows) -> None:
    """A row that can't be read may have been a refusal: whoever it is about is not written to."""
    doubtful: set[str] = set()
    for rows, about in ((consents, None), (events, events.typed["event_type"].eq(EventType.UNSUBSCRIBE).to_numpy(dtype=bool))):
        broken = ~rows.good & (rows.fault != REPEATED) & (True if about is None else about)
        doubtful |= set(rows.typed["user_id"][broken].dropna())
    consents.set_aside(consents.typed["granted"].fillna(False) & consents.typed["user_id"].isin(doubtful), DOUBTFUL_CONSENT)


def _split(rows: _Rows, source_rejects: pd.DataFrame | None, pseudonyms: Pseudonyms) -> Checked:
    table, good = rows.table, rows.good
    order = rows.typed.loc[good, _order(table)].sort_values(_order(table), kind="stable", na_position="first").index
    accepted = rows.typed.iloc[order].reset_index(drop=True).astype({column.name: column.pandas_dtype for column in table.columns}, copy=False)
    rejected = _quarantine(table, rows.raw[~good], rows.typed[~good], rows.fault[~good], rows.raw.index[~good].to_numpy() + 1)
    if source_rejects is not None and len(source_rejects):
        rejected = pd.concat([_source_quarantine(table, source_rejects, pseudonyms), rejected], ignore_index=True)
    return Checked(table, accepted, rejected, len(rows.raw) + (0 if source_rejects is None else len(source_rejects)))


def _order(table: Table) -> list[str]:
    return ["event_time", "sequence"] if table.name == "events" else list(table.key)


def _source_quarantine(table: Table, rejects: pd.DataFrame, pseudonyms: Pseudonyms) -> pd.DataFrame:
    rejects = rejects.reset_index(drop=True)
    typed = pd.DataFrame({name: rejects[name].astype("string").astype(object) for name in table.names if name in rejects}, index=rejects.index)
    for column in table.columns:
        if column.name not in typed:
            typed[column.name] = None
    _pseudonymise(typed, table, pseudonyms)
    number = rejects["row"] if "row" in rejects else rejects.index + 1
    return _quarantine(table, rejects, typed, rejects["reason"].to_numpy(dtype=object), np.asarray(number))


def _quarantine(table: Table, raw: pd.DataFrame, typed: pd.DataFrame, reason: np.ndarray, number: np.ndarray) -> pd.DataFrame:
    """Rows as they were written, as text, with users as pseudonyms. Of contacts nothing but reason and row."""
    kept = {"reason": reason, "row": np.asarray(number, dtype="int64")}
    if table.name != "contacts":
        hidden = {column.name for column in table.columns if column.user} | ({"target"} if table.name == "ties" else set())
        for name in table.names:
            written = typed[name] if name in hidden else raw[name] if name in raw else pd.Series(None, index=raw.index, dtype=object)
            kept[name] = _objects(written.astype("string")).to_numpy()
    return pd.DataFrame(kept)
