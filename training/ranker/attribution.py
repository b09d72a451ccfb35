"""What groups of features added to a score: SHAP values of trees, exact, looked up in tables that are made once.

The SHAP values of a tree (path-dependent TreeSHAP, Lundberg et al. 2018, arXiv 1802.03888) depend on a row only by which way it would go at each
node. For a subtree near the leaves, with the nodes above it, that is a few yes-or-no answers, and for each combination of answers the values of its
leaves together can be added up beforehand; Yang's Fast TreeSHAP v2 (2021, arXiv 2109.09847) does so leaf by leaf. A tree of depth 6 becomes 16
look-ups where the algorithm walks 64 leaves. Since nobody asks for single features, the tables hold the sums over the groups that are asked about.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import comb
from typing import Any

import numpy as np
import torch
import xgboost as xgb
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

BITS = 8
"""Answers of one look-up: nodes of a subtree and above it. A byte."""


@dataclass(frozen=True)
class Attribution:
    """The tables of one booster. `feature` and `threshold` are padded to BITS nodes per subtree."""

    feature: NDArray[np.int64]  # int64[U * BITS], column of the row doubled: missing goes left there, right here
    threshold: Floats  # float32[U * BITS]
    offset: NDArray[np.int64]  # int64[U], first line of a subtree's table
    table: torch.Tensor  # float32[lines, groups]

    @classmethod
    def of(cls, booster: xgb.Booster, groups: Sequence[Sequence[int]], features: int) -> "Attribution | None":
        """Tables for groups of columns of rows with `features` of them; None for trees deeper than BITS, which don't fit in."""
        member = np.zeros((features, len(groups)))
        for number, columns in enumerate(groups):
            member[list(columns), number] = 1.0
        nodes: list[NDArray[np.int64]] = []
        thresholds: list[Floats] = []
        tables: list[Floats] = []
        for tree in _trees(booster):
            for root, above in tree.subtrees():
                asked = [*above, *tree.inner(root)]
                if len(asked) > BITS:
                    return None
                padding = BITS - len(asked)
                column = [tree.feature[node] + (0 if tree.default_left[node] else features) for node in asked]
                nodes.append(np.array(column + [0] * padding, np.int64))
                thresholds.append(np.array([*tree.threshold[asked], *[-np.inf] * padding], np.float32))
                tables.append(_table(tree, root, asked, member))
        if not tables:
            return cls(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.int64), torch.zeros(0, len(groups)))
        offset = np.cumsum([0, *(len(table) for table in tables[:-1])])
        return cls(np.concatenate(nodes), np.concatenate(thresholds), offset, torch.from_numpy(np.concatenate(tables)))

    def values(self, matrix: Floats) -> Floats:
        """float32[n, groups] for rows float32[n, features]."""
        missing = np.isnan(matrix)
        both = np.concatenate([np.where(missing, np.float32(-np.inf), matrix), np.where(missing, np.float32(np.inf), matrix)], axis=1)
        answers = np.packbits(np.take(both, self.feature, axis=1) < self.threshold, axis=1, bitorder="little")
        with torch.inference_mode():
            lines = torch.from_numpy(answers.astype(np.int64) + self.offset)
            found = torch.nn.functional.embedding_bag(lines, self.table, mode="sum") if len(self.offset) else self.table.new_zeros(len(matrix), 1)
        return np.asarray(found.numpy())


