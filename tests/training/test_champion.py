"""A later recommender against the champion, on the corner shop."""

import shutil
from datetime import UTC
from pathlib import Path

import pandas as pd

from feature_repo.build import build, prepared
from training import pipeline
from training.champion import Champion
from training.content.train import Effort
from training.settings import TrainingSettings
from training.shop import open_shop

CORNER = Path(__file__).parents[1] / "data" / "corner_shop"


def test_a_later_recommender_is_measured_against_the_champion(tmp_path: Path) -> None:
    """On the same data they tie; on more of it both are scored on what happened since; one that can't be read is compared with nothing."""
    whole, shorter = pd.read_csv(CORNER / "events.csv", dtype=str), tmp_path / "corner_shop"
    shutil.copytree(CORNER, shorter)
    times = pd.to_datetime(whole["ts"], format="mixed", errors="coerce", utc=True)
    whole[times < pd.Timestamp("2024-04-15", tz=UTC)].to_csv(shorter / "events.csv", index=False)
    # A writer of five steps writes badly.
    chosen = TrainingSettings(home=tmp_path / "homes", trees=20, threads=1, device="cpu", gate_violating=1.0, gate_fallback=1.0)
    effort = Effort(lines=300, steps=5, measured=5)
    pipeline.run(chosen, str(shorter), None, None, effort)
    again = pipeline.run(chosen, str(shorter), None, None, effort)
    assert "above_champion_upper 0.0000, must be >= -0.0200" in again
    whole.to_csv(shorter / "events.csv", index=False)
    with prepared(chosen, str(shorter), None) as home:
        build(home, chosen, progress=False)
    shop = open_shop(home, chosen)
    measured = pipeline.train_recommender(shop, chosen, pipeline.Timings()).measured
    found = measured.ranker
    assert found["since_champion_users"] >= 20
    assert found["above_champion_upper"] > found["since_champion_ndcg_10"] - found["champion_ndcg_10"] > -0.2
    assert 0 < found["champion_ndcg_10"] < 1
    assert measured.retriever["since_champion_recall_candidates"] > 0
    for file in home.mlflow_artifacts.rglob("retrievers.json"):
        file.unlink()
    assert Champion.of(home) is None  # a damaged champion stops no training
