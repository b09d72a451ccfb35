"""The writer, trained for a few steps: its checkpoint is a standard one, and its constraints hold however little it has learned."""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from feature_repo.home import ShopHome
from feature_repo.settings import Settings
from training.content.model import Phrases, Writer
from training.content.plan import ASPECTS, SLOTS, TONES, CopyRequest
from training.content.train import Effort, WriterTraining, distinct, train_writer
from training.errors import TrainingError
from training.settings import TrainingSettings

REQUESTS = [
    CopyRequest(part, language, tone, aspect, "home", slots)
    for part, slots in (("push", ("title", "color")), ("body", ("title", "price", "material")), ("closing", ()))
    for language in ("en", "zh")
    for tone, aspect in zip(TONES, ASPECTS, strict=False)
]


def trained(folder: Path) -> WriterTraining:
    home = ShopHome.create(Settings(home=folder), "tiny")
    home.tables.mkdir()
    rows = [{"product_id": f"p{at}", "title": f"Lamp {at}", "price": 5.0 + at, "currency": "GBP", "valid_from": pd.NaT} for at in range(4)]
    pd.DataFrame(rows).to_parquet(home.tables / "products.parquet")
    settings = TrainingSettings(home=folder, device="cpu", threads=1, seed=3)
    return train_writer(home, settings, folder / "writer", progress=False, effort=Effort(lines=400, steps=12, measured=4))


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> WriterTraining:
    return trained(tmp_path_factory.mktemp("writer"))


def test_the_checkpoint_is_a_standard_one(training: WriterTraining) -> None:
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in training.folder.iterdir()}
    model = AutoModelForCausalLM.from_pretrained(training.folder)
    tokenizer = AutoTokenizer.from_pretrained(training.folder)
    ids = tokenizer("Made of <material>, 材质是<material>。")["input_ids"]
    assert tokenizer.decode(ids) == "Made of <material>, 材质是<material>。"
    assert model(input_ids=torch.tensor([ids])).logits.shape[-1] == len(tokenizer)


def test_slots_and_digits_are_never_the_writers_own(training: WriterTraining) -> None:
    writer = Writer.load(training.folder)
    for draft in writer.write(REQUESTS * 3, seed=1):
        found = re.findall(r"<(\w+)>", draft.text)
        assert tuple(found) == draft.request.slots[: len(found)]
        assert not re.search(r"[\d$€£¥%]", draft.text)
        assert not draft.sound or tuple(found) == draft.request.slots


def test_the_same_seed_writes_the_same(training: WriterTraining) -> None:
    writer = Writer.load(training.folder)
    assert writer.write(REQUESTS, seed=5) == writer.write(REQUESTS, seed=5)
    assert writer.write(REQUESTS, seed=5) != writer.write(REQUESTS, seed=6)


def test_training_repeats(training: WriterTraining, tmp_path: Path) -> None:
    again = trained(tmp_path)
    assert again.metrics["perplexity"] == training.metrics["perplexity"]
    assert (again.folder / "model.safetensors").read_bytes() == (training.folder / "model.safetensors").read_bytes()


def test_what_is_measured(training: WriterTraining) -> None:
    assert {"perplexity", "slot_validity_raw", "fallback_rate", "distinct_2_en", "violations_raw", "unsupported_claims"} <= training.metrics.keys()
    assert training.metrics["unsupported_claims"] == 0
    assert 1 < training.metrics["perplexity"] < 2_000
    assert set(training.samples["language"]) <= {"en", "zh"} and len(training.samples) == 4


def test_write_until_stops_and_says_what_failed(training: WriterTraining) -> None:
    writer = Writer.load(training.folder)
    done, written = writer.write_until(REQUESTS, lambda at, draft: False, seed=1, rounds=2)
    assert done == [None] * len(REQUESTS) and written == 2 * len(REQUESTS)


def test_soundness_knows_only_what_was_taught() -> None:
    phrases = Phrases.of([("en", "Made of <material>, in <color>."), ("zh", "材质是<material>。")])
    assert phrases.hold("en", "Made of <material>, in <color>.") and phrases.hold("zh", "材质是<material>。")
    assert not phrases.hold("en", "Made <material> of, in <color>.") and not phrases.hold("zh", "材质<material>是。")


def test_a_folder_without_a_writer(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds no writer"):
        Writer.load(tmp_path)


def test_distinct() -> None:
    assert distinct(["a b a b"], 2, "en") == pytest.approx(2 / 3)
    assert distinct(["天天天"], 2, "zh") == pytest.approx(1 / 2)


def test_slots_are_in_the_order_of_the_plan() -> None:
    assert SLOTS[0] == "title" and len(set(SLOTS)) == len(SLOTS)