@dataclass(frozen=True)
class _Tree:
    """One tree, nodes numbered as XGBoost does; children -1 at a leaf, whose value stands in `threshold`."""

    left: list[int]
    right: list[int]
    feature: list[int]
    threshold: Floats
    default_left: list[int]
    cover: Doubles

    def subtrees(self) -> Iterator[tuple[int, list[int]]]:
        """The largest subtrees that fit into BITS answers with the nodes above them: (root, nodes above from the top)."""
        sizes = self._sizes()
        waiting: list[tuple[int, list[int]]] = [(0, [])]
        while waiting:
            node, above = waiting.pop()
            if self.left[node] < 0 or len(above) + sizes[node] <= BITS:
                yield node, above
            else:
                waiting += [(child, [*above, node]) for child in (self.left[node], self.right[node])]

    def inner(self, root: int) -> list[int]:
        """Nodes that split, at and below `root`."""
        found, waiting = [], [root]
        while waiting:
            node = waiting.pop()
            if self.left[node] >= 0:
                found.append(node)
                waiting += [self.left[node], self.right[node]]
        return found

    def leaves(self, root: int) -> Iterator[tuple[int, list[tuple[int, bool]]]]:
        """(leaf, [(node below the root's, whether the leaf lies to its left)]) for the leaves at and below `root`."""
        waiting: list[tuple[int, list[tuple[int, bool]]]] = [(root, [])]
        while waiting:
            node, path = waiting.pop()
            if self.left[node] < 0:
                yield node, path
            else:
                waiting += [(self.left[node], [*path, (node, True)]), (self.right[node], [*path, (node, False)])]

    def _sizes(self) -> NDArray[np.int64]:
        """Nodes that split, at and below each; children have larger numbers than their parents."""
        sizes = np.zeros(len(self.left), np.int64)
        for node in range(len(self.left) - 1, -1, -1):
            if self.left[node] >= 0:
                sizes[node] = 1 + sizes[self.left[node]] + sizes[self.right[node]]
        return sizes


def _trees(booster: xgb.Booster) -> Iterator[_Tree]:
    model: dict[str, Any] = json.loads(bytes(booster.save_raw("json")))
    for tree in model["learner"]["gradient_booster"]["model"]["trees"]:
        yield _Tree(
            tree["left_children"], tree["right_children"], tree["split_indices"], np.array(tree["split_conditions"], np.float32),
            tree["default_left"], np.array(tree["sum_hessian"], np.float64),
        )  # fmt: skip


def _table(tree: _Tree, root: int, asked: Sequence[int], member: Doubles) -> Floats:
    """float32[2**asked, groups]: the values of the leaves at and below `root` for each combination of answers; bit b is `asked[b]`, 1 for left."""
    lines = np.arange(2 ** len(asked))
    place = {node: bit for bit, node in enumerate(asked)}
    found = np.zeros((len(lines), member.shape[1]))
    below = list(tree.leaves(root))
    above = [(node, _turn(tree, node, (*asked[at + 1 :], root))) for at, node in enumerate(asked[: len(asked) - len(tree.inner(root))])]
    for leaf, path in below:
        whole = [*above, *path]
        columns = list(dict.fromkeys(tree.feature[node] for node, _ in whole))
        if not member[columns].any():
            continue
        share, held = np.ones(len(columns)), np.ones((len(columns), len(lines)), bool)
        for node, to_left in whole:
            column = columns.index(tree.feature[node])
            child = tree.left[node] if to_left else tree.right[node]
            share[column] *= tree.cover[child] / tree.cover[node]
            held[column] &= (lines >> place[node] & 1).astype(bool) == to_left
        which = (held.T @ (1 << np.arange(len(columns)))).astype(np.int64)
        used, inverse = np.unique(which, return_inverse=True)
        found += (_shapley(share, used) @ member[columns])[inverse] * float(tree.threshold[leaf])
    return found.astype(np.float32)


def _turn(tree: _Tree, node: int, below: Sequence[int]) -> bool:
    """Whether the way down to the nodes `below` turns left at `node`; its child on that way is among them."""
    return tree.left[node] in below


def _shapley(share: Doubles, patterns: NDArray[np.int64]) -> Doubles:
    """float64[patterns, k]: what each of k features adds to a leaf of value 1; bit i of a pattern says that the row meets feature i's conditions.

    `share` float64[k]: of the training rows, how many go on along the path at the feature's nodes. Sums over coalitions are coefficients of
    polynomials.
    """
    k = len(share)
    met = (patterns[:, None] >> np.arange(k) & 1).astype(np.float64)
    found = np.empty((len(patterns), k))
    for feature in range(k):
        sums = np.zeros((len(patterns), k))
        sums[:, 0] = 1.0
        for other in range(k):
            if other != feature:
                sums[:, 1:] = sums[:, 1:] * share[other] + sums[:, :-1] * met[:, other : other + 1]
                sums[:, 0] *= share[other]
        found[:, feature] = (sums @ _weights(k)) * (met[:, feature] - share[feature])
    return found


@cache
def _weights(k: int) -> Doubles:
    """Shapley's weight of a coalition by its size, float64[k]: s! (k - s - 1)! / k!."""
    return np.array([1.0 / (k * comb(k - 1, size)) for size in range(k)])
