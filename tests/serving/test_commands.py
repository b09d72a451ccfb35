"""What all commands of the package have in common."""

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
