"""What a user takes next, from the order and the times of what they took: a small causal transformer.

SASRec (Kang and McAuley 2018, arXiv 1808.09781) trained with sampled softmax in place of one negative, which is most of its gain (Klenitskiy and
Vasilev 2023, arXiv 2309.07602). A product is the sum of its own vector, its text's and those of its category and brand, so a new product, whose own
vector is zero, has a place at once. A step also knows how long ago the step before it was and whether it was a purchase.
"""

import json
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from training.retrieval.contract import Acts, Floats, Index, Products, Proposals, Query, top
from training.retrieval.encoder import Encoder

Ints = NDArray[np.int64]

GAPS = 12
"""Buckets of the time between two steps: same moment or day, then powers of two of days."""
IGNORED = -1
KEPT_BACK, MOST_KEPT_BACK, PATIENCE = 5, 3_000, 8
"""The last step of one in so many sequences watches, at most of so many; epochs without a better order until training stops."""
BUCKETED = 50
"""Batches that are sorted by length together: like lengths in a batch leave little padding, and the order stays random."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SequentialParams:
    """Shape and training. `length`: steps looked back. `negatives`: products drawn per batch beside each step's own. `epochs`: at most."""

    size: int = 64
    layers: int = 2
    heads: int = 2
    dropout: float = 0.3
    length: int = 50
    negatives: int = 512
    batch: int = 128
    rate: float = 1e-3
    epochs: int = 24


