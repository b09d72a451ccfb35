"""Compose: every text is checked, a template steps in and is counted, variants differ, dislikes and other people stay out."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from feature_repo.home import ShopHome
from feature_repo.settings import Settings
from serving.compose import Composer, ComposeRequest
from training.content.facts import ledger
from training.content.model import Writer
from training.content.policy import Policy
from training.content.train import Effort, train_writer
from training.settings import TrainingSettings

MUG = {
    "product_id": "m", "title": "Trail Mug", "title_zh": "小径杯", "brand": "Halden",
    "category": "Mugs", "category_zh": "杯子", "category_path": "Home > Mugs",
    "price": 12.0, "currency": "GBP", "attributes": {"material": "steel", "colour": "black", "weight": {"value": 300, "unit": "g"}},
}  # fmt: skip
GAME = {"product_id": "g", "title": "Castle Quest", "category": "Games", "category_path": "Media > Games", "price": 30.0, "currency": "GBP"}
BARE = {"product_id": "b", "title": "Night Cream"}


@dataclass(frozen=True)
class Liking:
    kind: str
    subject: str
    weight: float
    preference: float


@dataclass(frozen=True)
class Person:
    interests: tuple[Liking, ...]
    price_level: float | None = None


PERSON = Person((Liking("category", "Mugs", 2.0, 1.0), Liking("category", "Games", -1.0, -1.0)))


@pytest.fixture(scope="module")
def composer(tmp_path_factory: pytest.TempPathFactory) -> Composer:
    """With a writer that has hardly learned anything: what it can't do well must be caught."""
    folder = tmp_path_factory.mktemp("compose")
    home = ShopHome.create(Settings(home=folder), "tiny")
    home.tables.mkdir()
    pd.DataFrame([{**MUG, "valid_from": pd.NaT}]).to_parquet(home.tables / "products.parquet")
    settings = TrainingSettings(home=folder, device="cpu", threads=1, seed=3)
    done = train_writer(home, settings, folder / "writer", progress=False, effort=Effort(lines=400, steps=12, measured=2))
    return Composer(Writer.load(done.folder), Policy.load(brands=("Halden",)), rounds=1)


