"""Where each feature of a table stands: numbers in blocks of one type, everything else in a column of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from feast.value_type import ValueType

from .errors import PackedError
from .reader import Part

FILL = {"floats": np.float32("nan"), "doubles": np.float64("nan"), "longs": np.int64(0), "ints": np.int32(0), "flags": np.bool_(False)}
"""Blocks, and what stands in place of a missing number."""
_BLOCKS = {"<f8": "doubles", "<i8": "longs", "<i4": "ints", "|b1": "flags"}


@dataclass(frozen=True)
class Shape:
    """`floats`: names of the float32 block, in order; a Float64 or integer feature may stand there beside its exact column. `exact`: number -> block
    and column."""

    floats: tuple[str, ...]
    exact: Mapping[str, tuple[str, int]]
    texts: tuple[str, ...]
    vectors: tuple[str, ...]
    objects: tuple[str, ...]

    @classmethod
    def of(cls, parts: Sequence[Part], floats: Sequence[str] | None) -> "Shape":
        """
        Args:
            floats: by default the features of type Float32.

        Raises:
            PackedError: a name of `floats` is no number of these parts.
        """
        slots = {shown: slot for part in parts for shown, slot in zip(part.shown, part.slots, strict=True)}
        numbers = [name for name, slot in slots.items() if slot.form == "fixed"]
        chosen = tuple(floats if floats is not None else [name for name in numbers if slots[name].kind == ValueType.FLOAT])
        if wrong := [name for name in chosen if name not in numbers]:
            raise PackedError(f"No numbers of these views: {', '.join(wrong)}.")
        exact: dict[str, tuple[str, int]] = {}
        columns = dict.fromkeys(FILL, 0)
        for place, name in enumerate(chosen):
            if slots[name].kind == ValueType.FLOAT:
                exact[name] = ("floats", place)
        columns["floats"] = len(chosen)
        for name in numbers:
            if name not in exact:
                block = _BLOCKS.get(slots[name].dtype, "doubles")  # a float32 that the block of floats leaves out
                exact[name] = (block, columns[block])
                columns[block] += 1
        texts = tuple(name for name, slot in slots.items() if slot.form == "text")
        vectors = tuple(name for name, slot in slots.items() if slot.form == "numbers")
        objects = tuple(name for name, slot in slots.items() if slot.form not in ("fixed", "text", "numbers"))
        return cls(chosen, exact, texts, vectors, objects)

    def widths(self) -> dict[str, int]:
        """Columns of each block."""
        return {block: len(self.floats) if block == "floats" else sum(found == block for found, _ in self.exact.values()) for block in FILL}
