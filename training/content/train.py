"""`python -m training.content.train --help`: train the writer of a shop, alone. `make train` calls `train_writer`.

Steps: the corpus (grammar, and what of the shop's descriptions can be used) -> tokenizer -> transformer -> measures on held-out lines and on
the shop's products.
"""

import argparse
import json
import logging
import math
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from feature_repo import logs
from feature_repo.errors import StoryshelfError
from feature_repo.home import ShopHome
from training.content import corpus
from training.content.facts import FactLedger, ledger
from training.content.model import BOS, EOS, PAD, PHRASES_FILE, WRITER_FILE, Draft, Phrases, Writer, WriterFacts, prompt, special_tokens
from training.content.plan import ASPECTS, PARTS, TONES, CopyPlan, Saying, fill, pick, sayings
from training.content.policy import Policy
from training.errors import TrainingError
from training.settings import TrainingSettings

LINES, HELD_OUT = 40_000, 1_500
STEPS, SMALL_STEPS = 3_600, 2_700
"""Training steps on a shop with descriptions of its own, and on one that brings nothing but titles."""
BATCH, PEAK_RATE = 16, 3e-3
"""Measured at equal samples: 1,200 steps of 16 reach perplexity 1.7, 600 steps of 32 at twice the rate only 4.9."""
VOCABULARY = 2_000
SIZE = {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4}
OFTEN = 3
"""Times an order of slots must have stood in the training text before the writer is asked for it."""
MEASURED, SAMPLES = 400, 40
IGNORED = -100
LOGGED_EVERY = 200

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WriterTraining:
    """A trained writer: its folder (not sealed yet), what it was trained with, how it does, and samples that were drawn at random."""

    folder: Path
    params: dict[str, Any]
    metrics: dict[str, float]
    samples: pd.DataFrame


@dataclass(frozen=True)
class Effort:
    """How much to train; the default is sized for 4 minutes on 2 cores, tests take less."""

    lines: int = LINES
    steps: int | None = None
    measured: int = MEASURED


def train_writer(home: ShopHome, settings: TrainingSettings, out_folder: Path, progress: bool = True, effort: Effort | None = None) -> WriterTraining:
    """Train and measure a writer for the shop. The same tables, seed and device give the same model.

    `out_folder` must be empty or absent.

    Raises:
        TrainingError: the folder holds something, the shop has no products, or cuda is asked for and not there.
    """
    effort = effort or Effort()
    device = device_of(settings.device)
    if out_folder.exists() and any(out_folder.iterdir()):
        raise TrainingError(f"{out_folder} is not empty: name a new folder for the writer.")
    out_folder.mkdir(parents=True, exist_ok=True)
    products = _products(home)
    ledgers = [ledger(row) for row in products]
    policy = Policy.load(brands=sorted({str(row["brand"]) for row in products if row.get("brand")}))  # the shop's brands are names, as in serving
    extra = corpus.from_descriptions(
        [(book, {"en": row.get("description") or "", "zh": row.get("description_zh") or ""}) for book, row in zip(ledgers, products, strict=True)],
        policy,
    )
    started = time.monotonic()
    held_out_size = min(HELD_OUT, max(1, effort.lines // 10))
    lines = corpus.sampled(effort.lines + held_out_size, settings.seed, extra)
    held_out, lines = lines[:held_out_size], lines[held_out_size:]
    steps = effort.steps or (STEPS if any(extra.values()) else SMALL_STEPS)
    tokenizer = train_tokenizer([line.text for line in lines])
    model = _fit(lines, tokenizer, steps, settings, device, progress)
    _save(out_folder, model, tokenizer, lines)
    seconds = time.monotonic() - started
    writer = Writer.load(out_folder, device)
    metrics, samples = measure(writer, ledgers, policy, effort.measured, settings.seed)
    metrics |= {"perplexity": perplexity(model, tokenizer, held_out, device), "train_seconds": round(seconds, 1)}
    metrics |= {"corpus_shop_sentences": float(sum(map(len, extra.values())))}
    params = {"steps": steps, "lines": len(lines), "batch": BATCH, "vocabulary": len(tokenizer), "device": device, "seed": settings.seed, **SIZE}
    params |= {"parameters": sum(weight.numel() for weight in model.parameters()), "policy_version": policy.version}
    return WriterTraining(out_folder, params, metrics, samples)


def device_of(setting: str) -> str:
    """
    Raises:
        TrainingError: cuda is asked for and not there.
    """
    if setting == "cuda" and not torch.cuda.is_available():
        raise TrainingError("STORYSHELF_DEVICE=cuda, but PyTorch finds no CUDA device: set it to auto or cpu.")
    return "cuda" if setting != "cpu" and torch.cuda.is_available() else "cpu"


def train_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE (Wang et al. 2019, arXiv 1909.03341): any text of any language can be written, and no token is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True, normalized=False) for token in special_tokens(corpus.DOMAINS)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), max_token_length=12, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD, clean_up_tokenization_spaces=False)


