"""Where each id stands among many: a mapping str -> row in 8 bytes an entry, where a dict takes 70."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FEWEST = 8
_FULL = 0.6


class IdIndex(Mapping[Any, int]):
    """Open addressing over Python's own hashes; the ids themselves stand in `ids` alone. Never changed: `extended` makes another one."""

    def __init__(self, ids: NDArray[np.object_]) -> None:
        self.ids = ids
        size = _FEWEST
        while len(ids) > size * _FULL:
            size *= 2
        self._mask = size - 1
        table = np.full(size, -1, np.int32)
        self._insert(table, np.arange(len(ids), dtype=np.int32), np.fromiter(map(hash, ids), np.int64, len(ids)))
        self._keep(table)

    def _keep(self, table: NDArray[np.int32]) -> None:
        self._table = table
        self._slots = memoryview(table.data)  # an element in a third of the time that numpy takes

    def _insert(self, table: NDArray[np.int32], rows: NDArray[np.int32], hashes: NDArray[np.int64]) -> None:
        """Every round puts each waiting row into its slot if that is free; of two at one slot one waits on."""
        slots = hashes & self._mask
        while len(rows):
            free = table[slots] < 0
            table[slots[free]] = rows[free]
            waiting = table[slots] != rows
            rows, slots = rows[waiting], (slots[waiting] + 1) & self._mask

    def extended(self, ids: NDArray[np.object_]) -> "IdIndex":
        """The index of `ids`, which begin with this one's."""
        if len(ids) > len(self._table) * _FULL:
            return IdIndex(ids)
        found = object.__new__(IdIndex)
        found.ids, found._mask = ids, self._mask
        table, new = self._table.copy(), ids[len(self.ids) :]
        found._insert(table, np.arange(len(self.ids), len(ids), dtype=np.int32), np.fromiter(map(hash, new), np.int64, len(new)))
        found._keep(table)
        return found

    def get(self, key: Any, default: Any = None) -> Any:
        slots, ids, mask = self._slots, self.ids, self._mask
        slot = hash(key) & mask
        while (row := slots[slot]) >= 0:
            if ids[row] == key:
                return row
            slot = (slot + 1) & mask
        return default

    def rows(self, keys: Iterable[Any]) -> NDArray[np.int32]:
        """int32[n]: the row of each id, -1 for one that is not there."""
        get = self.get
        return np.array([get(key, -1) for key in keys], np.int32)

    def __getitem__(self, key: Any) -> int:
        found = self.get(key)
        if found is None:
            raise KeyError(key)
        return int(found)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """Of the index alone."""
        return int(self._table.nbytes)


class Coded(Sequence[Any]):
    """A column of texts (or None) as codes into its different words. Behaves like the array it stands for."""

    def __init__(self, codes: NDArray[np.int32], words: NDArray[Any]) -> None:
        """Args: codes int32[n], -1 for none; words, an array of str."""
        self.codes, self.words = codes, words

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, place: Any) -> Any:
        code = self.codes[place]
        if isinstance(code, np.ndarray):
            return self._texts(code)
        return None if code < 0 else str(self.words[code])

    def __iter__(self) -> Iterator[Any]:
        return iter(self._texts(self.codes))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        found = self._texts(self.codes)
        return found if dtype is None else found.astype(dtype)

    def _texts(self, codes: NDArray[np.int32]) -> NDArray[np.object_]:
        if not len(self.words):
            return np.full(codes.shape, None, object)
        found = self.words[codes]
        if found.dtype != object:
            found = found.astype(object)
        found[codes < 0] = None
        return found

    def __eq__(self, other: object) -> Any:
        return np.asarray(self) == other

    __hash__ = None  # type: ignore[assignment]
