"""A campaign from audience to mailbox: each consenting shopper once, whatever breaks, killed with SIGKILL included."""

import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP

from feature_repo.home import ShopHome
from feature_repo.journal import Decision
from serving.campaigns import Run, Source, Tally, default_name, message_ids, preview, report, send, unknown_table
from serving.channels.contract import ChannelDown, ChannelError
from serving.channels.smtp import SmtpChannel
from serving.consent import Consent
from serving.errors import ServingError
from serving.letters import Copy, LetterItem
from serving.outbox import Campaign, Outbox
from tests.serving.campaign_shop import Postmaster, hang_up, kill, make_home, post_office, settings, user, write, write_contacts

ROOT = Path(__file__).parents[2]
IDS = [f"c-{i}" for i in range(6)]
AUTUMN = Campaign("autumn", "email", "all", "", 3)
LAMP = LetterItem("p1", "Oak Desk Lamp", "£24.00", "You looked at lamps")


def say_hello(user_id: str, language: str, request_id: str) -> Copy:
    decision = Decision(request_id, datetime.now(UTC), "email", "email", user_id, 1, {})
    if language == "zh":
        return Copy("zh", "一盏温暖的灯", "您好。", (LAMP,), decision)
    return Copy("en", "A warm light", "Hello.", (LAMP,), decision)


class Shop:
    """A home, its mail server and a way to run a campaign in this process."""

    def __init__(self, folder: Path, home: ShopHome, postmaster: Postmaster, port: int) -> None:
        self.folder, self.home, self.postmaster, self.port = folder, home, postmaster, port
        self.users = sorted(user(home, folder, each) for each in IDS)
        self.decisions: list[Decision] = []
        self.outbox = Outbox(home.outbox_db)

    def run(self, campaign: Campaign = AUTUMN, source: Source = say_hello, **more: object) -> Run:
        config = settings(self.folder, self.port, **more)
        return Run(
            campaign, self.home, config, self.home.pseudonyms(config), self.outbox, Consent(self.home, self.outbox), SmtpChannel(self.home, config),
            source, self.decisions.append,
        )  # fmt: skip

    def id_of(self, shop_id: str) -> str:
        return user(self.home, self.folder, shop_id)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    postmaster = Postmaster()
    home = make_home(tmp_path, IDS)
    with post_office(postmaster) as port:
        yield Shop(tmp_path, home, postmaster, port)


def everybody() -> list[str]:
    return sorted(f"{each}@people.example" for each in IDS)


def test_everybody_who_agreed_is_mailed_once_and_again_changes_nothing(shop: Shop) -> None:
    assert send(shop.run(), shop.users).outcomes == {("sent", ""): 6}
    assert send(shop.run(), shop.users).outcomes == {}
    assert sorted(shop.postmaster.recipients) == everybody()
    assert len(set(shop.postmaster.message_ids)) == 6


def test_another_name_is_another_campaign(shop: Shop) -> None:
    send(shop.run(), shop.users)
    send(shop.run(replace(AUTUMN, name="winter")), shop.users)
    assert sorted(shop.postmaster.recipients) == sorted(everybody() * 2)
    assert len(set(shop.postmaster.message_ids)) == 12


def test_a_name_can_t_be_used_for_something_else(shop: Shop) -> None:
    send(shop.run(), shop.users)
    with pytest.raises(ServingError, match="another --name"):
        send(shop.run(replace(AUTUMN, audience="country:GB")), shop.users)


def test_who_did_not_agree_or_has_no_address_is_left_out_and_counted(shop: Shop) -> None:
    write(shop.home, "consents", [{"user_id": shop.id_of(each), "channel": "email", "granted": each != "c-2", "at": None} for each in IDS[:4]])
    write_contacts(shop.home, {shop.id_of(each): f"{each}@people.example" for each in IDS if each != "c-3"})
    tally = send(shop.run(), shop.users)
    assert sorted(shop.postmaster.recipients) == ["c-0@people.example", "c-1@people.example"]
    assert tally.left_out == {"no consent": 2, "consent refused": 1, "no address": 1}


