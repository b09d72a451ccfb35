"""The packed rows of a build, read as Feast's values: what `UserReader` takes."""

import os
from collections.abc import Sequence
from pathlib import Path

from feast import FeatureStore
from feast.protos.feast.types.Value_pb2 import RepeatedValue

from feature_repo.packed.layout import microseconds, moment_of
from feature_repo.packed.reader import PackedReader, Part
from feature_repo.store import feature_refs, repo_config


class PackedFile:
    """The rows that belong to a build, in the SQLite file in its folder or in Redis. Safe in threads."""

    def __init__(self, path: Path) -> None:
        """Args: path: `online.db` in the build's folder, or in a link to one: whatever that link is turned to is noticed at the next read."""
        self._folder = os.fspath(path.parent)
        self._opened = self._open()

    def _open(self) -> tuple[str, PackedReader, dict[str, Part]]:
        target = _target(self._folder)
        reader = PackedReader(FeatureStore(config=repo_config(Path(self._folder))), [*feature_refs("user"), *feature_refs("product")])
        return target, reader, {part.view: part for part in reader.parts}

    def _now(self) -> tuple[PackedReader, dict[str, Part]]:
        target, reader, parts = self._opened
        if _target(self._folder) != target:
            _, reader, parts = self._opened = self._open()
        return reader, parts

    @property
    def reader(self) -> PackedReader:
        """Of the build that lies there now."""
        return self._now()[0]

    def features(self, view: str) -> list[str]:
        """Order of a view's values."""
        return [slot.name for slot in self._now()[1][view].layout.slots]

    def read(self, view: str, keys: Sequence[bytes]) -> dict[bytes, tuple[int, RepeatedValue]]:
        """Event time (microseconds) and values of the keys that are there."""
        reader, parts = self._now()
        part = parts[view]
        found: dict[bytes, tuple[int, RepeatedValue]] = {}
        for key, row in zip(keys, reader.rows.read([(part.name, keys)])[0], strict=True):
            if row is not None and row[16:24] == part.layout.schema:
                found[key] = microseconds(moment_of(row)), RepeatedValue(val=list(part.layout.unpack(row).values()))
        return found


def _target(folder: str) -> str:
    """What a link points to; empty for a folder."""
    try:
        return os.readlink(folder)  # noqa: PTH115  (half the cost of Path's, on every read)
    except OSError:
        return ""
