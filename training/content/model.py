"""The writer: a small decoder-only transformer that writes language around slots, never a fact.

A model folder is a standard Hugging Face checkpoint (config.json, model.safetensors, tokenizer.json: `AutoModelForCausalLM` and `AutoTokenizer`
load it) beside `writer.json` (controls, lengths, known slot sets) and `phrases.npz` (hashes of the word sequences that its training text holds).

The prompt: <bos>, part, voice (language, tone and aspect), domain, then the slots in the order they must appear in. Decoding is constrained:
control tokens, digits and signs of money never; of the slots only the next one; no end before all have appeared.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from training.content.facts import LANGUAGES
from training.content.plan import ASPECTS, PARTS, SLOTS, TONES, CopyRequest
from training.errors import TrainingError

WRITER_FILE = "writer.json"
PHRASES_FILE = "phrases.npz"
PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
BATCH = 256
DONE = len(SLOTS)
TOP_K, TOP_P, TEMPERATURE = 40, 0.95, 0.9
WORDS_IN_A_ROW = {"en": 3, "zh": 4}
"""Length of the sequences (English words, Chinese characters) that must all have stood in the training text."""


@dataclass(frozen=True)
class Draft:
    """What the writer wrote: text with slots. `sound` tells whether it is complete, says each slot once and reads like the training text in
    every short stretch; `score` is its mean log-probability per token."""

    request: CopyRequest
    text: str
    sound: bool
    score: float


@dataclass(frozen=True)
class WriterFacts:
    """What the writer knows about itself, `writer.json`. `longest` is tokens by part; `known` the orders of slots by "language|part|tone"."""

    domains: tuple[str, ...]
    longest: dict[str, int]
    known: dict[str, list[list[str]]]

    @classmethod
    def read(cls, file: Path) -> "WriterFacts":
        content = json.loads(file.read_text("utf-8"))
        return cls(tuple(content["domains"]), content["longest"], content["known"])

    def write(self, file: Path) -> None:
        content = {"version": 1, "domains": list(self.domains), "longest": self.longest, "known": self.known}
        file.write_text(json.dumps(content, ensure_ascii=False, sort_keys=True), "utf-8")


class Phrases:
    """Remembers which short stretches of words a training text holds (64-bit hashes, BLAKE2b), to tell sound language from a slip of the model."""

    def __init__(self, hashes: Iterable[int]) -> None:
        self.hashes = frozenset(hashes)

    @classmethod
    def of(cls, lines: Iterable[tuple[str, str]]) -> "Phrases":
        """From (language, text) pairs."""
        return cls({_hash(stretch) for language, text in lines for stretch in _stretches(language, text)})

    @classmethod
    def load(cls, file: Path) -> "Phrases":
        with np.load(file, allow_pickle=False) as content:
            return cls(content["hashes"].tolist())

    def save(self, file: Path) -> None:
        np.savez_compressed(file, hashes=np.array(sorted(self.hashes), dtype=np.uint64))

    def hold(self, language: str, text: str) -> bool:
        return all(_hash(stretch) in self.hashes for stretch in _stretches(language, text))


class Writer:
    """Loads a writer's folder and writes. Not safe for threads that share it: give each its own, or a lock."""

    def __init__(self, model: Any, tokenizer: Any, facts: WriterFacts, phrases: Phrases, device: str) -> None:
        self.model, self.tokenizer, self.facts, self.phrases, self.device = model, tokenizer, facts, phrases, device
        self._slot_ids = torch.tensor([tokenizer.convert_tokens_to_ids(f"<{slot}>") for slot in SLOTS], device=device)
        self._barred = _barred_tokens(tokenizer).to(device)
        self._eos, self._pad = tokenizer.convert_tokens_to_ids(EOS), tokenizer.convert_tokens_to_ids(PAD)
        self._known: dict[str, dict[frozenset[str], list[tuple[str, ...]]]] = {}
        for key, orders in facts.known.items():
            for order in orders:
                self._known.setdefault(key, {}).setdefault(frozenset(order), []).append(tuple(order))

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> "Writer":
        """
        Raises:
            TrainingError: the folder holds no writer.
        """
        missing = [name for name in ("config.json", "model.safetensors", "tokenizer.json", WRITER_FILE, PHRASES_FILE) if not (folder / name).exists()]
        if missing:
            raise TrainingError(f"{folder} holds no writer ({', '.join(missing)} missing): run `make train` first.")
        transformers_logging.disable_progress_bar()
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).to(device).eval()
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        return cls(model, tokenizer, WriterFacts.read(folder / WRITER_FILE), Phrases.load(folder / PHRASES_FILE), device)

    def known(self, language: str, part: str, tone: str) -> Mapping[frozenset[str], Sequence[tuple[str, ...]]]:
        """Slot sets that the training text of this part, tone and language has, each with the orders in which they were said."""
        return self._known.get(f"{language}|{part}|{tone}", {})

    def write(self, requests: Sequence[CopyRequest], seed: int) -> list[Draft]:
        """One draft per request, in their order. The same requests and seed give the same drafts."""
        generator = torch.Generator(device=self.device).manual_seed(seed)
        alike: dict[tuple[int, int], list[int]] = {}
        for at, request in enumerate(requests):  # prompts of one length, texts of about one length
            alike.setdefault((len(request.slots), self.facts.longest.get(request.part, 0)), []).append(at)
        drafts: dict[int, Draft] = {}
        for _, places in sorted(alike.items()):
            for start in range(0, len(places), BATCH):
                batch = places[start : start + BATCH]
                for at, draft in zip(batch, self._batch([requests[at] for at in batch], generator), strict=True):
                    drafts[at] = draft
        return [drafts[at] for at in range(len(requests))]

    def write_until(
        self, requests: Sequence[CopyRequest], accept: Callable[[int, Draft], bool], seed: int, rounds: int = 4
    ) -> tuple[list[Draft | None], int]:
        """Writes until `accept(position, draft)` says yes, at most `rounds` times; None where it never did. Also how many drafts were written.

        A draft that is not sound is never offered.
        """
        done: list[Draft | None] = [None] * len(requests)
        written = 0
        for turn in range(rounds):
            open_ = [at for at, draft in enumerate(done) if draft is None]
            if not open_:
                break
            written += len(open_)
            for at, draft in zip(open_, self.write([requests[at] for at in open_], seed + 7919 * turn), strict=True):
                if draft.sound and accept(at, draft):
                    done[at] = draft
        return done, written

    @torch.inference_mode()
    def _batch(self, requests: Sequence[CopyRequest], generator: torch.Generator) -> list[Draft]:
        count = len(requests)
        prompts = torch.tensor(
            [self.tokenizer.convert_tokens_to_ids(prompt(request, self.facts.domains)) for request in requests], device=self.device
        )
        turns = torch.tensor(
            [[request.slots.index(slot) if slot in request.slots else DONE for slot in SLOTS] for request in requests], device=self.device
        )
        limits = torch.tensor([self.facts.longest.get(request.part, 0) for request in requests], device=self.device)
        longest = int(limits.max())
        tokens = torch.full((count, longest), self._pad, device=self.device)
        scores = torch.zeros(count, device=self.device)
        ended = torch.zeros(count, dtype=torch.bool, device=self.device)
        output = self.model(input_ids=prompts, use_cache=True, logits_to_keep=1)
        for step in range(longest):
            logits = self._constrained(output.logits[:, -1].float(), turns)
            chosen, chance = _sampled(logits, generator)
            chosen = torch.where(ended, self._pad, chosen)
            scores += torch.where(ended, 0.0, chance)
            tokens[:, step] = chosen
            turns = turns.masked_fill(chosen[:, None] == self._slot_ids[None], DONE)
            ended |= (chosen == self._eos) | (step + 1 >= limits)
            if bool(ended.all()):
                break
            output = self.model(input_ids=chosen[:, None], past_key_values=output.past_key_values, use_cache=True, logits_to_keep=1)
        return [self._draft(request, ids, float(score)) for request, ids, score in zip(requests, tokens.tolist(), scores, strict=True)]

    def _constrained(self, logits: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
        """Bar what may never be written, every slot but the next one, and the end while any is to come. `turns` int64[rows, slots]: place in the
        order, DONE for those not asked for or written already."""
        logits = logits + self._barred
        upcoming = turns.min(dim=1, keepdim=True).values
        logits[:, self._slot_ids] = logits[:, self._slot_ids].masked_fill((turns != upcoming) | (turns == DONE), -math.inf)
        logits[:, self._eos] = logits[:, self._eos].masked_fill(upcoming[:, 0] != DONE, -math.inf)
        return logits

    def _draft(self, request: CopyRequest, ids: list[int], score: float) -> Draft:
        complete = self._eos in ids
        ids = ids[: ids.index(self._eos)] if complete else [token for token in ids if token != self._pad]
        text = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False).strip()
        sound = complete and self.is_sound(request, text)
        return Draft(request, text, sound, score / (len(ids) + 1))

    def is_sound(self, request: CopyRequest, text: str) -> bool:
        """Each slot once and no other, no sentence twice, and every short stretch of words known."""
        slots = re.findall(r"<(\w+)>", text)
        sentences = [sentence for sentence in re.split(r"(?<=[.!?。！？])\s*", text) if sentence]
        return tuple(slots) == request.slots and bool(text) and len(sentences) == len(set(sentences)) and self.phrases.hold(request.language, text)


