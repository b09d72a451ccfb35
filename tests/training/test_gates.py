"""What the gates let through."""

import pytest

from training.gates import alias_for, gates_of
from training.settings import TrainingSettings

SETTINGS = TrainingSettings()
GOOD_BEHAVIOUR = {
    "similar_lists_lower": 0.3,
    "dislike_falls_lower": 0.02,
    "complement_rises_lower": 0.04,
    "new_user_popularity": 0.9,
    "empty_lists": 0.0,
}
GOOD_RANKER = {"above_popular_upper": 0.1, "above_best_upper": 0.01} | GOOD_BEHAVIOUR
GOOD_WRITER = {"unsupported_claims": 0.0, "violating_share_raw": 0.1, "fallback_rate": 0.05}


@pytest.mark.parametrize(
    ("metrics", "reigning", "passed"),
    [
        (GOOD_RANKER, False, True),
        (GOOD_RANKER | {"above_popular_upper": -0.01}, False, False),
        (GOOD_RANKER | {"above_best_upper": -0.01}, False, False),
        ({"above_popular_upper": 0.1} | GOOD_BEHAVIOUR, False, False),
        ({"above_popular_upper": 0.1, "above_best_upper": 0.01}, False, False),
        (GOOD_RANKER | {"above_champion_upper": -0.01}, True, True),
        (GOOD_RANKER | {"above_champion_upper": -0.03}, True, False),
        (GOOD_RANKER, True, True),
        (GOOD_RANKER | {"similar_lists_lower": 0.05}, False, False),
        (GOOD_RANKER | {"dislike_falls_lower": 0.0}, False, False),
        (GOOD_RANKER | {"complement_rises_lower": -0.01}, False, False),
        (GOOD_RANKER | {"complement_rises_lower": -0.01, "complement_rises_people": 19.0}, False, True),
        (GOOD_RANKER | {"new_user_popularity": 0.5}, False, False),
        (GOOD_RANKER | {"empty_lists": 1.0}, False, False),
        (GOOD_RANKER | {"vetoed_shown": 1.0}, False, False),
        ({"test_users": 1.0}, False, True),
        ({"test_users": 2.0}, False, False),
    ],
)
def test_ranker(metrics: dict[str, float], reigning: bool, passed: bool) -> None:
    assert all(gate.passed for gate in gates_of("ranker", metrics, SETTINGS, reigning)) is passed


@pytest.mark.parametrize(
    ("metrics", "passed"),
    [
        (GOOD_WRITER, True),
        (GOOD_WRITER | {"unsupported_claims": 1.0}, False),
        (GOOD_WRITER | {"violating_share_raw": 0.6}, False),
        (GOOD_WRITER | {"fallback_rate": 0.6}, False),
        ({}, False),
    ],
)
def test_writer(metrics: dict[str, float], passed: bool) -> None:
    assert all(gate.passed for gate in gates_of("writer", metrics, SETTINGS)) is passed


@pytest.mark.parametrize(
    ("metrics", "passed"), [({"candidates_mean": 3.0, "test_users": 0.0}, True), ({"candidates_mean": 0.0, "test_users": 0.0}, False)]
)
def test_a_retriever_has_to_propose_something_whoever_acted(metrics: dict[str, float], passed: bool) -> None:
    assert all(gate.passed for gate in gates_of("retriever", metrics, SETTINGS)) is passed


def test_what_can_not_be_compared_with_the_champion_is_said() -> None:
    assert [gate.reason for gate in gates_of("ranker", GOOD_RANKER, SETTINGS, reigning=True)][-1].startswith("not compared")


def test_a_gate_says_what_was_missing() -> None:
    assert gates_of("writer", {}, SETTINGS)[0].reason == "unsupported_claims was not measured"


def test_first_becomes_champion_later_challenger_failed_nothing() -> None:
    assert alias_for([True], has_champion=False) == "champion"
    assert alias_for([True], has_champion=True) == "challenger"
    assert alias_for([True, False], has_champion=False) == ""
