"""Logging of every command: readable lines on a terminal, JSON lines elsewhere. No personal data belongs in either."""

import json
import logging
import os
import sys
import warnings
from contextvars import ContextVar
from datetime import UTC, datetime

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the request being answered; the service sets it."""


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if current := request_id.get():
            line["request_id"] = current
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(level: int = logging.INFO) -> None:
    """Send the platform's logs to stderr. Libraries stay at warnings, MLflow without its bars. Call it from a command's `main()` only."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S") if sys.stderr.isatty() else _JsonLines())
    warnings.simplefilter("ignore", DeprecationWarning)  # of the libraries among themselves; nothing a user can act on
    warnings.filterwarnings("ignore", "On demand feature view is an experimental feature")  # declared through Feast, computed by us
    warnings.filterwarnings("ignore", ".*An input example was not provided when logging the model")  # the signature is inferred from real answers
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for package in ("feature_repo", "training", "serving", "monitoring", "__main__"):
        logging.getLogger(package).setLevel(level)
