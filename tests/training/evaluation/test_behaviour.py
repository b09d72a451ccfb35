"""A sound recommender passes every behavioural test; one that is broken in a known way fails the test that is meant for it."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from feature_repo.declarations import SIGNALS
from feature_repo.online import NO_CIRCLE, NO_INTERESTS, History
from training.dataset import Person
from training.evaluate import Ranking
from training.evaluation.behaviour import (
    DISLIKE,
    FEWEST,
    Shop,
    behaviours,
    buying,
    complemented,
    disliking,
    nearly,
    popularity_of,
    regulars,
    stranger,
    vetoed_shown,
)
from training.evaluation.past import Past
from training.evaluation.stack import Answer, Recommend
from training.gates import behaviour_gates
from training.retrieval.contract import Products
from training.settings import TrainingSettings

CATEGORIES, EACH, USERS = 6, 20, 90
NOW = datetime(2024, 3, 1, tzinfo=UTC).timestamp()
IDS = [f"p{n:03d}" for n in range(CATEGORIES * EACH)]


def shop() -> Past:
    """Everybody takes things of one category, which read alike; lower numbers are taken by more people."""
    draw = np.random.default_rng(0)
    vectors = np.repeat(np.eye(CATEGORIES), EACH, axis=0) + 0.05 * draw.random((len(IDS), CATEGORIES))
    products = Products.of(IDS, [f"c{n // EACH}" for n in range(len(IDS))], [None] * len(IDS), np.asarray(vectors, np.float32))
    pairs = [(user, (user % CATEGORIES) * EACH + n) for user in range(USERS) for n in range(EACH) if draw.random() < 0.9 - 0.04 * n]
    user, item = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
    return Past(products, np.bincount(item, minlength=len(IDS)), USERS, user, item, np.full(len(IDS), np.nan))


PAST = shop()


def person(name: str, products: Sequence[str]) -> Person:
    times = np.full(len(products), NOW - 86400.0)
    return Person(
        name, NOW, np.zeros(3, np.float32), NO_INTERESTS, History(tuple(products), np.ones(len(products), np.float32), times, times), NO_CIRCLE, {}
    )


def taking(n: int) -> Person:
    """Of one category; every second has said that they dislike another one."""
    one = person(f"u{n}", [IDS[(n % CATEGORIES) * EACH + place] for place in (0, 3, 5)])
    return disliking(one, f"category:c{(n + 1) % CATEGORIES}") if n % 2 else one


PEOPLE = [taking(n) for n in range(60)]


def sound(people: Sequence[Person]) -> list[Answer]:
    """Every product, by likeness to the history and popularity, less for a disliked category."""
    answers = []
    for one in people:
        own = [IDS.index(product) for product in one.history.products]
        scores = PAST.products.vectors @ PAST.products.vectors[own].sum(axis=0) + PAST.taken / (10.0 * PAST.taken.max())
        for key, signals in zip(one.interests.keys, one.interests.signals, strict=True):
            scores = scores - 10.0 * signals[DISLIKE] * (PAST.products.categories == key)
        answers.append(Answer(np.arange(len(IDS), dtype=np.int32), np.asarray(scores, np.float32)))
    return answers


def scored(score: Callable[[Person], np.ndarray]) -> Recommend:
    return lambda people: [Answer(np.arange(len(IDS), dtype=np.int32), np.asarray(score(one), np.float32)) for one in people]


def gates(recommend: Recommend, people: Sequence[Person] = PEOPLE) -> dict[str, bool]:
    metrics = behaviours(recommend, people, PAST, 1)
    return {gate.name: gate.passed for gate in behaviour_gates(metrics, TrainingSettings())}


SIMILAR, FALLS, RISES, UNKNOWN, EMPTY = (
    "similar histories give similar lists",
    "a dislike lowers its category",
    "a purchase raises its complements",
    "somebody unknown gets what is popular",
    "no list is empty",
)


def test_a_sound_recommender_passes() -> None:
    assert gates(sound) == dict.fromkeys((SIMILAR, FALLS, RISES, UNKNOWN, EMPTY), True)


def test_random_scores_fail() -> None:
    """Of twenty draws one passes a test without a margin by chance, as its interval says; more than three would be a fault."""
    passed = []
    for seed in range(20):
        draw = np.random.default_rng(seed)
        found = gates(scored(lambda one, draw=draw: draw.random(len(IDS))))
        passed += [name for name in (SIMILAR, FALLS, RISES) if found[name]]
    assert passed.count(SIMILAR) == 0 and passed.count(FALLS) <= 3 and passed.count(RISES) <= 1


def test_one_score_for_all_fails() -> None:
    found = gates(scored(lambda one: np.ones(len(IDS))))
    assert not found[SIMILAR] and not found[FALLS] and not found[RISES]


def test_the_same_list_for_everybody_fails() -> None:
    found = gates(scored(lambda one: PAST.taken))
    assert found[UNKNOWN] and not found[SIMILAR] and not found[FALLS] and not found[RISES]


def test_dislikes_taken_for_likes_fail() -> None:
    def reversed_(one: Person) -> np.ndarray:
        liked = [key for key, signals in zip(one.interests.keys, one.interests.signals, strict=True) if signals[DISLIKE]]
        return sound([one])[0].scores * ~np.isin(PAST.products.categories, liked) + 99.0 * np.isin(PAST.products.categories, liked)

    found = gates(scored(reversed_))
    assert not found[FALLS] and found[SIMILAR] and found[RISES]


def test_the_least_popular_for_somebody_unknown_fails() -> None:
    assert not gates(scored(lambda one: -PAST.taken))[UNKNOWN]
    draw = np.random.default_rng(0)
    assert not gates(scored(lambda one: draw.random(len(IDS))))[UNKNOWN]


def test_an_empty_list_fails() -> None:
    def sometimes(people: Sequence[Person]) -> list[Answer]:
        nothing = Answer(np.zeros(0, np.int32), np.zeros(0, np.float32))
        return [nothing if one.user_id == "u7" else answer for one, answer in zip(people, sound(people), strict=True)]

    assert not gates(sometimes)[EMPTY]
    assert not gates(lambda people: [Answer(np.zeros(0, np.int32), np.zeros(0, np.float32)) for _ in people])[UNKNOWN]


def test_too_few_people_or_no_dislikes_are_not_tried() -> None:
    few = gates(scored(lambda one: PAST.taken), people=PEOPLE[: FEWEST - 1])
    assert few[SIMILAR] and few[FALLS] and few[RISES]
    assert behaviours(sound, PEOPLE[:38], PAST, 1)["dislike_falls_people"] == 19.0 and gates(scored(lambda one: PAST.taken), PEOPLE[:38])[FALLS]
    assert behaviours(sound, [], PAST, 1)["similar_lists_people"] == 0.0


def test_what_is_no_longer_proposed_says_nothing_of_the_scores() -> None:
    """Retrievers that drop most of a disliked category don't make random scores look sound."""
    draw = np.random.default_rng(0)

    def dropping(people: Sequence[Person]) -> list[Answer]:
        found = []
        for one, answer in zip(people, scored(lambda one: draw.random(len(IDS)))(people), strict=True):
            barred = [key for key, signals in zip(one.interests.keys, one.interests.signals, strict=True) if signals[DISLIKE]]
            kept = ~np.isin(PAST.products.categories, barred) | (answer.index % 4 == 0)
            found.append(Answer(answer.index[kept], answer.scores[kept]))
        return found

    assert not gates(dropping)[FALLS]


