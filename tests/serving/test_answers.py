"""The core in this process: places that are drawn, reasons on every surface."""

from collections.abc import Iterator

import pytest

from feature_repo import journal
from serving import contracts
from serving.answers import Answers
from serving.letter_source import LetterSource
from serving.recommend import Wish
from tests.serving import corner

SHOPPERS = [f"c-{number:04d}" for number in range(1, 61)]
N = 9


@pytest.fixture(scope="module")
def answers() -> Iterator[Answers]:
    opened = Answers.open(corner.trained(), corner.settings(exploration_slots=2, exploration_pool=10, journal_sample_share=1.0))
    yield opened
    opened.close()


def ids(answers: Answers, user: str, decision: str) -> list[str]:
    return [item.product_id for item in answers.shelf(user, Wish(N, decision=decision)).items]


def test_a_decision_is_drawn_the_same_again_and_another_differs_at_its_end_only(answers: Answers) -> None:
    user = answers.pseudonyms.user(SHOPPERS[0])
    shelves = [ids(answers, user, f"r-{number}") for number in range(20)]
    assert ids(answers, user, "r-3") == shelves[3]
    assert len({tuple(shelf[: N - 2]) for shelf in shelves}) == 1 < len({tuple(shelf[N - 2 :]) for shelf in shelves})


def test_the_journal_has_the_probabilities_of_what_was_drawn(answers: Answers) -> None:
    answers.recommendations(contracts.RecommendationsRequest(user_id=SHOPPERS[0], n=N), "r-explored")
    assert answers.journal.flush()
    kept = next(each for each in journal.decisions(answers.home.journal) if each.request_id == "r-explored")
    shown = [item for item in kept.items if item.returned]
    assert [item.rule for item in shown] == ["score"] * (N - 2) + ["exploration"] * 2
    assert [(item.propensity, item.inclusion) for item in shown[N - 2 :]] == [(0.1, 0.2)] * 2
    waiting = [item for item in kept.items if not item.returned and item.inclusion]
    assert len(waiting) == 8 and all((item.inclusion, item.propensity) == (0.2, 0.0) for item in waiting)
    assert sum(item.inclusion for item in kept.items) == pytest.approx(N)


def test_every_product_shown_has_a_reason_in_both_languages(answers: Answers) -> None:
    """ "From our shelf" is the fallback; it is rare, for it says little."""
    told = [item.reasons for shopper in SHOPPERS for item in answers.shelf(answers.pseudonyms.user(shopper), Wish(N, decision=shopper)).items]
    assert len(told) > 300 and all(reasons and all(each.text and each.text_zh for each in reasons) for reasons in told)
    assert sum(reasons[0].code == "picked" for reasons in told) < 0.05 * len(told)


def test_api_feed_and_letter_tell_the_same(answers: Answers) -> None:
    asked = {"user_id": SHOPPERS[0], "n": 4}
    listed = answers.recommendations(contracts.RecommendationsRequest(**asked), "r-same").items
    fed = answers.feed(contracts.FeedRequest(**asked), "r-same").items
    assert [item.reasons for item in listed] == [item.reasons for item in fed]
    source = LetterSource(corner.trained(), answers.settings, 4)
    try:
        for language in ("en", "zh"):
            letter = source(answers.pseudonyms.user(SHOPPERS[0]), language, "r-same")
            assert letter is not None
            first = [item.reasons[0].text_zh if letter.language == "zh" else item.reasons[0].text for item in listed]
            assert [item.reason for item in letter.items] == first
    finally:
        source.close()


def test_an_anonymous_caller_is_told_nothing_of_the_shopper(answers: Answers) -> None:
    asked = contracts.RecommendationsRequest(user_id=SHOPPERS[0], n=N)
    codes = {why.code for item in answers.recommendations(asked, "r-open", personal=False).items for why in item.reasons}
    assert codes <= {"new", "popular", "explore", "picked"}
