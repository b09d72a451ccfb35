"""Encryption and login against a real server with a certificate of its own."""

import secrets
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from serving.channels.contract import ChannelError
from serving.channels.smtp import SmtpChannel
from tests.serving.campaign_shop import Postmaster, make_home, settings

pytestmark = [pytest.mark.needs("openssl"), pytest.mark.filterwarnings("ignore:Requiring AUTH")]

PASSWORD = secrets.token_hex()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with key and certificate of 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", *request, "-keyout", str(folder / "key"), "-out", str(folder / "cert")], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "key").read_text() + (folder / "cert").read_text())
    return both


def login(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"shop", PASSWORD.encode())
    return AuthResult(success=right, handled=False)


@contextmanager
def secure_office(certificate: Path, implicit: bool) -> Iterator[int]:
    """A server that takes mail only after TLS and login; yields its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    if implicit:
        tls: dict[str, Any] = {"ssl_context": context, "auth_require_tls": False}
    else:
        tls = {"tls_context": context, "require_starttls": True}
    controller = Controller(Postmaster(), hostname="127.0.0.1", port=port, authenticator=login, auth_required=True, **tls)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


@pytest.mark.parametrize("mode", ["starttls", "tls"])
def test_it_logs_in_over_an_encrypted_line_and_checks_the_certificate(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    home = make_home(tmp_path, ["anna"])
    with secure_office(certificate, implicit=mode == "tls") as port:
        config = settings(tmp_path, port, smtp_tls=mode, smtp_user="shop", smtp_password=PASSWORD)
        with pytest.raises(ChannelError, match="STORYSHELF_SMTP_TLS"):  # nobody vouches for the certificate
            SmtpChannel(home, config).open()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        channel = SmtpChannel(home, config)
        channel.open()
        channel.close()
        wrong = settings(tmp_path, port, smtp_tls=mode, smtp_user="shop", smtp_password=PASSWORD[1:])
        with pytest.raises(ChannelError, match="refuses the login") as raised:
            SmtpChannel(home, wrong).open()
        assert PASSWORD[1:] not in str(raised.value)
