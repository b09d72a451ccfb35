"""`python -m serving.campaigns --audience active:30d --dry-run | --send`: one letter to each shopper of an audience who agreed.

The flow of `--send`: audience -> who agreed and has an address -> outbox -> for each: compose, ask for consent again, commit the intent, deliver,
commit the outcome, journal. A run that was stopped or killed goes on where it stopped when the same command is given again; nobody is mailed twice.
docs/campaigns.md says what is promised and what is not.
"""

import argparse
import hashlib
import hmac
import logging
import mailbox
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm

from feature_repo import logs
from feature_repo.errors import StoryshelfError
from feature_repo.home import Pseudonyms, ShopHome
from feature_repo.journal import Decision
from serving import audience
from serving.channels import CHANNELS, sink
from serving.channels.contract import Channel, ChannelDown, ChannelError, Receipt
from serving.consent import Consent, Standing
from serving.errors import ServingError
from serving.letters import WORDS, Copy, Letter, address, to_mail, to_text
from serving.outbox import Campaign, Delivery, Outbox
from serving.settings import ServingSettings
from serving.unsubscribe import derived_key, make_token

log = logging.getLogger(__name__)

NO_ADDRESS = "no address"
NOTHING_TO_SAY = "nothing to recommend"


Source = Callable[[str, str, str], Copy | None]
"""(user_id, language wanted or "", request_id) -> what to say; None if there is nothing. A delivery that is repeated asks again."""

Record = Callable[[Decision], None]
"""Keeps the decision behind a letter that was delivered, or may have been."""


@dataclass(frozen=True)
class Run:
    """Everything one run of a campaign works with. `wall` is unix time, `wait` sleeps and returns early once `stop` is set."""

    campaign: Campaign
    home: ShopHome
    settings: ServingSettings
    pseudonyms: Pseudonyms
    outbox: Outbox
    consent: Consent
    channel: Channel
    source: Source
    record: Record
    wall: Callable[[], float] = time.time
    stop: threading.Event = field(default_factory=threading.Event)

    def wait(self, seconds: float) -> None:
        self.stop.wait(seconds)


