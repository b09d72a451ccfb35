"""`make bench-pit`, or `python -m feature_repo.benchmark.pit [--out FILE] [smaller sizes]`: point-in-time joins of our offline store and Feast's.

The same labels and rows for every engine (`past.py`), each in a process of its own (`engines.py`), one after the other. What takes longer or holds
more than it may is stopped and asked for half of everything, and so on until it gets there; ratios are of the largest size it finished, against ours
at that size. Every answer is compared with ours: labels that came back, and whether each value is the same.
"""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from feature_repo import logs
from feature_repo.benchmark.engines import ENGINES
from feature_repo.benchmark.past import Size, references, write
from feature_repo.circumstances import write_report

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Bounds:
    """What an engine may take: seconds with the start of its process, and gigabytes."""

    seconds: float
    gigabytes: float


@dataclass(frozen=True)
class Run:
    """One engine's join. `stopped`: why it was ended before it had an answer, empty if it had one; the rest is as of then.

    `peak_gb` is of the whole process, `before_gb` of it is held by libraries and labels. `equal`: share of our answer's labels that it answers alike.
    """

    engine: str
    labels: int
    rows: int
    seconds: float
    peak_gb: float
    before_gb: float = 0.0
    answered: int = 0
    equal: float = 0.0
    stopped: str = ""


def run(name: str, folder: Path, size: Size, bounds: Bounds) -> Run:
    """Start an engine, watch it, and stop it where it goes out of bounds."""
    told, errors = folder / f"{name}.json", folder / f"{name}.log"
    command = [sys.executable, "-m", "feature_repo.benchmark.engines", name, str(folder)]
    started, peak, stopped = time.monotonic(), 0.0, ""
    with told.open("w") as out, errors.open("w") as err:
        # What an engine moves out of memory lies with its tables and goes with them: DuckDB writes it below the working folder.
        around = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
        process = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True, cwd=folder, env=around)
        try:
            while process.poll() is None and not stopped:
                peak = max(peak, held_gb(process.pid))
                if time.monotonic() - started > bounds.seconds:
                    stopped = f"after {bounds.seconds / 60:g} minutes"
                elif peak > bounds.gigabytes:
                    stopped = f"beyond {bounds.gigabytes:g} GB"
                time.sleep(0.05)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if stopped:
        return Run(name, size.labels, size.rows, time.monotonic() - started, peak, stopped=stopped)
    if process.returncode:
        last = errors.read_text().strip().splitlines()[-1:] or ["nothing was said"]
        return Run(name, size.labels, size.rows, time.monotonic() - started, peak, stopped=f"failed: {last[0][:200]}")
    found = json.loads(told.read_text())
    equal = equal_share(folder, name)
    return Run(name, size.labels, size.rows, found["seconds"], found["peak_gb"], found["before_gb"], found["rows"], equal)


def held_gb(process: int) -> float:
    """Gigabytes that a process holds now; 0 where the system does not say (no /proc) or it has just ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024**3
    except OSError:
        return 0.0


def equal_share(folder: Path, name: str) -> float:
    """Share of the labels of our answer that another one answers with the same values; one that it lost is not among them."""
    ours, theirs = (pd.read_parquet(folder / f"{answer}.parquet").set_index("number").sort_index() for answer in ("ours", name))
    if theirs.index.has_duplicates:
        raise AssertionError(f"{name} answers a label more than once")
    theirs = theirs.reindex(ours.index)
    kept = theirs["event_timestamp"].notna().to_numpy()
    same = kept.copy()
    for column in ours.columns:
        mine, other = ours[column], theirs[column]
        if mine.dtype.kind in "iuf":
            values = mine.to_numpy(np.float64, na_value=np.nan), other.to_numpy(np.float64, na_value=np.nan)
            same &= (values[0] == values[1]) | (np.isnan(values[0]) & np.isnan(values[1]))
        else:
            same &= ((mine == other) | (mine.isna() & other.isna())).to_numpy()
    return float(same.mean())


def measured(place: Path, size: Size, bounds: Bounds, names: list[str], repeats: int) -> Iterator[Run]:
    """Every engine at the largest size that it finishes, ours at each of these sizes."""
    waiting = [name for name in names if name != "ours"]
    while size.labels and size.users and size.products:
        folder = place / str(size.labels)
        write(folder, size)
        ours = sorted((run("ours", folder, size, bounds) for _ in range(repeats)), key=lambda each: each.seconds)
        yield ours[len(ours) // 2]
        finished = []
        for name in waiting:
            found = run(name, folder, size, bounds)
            (folder / f"{name}.parquet").unlink(missing_ok=True)
            yield found
            if not found.stopped:
                finished.append(name)
        waiting = [name for name in waiting if name not in finished]
        if not waiting:
            return
        size = size.half()


def figures(runs: list[Run]) -> dict[str, Any]:
    """What the report's head says: ours at the full size, and each other engine at the largest size that it finished."""
    ours = {each.labels: each for each in runs if each.engine == "ours" and not each.stopped}
    if not ours:
        raise SystemExit(f"Our own join did not finish: {runs[0].stopped}. Ask for less, or allow more.")
    full = max(ours.values(), key=lambda each: each.labels)
    found: dict[str, Any] = {"seconds": round(full.seconds, 2), "peak_gb": round(full.peak_gb, 2), "rows_lost": full.labels - full.answered}
    found |= {"labels": full.labels, "rows": full.rows}
    for each in runs:
        if each.engine != "ours" and not each.stopped and each.labels in ours:
            found[f"ratio_{each.engine}"] = round(each.seconds / ours[each.labels].seconds, 1)
            found[f"labels_{each.engine}"] = each.labels
            found[f"peak_gb_{each.engine}"] = round(each.peak_gb, 2)
            found[f"rows_lost_{each.engine}"] = each.labels - each.answered
            found[f"equal_{each.engine}"] = round(each.equal, 6)
    return found


