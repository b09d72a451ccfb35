"""E-mail against a real SMTP server: what each answer and each lost line means, and that no address gets out."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP

from feature_repo.home import ShopHome
from serving.channels.contacts import Contact, Contacts
from serving.channels.contract import ChannelError
from serving.channels.smtp import SmtpChannel, check_target, is_loopback
from serving.letters import Letter, LetterItem
from tests.serving.campaign_shop import Postmaster, hang_up, make_home, post_office, settings, user, write_contacts

ANNA = "anna@people.example"


@pytest.fixture
def home(tmp_path: Path) -> ShopHome:
    return make_home(tmp_path, ["anna"])


@pytest.fixture
def postmaster() -> Postmaster:
    return Postmaster()


@pytest.fixture
def channel(home: ShopHome, tmp_path: Path, postmaster: Postmaster) -> Iterator[SmtpChannel]:
    with post_office(postmaster) as port:
        channel = SmtpChannel(home, settings(tmp_path, port))
        yield channel
        channel.close()


@pytest.fixture
def letter(home: ShopHome, tmp_path: Path) -> Letter:
    item = LetterItem("p1", "Oak Desk Lamp", "£24.00", "")
    return Letter(user(home, tmp_path, "anna"), "en", "r1", "<m1@shop.example>", "A warm light", "Hello.", (item,), "http://127.0.0.1:3000", "token")


@pytest.mark.parametrize(
    ("reply", "outcome", "detail"),
    [
        ("451 4.7.1 <anna@people.example> come back later", "retry", "message: 451 4.7.1"),
        ("452 anna@people.example over quota", "retry", "message: 452"),
        ("554 5.6.0 no such content for anna@people.example", "refused", "message: 554 5.6.0"),
        ("421 4.3.2 going down", "retry", "message: 421 4.3.2"),
        ("250 OK", "sent", ""),
        ("251 will forward", "sent", ""),
        ("354 what?", "unknown", "answer 354 after the end of the message"),
    ],
)
def test_what_an_answer_to_the_message_means(
    channel: SmtpChannel, postmaster: Postmaster, letter: Letter, reply: str, outcome: str, detail: str
) -> None:
    postmaster.replies[ANNA] = [reply]
    receipt = channel.deliver(letter)
    assert (receipt.outcome, receipt.detail) == (outcome, detail)
    assert channel.deliver(letter).outcome == "sent"  # the next transaction is clean


@pytest.mark.parametrize(("reply", "outcome"), [("550 5.1.1 <anna@people.example>: no such user", "refused"), ("450 4.2.1 greylisted", "retry")])
def test_what_an_answer_to_the_recipient_means(channel: SmtpChannel, postmaster: Postmaster, letter: Letter, reply: str, outcome: str) -> None:
    postmaster.rcpt_replies[ANNA] = [reply]
    receipt = channel.deliver(letter)
    assert receipt.outcome == outcome
    assert "anna" not in receipt.detail and receipt.detail.startswith("recipient: ")
    assert channel.deliver(letter).outcome == "sent"


def test_a_refused_sender_is_everybody_s_problem(channel: SmtpChannel, postmaster: Postmaster, letter: Letter) -> None:
    postmaster.mail_reply = "550 5.7.1 you may not send as shelf@shop.example"
    with pytest.raises(ChannelError, match="STORYSHELF_MAIL_FROM"):
        channel.deliver(letter)


@pytest.mark.parametrize(("step", "outcome"), [("MAIL", "retry"), ("RCPT", "retry"), ("DATA", "unknown"), ("accepted", "unknown")])
def test_a_lost_line_is_unknown_only_after_the_end_of_the_message(
    channel: SmtpChannel, postmaster: Postmaster, letter: Letter, step: str, outcome: str
) -> None:
    cut = iter([True])

    def at_step(name: str, server: SMTP) -> None:
        if name == step and next(cut, False):
            hang_up(server)

    postmaster.at_step = at_step
    assert channel.deliver(letter).outcome == outcome
    assert channel.deliver(replace(letter, message_id="<m2@shop.example>")).outcome == "sent"
    assert postmaster.message_ids.count("<m2@shop.example>") == 1


def test_what_is_no_address_is_refused_before_the_server_hears_of_it(home: ShopHome, channel: SmtpChannel, letter: Letter, tmp_path: Path) -> None:
    write_contacts(home, {letter.user_id: "anna@people.example>\r\nRCPT TO:<evil@people.example"})
    receipt = SmtpChannel(home, settings(tmp_path)).deliver(letter)
    assert (receipt.outcome, receipt.detail) == ("refused", "not an address")


def test_lines_of_dots_arrive_as_written(channel: SmtpChannel, postmaster: Postmaster, letter: Letter) -> None:
    assert channel.deliver(replace(letter, body=".\n\n..\n\n.x" + "y" * 5000)).outcome == "sent"
    plain = postmaster.accepted[0].get_body(("plain",))
    assert plain is not None and plain.get_content().replace("\r\n", "\n").startswith(".\n\n..\n\n.x" + "y" * 5000)


@pytest.mark.parametrize("host", ["mail.example.com", "192.0.2.7", "localhost.example.com", "10.0.0.1"])
def test_another_machine_needs_a_setting(tmp_path: Path, home: ShopHome, letter: Letter, host: str) -> None:
    with pytest.raises(ChannelError, match="STORYSHELF_ALLOW_REMOTE_SMTP"):
        SmtpChannel(home, settings(tmp_path, 25, smtp_host=host)).open()


def test_a_password_does_not_leave_in_the_clear(tmp_path: Path) -> None:
    remote = settings(tmp_path, 25, smtp_host="mail.example.com", allow_remote_smtp=True)
    check_target(remote)
    with pytest.raises(ChannelError, match="in the clear"):
        check_target(remote.model_copy(update={"smtp_user": "shop"}))
    check_target(remote.model_copy(update={"smtp_user": "shop", "smtp_tls": "starttls"}))


@pytest.mark.parametrize(("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.9.9.9", True), ("10.0.0.1", False)])
def test_what_is_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_a_server_without_what_the_settings_ask_for_is_named(home: ShopHome, channel: SmtpChannel, tmp_path: Path) -> None:
    port = channel._settings.smtp_port
    with pytest.raises(ChannelError, match="lacks what the settings ask for"):
        SmtpChannel(home, settings(tmp_path, port, smtp_tls="starttls")).open()
    with pytest.raises(ChannelError, match="lacks what the settings ask for"):
        SmtpChannel(home, settings(tmp_path, port, smtp_user="shop")).open()
    with pytest.raises(ChannelError, match="STORYSHELF_SMTP_TLS"):
        SmtpChannel(home, settings(tmp_path, port, smtp_tls="tls")).open()


def test_a_contact_does_not_show_its_address(home: ShopHome, letter: Letter) -> None:
    contact = Contacts(home.contacts_db, "email").find(letter.user_id)
    assert contact is not None and contact.address == ANNA
    assert "anna" not in repr(contact)
    assert repr(contact) == repr(Contact("other@people.example", None))


def test_who_is_taken_out_of_the_contacts_is_not_reached_from_then_on(home: ShopHome, tmp_path: Path, letter: Letter) -> None:
    channel = SmtpChannel(home, settings(tmp_path))
    assert channel.reaches(letter.user_id)
    write_contacts(home, {})
    assert not channel.reaches(letter.user_id)
    assert channel.deliver(letter).detail == "no address"


def test_a_shop_without_contacts_reaches_nobody(home: ShopHome, tmp_path: Path, letter: Letter) -> None:
    home.contacts_db.unlink()
    assert not SmtpChannel(home, settings(tmp_path)).reaches(letter.user_id)
    assert not home.contacts_db.exists()
