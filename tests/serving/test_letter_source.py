"""Letters from the really trained corner shop, delivered by the command itself to its own sink."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cache
from pathlib import Path

import pytest

from feature_repo import journal
from feature_repo.event_log import EventLog
from feature_repo.home import ShopHome
from serving.channels import sink
from serving.letter_source import LetterSource
from serving.unsubscribe import read_token
from tests.serving import corner

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path) -> ShopHome:
    """A copy of the trained shop without what other tests did in it, so that campaigns of one test are none of another's."""
    left_out = shutil.ignore_patterns("mlartifacts", "bentos", "scratch", "journal", "outbox.db*", "events.db*")
    shutil.copytree(corner.trained().root, tmp_path / corner.SHOP, symlinks=True, ignore=left_out)
    return ShopHome(tmp_path / corner.SHOP)


def campaign(home: ShopHome, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person would, off a terminal."""
    environment = os.environ | {
        "STORYSHELF_SMTP_PORT": str(free_port()), "STORYSHELF_SINK_PORT": str(free_port()),
        "STORYSHELF_HOME": str(home.root.parent), "STORYSHELF_SHOP": home.shop, "STORYSHELF_BUNDLE": str(corner.packed() / "src" / "models"),
    }  # fmt: skip
    return subprocess.run([sys.executable, "-m", "serving.campaigns", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)


@cache
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def kept(home: ShopHome) -> list[EmailMessage]:
    return [message_from_bytes(file.read_bytes(), policy=policy.default) for file in sorted(sink.folder(home).glob("*.eml"))]  # type: ignore[misc]


def addresses() -> list[str]:
    return re.findall(r"[\w.+-]+@[\w.-]+", (corner.TABLES / "contacts.csv").read_text())


def test_a_campaign_from_the_command_to_the_mailbox(home: ShopHome) -> None:
    home.journal.mkdir()
    old = home.journal / "20200101T000000000000-1.jsonl"
    old.write_bytes(b'{"journal":1,"opened_at":"2020-01-01T00:00:00Z"}\n')
    os.utime(old, (1_600_000_000, 1_600_000_000))
    dry = campaign(home, "--audience", "all", "--dry-run", "--limit", "3")
    assert dry.returncode == 0, dry.stderr
    assert "3 letter(s), nothing sent" in dry.stdout
    assert not home.outbox_db.exists() and not home.events_db.exists() and list(home.journal.iterdir()) == [old]
    done = campaign(home, "--audience", "all", "--send", "--n", "2")
    assert done.returncode == 0, done.stderr
    assert not old.exists(), "kept beyond its time by a run that writes the journal"
    mails = kept(home)
    assert mails and f"{len(mails):,}" in done.stdout
    assert {str(mail["To"]) for mail in mails} <= set(addresses())
    for mail in mails:
        plain = mail.get_body(("plain",))
        assert plain is not None
        links = re.findall(r"http://127\.0\.0\.1:3000/\?r=(\w+)&p=\S+", plain.get_content())
        assert len(links) == 2 and len(set(links)) == 1
        token = re.search(r"/v1/unsubscribe/(\S+)>", str(mail["List-Unsubscribe"]))
        assert token and read_token(home.pseudonyms(corner.settings()), token[1]).channel == "email"

    frames = journal.read(home.journal)
    assert list(frames.decisions["kind"].unique()) == ["email"] and len(frames.decisions) == len(mails)
    assert (frames.items["returned"].sum(), len(frames.contents)) == (2 * len(mails), len(mails))
    shown = EventLog(home.events_db).read()
    assert len(shown) == 2 * len(mails) and set(shown["event_type"]) == {"impression"} and set(shown["channel"]) == {"email"}
    assert set(shown["request_id"]) == set(frames.decisions["request_id"])

    again = campaign(home, "--audience", "all", "--send", "--n", "2")
    assert again.returncode == 0 and len(kept(home)) == len(mails)

    said = dry.stdout + dry.stderr + done.stdout + done.stderr
    written = b"".join(
        file.read_bytes() for file in home.root.rglob("*") if file.is_file() and file.parent != sink.folder(home) and file != home.contacts_db
    )
    for address in addresses():
        assert address not in said and address.encode() not in written
    assert all(json.loads(line) for line in done.stderr.splitlines())


def test_a_letter_in_each_language_of_the_shop(home: ShopHome) -> None:
    settings = corner.settings().model_copy(update={"home": home.root.parent})
    source = LetterSource(home, settings, 3)
    try:
        for language in source._answers.shop_config.languages:
            copy = source("u_nobody", language, "r1")  # a shopper nobody knows gets the popular shelf
            assert copy is not None and copy.language == language and copy.decision is not None
            assert len(copy.items) == 3 and [item.product_id for item in copy.items] == [
                item.product_id for item in copy.decision.items if item.returned
            ]
            assert bool(re.search("[\u4e00-\u9fff]", copy.body)) is (language == "zh")
        fallback = source("u_nobody", "fr", "r2")
        assert fallback is not None and fallback.language == source._answers.shop_config.languages[0]
    finally:
        source.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--audience", "everyone", "--send"], "no audience"),
        (["--send"], "audience is empty"),
        (["--resolve", "<x@y>"], "either --arrived or --lost"),
        (["--resolve", "<x@y>", "--lost"], "--unknown lists"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(home: ShopHome, arguments: list[str], message: str) -> None:
    done = campaign(home, *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert message in done.stderr and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
