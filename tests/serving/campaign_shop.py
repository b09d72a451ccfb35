"""A small shop with addresses, and a real SMTP server on a free port, for the tests of campaigns and channels."""

import asyncio
import os
import signal
import socket
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pandas as pd
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from feature_repo.events import TABLES
from feature_repo.home import ShopHome
from serving.settings import ServingSettings

NOW = datetime.now(UTC).replace(microsecond=0)


def settings(folder: Path, port: int = 0, **more: Any) -> ServingSettings:
    """Settings that deliver to `port` and wait no time between attempts."""
    return ServingSettings(**{"home": folder, "smtp_port": port or 1, "sink_port": 1, "mail_backoff_s": 0.0, "smtp_timeout_s": 10.0} | more)


def user(home: ShopHome, folder: Path, shop_id: str) -> str:
    return home.pseudonyms(settings(folder)).user(shop_id)


def make_home(folder: Path, shop_ids: Sequence[str], consenting: Sequence[str] | None = None) -> ShopHome:
    """Home of a shop whose customers all have an address `<id>@people.example`; `consenting` (default all) agreed to mail a year ago."""
    home = ShopHome.create(settings(folder), "corner")
    home.tables.mkdir(exist_ok=True)
    pseudonym = home.pseudonyms(settings(folder)).user
    agreed = [{"user_id": pseudonym(each), "channel": "email", "granted": True, "at": NOW - timedelta(days=365)} for each in (consenting or shop_ids)]
    write(home, "consents", agreed if consenting != [] else [])
    write(
        home,
        "users",
        [
            {"user_id": pseudonym(each), "country": "GB" if i % 2 else "CN", "language": "zh" if i % 3 == 0 else "en"}
            for i, each in enumerate(shop_ids)
        ],
    )
    for table in ("events", "products", "preferences"):
        write(home, table, [])
    write_contacts(home, {pseudonym(each): f"{each}@people.example" for each in shop_ids})
    return home


def write(home: ShopHome, table: str, rows: Sequence[dict[str, Any]]) -> None:
    """Replace one table; columns left out are empty."""
    shape = TABLES[table].empty()
    frame = pd.DataFrame(list(rows), columns=shape.columns).astype(
        {name: dtype for name, dtype in shape.dtypes.items() if str(dtype) != "int64" or rows}
    )
    part = home.tables / f"{table}.part"
    frame.to_parquet(part)
    part.replace(home.tables / f"{table}.parquet")


def write_contacts(home: ShopHome, addresses: dict[str, str], language: str | None = None) -> None:
    home.contacts_db.unlink(missing_ok=True)
    connection = sqlite3.connect(home.contacts_db)
    with connection:
        connection.execute("CREATE TABLE contacts (user_id TEXT, channel TEXT, address TEXT, language TEXT, PRIMARY KEY (user_id, channel))")
        connection.executemany("INSERT INTO contacts VALUES (?, 'email', ?, ?)", [(who, where, language) for who, where in addresses.items()])
    connection.close()


class Postmaster:
    """aiosmtpd handler: keeps what it accepts, answers as told, and can kill a process or drop the line at a chosen step.

    `replies`: address -> answers to the end of DATA, one per attempt, then 250. `at_step`: called with each step's name ("MAIL", "RCPT", "DATA",
    "accepted") and the SMTP object.
    """

    def __init__(self) -> None:
        self.accepted: list[EmailMessage] = []
        self.raw: list[bytes] = []
        self.recipients: list[str] = []
        self.attempts: list[str] = []
        self.replies: dict[str, list[str]] = {}
        self.rcpt_replies: dict[str, list[str]] = {}
        self.mail_reply = ""
        self.at_step: Callable[[str, SMTP], None] = lambda step, server: None

    async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        self.at_step("MAIL", server)
        if self.mail_reply:
            return self.mail_reply
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        self.at_step("RCPT", server)
        if answers := self.rcpt_replies.get(address):
            return answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        (address,) = envelope.rcpt_tos
        self.attempts.append(address)
        self.at_step("DATA", server)
        if answers := self.replies.get(address):
            return answers.pop(0)
        assert isinstance(envelope.content, bytes)
        self.raw.append(envelope.content)
        self.accepted.append(message_from_bytes(envelope.content, policy=policy.default))  # type: ignore[arg-type]
        self.recipients.append(address)
        self.at_step("accepted", server)
        return "250 OK"

    @property
    def message_ids(self) -> list[str]:
        return [str(each["Message-ID"]) for each in self.accepted]


@contextmanager
def post_office(postmaster: Postmaster) -> Iterator[int]:
    """A running SMTP server; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    controller = Controller(postmaster, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def hang_up(server: SMTP) -> None:
    """Cut the line without an answer."""
    assert isinstance(server.transport, asyncio.Transport)
    server.transport.abort()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
