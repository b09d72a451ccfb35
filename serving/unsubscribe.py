"""Signed tokens of unsubscribe links (RFC 8058, one click).

A token names a pseudonym and a channel and nothing else; it needs no look-up, does not expire (a mail may be opened years later) and can't be
made or changed without the shop's key. Shape: base64url(`1|u_…|email`) "." base64url(HMAC-SHA-256, first 16 bytes).
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

from feature_repo.home import Pseudonyms
from serving.errors import ServingError

_VERSION = "1"
_LONGEST = 512


class BadToken(ServingError):
    """The token was not made by this shop, or was changed on the way."""


@dataclass(frozen=True)
class Unsubscribe:
    """Who wants nothing more on which channel."""

    user_id: str
    channel: str


def derived_key(pseudonyms: Pseudonyms, purpose: str) -> bytes:
    """A key for one purpose, from the shop's key (HMAC-SHA-256 as a key derivation: NIST SP 800-108, one block)."""
    return hmac.new(pseudonyms.key, b"storyshelf:" + purpose.encode(), hashlib.sha256).digest()


def make_token(pseudonyms: Pseudonyms, user_id: str, channel: str) -> str:
    """URL-safe; the same for the same user and channel."""
    payload = f"{_VERSION}|{user_id}|{channel}".encode()
    return f"{_encode(payload)}.{_encode(_mac(pseudonyms, payload))}"


def read_token(pseudonyms: Pseudonyms, token: str) -> Unsubscribe:
    """What the token says, compared in constant time.

    Raises:
        BadToken: whatever is wrong with it; the message doesn't say what.
    """
    wrong = BadToken("This unsubscribe link is not valid: use the whole link from the mail.")
    payload_text, dot, mac_text = token.partition(".")
    if len(token) > _LONGEST or not dot:
        raise wrong
    try:
        payload, mac = _decode(payload_text), _decode(mac_text)
    except (binascii.Error, ValueError) as error:
        raise wrong from error
    if not hmac.compare_digest(mac, _mac(pseudonyms, payload)):
        raise wrong
    version, user_id, channel = payload.decode().split("|")
    if version != _VERSION:
        raise wrong
    return Unsubscribe(user_id, channel)


def _mac(pseudonyms: Pseudonyms, payload: bytes) -> bytes:
    return hmac.new(derived_key(pseudonyms, "unsubscribe"), payload, hashlib.sha256).digest()[:16]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _encode(data) != text:  # base64 has spare bits: only one spelling of a token is good
        raise ValueError("not canonical")
    return data
