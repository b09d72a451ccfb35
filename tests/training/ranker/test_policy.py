"""Rules, spread and exploration on shelves that can be worked out by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from feature_repo.declarations import SIGNALS
from feature_repo.online import Interests
from training.ranker.policy import (
    MOST_EXPLORED,
    NO_RULES,
    Calibrated,
    Choice,
    Offers,
    ShelfPolicy,
    choose,
    draw_of,
)
from training.ranker.wishes import vetoes, wanted_of, wanted_shares

DRAWS = 20_000
CAP = ShelfPolicy(diversity="cap", category_share=0.5)


def offers(m: int, **columns: Any) -> Offers:
    """m candidates about which nothing is known, but for `columns`."""
    nothing: dict[str, Any] = {
        "category": np.full(m, -1, np.int32), "brand": np.full(m, -1, np.int32), "stock": np.full(m, np.nan, np.float32),
        "price": np.full(m, np.nan, np.float32), "bought": np.zeros(m, bool), "disliked": np.zeros(m, bool), "wanted": np.zeros(0, np.float32),
        "vectors": np.zeros((m, 0), np.float32),
    }  # fmt: skip
    return Offers(**{name: np.asarray(columns[name], value.dtype) if name in columns else value for name, value in nothing.items()})


def best_first(m: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.arange(m, 0, -1).astype(np.float32)


def shelf(policy: ShelfPolicy, found: Offers, n: int, repeat_buying: bool = True, draw: str = "r-1") -> Choice:
    return choose(policy, best_first(len(found)), found, n, repeat_buying, draw_of(draw))


def places(policy: ShelfPolicy, found: Offers, n: int, repeat_buying: bool = True) -> list[int]:
    return shelf(policy, found, n, repeat_buying).places.tolist()


class TestRules:
    def test_no_rules_is_the_order_of_scores_and_equal_scores_keep_theirs(self) -> None:
        scores = np.array([1, 3, 2, 3], np.float32)
        found = choose(NO_RULES, scores, offers(4), 3, True, draw_of("r"))
        assert found.places.tolist() == [1, 3, 2]
        assert found.placed == ("score",) * 3 and found.propensity.tolist() == [1.0] * 3
        assert found.inclusion.tolist() == [0.0, 1.0, 1.0, 1.0] and found.removed() == {}

    def test_what_is_sold_out_goes_and_an_unknown_stock_stays(self) -> None:
        found = shelf(ShelfPolicy(), offers(4, stock=[0, np.nan, 3, -1]), 4)
        assert found.places.tolist() == [1, 2] and found.removed() == {"stock": 2}
        assert places(NO_RULES, offers(2, stock=[0, 1]), 2) == [0, 1]

    @pytest.mark.parametrize(("hide", "repeat_buying", "shown"), [(False, True, [0, 1]), (True, True, [1]), (False, False, [1]), (True, False, [1])])
    def test_what_was_bought(self, hide: bool, repeat_buying: bool, shown: list[int]) -> None:
        assert places(ShelfPolicy(hide_bought=hide), offers(2, bought=[True, False]), 2, repeat_buying) == shown

    def test_a_dislike_is_a_veto(self) -> None:
        found = shelf(ShelfPolicy(), offers(3, disliked=[True, False, False]), 3)
        assert found.places.tolist() == [1, 2] and found.removed() == {"veto": 1}

    @pytest.mark.parametrize(
        ("lowest", "highest", "shown"), [(0, 0, [0, 1, 2, 3]), (10, 0, [1, 2]), (0, 10, [0, 1]), (10, 10, [1]), (6, 9, []), (0, 100, [0, 1, 2])]
    )
    def test_price_bounds_are_inclusive_and_an_unknown_price_keeps_none(self, lowest: float, highest: float, shown: list[int]) -> None:
        policy = ShelfPolicy(min_price=lowest, max_price=highest)
        assert places(policy, offers(4, price=[5, 10, 20, np.nan]), 4) == shown

    def test_a_candidate_counts_for_the_first_rule_that_removes_it(self) -> None:
        found = shelf(ShelfPolicy(), offers(2, stock=[0, 1], disliked=[True, True]), 2)
        assert found.removed() == {"stock": 1, "veto": 1} and not len(found.places)

    def test_nobody_s_candidates(self) -> None:
        for diversity in ("none", "cap", "mmr", "calibrated"):
            assert places(ShelfPolicy(diversity=diversity, exploration_slots=2), offers(0), 10) == []


class TestVetoes:
    @pytest.mark.parametrize(
        ("signals", "barred"),
        [
            ({"dislike": 1.0}, True),
            ({"dislike": 1.0, "purchase": 9.0}, True),
            ({"dislike": 0.3}, False),  # what one disliked product counts for its category
            ({"dislike": 1.0, "like": 1.0}, False),
            ({"purchase": 1.0}, False),
        ],
    )
    def test_a_stated_dislike_bars_a_category_and_a_brand(self, signals: dict[str, float], barred: bool) -> None:
        row = np.array([[signals.get(signal, 0.0) for signal in SIGNALS]] * 2, np.float32)
        found = vetoes(Interests(("category:Games", "brand:Acme"), row, np.zeros(2)))
        assert found == (({"Games"}, {"Acme"}) if barred else (set(), set()))


class TestCaps:
    @pytest.mark.parametrize(
        ("category", "n", "chosen", "fills"),
        [
            ([0, 0, 0, 0, 1, 1], 4, [0, 1, 4, 5], 0),  # half the places for one, then the others
            ([0, 0, 0, 0, 1], 4, [0, 1, 4, 2], 1),  # not enough others: it fills the end
            ([0, 1, 0, 1], 4, [0, 1, 2, 3], 0),
            ([0, 0, 0], 1, [0], 0),
            ([-1] * 5, 4, [0, 1, 2, 3], 0),  # no category, no crowd
            ([-2] * 5, 4, [0, 1, 2, 3], 0),
            ([0], 4, [0], 0),
        ],
    )
    def test_a_category_takes_half_of_the_places(self, category: list[int], n: int, chosen: list[int], fills: int) -> None:
        found = shelf(CAP, offers(len(category), category=category), n)
        assert found.places.tolist() == chosen
        assert found.placed == ("score",) * (len(chosen) - fills) + ("fill",) * fills

    def test_a_brand_has_a_cap_of_its_own_whatever_the_diversity(self) -> None:
        found = offers(6, brand=[0, 0, 0, 0, 1, 2])
        for diversity in ("none", "cap", "mmr", "calibrated"):
            policy = ShelfPolicy(diversity=diversity, brand_share=0.5, strength=0.0)
            assert places(policy, found, 4) == [0, 1, 4, 5], diversity
            assert places(replace(policy, brand_share=1.0), found, 4) == [0, 1, 2, 3], diversity

    def test_what_a_cap_displaced_is_counted_by_its_cap(self) -> None:
        found = offers(6, brand=[0, 0, 0, 0, 1, 2], category=[0, 1, 2, 3, 4, 5])
        assert shelf(replace(CAP, brand_share=0.5), found, 4).removed() == {"brand": 2}
        assert shelf(CAP, replace(found, category=found.brand), 4).removed() == {"spread": 2}
        assert shelf(CAP, found, 4).removed() == {}

    def test_the_greedy_order_without_a_strength_is_the_cap_s(self) -> None:
        """Two ways to one shelf: MMR that looks at scores alone, under a brand's cap, and the plain loop."""
        random = np.random.default_rng(3)
        for _ in range(50):
            found = offers(40, brand=random.integers(-1, 4, 40))
            scores = random.random(40).astype(np.float32)
            plain, greedy = (
                choose(ShelfPolicy(diversity=each, brand_share=0.3, strength=0.0), scores, found, 10, True, random) for each in ("none", "mmr")
            )
            assert plain.places.tolist() == greedy.places.tolist() and plain.placed == greedy.placed


