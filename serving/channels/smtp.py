"""E-mail over SMTP (RFC 5321).

The transaction is spelled out step by step instead of `smtplib.sendmail`, because the steps differ in what a failure means: until the dot that ends
the message has gone out the server can't have accepted it; after that, only its answer tells.
"""

import ipaddress
import smtplib
import socket
import ssl
from datetime import UTC, datetime

from feature_repo.home import ShopHome
from serving.channels.contacts import Contacts
from serving.channels.contract import ChannelDown, ChannelError, Receipt
from serving.errors import ServingError
from serving.letters import Letter, address, to_mail
from serving.settings import ServingSettings

_DOT = b".\r\n"


class SmtpChannel:
    """Delivers letters as e-mail, one transaction at a time over one connection that is made when needed."""

    name = "email"

    def __init__(self, home: ShopHome, settings: ServingSettings) -> None:
        self._settings = settings
        self._contacts = Contacts(home.contacts_db, self.name)
        self._connection: smtplib.SMTP | None = None

    def reaches(self, user_id: str) -> bool:
        return self._contacts.find(user_id) is not None

    def language(self, user_id: str) -> str | None:
        contact = self._contacts.find(user_id)
        return contact.language if contact else None

    def open(self) -> None:
        check_target(self._settings)
        if self._connection is not None and not self._alive(self._connection):
            self._drop()
        if self._connection is None:
            self._connection = self._connect()

    def close(self) -> None:
        if self._connection is not None:
            try:
                self._connection.quit()
            except (smtplib.SMTPException, OSError):
                self._drop()
            self._connection = None

    def deliver(self, letter: Letter) -> Receipt:
        contact = self._contacts.find(letter.user_id)
        if contact is None:
            return Receipt("refused", "no address")
        try:
            recipient = address(contact.address).addr_spec
        except ServingError:
            return Receipt("refused", "not an address")
        try:
            data = to_mail(letter, self._settings.mail_from, contact.address, datetime.now(UTC))
        except ServingError as error:
            raise ChannelError(str(error)) from error
        if self._connection is None:
            self._connection = self._connect()
        return self._transact(self._connection, recipient, data)

    def _transact(self, smtp: smtplib.SMTP, recipient: str, data: bytes) -> Receipt:
        """One mail transaction. Whatever is raised or lost before the dot means: not accepted."""
        try:
            if refusal := self._envelope(smtp, recipient):
                return refusal
            smtp.send(_stuffed(data))
        except (smtplib.SMTPException, OSError):
            self._drop()
            return Receipt("retry", "connection lost before the end of the message")
        try:
            smtp.send(_DOT)
            code, text = smtp.getreply()
        except (smtplib.SMTPException, OSError):
            self._drop()
            return Receipt("unknown", "connection lost after the end of the message")
        if 200 <= code < 300:
            return Receipt("sent")
        if code < 400:
            self._drop()
            return Receipt("unknown", f"answer {code} after the end of the message")
        return self._judge(code, text, "message")

    def _envelope(self, smtp: smtplib.SMTP, recipient: str) -> Receipt | None:
        """MAIL, RCPT, DATA; None when the server waits for the text."""
        code, text = smtp.mail(address(self._settings.mail_from).addr_spec)
        if code >= 500:
            self._drop()
            raise ChannelError(
                f"The mail server refuses the sender ({_codes(code, text)}): check STORYSHELF_MAIL_FROM and the login (STORYSHELF_SMTP_USER)."
            )
        if code != 250:
            return self._judge(code, text, "sender")
        code, text = smtp.rcpt(recipient)
        if code not in (250, 251):
            return self._judge(code, text, "recipient")
        code, text = smtp.docmd("DATA")
        return None if code == 354 else self._judge(code, text, "message")

    def _judge(self, code: int, text: bytes, what: str) -> Receipt:
        """What it means that a step was not done (RFC 5321 4.2.1): 5 never, anything else later."""
        detail = f"{what}: {_codes(code, text)}"
        if code == 421 or not self._reset():
            self._drop()
        return Receipt("refused" if 500 <= code < 600 else "retry", detail)

    def _connect(self) -> smtplib.SMTP:
        settings = self._settings
        where = f"{settings.smtp_host}:{settings.smtp_port}"
        address(settings.mail_from)
        try:
            smtp = self._greet()
        except smtplib.SMTPAuthenticationError as error:
            raise ChannelError(
                f"The mail server at {where} refuses the login ({error.smtp_code}): check STORYSHELF_SMTP_USER and _PASSWORD."
            ) from error
        except ssl.SSLError as error:
            raise ChannelError(
                f"No TLS with the mail server at {where} ({error.reason or 'handshake failed'}): check STORYSHELF_SMTP_TLS."
            ) from error
        except smtplib.SMTPNotSupportedError as error:
            raise ChannelError(f"The mail server at {where} lacks what the settings ask for (STARTTLS or login): check STORYSHELF_SMTP_*.") from error
        except (smtplib.SMTPException, OSError) as error:
            raise ChannelDown(
                f"No mail server answers at {where} ({type(error).__name__}): start it or set STORYSHELF_SMTP_HOST and _PORT, then run this again."
            ) from error
        return smtp

    def _greet(self) -> smtplib.SMTP:
        settings = self._settings
        own_name = "localhost" if is_loopback(settings.smtp_host) else None
        smtp: smtplib.SMTP
        if settings.smtp_tls == "tls":
            context = ssl.create_default_context()  # smtplib's own default doesn't check certificates
            smtp = smtplib.SMTP_SSL(settings.smtp_host, settings.smtp_port, own_name, timeout=settings.smtp_timeout_s, context=context)
        else:
            smtp = smtplib.SMTP(settings.smtp_host, settings.smtp_port, own_name, timeout=settings.smtp_timeout_s)
        try:
            assert smtp.sock is not None
            # The dot is a small packet after a large one: Nagle's rule would hold it back until the server's delayed acknowledgement, 40 ms later.
            smtp.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if settings.smtp_tls == "starttls":
                smtp.starttls(context=ssl.create_default_context())
            smtp.ehlo_or_helo_if_needed()
            if settings.smtp_user:
                smtp.login(settings.smtp_user, settings.smtp_password.get_secret_value())
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _alive(self, smtp: smtplib.SMTP) -> bool:
        try:
            return bool(smtp.noop()[0] == 250)
        except (smtplib.SMTPException, OSError):
            return False

    def _reset(self) -> bool:
        """End a failed transaction, so that the next begins clean."""
        try:
            return self._connection is not None and self._connection.rset()[0] == 250
        except (smtplib.SMTPException, OSError):
            return False

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def check_target(settings: ServingSettings) -> None:
    """Mail leaves this machine only if someone said so.

    Raises:
        ChannelError: the server is remote and no setting allows it, or a password would travel in the clear.
    """
    if is_loopback(settings.smtp_host):
        return
    if not settings.allow_remote_smtp:
        raise ChannelError(
            f"{settings.smtp_host} is not this machine, and mail to real people is off: set STORYSHELF_ALLOW_REMOTE_SMTP=true to deliver through it."
        )
    if settings.smtp_user and settings.smtp_tls == "none":
        raise ChannelError(f"The password for {settings.smtp_host} would travel in the clear: set STORYSHELF_SMTP_TLS to starttls or tls.")


def is_loopback(host: str) -> bool:
    """A name other than localhost counts as remote, whatever it resolves to."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _codes(code: int, text: bytes) -> str:
    """Reply code and enhanced status code (RFC 3463). The rest of a reply may quote addresses and stays out."""
    first = text.split(None, 1)[0].decode("ascii", "replace") if text.strip() else ""
    enhanced = first if first.count(".") == 2 and first.replace(".", "").isdigit() else ""
    return f"{code} {enhanced}".strip()


def _stuffed(data: bytes) -> bytes:
    """Ready for DATA: lines end in CRLF and nothing else, the last one too (a bare CR or LF could end the message early at a lenient server), and a
    dot that begins a line is doubled (RFC 5321 4.5.2)."""
    return b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in data.splitlines())