def test_no_consents_table_nobody_is_mailed(shop: Shop) -> None:
    (shop.home.tables / "consents.parquet").unlink()
    assert send(shop.run(), shop.users).left_out == {"no consent": 6}
    assert shop.postmaster.accepted == []


def test_an_unsubscribe_is_heeded_before_the_next_message(shop: Shop) -> None:
    """The second shopper unsubscribes through another connection while the first one's mail is on its way, the third while hers is written."""
    elsewhere = Consent(shop.home)
    second, third = shop.users[1], shop.users[2]

    def at_step(step: str, server: SMTP) -> None:
        if step == "DATA" and not shop.postmaster.accepted:
            elsewhere.suppress(second, "email", "link")

    def source(user_id: str, language: str, request_id: str) -> Copy:
        if user_id == third:
            elsewhere.suppress(third, "email", "link")
        return say_hello(user_id, language, request_id)

    shop.postmaster.at_step = at_step
    tally = send(shop.run(source=source), shop.users)
    assert tally.outcomes == {("sent", ""): 4, ("skipped", "unsubscribed"): 2}
    assert len(shop.postmaster.accepted) == 4
    assert send(shop.run(), shop.users).outcomes == {("skipped", "unsubscribed"): 2}


def test_a_limit_holds_per_run_and_the_next_run_goes_on(shop: Shop) -> None:
    for expected in (4, 6, 6):
        send(shop.run(), shop.users, limit=4)
        assert len(shop.postmaster.accepted) == expected
    assert sorted(shop.postmaster.recipients) == everybody()


def test_temporary_failures_are_tried_again_and_given_up_in_the_end(shop: Shop) -> None:
    shop.postmaster.replies["c-1@people.example"] = ["451 4.7.1 later"] * 2
    shop.postmaster.rcpt_replies["c-2@people.example"] = ["450 4.2.1 later"] * 9
    tally = send(shop.run(mail_attempts=4), shop.users)
    assert shop.postmaster.attempts.count("c-1@people.example") == 3
    assert len(shop.postmaster.rcpt_replies["c-2@people.example"]) == 5
    assert sorted(shop.postmaster.recipients) == [each for each in everybody() if not each.startswith("c-2")]
    assert tally.outcomes["failed", "given up after 4 attempts: recipient: 450 4.2.1"] == 1
    assert send(shop.run(), shop.users).outcomes == {}


def test_the_pause_before_another_attempt_doubles(shop: Shop) -> None:
    shop.postmaster.replies["c-1@people.example"] = ["451 later"] * 3
    clock = [1000.0]
    pauses = []

    class Patient(Run):
        def wait(self, seconds: float) -> None:
            pauses.append(seconds)
            clock[0] += seconds

    run = shop.run(mail_backoff_s=60.0)
    send(Patient(**{name: getattr(run, name) for name in Run.__dataclass_fields__} | {"wall": lambda: clock[0]}), shop.users)
    assert pauses == [60.0, 120.0, 240.0]
    assert sorted(shop.postmaster.recipients) == everybody()


def test_a_permanent_refusal_is_recorded_and_not_tried_again(shop: Shop) -> None:
    shop.postmaster.rcpt_replies["c-1@people.example"] = ["550 5.1.1 <c-1@people.example> unknown"]
    assert send(shop.run(), shop.users).outcomes == {("sent", ""): 5, ("failed", "recipient: 550 5.1.1"): 1}
    assert send(shop.run(), shop.users).outcomes == {}


def test_a_lost_line_after_the_text_is_unknown_and_the_others_still_get_theirs(shop: Shop) -> None:
    def at_step(step: str, server: SMTP) -> None:
        if step == "accepted" and len(shop.postmaster.accepted) == 2:
            hang_up(server)

    shop.postmaster.at_step = at_step
    tally = send(shop.run(), shop.users)
    assert tally.outcomes == {("sent", ""): 5, ("unknown", "connection lost after the end of the message"): 1}
    send(shop.run(), shop.users)
    assert sorted(shop.postmaster.recipients) == everybody()
    (unknown,) = shop.outbox.unknown("autumn")
    assert unknown.message_id == shop.postmaster.message_ids[1]
    assert unknown.message_id in unknown_table([unknown])
    assert "1 may or may not have arrived" in report(shop.run(), Tally())


