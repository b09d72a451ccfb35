"""The demo shop's catalogue: products with attributes, prices over time, and words in two languages that state nothing else.

Everything follows from the seed. What is hidden here (a product's quality, style and appeal) is what the response model answers to;
`table` gives only what a shop would write down.
"""

import json
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo.sources.demo import wording
from feature_repo.sources.demo.vocabulary import (
    CATEGORIES,
    HANDBOOKS,
    NEW_CATEGORY,
    PEOPLE,
    SERIES,
    WORK_FIRST,
    WORK_SECOND,
    Category,
    Kind,
    pairs,
)
from feature_repo.sources.demo.wording import ATTRIBUTES, WRITTEN_AS, Value, agree, article, spoken, spoken_zh
from feature_repo.sources.demo.world import STYLES, World

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CURRENCY = "EUR"
PREMIUM = frozenset(
    [
        *("cashmere", "merino wool", "alpaca wool", "leather", "velvet", "velvet and beech", "down", "teak"),
        *("carbon fibre", "Damascus steel", "copper", "hardback", "Blu-ray"),
    ]
)
"""Values that only the upper half of a kind's price range carries."""
SIZED = frozenset(
    [
        *("screen_size", "weight", "heavy_weight", "capacity", "battery_capacity", "seats", "sleeps", "max_load", "max_height"),
        *("volume", "brightness", "pages", "runtime", "pieces", "power"),
    ]
)
"""Attributes that grow together with a product's size."""
UNTIERED = frozenset(["minimum_age", "players", "focal_length", "thickness", "noise_level", "blade_length"])
"""Attributes that say nothing about the price."""


@dataclass(frozen=True)
class Product:
    """One product as the catalogue writes it, in both languages. `kind` is the index of its kind over the whole shop."""

    product_id: str
    title: str
    title_zh: str
    description: str
    description_zh: str
    category: int
    kind: int
    brand: str
    attributes: str
    attributes_zh: str
    price: float
    stock: int


@dataclass(frozen=True)
class Offers:
    """Prices over time: int64 arrays of equal length, sorted by product and time. `at` is microseconds since the epoch."""

    product: Ints
    at: Ints
    price: Floats

    def price_at(self, product: Ints, at: Ints) -> Floats:
        """Price of each product at each moment; before its first offer, the first."""
        found = np.searchsorted(keyed(self.product, self.at), keyed(product, at), side="right") - 1
        first = np.searchsorted(self.product, product)
        return self.price[np.maximum(found, first)]


@dataclass(frozen=True)
class Catalogue:
    """Products sorted by category, their offers, and what is hidden: `quality`, `style`, `appeal` (all about mean 0, deviation 1).

    `launch` is int64[P] microseconds; `price_mean`, `price_deviation` are of the log price within a product's kind, float64[P].
    """

    products: tuple[Product, ...]
    offers: Offers
    category: Ints
    brand: Ints
    brands: tuple[str, ...]
    quality: Floats
    style: Floats
    appeal: Floats
    launch: Ints
    price_mean: Floats
    price_deviation: Floats
    repeat: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.products)

    @property
    def ids(self) -> list[str]:
        return [product.product_id for product in self.products]

    def price_level(self, product: Ints, price: Floats) -> Floats:
        """A price's place within its kind, in standard deviations of the log price."""
        return (np.log(np.maximum(price, 0.01)) - self.price_mean[product]) / self.price_deviation[product]

    def table(self) -> pd.DataFrame:
        """`products` of the contract: one row per product and moment at which its price changed."""
        chosen = [self.products[index] for index in self.offers.product]
        categories = [CATEGORIES[product.category] for product in chosen]
        last = np.append(self.offers.product[1:] != self.offers.product[:-1], True)
        return pd.DataFrame(
            {
                "product_id": [product.product_id for product in chosen],
                "title": [product.title for product in chosen],
                "title_zh": [product.title_zh for product in chosen],
                "description": [product.description for product in chosen],
                "description_zh": [product.description_zh for product in chosen],
                "category": [category.name for category in categories],
                "category_zh": [category.zh for category in categories],
                "category_path": [f"{category.department} > {category.name}" for category in categories],
                "brand": [product.brand for product in chosen],
                "price": self.offers.price,
                "currency": CURRENCY,
                "stock": [float(product.stock) if now or product.stock else 25.0 for product, now in zip(chosen, last, strict=True)],
                "attributes": [product.attributes for product in chosen],
                "attributes_zh": [product.attributes_zh for product in chosen],
                "image_url": None,
                "valid_from": pd.to_datetime(self.offers.at, unit="us", utc=True).as_unit("us"),
            }
        )


