"""The benchmark on a file whose right answers are known, and what its protocol promises."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from training.benchmark import leave_one_out as protocol
from training.benchmark.figures import figures_of, ranks_of, report, table
from training.benchmark.leave_one_out import Rows, renumbered
from training.errors import TrainingError
from training.evaluation.slices import OUT_OF_REACH
from training.settings import TrainingSettings

ITEMS, USERS, LENGTH = 30, 160, 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everybody walks the ring of items from a place of their own, one step a day; a title may be missing."""
    to = tmp_path_factory.mktemp("ring")
    rows = []
    for user in range(USERS):
        for place in range(LENGTH):
            split = {LENGTH - 1: "test", LENGTH - 2: "valid"}.get(place, "train")
            item = (user * 7 + place) % ITEMS
            rows.append((user, item, f"A{item}", place, pd.Timestamp("2024-01-01") + pd.Timedelta(days=user % 60 + place), split))
    pd.DataFrame(rows, columns=["user_idx", "item_idx", "asin", "pos", "timestamp", "loo_split"]).to_parquet(to / "interactions.parquet")
    titles = [None if item == 3 else f"Thing {item}" for item in range(ITEMS)]
    attributes = [["Makeup", f"Kind {item % 3}"] for item in range(ITEMS)]
    items = pd.DataFrame({"item_idx": range(ITEMS), "asin": [f"A{item}" for item in range(ITEMS)], "title": titles, "attributes": attributes})
    items.to_parquet(to / "items.parquet")
    return to


def test_what_follows_is_found_and_the_figures_are_whole(folder: Path, tmp_path: Path) -> None:
    settings = TrainingSettings(trees=20, threads=1, candidates=20, negatives=10, holdout_days=5, label_days=10)
    run = protocol.run(folder, 1, settings, tmp_path, leave_out=True)
    assert run.models["next item"]["test_hr@5"] == 1.0
    assert run.models["full stack"]["test_ndcg@10"] > 2 * run.models["popularity"]["test_ndcg@10"]
    assert run.models["full stack"]["test_hr@10"] > 0.8
    found = json.loads(json.dumps(report({1: run}, "leave-one-out")))
    wanted = {f"{part}_{name}" for part in ("valid", "test") for name in ("hr@5", "hr@10", "hr@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr")}
    assert wanted | {"fit_minutes", "score_ms_per_user", "peak_gb"} <= found["figures"].keys()
    assert found["seeds"] == [1] and set(found["models"]) == set(run.models)
    assert "full stack" in table(found) and "ms per user" in table(found)
    losses = found["ablation"]
    assert losses["without the ranker"]["figure"] < run.models["full stack"]["valid_ndcg@10"]
    assert losses["without the ranker"]["lost"] == pytest.approx(run.models["full stack"]["valid_ndcg@10"] - losses["without the ranker"]["figure"])
    assert "without next_item" in losses
    baseline = max((name for name in run.models if name != "full stack"), key=lambda name: run.models[name]["valid_ndcg@10"])
    whole = found["slices"]["slices"][0]
    assert found["slices"]["baseline"] == baseline and whole["targets"] == USERS
    for method in ("full stack", baseline):
        assert whole["methods"][method]["ndcg_10"]["value"] == pytest.approx(run.models[method]["test_ndcg@10"])
    assert found["slices_lost"] == {"1": list(run.slices.lost)}


def test_no_target_reaches_the_features(folder: Path, tmp_path: Path) -> None:
    interactions, items = renumbered(folder, np.random.default_rng(0))
    settings = TrainingSettings(home=tmp_path / "homes", threads=1)
    stage = protocol._stage(interactions, items, ("train",), "valid", tmp_path / "files", settings)
    assert len(stage.events) == USERS * (LENGTH - 2)
    for person, wanted, before in zip(stage.people.people, stage.people.wanted, stage.people.before, strict=True):
        assert len(person.history.products) == LENGTH - 2 and set(person.history.products) == before
        assert not wanted & before


def test_renumbering_keeps_who_took_what_in_which_order(folder: Path) -> None:
    (one, items), (other, _) = (renumbered(folder, np.random.default_rng(seed)) for seed in (1, 2))
    assert set(one["asin"]) == set(items["asin"]) and "item_idx" not in one
    assert not one["asin"].equals(other["asin"])
    path = one.sort_values("pos").groupby("user_idx")["asin"].agg(tuple)
    follows = {(first, second) for walk in path for first, second in itertools.pairwise(walk)}
    assert len(follows) == ITEMS  # still one ring


