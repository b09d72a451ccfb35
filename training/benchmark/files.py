"""The files of a protocol."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from training.errors import TrainingError


def read_files(folder: Path, names: Sequence[str], shape: str) -> list[pd.DataFrame]:
    """The Parquet files `names`, in order; `shape` is the data set that has them.

    Raises:
        TrainingError: a file is missing.
    """
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise TrainingError(f"{folder} has no {' and no '.join(missing)}: name a folder in the shape of {shape}.")
    return [pd.read_parquet(folder / name) for name in names]
