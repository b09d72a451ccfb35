"""The blend is as near to the best single method as the figures allow, and no kind of product is worse off with it."""

from dataclasses import replace

import numpy as np
import pytest

from training.evaluation.guard import Field, chosen, ranks_among
from training.evaluation.slices import OUT_OF_REACH, Outcomes, by_user
from training.ranker.blend import NO_BLEND, OTHERS, TAIL

USERS, CANDIDATES = 300, 40
NAMES = ("rank_repeat", "product_purchases_ever")


def world(seed: int = 1) -> tuple[Field, Outcomes, dict[tuple[str, str], np.ndarray], np.ndarray]:
    """Each person wants two of their candidates, one of a few popular teas and one of many rare cups; the method finds both equally well.

    The trees know the teas better than the method does, and put all of them before any cup.
    """
    random = np.random.default_rng(seed)
    tea = np.tile(np.arange(CANDIDATES) < 12, USERS)
    user, product = np.repeat(np.arange(USERS), CANDIDATES), np.tile(np.arange(CANDIDATES), USERS)
    wanted = np.zeros((USERS, CANDIDATES), bool)
    wanted[np.arange(USERS), random.integers(0, 12, USERS)] = True
    wanted[np.arange(USERS), random.integers(12, CANDIDATES, USERS)] = True
    found = wanted * 2.0 + random.normal(size=wanted.shape)
    rank = np.argsort(np.argsort(-found, axis=1), axis=1).ravel() + 1.0
    popularity = np.where(tea, 100.0, 5.0)
    trees = np.where(tea, 1.5, 0.0) + wanted.ravel() * np.where(tea, 3.0, 2.0) * 0.5 + random.normal(size=len(tea)) * 0.4
    at = np.flatnonzero(wanted.ravel())
    field = Field(
        np.stack([rank, popularity], axis=1).astype(np.float32),
        NAMES,
        np.where(tea, "category:tea", "category:cups"),
        product,
        trees.astype(np.float32),
        ranks_among(user, USERS, at),
    )
    baseline = (rank[at] - 1).astype(np.int64)
    outcomes = Outcomes(user[at], product[at], np.zeros(len(at), bool), USERS, {"own purchases": baseline})
    parts = {("category", "tea"): tea[at], ("category", "cups"): ~tea[at], ("products", "tail"): ~tea[at], ("products", "head"): tea[at]}
    return field, outcomes, parts, np.arange(CANDIDATES) < 12


def ndcg(outcomes: Outcomes, ranks: np.ndarray, inside: np.ndarray) -> float:
    given = Outcomes(outcomes.user, outcomes.product, outcomes.repeat, outcomes.users, {"it": ranks})
    return float(by_user(given, inside, ["it"])[:, -1].sum())


def test_what_the_trees_pass_over_is_lifted_until_it_is_no_worse_off() -> None:
    field, outcomes, parts, head = world()
    blend = chosen(field, outcomes, parts, head, "repeat", "purchase")
    cups, everything = parts["category", "cups"], np.ones(len(outcomes.user), bool)
    base, trees = outcomes.ranks["own purchases"], field.ranks(field.scores)
    both = field.ranks(field.scores + blend.added(field.matrix, NAMES, field.categories))
    assert ndcg(outcomes, trees, cups) < 0.9 * ndcg(outcomes, base, cups)  # the trees alone lose it
    assert ndcg(outcomes, both, cups) > ndcg(outcomes, base, cups)
    assert ndcg(outcomes, both, everything) > ndcg(outcomes, base, everything)
    assert blend.lifts.get(TAIL, 0.0) > 0 or blend.lifts.get("category:cups", 0.0) > 0
    assert blend.head_from == pytest.approx(100.0)


def test_small_categories_are_looked_at_together() -> None:
    """Each of them has too few targets to be looked at by itself; what is lifted elsewhere may not be taken from them."""
    field, outcomes, parts, head = world()
    parts = {
        ("category", "tea"): parts["category", "tea"],
        ("category", "cups"): parts["category", "cups"] & (np.arange(len(outcomes.user)) < 2 * 90),
    }
    blend = chosen(field, outcomes, parts, head, "repeat", "purchase")
    assert "category:cups" not in blend.lifts and blend.lifts[OTHERS] > 0
    cups = field.categories[:CANDIDATES] == "category:cups"
    added = blend.added(field.matrix[:CANDIDATES], NAMES, field.categories[:CANDIDATES])
    bare = replace(blend, lifts={}).added(field.matrix[:CANDIDATES], NAMES, field.categories[:CANDIDATES])
    assert (added - bare)[cups].min() > (added - bare)[~cups].max()


def test_what_is_behind_nowhere_is_not_lifted() -> None:
    field, outcomes, parts, head = world()
    base = outcomes.ranks["own purchases"]
    rank = field.matrix[:, 0]
    same = replace(field, scores=-rank.astype(np.float32))
    assert (same.ranks(same.scores) == base).all()
    assert chosen(same, outcomes, parts, head, "repeat", "purchase").lifts == {}


def test_nobody_to_choose_on() -> None:
    field, outcomes, _, head = world()
    nobody = Outcomes(outcomes.user[:0], outcomes.product[:0], outcomes.repeat[:0], 0, {"own purchases": np.zeros(0, np.int64)})
    assert chosen(field, nobody, {}, head, "repeat", "purchase") == NO_BLEND


def test_ranks_are_within_a_users_candidates() -> None:
    ranks = ranks_among(np.array([0, 0, 0, 1, 1]), 2, np.array([2, -1, 4]))
    assert ranks(np.array([1, 5, 3, 2, 2], np.float32)).tolist() == [1, OUT_OF_REACH, 1]