def special_tokens(domains: Sequence[str]) -> list[str]:
    """All special tokens of the writer's tokenizer: padding and ends, controls, slots."""
    controls = [f"<part:{part}>" for part in PARTS]
    for language in LANGUAGES:
        controls += [f"<voice:{language}:{tone}:{aspect}>" for tone in TONES for aspect in ASPECTS]
        controls += [f"<domain:{language}:{domain}>" for domain in domains]
    return [PAD, BOS, EOS, *controls, *(f"<{slot}>" for slot in SLOTS)]


def prompt(request: CopyRequest, domains: Sequence[str]) -> list[str]:
    """The control tokens of a request. Language, tone and aspect are one token: what depends on all three is learned in a fraction of the steps
    that it takes to learn to combine them.

    Raises:
        TrainingError: a slot that there is none of.
    """
    if unknown := set(request.slots) - set(SLOTS):
        raise TrainingError(f"No slot '{min(unknown)}': there are {', '.join(SLOTS)}.")
    domain = request.domain if request.domain in domains else "general"
    controls = [f"<part:{request.part}>", f"<voice:{request.language}:{request.tone}:{request.aspect}>", f"<domain:{request.language}:{domain}>"]
    return [BOS, *controls, *(f"<{slot}>" for slot in request.slots)]