@dataclass
class Tally:
    """What one run did: deliveries by (status, reason), people it never queued by reason, messages that earlier runs left unknown."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    recovered: int = 0


def eligible(run: Run, users: list[str]) -> tuple[list[str], Counter[str]]:
    """Who of `users` agreed and has an address, and why the others are left out."""
    kept, left_out = [], Counter[str]()
    for user_id in users:
        standing = run.consent.standing(user_id, run.campaign.channel)
        if standing is not Standing.GRANTED:
            left_out[standing.value] += 1
        elif not run.channel.reaches(user_id):
            left_out[NO_ADDRESS] += 1
        else:
            kept.append(user_id)
    return kept, left_out


def send(run: Run, users: list[str], limit: int | None = None, tally: Tally | None = None) -> Tally:
    """Mail the campaign to `users` (pseudonyms) and to whom an earlier run of it left queued; at most `limit` people in this run.

    Counts in `tally`, which also tells what was done when this raises.

    Raises:
        ServingError: another process runs the campaign, its name stands for something else, or the channel failed as a whole. What was done until
            then is committed, and the same call goes on from there.
    """
    tally = tally or Tally()
    name = run.campaign.name
    with run.outbox.running(name):
        run.outbox.start(run.campaign)
        tally.recovered = run.outbox.recover(name)
        if tally.recovered:
            log.warning("Campaign %s: %d message(s) of unknown outcome from an interrupted run; --unknown lists them.", name, tally.recovered)
        run.outbox.reopen(name)
        kept, tally.left_out = eligible(run, users)
        run.outbox.enrol(name, ((user_id, *message_ids(run, user_id)) for user_id in kept))
        with closing(run.channel):
            _work_off(run, tally, limit)
    return tally


def _work_off(run: Run, tally: Tally, limit: int | None) -> None:
    """Deliver what is queued until nothing is left, `limit` people were handled, or someone asked to stop."""
    name = run.campaign.name
    waiting = run.outbox.counts(name)
    total = sum(count for (status, _), count in waiting.items() if status == "queued")
    handled: set[str] = set()
    with tqdm(total=total if limit is None else min(total, limit), desc=name, unit="mail", disable=None) as progress:
        while not run.stop.is_set():
            delivery = run.outbox.next_queued(name)
            if delivery is None or (limit is not None and len(handled) >= limit and delivery.user_id not in handled):
                break
            if (pause := delivery.not_before - run.wall()) > 0:
                run.channel.close()  # a server would hang up on a silent connection
                progress.set_postfix_str(f"{pause:.0f} s until the next attempt")
                run.wait(pause)
                continue
            status, reason = _handle(run, delivery, patient=bool(handled))
            if status == "":
                continue
            if status != "skipped":
                handled.add(delivery.user_id)
            tally.outcomes[status, reason] += 1
            if status != "queued":
                progress.update()


def _handle(run: Run, delivery: Delivery, patient: bool) -> tuple[str, str]:
    """Bring one queued delivery to its end; returns its new status and the reason. ("", "") if it was not tried since `stop` was set."""
    if (standing := run.consent.standing(delivery.user_id, run.campaign.channel)) is not Standing.GRANTED:
        return _settle(run, delivery, "skipped", standing.value)
    if not run.channel.reaches(delivery.user_id):
        return _settle(run, delivery, "skipped", NO_ADDRESS)
    composed = compose(run, delivery.user_id, delivery.message_id, delivery.request_id)
    if composed is None:
        return _settle(run, delivery, "skipped", NOTHING_TO_SAY)
    letter, decision = composed
    if not _opened(run, patient):
        return "", ""
    with run.outbox.transaction():  # an unsubscribe is committed before this, and then heeded, or after it
        if (standing := run.consent.standing(delivery.user_id, run.campaign.channel)) is Standing.GRANTED:
            run.outbox.sending(delivery)
    if standing is not Standing.GRANTED:
        return _settle(run, delivery, "skipped", standing.value)
    try:
        receipt = run.channel.deliver(letter)
    except ChannelError:
        run.outbox.withdraw(delivery)
        raise
    result = _settle_receipt(run, delivery, receipt)
    if decision is not None and receipt.outcome in ("sent", "unknown"):
        run.record(decision)
    return result


def _settle_receipt(run: Run, delivery: Delivery, receipt: Receipt) -> tuple[str, str]:
    if receipt.outcome != "retry":
        return _settle(run, delivery, {"sent": "sent", "refused": "failed", "unknown": "unknown"}[receipt.outcome], receipt.detail)
    attempts = delivery.attempts + 1
    if attempts >= run.settings.mail_attempts:
        return _settle(run, delivery, "failed", f"given up after {attempts} attempts: {receipt.detail}")
    run.outbox.postpone(delivery, receipt.detail, run.wall() + run.settings.mail_backoff_s * 2 ** (attempts - 1))
    return "queued", receipt.detail


def _settle(run: Run, delivery: Delivery, status: str, reason: str) -> tuple[str, str]:
    run.outbox.settle(delivery, status, reason)
    return status, reason


def _opened(run: Run, patient: bool) -> bool:
    """The channel is open. Where it was open in this run before, `patient`, a server that went away is given time to come back.

    Returns False if `stop` was set meanwhile.
    """
    for attempt in range(run.settings.mail_attempts):
        try:
            run.channel.open()
        except ChannelDown as error:
            if not patient or attempt + 1 == run.settings.mail_attempts:
                raise
            log.warning("%s Trying again.", error)
            run.wait(run.settings.mail_backoff_s * 2**attempt)
            if run.stop.is_set():
                return False
        else:
            return True
    return False


def compose(run: Run, user_id: str, message_id: str, request_id: str) -> tuple[Letter, Decision | None] | None:
    """The letter to one user, in the language asked for or noted with the address, if the shop has it; None if there is nothing to say."""
    wanted = run.campaign.language or (run.channel.language(user_id) or "")[:2].lower()
    copy = run.source(user_id, wanted, request_id)
    if copy is None:
        return None
    token = make_token(run.pseudonyms, user_id, run.campaign.channel)
    letter = Letter(user_id, copy.language, request_id, message_id, copy.subject, copy.body, copy.items, run.settings.public_url, token)
    return letter, copy.decision


def message_ids(run: Run, user_id: str) -> tuple[str, str]:
    """(Message-ID, request_id) of a campaign's message to a user: always the same, and not to be turned back into either without the key."""
    key = derived_key(run.pseudonyms, "campaign")
    digest = [hmac.new(key, f"{part}|{run.campaign.name}|{user_id}".encode(), hashlib.sha256).hexdigest()[:32] for part in ("message", "request")]
    return f"<{digest[0]}@{address(run.settings.mail_from).domain}>", digest[1]


