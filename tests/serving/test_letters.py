"""A letter as an e-mail: headers that hold, text that can't break out, lines that SMTP carries."""

from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from serving.errors import ServingError
from serving.letters import Letter, LetterItem, address, one_line, to_html, to_mail, to_text

LAMP = LetterItem("p 1&2", "Oak <Desk> Lamp", "£24.00", "You looked at lamps")
LETTER = Letter(
    "u_1", "en", "r0", "<abc@shop.example>", "A warm light", "First paragraph.\n\nSecond one.", (LAMP,), "http://127.0.0.1:3000/", "tok.en"
)
SENDER = "Corner Shop <shelf@shop.example>"


def read(letter: Letter, recipient: str = "anna@people.example") -> EmailMessage:
    """The mail as a receiver reads it."""
    data = to_mail(letter, SENDER, recipient, datetime(2026, 5, 4, tzinfo=UTC))
    assert all(len(line) <= 998 and line.isascii() for line in data.split(b"\r\n"))
    assert b"\n" not in data.replace(b"\r\n", b"")
    return message_from_bytes(data, policy=policy.default)  # type: ignore[return-value]


def parts(mail: EmailMessage) -> tuple[str, str]:
    plain, rich = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None and rich is not None
    return str(plain.get_content()), str(rich.get_content())


def test_one_click_unsubscribe_stands_in_the_headers_as_it_is() -> None:
    long = replace(LETTER, unsubscribe_token="A" * 120)
    data = to_mail(long, SENDER, "a@b.example", datetime.now(UTC))
    assert f"List-Unsubscribe: <http://127.0.0.1:3000/v1/unsubscribe/{'A' * 120}>\r\n".encode() in data
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in data
    assert b"Message-ID: <abc@shop.example>\r\n" in data


def test_both_parts_say_the_same_and_link_to_the_product_and_out() -> None:
    plain, rich = parts(read(LETTER))
    for part in (plain, rich):
        assert "First paragraph." in part and "Second one." in part and "£24.00" in part and "You looked at lamps" in part
        assert "http://127.0.0.1:3000/v1/unsubscribe/tok.en" in part
    assert "http://127.0.0.1:3000/?r=r0&p=p+1%262" in plain
    assert "http://127.0.0.1:3000/?r=r0&amp;p=p+1%262" in rich


def test_no_link_names_the_shopper() -> None:
    assert "u_1" not in LETTER.link(LAMP)
    assert "u_1" not in to_text(LETTER) + to_html(LETTER)


def test_html_from_a_title_stays_text() -> None:
    nasty = '<script>alert("x")</script>\' onmouseover="y'
    rich = parts(read(replace(LETTER, subject=nasty, body=nasty, items=(LetterItem('p"><b>', nasty, nasty, nasty),))))[1]
    assert "<script" not in rich and '" onmouseover' not in rich and '"><b>' not in rich
    assert "&lt;script&gt;" in rich


@pytest.mark.parametrize("breaker", ["\r\n", "\n", "\r", "\u2028", "\x85", "\x0b", "\x00\r\n"])
def test_a_title_can_add_no_header(breaker: str) -> None:
    mail = read(replace(LETTER, subject=f"Lamp{breaker}Bcc: evil@people.example{breaker}{breaker}<p>"))
    assert mail["Subject"] == "Lamp Bcc: evil@people.example <p>"
    assert mail["Bcc"] is None
    assert set(mail.keys()) >= {"From", "To", "Subject", "Date", "Message-ID"} and len(mail.keys()) == 11


def test_chinese_arrives_as_written() -> None:
    letter = replace(
        LETTER, language="zh", subject="为您挑选的台灯" * 10, body="温暖的光，" * 300, items=(LetterItem("p1", "橡木台灯", "¥198", "您看过台灯"),)
    )
    mail = read(letter)
    plain, rich = parts(mail)
    assert mail["Subject"] == "为您挑选的台灯" * 10
    assert mail["Content-Language"] == "zh"
    assert "温暖的光，" * 300 in plain and "橡木台灯" in rich and "退订" in plain and "退订" in rich


def test_very_long_lines_are_carried() -> None:
    plain, rich = parts(read(replace(LETTER, body="x" * 50_000 + " é", subject="y" * 5_000)))
    assert "x" * 50_000 + " é" in plain and "x" * 50_000 + " é" in rich


def test_a_dot_alone_on_a_line_is_just_a_dot() -> None:
    assert "\n\n.\n\nafter" in parts(read(replace(LETTER, body="before\n\n.\n\nafter")))[0].replace("\r\n", "\n")


def test_a_link_too_long_for_a_header_is_named() -> None:
    with pytest.raises(ServingError, match="STORYSHELF_PUBLIC_URL"):
        to_mail(replace(LETTER, public_url="http://" + "a" * 1000), SENDER, "a@b.example", datetime.now(UTC))


@pytest.mark.parametrize(
    "text",
    ["", "anna", "@b.example", "a@", "a b@c.example", "a@b.example\nBcc: x@y.example", "å@b.example", "a@b.example, c@d.example", "a@@b", "<>"],
)
def test_what_is_no_address_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(ServingError) as raised:
        address(text)
    assert not text or text not in str(raised.value)


def test_an_international_domain_is_encoded() -> None:
    assert address("Zoë <zoe@bücher.example>").addr_spec == "zoe@xn--bcher-kva.example"
    assert address("Zoë <zoe@bücher.example>").display_name == "Zoë"


def test_one_line_drops_what_could_turn_text_around() -> None:
    assert one_line(" a\t\n\u202eb\u2069  c\ud800 ") == "a b c"
