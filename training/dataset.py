"""From moments to what models learn from: people, candidates and feature rows, everything as of just before the moment, read from Feast.

A *label group* is a moment with the retrievers' candidates, some of which turned out relevant (labels.py). Candidates come from retrievers that were
fitted before the label window the moment lies in.

- Where products were shown, the group holds them and candidates that were not shown, with relevance 0: serving ranks all retrieved candidates, and a
  ranker that saw only exposed ones would know nothing of the rest. What is shown first is clicked more; this position bias is not corrected here.
- From purchases, a product that no retriever proposed is left out, because serving could not rank it either.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo.declarations import SIGNALS
from feature_repo.online import Circle, History, Interests, ProductMatrix
from feature_repo.transforms.affinity import ProductSide, RequestSide, UserSide, decayed, faded, pair_features
from feature_repo.vectors import PRODUCT_SCALARS, RANKER_FEATURES, USER_SCALARS, assemble
from training.evaluate import Ranking, Targets
from training.labels import JUST_BEFORE, Labels, Periods, arrival_order
from training.profile import Choices, choices_of
from training.retrieval.contract import Products
from training.retrieval.model import Candidates, RetrieverSet
from training.settings import TrainingSettings

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


NO_KEY = -2
"""Code of a product without category or brand; not -1, which stands for a key or product of the user's that the table does not have."""

Reader = Callable[[str, pd.DataFrame], pd.DataFrame]
"""`reader(entity, frame)`: the features of "user" or "product" rows (key, event_timestamp) as Feast answers them point in time, rows in order."""


@dataclass(frozen=True)
class Catalogue:
    """All products in one order, with what retrievers read of them and since when they are known (unix seconds, float64[P])."""

    frame: pd.DataFrame
    vectors: Floats
    first_seen: Doubles
    embedding_version: str

    @classmethod
    def of(cls, matrix: ProductMatrix) -> "Catalogue":
        """The products of the last build. Empty categories and brands are None."""
        names = {"category": np.asarray(matrix.texts["product_category"]), "brand": np.asarray(matrix.texts["product_brand"])}
        frame = pd.DataFrame({"product_id": matrix.product_ids.astype(str), **names})
        return cls(frame, matrix.embedding, matrix.at["product_first_seen_at"], matrix.embedding_version)

    def products(self) -> Products:
        """As retrievers take them."""
        frame = self.frame
        return Products.of(frame["product_id"].tolist(), frame["category"].tolist(), frame["brand"].tolist(), self.vectors)

    def known_at(self, cut: datetime) -> "Catalogue":
        """The products that were known before `cut`."""
        keep = ~(self.first_seen >= cut.timestamp())
        return Catalogue(self.frame[keep].reset_index(drop=True), self.vectors[keep], self.first_seen[keep], self.embedding_version)


@dataclass(frozen=True)
class Person:
    """A user as of a moment: the ranker's numbers, what retrievers and profile read, and the absolute times (unix seconds) of pair features."""

    user_id: str
    at: float
    scalars: Floats
    interests: Interests
    history: History
    circle: Circle
    times: Mapping[str, float]

    @property
    def moment(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)


_ARRAYS = ("interest_", "history_", "circle_")
"""What the columns of the views that hold arrays begin with."""


def people(reader: Reader, user_ids: Sequence[str], at: Sequence[datetime]) -> list[Person]:
    """The users as of just before each time, one `Person` per entry and in order."""
    if not len(user_ids):
        return []
    times = pd.to_datetime(pd.Series(list(at)), utc=True)
    frame = pd.DataFrame({"user_id": list(user_ids), "event_timestamp": times - JUST_BEFORE})
    found = reader("user", frame)
    scalars = _numbers(found, USER_SCALARS)
    absolute = [name for name in found.columns if name.endswith("_at") and not name.startswith(_ARRAYS)]
    numbers = {name: found[name].to_numpy(np.float64, na_value=np.nan) for name in absolute}
    lists = {name: found[name].tolist() for name in found.columns if name.startswith(_ARRAYS)}
    moments = [moment.timestamp() for moment in times]
    return [
        Person(
            str(user),
            moments[row],
            scalars[row],
            _interests(lists, row, moments[row]),
            _history(lists, row),
            _circle(lists, row, moments[row]),
            {name: float(numbers[name][row]) for name in absolute},
        )
        for row, user in enumerate(user_ids)
    ]


def _numbers(frame: pd.DataFrame, names: Sequence[str]) -> Floats:
    numbers = frame[list(names)].apply(pd.to_numeric, errors="coerce")
    return np.asarray(numbers.to_numpy(np.float32, na_value=np.nan), np.float32)


