"""`python -m monitoring.dashboard [--shop NAME] [--port 8000] [--no-serve]`: build the drift reports and serve them in Evidently's own UI.

While serving, the reports are refreshed every `monitor_interval_s` seconds. Nothing leaves the machine: Evidently's telemetry is off.
"""

import argparse
import logging
import os
import socket
import sys
import threading
from dataclasses import dataclass

import uvicorn
from evidently.ui.service.app import create_app, get_config
from evidently.ui.service.components.telemetry import TelemetryComponent
from pydantic import ValidationError

from feature_repo import logs
from feature_repo.errors import StoryshelfError
from feature_repo.home import ShopHome
from monitoring.errors import MonitoringError
from monitoring.refresh import refresh, workspace_folder
from monitoring.settings import MonitoringSettings

log = logging.getLogger(__name__)


@dataclass
class Refresher:
    """Refreshes in a thread until `stop`. A refresh that fails is logged and tried again at the next turn."""

    home: ShopHome
    settings: MonitoringSettings

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitoring-refresh", daemon=True)

    def start(self) -> None:
        if self.settings.monitor_interval_s:
            self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=60)

    def _run(self) -> None:
        while not self._stopping.wait(self.settings.monitor_interval_s):
            try:
                refresh(self.home, self.settings, self.home.clock().now())
            except StoryshelfError as error:
                log.error("The dashboards could not be refreshed: %s", error)


def serve(home: ShopHome, settings: MonitoringSettings) -> None:
    """Serve the shop's workspace until interrupted.

    Raises:
        MonitoringError: the port is taken.
    """
    listening = _listen(settings)
    config = get_config(host=settings.monitor_host, port=settings.monitor_port, workspace=str(workspace_folder(home)))
    config.telemetry = TelemetryComponent(enabled=False)
    app = create_app(config)
    refresher = Refresher(home, settings)
    refresher.start()
    host, port = listening.getsockname()[:2]
    print(f"Dashboards of shop '{home.shop}' on http://{host}:{port} (Ctrl+C ends)", flush=True)
    try:
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
    finally:
        refresher.stop()


def _listen(settings: MonitoringSettings) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in settings.monitor_host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.monitor_host, settings.monitor_port))
    except OSError as error:
        listening.close()
        raise MonitoringError(
            f"Can't listen on {settings.monitor_host}:{settings.monitor_port} ({error.strerror}): "
            "choose another port with --port or STORYSHELF_MONITOR_PORT."
        ) from error
    return listening


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the drift reports from journal and events, and serve them in Evidently's UI.")
    parser.add_argument("--shop", default="", help="shop to monitor (default: the one trained last)")
    parser.add_argument("--host", default=None, help="address to listen on (default: STORYSHELF_MONITOR_HOST, 127.0.0.1)")
    parser.add_argument("--port", type=int, default=None, help="port to listen on (default: STORYSHELF_MONITOR_PORT, 8000)")
    parser.add_argument("--no-serve", action="store_true", help="refresh the reports and end")
    parser.add_argument("--rebuild", action="store_true", help="forget the reference and build every window again")
    arguments = parser.parse_args()
    logs.configure()
    os.environ["DO_NOT_TRACK"] = "1"  # Evidently's other switch
    try:
        given = {"monitor_host": arguments.host, "monitor_port": arguments.port}
        settings = MonitoringSettings(**{name: value for name, value in given.items() if value is not None})
        home = ShopHome.open(settings, arguments.shop)
        print(f"Shop '{home.shop}' in {home.root}", flush=True)
        done = refresh(home, settings, home.clock().now(), rebuild=arguments.rebuild)
        print(f"{done.built} reports built, {done.kept} left as they were.")
        for message in done.messages.values():
            print(message)
        for line in done.drifted:
            print(f"drift: {line}")
        if not arguments.no_serve:
            serve(home, settings)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        print(f"error: a setting is not allowed ({wrong}): see docs/settings.md", file=sys.stderr)
        sys.exit(2)
    except StoryshelfError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
