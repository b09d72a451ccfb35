"""What a measurement was made on: machine, commit, and the most memory that was held. Every report in `reports/` says it."""

import json
import os
import platform
import resource
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def circumstances() -> dict[str, str]:
    """Machine and commit."""
    return {"machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}", "commit": commit()}


def commit() -> str:
    """The program's commit, with a mark if files other than reports were changed since; 'unknown' outside a git checkout."""
    try:
        return _git("rev-parse", "HEAD") + ("-changed" if _git("status", "--porcelain", "-uno", "--", ":/", ":(top,exclude)reports") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(Path(__file__).parent), *words], capture_output=True, text=True, check=True).stdout.strip()


def peak_gb() -> float:
    """The most memory this process has held."""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / 1024**3 if platform.system() == "Darwin" else held / 1024**2  # bytes there, kilobytes elsewhere


def write_report(file: Path, figures: Mapping[str, Any], **about: Any) -> None:
    """A benchmark's JSON: its figures, what else there is to say, machine and commit."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"figures": dict(figures), **about, **circumstances()}, indent=1) + "\n")