@pytest.mark.parametrize("channel", ["title", "push", "email", "article"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_comes_out_passes_the_checker(composer: Composer, channel: str, language: str) -> None:
    found = composer.compose(ComposeRequest((MUG, BARE), channel, language, n=2, profile=PERSON, seed=4))
    policy, facts = Policy.load(), (*ledger(MUG).facts, *ledger(BARE).facts)
    assert found
    for variant in found:
        texts = [variant.subject, variant.body] if channel == "email" else [variant.text]
        assert all(text and policy.check(text, facts, language).ok for text in texts)
        assert variant.checked and variant.policy_version == policy.version and variant.explanation
        assert all(any(fact.value.lower() in text.lower() for text in texts if text) for fact in variant.facts)


def test_variants_differ_and_repeat_with_their_seed(composer: Composer) -> None:
    request = ComposeRequest((MUG,), "push", "en", n=3, seed=9)
    texts = [variant.text for variant in composer.compose(request)]
    assert len(set(texts)) == len(texts) >= 2
    assert texts == [variant.text for variant in composer.compose(request)]


def test_a_template_steps_in_and_is_counted() -> None:
    composer = Composer(None, Policy.load())
    variants = composer.compose(ComposeRequest((MUG,), "email", "en", profile=PERSON))
    assert [variant.backend for variant in variants] == ["template"]
    assert variants[0].subject and variants[0].subject.startswith("Trail Mug") and "£12" in (variants[0].body or "")
    assert composer.counts["templates"] == 2


def test_a_product_without_a_chinese_title_keeps_its_own(composer: Composer) -> None:
    assert "Night Cream" in str(composer.compose(ComposeRequest((BARE,), "push", "zh"))[0].text)


def test_a_product_without_a_title_gets_no_copy(composer: Composer) -> None:
    assert composer.compose(ComposeRequest(({"product_id": "x", "title": None},), "push", "en")) == []


def test_an_article_leaves_out_what_is_disliked(composer: Composer) -> None:
    article = composer.compose(ComposeRequest((GAME, MUG), "article", "en", profile=PERSON))[0]
    assert article.product_ids == ("m",) and "Castle Quest" not in str(article.text)
    assert any("left out g" in reason for reason in article.explanation)
    plain = composer.compose(ComposeRequest((GAME, MUG), "article", "en", profile=PERSON, personalised=False))[0]
    assert plain.product_ids == ("g", "m")
    assert composer.compose(ComposeRequest((GAME,), "article", "en", profile=PERSON)) == []


MARKED_UP = {**GAME, "product_id": "h", "title": "<b>Castle</b>&nbsp;Quest &lt;i&gt;II\u200b", "category": "<i>Games</i>", "category_path": None}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("writes", [True, False])
def test_markup_in_a_title_is_data(composer: Composer, language: str, writes: bool) -> None:
    """Guards against a whole article vanishing because of one product's title."""
    article = (composer if writes else Composer(None)).compose(ComposeRequest((MARKED_UP, MUG), "article", language, seed=2))[0]
    assert article.product_ids == ("h", "m")
    assert "Castle Quest II" in str(article.text)
    assert "<" not in str(article.text)


def test_markup_hides_no_dislike() -> None:
    grumpy = Person((Liking("category", "<i>Games</i>", -1.0, -1.0),))
    assert Composer(None).compose(ComposeRequest((MARKED_UP, MUG), "article", "en", profile=grumpy))[0].product_ids == ("m",)


def test_a_title_that_is_nothing_but_markup_gets_no_copy() -> None:
    assert Composer(None).compose(ComposeRequest(({"product_id": "x", "title": "<br/>"},), "push", "en")) == []


def test_an_article_goes_on_without_a_product_that_nothing_can_be_said_of() -> None:
    twin = {**BARE, "product_id": "c"}
    article = Composer(None).compose(ComposeRequest((BARE, twin, MUG), "article", "en"))[0]
    assert article.product_ids == ("b", "m") and "Trail Mug" in str(article.text)
    assert "left out c: nothing can be said of it" in article.explanation


def test_an_article_begins_with_what_the_reader_cares_for(composer: Composer) -> None:
    keen = Person((Liking("category", "Mugs", 2.0, 0.0),))
    assert composer.compose(ComposeRequest((GAME, MUG), "article", "en", profile=keen))[0].product_ids == ("m", "g")


def test_an_article_tells_about_the_twelve_products_that_interest_most() -> None:
    rows = tuple({**MUG, "product_id": f"m{number}", "title": f"Mug of {chr(65 + number)}shire"} for number in range(20))
    keen = Person((Liking("brand", "Loved", 1.0, 0.0),))
    article = Composer(None).compose(ComposeRequest((*rows, {**rows[0], "product_id": "best", "brand": "Loved"}), "article", "en", profile=keen))[0]
    assert article.product_ids == ("best", *(f"m{number}" for number in range(11)))
    assert "left out 9 more: an article tells about 12 products" in article.explanation


def test_a_few_stubborn_parts_cost_a_few_batches(composer: Composer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a round per try: an article over 50 products took 12 of them, each as long as the first."""
    batches = []
    assert composer.writer
    write = composer.writer.write
    monkeypatch.setattr(composer.writer, "write", lambda requests, seed: batches.append(len(requests)) or write(requests, seed))
    Composer(composer.writer, rounds=4).compose(ComposeRequest((MUG, GAME, BARE), "article", "en", seed=1))
    assert 1 <= len(batches) <= 6


def test_plain_copy_knows_no_profile(composer: Composer) -> None:
    taste = {"user_tone_expert_clicks_90d": 50.0, "user_tone_expert_impressions_90d": 60.0}
    personal = composer.compose(ComposeRequest((MUG,), "push", "en", profile=PERSON, copy_taste=taste))[0]
    plain = composer.compose(ComposeRequest((MUG,), "push", "en", profile=PERSON, copy_taste=taste, personalised=False))[0]
    assert (personal.tone, plain.tone) == ("expert", "plain")


def test_a_batch_keeps_its_order(composer: Composer) -> None:
    found = composer.compose_many([ComposeRequest((row,), "title", "en") for row in (MUG, GAME, BARE)])
    assert [variants[0].product_id for variants in found] == ["m", "g", "b"]


def test_an_unknown_channel_is_refused(composer: Composer) -> None:
    with pytest.raises(ValueError, match="No channel 'fax'"):
        composer.compose(ComposeRequest((MUG,), "fax"))


def test_loading_needs_a_writer(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="holds no writer"):
        Composer.load(tmp_path)