class TestMmr:
    def test_by_hand(self) -> None:
        """Scores 1, 0.9, 0; the second is like the first. Half and half: first 0.5, then 0.45 - 0.5 against 0 - 0."""
        found = offers(3, vectors=[[1, 0], [1, 0], [0, 1]])
        scores = np.array([1.0, 0.9, 0.0], np.float32)
        for strength, expected in ((0.0, [0, 1, 2]), (0.4, [0, 1, 2]), (0.5, [0, 2, 1])):
            policy = ShelfPolicy(diversity="mmr", strength=strength)
            assert choose(policy, scores, found, 3, True, draw_of("r")).places.tolist() == expected

    def test_category_and_brand_count_as_likeness_and_none_is_like_nothing(self) -> None:
        policy = ShelfPolicy(diversity="mmr", strength=0.9)
        assert places(policy, offers(3, category=[0, 0, 1]), 2) == [0, 2]
        assert places(policy, offers(3, brand=[0, 0, 1]), 2) == [0, 2]
        assert places(policy, offers(3, category=[-1, -1, 1]), 2) == [0, 1]

    def test_opposite_texts_are_no_closer_than_unrelated_ones(self) -> None:
        found = offers(3, vectors=[[1, 0], [0, 1], [-1, 0]])
        assert places(ShelfPolicy(diversity="mmr", strength=0.9), found, 3) == [0, 1, 2]