@pytest.mark.parametrize("without", [["item_idx", "title"], ["item_idx", "attributes"], ["item_idx", "title", "attributes"]])
def test_words_and_the_file_s_own_numbers_may_be_missing(folder: Path, tmp_path: Path, without: list[str]) -> None:
    for name, gone in (("interactions", ["item_idx"]), ("items", without)):
        pd.read_parquet(folder / f"{name}.parquet").drop(columns=gone).to_parquet(tmp_path / f"{name}.parquet")
    interactions, items = renumbered(tmp_path, np.random.default_rng(0))
    stage = protocol._stage(interactions, items, ("train",), "valid", tmp_path / "files", TrainingSettings(home=tmp_path / "homes", threads=1))
    assert len(stage.catalogue.frame) == ITEMS and stage.catalogue.frame["category"].notna().all()


def test_ties_count_against_us_and_what_is_not_proposed_is_out_of_reach() -> None:
    assert ranks_of(np.array([0.5, 0.5, 0.1], np.float32), 0) == 1
    assert ranks_of(np.array([0.5, -np.inf, 0.1], np.float32), 1) == OUT_OF_REACH
    rows = Rows(np.zeros((5, 1), np.float32), np.arange(5), np.array([True, False, False, False, False]), np.array([0, 0, 0, 1, 1]), 2)
    assert rows.ranks(np.array([1, 1, 2, 9, 9], np.float32)).tolist() == [2, OUT_OF_REACH]
    assert figures_of(np.array([0, 4, OUT_OF_REACH]))["hr@5"] == pytest.approx(2 / 3)
    assert figures_of(np.array([0, 4, OUT_OF_REACH]))["mrr"] == pytest.approx((1 + 0.2) / 3)


def test_a_folder_of_another_shape_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"interactions\.parquet and no items\.parquet"):
        renumbered(tmp_path, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("name", "spoilt", "said"),
    [
        ("interactions", lambda rows: rows.drop(columns="timestamp"), "no column timestamp; its columns are user_idx"),
        ("interactions", lambda rows: rows.iloc[:0], "has no rows"),
        ("interactions", lambda rows: rows.assign(user_idx=rows["user_idx"].where(rows.index != 4)), "1 rows have no user_idx, row 5 first"),
        ("interactions", lambda rows: rows.assign(timestamp=rows["timestamp"].astype(str)), "timestamp holds .*not times"),
        ("interactions", lambda rows: rows.assign(asin=rows["asin"].replace("A7", "B7")), "1 products, B7 among them, are not in items"),
        ("interactions", lambda rows: rows.drop(columns="loo_split"), "loo_split .*--protocol time does without"),
        ("items", lambda rows: rows.assign(asin=rows["asin"].replace("A7", "A8")), "asin has the same product twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_named(folder: Path, tmp_path: Path, name: str, spoilt: Callable[[pd.DataFrame], pd.DataFrame], said: str) -> None:
    for each in ("interactions", "items"):
        rows = pd.read_parquet(folder / f"{each}.parquet")
        (spoilt(rows) if each == name else rows).to_parquet(tmp_path / f"{each}.parquet")
    with pytest.raises(TrainingError, match=said):
        protocol.run(tmp_path, 1, TrainingSettings(home=tmp_path / "homes"), tmp_path / "scratch")


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    for name in ("interactions.parquet", "items.parquet"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(TrainingError, match=r"interactions\.parquet can't be read as Parquet"):
        renumbered(tmp_path, np.random.default_rng(0))


def test_times_with_a_zone_are_brought_to_utc(folder: Path, tmp_path: Path) -> None:
    rows = pd.read_parquet(folder / "interactions.parquet")
    rows.assign(timestamp=rows["timestamp"].dt.tz_localize("UTC").dt.tz_convert("Asia/Shanghai")).to_parquet(tmp_path / "interactions.parquet")
    pd.read_parquet(folder / "items.parquet").to_parquet(tmp_path / "items.parquet")
    found, _ = renumbered(tmp_path, np.random.default_rng(0))
    assert sorted(found["timestamp"]) == sorted(rows["timestamp"])


def test_a_day_has_no_order(folder: Path, tmp_path: Path) -> None:
    """Guards against the public file's order within a day, which is that of its product numbers."""
    rows = pd.read_parquet(folder / "interactions.parquet").assign(timestamp=pd.Timestamp("2024-01-01"))
    rows.to_parquet(tmp_path / "interactions.parquet")
    pd.read_parquet(folder / "items.parquet").to_parquet(tmp_path / "items.parquet")
    mixed, _ = renumbered(tmp_path, np.random.default_rng(0))
    known = mixed[mixed["loo_split"] == "train"].sort_values(["user_idx", "pos"])
    last = mixed[mixed["loo_split"] == "test"]
    assert not known.groupby("user_idx")["pos"].apply(lambda places: (places == range(LENGTH - 2)).all()).all()
    assert last["pos"].nunique() == LENGTH  # the target is anywhere in its day; who is the target stays
    assert len(last) == USERS