def _sampled(logits: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """One token per row by top-k and nucleus sampling, with its log-probability among all that were allowed."""
    chances = torch.softmax(logits / TEMPERATURE, dim=-1)
    top, ids = chances.topk(min(TOP_K, chances.shape[1]), dim=-1)
    top = top.masked_fill(top.cumsum(-1) - top > TOP_P, 0.0)
    place = torch.multinomial(top, 1, generator=generator)
    chosen = ids.gather(1, place)[:, 0]
    return chosen, chances.gather(1, chosen[:, None])[:, 0].clamp_min(1e-12).log()


def _barred_tokens(tokenizer: Any) -> torch.Tensor:
    """-inf for every token that holds a digit or a sign of money or share, and for all special ones but slots and the end; else 0."""
    bias = torch.zeros(len(tokenizer))
    special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    allowed = {tokenizer.convert_tokens_to_ids(f"<{slot}>") for slot in SLOTS} | {tokenizer.convert_tokens_to_ids(EOS)}
    for token in range(len(tokenizer)):
        barred = token in special and token not in allowed
        if barred or (token not in special and re.search(r"[\d$€£¥￥%％]", tokenizer.decode([token]))):
            bias[token] = -math.inf
    return bias


def _stretches(language: str, text: str) -> list[str]:
    """Overlapping runs of words (English) or characters (Chinese); slots and punctuation count as one each, ends as well."""
    pattern = r"<\w+>|[\w'’-]+|[^\w\s]" if language == "en" else r"<\w+>|\S"
    words = ["^", *re.findall(pattern, text), "$"]
    size = WORDS_IN_A_ROW[language]
    return [f"{language} " + " ".join(words[at : at + size]) for at in range(max(1, len(words) - size + 1))]


def _hash(stretch: str) -> int:
    return int.from_bytes(blake2b(stretch.encode(), digest_size=8).digest(), "big")