class TestCalibrated:
    def test_a_shelf_has_the_shares_of_the_interest(self) -> None:
        """Seven in ten for one category, three for the other, whatever the scores say of it."""
        category = np.repeat([0, 1], 20)
        found = offers(40, category=category, wanted=np.where(category == 0, 0.3, 0.7))
        chosen = places(ShelfPolicy(diversity="calibrated", strength=0.99), found, 10)
        assert (category[chosen] == 1).sum() == 7
        assert places(ShelfPolicy(diversity="calibrated", strength=0.0), found, 10) == list(range(10))

    def test_nothing_wanted_is_the_order_of_scores(self) -> None:
        assert places(ShelfPolicy(diversity="calibrated", strength=0.9), offers(20, category=[0, 1] * 10), 5) == [0, 1, 2, 3, 4]

    def test_what_is_added_differs_as_the_divergence_itself_does(self) -> None:
        """The short form against Steck's own: KL(p || 0.99 q + 0.01 p) of the whole list with each candidate added."""
        category = np.array([0, 0, 1, 2, 2, 3], np.int32)
        wanted = np.array([0.5, 0.3, 0.2, 0.0])
        found = offers(6, category=category, wanted=wanted[category])
        gain = Calibrated(best_first(6), found, np.arange(6, dtype=np.int32), 1.0)
        gain.add(0)
        gain.add(3)

        def divergence(added: int) -> float:
            shares = np.bincount(category[[0, 3, added]], minlength=4) / 3
            mixed = 0.99 * shares + 0.01 * wanted
            return float(sum(p * np.log(p / q) for p, q in zip(wanted, mixed, strict=True) if p > 0))

        expected = np.array([-divergence(added) for added in range(6)])
        np.testing.assert_allclose(gain.values() - gain.values()[5], expected - expected[5], atol=1e-9)

    def test_the_interest_s_shares(self) -> None:
        signals = np.zeros((4, len(SIGNALS)), np.float32)
        signals[:, SIGNALS.index("purchase")] = [3, 1, 5, 0]
        signals[3, SIGNALS.index("dislike")] = 1
        weights = [0.0] * len(SIGNALS)
        weights[SIGNALS.index("purchase")], weights[SIGNALS.index("dislike")] = 2.0, -1.0
        interests = Interests(("category:A", "category:B", "brand:C", "category:D"), signals, np.zeros(4))
        assert wanted_shares(interests, weights) == {"category:A": 0.75, "category:B": 0.25}
        assert wanted_shares(Interests((), np.zeros((0, 8), np.float32), np.zeros(0)), weights) == {}
        np.testing.assert_allclose(wanted_of(np.array([4, -2, 7, 4], np.int32), {4: 0.75, 9: 0.25}), [0.75, 0, 0, 0.75])


