"""A report names the commit that it was made on."""

import subprocess
from pathlib import Path

import pytest

from feature_repo import circumstances


def test_a_commit_is_marked_where_the_program_was_changed_and_not_where_a_report_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circumstances, "__file__", str(tmp_path / "feature_repo" / "circumstances.py"))
    for name in ("feature_repo/one.py", "reports/one.json"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("1")
    assert circumstances.commit() == "unknown"
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    clean = circumstances.commit()
    assert len(clean) == 40
    (tmp_path / "reports" / "one.json").write_text("2")
    assert circumstances.commit() == clean
    (tmp_path / "feature_repo" / "one.py").write_text("2")
    assert circumstances.commit() == clean + "-changed"
