"""The demo shop's shoppers: what they secretly like, whom they know, what they say they like, and what they agreed to.

Hidden arrays drive the response model and never reach a table; `tables` gives only what a shop would know.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo.events import ASPECTS, TONES
from feature_repo.sources.demo.catalogue import Catalogue
from feature_repo.sources.demo.vocabulary import CATEGORIES, NEW_CATEGORY
from feature_repo.sources.demo.world import STYLES, World

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NAMES = tuple(category.name for category in CATEGORIES)
MEI = "mei"
"""The shopper of the worked example; index 0."""
DAY = int(timedelta(days=1) / timedelta(microseconds=1))


@dataclass(frozen=True)
class Circle:
    """A sort of shopper and the group such people join: what they like, and which words reach them."""

    likes: Mapping[str, float]
    tone: str
    aspect: str


CIRCLES: Mapping[str, Circle] = {
    "tech circle": Circle({"Phones": 1.5, "Tablets": 1.6, "Laptops": 1.6, "Audio": 1.1, "Wearables": 1.2}, "expert", "performance"),
    "photography": Circle({"Cameras": 2.4, "Laptops": 0.6, "Bags": 0.6, "Books": 0.5}, "expert", "quality"),
    "film club": Circle({"Films": 2.3, "Books": 0.6, "Audio": 0.8}, "warm", "value"),
    "game night": Circle({"Games": 2.3, "Toys": 0.8, "Laptops": 0.7, "Films": 0.4}, "playful", "value"),
    "book circle": Circle({"Books": 2.3, "Films": 0.6, "Lighting": 0.7}, "warm", "comfort"),
    "home makers": Circle({"Furniture": 1.7, "Bedding": 1.6, "Lighting": 1.6, "Kitchen": 1.0}, "warm", "comfort"),
    "home cooks": Circle({"Kitchen": 2.3, "Books": 0.5, "Garden": 0.6}, "warm", "quality"),
    "gardeners": Circle({"Garden": 2.4, "Furniture": 0.5, "Kitchen": 0.5}, "plain", "value"),
    "style": Circle({"Clothing": 1.8, "Shoes": 1.7, "Bags": 1.7, "Beauty": 1.0}, "playful", "design"),
    "runners": Circle({"Sports": 2.2, "Shoes": 0.9, "Wearables": 1.4, "Audio": 0.5}, "expert", "performance"),
    "beauty lovers": Circle({"Beauty": 2.3, "Clothing": 0.8, "Bags": 0.6}, "warm", "design"),
    "young families": Circle({"Toys": 2.3, "Books": 0.7, "Games": 0.5, "Bedding": 0.6}, "playful", "comfort"),
}

COUNTRIES = {"en": (("GB", 0.4), ("US", 0.3), ("DE", 0.15), ("SE", 0.15)), "zh": (("CN", 0.8), ("SG", 0.12), ("TW", 0.08))}


@dataclass(frozen=True)
class Shoppers:
    """Arrays over K shoppers. Hidden: all but `ids`, `country`, `language`, `created_at` and the frames in `tables`.

    `taste` float64[K, C] per category, mean 0 over categories; `style` float64[K, STYLES]; `price_level`, `quality_care`, `click_bias`,
    `activity` float64[K] (activity has mean 1); `tone` float64[K, 4] in the order of TONES with 0 for plain; `aspect` float64[K, 5];
    `circle` int64[K] index of the primary circle; `created_at` int64[K] microseconds; `email`, `push` bool[K] consent given.
    """

    ids: tuple[str, ...]
    country: tuple[str, ...]
    language: tuple[str, ...]
    created_at: Ints
    circle: Ints
    circle_weights: Floats
    taste: Floats
    style: Floats
    price_level: Floats
    quality_care: Floats
    click_bias: Floats
    activity: Floats
    tone: Floats
    aspect: Floats
    email: NDArray[np.bool_]
    push: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, world: World) -> "Shoppers":
        """The shoppers of a world; the same for the same seed and number, whatever drifts."""
        rng = np.random.default_rng([world.seed, 2])
        count = world.shoppers
        circles = list(CIRCLES.values())
        circle = rng.integers(len(circles), size=count)
        weights = np.zeros((count, len(circles)))
        weights[np.arange(count), circle] = rng.uniform(0.7, 1.1, count)
        weights[np.arange(count), rng.integers(len(circles), size=count)] += rng.uniform(0.0, 0.6, count)
        likes = np.array([[each.likes.get(name, 0.0) for name in NAMES] for each in circles])
        taste = weights @ likes + rng.normal(0, 0.45, (count, len(NAMES)))
        taste -= taste.mean(axis=1, keepdims=True)
        taste[:, NAMES.index(NEW_CATEGORY)] = -1.0 + 0.3 * rng.normal(size=count)
        language = np.where(rng.random(count) < 0.35, "zh", "en")
        shoppers = cls(
            ids=(MEI, *(f"s{number:05d}" for number in range(1, count))),
            country=tuple(_countries(language, rng)),
            language=tuple(str(each) for each in language),
            created_at=_arrivals(world, rng),
            circle=circle,
            circle_weights=weights,
            taste=taste,
            style=rng.normal(0, 1, (count, STYLES)),
            price_level=rng.normal(0, 0.9, count),
            quality_care=rng.uniform(0, 2, count),
            click_bias=rng.normal(0, 0.35, count),
            activity=rng.gamma(0.9, 1 / 0.9, count),
            tone=_favourites(circle, [TONES.index(each.tone) for each in circles], len(TONES), 0.8, rng) * (np.arange(len(TONES)) > 0),
            aspect=_favourites(circle, [ASPECTS.index(each.aspect) for each in circles], len(ASPECTS), 0.7, rng),
            email=rng.random(count) < 0.45,
            push=rng.random(count) < 0.15,
        )
        return shoppers._with_mei(world)

    def _with_mei(self, world: World) -> "Shoppers":
        """Writes the worked example's shopper over index 0: tech and photography, likes films, dislikes games."""
        names = list(CIRCLES)
        self.circle[0] = names.index("tech circle")
        self.circle_weights[0] = 0.0
        self.circle_weights[0, [names.index("tech circle"), names.index("photography")]] = [0.9, 0.6]
        taste = self.circle_weights[0] @ np.array([[each.likes.get(name, 0.0) for name in NAMES] for each in CIRCLES.values()])
        taste[NAMES.index("Films")] += 1.2
        taste[NAMES.index("Games")] -= 2.0
        self.taste[0] = taste - taste.mean()
        self.taste[0, NAMES.index(NEW_CATEGORY)] = -1.0
        self.style[0] = 0.0
        self.price_level[0], self.quality_care[0], self.click_bias[0], self.activity[0] = 0.4, 1.2, 0.3, 0.0
        self.tone[0], self.aspect[0] = [0.0, 0.1, -0.3, 0.9], [-0.2, 0.1, 0.8, -0.2, 0.3]
        self.created_at[0] = world.start_us - 200 * DAY
        self.email[0], self.push[0] = True, False
        return Shoppers(**{**self.__dict__, "country": ("SG", *self.country[1:]), "language": ("en", *self.language[1:])})

    def tables(self, world: World, catalogue: Catalogue) -> dict[str, pd.DataFrame]:
        """`users`, `ties`, `preferences`, `consents`, `contacts` of the contract, with the shop's own ids."""
        rng = np.random.default_rng([world.seed, 3])
        ids = np.array(self.ids, dtype=object)
        users = pd.DataFrame({"user_id": ids, "created_at": instants(self.created_at), "country": self.country, "language": self.language})
        return {
            "users": users,
            "ties": self._ties(world, rng),
            "preferences": self._preferences(world, catalogue, rng),
            "consents": self._consents(world, rng),
            "contacts": self._contacts(rng),
        }

    def follows(self, world: World) -> tuple[Ints, Ints]:
        """Who follows whom: three of four ties stay within the primary circle, and some people are followed more than others."""
        rng = np.random.default_rng([world.seed, 4])
        count = len(self)
        who = np.repeat(np.arange(count), rng.poisson(2.4, count))
        fame = rng.pareto(2.5, count) + 0.2
        target = _weighted(fame, np.full(len(who), 0), np.full(len(who), count), rng)
        order = np.argsort(self.circle, kind="stable")
        ends = np.searchsorted(self.circle[order], np.arange(len(CIRCLES) + 1))
        within = order[_weighted(fame[order], ends[self.circle[who]], ends[self.circle[who] + 1], rng)]
        target = np.where(rng.random(len(who)) < 0.75, within, target)
        keep = (who != target) & (who != 0)
        pairs = np.unique(np.stack([who[keep], target[keep]], axis=1), axis=0)
        return pairs[:, 0], pairs[:, 1]

    def memberships(self, world: World) -> tuple[Ints, Ints]:
        """Who belongs to which circle's group: the likelier, the more of that circle is in them. Mei's are written down."""
        rng = np.random.default_rng([world.seed, 5])
        chance = np.clip(0.45 * self.circle_weights - 0.02, 0.01, 0.6)
        member = rng.random(chance.shape) < chance
        member[0] = [name in ("tech circle", "photography") for name in CIRCLES]
        who, group = np.nonzero(member)
        return who, group

    def _ties(self, world: World, rng: np.random.Generator) -> pd.DataFrame:
        ids, circles = np.array(self.ids, dtype=object), np.array(list(CIRCLES), dtype=object)
        who, target = self.follows(world)
        members, groups = self.memberships(world)
        tech = members[(groups == list(CIRCLES).index("tech circle")) & (members != 0)]
        active = tech[np.argsort(-self.activity[tech], kind="stable")][:6]
        who, target = np.append(who, np.zeros(len(active), dtype=np.int64)), np.append(target, active)
        known = np.maximum(self.created_at[who], self.created_at[target])
        return pd.DataFrame(
            {
                "user_id": np.append(ids[who], ids[members]),
                "kind": ["follow"] * len(who) + ["group"] * len(members),
                "target": np.append(ids[target], circles[groups]),
                "since": instants(_between(np.append(known, self.created_at[members]), world.end_us, rng, np.append(who, members) == 0)),
            }
        )

    def _preferences(self, world: World, catalogue: Catalogue, rng: np.random.Generator) -> pd.DataFrame:
        """Two of five shoppers name a category they like (mostly truly), one of four one they don't, some a brand."""
        count = len(self)
        rows: list[tuple[int, str, str, str]] = [(0, "like", "category", "Films"), (0, "dislike", "category", "Games")]
        shown = self.taste[:, : NAMES.index(NEW_CATEGORY)] + rng.gumbel(0, 0.35, (count, NAMES.index(NEW_CATEGORY)))
        sold = np.unique(catalogue.brand)
        brand_style = np.array([catalogue.style[catalogue.brand == brand].mean(axis=0) for brand in sold])
        favourite = sold[(self.style @ brand_style.T).argmax(axis=1)]
        says = rng.random((count, 3)) < np.array([0.4, 0.25, 0.12])
        for index in range(1, count):
            if says[index, 0]:
                rows.append((index, "like", "category", NAMES[shown[index].argmax()]))
            if says[index, 1]:
                rows.append((index, "dislike", "category", NAMES[shown[index].argmin()]))
            if says[index, 2]:
                rows.append((index, "like", "brand", catalogue.brands[favourite[index]]))
        who = np.array([row[0] for row in rows])
        frame = pd.DataFrame(rows, columns=["user_id", "sentiment", "subject_kind", "subject"])
        frame["user_id"] = np.array(self.ids, dtype=object)[who]
        frame["since"] = instants(_between(self.created_at[who], world.end_us, rng, who == 0))
        return frame

    def _consents(self, world: World, rng: np.random.Generator) -> pd.DataFrame:
        ids = np.array(self.ids, dtype=object)
        asked = self.email | (rng.random(len(self)) < 0.2)
        who = np.append(np.flatnonzero(asked), np.flatnonzero(self.push))
        channel = np.array(["email"] * int(asked.sum()) + ["push"] * int(self.push.sum()), dtype=object)
        granted = np.append(self.email[asked], np.ones(int(self.push.sum()), dtype=bool))
        return pd.DataFrame({"user_id": ids[who], "channel": channel, "granted": granted, "at": instants(self.created_at[who])})

    def _contacts(self, rng: np.random.Generator) -> pd.DataFrame:
        has = self.email | (rng.random(len(self)) < 0.7)
        ids = [each for each, there in zip(self.ids, has, strict=True) if there]
        return pd.DataFrame(
            {
                "user_id": ids,
                "channel": "email",
                "address": [f"{each}@example.invalid" for each in ids],
                "language": [each for each, there in zip(self.language, has, strict=True) if there],
            }
        )