def test_what_a_person_finds_lost_goes_out_with_the_same_message_id(shop: Shop) -> None:
    cut = iter([True])
    shop.postmaster.at_step = lambda step, server: hang_up(server) if step == "DATA" and next(cut, False) else None
    send(shop.run(), shop.users)
    (unknown,) = shop.outbox.unknown()
    shop.postmaster.accepted[:] = [each for each in shop.postmaster.accepted if each["Message-ID"] != unknown.message_id]  # it never got there
    shop.outbox.resolve(unknown.message_id, arrived=False)
    assert send(shop.run(), shop.users).outcomes == {("sent", ""): 1}
    assert shop.postmaster.message_ids.count(unknown.message_id) == 1
    assert shop.outbox.unknown() == []


def test_nobody_answers_so_nothing_is_marked_and_the_next_run_mails_all(shop: Shop, tmp_path: Path) -> None:
    down = shop.run()
    down = replace(down, channel=SmtpChannel(shop.home, settings(tmp_path)))
    with pytest.raises(ChannelDown, match="answers at"):
        send(down, shop.users)
    assert shop.outbox.counts("autumn") == {("queued", ""): 6}
    assert send(shop.run(), shop.users).outcomes == {("sent", ""): 6}


def test_a_refused_sender_stops_the_campaign_and_costs_nobody_their_mail(shop: Shop) -> None:
    shop.postmaster.mail_reply = "550 5.7.1 not you"
    with pytest.raises(ChannelError, match="refuses the sender"):
        send(shop.run(), shop.users)
    assert shop.outbox.counts("autumn") == {("queued", ""): 6}
    shop.postmaster.mail_reply = ""
    assert send(shop.run(), shop.users).outcomes == {("sent", ""): 6}


def test_a_remote_server_is_refused_before_anything_happens(shop: Shop) -> None:
    with pytest.raises(ChannelError, match="STORYSHELF_ALLOW_REMOTE_SMTP"):
        send(shop.run(smtp_host="mail.example.com"), shop.users)
    assert shop.outbox.counts("autumn") == {("queued", ""): 6}


def test_two_runs_at_once_are_refused(shop: Shop) -> None:
    with Outbox(shop.home.outbox_db).running("autumn"), pytest.raises(ServingError, match="run by another process"):
        send(shop.run(), shop.users)
    assert shop.postmaster.accepted == []


def test_asked_to_stop_it_finishes_the_message_under_way(shop: Shop) -> None:
    run = shop.run()
    shop.postmaster.at_step = lambda step, server: run.stop.set() if step == "DATA" else None
    assert send(run, shop.users).outcomes == {("sent", ""): 1}
    shop.postmaster.at_step = lambda step, server: None
    assert send(shop.run(), shop.users).outcomes == {("sent", ""): 5}
    assert sorted(shop.postmaster.recipients) == everybody()


def test_decisions_are_kept_for_what_was_delivered_only(shop: Shop) -> None:
    shop.postmaster.rcpt_replies["c-1@people.example"] = ["550 no"]
    shop.postmaster.replies["c-2@people.example"] = ["451 later"]
    send(shop.run(), shop.users)
    assert sorted(each.user_id for each in shop.decisions) == sorted(set(shop.users) - {shop.id_of("c-1")})
    assert len({each.request_id for each in shop.decisions}) == 5


def test_the_language_is_the_one_asked_for_or_noted_with_the_address(shop: Shop) -> None:
    asked = []

    def source(user_id: str, language: str, request_id: str) -> Copy:
        asked.append(language)
        return say_hello(user_id, language, request_id)

    anna = shop.users[0]
    send(shop.run(AUTUMN, source), [anna])
    write_contacts(shop.home, {anna: "anna@people.example"}, language="zh-CN")
    send(shop.run(replace(AUTUMN, name="2"), source), [anna])
    send(shop.run(replace(AUTUMN, name="3", language="en"), source), [anna])
    assert asked == ["", "zh", "en"]
    assert [each["Content-Language"] for each in shop.postmaster.accepted] == ["en", "zh", "en"]


