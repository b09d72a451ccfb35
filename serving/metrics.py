"""What the service counts and times, for Prometheus (`/metrics`). No label holds an id or a path as it was asked for."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

REGISTRY = CollectorRegistry()
_FINE = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

REQUESTS = Counter("storyshelf_requests", "Answers by route and status.", ["route", "status"], registry=REGISTRY)
SECONDS = Histogram("storyshelf_request_seconds", "Time to answer.", ["route"], buckets=_FINE, registry=REGISTRY)
STAGES = Histogram("storyshelf_stage_seconds", "Time of one stage of an answer.", ["stage"], buckets=_FINE, registry=REGISTRY)
IN_FLIGHT = Gauge("storyshelf_requests_in_flight", "Requests being answered.", registry=REGISTRY)
DEGRADED = Counter("storyshelf_degraded", "Fallbacks taken, by name.", ["fallback"], registry=REGISTRY)
KEPT_OFF = Counter("storyshelf_candidates_kept_off", "Candidates that a rule kept off a shelf, by rule.", ["rule"], registry=REGISTRY)
PLACES = Counter("storyshelf_shelf_places", "Places of shelves, by what filled them.", ["placed"], registry=REGISTRY)
EVENTS = Counter("storyshelf_events", "Posted events by type and outcome.", ["event_type", "outcome"], registry=REGISTRY)
TEXTS = Counter("storyshelf_texts", "Texts written, by channel, language and backend.", ["channel", "language", "backend"], registry=REGISTRY)
JOURNAL_WRITTEN = Gauge("storyshelf_journal_written", "Decisions on disk since start.", registry=REGISTRY)
JOURNAL_DROPPED = Gauge("storyshelf_journal_dropped", "Decisions not kept, disk too slow or not writable as JSON, since start.", registry=REGISTRY)
MODELS = Gauge("storyshelf_model_info", "1 for each model in use.", ["model", "version"], registry=REGISTRY)
FEATURES = Gauge("storyshelf_features_loaded_timestamp_seconds", "When the features in use were loaded.", registry=REGISTRY)
ProcessCollector(registry=REGISTRY)


def observe_stage(stage: str, seconds: float) -> None:
    STAGES.labels(stage).observe(seconds)
