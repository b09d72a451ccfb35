"""What all commands of the package have in common."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "mlflow", "feast", "bentoml", "pandas", "lightgbm"}


@pytest.mark.parametrize("command", ["serving.bundle", "serving.campaigns", "serving.channels.sink"])
def test_help_waits_for_no_model(command: str) -> None:
    """Guards against an import at the top that makes `--help` take ten seconds."""
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "usage:" in done.stdout
    assert "feature_repo.settings" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("command", [["serving.bundle"], ["serving.campaigns", "--unknown"], ["serving.channels.sink"]])
@pytest.mark.parametrize(("variable", "value"), [("STORYSHELF_SMTP_PORT", "abc"), ("STORYSHELF_SMTP_TLS", "perhaps")])
def test_a_wrong_setting_is_one_line_that_names_it(command: list[str], variable: str, value: str, tmp_path: Path) -> None:
    environment = os.environ | {"STORYSHELF_HOME": str(tmp_path), variable: value}
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"error: {variable} can't be used")
    assert "unset it for the default" in done.stderr