class TestExploration:
    POLICY = ShelfPolicy(exploration_slots=2, exploration_pool=10)

    def test_the_last_places_are_drawn_from_what_may_be_shown(self) -> None:
        found = shelf(self.POLICY, offers(30, disliked=[False] * 9 + [True] * 3 + [False] * 18), 9)
        assert found.places[:7].tolist() == list(range(7))
        assert set(found.places[7:].tolist()) <= {7, 8, *range(12, 20)} and len(set(found.places.tolist())) == 9
        assert found.placed == ("score",) * 7 + ("exploration",) * 2
        assert found.removed() == {"veto": 3}

    def test_nothing_is_shown_and_kept_off(self) -> None:
        """What a cap passed over may be drawn after all, and then nothing kept it off."""
        policy = ShelfPolicy(diversity="cap", category_share=0.3, exploration_slots=2, exploration_pool=5)
        made = [shelf(policy, offers(12, category=[0] * 8 + [1] * 4), 6, draw=f"r-{number}") for number in range(50)]
        assert any({2, 3} & set(found.places[4:].tolist()) for found in made)
        assert all((found.kept_off[found.places] < 0).all() for found in made)

    def test_the_same_decision_draws_the_same_and_others_draw_others(self) -> None:
        drawn = [tuple(shelf(self.POLICY, offers(30), 9, draw=f"r-{number}").places.tolist()) for number in (1, 1, *range(2, 40))]
        assert drawn[0] == drawn[1] and len(set(drawn)) > 10

    @pytest.mark.parametrize(("m", "n"), [(9, 9), (5, 9), (30, MOST_EXPLORED - 1), (30, 1)])
    def test_nothing_is_drawn_where_all_is_shown_or_the_shelf_is_short(self, m: int, n: int) -> None:
        found = shelf(self.POLICY, offers(m), n)
        assert found.places.tolist() == list(range(min(m, n))) and set(found.placed) == {"score"}

    @pytest.mark.parametrize(
        "policy",
        [
            POLICY,
            ShelfPolicy(exploration_slots=1, exploration_pool=4),
            ShelfPolicy(exploration_slots=3, exploration_pool=100),  # a pool larger than what is left
            ShelfPolicy(exploration_slots=2, exploration_pool=10, diversity="mmr", strength=0.5),
            ShelfPolicy(exploration_slots=2, exploration_pool=10, brand_share=0.2),
        ],
        ids=["two", "one", "all that is left", "mmr", "brand"],
    )
    def test_the_propensities_are_the_frequencies(self, policy: ShelfPolicy) -> None:
        """20,000 shelves of nine: how often each candidate is shown, and stands at each place, against what every shelf says of it."""
        m, n = 25, 9
        found = offers(m, category=np.arange(m) % 3, brand=np.arange(m) % 5, disliked=np.arange(m) == 4)
        random = np.random.default_rng(11)
        shown, standing = np.zeros(m), np.zeros((m, n))
        first = choose(policy, best_first(m), found, n, True, random)
        said = np.zeros((m, n))
        for _ in range(DRAWS):
            made = choose(policy, best_first(m), found, n, True, random)
            shown[made.places] += 1
            standing[made.places, np.arange(n)] += 1
            said[made.places, np.arange(n)] = made.propensity
            np.testing.assert_array_equal(made.inclusion, first.inclusion)
        # Five standard errors of a share of 0.5 over 20,000 draws are 0.018.
        np.testing.assert_allclose(shown / DRAWS, first.inclusion, atol=0.018)
        np.testing.assert_allclose(standing / DRAWS, said, atol=0.018)
        assert first.inclusion.sum() == pytest.approx(n), "the probabilities of all candidates add up to the places"
        np.testing.assert_allclose(said.sum(axis=1), first.inclusion)

    def test_weighing_by_the_propensity_gives_a_fair_estimate(self) -> None:
        """Inverse propensity scoring: what another shelf would have been clicked, from shelves on which it was never shown as such."""
        m, n, random = 12, 6, np.random.default_rng(5)
        policy = ShelfPolicy(exploration_slots=1, exploration_pool=100)
        rate = np.linspace(0.1, 0.9, m)
        wanted = {0, 1, 2, 3, 4, 11}  # the same, with the last candidate in the place that is drawn
        total = 0.0
        for _ in range(DRAWS):
            made = choose(policy, best_first(m), offers(m), n, True, random)
            clicked = random.random(n) < rate[made.places]
            total += sum(1 / made.inclusion[place] for place, click in zip(made.places, clicked, strict=True) if click and place in wanted)
        assert total / DRAWS == pytest.approx(rate[list(wanted)].sum(), abs=0.1)