def test_nobody_is_mailed_nothing(shop: Shop) -> None:
    tally = send(shop.run(source=lambda user_id, language, request_id: None), shop.users)
    assert tally.outcomes == {("skipped", "nothing to recommend"): 6}
    assert shop.postmaster.accepted == []


def test_a_title_of_the_shop_can_address_nobody_else(shop: Shop) -> None:
    def source(user_id: str, language: str, request_id: str) -> Copy:
        return replace(say_hello(user_id, language, request_id), subject="Lamp\r\nBcc: evil@people.example\r\n\r\n.\r\nRCPT TO:<evil@people.example>")

    send(shop.run(source=source), shop.users[:1])
    (mail,) = shop.postmaster.accepted
    assert mail["Bcc"] is None and shop.postmaster.recipients == [each for each in everybody() if shop.id_of(each.split("@")[0]) == shop.users[0]]


def test_a_dry_run_writes_letters_to_read_and_touches_nothing_else(shop: Shop, tmp_path: Path) -> None:
    shop.outbox.close()
    write_contacts(shop.home, {each: f"{each}@people.example" for each in shop.users}, language="zh")
    for file in shop.home.root.glob("outbox*"):
        file.unlink()
    before = {file: file.read_bytes() for file in shop.home.root.rglob("*") if file.is_file()}
    run = shop.run()
    outbox = Outbox(shop.home.outbox_db, read_only=True)
    run = replace(run, outbox=outbox, consent=Consent(shop.home, outbox))
    out = tmp_path / "out"
    mbox_file, text_file, count, left_out = preview(run, shop.users, 4, out)
    assert (count, sum(left_out.values())) == (4, 0)
    assert {file: file.read_bytes() for file in shop.home.root.rglob("*") if file.is_file()} == before
    assert sorted(out.iterdir()) == sorted([mbox_file, text_file])
    assert text_file.read_text().count("\n## ") == 4 and "一盏温暖的灯" in text_file.read_text()
    assert mbox_file.read_bytes().count(b"\nMessage-ID: <") == 4
    assert b"people.example" not in mbox_file.read_bytes() + text_file.read_bytes()
    assert shop.postmaster.accepted == [] and shop.decisions == []


def test_no_address_in_outbox_decisions_or_report(shop: Shop) -> None:
    shop.postmaster.rcpt_replies["c-1@people.example"] = ["550 5.1.1 <c-1@people.example> unknown"]
    shop.postmaster.replies["c-2@people.example"] = ["554 c-2@people.example never"]
    run = shop.run()
    tally = send(run, shop.users)
    shop.outbox.close()
    written = b"".join(file.read_bytes() for file in shop.home.root.glob("outbox*"))
    for address in everybody():
        assert address.encode() not in written and address not in repr(shop.decisions)
    assert "people.example" not in report(replace(run, outbox=Outbox(shop.home.outbox_db)), tally)


def test_the_same_command_is_the_same_campaign() -> None:
    assert default_name("email", "all", "", 3) == default_name("email", "all", "", 3)
    assert len({default_name("email", audience, language, n) for audience in ("all", "active:3d") for language in ("", "zh") for n in (3, 4)}) == 8


# Killed with SIGKILL, in a process of its own.

SCRIPT = """
import sys
from pathlib import Path
from feature_repo import logs
from tests.serving.test_campaigns import AUTUMN, say_hello
from tests.serving.campaign_shop import settings
from feature_repo.home import ShopHome
from serving.campaigns import Run, report, send
from serving.channels.smtp import SmtpChannel
from serving.consent import Consent
from serving.outbox import Outbox
logs.configure()
folder, port, users = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(",")
config = settings(folder, port)
home = ShopHome.open(config, "corner")
outbox = Outbox(home.outbox_db)
channel, consent = SmtpChannel(home, config), Consent(home, outbox)
run = Run(AUTUMN, home, config, home.pseudonyms(config), outbox, consent, channel, say_hello, lambda decision: None)
print(report(run, send(run, users)))
"""


