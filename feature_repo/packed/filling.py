"""Columns that are being made: of packed rows, from nothing or on top of columns that are there."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .columns import Columns
from .index import Coded
from .layout import Flags
from .reader import Part
from .shape import FILL, Shape
from .slots import Slot, taken

MANY_WORDS = 65_536
"""From here on words lie in numpy's own strings: 16 bytes and the text, where Python's take 50 more."""


class Filling:
    """Takes packed rows part by part; `columns` ends it."""

    def __init__(self, parts: tuple[Part, ...], shape: Shape, size: int) -> None:
        self.parts, self.shape, self.size = parts, shape, size
        self.blocks: dict[str, NDArray[Any]] = {}
        self.missing: list[NDArray[np.uint8]] = []
        self.vectors: dict[str, NDArray[Any]] = {}
        self.objects: dict[str, NDArray[np.object_]] = {}
        self.at: list[NDArray[np.int64] | None] = []
        self.codes: dict[str, NDArray[np.int32]] = {}
        self.words: dict[str, dict[bytes, int]] = {}
        self.known: dict[str, NDArray[Any]] = {}
        self.first: dict[str, int] = {}  # code of the first of `words`

    @classmethod
    def empty(cls, parts: tuple[Part, ...], shape: Shape, size: int) -> "Filling":
        """Everything is missing."""
        made = cls(parts, shape, size)
        made.blocks = {block: np.full((size, width), FILL[block]) for block, width in shape.widths().items()}
        made.missing = [np.full((size, -(-len(part.slots) // 8)), 255, np.uint8) for part in parts]
        made.at = [np.zeros(size, np.int64) if part.ttl else None for part in parts]
        made.objects = {name: np.full(size, None, object) for name in shape.objects}
        made.codes = {name: np.full(size, -1, np.int32) for name in shape.texts}
        made.words = {name: {} for name in shape.texts}
        made.known = {name: np.zeros(0, object) for name in shape.texts}
        made.first = dict.fromkeys(shape.texts, 0)
        return made

    @classmethod
    def copy(cls, had: Columns, touched: Sequence[int], size: int, own: Mapping[str, NDArray[Any]]) -> "Filling":
        """A copy of what the touched parts write to; the rest is the same arrays.

        Args:
            touched: numbers of parts.
            size: rows; those beyond the columns' are missing.
            own: copies that are at hand, by the names of `Columns.arrays`.
        """
        made, shape = cls(had.parts, had.shape, size), had.shape
        names = {name for number in touched for name in had.parts[number].shown}
        blocks = {shape.exact[name][0] for name in names if name in shape.exact} | ({"floats"} if names & set(shape.floats) else set())

        def writable(file: str, array: NDArray[Any], fill: Any, wanted: bool) -> NDArray[Any]:
            if len(array) < size:
                grown = np.full((size, *array.shape[1:]), fill, array.dtype)
                grown[: len(array)] = array
                return grown
            return (own[file] if file in own else array.copy()) if wanted else array

        made.blocks = {block: writable(block, array, FILL[block], block in blocks) for block, array in had.blocks.items()}
        made.missing = [writable(f"missing{number}", array, 255, number in touched) for number, array in enumerate(had.missing)]
        made.at = [None if array is None else writable(f"at{number}", array, 0, number in touched) for number, array in enumerate(had.at)]
        made.vectors = {name: writable(f"vector-{name}", array, 0, name in names) for name, array in had.vectors.items()}
        made.objects = {name: writable("", array, None, name in names) for name, array in had.objects.items()}
        for name, text in had.texts.items():
            made.codes[name] = writable(f"codes-{name}", text.codes, -1, name in names)
            few = name in names and len(text.words) < MANY_WORDS
            made.words[name] = {str(word).encode(): code for code, word in enumerate(text.words)} if few else {}
            made.known[name], made.first[name] = text.words, 0 if few else len(text.words)
        return made

    def put(self, number: int, places: NDArray[np.int64], rows: Sequence[bytes | None]) -> None:
        """Write the rows of one part at `places`; None empties one."""
        part = self.parts[number]
        heads, kept, found = part.heads(rows)
        numbers = [slot.number for slot in part.slots]
        empty = heads.missing[:, numbers]
        self.missing[number][places] = np.packbits(empty, axis=1, bitorder="little")[found]
        times = self.at[number]
        if times is not None:
            times[places] = heads.at[found]
        in_floats = {name: place for place, name in enumerate(self.shape.floats)}
        for place, (name, slot) in enumerate(zip(part.shown, part.slots, strict=True)):
            if slot.form == "fixed":
                values = heads.numbers(slot)[found]
                block, column = self.shape.exact[name]
                self.blocks[block][places, column] = values
                if name in in_floats and block != "floats":
                    narrow = values.astype(np.float32)
                    narrow[empty[:, place][found]] = np.nan
                    self.blocks["floats"][places, in_floats[name]] = narrow
            else:
                bodies = part.layout.bodies(slot, kept, heads)
                self._put_loose(name, slot, places, bodies, empty[:, place], found)

    def _put_loose(self, name: str, slot: Slot, places: NDArray[np.int64], bodies: list[bytes], empty: Flags, found: NDArray[np.int64]) -> None:
        if name in self.codes:
            words, first = self.words[name], self.first[name]
            codes = [-1 if gone else words.setdefault(body, first + len(words)) for body, gone in zip(bodies, empty.tolist(), strict=True)]
            self.codes[name][places] = np.array(codes, np.int32)[found]
        elif name in self.objects or not self._put_vector(name, slot, places, bodies, empty, found):
            values = (None if gone else taken(slot, body) for body, gone in zip(bodies, empty.tolist(), strict=True))
            self.objects[name][places] = np.fromiter(values, object, len(bodies))[found]

    def _put_vector(self, name: str, slot: Slot, places: NDArray[np.int64], bodies: list[bytes], empty: Flags, found: NDArray[np.int64]) -> bool:
        """False if the lists are not all of one length: then they are Python values."""
        lengths = {len(body) for body, gone in zip(bodies, empty.tolist(), strict=True) if not gone}
        width = np.dtype(slot.dtype).itemsize
        if name not in self.vectors and lengths:
            self.vectors[name] = np.zeros((self.size, max(lengths) // width), slot.dtype)
        if not lengths:
            if name in self.vectors:
                self.vectors[name][places] = 0
            return True
        held = self.vectors[name]
        if lengths != {held.shape[1] * width}:
            self.objects[name] = _as_objects(self.vectors.pop(name), self._gone(name))
            return False
        nothing = b"\0" * (held.shape[1] * width)
        whole = b"".join([nothing if gone else body for body, gone in zip(bodies, empty.tolist(), strict=True)])
        held[places] = np.frombuffer(whole, slot.dtype).reshape(len(bodies), -1)[found]
        return True

    def _gone(self, name: str) -> Flags:
        number, place = next((number, part.shown.index(name)) for number, part in enumerate(self.parts) if name in part.shown)
        return np.asarray(self.missing[number][:, place // 8] >> (place % 8) & 1, np.bool_)

    def columns(self) -> Columns:
        """What was put in. The filling is not used any more."""
        texts = {}
        for name, codes in self.codes.items():
            known, words = self.known[name], self.words.pop(name)
            new = [word.decode() for word, code in words.items() if code >= len(known)]
            texts[name] = Coded(codes, _words(known, new) if new else known)
        for name in self.shape.vectors:
            if name not in self.vectors and name not in self.objects:
                self.vectors[name] = np.zeros((self.size, 0), np.float32)
        return Columns(self.parts, self.shape, self.blocks, tuple(self.missing), texts, self.vectors, self.objects, tuple(self.at))


def _as_objects(vectors: NDArray[Any], gone: Flags) -> NDArray[np.object_]:
    return np.fromiter((None if none else vector.copy() for vector, none in zip(vectors, gone.tolist(), strict=True)), object, len(vectors))


def _words(known: NDArray[Any], new: list[str]) -> NDArray[Any]:
    kind: Any = np.dtypes.StringDType() if len(known) + len(new) > MANY_WORDS else object
    found = np.empty(len(known) + len(new), kind)
    found[: len(known)] = known
    found[len(known) :] = np.array(new, kind)
    return found