def _list(values: Any) -> list[Any]:
    return [] if values is None or (isinstance(values, float) and np.isnan(values)) else list(values)


def _interests(lists: Mapping[str, list[Any]], row: int, now: float) -> Interests:
    keys = tuple(_list(lists["interest_keys"][row]))
    signals = np.array(_list(lists["interest_signals"][row]), np.float32).reshape(len(keys), len(SIGNALS))
    at = np.nan_to_num(np.array(lists["interest_at"][row], np.float64))
    return Interests(keys, decayed(signals, at, np.array(now)), np.array(_list(lists["interest_last_at"][row]), np.float64))


def _history(lists: Mapping[str, list[Any]], row: int) -> History:
    names = ("history_purchases", "history_last_purchase_at", "history_last_view_at")
    counts, bought, viewed = (_list(lists[name][row]) for name in names)
    return History(
        tuple(_list(lists["history_products"][row])),
        np.array(counts, np.float32),
        np.array(bought, np.float64),
        np.array(viewed, np.float64),
    )


def _circle(lists: Mapping[str, list[Any]], row: int, now: float) -> Circle:
    weights, counts = (np.array(_list(lists[name][row]), np.float32) for name in ("circle_weights", "circle_people"))
    at = np.nan_to_num(np.array(lists["circle_at"][row], np.float64))
    return Circle(tuple(_list(lists["circle_products"][row])), weights * faded(at, np.array(now)), counts)


@dataclass(frozen=True)
class Group:
    """A label group: who and when, the retrieved candidates, and `relevance` of products (0 for every other one). `shown` are exposed products."""

    person: Person
    window: int
    candidates: Candidates
    relevance: Mapping[str, float]
    shown: tuple[str, ...] = ()


def groups_of(labels: Labels, reader: Reader, retrievers: Sequence[RetrieverSet], periods: Periods, settings: TrainingSettings) -> list[Group]:
    """Labels with their people and candidates; `retrievers[i]` was fitted at `periods.cuts[i]`. Groups without a relevant candidate are left out."""
    found = []
    for person, at, relevance, shown in zip(people(reader, labels.user_ids, labels.at), labels.at, labels.relevance, labels.shown, strict=True):
        window = max(0, sum(cut <= at for cut in periods.cuts) - 1)
        retriever = retrievers[window]
        candidates = proposed(person, retriever, settings.candidates)
        known = {str(retriever.product_ids[position]) for position in candidates.index}
        if known.union(shown) & relevance.keys():
            found.append(Group(person, window, candidates, relevance, shown))
    return found


@dataclass(frozen=True)
class Rows:
    """Ranker rows of several groups: `matrix` float32[n, F] in the order of RANKER_FEATURES, `relevance` float32[n], `group` int64[n] rising."""

    matrix: Floats
    relevance: Floats
    group: NDArray[np.int64]
    at: Doubles  # float64[n], unix seconds of the group's moment

    def where(self, keep: NDArray[np.bool_]) -> "Rows":
        return Rows(self.matrix[keep], self.relevance[keep], self.group[keep], self.at[keep])


NO_ROWS = Rows(np.zeros((0, len(RANKER_FEATURES)), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), np.zeros(0))


@dataclass(frozen=True)
class Slate:
    """Products to be scored for one person, with the retrievers' scores and ranks (NaN where not proposed)."""

    person: Person
    product_ids: tuple[str, ...]
    scores: Floats
    ranks: Floats


def training_slates(groups: Sequence[Group], retrievers: Sequence[RetrieverSet], settings: TrainingSettings) -> list[Slate]:
    """Per group: what was relevant or shown, and a sample of the other candidates, drawn at one rate whatever their rank.

    Keeping more of the best proposed ones would make deep ranks look better than they are.
    """
    generator = np.random.default_rng(settings.seed)
    return [_slate(group, retrievers[group.window], settings.negatives, generator) for group in groups]


def _slate(group: Group, retriever: RetrieverSet, negatives: int, generator: np.random.Generator) -> Slate:
    ids = [str(retriever.product_ids[position]) for position in group.candidates.index]
    wanted = group.relevance.keys() | set(group.shown)
    inside = [row for row, product in enumerate(ids) if product in wanted]
    others = [row for row, product in enumerate(ids) if product not in wanted]
    drawn = generator.choice(len(others), min(len(others), negatives), replace=False) if others else np.zeros(0, np.int64)
    rows = sorted([*inside, *(others[int(place)] for place in drawn)])
    outside = [product for product in group.shown if product not in set(ids)]
    nothing = np.full((len(outside), group.candidates.scores.shape[1]), np.nan, np.float32)
    scores, ranks = (np.concatenate([values[rows], nothing]) for values in (group.candidates.scores, group.candidates.ranks))
    return Slate(group.person, (*(ids[row] for row in rows), *outside), scores, ranks)


