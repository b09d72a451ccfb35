"""The files of a protocol."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from training.errors import TrainingError

RANKING = ("interactions.parquet", "items.parquet")


def read_files(folder: Path, names: Sequence[str], shape: str) -> list[pd.DataFrame]:
    """The Parquet files `names`, in order; `shape` is the data set that has them.

    Raises:
        TrainingError: a file is missing or can't be read.
    """
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise TrainingError(f"{folder} has no {' and no '.join(missing)}: name a folder in the shape of {shape}.")
    return [_read(folder / name) for name in names]


def read_ranking(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What people took (user_idx, asin, timestamp, UTC without a zone, and what else there is) and the catalogue (asin, ...).

    Raises:
        TrainingError: a file or a column is missing, a value that must be there is not, a product stands twice or is not in the catalogue.
    """
    interactions, items = read_files(folder, RANKING, "amazon_beauty")
    acts, catalogue = (folder / name for name in RANKING)
    _filled(acts, interactions, ("user_idx", "asin", "timestamp"))
    _filled(catalogue, items, ("asin",))
    if items["asin"].duplicated().any():
        raise TrainingError(f"{catalogue}: column asin has the same product twice; each one has a row of its own.")
    strange = interactions.loc[~interactions["asin"].isin(items["asin"]), "asin"].unique()
    if len(strange):
        raise TrainingError(f"{acts}: {len(strange):,} products, {strange[0]} among them, are not in {catalogue.name}; give each one a row there.")
    times = interactions["timestamp"]
    if not pd.api.types.is_datetime64_any_dtype(times):
        raise TrainingError(f"{acts}: column timestamp holds {times.dtype}, not times; write it as a Parquet timestamp.")
    if times.dt.tz is not None:
        interactions = interactions.assign(timestamp=times.dt.tz_convert("UTC").dt.tz_localize(None))
    return interactions, items


def _read(file: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(file)
    except (pa.ArrowException, OSError) as error:
        raise TrainingError(f"{file} can't be read as Parquet: {error}") from error


def _filled(file: Path, rows: pd.DataFrame, columns: Sequence[str]) -> None:
    """Checks that there are rows, with these columns and a value in each.

    Raises:
        TrainingError: there are none.
    """
    missing = [name for name in columns if name not in rows]
    if missing:
        raise TrainingError(f"{file} has no column {' and no column '.join(missing)}; its columns are {', '.join(map(str, rows.columns))}.")
    if rows.empty:
        raise TrainingError(f"{file} has no rows.")
    for name in columns:
        if (empty := rows[name].isna()).any():
            raise TrainingError(f"{file}: {int(empty.sum()):,} rows have no {name}, row {int(empty.argmax()) + 1:,} first; mend or remove them.")