class Killer:
    """Kills the process that is being served at a chosen step of a chosen message, at once or a moment later."""

    def __init__(self) -> None:
        self.pid = 0
        self.step = ""
        self.after = 0
        self.later_s = 0.0
        self.killed = False

    def arm(self, pid: int, step: str, after: int, later_s: float) -> None:
        self.pid, self.step, self.after, self.later_s, self.killed = pid, step, after, later_s, False

    def __call__(self, step: str, server: SMTP) -> None:
        if not self.pid or step != self.step or self.killed:
            return
        self.after -= 1
        if self.after <= 0:
            self.killed = True
            if self.later_s:
                server.loop.call_later(self.later_s, kill, self.pid)
            else:
                kill(self.pid)


@contextmanager
def campaign_process(shop: Shop) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(shop.folder), str(shop.port), ",".join(shop.users)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_killed_at_any_point_nobody_is_mailed_twice_and_a_kill_costs_one_message_at_most(tmp_path: Path) -> None:
    random_numbers = random.Random(20)
    postmaster, killer = Postmaster(), Killer()
    ids = [f"c-{i}" for i in range(40)]
    home = make_home(tmp_path, ids)
    kills = 0
    with post_office(postmaster) as port:
        shop = Shop(tmp_path, home, postmaster, port)
        shop.users = sorted(user(home, tmp_path, each) for each in ids)
        postmaster.at_step = killer
        plan = [(step, later) for step in ("MAIL", "RCPT", "DATA", "accepted") for later in (0.0, 0.001, 0.004)]
        random_numbers.shuffle(plan)
        for step, later in plan:
            with campaign_process(shop) as process:
                killer.arm(process.pid, step, random_numbers.randint(1, 4), later * random_numbers.random())
                out, errors = process.communicate()
            if process.returncode == 0:
                break
            assert process.returncode == -9, errors
            kills += 1
        killer.pid = 0
        with campaign_process(shop) as process:
            out, errors = process.communicate()
            assert process.returncode == 0, errors
    unknown = shop.outbox.unknown("autumn")
    delivered = postmaster.message_ids
    assert kills >= 8
    assert len(delivered) == len(set(delivered)), "someone was mailed twice"
    assert len(unknown) <= kills, "a kill cost more than one message"
    sent = shop.outbox.counts("autumn")["sent", ""]
    assert sent + len(unknown) == 40, "everybody was mailed or is listed"
    expected = {message_ids(shop.run(), each)[0] for each in shop.users}
    assert set(delivered) <= expected
    assert expected - set(delivered) <= {each.message_id for each in unknown}, "someone counted as mailed got nothing"
    assert "people.example" not in out + errors
    assert f"{len(unknown):,} may or may not have arrived" in out or not unknown


def test_a_second_process_is_turned_away_while_the_first_is_sending(shop: Shop) -> None:
    at_data, go_on = threading.Event(), threading.Event()

    def at_step(step: str, server: SMTP) -> None:
        if step == "DATA" and not at_data.is_set():
            at_data.set()
            go_on.wait()

    shop.postmaster.at_step = at_step
    with campaign_process(shop) as process:
        assert at_data.wait(60)
        with pytest.raises(ServingError, match="run by another process"):
            send(shop.run(), shop.users)
        go_on.set()
        assert process.communicate()[0] and process.returncode == 0
    assert sorted(shop.postmaster.recipients) == everybody()


def test_logs_are_json_lines_without_addresses(shop: Shop) -> None:
    killer = Killer()
    shop.postmaster.at_step = killer
    with campaign_process(shop) as process:
        killer.arm(process.pid, "DATA", 1, 0.0)
        process.communicate()
    assert len(shop.outbox.unknown()) == 1, "listed before another run"
    with campaign_process(shop) as process:
        out, errors = process.communicate()
    lines = [json.loads(line) for line in errors.splitlines()]
    assert any("unknown outcome" in line["message"] for line in lines)
    assert "people.example" not in out + errors