def instants(microseconds: Ints) -> pd.DatetimeIndex:
    """Microseconds since the epoch as UTC instants."""
    return pd.DatetimeIndex(np.asarray(microseconds, dtype="datetime64[us]")).tz_localize("UTC")


def _arrivals(world: World, rng: np.random.Generator) -> Ints:
    """Three of four shoppers were there before the history begins, the rest register during it."""
    count = world.shoppers
    before = world.start_us - (rng.exponential(300, count) * DAY).astype(np.int64) - DAY
    during = world.start_us + (rng.random(count) * 0.97 * (world.end_us - world.start_us)).astype(np.int64)
    return np.where(rng.random(count) < 0.75, before, during) // 1_000_000 * 1_000_000


def _between(since: Ints, until: int, rng: np.random.Generator, scripted: NDArray[np.bool_]) -> Ints:
    """A moment in the first part of the time left, whole seconds; scripted rows early in the history."""
    moment = since + ((until - since) * rng.beta(1, 2.5, len(since)) * 0.98).astype(np.int64)
    return np.where(scripted, until - 120 * DAY, moment) // 1_000_000 * 1_000_000


def _favourites(circle: Ints, favourite: list[int], options: int, strength: float, rng: np.random.Generator) -> Floats:
    """One liked option per circle, the others disliked a little, and each shopper's own deviation."""
    base = np.full((len(favourite), options), -0.35 * strength)
    base[np.arange(len(favourite)), favourite] = strength
    return base[circle] + rng.normal(0, 0.3, (len(circle), options))


def _countries(language: NDArray[np.str_], rng: np.random.Generator) -> list[str]:
    choices = {each: [name for name, _ in options] for each, options in COUNTRIES.items()}
    shares = {each: np.cumsum([share for _, share in options]) for each, options in COUNTRIES.items()}
    draws = rng.random(len(language)) * 0.999999
    return [choices[each][int(np.searchsorted(shares[each], draw, side="right"))] for each, draw in zip(language, draws, strict=True)]


def _weighted(weight: Floats, start: Ints, stop: Ints, rng: np.random.Generator) -> Ints:
    """One index per row from [start, stop), in proportion to `weight`."""
    total = np.append(0.0, np.cumsum(weight))
    draw = total[start] + rng.random(len(start)) * (total[stop] - total[start])
    found = np.searchsorted(total, draw, side="right") - 1
    return np.asarray(np.clip(found, start, np.maximum(stop - 1, start)))
