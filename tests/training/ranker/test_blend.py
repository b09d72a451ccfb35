"""What is added to the trees' scores."""

import numpy as np

from training.ranker.blend import NO_BLEND, TAIL, Blend

NAMES = ("rank_repeat", "product_purchases_ever", "product_price_rank")
ROWS = np.array([[1, 50, 0.1], [3, 2, 0.5], [np.nan, 2, 0.1], [2, np.nan, np.nan]], np.float32)
CATEGORIES = np.array(["category:tea", "category:tea", "category:tea", ""], np.str_)


def test_places_count_by_their_discount_and_nothing_is_added_to_what_was_not_proposed() -> None:
    added = Blend("repeat", 2.0, "product_purchases_ever").added(ROWS, NAMES, CATEGORIES)
    np.testing.assert_allclose(added, [2.0, 1.0, 0.0, 2.0 / np.log2(3)], rtol=1e-6)


def test_lifts_go_to_the_tail_and_to_categories_and_move_only_products_among_those_proposed() -> None:
    blend = Blend("repeat", 0.0, "product_purchases_ever", 10.0, 0.1, lifts={TAIL: 0.3, "category:tea": 0.2})
    np.testing.assert_allclose(blend.added(ROWS, NAMES, CATEGORIES), [0.1, 0.4, 0.0, 0.2], rtol=1e-6)
    # What comes from features is told by feature; the category is none.
    np.testing.assert_allclose(blend.of_features(ROWS, NAMES)[1], [0.0, 0.3, 0.0, 0.3], rtol=1e-6)


def test_no_blend_adds_nothing() -> None:
    assert not NO_BLEND.added(ROWS, NAMES, CATEGORIES).any()
    assert NO_BLEND.of_features(ROWS, NAMES) == {}


def test_a_third_of_the_prices_is_lifted_and_no_price_is_in_none() -> None:
    blend = Blend("repeat", 0.0, "product_purchases_ever", lifts={"price:lower third": 0.4, "price:middle third": 0.2})
    np.testing.assert_allclose(blend.added(ROWS, NAMES, CATEGORIES), [0.4, 0.2, 0.0, 0.0], rtol=1e-6)
