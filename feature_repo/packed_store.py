"""The rows of the build that holds, read as Feast's values: what `UserReader` takes."""

import os
from collections.abc import Sequence

from feast.protos.feast.types.Value_pb2 import RepeatedValue

from feature_repo.home import ShopHome
from feature_repo.packed.layout import microseconds, moment_of
from feature_repo.packed.reader import PackedReader
from feature_repo.store import Build, current


class PackedFile:
    """Rows of some views in the online store of a home's current build; a new build is noticed at the next read. Safe in threads."""

    def __init__(self, home: ShopHome, refs: Sequence[str]) -> None:
        """
        Raises:
            FeatureRepoError: no features were built.
        """
        self._home, self._refs = home, list(refs)
        self._link = os.fspath(current(home))
        self._opened = self._open()

    def _open(self) -> tuple[str, PackedReader]:
        build = os.readlink(self._link) if os.path.islink(self._link) else ""  # noqa: PTH114, PTH115  (half the cost of Path's, on every read)
        return build, PackedReader(Build.current(self._home).store(), self._refs)

    @property
    def reader(self) -> PackedReader:
        """Of the build that holds now; `reader.read({"user_id": [...]})` gives numpy columns."""
        build, reader = self._opened
        if os.readlink(self._link) != build:  # noqa: PTH115
            self._opened = self._open()
            reader = self._opened[1]
        return reader

    def features(self, view: str) -> list[str]:
        """Order of a view's values."""
        return next([slot.name for slot in part.layout.slots] for part in self.reader.parts if part.view == view)

    def read(self, view: str, keys: Sequence[bytes]) -> dict[bytes, tuple[int, RepeatedValue]]:
        """Event time (microseconds) and values of the keys that are there."""
        reader = self.reader
        part = next(part for part in reader.parts if part.view == view)
        found: dict[bytes, tuple[int, RepeatedValue]] = {}
        for key, row in zip(keys, reader.rows.read([(part.name, keys)])[0], strict=True):
            if row is not None and row[16:24] == part.layout.schema:
                found[key] = microseconds(moment_of(row)), RepeatedValue(val=list(part.layout.unpack(row).values()))
        return found