def proposed(person: Person, retriever: RetrieverSet, count: int) -> Candidates:
    """Their candidates, from all that retrievers read of a person; `count` from each retriever and in all."""
    return retriever.retrieve(person.history, person.moment, count, person.interests, person.circle)


def full_slate(person: Person, candidates: Candidates, retriever: RetrieverSet) -> Slate:
    """All candidates of a person, as serving would score them."""
    ids = tuple(str(retriever.product_ids[position]) for position in candidates.index)
    return Slate(person, ids, candidates.scores, candidates.ranks)


def feature_rows(slates: Sequence[Slate], reader: Reader, weights: Floats) -> Iterator[Floats]:
    """float32[len(slate), F] per slate: users and products from Feast, pairs from `pair_features`, `weights` float32[8] from the profile."""
    if not slates:
        return
    moments = np.concatenate([np.full(len(slate.product_ids), slate.person.at) for slate in slates])
    ids = np.concatenate([np.array(slate.product_ids, object) for slate in slates])
    wanted = pd.DataFrame({"product_id": ids, "at": moments}).drop_duplicates(ignore_index=True)
    times = pd.to_datetime((wanted["at"] * 1e6).round().astype("int64"), unit="us", utc=True) - JUST_BEFORE
    found = reader("product", pd.DataFrame({"product_id": wanted["product_id"], "event_timestamp": times}))
    side = _ProductTable.of(found)
    position = pd.MultiIndex.from_frame(wanted).get_indexer(pd.MultiIndex.from_arrays([ids, moments]))
    start = 0
    for slate in slates:
        rows = position[start : start + len(slate.product_ids)]
        start += len(rows)
        request = RequestSide(np.array([slate.person.at]), np.asarray(weights, np.float32), slate.scores, slate.ranks)
        pairs = pair_features(side.user(slate.person), side.products(rows), request)
        yield assemble(slate.person.scalars[None, :], side.scalars[rows], pairs)


@dataclass(frozen=True)
class _ProductTable:
    """Product features of many (product, time) rows, with one numbering of products and keys that users are put in as well."""

    scalars: Floats
    numbers: Mapping[str, Doubles]
    codes: Mapping[str, NDArray[np.int32]]
    numbering: Mapping[str, int]

    @classmethod
    def of(cls, found: pd.DataFrame) -> "_ProductTable":
        names = {
            "product": found["product_id"].astype(str).tolist(),
            "category": [f"category:{name}" if isinstance(name, str) and name else "" for name in found["product_category"]],
            "brand": [f"brand:{name}" if isinstance(name, str) and name else "" for name in found["product_brand"]],
        }
        numbering: dict[str, int] = {}
        codes = {
            kind: np.array([numbering.setdefault(value, len(numbering)) if value else NO_KEY for value in values], np.int32)
            for kind, values in names.items()
        }
        columns = ("product_price", "product_price_rank", "product_first_seen_at", "product_last_purchase_at")
        numbers = {name: pd.to_numeric(found[name], errors="coerce").to_numpy(np.float64, na_value=np.nan) for name in columns}
        return cls(_numbers(found, PRODUCT_SCALARS), numbers, codes, numbering)

    def user(self, person: Person) -> UserSide:
        """The person in this table's numbering, as one row."""
        scalar = dict(zip(USER_SCALARS, person.scalars.tolist(), strict=True))
        interests, history, circle = person.interests, person.history, person.circle
        return UserSide(
            self._codes(interests.keys)[None],
            interests.signals[None],
            interests.last_at[None],
            self._codes(history.products)[None],
            history.purchases[None],
            history.last_purchase_at[None],
            history.last_view_at[None],
            self._codes(circle.products)[None],
            circle.weights[None],
            circle.people[None],
            np.array([scalar["user_price_mean_90d"]], np.float32),
            np.array([scalar["user_price_rank_90d"]], np.float32),
            np.array([person.times["user_first_event_at"]]),
            np.array([person.times["user_last_event_at"]]),
            np.array([person.times["user_last_purchase_at"]]),
        )

    def _codes(self, names: Sequence[str]) -> NDArray[np.int32]:
        return np.array([self.numbering.get(str(name), -1) for name in names], np.int32)

    def products(self, rows: NDArray[np.int64]) -> ProductSide:
        return ProductSide(
            self.codes["product"][rows],
            self.codes["category"][rows],
            self.codes["brand"][rows],
            self.numbers["product_price"][rows].astype(np.float32),
            self.numbers["product_price_rank"][rows].astype(np.float32),
            self.numbers["product_first_seen_at"][rows],
            self.numbers["product_last_purchase_at"][rows],
        )


