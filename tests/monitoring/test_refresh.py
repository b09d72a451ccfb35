"""A refresh from frames to workspace, findings and dashboards, with the real Evidently."""

import json
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evidently.ui.workspace import Workspace

from feature_repo.home import ShopHome
from monitoring.errors import MonitoringError
from monitoring.findings import Findings
from monitoring.panels import DASHBOARDS
from monitoring.refresh import Refreshed, refresh, workspace_folder
from monitoring.settings import MonitoringSettings
from tests.monitoring import synthetic

DAYS, REFERENCE = 5, 2
NOW = synthetic.START + timedelta(days=DAYS - 1, hours=20)


def settings(**more: object) -> MonitoringSettings:
    return MonitoringSettings.model_validate({"monitor_reference_days": REFERENCE, **more})


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ShopHome, Refreshed]]:
    """A shop whose last day is shifted, refreshed once."""
    home = synthetic.home(tmp_path_factory.mktemp("homes"))
    made = synthetic.inputs(DAYS, per_day=100, shift_on=DAYS - 1)
    yield home, refresh(home, settings(), NOW, made)


def snapshots(home: ShopHome) -> dict[str, bytes]:
    return {str(file.relative_to(home.monitoring)): file.read_bytes() for file in sorted(workspace_folder(home).glob("*/snapshots/*.json"))}


def test_the_workspace_has_three_dashboards_whose_panels_all_have_data(shop: tuple[ShopHome, Refreshed]) -> None:
    workspace = Workspace(str(workspace_folder(shop[0])))
    assert sorted(project.name for project in workspace.list_projects()) == [f"{each.title} · invented" for each in DASHBOARDS]
    for dashboard in DASHBOARDS:
        model = workspace.get_dashboard(dashboard.id)
        assert len(model.panels) > 5
        assert len({panel.id for panel in model.panels}) == len(model.panels)
        results = [result.metric_value_location for run in workspace.list_runs(dashboard.id) for result in every_value(workspace, dashboard.id, run)]
        have = [{"type": at.metric.params["type"]} | {name: str(value) for name, value in (at.metric.params | at.param).items()} for at in results]
        for panel in model.panels:
            for drawn in panel.values:
                wanted = {"type": drawn.metric, **drawn.metric_labels}
                assert any(wanted.items() <= each.items() for each in have), f"{panel.title}: nothing to draw for {wanted}"


def every_value(workspace: Workspace, project: object, run: object) -> list[object]:
    """The single numbers of a stored report, as the UI takes them apart."""
    found: list[object] = []
    for result in workspace.get_run(project, run).metric_results.values():
        found += [result.count, result.share] if hasattr(result, "share") else [result]
    return found


def test_every_day_has_one_report_per_dashboard(shop: tuple[ShopHome, Refreshed]) -> None:
    assert shop[1].built == 3 * DAYS
    assert len(snapshots(shop[0])) == 3 * DAYS


