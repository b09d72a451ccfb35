"""THE response model: how a simulated shopper answers a product that is shown with a price and some words. Version 1, frozen.

docs/simulator.md explains the formula and every constant; a test pins both. Whoever tunes a model on the demo shop leaves this
file alone: a change is a new version, and figures of different versions are not to be compared.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_repo.events import ASPECTS, TONES
from feature_repo.sources.demo.catalogue import Catalogue
from feature_repo.sources.demo.shoppers import NAMES, Shoppers
from feature_repo.sources.demo.vocabulary import NEW_CATEGORY
from feature_repo.sources.demo.world import STYLES, Drift

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

VERSION = "1"
CHANNELS = ("site", "email", "push")
NO_ASPECT = -1
"""Aspect of copy that stresses none."""


@dataclass(frozen=True)
class Constants:
    """Weights on the logit scale, if nothing else is said. Product quality, appeal, style and price level have deviation 1."""

    category: float = 1.0
    style: float = 0.45
    quality: float = 0.3
    appeal: float = 0.45
    price_fit: float = 0.25
    price: float = 0.2
    price_fit_cap: float = 4.0
    tone: float = 0.6
    aspect: float = 0.5
    personal: float = 0.12
    dull: float = -0.7
    click_site: float = -2.9
    click_email: float = -3.2
    click_push: float = -3.4
    position: float = 0.5
    """Exponent of the chance to look at position k: k ** -position."""
    fatigue: float = 0.25
    fatigue_scale: float = 8.0
    repeat: float = 0.5
    cart: float = -1.8
    cart_affinity: float = 0.5
    buy: float = -0.6
    buy_affinity: float = 0.4
    dismiss: float = -5.2
    dismiss_affinity: float = -0.7
    unsubscribe: float = -5.2
    unsubscribe_affinity: float = -0.8
    unsubscribe_fatigue: float = 0.5


CONSTANTS = Constants()


def fingerprint(constants: Constants = CONSTANTS) -> str:
    """What pins the frozen model: version and constants as SHA-256."""
    text = json.dumps({"version": VERSION, **asdict(constants)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Shown:
    """What was shown to whom: arrays of equal length n.

    `shopper`, `product` are indices; `position` counts from 1; `channel`, `tone`, `aspect` index CHANNELS, TONES, ASPECTS (-1 for none);
    `personal` copy speaks to this shopper's interests; `seen` is how many products they were shown in the last 7 days before,
    `repeats` how often this very product.
    """

    shopper: Ints
    product: Ints
    price: Floats
    position: Ints
    channel: Ints
    tone: Ints
    aspect: Ints
    personal: NDArray[np.bool_]
    seen: Floats
    repeats: Floats

    def __len__(self) -> int:
        return len(self.shopper)


@dataclass(frozen=True)
class ResponseModel:
    """Answers for given shoppers and products. `placebo`: nothing depends any more on which product or which words are shown."""

    shoppers: Shoppers
    catalogue: Catalogue
    drift: Drift = field(default_factory=Drift)
    placebo: bool = False

    def taste(self) -> Floats:
        """float64[K, C]: tastes by category, after the drift."""
        taste = self.shoppers.taste
        if self.drift.taste_shift:
            taste = (1 - self.drift.taste_shift) * taste + self.drift.taste_shift * np.roll(taste, 7, axis=1)
        if self.drift.new_category:
            taste = taste.copy()
            taste[:, NAMES.index(NEW_CATEGORY)] = 1.8
        return taste

    def affinity(self, shopper: Ints, product: Ints, price: Floats) -> Floats:
        """How much each product suits each shopper at that price, float64[n]; 0 is indifferent."""
        if self.placebo:
            return np.zeros(len(shopper))
        people, goods, c = self.shoppers, self.catalogue, CONSTANTS
        level = goods.price_level(product, price)
        return np.asarray(
            c.category * self.taste()[shopper, goods.category[product]]
            + c.style * np.einsum("ns,ns->n", people.style[shopper], goods.style[product]) / np.sqrt(STYLES)
            + c.quality * people.quality_care[shopper] * goods.quality[product]
            + c.appeal * goods.appeal[product]
            + _price_term(level, people.price_level[shopper])
        )

    def affinity_matrix(self, shopper: Ints, price: Floats) -> NDArray[np.float32]:
        """The same for every product, float32[len(shopper), P], at one price per product."""
        people, goods, c = self.shoppers, self.catalogue, CONSTANTS
        if self.placebo:
            return np.zeros((len(shopper), len(goods)), dtype=np.float32)
        products = np.arange(len(goods))
        level = goods.price_level(products, price).astype(np.float32)
        taste = (c.category * self.taste()[shopper]).astype(np.float32)[:, goods.category]
        taste += (c.style / np.sqrt(STYLES) * people.style[shopper]).astype(np.float32) @ goods.style.astype(np.float32).T
        taste += (c.quality * people.quality_care[shopper]).astype(np.float32)[:, None] * goods.quality.astype(np.float32)
        taste += (c.appeal * goods.appeal).astype(np.float32)
        taste += _price_term(level, people.price_level[shopper].astype(np.float32)[:, None])
        return taste

    def copy_effect(self, shown: Shown) -> Floats:
        """What the words add to the click's logit: the tone and aspect this shopper likes, and whether being addressed fits."""
        if self.placebo:
            return np.zeros(len(shown))
        people, c = self.shoppers, CONSTANTS
        written = shown.personal | (shown.tone != TONES.index("plain")) | (shown.aspect != NO_ASPECT)
        if self.drift.dull_copy:
            return np.where(written, c.dull, 0.0)
        aspect = np.where(shown.aspect == NO_ASPECT, 0.0, people.aspect[shown.shopper, np.clip(shown.aspect, 0, len(ASPECTS) - 1)])
        fits = np.clip(self.taste()[shown.shopper, self.catalogue.category[shown.product]], -1.0, 1.5)
        return np.asarray(c.tone * people.tone[shown.shopper, shown.tone] + c.aspect * aspect + c.personal * shown.personal * fits)

    def click(self, shown: Shown) -> Floats:
        """Chance of a click, float64[n]: of looking at the position, times of liking what is seen there."""
        c = CONSTANTS
        base = np.array([c.click_site, c.click_email, c.click_push])[shown.channel]
        tired = c.fatigue * np.log1p(shown.seen / c.fatigue_scale)
        if not self.placebo:
            tired = tired + c.repeat * np.log1p(shown.repeats)
        liking = self.affinity(shown.shopper, shown.product, shown.price) + self.copy_effect(shown)
        return np.asarray(shown.position.astype(np.float64) ** -c.position * sigmoid(base + self.shoppers.click_bias[shown.shopper] + liking - tired))

    def cart(self, affinity: Floats) -> Floats:
        """Chance that a product looked at goes into the cart."""
        return sigmoid(CONSTANTS.cart + CONSTANTS.cart_affinity * affinity)

    def buy(self, affinity: Floats) -> Floats:
        """Chance that a product in the cart is bought."""
        return sigmoid(CONSTANTS.buy + CONSTANTS.buy_affinity * affinity)

    def purchase(self, shown: Shown) -> Floats:
        """Chance that a product is bought once clicked: cart times buy."""
        affinity = self.affinity(shown.shopper, shown.product, shown.price)
        return np.asarray(self.cart(affinity) * self.buy(affinity))

    def dismiss(self, affinity: Floats) -> Floats:
        """Chance that a product not clicked is waved away."""
        return sigmoid(CONSTANTS.dismiss + CONSTANTS.dismiss_affinity * affinity)

    def unsubscribe(self, affinity: Floats, seen: Floats) -> Floats:
        """Chance that an e-mail ends the subscription, from the mean affinity of its products and what was shown before."""
        c = CONSTANTS
        return sigmoid(c.unsubscribe + c.unsubscribe_affinity * affinity + c.unsubscribe_fatigue * np.log1p(seen / c.fatigue_scale))


def sigmoid(x: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def _price_term(level: NDArray[Any], wanted: NDArray[Any]) -> NDArray[Any]:
    """Far from the price level one shops at is worse, and dearer is worse."""
    c = CONSTANTS
    return np.asarray(-c.price_fit * np.minimum((level - wanted) ** 2 / 2, c.price_fit_cap) - c.price * level)