def measure(writer: Writer, ledgers: Sequence[FactLedger], policy: Policy, count: int, seed: int) -> tuple[dict[str, float], pd.DataFrame]:
    """How the writer does on random products of the shop, raw (its only try) and as the gate lets it through (several tries)."""
    plans = _plans(writer, ledgers, count, random.Random(seed))
    books = {book.product_id: book for book in ledgers}
    started = time.monotonic()
    raw = writer.write([plan.request for plan in plans], seed)
    seconds = time.monotonic() - started
    texts = [fill(draft.text, plan) for draft, plan in zip(raw, plans, strict=True)]
    results = [policy.check(text, books[plan.product_id].facts, plan.language) for text, plan in zip(texts, plans, strict=True)]
    passed = [draft.sound and result.ok for draft, result in zip(raw, results, strict=True)]

    def accept(at: int, draft: Draft) -> bool:
        plan = plans[at]
        return passed[at] or policy.check(fill(draft.text, plan), books[plan.product_id].facts, plan.language).ok

    final, _ = writer.write_until([plan.request for plan in plans], accept, seed)
    count = max(len(plans), 1)
    metrics = {
        "slot_validity_raw": sum(corpus.slots_of(d.text) == d.request.slots for d in raw) / count,
        "sound_raw": sum(draft.sound for draft in raw) / count,
        "violations_raw": sum(len(result.violations) for result in results) / count,
        "violating_share_raw": sum(not result.ok for result in results) / count,
        "unsupported_claims": float(
            sum(
                len(policy.check(fill(draft.text, plan), books[plan.product_id].facts, plan.language).violations)
                for draft, plan in zip(final, plans, strict=True)
                if draft
            )
        ),
        "fallback_rate": sum(draft is None for draft in final) / count,
        "drafts_per_second": len(raw) / max(seconds, 1e-9),
        **{f"control_{kind}": value for kind, value in control_accuracy(final, seed).items()},
    }
    for language in ("en", "zh"):
        drafts = [draft.text for draft in final if draft and draft.request.language == language]
        metrics |= {f"distinct_{n}_{language}": distinct(drafts, n, language) for n in (1, 2, 4)}
    rows = [
        {"product_id": p.product_id, "part": p.part, "language": p.language, "tone": p.tone, "aspect": p.aspect, "raw": t, "sound": d.sound,
         "violations": "; ".join(f"{v.kind}: {v.text}" for v in r.violations), "text": fill(f.text, p) if f else None}
        for p, t, d, r, f in zip(plans, texts, raw, results, final, strict=True)
    ]  # fmt: skip
    return {name: round(value, 6) for name, value in metrics.items()}, pd.DataFrame(rows).head(SAMPLES)