class Network(nn.Module):
    """Item table and encoder. Sequences are padded on the left with `products`, the number of products."""

    def __init__(self, products: int, text: int, keys: int, params: SequentialParams) -> None:
        super().__init__()
        self.products, self.heads = products, params.heads
        self.own = nn.Embedding(products, params.size)
        self.text = nn.Linear(text, params.size, bias=False)
        self.key = nn.EmbeddingBag(keys + 1, params.size, mode="sum", padding_idx=keys)
        self.place = nn.Embedding(params.length, params.size)
        self.gap = nn.Embedding(GAPS, params.size)
        self.bought = nn.Embedding(2, params.size)
        for layer in (self.own, self.text, self.key, self.place, self.gap, self.bought):
            nn.init.normal_(layer.weight, std=0.02)
        with torch.no_grad():
            self.key.weight[keys].zero_()
        width, dropout = 2 * params.size, params.dropout
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(params.size, params.heads, width, dropout, activation="gelu", batch_first=True, norm_first=True)
            for _ in range(params.layers)
        )
        self.norm, self.drop, self.scale = nn.LayerNorm(params.size), nn.Dropout(params.dropout), math.sqrt(params.size)

    def table(self, goods: "Goods") -> torch.Tensor:
        """Vectors of all products, float32[n, size]."""
        own = self.own.weight * goods.known[: self.products, None]
        more = len(goods.known) - self.products
        found: torch.Tensor = functional.pad(own, (0, 0, 0, more)) + self.text(goods.text) + self.key(goods.keys)
        return found

    def some(self, goods: "Goods", rows: torch.Tensor) -> torch.Tensor:
        """Vectors of the products `rows` int64[r] that it is trained with, float32[r, size]."""
        own = functional.embedding(rows, self.own.weight) * goods.known[rows, None]
        found: torch.Tensor = own + self.text(goods.text[rows]) + self.key(goods.keys[rows])
        return found

    def forward(self, items: torch.Tensor, gaps: torch.Tensor, bought: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """int64[b, l] each (items padded with `products`) -> float32[b, l, size]."""
        length = items.shape[1]
        padding = items == len(table)
        padded = torch.cat([table, table.new_zeros(1, table.shape[1])])
        found = functional.embedding(items, padded) * self.scale
        found = self.drop(found + self.place(torch.arange(length - 1, -1, -1)) + self.gap(gaps) + self.bought(bought))
        ahead = torch.triu(torch.ones(length, length, dtype=torch.bool), 1)
        # A padded step sees itself, for an empty row of the attention would be NaN.
        barred = (ahead[None] | padding[:, None, :]) & ~torch.eye(length, dtype=torch.bool)[None]
        barred = barred.repeat_interleave(self.heads, 0)
        for block in self.blocks:
            found = block(found, src_mask=barred)
        return self.norm(found)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Steps:
    """`items`, `gaps`, `bought` int64[steps]; sequence i, of two steps or more, is steps [bounds[i, 0], bounds[i, 1])."""

    items: Ints
    gaps: Ints
    bought: Ints
    bounds: Ints
    count: int  # products

    @classmethod
    def of(cls, acts: Acts, count: int, length: int) -> "Steps":
        """One sequence per user, by time; steps on one product in a row are one. Longer ones are cut into pieces that overlap by one step."""
        order = np.argsort(acts.user, kind="stable")
        order = order[acts.user[order] >= 0]
        user, item, age, bought = acts.user[order], acts.item[order], acts.age[order], acts.bought[order].astype(np.int64)
        if not len(user):
            nothing = np.zeros(0, np.int64)
            return cls(nothing, nothing, nothing, nothing.reshape(0, 2), count)
        same = np.r_[False, (user[1:] == user[:-1]) & (item[1:] == item[:-1])]
        run = np.cumsum(~same) - 1
        kept = np.flatnonzero(~same)
        last = np.r_[kept[1:] - 1, len(user) - 1]
        strongest = np.zeros(len(kept), np.int64)
        np.maximum.at(strongest, run, bought)
        user, item, age = user[kept], item[kept], age[last]
        first = np.r_[True, user[1:] != user[:-1]]
        gaps = np.where(first, 0, gap_codes(np.r_[0.0, -np.diff(age)]))
        begins = np.flatnonzero(first)
        ends = np.r_[begins[1:], len(user)]
        spans = [(max(begin, end - length - 1), end) for begin, stop in zip(begins, ends, strict=True) for end in range(stop, begin + 1, -length)]
        bounds = np.array(spans, np.int64).reshape(-1, 2)
        return cls(item.astype(np.int64), gaps.astype(np.int64), strongest, bounds, count)

    def __len__(self) -> int:
        return len(self.bounds)

    def where(self, keep: NDArray[np.bool_]) -> "Steps":
        return replace(self, bounds=self.bounds[keep])

    def parted(self, random: np.random.Generator) -> tuple["Steps", "Steps"]:
        """All sequences, some without their last step; and those with it.

        Only sequences that keep a pair of steps give one away, and only a product that is in them but once.
        """
        spare = [end - begin > 2 and self.items[end - 1] not in self.items[begin : end - 1] for begin, end in self.bounds]
        long = random.permutation(np.flatnonzero(spare))
        chosen = np.zeros(len(self), bool)
        chosen[long[: min(len(self) // KEPT_BACK, MOST_KEPT_BACK)]] = True
        return replace(self, bounds=self.bounds - np.stack([np.zeros(len(self), np.int64), chosen], axis=1)), self.where(chosen)


def gap_codes(days: NDArray[np.float64]) -> Ints:
    """Days between steps -> 0 (none, or of two steps neither of which has a time) .. GAPS - 1."""
    days = np.where(np.isnan(days), 0.0, days)
    return np.minimum(np.where(days <= 0.5, 0, 1 + np.floor(np.log2(np.maximum(days, 1.0)))), GAPS - 1).astype(np.int64)


@dataclass(frozen=True)
class Goods:
    """What the item table is made of. Products that nobody took in training have no vector of their own."""

    text: torch.Tensor  # float32[n, d]
    keys: torch.Tensor  # int64[n, 2], category and brand; the number of keys stands for none
    known: torch.Tensor  # float32[n], 1 or 0

    @classmethod
    def of(cls, products: Products, keys: Sequence[str], known: NDArray[np.bool_]) -> "Goods":
        code = {key: number for number, key in enumerate(keys)}
        codes = [[code.get(str(name), len(keys)) for name in pair] for pair in zip(products.categories, products.brands, strict=True)]
        padded = np.pad(known, (0, len(products) - len(known)))
        return cls(
            torch.from_numpy(products.vectors), torch.tensor(codes, dtype=torch.long).reshape(-1, 2), torch.from_numpy(padded.astype(np.float32))
        )


class Sequential:
    """A trained encoder and the vectors of the products, of which there may be more than it was trained with."""

    def __init__(
        self,
        network: Network,
        params: SequentialParams,
        keys: Sequence[str],
        known: NDArray[np.bool_],
        products: Products,
        epochs: int,
        sequences: int,
    ) -> None:
        self.network, self.params, self.keys, self.known = network.eval(), params, tuple(keys), known
        self.epochs, self.sequences = epochs, sequences
        self.ids = products.ids[: network.products]
        with torch.inference_mode():
            self.table: Floats = np.ascontiguousarray(network.table(Goods.of(products, keys, known)).numpy())
        self.encoder = Encoder.of(network)

    @classmethod
    def fit(cls, acts: Acts, products: Products, params: SequentialParams, seed: int, start: "Sequential | None" = None) -> "Sequential":
        """Train on sequences of two steps or more.

        Without `start` the last step of some sequences is kept back, and the epoch is kept after which it stands highest. With it training goes on
        from there, on everything and with smaller steps, for a quarter of the epochs that one took; not from one that knew less than half as many
        sequences, whose number of epochs says little.
        """
        torch.manual_seed(seed)
        before = torch.get_num_threads()
        torch.set_num_threads(1)  # matrices this small gain little from a second thread, and lose ten times as much where the machine is busy
        try:
            return cls._fit(acts, products, params, np.random.default_rng(seed), start)
        finally:
            torch.set_num_threads(before)

    @classmethod
    def _fit(cls, acts: Acts, products: Products, params: SequentialParams, random: np.random.Generator, start: "Sequential | None") -> "Sequential":
        steps = Steps.of(acts, len(products), params.length)
        keys = sorted({*products.categories.tolist(), *products.brands.tolist()} - {""})
        known = np.bincount(acts.item, minlength=len(products)) > 0
        network = Network(len(products), products.vectors.shape[1], len(keys), params)
        if start is not None and 2 * start.sequences < len(steps):
            start = None
        if start is not None:
            _go_on(network, products, keys, start)
        goods = Goods.of(products, keys, known)
        drawn = torch.from_numpy(np.flatnonzero(known))
        learned, watched = (steps, steps.where(np.zeros(len(steps), bool))) if start is not None else steps.parted(random)
        epochs = params.epochs if start is None else max(1, round(start.epochs / 4))
        rate = params.rate if start is None else params.rate * 0.3
        optimizer = torch.optim.AdamW(network.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
        batches = -(-len(learned) // params.batch)
        total, warm = max(1, epochs * batches), min(200, max(1, batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1.0, (step + 1) / warm) * (0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, step / total))))
        )
        best, best_epoch, kept = -math.inf, epochs, None
        for epoch in tqdm(range(1, epochs + 1), desc="sequential", unit="epoch", disable=None) if len(learned) else ():
            network.train()
            losses = []
            for batch in _batches(learned, params, random):
                loss = _loss(network, goods, drawn, batch, params)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                losses.append(float(loss.detach()))
            if not len(watched):
                continue
            with torch.inference_mode():
                network.eval()
                figure = _gain(network, goods, watched, params)
            log.info("Sequential: epoch %d, loss %.3f, NDCG@10 of the steps kept back %.4f.", epoch, np.mean(losses), figure)
            if figure > best:
                best, best_epoch, kept = figure, epoch, {name: value.clone() for name, value in network.state_dict().items()}
            elif epoch - best_epoch >= PATIENCE:
                break
        if kept is not None:
            network.load_state_dict(kept)
        return cls(network, params, keys, known, products, best_epoch if start is None else start.epochs, len(steps))

    def scores(self, query: Query) -> Floats:
        """Probability of each product to be the next one, float32[n]; 0 everywhere for a user without acts."""
        items, gaps, bought = _steps_of(query, self.params.length)
        if not len(items):
            return np.zeros(len(self.table), np.float32)
        found = self.table @ self.encoder.last(self.table[items], gaps, bought)
        np.exp(found - found.max(), out=found)
        found /= found.sum()
        return np.asarray(found, np.float32)

    def best(self, query: Query, depth: int, barred: Index) -> Proposals:
        return top(self.scores(query), depth, barred)

    def over(self, products: Products) -> "Sequential":
        return Sequential(self.network, self.params, self.keys, self.known, products, self.epochs, self.sequences)

    def save(self, folder: Path) -> None:
        """Write sequential.safetensors and sequential.json."""
        state = {name: value.contiguous() for name, value in self.network.state_dict().items()}
        save_file(state | {"known": torch.from_numpy(self.known)}, folder / "sequential.safetensors")
        (folder / "sequential.json").write_text(
            json.dumps(
                {"params": asdict(self.params), "keys": list(self.keys), "epochs": self.epochs, "sequences": self.sequences}, ensure_ascii=False
            )
        )

    @classmethod
    def load(cls, folder: Path, products: Products) -> "Sequential":
        """`products`: those it was trained with, in their order, and then any that came later."""
        about = json.loads((folder / "sequential.json").read_text())
        state = load_file(folder / "sequential.safetensors")
        known, params = state.pop("known").numpy(), SequentialParams(**about["params"])
        network = Network(len(known), state["text.weight"].shape[1], len(about["keys"]), params)
        network.load_state_dict(state)
        return cls(network, params, about["keys"], known, products, about["epochs"], about["sequences"])


def _batches(steps: Steps, params: SequentialParams, random: np.random.Generator) -> Iterator[tuple[torch.Tensor, ...]]:
    """Inputs (items, gaps, bought) and the items that follow, int64[b, l], padded on the left; IGNORED where nothing follows."""
    lengths = steps.bounds[:, 1] - steps.bounds[:, 0]
    order = random.permutation(len(steps))
    chosen: list[Ints] = []
    for start in range(0, len(order), params.batch * BUCKETED):
        bucket = order[start : start + params.batch * BUCKETED]
        bucket = bucket[np.argsort(lengths[bucket], kind="stable")]
        chosen += [bucket[at : at + params.batch] for at in range(0, len(bucket), params.batch)]
    for number in random.permutation(len(chosen)):
        rows = chosen[number]
        width = int(lengths[rows].max()) - 1
        found = [np.full((len(rows), width), fill, np.int64) for fill in (steps.count, 0, 0, IGNORED)]
        for at, row in enumerate(rows):
            begin, end = steps.bounds[row]
            put = width - (end - begin - 1)
            for target, values in zip(found, (steps.items, steps.gaps, steps.bought), strict=False):
                target[at, put:] = values[begin : end - 1]
            found[3][at, put:] = steps.items[begin + 1 : end]
        yield tuple(torch.from_numpy(values) for values in found)


def _loss(network: Network, goods: Goods, drawn: torch.Tensor, batch: tuple[torch.Tensor, ...], params: SequentialParams) -> torch.Tensor:
    """Cross-entropy of what follows against products drawn for the whole batch."""
    items, gaps, bought, follows = batch
    there = follows >= 0
    others = drawn[torch.randint(len(drawn), (params.negatives,))]
    # Vectors of all products would cost most of a step; a batch needs few of them. Padding is the largest number, and stays so.
    rows, place = torch.unique(torch.cat([items.flatten(), follows[there], others]), return_inverse=True)
    table = network.some(goods, rows[rows < network.products])
    items, wanted, others = place[: items.numel()].view_as(items), place[items.numel() : -len(others)], place[-len(others) :]
    found = network(items, gaps, bought, table)[there]
    right = (found * table[wanted]).sum(dim=1, keepdim=True)
    wrong = (found @ table[others].T).masked_fill(others[None] == wanted[:, None], -1e9)
    return functional.cross_entropy(torch.cat([right, wrong], dim=1), torch.zeros(len(wanted), dtype=torch.long))


def _gain(network: Network, goods: Goods, steps: Steps, params: SequentialParams) -> float:
    """NDCG@10 of the last steps among all products that are not in the sequence.

    What has learned its sequences by heart puts their products first and what comes next right behind: leaving them out tells the one from the other.
    Loss and mean rank are best long before the first places are.
    """
    table = network.table(goods)
    gains = []
    for items, gaps, bought, follows in _batches(steps, params, np.random.default_rng(0)):
        scores, wanted = network(items, gaps, bought, table)[:, -1] @ table.T, follows[:, -1:]
        own = functional.pad(scores, (0, 1)).scatter(1, items, -math.inf)[:, :-1]  # padding is one product more
        ranks = (own >= scores.gather(1, wanted)).sum(dim=1)
        gains.append((ranks <= 10) / torch.log2(1.0 + ranks))
    return float(torch.cat(gains).mean())


def _go_on(network: Network, products: Products, keys: Sequence[str], start: Sequential) -> None:
    """Put what `start` learned into the network: vectors by product and key, everything else as it is."""
    state, old = network.state_dict(), start.network.state_dict()
    for name in state:
        if name not in ("own.weight", "key.weight"):
            state[name] = old[name].clone()
    for name, mine, theirs in (("own.weight", products.ids[: network.products], start.ids), ("key.weight", keys, start.keys)):
        place = {str(each): number for number, each in enumerate(theirs)}
        for number, each in enumerate(mine):
            if str(each) in place:
                state[name][number] = old[name][place[str(each)]]
    network.load_state_dict(state)


def _steps_of(query: Query, length: int) -> tuple[Ints, Ints, Ints]:
    """A history (latest first) as steps, oldest first."""
    ago = np.minimum(query.days_since_purchase, query.days_since_view)[:length][::-1]
    items = query.items[:length][::-1].astype(np.int64)
    with np.errstate(invalid="ignore"):  # never less never
        gaps = np.r_[0, gap_codes(-np.diff(ago))].astype(np.int64) if len(ago) else np.zeros(0, np.int64)
    bought = (query.days_since_purchase <= query.days_since_view)[:length][::-1].astype(np.int64)
    return items, gaps, bought
