"""The model card says what was measured, and only that."""

from dataclasses import replace
from pathlib import Path

import pytest

from training.card import Data, card
from training.evaluation.slices import Estimate, Slice, Sliced
from training.gates import Gate
from training.registry import ModelFolder, ModelMeta, RunFacts

FACTS = RunFacts("datahash", "abc123", "pins")
DATA = Data("corner", False, "purchase", 1234, 56, 78, ("2024-04-01", "2024-05-01"), ("2024-05-01", "2024-05-31"), False)
FIGURES = {f"{name}_10": 0.25 for name in ("hr", "ndcg", "mrr", "map", "coverage", "gini", "diversity", "novelty", "popularity", "calibration")}
REPORT = {
    "ranker": {"all": {**FIGURES, "popularity_lift_10": -0.4, "users": 30.0}},
    "popularity": {"all": {**FIGURES, "popularity_lift_10": 0.9, "users": 30.0}},
}


def sliced() -> Sliced:
    methods = {"ranker": {"ndcg_10": Estimate(0.1, 0.05, 0.15)}, "popularity": {"ndcg_10": Estimate(0.2, 0.15, 0.25)}}
    lead = {"ndcg_10": Estimate(-0.1, -0.15, -0.05)}
    lost = Slice("users", "light", 20, 600, methods, lead, ("ndcg_10",))
    return Sliced("ranker", "popularity", {}, (lost, replace(lost, name="heavy", targets=20, lost=())))


@pytest.fixture
def model(tmp_path: Path) -> ModelFolder:
    (tmp_path / "features.json").write_text("[]")
    meta = ModelMeta("ranker", "lambdamart", "ranker_v1", "f00d", {"embedding": "tfidf"}, ("2024-01-01", "2024-05-31"), 20, {}, {"trees": 40})
    return ModelFolder.write(tmp_path, meta)


def test_the_card_holds_data_figures_slices_gates_and_limits(model: ModelFolder) -> None:
    gates = [Gate("no list is empty", True, "empty_lists 0.0000"), Gate("not below popularity", False, "above_popular_upper -0.1")]
    found = card(model, FACTS, DATA, REPORT, sliced(), gates)
    for words in (
        "# Model card: ranker of shop 'corner'",
        model.version,
        "abc123",
        "datahash",
        "| trees | 40 |",
        "1,234 of 56 known users",
        "2024-05-01 to 2024-05-31",
        "without what the user had taken before",
        "| users: light | 20 | 600 | 0.1000 [0.0500, 0.1500]",
        "-0.1000 [-0.1500, -0.0500] | lost: ndcg_10 |",
        "- passed: no list is empty",
        "- **failed**: not below popularity",
        "The baseline wins in: users: light.",
        "not judged: users: heavy.",
        "75% of the catalogue",
        "40% less popular",
    ):
        assert words in found, words
    assert "SIMULATED" not in found


def test_a_simulated_shop_says_so_and_an_empty_period_too(model: ModelFolder) -> None:
    nothing = {"ranker": {"all": {"users": 0.0}}}
    found = card(model, FACTS, replace(DATA, simulated=True), nothing, Sliced("ranker", "popularity", {}, ()), [])
    assert "SIMULATED" in found and "Means over 0 users" in found and "so there are none" in found


def test_the_card_counts_the_retrievers(tmp_path: Path) -> None:
    (tmp_path / "retrievers.json").write_text("{}")
    meta = ModelMeta("retriever", "set-of-eight", "retriever_v1", "f00d", {}, ("2024-01-01", "2024-05-31"), 20, {}, {})
    assert "8 retrievers and the profile" in card(ModelFolder.write(tmp_path, meta), FACTS, DATA, REPORT, sliced(), [])
