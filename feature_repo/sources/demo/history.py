"""Six months of a simulated shop, week by week: visits, shelves and e-mails shown, and what followed, all answered by `response.py`.

What shoppers were shown came from three policies in turn (popular, random, crudely personal), so that the log holds exposures a
ranker can learn from. Drawn in whole weeks of numpy arrays; 20,000 shoppers take well under a minute.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo.events import ASPECTS, TONES, EventType
from feature_repo.sources.demo.catalogue import Catalogue, keyed
from feature_repo.sources.demo.response import CHANNELS, NO_ASPECT, ResponseModel, Shown
from feature_repo.sources.demo.shoppers import DAY, NAMES, Shoppers, instants
from feature_repo.sources.demo.world import World

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

SECOND = 1_000_000
WEEK = 7 * DAY
TYPES = tuple(EventType)
NOBODY = -1
"""Index that stands for an anonymous visitor, no product, no request, no channel."""

SITE_SLOTS, EMAIL_SLOTS, PUSH_SLOTS = 6, 4, 1
SHELF_SHARE = 0.35
"""Share of visits that see a shelf of recommendations."""
EMAIL_OPENED, PUSH_OPENED = 0.09, 0.07
"""Share of the weekly e-mails and pushes that are looked at."""
POPULAR, RANDOM, CRUDE = 0.35, 0.30, 0.35
"""Shares of the policies that filled the shelves: best sellers of last week, anything, best sellers of the category last visited."""
PLAIN_SHARE = 0.5
"""Share of shelves and mails with plain copy; the others carry a random tone and aspect."""
ANONYMOUS_SHARE = 0.06
RELATED_SHARE = 0.2
"""Share of views that stray from the visit's category."""

HOURS = np.array([1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 6, 6, 7, 6, 5, 5, 6, 7, 9, 11, 12, 11, 7, 3], dtype=np.float64)
"""Weight of each local hour: little at night, most in the evening."""
WEEKDAYS = np.array([0.95, 0.92, 0.92, 0.95, 1.0, 1.15, 1.2])
"""Weight of Monday to Sunday."""
SEASONS: dict[str, tuple[float, float]] = {
    "Garden": (125, 0.9),
    "Sports": (10, 0.5),
    "Films": (20, 0.3),
    "Toys": (150, 0.35),
    "Beauty": (42, 0.5),
    "Bedding": (15, 0.4),
    "Bags": (170, 0.5),
    "Lighting": (5, 0.4),
    "Books": (110, 0.25),
}
"""Category -> day of the year at which it peaks, and by how much on the logit scale; the wave is yearly."""
HOUR_OFFSETS = {"GB": 0, "US": -5, "DE": 1, "SE": 1, "CN": 8, "SG": 8, "TW": 8}


@dataclass
class Columns:
    """Columns of events in the making: equal-length arrays per batch."""

    batches: list[dict[str, NDArray[np.generic]]] = field(default_factory=list)

    def add(self, kind: EventType, shopper: Ints, product: Ints, at: Ints, **more: NDArray[np.generic] | float | int) -> None:
        count = len(shopper)
        row = {"type": TYPES.index(kind), "request": NOBODY, "position": 0, "channel": NOBODY, "session": NOBODY, "tone": NOBODY, "aspect": NOBODY}
        row |= {"quantity": np.nan, "price": np.nan, "rating": np.nan, **more}  # type: ignore[dict-item]
        batch = {name: np.broadcast_to(np.asarray(value), (count,)) for name, value in row.items()}
        self.batches.append(batch | {"shopper": shopper, "product": product, "at": at})

    def joined(self) -> dict[str, NDArray[np.generic]]:
        """All batches as one, in order of time; ties keep the order in which they were added."""
        columns = {name: np.concatenate([batch[name] for batch in self.batches]) for name in self.batches[0]}
        order = np.argsort(columns["at"], kind="stable")
        return {name: values[order] for name, values in columns.items()}