def control_accuracy(drafts: Sequence[Draft | None], seed: int) -> dict[str, float]:
    """Share of drafts whose tone and aspect a plain classifier reads off again. It learned from the grammar, the writer's own school: a check that
    the controls work, no proof that a reader hears them. `…_grammar` is its accuracy on fresh lines of the grammar, the most to hope for: many a
    line has no word of its aspect."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    parts = {"push", "body", "paragraph"}
    found = [draft for draft in drafts if draft and draft.request.part in parts]
    if not found:
        return {}
    lines = [line for line in corpus.sampled(6_000, seed + 1, {}) if line.request.part in parts]
    fresh = [line for line in corpus.sampled(1_000, seed + 2, {}) if line.request.part in parts]
    words = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), min_df=3, max_features=20_000)
    known, asked, held_out = (
        words.fit_transform([line.text for line in lines]),
        *(words.transform([item.text for item in some]) for some in (found, fresh)),
    )
    result = {}
    for kind in ("tone", "aspect"):
        model = LogisticRegression(max_iter=200, C=10.0).fit(known, [getattr(line.request, kind) for line in lines])
        result[kind] = float(np.mean(model.predict(asked) == np.array([getattr(draft.request, kind) for draft in found])))
        result[f"{kind}_grammar"] = float(np.mean(model.predict(held_out) == np.array([getattr(line.request, kind) for line in fresh])))
    return result


def distinct(texts: Sequence[str], n: int, language: str) -> float:
    """Distinct n-grams over all n-grams (Li et al. 2016, arXiv 1510.03055) of delexicalised text; words in English, characters in Chinese."""
    grams: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        words = text.split() if language == "en" else [char for char in text if not char.isspace()]
        grams.update(tuple(words[at : at + n]) for at in range(len(words) - n + 1))
    return len(grams) / max(sum(grams.values()), 1)


@torch.inference_mode()
def perplexity(model: Any, tokenizer: Any, lines: Sequence[corpus.Line], device: str) -> float:
    """exp of the mean negative log-likelihood per token of the text (controls not counted) on lines that were not trained on."""
    model.eval()
    total, count = 0.0, 0
    for start in range(0, len(lines), BATCH):
        inputs, labels = _padded([_encoded(line, tokenizer) for line in lines[start : start + BATCH]], tokenizer.pad_token_id, device)
        size = int((labels != IGNORED).sum())
        total += float(_loss(model, inputs, labels)) * size
        count += size
    return round(math.exp(total / max(count, 1)), 4)


def _fit(lines: Sequence[corpus.Line], tokenizer: Any, steps: int, settings: TrainingSettings, device: str, progress: bool) -> Any:
    """AdamW with warm-up and cosine decay; batches of like length, so that little is padding."""
    torch.manual_seed(settings.seed)
    torch.set_num_threads(1)  # matrices this small gain little from a second thread, and lose ten times as much where the machine is busy
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=256, tie_word_embeddings=True, **ends, **SIZE)
    model = LlamaForCausalLM(config).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.95), weight_decay=0.05)
    warm_up = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))
    )
    encoded = [_encoded(line, tokenizer) for line in lines]
    batches = _batches(encoded, steps, random.Random(settings.seed))
    on_terminal = progress and sys.stderr.isatty()
    bar = tqdm(batches, desc="writer", unit="step", disable=not on_terminal)
    for step, batch in enumerate(bar, start=1):
        inputs, labels = _padded([encoded[at] for at in batch], tokenizer.pad_token_id, device)
        loss = _loss(model, inputs, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        if not on_terminal and (step % LOGGED_EVERY == 0 or step == steps):
            log.info("Writer: step %d of %d, loss %.3f.", step, steps, loss.item())
    return model.eval()


def _loss(model: Any, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the next token, computed only where there is a label: the output layer is a third of the work."""
    hidden = model.model(input_ids=inputs).last_hidden_state[:, :-1]
    asked = labels[:, 1:] != IGNORED
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[asked]), labels[:, 1:][asked])