def preview(run: Run, users: list[str], limit: int | None, folder: Path) -> tuple[Path, Path, int, Counter[str]]:
    """Compose the letters and write them to an mbox and a Markdown file instead of sending; pseudonyms stand for addresses.

    Nothing else is written or changed. Returns both files, the number of letters and who was left out.
    """
    kept, left_out = eligible(run, users)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    mbox_file, text_file = folder / f"{file_name(run.campaign.name)}.mbox", folder / f"{file_name(run.campaign.name)}.md"
    mbox_file.unlink(missing_ok=True)
    count = 0
    with closing(mailbox.mbox(mbox_file)) as box, text_file.open("w", encoding="utf-8") as text:
        text.write(f"# {run.campaign.name}: dry run for '{run.campaign.audience}'\n")
        for user_id in tqdm(kept[:limit], desc=f"{run.campaign.name} (dry run)", unit="mail", disable=None):
            composed = compose(run, user_id, *message_ids(run, user_id))
            if composed is None:
                left_out[NOTHING_TO_SAY] += 1
                continue
            count += 1
            letter = composed[0]
            box.add(to_mail(letter, run.settings.mail_from, f"{user_id}@shopper.invalid", datetime.now(UTC)))
            text.write(f"\n## {count}. {user_id} ({letter.language})\n\nSubject: {letter.subject}\n\n````text\n{to_text(letter)}````\n")
    return mbox_file, text_file, count, left_out


def file_name(campaign: str) -> str:
    """A campaign's name as the stem of a file."""
    return re.sub(r"[^\w.-]+", "-", campaign).strip("-.") or "campaign"


def default_name(channel: str, expression: str, language: str, products: int) -> str:
    """The same command is the same campaign: given again it goes on, and mails nobody twice."""
    return f"{channel} to {expression} ({products}{', ' + language if language else ''})"


def report(run: Run, tally: Tally) -> str:
    """The final table: the whole campaign beside this run."""
    whole = Counter(run.outbox.counts(run.campaign.name))
    rows = [
        (status, reason, whole[status, reason], tally.outcomes[status, reason]) for status, reason in sorted(whole.keys() | tally.outcomes.keys())
    ]
    rows = [row for row in rows if row[2] or row[0] != "queued"]
    rows += [("left out", reason, count, count) for reason, count in sorted(tally.left_out.items())]
    lines = [f"Campaign '{run.campaign.name}', shop {run.home.shop}", f"{'outcome':<10} {'reason':<44} {'campaign':>9} {'this run':>9}"]
    lines += [f"{status:<10} {reason or '-':<44} {total:>9,} {now:>9,}" for status, reason, total, now in rows]
    if not rows:
        lines.append("Nobody is in this audience.")
    queued = sum(count for (status, _), count in whole.items() if status == "queued")
    unknown = sum(count for (status, _), count in whole.items() if status == "unknown")
    if queued:
        lines.append(f"{queued:,} still to be mailed: run the same command again.")
    if unknown:
        lines.append(f"{unknown:,} may or may not have arrived and will not be sent again by themselves: see --unknown and --resolve.")
    return "\n".join(lines)


def unknown_table(deliveries: list[Delivery]) -> str:
    """What --unknown prints: no address, but the Message-ID to look for in the mail server's log."""
    if not deliveries:
        return "No message has an unknown outcome."
    lines = [f"{'campaign':<36} {'shopper':<27} {'since':<24} Message-ID"]
    lines += [f"{each.campaign:<36} {each.user_id:<27} {each.updated_at[:19]:<24} {each.message_id}" for each in deliveries]
    lines.append("Look for the Message-ID in the mail server's log. Found: --resolve MESSAGE-ID --arrived. Not found: --resolve MESSAGE-ID --lost.")
    return "\n".join(lines)


