"""The trained encoder of `sequential.py` for one user at a time: the same sums as its network, in numpy.

For one short sequence PyTorch spends its time on calling and not on computing. Of the last layer only the last step is computed, for nobody reads
the others.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

ROOT_HALF = np.float32(math.sqrt(0.5))


@dataclass(frozen=True)
class Norm:
    """Layer normalisation over the last axis."""

    weight: Floats
    bias: Floats
    epsilon: float

    def __call__(self, values: Floats) -> Floats:
        away = values - values.mean(axis=-1, keepdims=True)
        spread = (away * away).mean(axis=-1, keepdims=True)
        return np.asarray(away / np.sqrt(spread + np.float32(self.epsilon)) * self.weight + self.bias, np.float32)

    @classmethod
    def of(cls, layer: Any) -> Self:
        return cls(_array(layer.weight), _array(layer.bias), float(layer.eps))


@dataclass(frozen=True)
class Block:
    """One layer, norms first: attention, then two linear maps with GELU between. Weights are turned: what goes in is multiplied from the left."""

    first: Norm
    second: Norm
    inward: tuple[Floats, Floats]  # queries, keys and values
    outward: tuple[Floats, Floats]
    wide: tuple[Floats, Floats]
    narrow: tuple[Floats, Floats]
    heads: int

    @classmethod
    def of(cls, layer: Any) -> Self:
        attention = layer.self_attn
        pairs = (
            (attention.in_proj_weight, attention.in_proj_bias), (attention.out_proj.weight, attention.out_proj.bias),
            (layer.linear1.weight, layer.linear1.bias), (layer.linear2.weight, layer.linear2.bias),
        )  # fmt: skip
        inward, outward, wide, narrow = ((np.ascontiguousarray(_array(weight).T), _array(bias)) for weight, bias in pairs)
        return cls(Norm.of(layer.norm1), Norm.of(layer.norm2), inward, outward, wide, narrow, int(attention.num_heads))

    def __call__(self, steps: Floats, last: bool) -> Floats:
        """float32[l, size] -> float32[l, size], or [1, size] of the last step alone. No step sees a later one."""
        length, size = steps.shape
        read = self.first(steps) @ self.inward[0] + self.inward[1]
        asked, keys, values = (part.reshape(length, self.heads, -1).transpose(1, 0, 2) for part in np.split(read, 3, axis=1))
        asked, steps = (asked[:, -1:], steps[-1:]) if last else (asked, steps)
        weights = asked @ keys.transpose(0, 2, 1) / np.float32(math.sqrt(size // self.heads))
        if not last:
            weights[:, np.triu(np.ones((length, length), bool), 1)] = -np.inf
        weights = np.exp(weights - weights.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        seen = (weights @ values).transpose(1, 0, 2).reshape(len(steps), size)
        steps = steps + seen @ self.outward[0] + self.outward[1]
        wide = self.second(steps) @ self.wide[0] + self.wide[1]
        wide *= np.float32(0.5) * (1 + erf(wide * ROOT_HALF))
        return np.asarray(steps + wide @ self.narrow[0] + self.narrow[1], np.float32)


@dataclass(frozen=True)
class Encoder:
    """What of a `sequential.Network` turns steps into a wish. `place` float32[length, size], the last step's first."""

    place: Floats
    gap: Floats
    bought: Floats
    blocks: Sequence[Block]
    norm: Norm
    scale: float

    @classmethod
    def of(cls, network: Any) -> Self:
        place, gap, bought = (_array(layer.weight) for layer in (network.place, network.gap, network.bought))
        return cls(place, gap, bought, [Block.of(layer) for layer in network.blocks], Norm.of(network.norm), float(network.scale))

    def last(self, items: Floats, gaps: Ints, bought: Ints) -> Floats:
        """float32[size] after the last of l steps: vectors float32[l, size] of the products, codes int64[l]; l is 1 or more."""
        steps = items * np.float32(self.scale) + self.place[len(items) - 1 :: -1] + self.gap[gaps] + self.bought[bought]
        for block in self.blocks:
            steps = block(steps, last=block is self.blocks[-1])
        found: Floats = self.norm(steps[-1])
        return found


def _array(parameter: Any) -> Floats:
    """A copy: what was trained may be trained on."""
    return np.array(parameter.detach().numpy(), np.float32)
