"""docs/figures.md says what the reports say."""

import json
import shutil
from pathlib import Path

import pytest

from monitoring import figures_page, recommendation_figures
from monitoring.figures_page import PAGE, REPORTS, page


def test_the_page_is_what_the_reports_say() -> None:
    assert PAGE.read_text() == page(), "write it again: python -m monitoring.figures_page"


def test_the_page_on_recommendation_has_the_figures_of_the_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert recommendation_figures.PAGE.read_text() == recommendation_figures.page(), "write it again: python -m monitoring.figures_page"
    shutil.copytree(REPORTS, tmp_path / "reports")
    monkeypatch.setattr(recommendation_figures, "REPORTS", tmp_path / "reports")
    file = tmp_path / "reports" / "amazon_beauty_leave_one_out.json"
    found = json.loads(file.read_text())
    found["figures"]["test_ndcg@10"] = 0.1234
    file.write_text(json.dumps(found))
    assert "**0.1234**" in recommendation_figures.page()


def test_a_report_with_slices_shows_them_and_one_without_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(REPORTS, tmp_path / "reports")
    monkeypatch.setattr(figures_page, "REPORTS", tmp_path / "reports")
    for file in (tmp_path / "reports").glob("*.json"):
        found = {name: value for name, value in json.loads(file.read_text()).items() if name not in ("slices", "behaviour")}
        file.write_text(json.dumps(found))
    assert "Cold start" not in page() and "Behavioural" not in page()
    low = {"ndcg_10": {"value": 0.1, "low": 0.05, "high": 0.2}}
    part = {
        "users": 1200,
        "targets": 3400,
        "methods": {"ranker": low, "linear": low},
        "lead": {"ndcg_10": {"value": -0.1, "low": -0.2, "high": -0.05}},
    }
    parts = [{"kind": "users", "name": "light", "lost": ["ndcg_10"], **part}, {"kind": "cold start", "name": "new users", "lost": [], **part}]
    cuts = {"light_up_to": 2.0, "heavy_above": 7.0, "head_products": 310.0}
    report = json.loads((tmp_path / "reports" / "demo.json").read_text())
    report["slices"] = {"stack": "ranker", "baseline": "linear", "cuts": cuts, "slices": parts}
    report["behaviour"] = {"similar_lists_people": 200.0, "similar_lists_lower": 0.6123, "dislike_falls_people": 3.0, "empty_lists": 0.0}
    (tmp_path / "reports" / "demo.json").write_text(json.dumps(report))
    found = page()
    line = "| users: light | 1,200 | 3,400 | 0.1000 [0.0500, 0.2000] | 0.1000 [0.0500, 0.2000] | -0.1000 [-0.2000, -0.0500], **lost** by NDCG@10 |"
    assert line in found and "| new users | 1,200 |" in found and "up to 2 products" in found
    assert "| 0.6123 |" in found and "not tried, 3 people could be asked" in found
