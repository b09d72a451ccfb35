"""`python -m serving.channels.sink`: a mail server that keeps every message as a file and passes nothing on.

The default target of campaigns. It listens on loopback only and writes `.eml` files (mode 600, they hold addresses) below the shop's home.
"""

import argparse
import contextlib
import os
import re
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from email.parser import BytesHeaderParser
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from feature_repo import logs
from feature_repo.errors import StoryshelfError
from feature_repo.home import ShopHome
from serving.channels.contract import ChannelError
from serving.channels.smtp import is_loopback
from serving.settings import ServingSettings

_HOST = "127.0.0.1"


def folder(home: ShopHome) -> Path:
    """Where the shop's sink keeps its mail."""
    return home.sink


class KeepMail:
    """aiosmtpd handler: one file per accepted message. The answer 250 is given after the file is on disk."""

    def __init__(self, where: Path) -> None:
        self._where = where
        where.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content if isinstance(envelope.content, bytes) else str(envelope.content).encode()
        message_id = str(BytesHeaderParser().parsebytes(content).get("Message-ID", ""))
        slug = re.sub(r"[^A-Za-z0-9]+", "-", message_id.split("@")[0]).strip("-")[:48] or "no-id"
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{slug}-{secrets.token_hex(2)}.eml"
        part = self._where / f".{name}.part"
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.rename(self._where / name)
        return "250 2.0.0 kept"


def is_target(settings: ServingSettings) -> bool:
    """Whether campaigns deliver to this machine's sink."""
    return is_loopback(settings.smtp_host) and settings.smtp_port == settings.sink_port and settings.smtp_tls == "none"


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((_HOST, port), timeout=2):
        return True
    return False


@contextlib.contextmanager
def running(where: Path, port: int) -> Iterator[int]:
    """A sink in this process, in a thread of its own; port 0 takes a free one. Yields the port.

    Raises:
        ChannelError: the port is taken.
    """
    if port == 0:
        with socket.create_server((_HOST, 0)) as probe:
            port = probe.getsockname()[1]
    controller = Controller(KeepMail(where), hostname=_HOST, port=port, ident="Storyshelf sink")
    try:
        controller.start()
    except OSError as error:
        raise ChannelError(f"The sink can't listen on {_HOST}:{port} ({error.strerror}): free the port or set STORYSHELF_SINK_PORT.") from error
    try:
        yield port
    finally:
        controller.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description="A local mail server that keeps every message as an .eml file and passes nothing on.")
    parser.add_argument("--shop", default="", help="shop whose home keeps the mail (default: the shop trained last)")
    arguments = parser.parse_args()
    logs.configure()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = ServingSettings.read()
        home = ShopHome.open(settings, arguments.shop)
        with running(folder(home), settings.sink_port) as port:
            print(f"Shop {home.shop}: mail to {_HOST}:{port} is kept in {folder(home)}. Stop with Ctrl-C.", flush=True)
            stop.wait()
    except StoryshelfError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
