"""What the service counts and times, for Prometheus (`/metrics`). No label holds an id or a path as it was asked for.

Several workers share a folder of counters (`PROMETHEUS_MULTIPROC_DIR`, which BentoML sets for its workers), and whichever is asked answers for all:
counters, histograms and requests in flight are sums over the workers. Memory is told per worker.
"""

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

REGISTRY = CollectorRegistry()
_FINE = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

REQUESTS = Counter("storyshelf_requests", "Answers by route and status.", ["route", "status"], registry=REGISTRY)
SECONDS = Histogram("storyshelf_request_seconds", "Time to answer.", ["route"], buckets=_FINE, registry=REGISTRY)
STAGES = Histogram("storyshelf_stage_seconds", "Time of one stage of an answer.", ["stage"], buckets=_FINE, registry=REGISTRY)
IN_FLIGHT = Gauge("storyshelf_requests_in_flight", "Requests being answered.", registry=REGISTRY, multiprocess_mode="livesum")
DEGRADED = Counter("storyshelf_degraded", "Fallbacks taken, by name.", ["fallback"], registry=REGISTRY)
KEPT_OFF = Counter("storyshelf_candidates_kept_off", "Candidates that a rule kept off a shelf, by rule.", ["rule"], registry=REGISTRY)
PLACES = Counter("storyshelf_shelf_places", "Places of shelves, by what filled them.", ["placed"], registry=REGISTRY)
EVENTS = Counter("storyshelf_events", "Posted events by type and outcome.", ["event_type", "outcome"], registry=REGISTRY)
TEXTS = Counter("storyshelf_texts", "Texts written, by channel, language and backend.", ["channel", "language", "backend"], registry=REGISTRY)
JOURNAL_WRITTEN = Gauge("storyshelf_journal_written", "Decisions on disk since start.", registry=REGISTRY, multiprocess_mode="sum")
JOURNAL_DROPPED = Gauge(
    "storyshelf_journal_dropped",
    "Decisions not kept, disk too slow or not writable, since start.",
    registry=REGISTRY,
    multiprocess_mode="sum",
)
MODELS = Gauge("storyshelf_model_info", "1 for each model in use.", ["model", "version"], registry=REGISTRY, multiprocess_mode="livemax")
FEATURES = Gauge(
    "storyshelf_features_loaded_timestamp_seconds", "When the features in use were loaded, by the worker that loaded them first.", registry=REGISTRY,
    multiprocess_mode="livemin",
)  # fmt: skip
ProcessCollector(registry=REGISTRY)


def text() -> bytes:
    """The metrics as Prometheus reads them: of all workers, or of this process where it is the only one."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")
    if not folder:
        return generate_latest(REGISTRY)
    for worker in _workers(Path(folder)):
        if not Path(f"/proc/{worker}").exists():
            mark_process_dead(worker, folder)  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    registry.register(_Memory(Path(folder)))
    return generate_latest(registry)


class _Memory(Collector):
    """Memory of each worker that counts into a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[GaugeMetricFamily]:
        found = GaugeMetricFamily("storyshelf_worker_resident_bytes", "Memory that a worker holds.", labels=["worker"])
        for worker in sorted(_workers(self._folder)):
            held = Path(f"/proc/{worker}/statm")
            if held.exists():
                found.add_metric([str(worker)], float(held.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        yield found


def _workers(folder: Path) -> set[int]:
    """Process ids that files of the folder are named for."""
    return {int(found[1]) for file in folder.glob("*.db") if (found := re.search(r"_(\d+)\.db$", file.name))}


_stage = cache(STAGES.labels)


def observe_stage(stage: str, seconds: float) -> None:
    _stage(stage).observe(seconds)
