"""The benchmark of point-in-time joins at its smallest: engines agree, what goes out of bounds is stopped, and figures are of runs that ended."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feature_repo.benchmark import past, pit
from feature_repo.benchmark.pit import Bounds, Run

SMALL = past.Size(labels=1500, rows=12_000, users=300, products=80)
AMPLE = Bounds(300, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("past") / "small"
    past.write(made, SMALL)
    return made


@pytest.fixture(scope="module")
def runs(folder: Path) -> dict[str, Run]:
    return {name: pit.run(name, folder, SMALL, AMPLE) for name in ("ours", "asof_join", "duckdb", "duckdb_known", "dask")}


def test_a_past_has_late_rows_corrections_and_unknown_users(folder: Path) -> None:
    tables = [pd.read_parquet(folder / f"{view}.parquet") for view in past.VIEWS]
    assert sum(map(len, tables)) == SMALL.rows
    for table in tables:
        assert table["created_timestamp"].is_monotonic_increasing
        assert 0.08 < (table["created_timestamp"] > table["event_timestamp"]).mean() < 0.2
        key = table.columns[0]
        assert 0.02 < table.duplicated([key, "event_timestamp"]).mean() < 0.05
        assert not table.duplicated([key, "event_timestamp", "created_timestamp"]).any()
    users = past.labels(folder)["user_id"]
    assert 0.01 < (~users.isin(tables[0]["user_id"])).mean() < 0.04


def test_the_same_seed_makes_the_same_past_and_half_is_half(tmp_path: Path, folder: Path) -> None:
    past.write(tmp_path / "again", SMALL)
    pd.testing.assert_frame_equal(past.labels(tmp_path / "again"), past.labels(folder))
    half = SMALL.half()
    assert (half.labels, half.rows, half.users, half.products) == (750, 6_000, 150, 40)


def test_popular_ones_have_more_where_the_past_is_skewed(tmp_path: Path) -> None:
    past.write(tmp_path / "skewed", past.Size(labels=1500, rows=12_000, users=300, products=80, skew=1.0))
    for frame in (past.labels(tmp_path / "skewed"), pd.read_parquet(tmp_path / "skewed" / "product_offer.parquet")):
        assert frame["product_id"].value_counts().idxmax() == "p0000000"
        assert frame["product_id"].value_counts(normalize=True).max() > 0.15


def test_engines_that_are_asked_the_same_answer_the_same(runs: dict[str, Run]) -> None:
    assert not [each.stopped for each in runs.values() if each.stopped]
    for name in ("ours", "asof_join", "duckdb_known"):
        assert (runs[name].answered, runs[name].equal) == (SMALL.labels, 1.0)
    # As it comes, Feast's store shows labels what was created after them.
    assert runs["duckdb"].answered == SMALL.labels and 0.8 < runs["duckdb"].equal < 0.99
    assert runs["dask"].equal <= runs["dask"].answered / SMALL.labels
    assert all(0.1 < each.before_gb <= each.peak_gb < 8 and each.seconds > 0 for each in runs.values())


def test_what_is_lost_or_other_is_not_equal(folder: Path, runs: dict[str, Run]) -> None:
    answer = pd.read_parquet(folder / "ours.parquet")
    answer.sample(frac=1, random_state=0).to_parquet(folder / "shuffled.parquet")
    assert pit.equal_share(folder, "shuffled") == 1.0
    answer[15:].to_parquet(folder / "shorter.parquet")
    assert pit.equal_share(folder, "shorter") == pytest.approx(0.99)
    known = answer["product_offer_0"].dropna().index[:30]
    for value in (np.nan, 7.0):
        answer.assign(product_offer_0=answer["product_offer_0"].mask(answer.index.isin(known), value)).to_parquet(folder / "other.parquet")
        assert pit.equal_share(folder, "other") == pytest.approx(0.98)
    pd.concat([answer, answer[:1]]).to_parquet(folder / "twice.parquet")
    with pytest.raises(AssertionError, match="more than once"):
        pit.equal_share(folder, "twice")


def test_what_goes_out_of_bounds_is_stopped_and_says_why(folder: Path) -> None:
    assert pit.run("ours", folder, SMALL, Bounds(0.3, 8)).stopped == "after 0.005 minutes"
    held = pit.run("ours", folder, SMALL, Bounds(300, 0.02))
    assert held.stopped == "beyond 0.02 GB" and held.peak_gb > 0.02


def test_an_engine_that_fails_says_with_what(tmp_path: Path) -> None:
    assert "No such file" in pit.run("asof_join", tmp_path, SMALL, AMPLE).stopped


def test_sizes_are_halved_until_all_are_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(name: str, folder: Path, size: past.Size, bounds: Bounds) -> Run:
        reach = {"ours": 10**9, "duckdb": 800, "dask": 200}[name]
        return Run(name, size.labels, size.rows, 1.0, 1.0, answered=size.labels, equal=1.0, stopped="" if size.labels <= reach else "beyond 8 GB")

    monkeypatch.setattr(pit, "run", run)
    made = list(pit.measured(tmp_path, SMALL, AMPLE, ["ours", "duckdb", "dask"], 1))
    told = [(each.engine, each.labels, not each.stopped) for each in made]
    assert told == [
        ("ours", 1500, True), ("duckdb", 1500, False), ("dask", 1500, False), ("ours", 750, True), ("duckdb", 750, True), ("dask", 750, False),
        ("ours", 375, True), ("dask", 375, False), ("ours", 187, True), ("dask", 187, True),
    ]  # fmt: skip


def test_figures_compare_runs_of_one_size() -> None:
    runs = [
        Run("ours", 1000, 10_000, 2.0, 1.0, 0.4, 1000, 1.0), Run("duckdb", 1000, 10_000, 8.0, 3.0, 0.4, 1000, 0.9),
        Run("dask", 1000, 10_000, 60.0, 8.1, stopped="beyond 8 GB"), Run("ours", 500, 5_000, 1.0, 0.8, 0.4, 500, 1.0),
        Run("dask", 500, 5_000, 30.0, 6.0, 0.4, 490, 0.88),
    ]  # fmt: skip
    found = pit.figures(runs)
    assert (found["seconds"], found["peak_gb"], found["rows_lost"]) == (2.0, 1.0, 0)
    assert (found["ratio_duckdb"], found["labels_duckdb"]) == (4.0, 1000)
    assert (found["ratio_dask"], found["labels_dask"], found["rows_lost_dask"]) == (30.0, 500, 10)
    assert "| stopped beyond 8 GB |" in pit.table(runs)
    with pytest.raises(SystemExit, match="did not finish: beyond 8 GB"):
        pit.figures([Run("ours", 1000, 10_000, 2.0, 8.2, stopped="beyond 8 GB")])


def test_the_command_writes_its_report(tmp_path: Path) -> None:
    sizes = ["--labels", "300", "--rows", "2000", "--users", "60", "--products", "20", "--repeats", "1", "--engines", "asof_join"]
    command = [sys.executable, "-m", "feature_repo.benchmark.pit", *sizes, "--out", str(tmp_path / "pit.json"), "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "pit.json").read_text())
    assert found["figures"]["rows_lost"] == 0 and found["figures"]["equal_asof_join"] == 1.0 and found["machine"] and found["commit"]
    assert "| DuckDB's ASOF JOIN, no store | 300 | 2,000 |" in done.stdout
    assert sorted(file.name for file in tmp_path.iterdir()) == ["pit.json"]
