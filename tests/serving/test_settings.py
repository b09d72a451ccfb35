"""The service's settings become the policy of its shelves."""

from dataclasses import fields

import pytest

from feature_repo.errors import FeatureRepoError
from serving.settings import ServingSettings
from training.ranker.policy import ShelfPolicy


def test_unset_settings_are_the_policy_s_defaults() -> None:
    assert ServingSettings().shelf_policy() == ShelfPolicy()


def test_each_rule_is_a_setting() -> None:
    changed = ServingSettings(
        hide_sold_out=False, hide_bought=True, hide_disliked=False, min_price=1, max_price=2, diversity="calibrated", diversity_strength=0.7,
        category_share=0.9, brand_share=0.8, exploration_slots=1, exploration_pool=20,
    ).shelf_policy()  # fmt: skip
    assert changed == ShelfPolicy(False, True, False, 1, 2, "calibrated", 0.7, 0.9, 0.8, 1, 20)
    assert all(getattr(changed, each.name) != each.default for each in fields(ShelfPolicy))


def test_bounds_that_leave_no_price_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORYSHELF_MIN_PRICE", "30")
    monkeypatch.setenv("STORYSHELF_MAX_PRICE", "20")
    with pytest.raises(FeatureRepoError, match=r"STORYSHELF_MAX_PRICE can't be used .*below STORYSHELF_MIN_PRICE"):
        ServingSettings.read()
