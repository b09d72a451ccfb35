"""The worked example of docs/worked-example.md on a small demo shop: a phone bought, tablets browsed, a laptop reviewed; follows the tech circle,
belongs to the photography group; likes films, dislikes games. Profile, shelf, reasons and an article, as the service's own core answers."""

from collections.abc import Iterator

import pytest

from serving import contracts
from serving.answers import Answers
from serving.bundle import pack
from serving.settings import ServingSettings
from tests.serving.corner import train

MEI = "mei"


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    folder = tmp_path_factory.mktemp("example")
    (folder / "demo.toml").write_text("shoppers = 220\nproducts_per_category = 14\ndays = 100\n")
    home = train(folder / "homes", "demo", folder)
    bundle = pack(home) / "src" / "models"
    opened = Answers.open(home, ServingSettings(home=home.root.parent, shop="demo", bundle=bundle))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def profile(answers: Answers) -> contracts.ProfileResponse:
    return answers.profile(contracts.ProfileRequest(user_id=MEI), "worked-example-profile")


def weight(profile: contracts.ProfileResponse, category: str) -> contracts.InterestShown:
    return next(each for each in profile.interests if (each.kind, each.subject) == ("category", category))


def test_the_profile_has_all_three_sources(profile: contracts.ProfileResponse) -> None:
    assert profile.known
    assert {signal.signal for signal in weight(profile, "Phones").evidence} >= {"purchase", "view"}
    assert "view" in {signal.signal for signal in weight(profile, "Tablets").evidence}
    assert "review" in {signal.signal for signal in weight(profile, "Laptops").evidence}
    assert weight(profile, "Films").preference > 0
    assert weight(profile, "Games").preference < 0
    social = {signal.signal for each in profile.interests for signal in each.evidence}
    assert {"follow", "group"} <= social


def test_games_are_never_shown(answers: Answers) -> None:
    asked = contracts.RecommendationsRequest(user_id=MEI, n=100)
    shelf = answers.recommendations(asked, "worked-example-shelf").items
    assert len(shelf) >= 20
    assert "Games" not in {item.category for item in shelf}
    everybody = answers.recommendations(contracts.RecommendationsRequest(user_id=MEI, n=100, policy="popular"), "worked-example-popular")
    assert "Games" in {item.category for item in everybody.items}  # the shop has them, and others are shown them


def test_every_recommendation_has_a_reason_in_both_languages_that_names_nobody(answers: Answers) -> None:
    shelf = answers.recommendations(contracts.RecommendationsRequest(user_id=MEI, n=20), "worked-example-reasons").items
    reasons = [reason for item in shelf for reason in item.reasons]
    assert all(item.reasons for item in shelf)
    assert all(reason.text and reason.text_zh for reason in reasons)
    assert not [reason for reason in reasons if "u_" in reason.text or "s0" in reason.text]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_article_is_written_about_several_products(answers: Answers, language: contracts.Language) -> None:
    shelf = answers.recommendations(contracts.RecommendationsRequest(user_id=MEI, n=3), f"worked-example-{language}").items
    asked = contracts.ContentRequest(user_id=MEI, product_ids=tuple(item.product_id for item in shelf), channel="article", language=language)
    (article,) = answers.content(asked, f"worked-example-article-{language}").variants
    assert article.text
    paragraphs = [part for part in article.text.split("\n") if part.strip()]
    assert len(paragraphs) >= 3
    named = {fact.product_id: fact.value for fact in article.facts if fact.name == "title"}
    for item in shelf:
        title = item.title_zh if language == "zh" else item.title
        assert title and title.startswith(named[item.product_id]) and named[item.product_id] in article.text