def main() -> None:
    arguments = _parser().parse_args()
    logs.configure()
    try:
        settings = ServingSettings.read()
        home = ShopHome.open(settings, arguments.shop)
        if arguments.unknown or arguments.resolve:
            print(_by_hand(home, arguments))
        else:
            print(_command(home, settings, arguments))
    except StoryshelfError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _by_hand(home: ShopHome, arguments: argparse.Namespace) -> str:
    with closing(Outbox(home.outbox_db, read_only=bool(arguments.unknown))) as outbox:
        if arguments.unknown:
            return unknown_table(outbox.unknown(arguments.name))
        if arguments.arrived == arguments.lost:
            raise ServingError("--resolve needs either --arrived or --lost.")
        done = outbox.resolve(arguments.resolve, bool(arguments.arrived))
        return f"{done.message_id}: {'counted as sent' if arguments.arrived else 'back in the queue, sent by the next run'}."


def _command(home: ShopHome, settings: ServingSettings, arguments: argparse.Namespace) -> str:
    """--dry-run and --send; returns what to print."""
    users = audience.select(home, settings, arguments.audience)
    from serving.letter_source import LetterSource  # the models load only here: --unknown, --help and a wrong audience are answered at once

    name = arguments.name or default_name(arguments.channel, arguments.audience, arguments.language, arguments.n)
    campaign = Campaign(name, arguments.channel, arguments.audience, arguments.language, arguments.n)
    with ExitStack() as stack:
        outbox = stack.enter_context(closing(Outbox(home.outbox_db, read_only=arguments.dry_run)))
        source = stack.enter_context(closing(LetterSource(home, settings, arguments.n)))
        source.check_language(arguments.language)
        run = Run(
            campaign, home, settings, home.pseudonyms(settings), outbox, Consent(home, outbox), CHANNELS[arguments.channel](home, settings),
            source, source.record, stop=_stop_on_signal(),
        )  # fmt: skip
        if arguments.dry_run:
            folder = Path(arguments.out) if arguments.out else home.campaigns
            mbox_file, text_file, count, left_out = preview(run, users, arguments.limit, folder)
            skipped = "".join(f"\n  left out, {reason}: {number:,}" for reason, number in sorted(left_out.items()))
            return f"{count:,} letter(s), nothing sent:\n  {text_file}\n  {mbox_file}{skipped}"
        stack.enter_context(_default_sink(home, settings))
        tally = Tally()
        try:
            send(run, users, arguments.limit, tally)
        except ChannelError:
            print(report(run, tally))
            raise
        return report(run, tally)


@contextmanager
def _default_sink(home: ShopHome, settings: ServingSettings) -> Iterator[None]:
    """The local sink, started here if mail goes to it and nobody listens there."""
    if not sink.is_target(settings) or sink.listens(settings.sink_port):
        yield
        return
    with sink.running(sink.folder(home), settings.sink_port):
        log.info("Mail goes to the local sink, which keeps it in %s and passes nothing on.", sink.folder(home))
        yield


def _stop_on_signal() -> threading.Event:
    """Set by the first Ctrl-C or SIGTERM: the message under way is finished, then the run ends. The second one ends it at once."""
    stop = threading.Event()

    def asked(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, asked)
    return stop


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Mail recommended products with their copy to each consenting shopper of an audience, once.",
        epilog="Audience: all, users:FILE, interest:Category, active:30d, country:XX, language:zh, joined by commas.",
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--dry-run", action="store_true", help="write the letters to files to read, and touch nothing else")
    action.add_argument("--send", action="store_true", help="deliver; the same command again goes on where it stopped")
    action.add_argument("--unknown", action="store_true", help="list messages that a crash left without a known outcome")
    action.add_argument("--resolve", metavar="MESSAGE-ID", default="", help="say what became of one of them: with --arrived or --lost")
    parser.add_argument("--arrived", action="store_true", help="with --resolve: it was delivered")
    parser.add_argument("--lost", action="store_true", help="with --resolve: it was not; the next run sends it, under the same Message-ID")
    parser.add_argument("--audience", default="", help="whom it is meant for")
    parser.add_argument("--channel", choices=sorted(CHANNELS), default="email")
    parser.add_argument("--name", default="", help="name of the campaign (default: made from audience, channel, language and n)")
    parser.add_argument("--language", choices=tuple(WORDS), default="", help="write in this language (default: each shopper's own)")
    parser.add_argument("--n", type=_positive, default=3, help="products per letter (default 3)")
    parser.add_argument("--limit", type=_positive, default=None, help="mail at most this many people in this run")
    parser.add_argument("--out", default="", help="with --dry-run: folder for the files (default: campaigns in the shop's home)")
    parser.add_argument("--shop", default="", help="shop (default: the one trained last)")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


if __name__ == "__main__":
    main()
