"""`make bench-serve`, or `python -m serving.benchmark.serve [--out reports/bench_serve.json] [smaller sizes]`: the service under load, over HTTP.

A synthetic shop is made once and kept; its bento is served by BentoML as `make serve` does it. Measured: the rate at which it saturates, latencies at
half of it, what happens beyond it, memory per worker; in the same run the same models behind plain Feast and BentoML (`plain.py`). `--curve` measures
how rate and latency go with products, candidates and workers instead, and adds that to the report.
"""

import argparse
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from feature_repo import logs
from feature_repo.circumstances import write_report
from feature_repo.home import ShopHome
from serving.answers import Answers
from serving.benchmark import load, models, plain, shop
from serving.bundle import QUIET, environment, pack
from serving.recommend import Wish
from serving.settings import ServingSettings

ROOT = Path(__file__).parents[2]
OURS, PLAIN, LEAN = "/v1/recommendations", "/recommend", "/recommend_lean"
SHOWN = 10
PLAIN_USERS = 500
"""Users whose features plain Feast's store holds: it has a row per value, and all users would be eighteen million."""


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    size: shop.Size
    retrieved: int
    candidates: int
    workers: int
    seconds: float


@dataclass(frozen=True)
class Load:
    """One service under load. `rate`: answers a second when saturated; latencies are those of `half` that rate, from the moment a request was due."""

    rate: float
    half: float
    p50_ms: float
    p99_ms: float
    failed: int
    cpu_ms: float
    generator_cpu: float


def prepared(plan: Plan, folder: Path) -> ShopHome:
    """The shop's home with champions, made unless it is there already, and packed."""
    settings = ServingSettings(home=folder)
    name = f"synthetic-{plan.size.products}x{plan.size.users}"
    home, done = ShopHome.named(settings, name), {**asdict(plan.size), "retrieved": plan.retrieved, "candidates": plan.candidates}
    marker = home.root / "synthetic.json"
    if not marker.exists() or json.loads(marker.read_text()) != done:
        began = time.monotonic()
        say(f"Making a shop of {plan.size.products:,} products and {plan.size.users:,} users ...")
        home, acts = shop.make(settings, name, plan.size)
        say(f"  {len(acts.user):,} acts, in Feast after {time.monotonic() - began:.0f} s; fitting models ...")
        models.fit(home, acts, plan.size, plan.retrieved, plan.candidates)
        marker.write_text(json.dumps(done))
        say(f"  done after {time.monotonic() - began:.0f} s.")
    pack(home)
    return home