def test_a_small_catalogue_is_not_asked_what_is_popular() -> None:
    gate = {gate.name: gate for gate in behaviour_gates({"new_user_products": 40.0}, TrainingSettings())}[UNKNOWN]
    assert gate.passed and "40 products" in gate.reason
    assert not {gate.name: gate for gate in behaviour_gates({}, TrainingSettings())}[UNKNOWN].passed


def test_copies_differ_by_one_thing() -> None:
    one = PEOPLE[0]
    near = nearly(one, Shop.of(PAST))
    assert near.history.products[:-1] == one.history.products[:-1] and near.history.products[-1] not in one.history.products
    assert PAST.products.categories[IDS.index(near.history.products[-1])] == "category:c0"
    bought = buying(one, "p037")
    assert bought.history.products == ("p037", *one.history.products) and bought.history.last_purchase_at[0] == NOW - 3600
    twice = disliking(disliking(one, "category:c1"), "category:c1")
    assert (
        twice.interests.keys == ("category:c1",) and twice.interests.signals.shape == (1, len(SIGNALS)) and twice.interests.signals[0, DISLIKE] == 1.0
    )
    assert np.isnan(stranger(one).scalars).all() and not stranger(one).history.products


def test_without_texts_the_oldest_product_is_left_out() -> None:
    silent = Products.of(IDS, [None] * len(IDS), [None] * len(IDS), np.zeros((len(IDS), 2), np.float32))
    bare = Past(silent, PAST.taken, USERS, PAST.user, PAST.item, PAST.price_rank)
    assert nearly(PEOPLE[0], Shop.of(bare)).history.products == PEOPLE[0].history.products[:-1]


def test_complements_are_taken_together() -> None:
    found = complemented(PAST, np.random.default_rng(0))
    assert found and all(source // EACH == product // EACH for product, sources in found.items() for source in sources)


def test_popularity_of_a_list() -> None:
    most = np.argsort(-PAST.taken, kind="stable").astype(np.int32)
    assert popularity_of(Answer(most, -np.arange(len(most), dtype=np.float32)), PAST) > 0.8
    assert popularity_of(Answer(most, np.arange(len(most), dtype=np.float32)), PAST) < 0.2


def test_the_veto_is_seen() -> None:
    def path(rule: bool) -> Callable[[Sequence[Person]], list[Ranking]]:
        def shown(people: Sequence[Person]) -> list[Ranking]:
            found = []
            for one, answer in zip(people, scored(lambda one: PAST.taken)(people), strict=True):
                barred = [key for key, signals in zip(one.interests.keys, one.interests.signals, strict=True) if signals[DISLIKE] >= 1.0]
                ranking = answer.ranking(len(IDS))
                found.append(ranking[~np.isin(PAST.products.categories[ranking], barred)][:10] if rule else ranking[:10])
            return found

        return shown

    assert vetoed_shown(path(rule=True), PEOPLE, PAST) == 0 and vetoed_shown(path(rule=False), PEOPLE, PAST) > 0
    limits = [gate.passed for gate in behaviour_gates({**behaviours(sound, PEOPLE, PAST, 1), "vetoed_shown": 3.0}, TrainingSettings())]
    assert limits[-1] is False and all(limits[:-1])


def test_regulars_acted_before_the_cut() -> None:
    cut = pd.Timestamp("2024-02-01", tz="UTC")
    rows = [("u", "purchase", -1), ("v", "purchase", 1), ("w", "view", -1), ("u", "purchase", -2), (None, "purchase", -1)]
    events = pd.DataFrame([(user, kind, cut + pd.Timedelta(days=days)) for user, kind, days in rows], columns=["user_id", "event_type", "event_time"])
    asked = []

    def reader(entity: str, frame: pd.DataFrame) -> pd.DataFrame:
        asked.extend(frame["user_id"])
        raise InterruptedError

    with pytest.raises(InterruptedError):
        regulars(events, "purchase", cut.to_pydatetime(), reader, 1)
    assert asked == ["u"]