def _encoded(line: corpus.Line, tokenizer: Any) -> tuple[list[int], list[int]]:
    """(controls, text with its end) as token ids."""
    controls = tokenizer.convert_tokens_to_ids(prompt(line.request, corpus.DOMAINS))
    return controls, [*tokenizer(line.text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


def _batches(encoded: Sequence[tuple[list[int], list[int]]], steps: int, rng: random.Random) -> list[list[int]]:
    """`steps` batches: shuffled, sorted by length inside windows of 50 batches, shuffled again; as many passes as needed."""
    batches: list[list[int]] = []
    while len(batches) < steps:
        order = rng.sample(range(len(encoded)), len(encoded))
        taken = []
        for start in range(0, len(order), 50 * BATCH):
            window = sorted(order[start : start + 50 * BATCH], key=lambda at: len(encoded[at][1]))
            taken += [window[at : at + BATCH] for at in range(0, len(window), BATCH)]
        rng.shuffle(taken)
        batches += taken
    return batches[:steps]


def _padded(rows: Sequence[tuple[list[int], list[int]]], pad: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels, int64[rows, longest]; controls and padding carry no label."""
    longest = max(len(controls) + len(text) for controls, text in rows)
    inputs = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), longest), IGNORED)
    for at, (controls, text) in enumerate(rows):
        inputs[at, : len(controls) + len(text)] = torch.tensor(controls + text)
        labels[at, len(controls) : len(controls) + len(text)] = torch.tensor(text)
    return inputs.to(device), labels.to(device)


def _save(folder: Path, model: Any, tokenizer: Any, lines: Sequence[corpus.Line]) -> None:
    transformers_logging.disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    longest: dict[str, int] = {}
    known: dict[str, Counter[tuple[str, ...]]] = {}
    for line in lines:
        request = line.request
        longest[request.part] = max(longest.get(request.part, 0), len(_encoded(line, tokenizer)[1]) + 4)
        known.setdefault(f"{request.language}|{request.part}|{request.tone}", Counter())[request.slots] += 1
    facts = WriterFacts(
        corpus.DOMAINS, longest, {key: sorted(list(order) for order, seen in orders.items() if seen >= OFTEN) for key, orders in known.items()}
    )
    facts.write(folder / WRITER_FILE)
    Phrases.of((line.request.language, line.text) for line in lines).save(folder / PHRASES_FILE)


def _products(home: ShopHome) -> list[dict[str, Any]]:
    """One row per product of the shop, the latest."""
    file = home.tables / "products.parquet"
    if not file.exists():
        raise TrainingError(f"{file} is missing: run `make features SHOP={home.shop} DATA=<folder>` first.")
    table = pd.read_parquet(file)
    if table.empty:
        raise TrainingError(f"Shop '{home.shop}' has no products to write about.")
    latest = table.sort_values("valid_from", na_position="first", kind="stable").drop_duplicates("product_id", keep="last")
    return [{str(name): value for name, value in row.items()} for row in latest.sort_values("product_id").to_dict("records")]


def _plans(writer: Writer, ledgers: Sequence[FactLedger], count: int, rng: random.Random) -> list[CopyPlan]:
    """Random products, parts, tones, aspects and languages, with the facts that the product has."""
    plans = []
    for _ in range(count):
        book, language = rng.choice(ledgers), rng.choice(("en", "zh"))
        title = book.get("title")
        part, tone, aspect = (
            rng.choice([name for name in PARTS if name not in {"headline", "opening", "closing"}]),
            rng.choice(TONES),
            rng.choice(ASPECTS),
        )
        if title is None:
            continue
        name = Saying("title", title.phrases[language], (title,))
        said = pick(part, name, sayings(book, aspect, language, turn=rng.randrange(4), part=part), writer.known(language, part, tone), rng)
        plans.append(CopyPlan(book.product_id, part, language, tone, aspect, book.domain, said))
    return plans


def main() -> int:
    parser = argparse.ArgumentParser(description="Train the writer of a shop and print its measures as JSON.")
    parser.add_argument("--shop", default="", help="shop whose home to use (default: the one trained last)")
    parser.add_argument("--out", type=Path, help="new folder for the checkpoint (default: a temporary one)")
    parser.add_argument("--steps", type=int, help=f"training steps (default {STEPS}; {SMALL_STEPS} for a shop without descriptions)")
    arguments = parser.parse_args()
    logs.configure()
    try:
        settings = TrainingSettings.read()
        out = arguments.out or Path(tempfile.mkdtemp(prefix="storyshelf-writer-"))
        done = train_writer(ShopHome.open(settings, arguments.shop), settings, out, effort=Effort(steps=arguments.steps))
    except StoryshelfError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps({"folder": str(done.folder), "params": done.params, "metrics": done.metrics}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
