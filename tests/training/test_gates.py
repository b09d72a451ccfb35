"""What the gates let through."""

import pytest

from training.gates import alias_for, gates_of
from training.settings import TrainingSettings

SETTINGS = TrainingSettings()
GOOD_RANKER = {"ndcg_10": 0.3, "above_popular_upper": 0.1}


@pytest.mark.parametrize(
    ("metrics", "reigning", "passed"),
    [
        (GOOD_RANKER, None, True),
        ({"ndcg_10": 0.3, "above_popular_upper": -0.01}, None, False),
        (GOOD_RANKER, {"ndcg_10": 0.31}, True),
        (GOOD_RANKER, {"ndcg_10": 0.33}, False),
        ({"ndcg_10": 0.3}, None, False),
        ({"test_users": 0.0}, {"ndcg_10": 0.3}, True),
    ],
)
def test_ranker(metrics: dict[str, float], reigning: dict[str, float] | None, passed: bool) -> None:
    assert all(gate.passed for gate in gates_of("ranker", metrics, SETTINGS, reigning)) is passed


@pytest.mark.parametrize(("metrics", "passed"), [({"unsupported_claims": 0.0}, True), ({"unsupported_claims": 0.01}, False), ({}, False)])
def test_writer(metrics: dict[str, float], passed: bool) -> None:
    assert all(gate.passed for gate in gates_of("writer", metrics, SETTINGS, None)) is passed


def test_a_gate_says_what_was_missing() -> None:
    assert gates_of("writer", {}, SETTINGS, None)[0].reason == "unsupported_claims was not measured"


def test_first_becomes_champion_later_challenger_failed_nothing() -> None:
    assert alias_for([True], has_champion=False) == "champion"
    assert alias_for([True], has_champion=True) == "challenger"
    assert alias_for([True, False], has_champion=False) == ""
