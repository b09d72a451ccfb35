"""The columns of a table: values in their declared types, and where they are missing. Never changed after they are made."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .index import Coded
from .layout import Flags
from .moments import alive
from .reader import Part
from .shape import Shape


@dataclass(frozen=True)
class Columns:
    """P rows of every feature of some views."""

    parts: tuple[Part, ...] = field(repr=False)
    shape: Shape = field(repr=False)
    blocks: Mapping[str, NDArray[Any]] = field(repr=False)  # name -> [P, columns]
    missing: tuple[NDArray[np.uint8], ...] = field(repr=False)  # per part: uint8[P, bytes], the lowest bit first
    texts: Mapping[str, Coded] = field(repr=False)
    vectors: Mapping[str, NDArray[Any]] = field(repr=False)  # [P, length]; a missing one is 0
    objects: Mapping[str, NDArray[np.object_]] = field(repr=False)  # everything else, as Python values
    at: tuple[NDArray[np.int64] | None, ...] = field(repr=False)  # per part with a time to live: event times in microseconds, 0 for no row

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Every array by a name of its own; Python values and the words of texts are none."""
        yield from self.blocks.items()
        yield from ((f"missing{number}", array) for number, array in enumerate(self.missing))
        yield from ((f"at{number}", array) for number, array in enumerate(self.at) if array is not None)
        yield from ((f"vector-{name}", array) for name, array in self.vectors.items())
        yield from ((f"codes-{name}", text.codes) for name, text in self.texts.items())

    def gone(self, name: str, rows: NDArray[np.integer], now: datetime) -> Flags:
        """bool[n]: whether a feature is missing at these rows, or older at `now` than its view lets it live."""
        number, part, place = self._where[name]
        found = np.asarray(self.missing[number][rows, place // 8] >> (place % 8) & 1, np.bool_)
        times = self.at[number]
        if times is not None:
            found |= ~alive(times[rows], part.ttl, now)
        return found

    def column(self, name: str, rows: NDArray[np.integer]) -> NDArray[Any]:
        """The values of a feature at these rows in its declared type. Times to live are not looked at: `gone` does."""
        if name in self.shape.exact:
            block, column = self.shape.exact[name]
            found: NDArray[Any] = self.blocks[block][rows, column]
        elif name in self.texts:
            found = self.texts[name][rows]
        else:
            found = (self.vectors if name in self.vectors else self.objects)[name][rows]
        return found

    def gather(self, rows: NDArray[np.integer], now: datetime) -> tuple[dict[str, NDArray[Any]], dict[str, Flags]]:
        """Every feature at these rows, and where it is missing (or older than its view lets it live): what `PackedReader.read` answers."""
        taken_blocks = {block: array[rows] for block, array in self.blocks.items() if array.shape[1]}
        values: dict[str, NDArray[Any]] = {}
        gone: dict[str, Flags] = {}
        for number, part in enumerate(self.parts):
            bits = np.unpackbits(self.missing[number][rows], axis=1, count=len(part.slots), bitorder="little").view(np.bool_)
            times = self.at[number]
            dead = None if times is None else ~alive(times[rows], part.ttl, now)
            if dead is not None:
                bits |= dead[:, None]
            for place, name in enumerate(part.shown):
                gone[name] = bits[:, place]
                if name in self.shape.exact:
                    block, column = self.shape.exact[name]
                    values[name] = taken_blocks[block][:, column]
                else:
                    values[name] = self.column(name, rows)
                if dead is not None and dead.any():
                    values[name] = _emptied(values[name], dead)
        return values, gone

    @cached_property
    def _where(self) -> dict[str, tuple[int, Part, int]]:
        return {name: (number, part, place) for number, part in enumerate(self.parts) for place, name in enumerate(part.shown)}


def _emptied(values: NDArray[Any], dead: Flags) -> NDArray[Any]:
    found = values.copy()
    found[dead] = None if found.dtype == object else np.nan if found.dtype.kind == "f" and found.ndim == 1 else 0
    return found
