"""What ties add, on people who choose as those they trust do, and what the protocol promises."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from training.benchmark import social
from training.benchmark.figures import figures_of, ndcg
from training.benchmark.social import ARMS, SOCIAL, STACK, Run, halves_of, interval, read, report, strangers, table, write_shop
from training.errors import TrainingError
from training.settings import TrainingSettings

CIRCLES, MEMBERS, SHELF, RATED = 30, 5, 10, 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Circles of people who trust each other and rate products of one shelf of their own; three loners rate twice and trust nobody."""
    to, random = tmp_path_factory.mktemp("trusting"), np.random.default_rng(5)
    rows, trust = [], []
    for circle in range(CIRCLES):
        people = range(circle * MEMBERS, (circle + 1) * MEMBERS)
        for user in people:
            shelf = random.permutation(SHELF)[:RATED]
            rows += [(user, circle * SHELF + int(place), circle % 4, int(random.integers(1, 6))) for place in shelf]
        trust += [(one, other) for one in people for other in people if one != other]
    rows += [(CIRCLES * MEMBERS + loner, product, 0, 5) for loner in range(3) for product in (0, 11)]
    rows += rows[:5]  # rated twice
    pd.DataFrame(rows, columns=["user_id", "product_id", "category_id", "rating"]).to_parquet(to / "ratings.parquet")
    pd.DataFrame([*trust, (0, 0)], columns=["truster", "trustee"]).to_parquet(to / "trust.parquet")
    return to


@pytest.fixture(scope="module")
def found(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = TrainingSettings(trees=20, threads=1, candidates=20)
    return social.run(folder, 1, settings, tmp_path_factory.mktemp("scratch"))


def test_the_planted_signal_is_found_and_strangers_have_none(found: Run) -> None:
    assert len(found.ranks[SOCIAL]) == CIRCLES * MEMBERS // 2
    assert figures_of(found.ranks[SOCIAL])["hr@10"] > 0.7
    assert figures_of(found.ranks[f"{SOCIAL}, with strangers"])["hr@10"] < 0.2
    assert figures_of(found.ranks["popularity"])["hr@10"] < 0.2
    stacks = {arm: figures_of(found.ranks[f"{STACK} {arm}"]) for arm in ARMS}
    assert stacks["with ties"]["hr@10"] > 0.7
    assert found.reached["with ties"] >= max(found.reached[arm] for arm in ARMS)


def test_the_report_is_whole(found: Run) -> None:
    made = json.loads(json.dumps(report({1: found, 2: found})))
    assert {"figures", "added", "reached", "counts", "seeds", "parameters", "minutes", "peak_gb", "machine", "commit"} <= made.keys()
    assert set(made["figures"]["all"]) == {"people", *found.ranks}
    assert made["seeds"] == [1, 2] and made["counts"]["1"]["ties"] == CIRCLES * MEMBERS * (MEMBERS - 1)
    for parts in made["added"].values():
        assert parts["all"]["ndcg@10"]["low"] <= parts["all"]["ndcg@10"]["mean"] <= parts["all"]["ndcg@10"]["high"]
    assert "with strangers, over without ties" in table(made)


def test_targets_are_held_out_at_random_and_known_nowhere(folder: Path, tmp_path: Path) -> None:
    ratings, other = (read(folder, np.random.default_rng(seed)) for seed in (1, 2))
    held = {*ratings.test.items(), *ratings.valid.items()}
    assert len(held) == 2 * CIRCLES * MEMBERS, "one each, and none of those who rated twice"
    known = set(zip(ratings.known["user"], ratings.known["product"], strict=True))
    assert len(known) == len(ratings.known) == CIRCLES * MEMBERS * (RATED - 2) + 3 * 2, "what was rated twice counts once"
    assert not known & held
    events = pd.read_parquet(write_shop(ratings, ratings.trust, tmp_path / "shop") / "events.parquet")
    assert set(events.loc[events["event_type"] == "purchase", ["user_id", "product_id"]].itertuples(index=False, name=None)) == known
    assert ratings.test != other.test
    learners, measured = halves_of(ratings, np.random.default_rng(0))
    assert len(set(ratings.people.values())) == len(ratings.people) and {*ratings.people.values()} == {*other.people.values()}
    assert not set(learners) & set(measured) and set(learners) | set(measured) == set(ratings.test)


def test_the_day_of_a_rating_tells_nothing(folder: Path) -> None:
    ratings = read(folder, np.random.default_rng(1))
    assert ratings.known["day"].nunique() == 4
    assert ratings.known.groupby("user")["day"].nunique().mean() > 2


def test_a_shop_without_ties_has_no_table_of_them(folder: Path, tmp_path: Path) -> None:
    shop = write_shop(read(folder, np.random.default_rng(1)), None, tmp_path / "shop")
    assert sorted(file.name for file in shop.iterdir()) == ["events.parquet", "products.parquet", "shop.toml"]


def test_strangers_are_as_many(folder: Path) -> None:
    trust = read(folder, np.random.default_rng(1)).trust
    mixed = strangers(trust, np.random.default_rng(3))
    assert 0.9 * len(trust) < len(mixed) <= len(trust)
    assert not (mixed["truster"] == mixed["trustee"]).any() and not mixed.duplicated().any()
    assert len(mixed.merge(trust)) < 0.2 * len(trust)


def test_intervals_and_ndcg_by_hand() -> None:
    assert interval(np.full(50, 0.25), np.arange(50), np.random.default_rng(0)) == (0.25, 0.25)
    gains = np.r_[np.ones(500), -np.ones(500)]
    low, high = interval(gains, np.arange(1000), np.random.default_rng(0))
    thrice = interval(np.tile(gains, 3), np.tile(np.arange(1000), 3), np.random.default_rng(0))
    assert thrice == pytest.approx((low, high)), "who is measured three times is still one person"
    assert low == pytest.approx(-1.96 / np.sqrt(1000), abs=0.01) and high == pytest.approx(-low, abs=0.02)
    assert ndcg(np.array([0, 2, 9, 10])).tolist() == pytest.approx([1, 0.5, 1 / np.log2(11), 0])


def test_a_folder_of_another_shape_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"ratings\.parquet and no trust\.parquet"):
        read(tmp_path, np.random.default_rng(0))