def keyed(index: Ints, at: Ints) -> Ints:
    """One sortable number per index and moment, exact to the second (whole microseconds would overflow 64 bits)."""
    return index * (1 << 33) + at // 1_000_000


def make_catalogue(world: World) -> Catalogue:
    """The whole catalogue of a world."""
    rng = np.random.default_rng([world.seed, 1])
    brands = sorted({name for category in CATEGORIES for name, _ in pairs(category.brands)})
    brand_level = dict(zip(brands, rng.normal(0, 1, len(brands)).clip(-1.5, 1.5), strict=True))
    brand_style = dict(zip(brands, rng.normal(0, 1, (len(brands), STYLES)), strict=True))
    products: list[Product] = []
    hidden: list[tuple[float, Floats]] = []
    kinds = [kind for category in CATEGORIES for kind in category.kinds]
    for index, category in enumerate(CATEGORIES):
        wanted = max(2, world.products_per_category // 6) if category.name == NEW_CATEGORY else world.products_per_category
        writer = _Writer(rng, category, index, kinds, brand_level)
        for _ in range(wanted):
            product, quality = writer.write(len(products))
            products.append(product)
            hidden.append((quality, 0.8 * brand_style[product.brand] + 0.6 * rng.normal(0, 1, STYLES)))
    launch = _launches(world, products, rng)
    kind_of = np.array([product.kind for product in products])
    log_price = pd.Series(np.log([product.price for product in products])).groupby(kind_of)
    qualities = np.array([each for each, _ in hidden])
    return Catalogue(
        products=tuple(products),
        offers=_offers(world, products, launch, rng),
        category=np.array([product.category for product in products]),
        brand=np.array([brands.index(product.brand) for product in products]),
        brands=tuple(brands),
        quality=(qualities - qualities.mean()) / qualities.std(),
        style=np.array([each for _, each in hidden]),
        appeal=rng.normal(0, 1, len(products)),
        launch=launch,
        price_mean=log_price.transform("mean").to_numpy(),
        price_deviation=log_price.transform("std").fillna(0.4).clip(lower=0.2).to_numpy(),
        repeat=np.array([kinds[kind].repeat for kind in kind_of]),
    )


def _launches(world: World, products: list[Product], rng: np.random.Generator) -> Ints:
    """When each product came: four of five before the history begins, the rest spread over it, the new category in the last fortnight."""
    start, end = world.start_us, world.end_us
    at = np.full(len(products), start - int(timedelta(days=1) / timedelta(microseconds=1)))
    late = rng.random(len(products)) < 0.2
    at[late] = start + (rng.random(int(late.sum())) * 0.95 * (end - start)).astype(np.int64)
    new = np.array([CATEGORIES[product.category].name == NEW_CATEGORY for product in products])
    fortnight = int(timedelta(days=14) / timedelta(microseconds=1))
    at[new] = end - fortnight + (rng.random(int(new.sum())) * fortnight * 0.3).astype(np.int64)
    hour = 3_600_000_000
    return at // hour * hour


def _offers(world: World, products: list[Product], launch: Ints, rng: np.random.Generator) -> Offers:
    """Price history: a list price, lasting changes for one product in eight, promotions that end, and the price shock if there is one."""
    rows: list[tuple[int, int, float]] = []
    day = 86_400_000_000
    promotions = []
    for _ in range(max(1, round(world.days / 20))):
        begin = world.start_us + int(rng.integers(0, max(1, world.days - 8))) * day
        promotions.append(
            (begin, begin + int(rng.integers(5, 13)) * day, int(rng.integers(len(CATEGORIES))), float(rng.choice([0.1, 0.15, 0.2, 0.25, 0.3])))
        )
    for index, product in enumerate(products):
        price, since = product.price, int(launch[index])
        rows.append((index, since, price))
        if rng.random() < 0.12:
            moment = world.start_us + int(rng.integers(20, max(21, world.days - 10))) * day
            if moment > since:
                price = tidy(price * float(rng.choice([0.9, 0.93, 1.05, 1.08])))
                rows.append((index, moment, price))
                since = moment
        for begin, finish, category, cut in promotions:
            if category == product.category and begin > since and finish < world.end_us and rng.random() < 0.6:
                rows += [(index, begin, tidy(price * (1 - cut))), (index, finish, price)]
                since = finish
        if world.drift.price_shock != 1.0 and world.drift_us < world.end_us:
            rows.append((index, max(world.drift_us, since + 3_600_000_000), tidy(price * world.drift.price_shock)))
    rows = sorted({(index, at): (index, at, price) for index, at, price in rows if at < world.end_us}.values())
    return Offers(np.array([row[0] for row in rows]), np.array([row[1] for row in rows]), np.array([row[2] for row in rows]))


def tidy(price: float) -> float:
    """A price as shops write it: .99 or .50 below 40, .90 below 150, whole and ending in 9 above."""
    if price < 40:
        return max(round(price * 2) / 2 - (0.01 if round(price * 2) % 2 == 0 else 0.0), 0.99)
    if price < 150:
        return round(price) - 0.10
    return float(max(round(price / 10) * 10 - 1, 149))


class _Writer:
    """Writes the products of one category."""

    def __init__(self, rng: np.random.Generator, category: Category, index: int, kinds: list[Kind], levels: dict[str, float]) -> None:
        self.rng, self.category, self.index, self.kinds, self.levels = rng, category, index, kinds, levels
        self.brands = pairs(category.brands)
        self.used: set[str] = set()

    def write(self, number: int) -> tuple[Product, float]:
        """The next product, with its hidden quality."""
        rng = self.rng
        kind = self.category.kinds[int(rng.integers(len(self.category.kinds)))]
        brand, brand_zh = self.brands[int(rng.integers(len(self.brands)))]
        tier, size = float(rng.beta(2, 2)), float(rng.beta(2, 2))
        level = (self.levels[brand] + 1.5) / 3
        drawn = {key: self._value(key, spec, tier, size) for key, spec in kind.attributes.items()}
        facts = {key: pair for key, pair in drawn.items() if pair is not None}
        place = np.clip(0.45 * tier + 0.3 * size + 0.2 * level + 0.05 * rng.random(), 0, 1)
        name, name_zh, title, title_zh = self._named(kind, brand, brand_zh, facts)
        quality = 0.5 * self.levels[brand] + 0.6 * (tier - 0.5) * 2 + float(rng.normal(0, 0.7))
        english, chinese = self._described(kind, brand, brand_zh, name, name_zh, facts)
        plain, plain_zh = _json(kind, facts)
        product = Product(
            product_id=f"p{number + 1:05d}",
            title=title,
            title_zh=title_zh,
            description=english,
            description_zh=chinese,
            category=self.index,
            kind=self.kinds.index(kind),
            brand=brand,
            attributes=plain,
            attributes_zh=plain_zh,
            price=tidy(kind.low * (kind.high / kind.low) ** float(place)),
            stock=0 if rng.random() < 0.02 else int(rng.gamma(2.0, 40.0)) + 1,
        )
        return product, quality

    def _value(self, key: str, spec: str, tier: float, size: float) -> tuple[Value, Value] | None:
        """A fact in both languages, drawn from what `spec` allows; None for a flag that is not set."""
        rng = self.rng
        place = float(np.clip(0.85 * size + 0.15 * rng.random() if key in SIZED else 0.6 * tier + 0.4 * rng.random(), 0, 0.999))
        if key in UNTIERED:
            place = float(rng.random())
        if spec.startswith("yes:"):
            return (True, True) if rng.random() < float(spec[4:]) else None
        if spec.startswith("box:"):
            spans = [part.split("-") for part in spec[4:].split(",")]
            numbers = [round(float(low) + (float(high) - float(low)) * float(np.clip(size + rng.normal(0, 0.08), 0, 1))) for low, high in spans]
            text = " × ".join(str(number) for number in numbers)
            return f"{text} cm", f"{text} 厘米"
        if spec.startswith("flat:"):
            text = self._pick(spec[5:].split(",")).replace("x", " × ")
            return f"{text} cm", f"{text} 厘米"
        if ".." in spec:
            span, step = spec.split("/")
            low, high = (float(part) for part in span.split(".."))
            number = low + float(step) * int(place * (round((high - low) / float(step)) + 1))
            return self._number(key, round(number, 2) if "." in step else int(number))
        if spec[0].isdigit():
            ladder = spec.split(",")
            text = ladder[int(place * len(ladder))]
            return self._number(key, float(text) if "." in text else int(text))
        choices = pairs(PEOPLE if spec == "people" else spec)
        if tier < 0.5:
            choices = [choice for choice in choices if choice[0] not in PREMIUM]
        return choices[int(rng.integers(len(choices)))]

    @staticmethod
    def _number(key: str, number: float | int) -> tuple[Value, Value]:
        """Chinese counts pixels in ten thousands."""
        return number, number * 100 if key == "resolution" else number

    def _pick(self, texts: list[str] | tuple[str, ...]) -> str:
        return texts[int(self.rng.integers(len(texts)))]

    def _named(self, kind: Kind, brand: str, brand_zh: str, facts: dict[str, tuple[Value, Value]]) -> tuple[str, str, str, str]:
        """Series or work in both languages, and titles that no other product of the category has."""
        extra = [(_title_part(key, facts[key][0]), spoken_zh(key, facts[key][1])) for key in kind.title if key in facts]
        model = self.category.department == "Electronics"
        for attempt in range(200):
            name, name_zh = self._work(kind, facts, attempt) if kind.media else self._series(attempt)
            label = f"{name} {kind.noun}" if kind.media and not kind.title else name if kind.media else f"{brand} {name} {kind.noun}"
            label_zh = (
                f"《{name_zh}》{kind.zh}" if kind.media else f"{brand_zh} {name_zh} {kind.zh}" if model else f"{brand_zh}{name_zh}系列{kind.zh}"
            )
            if label not in self.used and label_zh not in self.used:
                self.used |= {label, label_zh}
                return name, name_zh, ", ".join([_capitalised(label), *(en for en, _ in extra)]), " ".join([label_zh, *(zh for _, zh in extra)])
        raise ValueError(f"The vocabulary of {self.category.name} is too small for so many products.")

    def _series(self, attempt: int) -> tuple[str, str]:
        """`Arc 5` for electronics in both languages; a translated range name elsewhere, numbered when the names run out."""
        names = pairs(SERIES)
        english, chinese = names[int(self.rng.integers(len(names)))]
        if self.category.department == "Electronics":
            name = f"{english} {int(self.rng.integers(2, 10))}"
            return name, name
        mark = f" {attempt // 20 + 1}" if attempt >= 20 else ""
        return english + mark, chinese + mark.strip()

    def _work(self, kind: Kind, facts: dict[str, tuple[Value, Value]], attempt: int) -> tuple[str, str]:
        if kind.noun == "handbook":
            pattern, pattern_zh = pairs(HANDBOOKS)[int(self.rng.integers(len(pairs(HANDBOOKS))))]
            subject, subject_zh = facts["genre"]
            volume = f", Volume {attempt // 10 + 1}" if attempt >= 10 else ""
            volume_zh = f"（第{attempt // 10 + 1}册）" if attempt >= 10 else ""
            return pattern.format(_capitalised(str(subject))) + volume, pattern_zh.format(subject_zh) + volume_zh
        first, second = (pairs(words)[int(self.rng.integers(20))] for words in (WORK_FIRST, WORK_SECOND))
        return f"The {first[0]} {second[0]}", first[1] + second[1]

    def _described(self, kind: Kind, brand: str, brand_zh: str, name: str, name_zh: str, facts: dict[str, tuple[Value, Value]]) -> tuple[str, str]:
        """Two to four sentences in each language, about the same facts in the same order."""
        opening_used = {"colour", "genre"}
        tellable = [key for key in facts if key not in opening_used]
        count = min(len(tellable), int(self.rng.integers(1, 4)))
        told = [tellable[index] for index in sorted(self.rng.choice(len(tellable), count, replace=False))]
        english, chinese = [self._opening(kind, brand, name, facts)], [self._opening_zh(kind, brand_zh, name_zh, facts)]
        for key in told:
            say, say_zh = self._pick(ATTRIBUTES[key].say), self._pick(ATTRIBUTES[key].say_zh)
            sentence = agree(say, kind.plural).format(v=spoken(key, facts[key][0]))
            english.append(sentence[0].upper() + sentence[1:])
            chinese.append(say_zh.format(v=spoken_zh(key, facts[key][1])))
        return " ".join(english), "".join(chinese)

    def _opening(self, kind: Kind, brand: str, name: str, facts: dict[str, tuple[Value, Value]]) -> str:
        if kind.media:
            return self._pick(wording.OPENINGS_MEDIA).format(work=name, brand=brand, noun=kind.noun, a_genre=article(str(facts["genre"][0])))
        if "colour" not in facts:
            return agree(self._pick(wording.OPENINGS_NO_COLOUR), kind.plural).format(series=name, brand=brand, noun=kind.noun)
        return agree(self._pick(wording.OPENINGS), kind.plural).format(series=name, brand=brand, noun=kind.noun, colour=facts["colour"][0])

    def _opening_zh(self, kind: Kind, brand: str, name: str, facts: dict[str, tuple[Value, Value]]) -> str:
        if kind.media:
            return self._pick(wording.OPENINGS_MEDIA_ZH).format(
                work=name, brand=brand, noun=kind.zh, genre=facts["genre"][1], classifier=kind.classifier
            )
        if "colour" not in facts:
            return self._pick(wording.OPENINGS_NO_COLOUR_ZH).format(brand=brand, series=name, noun=kind.zh)
        openings = wording.OPENINGS_MODEL_ZH if self.category.department == "Electronics" else wording.OPENINGS_ZH
        return self._pick(openings).format(brand=brand, series=name, noun=kind.zh, colour=facts["colour"][1])


def _title_part(key: str, value: Value) -> str:
    """Words are capitalised, numbers keep their unit as it is written."""
    return _capitalised(value) if isinstance(value, str) and not value[0].isdigit() else spoken(key, value)


def _capitalised(text: str) -> str:
    """Title case that leaves small words and inner capitals alone."""
    small = {"and", "to", "of", "in", "on", "the", "de"}
    return " ".join(word if word in small and index else word[0].upper() + word[1:] for index, word in enumerate(text.split(" ")))


def _json(kind: Kind, facts: dict[str, tuple[Value, Value]]) -> tuple[str, str]:
    """`attributes` and `attributes_zh`: plain values, flags, or {"value", "unit"}."""
    english: dict[str, object] = {"type": kind.noun}
    chinese: dict[str, object] = {ATTRIBUTES["type"].zh: kind.zh}
    for key, (value, value_zh) in facts.items():
        attribute = ATTRIBUTES[key]
        english[WRITTEN_AS.get(key, key)] = {"value": value, "unit": attribute.unit} if attribute.unit else value
        chinese[attribute.zh] = {"value": value_zh, "unit": attribute.unit_zh} if attribute.unit_zh else value_zh
    return json.dumps(english, ensure_ascii=False), json.dumps(chinese, ensure_ascii=False)
