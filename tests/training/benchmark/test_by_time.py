"""The protocol by time, on the ring of items of the leave-one-out protocol: what follows is known from the days before."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from training.benchmark import by_time
from training.benchmark.by_time import figures_by_cut
from training.benchmark.figures import report, table
from training.errors import TrainingError
from training.evaluation.slices import OUT_OF_REACH, Outcomes
from training.settings import TrainingSettings

ITEMS, USERS, DAYS = 30, 60, 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everybody walks the ring of items from a place of their own, one step every other day."""
    to = tmp_path_factory.mktemp("ring")
    rows = [
        (user, (user * 7 + place) % ITEMS, f"A{(user * 7 + place) % ITEMS}", place, pd.Timestamp("2024-01-01") + pd.Timedelta(days=day), "train")
        for user in range(USERS)
        for place, day in enumerate(range(user % 2, DAYS, 2))
    ]
    pd.DataFrame(rows, columns=["user_idx", "item_idx", "asin", "pos", "timestamp", "loo_split"]).to_parquet(to / "interactions.parquet")
    items = {"item_idx": range(ITEMS), "asin": [f"A{item}" for item in range(ITEMS)], "title": [f"Thing {item}" for item in range(ITEMS)]}
    pd.DataFrame({**items, "attributes": [["Makeup", f"Kind {item % 3}"] for item in range(ITEMS)]}).to_parquet(to / "items.parquet")
    return to


def test_what_comes_next_in_time_is_found(folder: Path, tmp_path: Path) -> None:
    settings = TrainingSettings(trees=20, threads=1, candidates=20, negatives=10, holdout_days=4, label_days=8)
    run = by_time.run(folder, 1, settings, tmp_path)
    assert run.models["full stack"]["test_ndcg@10"] > 1.5 * run.models["popularity"]["test_ndcg@10"]
    found = json.loads(json.dumps(report({1: run}, "time")))
    wanted = {f"{part}_{name}" for part in ("valid", "test") for name in ("hr@5", "hr@10", "hr@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr")}
    assert wanted | {"fit_minutes", "score_ms_per_user", "peak_gb"} <= found["figures"].keys()
    assert found["slices"]["stack"] == "full stack" and "full stack" in table(found)


def test_there_is_no_ablation_by_time(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="leave-one-out"):
        by_time.run(folder, 1, TrainingSettings(), tmp_path, leave_out=True)


def test_figures_of_several_targets() -> None:
    ranks = np.array([0, 6, OUT_OF_REACH, 12])
    outcomes = Outcomes(np.array([0, 0, 0, 1]), np.arange(4), np.zeros(4, bool), 2, {"some": ranks})
    found = figures_by_cut(outcomes, "some", "test_")
    ideal = 1 + 1 / np.log2(3) + 1 / np.log2(4)
    assert found["test_hr@5"] == 0.5 and found["test_hr@20"] == 1.0
    assert found["test_ndcg@5"] == pytest.approx(0.5 / ideal)
    assert found["test_ndcg@20"] == pytest.approx(((1 + 1 / np.log2(8)) / ideal + 1 / np.log2(14)) / 2)
    assert found["test_mrr"] == pytest.approx((1 + 1 / 13) / 2)