def training_rows(groups: Sequence[Group], retrievers: Sequence[RetrieverSet], reader: Reader, weights: Floats, settings: TrainingSettings) -> Rows:
    """The ranker's training set. No groups give no rows."""
    slates = training_slates(groups, retrievers, settings)
    parts = list(feature_rows(slates, reader, weights))
    if not parts:
        return NO_ROWS
    sizes = [len(part) for part in parts]
    relevance = [[group.relevance.get(product, 0.0) for product in slate.product_ids] for group, slate in zip(groups, slates, strict=True)]
    return Rows(
        np.concatenate(parts),
        np.concatenate([np.array(values, np.float32) for values in relevance]),
        np.repeat(np.arange(len(parts)), sizes),
        np.repeat(np.array([slate.person.at for slate in slates]), sizes),
    )


@dataclass(frozen=True)
class Audience:
    """The users a period is measured on, as of its start: the products they took in it, and all they had taken before."""

    people: tuple[Person, ...]
    wanted: tuple[frozenset[str], ...]
    before: tuple[frozenset[str], ...]

    def part(self, places: Sequence[int]) -> "Audience":
        """Some of them."""
        return Audience(
            tuple(self.people[place] for place in places),
            tuple(self.wanted[place] for place in places),
            tuple(self.before[place] for place in places),
        )

    def had(self, retriever: RetrieverSet) -> list[NDArray[np.int32]]:
        """What each had taken before, as positions in the retriever's products."""
        positions = {str(product): position for position, product in enumerate(retriever.product_ids)}
        return [np.array(sorted(positions[product] for product in before if product in positions), np.int32) for before in self.before]

    def targets(self, retriever: RetrieverSet) -> Targets:
        """Targets as positions in the retriever's products. One it does not know still counts, with a position nobody can propose."""
        positions = {str(product): position for position, product in enumerate(retriever.product_ids)}
        products, repeat = [], []
        for wanted, before in zip(self.wanted, self.before, strict=True):
            found = {product: positions.get(product, -1 - number) for number, product in enumerate(sorted(wanted))}
            products.append(frozenset(found.values()))
            repeat.append(frozenset(found[product] for product in wanted & before))
        return Targets(tuple(person.user_id for person in self.people), tuple(products), tuple(repeat))


@dataclass(frozen=True)
class Scored:
    """An audience as serving would have met it at its moment: each one's candidates, and their ranker rows float32[m, F]."""

    people: Audience
    targets: Targets
    candidates: tuple[Candidates, ...]
    rows: tuple[Floats, ...]
    categories: NDArray[np.str_]  # of the retriever's products

    @classmethod
    def of(cls, people: Audience, retriever: RetrieverSet, reader: Reader, weights: Floats, count: int) -> "Scored":
        """`retriever` fitted before what `people` wanted, `count` candidates from each of its parts, `weights` float32[8] of the profile."""
        candidates = [proposed(person, retriever, count) for person in people.people]
        slates = [full_slate(person, found, retriever) for person, found in zip(people.people, candidates, strict=True)]
        rows = tuple(feature_rows(slates, reader, weights))
        return cls(people, people.targets(retriever), tuple(candidates), rows, retriever.products.categories)

    def scores(self, score: Callable[[Floats, NDArray[np.str_]], Floats]) -> list[Floats]:
        """float32[m] per person: `score` of the rows of their candidates and of the categories of these."""
        return [score(rows, self.categories[found.index]) for found, rows in zip(self.candidates, self.rows, strict=True)]

    def ranked(self, score: Callable[[Floats, NDArray[np.str_]], Floats]) -> list[Ranking]:
        """Each one's candidates, best first by their `scores`; equal ones as they were merged."""
        return [found.index[np.argsort(-each, kind="stable")] for found, each in zip(self.candidates, self.scores(score), strict=True)]

    def labelled(self) -> Rows:
        """The rows of all who have a target among their candidates, as label groups."""
        relevance = [
            np.isin(found.index, list(wanted)).astype(np.float32) for found, wanted in zip(self.candidates, self.targets.products, strict=True)
        ]
        places = [place for place, values in enumerate(relevance) if values.any()]
        if not places:
            return NO_ROWS
        sizes = [len(relevance[place]) for place in places]
        at = np.array([self.people.people[place].at for place in places])
        return Rows(
            np.concatenate([self.rows[place] for place in places]),
            np.concatenate([relevance[place] for place in places]),
            np.repeat(np.arange(len(places)), sizes),
            np.repeat(at, sizes),
        )