@contextmanager
def served(home: ShopHome, target: str, plan: Plan, ready: str, more: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """(port, process id) of a running service; ended on leaving."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    scratch = home.root / "bench"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    sizes = {"RETRIEVED": plan.retrieved, "CANDIDATES": plan.candidates, "WORKERS": plan.workers}
    own = {f"STORYSHELF_{name}": str(value) for name, value in sizes.items()} | {"BENTOML_HOME": str(scratch / "bentoml")}
    command = [sys.executable, "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(port)]
    with (scratch / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=scratch, env=environment(home) | QUIET | own | dict(more), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _await(port, ready, process, scratch / "log", plan.workers)
        yield port, process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def _await(port: int, ready: str, process: "subprocess.Popen[bytes]", log: Path, workers: int) -> None:
    """Until the service has answered 200 several times in a row, all its workers among those asked."""
    patience, good = time.monotonic() + 600, 0
    while time.monotonic() < patience and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", ready)
            good = good + 1 if connection.getresponse().status == 200 else 0
            connection.close()
            if good >= 5 * workers and len(worker_processes(process.pid)) >= workers:
                return
        except OSError:
            good = 0
        time.sleep(0.2)
    raise SystemExit(f"The service did not start:\n{log.read_text()[-3000:]}")


def measured(port: int, process: int, path: str, plan: Plan, users: Iterator[str], connections: int, seconds: float) -> Load:
    """Warmed up, saturated, then at half of that rate."""

    def body(_: int) -> bytes:
        return orjson.dumps({"user_id": next(users), "n": SHOWN})

    load.closed(port, path, body, connections, min(5.0, seconds))
    before = cpu_seconds(process)
    full = load.closed(port, path, body, connections, seconds)
    cpu = 1000 * (cpu_seconds(process) - before) / max(len(full.seconds), 1)
    half = load.open_(port, path, body, 16 * plan.workers, seconds, full.rate / 2)
    failed = sum(count for found in (full, half) for status, count in found.statuses.items() if status != 200)
    return Load(full.rate, full.rate / 2, half.percentile_ms(50), half.percentile_ms(99), failed, cpu, full.cpu_share)


def overloaded(port: int, rate: float, users: Iterator[str], seconds: float) -> dict[str, float]:
    """Twice the rate that it can answer: what is answered, how late, and how much is turned down."""
    found = load.open_(port, OURS, lambda _: orjson.dumps({"user_id": next(users), "n": SHOWN}), 512, seconds, 2 * rate)
    asked = sum(found.statuses.values())
    other = asked - found.statuses[200] - found.statuses[503]
    return {
        "asked_per_s": asked / seconds, "answered_per_s": found.rate, "turned_down": found.statuses[503] / asked, "other": other / asked,
        "p99_ms": found.percentile_ms(99),
    }  # fmt: skip


def worker_processes(process: int) -> list[int]:
    """Process ids of BentoML's workers below its watcher."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            about = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            if int(about[1]) == process and b"worker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (OSError, IndexError):  # ended meanwhile
            continue
    return found


def cpu_seconds(process: int) -> float:
    """Of all workers, since they started."""
    ticks = os.sysconf("SC_CLK_TCK")
    stats = [Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split() for each in worker_processes(process)]
    return sum((int(about[11]) + int(about[12])) / ticks for about in stats)


def memory_mb(process: int) -> dict[str, float]:
    """Of a worker, on average: its share of what workers have in common counted in (PSS), what it alone holds, and all that it sees."""
    names = {"worker_mb": "Pss", "private_mb": "Private_Dirty", "resident_mb": "Rss"}
    held: dict[str, list[float]] = {name: [] for name in names}
    for each in worker_processes(process):
        text = Path(f"/proc/{each}/smaps_rollup").read_text()
        for name, field in names.items():
            found = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
            held[name].append(float(found[1]) / 1000 if found else float("nan"))
    return {name: float(np.mean(values)) for name, values in held.items()}


def stages_ms(port: int) -> dict[str, float]:
    """Mean time of each stage, from the service's own metrics."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = {kind: dict(re.findall(rf'stage_seconds_{kind}{{stage="(\w+)"}} (\S+)', text)) for kind in ("sum", "count")}
    return {stage: 1000 * float(total) / float(found["count"][stage]) for stage, total in found["sum"].items()}


def same_reasons(home: ShopHome, plan: Plan, decisions: int) -> dict[str, float]:
    """Share of shown products whose reasons, told by the tables of contributions, are those told by XGBoost's own SHAP values; and both times."""
    folder = home.bentos / "last" / "models"
    settings = ServingSettings(home=home.root.parent, shop=home.shop, bundle=folder, candidates=plan.candidates, retrieved=plan.retrieved)
    answers = Answers.open(home, settings)
    fast = answers.recommender
    ranker, member = fast.ranker, _membership(len(fast.ranker.feature_names))
    exact = replace(fast, explainer=lambda matrix: np.asarray(ranker.contributions(matrix) @ member, np.float32))
    pseudonyms, snapshot, users = home.pseudonyms(settings), answers.keeper.current, load.drawn(plan.size.users, 11)
    items, same, seconds = 0, 0, {"fast": 0.0, "exact": 0.0}
    now = snapshot.now()
    for _ in range(decisions):
        user_id = pseudonyms.user(shop.shop_user(next(users)))
        user = answers.user(user_id)
        told = {}
        for name, recommender in (("fast", fast), ("exact", exact)):
            shelf = recommender.shelf(snapshot, user, user_id, Wish(SHOWN), now, answers._clock)
            told[name] = [[reason.code for reason in item.reasons] for item in shelf.items]
            places = [item.candidate for item in shelf.items]
            if shelf.features.shape[1]:
                began = time.perf_counter()
                recommender.explainer(shelf.features[places])
                seconds[name] += time.perf_counter() - began
        items += len(told["fast"])
        same += sum(ours == theirs for ours, theirs in zip(told["fast"], told["exact"], strict=True))
    answers.close()
    times = {f"reasons_{name}_ms": 1000 * taken / decisions for name, taken in seconds.items()}
    return {"reasons_equal": same / max(items, 1), "reasons_items": float(items), **times}


def _membership(features: int) -> Any:
    from serving.reasons import GROUPS

    member = np.zeros((features, len(GROUPS)), np.float32)
    for number, columns in enumerate(GROUPS):
        member[list(columns), number] = 1.0
    return member


def shoppers(plan: Plan, seed: int) -> Iterator[str]:
    return (shop.shop_user(number) for number in load.drawn(plan.size.users, seed))


def ours(home: ShopHome, plan: Plan, beyond: bool) -> tuple[Load, dict[str, Any]]:
    """The service on its bento."""
    users = shoppers(plan, 3)
    bento = str((home.bentos / "last").resolve().parent)
    with served(home, bento, plan, "/readyz", {}) as (port, process):
        found = measured(port, process, OURS, plan, users, 4 * plan.workers, plan.seconds)
        about: dict[str, Any] = {**memory_mb(process), "stages_ms": stages_ms(port)}
        if beyond:
            about["beyond"] = overloaded(port, found.rate, users, min(plan.seconds, 10.0))
    return found, about


def theirs(home: ShopHome, plan: Plan) -> dict[str, Load]:
    """Plain Feast and BentoML, on the same models and the same moments."""
    settings = ServingSettings(home=home.root.parent)
    pseudonyms, folder = home.pseudonyms(settings), home.root / "plain"
    people = [pseudonyms.user(each) for each in dict.fromkeys(itertools.islice(shoppers(plan, 5), PLAIN_USERS))]
    if not (folder / "filled").exists():
        say("Filling plain Feast's store ...")
        shutil.rmtree(folder, ignore_errors=True)
        plain.fill(home, folder, people)
        (folder / "filled").touch()
    more = {"STORYSHELF_PLAIN": str(folder.resolve()), "STORYSHELF_PLAIN_MODELS": str((home.bentos / "last" / "models").resolve())}
    more |= {"PYTHONPATH": str(ROOT)}
    found = {}
    with served(home, "serving.benchmark.plain:Plain", plan, "/readyz", more) as (port, process):
        for path in (PLAIN, LEAN):
            found[path] = measured(port, process, path, plan, itertools.cycle(people), 2 * plan.workers, plan.seconds)
            say(f"  {path}: {found[path].rate:.2f} requests/s, p50 {found[path].p50_ms:.0f} ms at half of it")
    return found


def curve(plan: Plan, folder: Path, products: Sequence[int]) -> list[dict[str, Any]]:
    """One row per size: products, candidates and workers in turn, the others as planned."""
    rows = []
    plans = [replace(plan, size=replace(plan.size, products=count, users=min(plan.size.users, 20_000))) for count in products]
    plans += [replace(plan, candidates=count, retrieved=max(plan.retrieved, count)) for count in (100, 200, 500, 1000)]
    plans += [replace(plan, workers=count) for count in (1, 2)]
    for each in plans:
        kept = replace(each, retrieved=plan.retrieved, candidates=plan.candidates)  # the models do not change with what the ranker is shown
        found, about = ours(prepared(kept, folder), each, beyond=False)
        row = {"products": each.size.products, "users": each.size.users, "candidates": each.candidates, "workers": each.workers, "rps": found.rate}
        row |= {"p50_ms": found.p50_ms, "p99_ms": found.p99_ms, "worker_mb": about["worker_mb"], "stages_ms": about["stages_ms"]}
        rows.append(row)
        say("  ".join(f"{name} {row[name]:,.0f}" for name in ("products", "candidates", "workers", "rps", "p50_ms", "p99_ms", "worker_mb")))
    return rows


def say(text: str) -> None:
    print(text, flush=True)


def table(ours_: Load, theirs_: Mapping[str, Load], figures: Mapping[str, float]) -> str:
    lines = [f"{'':<34}{'requests/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'CPU ms':>10}{'failed':>8}"]
    named = {"Storyshelf": ours_, "Feast + BentoML, FeatureService": theirs_.get(PLAIN), "Feast + BentoML, products only": theirs_.get(LEAN)}
    for name, each in named.items():
        if each:
            lines.append(f"{name:<34}{each.rate:>12.1f}{each.p50_ms:>10.1f}{each.p99_ms:>10.1f}{each.cpu_ms:>10.1f}{each.failed:>8}")
    return "\n".join([*lines, "", *(f"{name}: {value:.4g}" for name, value in figures.items())])


def main() -> None:
    parser = argparse.ArgumentParser(description="The service under load, beside plain Feast and BentoML with the same models.")
    parser.add_argument("--out", type=Path, default=Path("reports/bench_serve.json"), help="where to write the report")
    parser.add_argument("--folder", type=Path, default=None, help="folder of the synthetic shops (default: a folder in STORYSHELF_HOME)")
    parser.add_argument("--products", type=int, default=50_000, help="products of the shop")
    parser.add_argument("--users", type=int, default=200_000, help="users of the shop")
    parser.add_argument("--retrieved", type=int, default=500, help="products that each retriever proposes")
    parser.add_argument("--candidates", type=int, default=200, help="products that the ranker scores")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of either service")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each of the loads")
    parser.add_argument("--decisions", type=int, default=1000, help="decisions whose reasons are compared with exact ones")
    parser.add_argument("--no-plain", action="store_true", help="leave out plain Feast and BentoML")
    parser.add_argument("--curve", type=int, nargs="*", metavar="PRODUCTS", default=None, help="measure the curve at these sizes instead")
    asked = parser.parse_args()
    logs.configure()
    plan = Plan(shop.Size(asked.products, asked.users), asked.retrieved, asked.candidates, asked.workers, asked.seconds)
    folder = asked.folder or ServingSettings.read().home / "benchmark"
    before = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    if asked.curve is not None:
        rows = curve(plan, folder, asked.curve or (10_000, 50_000, 200_000, 1_000_000))
        kept = {name: value for name, value in before.items() if name not in ("figures", "machine", "commit", "curve")}
        write_report(asked.out, before.get("figures", {}), **kept, curve=rows)
        return
    home = prepared(plan, folder)
    found, about = ours(home, plan, beyond=True)
    say(f"  {OURS}: {found.rate:.1f} requests/s, p50 {found.p50_ms:.1f} ms and p99 {found.p99_ms:.1f} ms at half of it")
    others = {} if asked.no_plain else theirs(home, plan)
    figures = {"p50_ms": found.p50_ms, "p99_ms": found.p99_ms, "rps": found.rate, "worker_mb": about["worker_mb"]}
    if others:
        figures["rps_ratio_plain"] = found.rate / max(each.rate for each in others.values())
        figures["rps_ratio_feature_service"] = found.rate / others[PLAIN].rate
    figures |= same_reasons(home, plan, asked.decisions)
    say(table(found, others, figures))
    write_report(
        asked.out, figures, shop={**asdict(plan.size), "synthetic": True}, retrieved=plan.retrieved, candidates=plan.candidates, workers=plan.workers,
        storyshelf=asdict(found) | about, plain={path.strip("/"): asdict(each) for path, each in others.items()},
        load_average=os.getloadavg(), **({"curve": before["curve"]} if "curve" in before else {}),
    )  # fmt: skip


if __name__ == "__main__":
    main()
