"""A shop's own folder: one Parquet or CSV file per table, and an optional `shop.toml`. docs/data.md describes every column."""

import csv
import logging
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as parquet

from feature_repo.errors import FeatureRepoError
from feature_repo.events import TABLES
from feature_repo.shop import ShopConfig
from feature_repo.sources import ShopTables

log = logging.getLogger(__name__)

ENDINGS = (".parquet", ".csv", ".csv.gz")


def read(folder: Path | None, progress: bool = False) -> ShopTables:
    """Every table the folder holds, under our column names, values as written (CSV cells stay text, so "007" stays "007").

    Raises:
        FeatureRepoError: no folder, no such folder, a required table is missing, two files for one table, a file that can't be read, a
            column that shop.toml names and the file does not have, or one that the file has and shop.toml gives a constant for.
    """
    if folder is None:
        raise FeatureRepoError("Say where the shop's tables are: DATA=<folder with products and events as Parquet or CSV>.")
    if not folder.is_dir():
        raise FeatureRepoError(f"{folder} is no folder. DATA must name the folder that holds the shop's tables.")
    config = ShopConfig.read(folder)
    tables, files = {}, {}
    for name, table in TABLES.items():
        file = _find(folder, name, config)
        if file is None and table.required:
            raise FeatureRepoError(
                f'{folder} holds no {name}.parquet or {name}.csv. If it is called otherwise, say so in shop.toml: [files] {name} = "…".'
            )
        if file is not None:
            log.info("reading %s", file.name)
            tables[name], files[name] = _ours(read_file(file), name, file, config), str(file)
    return ShopTables(config, tables, files=files)


def read_file(file: Path) -> pd.DataFrame:
    """A Parquet file (or a folder of its parts) or a CSV file.

    CSV: UTF-8 with or without a byte order mark, a header, commas (or semicolons or tabs, if the header has more of those), quotes as in RFC 4180.

    Raises:
        FeatureRepoError: it can't be read; the message names the file and, for CSV, the row.
    """
    try:
        if ".csv" in file.suffixes:
            return _read_csv(file)
        frame: pd.DataFrame = _as_text(parquet.read_table(file)).to_pandas()
        return frame
    except (pa.ArrowException, csv.Error, OSError, ValueError) as error:
        fault = _fault(file, error)
        raise FeatureRepoError(f"{file} can't be read: {fault}. Mend or remove it; nothing was changed.") from error


def _as_text(table: pa.Table) -> pa.Table:
    """Binary columns as text. Some writers of Parquet don't mark text as text, and some mark as text what is none.

    Raises:
        ValueError: a column of text or bytes is not UTF-8.
    """
    for index, field in enumerate(table.schema):
        column = table.column(index)
        try:
            if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
                table = table.set_column(index, field.name, column.cast(pa.string()))
            elif pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
                column.validate(full=True)
        except pa.ArrowInvalid as error:
            raise ValueError(f"column '{field.name}' holds bytes that are no UTF-8 text") from error
    return table


def _read_csv(file: Path) -> pd.DataFrame:
    with pa.input_stream(str(file), compression="detect") as stream:
        content = stream.read()
    content += b"" if content.endswith(b"\n") or not content else b"\n"
    if content.count(b'"') % 2:
        raise ValueError('a quote (") is opened and never closed')
    header = content[: content.find(b"\n") if b"\n" in content else None].decode("utf-8-sig")
    if not header.strip():
        raise ValueError("it is empty, without even a header")
    if "\r" in header.strip("\r\n"):
        raise ValueError("its lines end with CR alone (save it with LF or CR LF)")
    delimiter = max(",;\t", key=header.count)
    names = next(csv.reader([header.strip("\r\n")], delimiter=delimiter))
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"column {', '.join(repeated)} occurs twice in the header")
    frame: pd.DataFrame = arrow_csv.read_csv(
        pa.BufferReader(content),
        read_options=arrow_csv.ReadOptions(use_threads=False),  # only then does an error name the row
        parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=True
        ),
    ).to_pandas()
    return frame


def _fault(file: Path, error: Exception) -> str:
    """What is wrong, without the row's content: it may hold an address."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "UTF8" in text or isinstance(error, UnicodeDecodeError):
        return f"line {_first_foreign_line(file)} is not UTF-8 (save it as CSV UTF-8)"
    if text.startswith("CSV parse error: Row #"):
        row, _, rest = text.removeprefix("CSV parse error: Row #").partition(": ")
        return f"row {row} (the header is row 1): {rest.split(':')[0].lower()}"
    return text.rstrip(".")


def _first_foreign_line(file: Path) -> int:
    with pa.input_stream(str(file), compression="detect") as stream:
        for number, line in enumerate(stream.read().split(b"\n"), start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 0


def _find(folder: Path, table: str, config: ShopConfig) -> Path | None:
    if table in config.files:
        file = folder / config.files[table]
        if not file.exists():
            raise FeatureRepoError(f"{folder / 'shop.toml'} names {config.files[table]} for {table}, but {file} is not there.")
        return file
    found = [folder / f"{table}{ending}" for ending in ENDINGS if (folder / f"{table}{ending}").exists()]
    if (folder / table).is_dir():
        found.append(folder / table)
    if len(found) > 1:
        raise FeatureRepoError(f"{folder} holds {table} more than once ({', '.join(file.name for file in found)}): keep one.")
    return found[0] if found else None


def _ours(raw: pd.DataFrame, table: str, file: Path, config: ShopConfig) -> pd.DataFrame:
    """The table under our column names, with the constants that shop.toml gives."""
    raw = raw.rename(columns=lambda name: str(name).strip())
    mapped = config.columns.get(table, {})
    if missing := sorted(set(mapped.values()) - set(raw.columns)):
        raise FeatureRepoError(
            f"{file} has no column '{missing[0]}', which shop.toml names in [columns.{table}]. The file has {', '.join(raw.columns)}."
        )
    ours = {our: raw[theirs] for our, theirs in mapped.items()}
    rest = {name: raw[name] for name in raw.columns if name not in mapped and name not in mapped.values()}
    frame = pd.DataFrame({**rest, **ours}, index=raw.index)
    constants = config.constants.get(table, {})
    if doubled := [name for name in constants if name in frame]:
        raise FeatureRepoError(
            f"{file} has a column for {doubled[0]} ('{mapped.get(doubled[0], doubled[0])}'), and shop.toml gives it the same value in every row: "
            f"remove [constants.{table}] {doubled[0]}, or the column."
        )
    return frame.assign(**constants)
