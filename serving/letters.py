"""A letter: what a campaign says to one shopper, and how it becomes an e-mail (RFC 5322, multipart text and HTML).

Texts come from a shop's files and a model: nothing of them may reach a header's structure or the HTML unescaped, and no line may grow beyond what
SMTP carries (998 characters, RFC 5321 4.5.3.1.6).
"""

import html
import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import format_datetime, getaddresses
from urllib.parse import urlencode

from feature_repo.journal import Decision
from serving.errors import ServingError

_LONGEST_SUBJECT = 150
_VERBATIM = {"list-unsubscribe", "message-id"}

WORDS = {
    "en": {
        "shelf": "Picked for you",
        "why": "Why you get this: you agreed to mail from this shop.",
        "unsubscribe": "Unsubscribe",
        "look": "Have a look",
        "colon": ": ",
    },
    "zh": {"shelf": "为您挑选", "why": "您收到此邮件，是因为您同意接收本店的邮件。", "unsubscribe": "退订", "look": "去看看", "colon": "："},
}
"""The template's own words by language."""


@dataclass(frozen=True)
class LetterItem:
    """One product of a letter. `price` is finished text with its currency, empty if the shop has none; `reason` may be empty."""

    product_id: str
    title: str
    price: str
    reason: str


@dataclass(frozen=True)
class Copy:
    """What to tell one shopper, in which language, and the decision behind it (None where nothing was decided)."""

    language: str
    subject: str
    body: str
    items: tuple[LetterItem, ...]
    decision: Decision | None = None


@dataclass(frozen=True)
class Letter:
    """What one shopper is told; no address in it. `body` is paragraphs with an empty line between; `public_url` is the base of its links."""

    user_id: str
    language: str
    request_id: str
    message_id: str
    subject: str
    body: str
    items: tuple[LetterItem, ...]
    public_url: str
    unsubscribe_token: str

    @property
    def unsubscribe_url(self) -> str:
        return f"{self.public_url.rstrip('/')}/v1/unsubscribe/{self.unsubscribe_token}"

    def link(self, item: LetterItem) -> str:
        """Names the decision and the product, so that a click can be told apart; neither the shopper nor an address."""
        return f"{self.public_url.rstrip('/')}/?{urlencode({'r': self.request_id, 'p': item.product_id})}"


class _LetterPolicy(EmailPolicy):
    """Headers that are one long token stay as they are: the standard policy would break them up into encoded words, which no reader of
    List-Unsubscribe decodes."""

    def fold(self, name: str, value: str) -> str:
        return f"{name}: {value}{self.linesep}" if name.lower() in _VERBATIM else super().fold(name, value)

    def fold_binary(self, name: str, value: str) -> bytes:
        return self.fold(name, value).encode("ascii") if name.lower() in _VERBATIM else super().fold_binary(name, value)


_POLICY = _LetterPolicy(linesep="\r\n", cte_type="7bit", raise_on_defect=True)


def to_mail(letter: Letter, sender: str, recipient: str, at: datetime) -> bytes:
    """The letter as a message of 7-bit lines of at most 78 characters (long links aside), each ended by CRLF.

    Raises:
        ServingError: the sender or recipient is no address, or the unsubscribe link is too long.
    """
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = address(sender)
    mail["To"] = address(recipient)
    mail["Subject"] = one_line(letter.subject)[:_LONGEST_SUBJECT]
    mail["Date"] = format_datetime(at)
    mail["Message-ID"] = one_line(letter.message_id)
    mail["List-Unsubscribe"] = f"<{one_line(letter.unsubscribe_url)}>"
    mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(to_text(letter), cte="quoted-printable" if letter.language == "en" else "base64")
    mail.add_alternative(to_html(letter), subtype="html", cte="quoted-printable" if letter.language == "en" else "base64")
    mail["Content-Language"] = letter.language  # set_content drops it if it stands earlier
    data = bytes(mail)
    if max(map(len, data.splitlines())) > 998:
        raise ServingError("A mail's header line would be longer than 998 characters: shorten STORYSHELF_PUBLIC_URL.")
    return data


def to_text(letter: Letter) -> str:
    """The letter for readers of plain text."""
    words = WORDS[letter.language]
    parts = [_paragraphs(letter.body), [words["shelf"] + words["colon"].rstrip()]]
    for item in letter.items:
        head = f"* {one_line(item.title)}" + (f" - {one_line(item.price)}" if item.price else "")
        parts.append(["\n".join(filter(None, [head, one_line(item.reason) and f"  {one_line(item.reason)}", f"  {letter.link(item)}"]))])
    parts.append([f"-- \n{words['why']}\n{words['unsubscribe']}{words['colon']}{letter.unsubscribe_url}"])
    return "\n\n".join(paragraph for part in parts for paragraph in part) + "\n"


def to_html(letter: Letter) -> str:
    """The letter as a small page: no outside resource, nothing that runs, everything from outside escaped."""
    words = WORDS[letter.language]
    body = "\n".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in _paragraphs(letter.body))
    items = "\n".join(_item_html(letter, item, words) for item in letter.items)
    return f"""<!doctype html>
<html lang="{letter.language}"><head><meta charset="utf-8"><title>{html.escape(one_line(letter.subject))}</title></head>
<body style="font-family: sans-serif; max-width: 36em; margin: auto; color: #222">
{body}
<h2 style="font-size: 1.1em">{html.escape(words["shelf"])}</h2>
<ul style="padding-left: 1.2em">
{items}
</ul>
<p style="color: #666; font-size: .85em">{html.escape(words["why"])} <a href="{html.escape(letter.unsubscribe_url)}">{words["unsubscribe"]}</a></p>
</body></html>
"""


def _item_html(letter: Letter, item: LetterItem, words: dict[str, str]) -> str:
    price = f" <strong>{html.escape(one_line(item.price))}</strong>" if item.price else ""
    reason = f"<br><span style='color: #666'>{html.escape(one_line(item.reason))}</span>" if item.reason else ""
    link = f'<a href="{html.escape(letter.link(item))}">{words["look"]}</a>'
    return f"<li style='margin-bottom: .8em'>{html.escape(one_line(item.title))}{price}{reason}<br>{link}</li>"


def one_line(text: str) -> str:
    """The text without line breaks, control and formatting-override characters; safe in a header."""
    kept = (" " if unicodedata.category(char) in {"Cc", "Zl", "Zp"} else char for char in text if unicodedata.category(char) not in {"Cs", "Co"})
    return " ".join(re.sub("[\u202a-\u202e\u2066-\u2069]", "", "".join(kept)).split())


def address(text: str) -> Address:
    """`Name <a@b>` or `a@b` as an address.

    Raises:
        ServingError: it is none. The message doesn't quote it.
    """
    found = getaddresses([text]) if text == one_line(text) else []
    name, spec = found[0] if len(found) == 1 else ("", "")
    try:
        return Address(display_name=one_line(name), addr_spec=_idna(spec))
    except (ValueError, IndexError) as error:  # the parser raises IndexError on an empty one
        raise ServingError("An address in the contacts table or STORYSHELF_MAIL_FROM is not of the form name@domain.") from error


def _idna(spec: str) -> str:
    user, at, domain = spec.rpartition("@")
    if (
        not (user and at and domain) or not user.isascii() or re.search(r"\s", spec)
    ):  # a user part beyond ASCII needs SMTPUTF8, which few servers take
        raise ValueError("no address")
    return f"{user}@{domain.encode('idna').decode('ascii')}"


def _paragraphs(text: str) -> list[str]:
    return [line for part in re.split(r"\n\s*\n", text) if (line := one_line(part))]
