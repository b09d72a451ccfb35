"""Columns in files that several processes map: what one process has read of the store, the others need not read.

    <folder>/<print>/current           names the newest of the folders beside it
    <folder>/<print>/<token>/*.npy, *.arrow, about.json

`print` is of the features and where they stand, so that tables of two versions lie side by side.
"""

import fcntl
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .columns import Columns
from .filling import MANY_WORDS
from .index import Coded
from .reader import PackedReader
from .shape import FILL, Shape


class SharedFiles:
    """The files of one table. Whoever writes holds `locked`; whoever has mapped files that were replaced keeps them."""

    def __init__(self, folder: Path, reader: PackedReader, shape: Shape) -> None:
        self.parts, self.shape = reader.parts, shape
        about = [reader.fingerprint, list(shape.floats), [[part.name, part.layout.schema.hex()] for part in reader.parts]]
        self.folder = folder / hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time; not twice in one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def current(self) -> str:
        """Token of the newest files; empty if there are none."""
        try:
            return (self.folder / "current").read_text()
        except FileNotFoundError:
            return ""

    def save(self, columns: Columns, ids: NDArray[Any], positions: tuple[str, ...]) -> None:
        """Write all of a table that holds no Python values; from then on these are the newest files."""
        token = uuid.uuid4().hex[:12]
        part = self.folder / f"{token}.part"
        part.mkdir()
        for name, array in columns.arrays():
            np.save(part / f"{name}.npy", array)
        _save_texts(part / "ids.arrow", ids)
        for name, text in columns.texts.items():
            _save_texts(part / f"words-{name}.arrow", text.words)
        (part / "about.json").write_text(json.dumps({"positions": list(positions)}))
        part.rename(self.folder / token)
        pointer = self.folder / "current.part"
        pointer.write_text(token)
        pointer.replace(self.folder / "current")
        for old in self.folder.iterdir():
            if old.is_dir() and old.name != token:
                shutil.rmtree(old, ignore_errors=True)  # whoever maps it keeps it

    def columns(self, token: str) -> Columns:
        """Mapped columns.

        Raises:
            FileNotFoundError: they have been replaced meanwhile.
        """
        place = self.folder / token
        return Columns(
            parts=self.parts,
            shape=self.shape,
            blocks={block: self.array(token, block) for block in FILL},
            missing=tuple(self.array(token, f"missing{number}") for number in range(len(self.parts))),
            texts={name: Coded(self.array(token, f"codes-{name}"), _texts(place / f"words-{name}.arrow")) for name in self.shape.texts},
            vectors={name: self.array(token, f"vector-{name}") for name in self.shape.vectors},
            objects={},
            at=tuple(self.array(token, f"at{number}") if part.ttl else None for number, part in enumerate(self.parts)),
        )

    def ids(self, token: str) -> NDArray[np.object_]:
        """Raises: FileNotFoundError, as `columns`."""
        return _texts(self.folder / token / "ids.arrow", object)

    def positions(self, token: str) -> tuple[str, ...]:
        """Raises: FileNotFoundError, as `columns`."""
        return tuple(json.loads((self.folder / token / "about.json").read_text())["positions"])

    def array(self, token: str, name: str) -> NDArray[Any]:
        """An array shared with all who map it; pages that are written become the process' own."""
        file = self.folder / token / f"{name}.npy"
        return np.asarray(np.lib.format.open_memmap(file, mode="c") if file.stat().st_size > 4096 else np.load(file))


def _save_texts(file: Path, texts: NDArray[Any]) -> None:
    whole = any(not isinstance(each, str) for each in texts[:1])
    column = pa.array(texts.tolist(), pa.int64() if whole else pa.large_string())
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, pa.schema([("text", column.type)])) as writer:
        writer.write_batch(pa.record_batch([column], names=["text"]))


def _texts(file: Path, kind: Any = None) -> NDArray[Any]:
    with pa.memory_map(str(file)) as source:
        column = pa.ipc.open_file(source).read_all().column("text")
        found = np.empty(len(column), kind or (np.dtypes.StringDType() if len(column) > MANY_WORDS else object))
        for start in range(0, len(column), 50_000):
            some = column.slice(start, 50_000).to_pylist()
            found[start : start + len(some)] = np.array(some, found.dtype) if kind is None else np.fromiter(some, object, len(some))
    return found
