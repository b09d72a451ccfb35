"""Tokens of unsubscribe links: made and read by the shop's key only."""

import string

import pytest

from feature_repo.home import Pseudonyms
from serving.unsubscribe import BadToken, Unsubscribe, make_token, read_token

SHOP = Pseudonyms(bytes(32))
USER = SHOP.user("c-1")


def test_a_token_says_who_and_which_channel() -> None:
    assert read_token(SHOP, make_token(SHOP, USER, "email")) == Unsubscribe(USER, "email")


def test_a_token_holds_no_shop_id_and_fits_into_a_url() -> None:
    token = make_token(SHOP, SHOP.user("anna@people.example"), "email")
    assert "anna" not in token
    assert set(token) <= set(string.ascii_letters + string.digits + "-_.")
    assert len(token) < 100


def test_no_other_shop_can_make_one() -> None:
    with pytest.raises(BadToken):
        read_token(Pseudonyms(bytes([1] * 32)), make_token(SHOP, USER, "email"))


def test_every_changed_character_is_noticed() -> None:
    token = make_token(SHOP, USER, "email")
    for place, char in enumerate(token):
        changed = token[:place] + ("A" if char != "A" else "B") + token[place + 1 :]
        with pytest.raises(BadToken):
            read_token(SHOP, changed)


@pytest.mark.parametrize("token", ["", ".", "a.b", "é.é", "a" * 10_000, f"{'A' * 10}.", make_token(SHOP, USER, "email") + "=", "a.b.c"])
def test_rubbish_is_turned_down(token: str) -> None:
    with pytest.raises(BadToken):
        read_token(SHOP, token)


def test_a_signature_of_one_channel_does_not_serve_another() -> None:
    mail, push = make_token(SHOP, USER, "email"), make_token(SHOP, USER, "push")
    with pytest.raises(BadToken):
        read_token(SHOP, push.split(".")[0] + "." + mail.split(".")[1])
