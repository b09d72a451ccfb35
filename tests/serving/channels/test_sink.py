"""The local sink keeps what it accepts and listens on loopback only."""

import smtplib
import socket
import subprocess
import sys
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from serving.channels import sink
from serving.channels.contract import ChannelError
from tests.serving.campaign_shop import make_home, settings


def mail(message_id: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"], message["Message-ID"] = "a@shop.example", "b@people.example", "灯", message_id
    message.set_content("温暖")
    return message


def test_every_message_becomes_one_private_file(tmp_path: Path) -> None:
    with sink.running(tmp_path / "kept", 0) as port, smtplib.SMTP("127.0.0.1", port, "localhost") as client:
        for message_id in ["<one@shop.example>", "<one@shop.example>", "<../../two@shop.example>"]:
            client.send_message(mail(message_id))
    files = sorted((tmp_path / "kept").iterdir())
    assert len(files) == 3 and all(file.suffix == ".eml" and file.stat().st_mode & 0o777 == 0o600 for file in files)
    read = [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]
    assert [each["Subject"] for each in read] == ["灯"] * 3
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        with pytest.raises(ChannelError, match="STORYSHELF_SINK_PORT"), sink.running(tmp_path, port):
            pass


def test_what_counts_as_the_sink(tmp_path: Path) -> None:
    ours = settings(tmp_path).model_copy(update={"smtp_port": 3025, "sink_port": 3025})
    assert sink.is_target(ours)
    assert not sink.is_target(ours.model_copy(update={"smtp_host": "mail.example.com"}))
    assert not sink.is_target(ours.model_copy(update={"smtp_port": 25}))


def test_the_command_says_where_it_keeps_mail_and_stops_when_asked(tmp_path: Path) -> None:
    home = make_home(tmp_path, ["anna"])
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "serving.channels.sink", "--shop", "corner"], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3],
        env={"STORYSHELF_HOME": str(tmp_path), "STORYSHELF_SINK_PORT": str(port), "PATH": ""},
    )  # fmt: skip
    try:
        assert process.stdout is not None and str(sink.folder(home)) in process.stdout.readline()
        with smtplib.SMTP("127.0.0.1", port, "localhost") as client:
            client.send_message(mail("<one@shop.example>"))
    finally:
        process.terminate()
    assert process.wait() == 0
    assert len(list(sink.folder(home).glob("*.eml"))) == 1
