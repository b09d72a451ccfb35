"""The contract of every channel, tried against the real other end."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from serving.channels import CHANNELS
from serving.channels.contract import Channel, ChannelDown
from serving.letters import Letter, LetterItem
from tests.serving.campaign_shop import Postmaster, make_home, post_office, settings, user

ITEMS = (LetterItem("p1", "Oak Desk Lamp", "£24.00", "You looked at lamps"),)


@dataclass
class Bench:
    """A channel, its other end, and users with and without an address."""

    channel: Channel
    postmaster: Postmaster
    anna: str
    stranger: str = "u_stranger"


def letter(to: str, message_id: str = "<m1@shop.example>") -> Letter:
    return Letter(to, "en", "r1", message_id, "A warm light", "Hello.", ITEMS, "http://127.0.0.1:3000", "token")


@pytest.fixture(params=sorted(CHANNELS))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    home = make_home(tmp_path, ["anna"])
    postmaster = Postmaster()
    with post_office(postmaster) as port:
        channel = CHANNELS[request.param](home, settings(tmp_path, port))
        yield Bench(channel, postmaster, user(home, tmp_path, "anna"))
        channel.close()


def test_it_goes_by_the_name_it_is_listed_under(bench: Bench) -> None:
    assert CHANNELS[bench.channel.name]


def test_it_knows_whom_it_reaches(bench: Bench) -> None:
    assert bench.channel.reaches(bench.anna)
    assert not bench.channel.reaches(bench.stranger)
    assert bench.channel.language(bench.stranger) is None


def test_it_delivers_each_letter_once(bench: Bench) -> None:
    bench.channel.open()
    bench.channel.open()
    assert bench.channel.deliver(letter(bench.anna)).outcome == "sent"
    assert bench.channel.deliver(letter(bench.anna, "<m2@shop.example>")).outcome == "sent"
    assert bench.postmaster.message_ids == ["<m1@shop.example>", "<m2@shop.example>"]


def test_whom_it_does_not_reach_it_refuses(bench: Bench) -> None:
    bench.channel.open()
    assert bench.channel.deliver(letter(bench.stranger)).outcome == "refused"
    assert bench.postmaster.accepted == []


def test_it_may_be_closed_and_opened_again(bench: Bench) -> None:
    bench.channel.open()
    bench.channel.close()
    bench.channel.close()
    bench.channel.open()
    assert bench.channel.deliver(letter(bench.anna)).outcome == "sent"


def test_nobody_at_the_other_end_is_named_before_anything_is_tried(bench: Bench, tmp_path: Path) -> None:
    home = make_home(tmp_path / "other", ["anna"])
    channel = CHANNELS[bench.channel.name](home, settings(tmp_path / "other"))
    with pytest.raises(ChannelDown, match="answers at"):
        channel.open()