def table(runs: list[Run]) -> str:
    """For people."""
    lines = ["| engine | labels | rows | seconds | peak GB | of it before | labels lost | answered as ours |", "|---|---|---|---|---|---|---|---|"]
    for each in runs:
        what = f"| {ENGINES[each.engine].title} | {each.labels:,} | {each.rows:,} | "
        if each.stopped:
            lines.append(f"{what}stopped {each.stopped} | {each.peak_gb:.1f} | | | |")
        else:
            lost = each.labels - each.answered
            lines.append(f"{what}{each.seconds:.1f} | {each.peak_gb:.2f} | {each.before_gb:.2f} | {lost:,} | {100 * each.equal:.2f} % |")
    return "\n".join(lines)


def main() -> None:
    size = Size()
    parser = argparse.ArgumentParser(description="Point-in-time joins of our offline store, Feast's dask and DuckDB stores, and DuckDB's ASOF JOIN.")
    parser.add_argument("--out", type=Path, default=Path("reports/bench_pit.json"), help="report (JSON)")
    parser.add_argument("--labels", type=int, default=size.labels, help="labels to join")
    parser.add_argument("--rows", type=int, default=size.rows, help="feature rows in all views")
    parser.add_argument("--users", type=int, default=size.users, help="users that the rows are of")
    parser.add_argument("--products", type=int, default=size.products, help="products that the rows are of")
    parser.add_argument("--skew", type=float, default=size.skew, help="how much more the popular ones have: 0 is all alike, 1 as 1/rank")
    parser.add_argument("--minutes", type=float, default=20, help="when an engine is stopped")
    parser.add_argument("--memory-gb", type=float, default=8, help="what an engine may hold, the same for all")
    parser.add_argument("--engines", nargs="*", choices=[*ENGINES], default=[*ENGINES], help="which to measure; ours always is")
    parser.add_argument("--repeats", type=int, default=3, help="runs of ours, of which the median counts")
    parser.add_argument("--folder", type=Path, default=None, help="where the tables are made; default: the system's folder for temporary files")
    asked = parser.parse_args()
    logs.configure()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that an engine ends and its tables go when this process is told to
    size = Size(asked.labels, asked.rows, asked.users, asked.products, asked.skew)
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(dir=asked.folder) as place, tqdm(disable=None, unit=" joins") as bar:
        for each in measured(Path(place), size, Bounds(60 * asked.minutes, asked.memory_gb), asked.engines, asked.repeats):
            runs.append(each)
            bar.update()
            log.info("%s, %d labels: %s", each.engine, each.labels, f"stopped {each.stopped}" if each.stopped else f"{each.seconds:.1f} s")
    print(table(runs))
    about = {"size": asdict(size), "features": len(references()), "bounds": {"minutes": asked.minutes, "memory_gb": asked.memory_gb}}
    write_report(asked.out, figures(runs), runs=[asdict(each) for each in runs], **about)


if __name__ == "__main__":
    main()