def test_reports_are_json_that_a_browser_reads(shop: tuple[ShopHome, Refreshed]) -> None:
    def no_constant(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    for text in snapshots(shop[0]).values():
        json.loads(text, parse_constant=no_constant)


def test_the_shift_is_found_and_the_days_before_are_quiet(shop: tuple[ShopHome, Refreshed]) -> None:
    found = Findings(shop[0].monitoring / "findings.db").read()
    drifted = found[found["drifted"].fillna(False).astype(bool)]
    last = drifted[drifted["window_start"] == drifted["window_start"].max()]
    names = set(zip(last["panel"], last["metric"], last["column"], strict=True))
    assert {
        ("features", "drift", "user_views_7d"),
        ("features", "drift", "product_price"),
        ("features", "missing", "user_age_days"),
        ("recommendations", "drift", "category"),
        ("recommendations", "measure", "degraded"),
        ("recommendations", "measure", "diversity"),
        ("engagement", "clicked", "all"),
    } <= names
    assert ("features", "drift", "user_spend_90d") not in names
    earlier = drifted[drifted["window_start"] < drifted["window_start"].max()]
    assert len(earlier) <= 1, earlier
    assert any("category" in line for line in shop[1].drifted)


def test_days_of_the_reference_are_shown_and_not_judged(shop: tuple[ShopHome, Refreshed]) -> None:
    found = Findings(shop[0].monitoring / "findings.db")
    rows = found.read()
    inside = rows[rows["window_start"] < pd.Timestamp(synthetic.START + timedelta(days=REFERENCE))]
    assert len(inside)
    assert inside["drifted"].isna().all()
    assert "Part of the reference" in found.windows()["note"].iloc[0]


def test_a_rate_in_the_table_is_the_one_counted_by_hand(shop: tuple[ShopHome, Refreshed]) -> None:
    made = synthetic.inputs(DAYS, per_day=100, shift_on=DAYS - 1)
    first = made.events[made.events["event_time"] < pd.Timestamp(synthetic.START + timedelta(days=1))]
    counts = first["event_type"].value_counts()
    rows = Findings(shop[0].monitoring / "findings.db").read()
    row = rows[(rows["metric"] == "clicked") & (rows["column"] == "all") & (rows["window_start"] == pd.Timestamp(synthetic.START))].iloc[0]
    impressions = first[first["event_type"] == "impression"].drop_duplicates(["request_id", "product_id"])
    clicks = first[first["event_type"] == "click"].drop_duplicates(["request_id", "product_id"])
    assert row["rows"] == len(impressions) <= counts["impression"]
    assert row["value"] == pytest.approx(len(clicks) / len(impressions))


def test_a_second_refresh_changes_nothing(shop: tuple[ShopHome, Refreshed]) -> None:
    home, _ = shop
    before, rows = snapshots(home), Findings(home.monitoring / "findings.db").read()
    again = refresh(home, settings(), NOW, synthetic.inputs(DAYS, per_day=100, shift_on=DAYS - 1))
    assert (again.built, again.kept) == (0, 3 * DAYS)
    assert snapshots(home) == before
    pd.testing.assert_frame_equal(Findings(home.monitoring / "findings.db").read(), rows)


def test_late_clicks_change_an_open_window_and_not_a_final_one(tmp_path: Path) -> None:
    home, made = synthetic.home(tmp_path), synthetic.inputs(2, per_day=60)
    tomorrow = synthetic.START + timedelta(days=1, hours=1)
    refresh(home, settings(), tomorrow, made)
    late = made.events.copy()
    shown = np.flatnonzero((late["event_type"] == "impression") & (late["event_time"] < pd.Timestamp(synthetic.START + timedelta(days=1))))
    clicks = late.iloc[shown].assign(event_type="click", event_id=[f"late{number}" for number in range(len(shown))])
    made = synthetic.Inputs(made.decisions, made.items, made.contents, pd.concat([late, clicks], ignore_index=True), made.catalogue)
    assert refresh(home, settings(), tomorrow, made).built == 1
    assert click_rate(home) == 1.0
    much_later = synthetic.START + timedelta(days=9)
    refresh(home, settings(), much_later, made)
    kept = made.events[~made.events["event_id"].str.startswith("late")]
    assert refresh(home, settings(), much_later, synthetic.Inputs(made.decisions, made.items, made.contents, kept, made.catalogue)).built == 0
    assert click_rate(home) == 1.0
    assert len(snapshots(home)) == 6


def click_rate(home: ShopHome) -> float:
    """Of the first day."""
    rows = Findings(home.monitoring / "findings.db").read()
    return float(rows[(rows["metric"] == "clicked") & (rows["column"] == "all")]["value"].iloc[0])


def test_without_a_journal_the_history_is_shown_and_the_rest_says_what_to_do(tmp_path: Path) -> None:
    home = synthetic.home(tmp_path)
    done = refresh(home, settings(), NOW, synthetic.without_journal(synthetic.inputs(DAYS, per_day=60)))
    assert done.built == DAYS
    assert "make demo" in done.messages["features"]
    assert "own history" in done.messages["engagement"]
    rows = Findings(home.monitoring / "findings.db").read()
    assert set(rows["panel"]) == {"engagement"}
    assert {"plain", "warm"} <= set(rows[rows["column"] == "tone"]["group"])


def test_a_shop_with_nothing_at_all_has_three_dashboards_that_say_so(tmp_path: Path) -> None:
    home, made = synthetic.home(tmp_path), synthetic.inputs(1, per_day=1)
    empty = synthetic.without_journal(made)
    done = refresh(home, settings(), NOW, synthetic.Inputs(empty.decisions, empty.items, empty.contents, made.events.iloc[:0], 0))
    assert done.built == 0
    assert all("No decisions are journaled yet" in message for message in done.messages.values())
    workspace = Workspace(str(workspace_folder(home)))
    assert all(len(workspace.get_dashboard(each.id).panels) == 1 for each in DASHBOARDS)


def test_the_reference_outlives_the_journal_s_retention(tmp_path: Path) -> None:
    home, made = synthetic.home(tmp_path), synthetic.inputs(DAYS, per_day=60)
    refresh(home, settings(), NOW, made)
    assert sorted(file.name.split("-2025")[0] for file in (home.monitoring / "reference").glob("*.parquet")) == [
        "measures", "ranking-features", "shelf", "showings", "user-features",
    ]  # fmt: skip
    young = pd.Timestamp(synthetic.START + timedelta(days=3))
    frames = [frame[frame["at"] >= young] for frame in (made.decisions, made.items, made.contents)]
    with_more = synthetic.inputs(DAYS + 1, per_day=60)
    later = (with_more.decisions, with_more.items, with_more.contents)
    tomorrow = pd.Timestamp(NOW + timedelta(hours=4))
    frames = [pd.concat([old, new[new["at"] >= tomorrow]]) for old, new in zip(frames, later, strict=True)]
    refresh(home, settings(), NOW + timedelta(days=1), synthetic.Inputs(*frames, with_more.events, made.catalogue))
    rows = Findings(home.monitoring / "findings.db").read()
    last = rows[(rows["window_start"] == rows["window_start"].max()) & (rows["metric"] == "drift") & (rows["panel"] == "features")]
    assert last["drifted"].notna().any()


def test_rebuild_forgets_the_reference(tmp_path: Path) -> None:
    home, made = synthetic.home(tmp_path), synthetic.inputs(3, per_day=40)
    refresh(home, settings(), NOW, made)
    assert refresh(home, settings(), NOW, made, rebuild=True).built == 9


def test_a_newer_table_of_findings_is_refused(tmp_path: Path) -> None:
    Findings(tmp_path / "findings.db")
    with sqlite3.connect(tmp_path / "findings.db") as db:
        db.execute("pragma user_version = 99")
    db.close()
    with pytest.raises(MonitoringError, match="update Storyshelf"):
        Findings(tmp_path / "findings.db")
