"""Rows of a view's Parquet files by number, read in batches: the files are never in memory whole."""

import glob
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from feast.infra.offline_stores.file_source import FileSource
from numpy.typing import NDArray

from feature_repo.errors import FeatureRepoError

BATCH = 1 << 18
"""Rows decoded at a time. Smaller ones look up the labels' entities more often than need be, larger ones only hold more."""


class ParquetRows:
    """All rows of a source, numbered from 0 through its files in the order of their names."""

    def __init__(self, source: FileSource, repo_path: str) -> None:
        """
        Raises:
            FeatureRepoError: there is no Parquet there.
        """
        uri = str(FileSource.get_uri_for_file_path(repo_path=repo_path, uri=source.path))
        filesystem, path = FileSource.create_filesystem_and_path(uri, source.s3_endpoint_override)
        self._filesystem = filesystem or pafs.LocalFileSystem()
        self._path = path
        self._files = [pq.ParquetFile(self._filesystem.open_input_file(file)) for file in self._names()]
        self.types: dict[str, pa.DataType] = {field.name: field.type for field in self._files[0].schema_arrow}

    def _names(self) -> list[str]:
        if any(sign in self._path for sign in "*?[") and isinstance(self._filesystem, pafs.LocalFileSystem):
            found = sorted(glob.glob(self._path, recursive=True))  # noqa: PTH207 - the pattern is a whole path
        elif self._filesystem.get_file_info(self._path).type == pafs.FileType.Directory:
            inside = self._filesystem.get_file_info(pafs.FileSelector(self._path, recursive=True))
            found = sorted(file.path for file in inside if file.path.endswith(".parquet"))
        else:
            found = [self._path] if self._filesystem.get_file_info(self._path).is_file else []
        if not found:
            raise FeatureRepoError(f"There is no Parquet file at {self._path}: write the view's table, or correct the path of its source.")
        return found

    def scan(self, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
        """Every row's values of a few columns: the number of the first row, and the rows of a batch."""
        start = 0
        for file in self._files:
            held: list[pa.RecordBatch] = []
            for batch in file.iter_batches(batch_size=BATCH, columns=list(columns)):
                held.append(batch)
                if sum(map(len, held)) >= BATCH:  # a batch ends with its row group, and these may be small
                    table = pa.Table.from_batches(held)
                    yield start, table
                    start, held = start + len(table), []
            if held:
                table = pa.Table.from_batches(held)
                yield start, table
                start += len(table)

    def take(self, rows: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """The rows of these numbers, which rise, as few chunks as there are batches that hold any."""
        # Columns that a file says are never missing are so for its rows, not for labels.
        schema = pa.schema([(name, self.types[name]) for name in columns])
        kept = []
        for start, batch in self._around(rows, columns, BATCH // 4):
            first, last = np.searchsorted(rows, (start, start + len(batch)))
            if last > first:
                # A table's take would keep the batch's strings; a batch's copies what is taken.
                kept.append(batch.take(pa.array(rows[first:last] - start)).cast(schema))
        return pa.Table.from_batches(kept, schema) if kept else schema.empty_table()

    def width(self, rows: NDArray[np.int64], columns: Sequence[str]) -> float:
        """Bytes of a row in memory, by the widest of a few places among these, the last one too: arrays grow with time."""
        places = np.append(rows[:: max(1, len(rows) // 3)][:3], rows.max()) if len(rows) else rows
        found = [next(self._around(places[n : n + 1], columns, 1024))[1] for n in range(len(places))]
        return max((batch.nbytes / max(1, len(batch)) for batch in found), default=0.0)

    def _around(self, rows: NDArray[np.int64], columns: Sequence[str], size: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Batches of the row groups that hold any of these rows, and the numbers of their first rows."""
        start = 0
        for file in self._files:
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                first, last = np.searchsorted(rows, (start, start + count))
                if last > first:
                    at = start
                    for batch in file.iter_batches(batch_size=size, row_groups=[group], columns=list(columns)):
                        yield at, batch
                        at += len(batch)
                start += count