def audience(
    events: pd.DataFrame,
    kind: str,
    since: datetime,
    until: datetime,
    reader: Reader,
    settings: TrainingSettings,
    repeats: bool = True,
    newcomers: bool = False,
) -> Audience:
    """Users with an act of type `kind` both before `since` and in [since, until), sampled; wanted are the distinct products of the latter.

    With `newcomers` those who had none before instead: all that is known of them is what else they did, their ties and what they stated.
    Without `repeats` (nobody buys the same again) what a user had taken before is no target.
    """
    acts = events[(events["event_type"].astype(str) == kind) & events["user_id"].notna() & events["product_id"].notna()]
    earlier, during = acts["event_time"] < pd.Timestamp(since), acts["event_time"].between(pd.Timestamp(since), pd.Timestamp(until), inclusive="left")
    before, wanted = _products_of(acts[earlier]), _products_of(acts[during])
    if not repeats:
        wanted = {user: products - before.get(user, frozenset()) for user, products in wanted.items()}
    users = sorted((user for user, products in wanted.items() if products and (user in before) != newcomers), key=arrival_order(events).__getitem__)
    if len(users) > settings.evaluation_users:
        drawn = np.random.default_rng(settings.seed).choice(len(users), settings.evaluation_users, replace=False)
        users = [users[i] for i in sorted(drawn.tolist())]
    found = people(reader, users, [since] * len(users))
    return Audience(tuple(found), tuple(wanted[user] for user in users), tuple(before.get(user, frozenset()) for user in users))


def _products_of(acts: pd.DataFrame) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for user, product in zip(acts["user_id"], acts["product_id"], strict=True):
        found.setdefault(str(user), set()).add(str(product))
    return {user: frozenset(products) for user, products in found.items()}


def choices(events: pd.DataFrame, catalogue: Catalogue, periods: Periods, reader: Reader, settings: TrainingSettings) -> Choices:
    """What users chose in the label windows, with their interests as of the window's start: the profile learns from it.

    Purchases count, where there are too few of them clicks and views too. Keys are categories, or brands in a shop with fewer than two categories.
    """
    kind = "category" if catalogue.frame["category"].dropna().nunique() > 1 else "brand"
    names = dict(zip(catalogue.frame["product_id"].astype(str), catalogue.frame[kind], strict=True))
    types = events["event_type"].astype(str)
    acts = events[
        events["user_id"].notna() & types.isin(["purchase", "review", "cart", "click", "view"]) & (events["event_time"] < pd.Timestamp(periods.test))
    ]
    bought = acts[acts["event_type"].astype(str) == "purchase"]
    acts = bought if (bought["event_time"] >= pd.Timestamp(periods.cuts[0])).sum() >= 500 else acts
    found = [names.get(str(product)) for product in acts["product_id"].tolist()]
    keys = pd.Series([f"{kind}:{name}" if isinstance(name, str) and name else None for name in found], index=acts.index, dtype=object)
    acts = acts.assign(key=keys)[["user_id", "event_time", "key"]].dropna()
    share = acts.loc[acts["event_time"] < pd.Timestamp(periods.cuts[0]), "key"].value_counts(normalize=True)
    share = share if len(share) else acts["key"].value_counts(normalize=True)
    acts = acts[acts["event_time"] >= pd.Timestamp(periods.cuts[0])].reset_index(drop=True)
    if len(acts) > settings.profile_choices:
        drawn = np.random.default_rng(settings.seed).choice(len(acts), settings.profile_choices, replace=False)
        acts = acts.iloc[np.sort(drawn)].reset_index(drop=True)
    moments = [max(cut for cut in periods.cuts if cut <= at) for at in acts["event_time"]]
    asked = sorted({(str(user), at) for user, at in zip(acts["user_id"], moments, strict=True)})
    known = {(person.user_id, person.at): person.interests for person in people(reader, [user for user, _ in asked], [at for _, at in asked])}
    before = [known[(str(user), at.timestamp())] for user, at in zip(acts["user_id"], moments, strict=True)]
    at = [moment.timestamp() for moment in acts["event_time"]]
    return choices_of(before, acts["key"].tolist(), {str(key): float(value) for key, value in share.items()}, at, kind, 16)