@dataclass(frozen=True)
class Visits:
    """Visits of the whole history in order of shopper and time; `category` is what each came for."""

    shopper: Ints
    at: Ints
    category: Ints
    previous: Ints

    def within(self, start: int, stop: int) -> Ints:
        return np.flatnonzero((self.at >= start) & (self.at < stop))


@dataclass(frozen=True)
class Slates:
    """Shelves, mails and pushes that were looked at, in order of time: who, when, where, filled how, and with which words."""

    shopper: Ints
    at: Ints
    channel: Ints
    slots: Ints
    policy: Ints
    category: Ints
    tone: Ints
    aspect: Ints
    session: Ints
    seen: Floats

    def within(self, start: int, stop: int) -> Ints:
        return np.arange(np.searchsorted(self.at, start), np.searchsorted(self.at, stop))


def simulate(world: World, catalogue: Catalogue, shoppers: Shoppers, progress: Callable[[str], None] = lambda _: None) -> pd.DataFrame:
    """The `events` table of the contract, with the shop's own ids, in order of time."""
    return _History(world, catalogue, shoppers, progress).run()


class _History:
    """The state that one week leaves to the next: what sold, what was shown, who unsubscribed."""

    def __init__(self, world: World, catalogue: Catalogue, shoppers: Shoppers, progress: Callable[[str], None]) -> None:
        self.world, self.catalogue, self.shoppers, self.progress = world, catalogue, shoppers, progress
        self.rng = np.random.default_rng([world.seed, 6])
        self.calm = ResponseModel(shoppers, catalogue, placebo=world.placebo)
        self.drifted = ResponseModel(shoppers, catalogue, world.drift, world.placebo)
        self.columns = Columns()
        self.popularity = np.ones(len(catalogue))
        self.shown_before = [np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)]
        self.gone_at = np.full(len(shoppers), np.iinfo(np.int64).max)

    def run(self) -> pd.DataFrame:
        visits = self._visits()
        slates = self._slates(visits)
        starts = list(range(self.world.start_us, self.world.end_us, WEEK))
        for number, start in enumerate(starts):
            stop = min(start + WEEK, self.world.end_us)
            self._week(start, stop, visits, slates)
            if number % 4 == 3 or number == len(starts) - 1:
                self.progress(f"week {number + 1} of {len(starts)}")
        self._mei()
        return self._table(self.columns.joined())

    def _visits(self) -> Visits:
        """When everyone came, by season, weekday and local hour, and for which category."""
        world, rng, people = self.world, self.rng, self.shoppers
        days = np.arange(world.days)
        weekday = (world.start_us // DAY + days + 3) % 7
        weight = WEEKDAYS[weekday] * np.linspace(0.9, 1.1, world.days)
        shopper = np.repeat(np.arange(len(people)), rng.poisson(people.activity * world.sessions_per_shopper * 1.15))
        day = rng.choice(days, size=len(shopper), p=weight / weight.sum())
        hour = rng.choice(24, size=len(shopper), p=HOURS / HOURS.sum())
        offset = np.array([HOUR_OFFSETS[country] for country in people.country])[shopper]
        at = world.start_us + day * DAY + ((hour - offset) % 24) * 3600 * SECOND + rng.integers(0, 3600, len(shopper)) * SECOND
        known = at > people.created_at[shopper]
        shopper, at = shopper[known], at[known]
        order = np.lexsort((at, shopper))
        shopper, at = shopper[order], at[order]
        category = self._wanted(shopper, at)
        again = np.append(False, shopper[1:] == shopper[:-1]) & (rng.random(len(shopper)) < 0.3)
        category = np.where(again, np.append(0, category[:-1]), category)
        previous = np.where(np.append(False, shopper[1:] == shopper[:-1]), np.append(NOBODY, category[:-1]), NOBODY)
        return Visits(shopper, at, category, previous)

    def _wanted(self, shopper: Ints, at: Ints) -> Ints:
        """The category of each visit: taste and season, by Gumbel's trick."""
        launched = np.array([self.catalogue.launch[self.catalogue.category == index].min() for index in range(len(NAMES))])
        day = (at // DAY) % 365.25
        season = np.zeros((len(at), len(NAMES)))
        for name, (peak, height) in SEASONS.items():
            season[:, NAMES.index(name)] = height * np.cos(2 * np.pi * (day - (peak + _new_year(at))) / 365.25)
        if self.world.placebo:
            taste = np.zeros((len(at), len(NAMES)))
        else:
            late = at >= self.world.drift_us
            taste = 1.3 * np.where(late[:, None], self.drifted.taste()[shopper], self.calm.taste()[shopper])
        wish = taste + season + self.rng.gumbel(size=season.shape)
        return np.asarray(np.where(at[:, None] >= launched, wish, -np.inf).argmax(axis=1))

    def _slates(self, visits: Visits) -> Slates:
        """Everything that was shown: shelves on some visits, a weekly mail and push to those who agreed (and look)."""
        rng, world, people = self.rng, self.world, self.shoppers
        site = np.flatnonzero(rng.random(len(visits.shopper)) < SHELF_SHARE)
        parts = [(visits.shopper[site], visits.at[site] + 2 * SECOND, visits.previous[site], site, 0)]
        for number, agreed, opened in ((1, people.email, EMAIL_OPENED), (2, people.push, PUSH_OPENED)):
            who = np.flatnonzero(agreed & (np.arange(len(people)) > 0))
            pairs = np.argwhere(rng.random((len(who), max(1, world.days // 7))) < opened)
            shopper = who[pairs[:, 0]]
            at = world.start_us + pairs[:, 1] * WEEK + rng.integers(8 * 3600, 3 * 86_400, len(pairs)) * SECOND
            last = np.searchsorted(keyed(visits.shopper, visits.at), keyed(shopper, at)) - 1
            own = (last >= 0) & (visits.shopper[np.maximum(last, 0)] == shopper)
            parts.append((shopper, at, np.where(own, visits.category[np.maximum(last, 0)], NOBODY), np.full(len(shopper), NOBODY), number))
        shopper, at, category, session = (np.concatenate([np.asarray(part[index]) for part in parts]) for index in range(4))
        channel = np.concatenate([np.full(len(part[0]), part[4]) for part in parts])
        known = (at > people.created_at[shopper]) & (at < world.end_us)
        order = np.flatnonzero(known)[np.argsort(at[known], kind="stable")]
        shopper, at, category, session, channel = (each[order] for each in (shopper, at, category, session, channel))
        policy = rng.choice(3, size=len(order), p=[POPULAR, RANDOM, CRUDE])
        plain = rng.random(len(order)) < PLAIN_SHARE
        slots = np.array([SITE_SLOTS, EMAIL_SLOTS, PUSH_SLOTS])[channel]
        return Slates(
            shopper=shopper,
            at=at,
            channel=channel,
            slots=slots,
            policy=np.where((policy == 2) & (category == NOBODY), 0, policy),
            category=category,
            tone=np.where(plain, 0, rng.integers(0, len(TONES), len(order))),
            aspect=np.where(plain, NO_ASPECT, rng.integers(0, len(ASPECTS), len(order))),
            session=session,
            seen=_seen(shopper, at, slots),
        )

    def _week(self, start: int, stop: int, visits: Visits, slates: Slates) -> None:
        model = self.drifted if start >= self.world.drift_us else self.calm
        here = visits.within(start, stop)
        middle = np.full(len(self.catalogue), (start + stop) // 2)
        price = self.catalogue.offers.price_at(np.arange(len(self.catalogue)), middle)
        on_sale = self.catalogue.launch <= start
        views = self._browse(model, visits, here, price, on_sale)
        self._show(model, slates, slates.within(start, stop), on_sale)
        self.popularity = 0.3 * self.popularity + np.bincount(views, minlength=len(self.catalogue)) + 0.2

    def _browse(self, model: ResponseModel, visits: Visits, here: Ints, price: Floats, on_sale: Flags) -> Ints:
        """What visitors looked at of their own accord, and what they bought of it. Returns the products viewed."""
        rng = self.rng
        count = 1 + rng.poisson(0.9, len(here))
        visit = np.repeat(here, count)
        order = np.arange(len(visit)) - np.repeat(np.cumsum(count) - count, count)
        shopper = visits.shopper[visit]
        category = np.where(rng.random(len(visit)) < RELATED_SHARE, NOBODY, visits.category[visit])
        product = choose(model, shopper, category, price, on_sale, rng)
        at = visits.at[visit] + (order * 70 + rng.integers(5, 65, len(visit))) * SECOND
        fine = at < self.world.end_us
        visit, shopper, product, at = visit[fine], shopper[fine], product[fine], at[fine]
        hidden = (_hash(visit) % 1000) < ANONYMOUS_SHARE * 1000
        cost = self.catalogue.offers.price_at(product, at)
        self.columns.add(EventType.VIEW, np.where(hidden, NOBODY, shopper), product, at, price=cost, channel=0, session=visit)
        known = ~hidden
        self._basket(model, shopper[known], product[known], at[known], cost[known], session=visit[known])
        return product

    def _basket(
        self, model: ResponseModel, shopper: Ints, product: Ints, at: Ints, price: Floats, session: Ints, more: dict[str, Ints] | None = None
    ) -> None:
        """Cart, purchase, and later a review or a return, for products that were looked at."""
        rng, more = self.rng, more or {}
        affinity = model.affinity(shopper, product, price)
        carted = np.flatnonzero(rng.random(len(shopper)) < model.cart(affinity))
        moment = at + rng.integers(10, 50, len(at)) * SECOND
        self._add(EventType.CART, carted, shopper, product, moment, more, quantity=1.0, price=price[carted], session=session[carted], channel=0)
        bought = carted[rng.random(len(carted)) < model.buy(affinity[carted])]
        quantity = np.where(self.catalogue.repeat[product[bought]], 1.0 + rng.poisson(0.4, len(bought)), 1.0)
        paid = moment + rng.integers(60, 900, len(at)) * SECOND
        self._add(
            EventType.PURCHASE, bought, shopper, product, paid, more, quantity=quantity, price=price[bought], session=session[bought], channel=0
        )
        content = affinity[bought] * 0.25 + 0.5 * self.catalogue.quality[product[bought]] + rng.normal(0, 0.8, len(bought))
        reviewed = rng.random(len(bought)) < 0.24
        rating = np.clip(np.round(3.7 + content), 1, 5)[reviewed]
        later = paid + (rng.gamma(2.0, 4.0, len(at)) * DAY).astype(np.int64) + DAY
        self._add(EventType.REVIEW, bought[reviewed], shopper, product, later, {}, rating=rating)
        returned = rng.random(len(bought)) < np.where(content < -0.6, 0.22, 0.03)
        back = paid + (rng.gamma(2.0, 4.0, len(at)) * DAY).astype(np.int64) + 2 * DAY
        self._add(EventType.RETURN, bought[returned], shopper, product, back, {}, quantity=1.0, price=price[bought[returned]])

    def _add(
        self,
        kind: EventType,
        chosen: Ints,
        shopper: Ints,
        product: Ints,
        at: Ints,
        more: dict[str, Ints],
        **values: NDArray[np.generic] | float | int,
    ) -> None:
        """Adds the chosen rows that happen before the history ends."""
        fine = at[chosen] < self.world.end_us
        rows = chosen[fine]
        kept = {name: value[fine] if isinstance(value, np.ndarray) else value for name, value in values.items()}
        self.columns.add(kind, shopper[rows], product[rows], at[rows], **kept, **{name: value[rows] for name, value in more.items()})

    def _show(self, model: ResponseModel, slates: Slates, here: Ints, on_sale: Flags) -> None:
        """Shelves, mails and pushes of the week and the answers to them."""
        here = here[(slates.channel[here] == 0) | (slates.at[here] < self.gone_at[slates.shopper[here]])]
        if not len(here):
            return
        slate, position, product = self._filled(slates, here, on_sale)
        shopper, at = slates.shopper[slate], slates.at[slate]
        price = self.catalogue.offers.price_at(product, at)
        key = shopper * len(self.catalogue) + product
        before = np.sort(np.concatenate(self.shown_before))
        repeats = np.searchsorted(before, key, side="right") - np.searchsorted(before, key)
        tone, aspect, channel = slates.tone[slate], slates.aspect[slate], slates.channel[slate]
        shown = Shown(
            shopper, product, price, position, channel, tone, aspect, np.zeros(len(slate), dtype=bool), slates.seen[slate], repeats.astype(np.float64)
        )
        self.shown_before = [self.shown_before[1], key]
        about = {"request": slate, "position": position, "channel": channel, "tone": tone, "aspect": aspect}
        session = slates.session[slate]
        self.columns.add(EventType.IMPRESSION, shopper, product, at, price=price, session=session, **about)
        clicked = self.rng.random(len(slate)) < model.click(shown)
        moment = at + self.rng.integers(3, 90, len(slate)) * SECOND
        rows = np.flatnonzero(clicked)
        self._add(EventType.CLICK, rows, shopper, product, moment, about, price=price[rows], session=session[rows])
        self._basket(
            model,
            shopper[rows],
            product[rows],
            moment[rows],
            price[rows],
            session[rows],
            {name: about[name][rows] for name in ("request", "position")},
        )
        affinity = model.affinity(shopper, product, price)
        waved = np.flatnonzero(~clicked & (self.rng.random(len(slate)) < model.dismiss(affinity)))
        self._add(EventType.DISMISS, waved, shopper, product, moment, about, session=session[waved])
        self._unsubscribes(model, slates, slate, affinity)

    def _unsubscribes(self, model: ResponseModel, slates: Slates, slate: Ints, affinity: Floats) -> None:
        mails, where = np.unique(slate, return_inverse=True)
        mean = np.bincount(where, weights=affinity) / np.bincount(where)
        leaves = (slates.channel[mails] > 0) & (self.rng.random(len(mails)) < model.unsubscribe(mean, slates.seen[mails]))
        chosen = mails[leaves]
        at = slates.at[chosen] + 100 * SECOND
        fine = at < self.world.end_us
        chosen, at = chosen[fine], at[fine]
        self.gone_at[slates.shopper[chosen]] = np.minimum(self.gone_at[slates.shopper[chosen]], at)
        nothing = np.full(len(chosen), NOBODY)
        self.columns.add(EventType.UNSUBSCRIBE, slates.shopper[chosen], nothing, at, request=chosen, channel=slates.channel[chosen])

    def _filled(self, slates: Slates, here: Ints, on_sale: Flags) -> tuple[Ints, Ints, Ints]:
        """Products without repetition for each slate (Gumbel top-k on the policy's weights): slate, position from 1, product."""
        popular = np.log(self.popularity)
        best = popular >= np.sort(popular[on_sale])[-min(120, int(on_sale.sum()))]
        weights = np.zeros((len(here), len(self.catalogue)), dtype=np.float32)
        policy = slates.policy[here]
        weights[policy == 0] = np.where(best, 1.6 * popular, -1e9)
        crude = policy == 2
        inside = slates.category[here[crude], None] == self.catalogue.category[None, :]
        weights[crude] = np.where(inside, 0.8 * popular, -60.0)
        weights[:, ~on_sale] = -1e9
        weights += self.rng.gumbel(size=weights.shape).astype(np.float32)
        top = np.argpartition(-weights, SITE_SLOTS, axis=1)[:, :SITE_SLOTS]
        top = np.take_along_axis(top, np.argsort(-np.take_along_axis(weights, top, axis=1), axis=1), axis=1)
        used = np.arange(SITE_SLOTS)[None, :] < slates.slots[here][:, None]
        row, place = np.nonzero(used)
        return here[row], place + 1, top[row, place]

    def _mei(self) -> None:
        """The worked example's shopper, written by hand: bought a phone, browsed tablets, reviewed a laptop."""
        goods = self.catalogue

        def pick(category: str, place: int) -> int:
            inside = goods.category == NAMES.index(category)
            old = np.flatnonzero(inside & (goods.launch < self.world.start_us))
            old = old if len(old) else np.flatnonzero(inside & (goods.launch == goods.launch[inside].min()))
            dear = old[np.argsort([goods.products[index].price for index in old], kind="stable")]
            return int(dear[min(max(int(len(dear) * 0.6) + place, 0), len(dear) - 1)])

        phone, laptop, tablets = pick("Phones", 0), pick("Laptops", 0), [pick("Tablets", place) for place in (0, -1, 1, 2)]
        hour = DAY // 24
        acts: list[tuple[EventType, int, int, float]] = [
            (EventType.VIEW, laptop, 70 * DAY, np.nan),
            (EventType.PURCHASE, laptop, 70 * DAY - hour, np.nan),
            (EventType.REVIEW, laptop, 52 * DAY, 5.0),
            (EventType.VIEW, phone, 34 * DAY, np.nan),
            (EventType.CART, phone, 34 * DAY - hour // 6, np.nan),
            (EventType.PURCHASE, phone, 34 * DAY - hour // 4, np.nan),
            *((EventType.VIEW, tablet, (9 - number * 2) * DAY + 3 * hour, np.nan) for number, tablet in enumerate(tablets)),
            (EventType.VIEW, tablets[0], 2 * DAY, np.nan),
        ]
        for kind, product, ago, rating in acts:
            at = np.array([self.world.end_us - ago])
            who, what = np.array([0]), np.array([product])
            price = goods.offers.price_at(what, at) if kind != EventType.REVIEW else np.array([np.nan])
            quantity = 1.0 if kind in (EventType.CART, EventType.PURCHASE) else np.nan
            self.columns.add(kind, who, what, at, price=price, rating=rating, quantity=quantity, channel=0)

    def _table(self, made: dict[str, NDArray[np.generic]]) -> pd.DataFrame:
        """Codes become the contract's columns; some events arrive late, and with a broken feed some never do."""
        rng = np.random.default_rng([self.world.seed, 7])
        at = made["at"].astype(np.int64)
        delay = np.where(rng.random(len(at)) < 0.03, rng.exponential(5 * 3600, len(at)), rng.exponential(1.5, len(at)))
        arrived = np.minimum(at + (delay * SECOND).astype(np.int64), self.world.end_us)
        lost = np.zeros(len(at), dtype=bool)
        if self.world.drift.broken_feed:
            fragile = np.isin(made["type"], [TYPES.index(each) for each in (EventType.VIEW, EventType.CART, EventType.IMPRESSION)])
            lost = fragile & (at >= self.world.drift_us) & (rng.random(len(at)) < self.world.drift.broken_feed) & (made["shopper"] != 0)
        kept = np.flatnonzero(~lost)
        made = {name: values[kept] for name, values in made.items()}
        number = np.arange(len(kept))
        return pd.DataFrame(
            {
                "event_id": _labels("e", number),
                "event_type": _looked_up([str(each) for each in TYPES], made["type"]),
                "user_id": _looked_up(list(self.shoppers.ids), made["shopper"]),
                "product_id": _looked_up(self.catalogue.ids, made["product"]),
                "event_time": instants(at[kept]),
                "arrived_at": instants(arrived[kept]),
                "sequence": number,
                "quantity": made["quantity"].astype(np.float64),
                "price": made["price"].astype(np.float64),
                "rating": made["rating"].astype(np.float64),
                "request_id": _labels("r", made["request"]),
                "position": pd.arrays.IntegerArray(made["position"].astype(np.int64), made["position"] == 0),
                "channel": _looked_up(list(CHANNELS), made["channel"]),
                "session_id": _labels("v", made["session"]),
                "context": _contexts(made["tone"].astype(np.int64), made["aspect"].astype(np.int64)),
            }
        )


def choose(model: ResponseModel, shopper: Ints, category: Ints, price: Floats, on_sale: Flags, rng: np.random.Generator) -> Ints:
    """A product per row, in proportion to exp(affinity), within the category or (NOBODY) anywhere; `price`, `on_sale` per product."""
    goods = model.catalogue
    people, row = np.unique(shopper, return_inverse=True)
    if not len(people):
        return np.empty(0, dtype=np.int64)
    edges = np.searchsorted(goods.category, np.arange(len(NAMES) + 1))
    weight = np.exp(model.affinity_matrix(people, price)) * on_sale
    total = np.zeros((len(people), weight.shape[1] + 1))
    np.cumsum(weight, axis=1, dtype=np.float64, out=total[:, 1:])
    anywhere = category == NOBODY
    low = total[row, np.where(anywhere, 0, edges[category])]
    high = total[row, np.where(anywhere, weight.shape[1], edges[category + 1])]
    empty = high <= low
    low, high = np.where(empty, 0.0, low), np.where(empty, total[row, -1], high)
    draw = (low + rng.random(len(row)) * (high - low)) / total[row, -1]
    # All rows in one sorted array, row r within [r, r + 1): a single search serves every draw.
    flat = (total / total[:, -1:] * (1 - 1e-9) + np.arange(len(people))[:, None]).ravel()
    found = np.searchsorted(flat, row + draw * (1 - 1e-9), side="right") - 1 - row * total.shape[1]
    return np.asarray(np.clip(found, 0, weight.shape[1] - 1))


def _new_year(at: Ints) -> Floats:
    """Offset of 1 January within the day count modulo 365.25 that `_wanted` uses."""
    year = at.astype("datetime64[us]").astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
    return np.asarray(year % 365.25)


def _seen(shopper: Ints, at: Ints, slots: Ints) -> Floats:
    """Products shown to the same shopper in the 7 days before each slate."""
    order = np.lexsort((at, shopper))
    key = keyed(shopper[order], at[order])
    running = np.append(0, np.cumsum(slots[order]))
    week_ago = np.searchsorted(key, keyed(shopper[order], at[order] - WEEK))
    seen = np.empty(len(at))
    seen[order] = running[np.arange(len(key))] - running[week_ago]
    return seen


def _hash(values: Ints) -> Ints:
    """A fixed scatter of visit numbers, so that all views of one visit share a fate."""
    return (values * 2_654_435_761 % (1 << 32)) >> 7


def _labels(prefix: str, numbers: NDArray[np.generic]) -> NDArray[np.object_]:
    """`r0000017`, or None for NOBODY. Each distinct number is written once."""
    distinct, where = np.unique(numbers.astype(np.int64), return_inverse=True)
    words = np.array([None if number == NOBODY else f"{prefix}{number:07d}" for number in distinct.tolist()], dtype=object)
    return words[where]


def _looked_up(words: list[str], codes: NDArray[np.generic]) -> NDArray[np.object_]:
    """Codes as words; NOBODY, the last of all by index -1, as None."""
    return np.array([*words, None], dtype=object)[codes.astype(np.int64)]


def _contexts(tone: Ints, aspect: Ints) -> NDArray[np.object_]:
    """The copy's tone and aspect as JSON; None where no copy was shown."""
    words = np.full((len(TONES) + 1, len(ASPECTS) + 1), None, dtype=object)
    for index, each in enumerate(TONES):
        for number, other in enumerate(ASPECTS):
            words[index, number] = f'{{"tone": "{each}", "aspect": "{other}"}}'
        words[index, -1] = f'{{"tone": "{each}"}}'
    return np.asarray(words[tone, aspect])
