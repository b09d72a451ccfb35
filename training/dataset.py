"""From a shop's tables and Feast to what models learn from: periods, moments, label groups and their point-in-time feature rows.

A *moment* is a user and a time. Everything known about them is read from Feast as of one microsecond before, so that a label's own event is
never among its features. A *label group* is a moment with candidates, some of which turned out relevant:

- With impressions: the products of one request (user and time), relevance 1 for a click, 2 for a cart, 3 for a purchase that followed within a day. The
  group also holds candidates that were not shown, with relevance 0: serving ranks all retrieved candidates, and a ranker that only ever saw exposed ones would not know the
  rest. What was shown first is clicked more; this position bias is not corrected here.
- From purchases (reviews, clicks or views in a shop that has none): the products a user bought on one day, relevance 1, against the candidates as of just before the first of
  them. A product that no retriever proposed is left out, because serving could not rank it either.

Candidates always come from retrievers that were fitted before the window the moment lies in.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo.declarations import SIGNALS
from feature_repo.online import History, Interests
from feature_repo.transforms.affinity import ProductSide, RequestSide, UserSide, pair_features
from feature_repo.vectors import PRODUCT_SCALARS, RANKER_FEATURES, USER_SCALARS, assemble
from training.errors import TrainingError
from training.evaluate import Targets
from training.profile import Choices, choices_of
from training.retrieval.model import Candidates, RetrieverSet
from training.settings import TrainingSettings

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

JUST_BEFORE = timedelta(microseconds=1)
TARGET_TYPES = ("purchase", "review", "click", "view")
"""What a shop's rankings are judged by: the first of these that it has enough of."""
FEWEST_TARGETS = 20
OUTCOMES = {"click": 1.0, "cart": 2.0, "purchase": 3.0}
OUTCOME_WITHIN = pd.Timedelta(days=1)

Reader = Callable[[str, pd.DataFrame], pd.DataFrame]
"""`reader(entity, frame)`: the features of "user" or "product" rows (key, event_timestamp) as Feast answers them point in time, rows in order."""


@dataclass(frozen=True)
class Periods:
    """How a shop's time is divided, all midnights UTC but `end`: labels, then tuning (part of the labels), then test.

    `cuts` are the starts of the label windows; the retrievers of a window are fitted at its start. The last cut is `test`.
    """

    start: datetime
    cuts: tuple[datetime, ...]
    tune: datetime
    test: datetime
    end: datetime

    @classmethod
    def of(cls, events: pd.DataFrame, settings: TrainingSettings) -> "Periods":
        """From the first and last event. A shop with a short past gets shorter periods: the test at most a quarter of it.

        Raises:
            TrainingError: less than four days of events.
        """
        first, last = events["event_time"].min().to_pydatetime(), events["event_time"].max().to_pydatetime()
        today = last.replace(hour=0, minute=0, second=0, microsecond=0)
        days = (today - first.replace(hour=0, minute=0, second=0, microsecond=0)).days
        if days < 4:
            raise TrainingError(f"The shop has events of {days + 1} days: at least five are needed to learn from some and measure on others.")
        length = timedelta(days=max(1, min(settings.holdout_days, days // 4)))
        test = today - length
        windows = max(1, min(round(timedelta(days=settings.label_days) / length), (test - first) // length - 1))
        cuts = tuple(test - length * (windows - n) for n in range(windows + 1))
        return cls(first, cuts, cuts[-2], test, last + JUST_BEFORE)


@dataclass(frozen=True)
class Catalogue:
    """All products in one order, with what retrievers read of them and since when they are known (unix seconds, float64[P])."""

    frame: pd.DataFrame
    vectors: Floats
    first_seen: Doubles
    embedding_version: str

    def known_at(self, cut: datetime) -> "Catalogue":
        """The products that were known before `cut`."""
        keep = ~(self.first_seen >= cut.timestamp())
        return Catalogue(self.frame[keep].reset_index(drop=True), self.vectors[keep], self.first_seen[keep], self.embedding_version)


def target_type(events: pd.DataFrame) -> str:
    """What this shop's rankings are judged by.

    Raises:
        TrainingError: it has neither purchases nor reviews nor clicks nor views of known users.
    """
    counts = events.loc[events["user_id"].notna(), "event_type"].astype(str).value_counts()
    enough = [name for name in TARGET_TYPES if counts.get(name, 0) >= FEWEST_TARGETS] or [name for name in TARGET_TYPES if counts.get(name, 0)]
    if not enough:
        raise TrainingError("The shop has no purchase, review, click or view of a known user: there is nothing to learn from.")
    return enough[0]


@dataclass(frozen=True)
class Person:
    """A user as of a moment: the ranker's numbers of them, what retrievers and profile read, and the absolute times (unix seconds) of pair features."""

    user_id: str
    at: float
    scalars: Floats
    interests: Interests
    history: History
    times: Mapping[str, float]


def people(reader: Reader, user_ids: Sequence[str], at: Sequence[datetime]) -> list[Person]:
    """The users as of just before each time, one `Person` per entry and in order."""
    if not len(user_ids):
        return []
    times = pd.to_datetime(pd.Series(list(at)), utc=True)
    frame = pd.DataFrame({"user_id": list(user_ids), "event_timestamp": times - JUST_BEFORE})
    found = reader("user", frame)
    scalars = _numbers(found, USER_SCALARS)
    absolute = [name for name in found.columns if name.endswith("_at") and not name.startswith(("history_", "interest_"))]
    numbers = {name: found[name].to_numpy(np.float64, na_value=np.nan) for name in absolute}
    lists = {name: found[name].tolist() for name in found.columns if name.startswith(("history_", "interest_"))}
    moments = [moment.timestamp() for moment in times]
    return [
        Person(
            str(user),
            moments[row],
            scalars[row],
            _interests(lists, row),
            _history(lists, row),
            {name: float(numbers[name][row]) for name in absolute},
        )
        for row, user in enumerate(user_ids)
    ]


def _numbers(frame: pd.DataFrame, names: Sequence[str]) -> Floats:
    return frame[list(names)].apply(pd.to_numeric, errors="coerce").to_numpy(np.float32, na_value=np.nan)


def _list(values: Any) -> list[Any]:
    return [] if values is None or (isinstance(values, float) and np.isnan(values)) else list(values)


def _interests(lists: Mapping[str, list[Any]], row: int) -> Interests:
    keys = tuple(_list(lists["interest_keys"][row]))
    signals = np.array(_list(lists["interest_signals"][row]), np.float32).reshape(len(keys), len(SIGNALS))
    return Interests(keys, signals, np.array(_list(lists["interest_last_at"][row]), np.float64))


def _history(lists: Mapping[str, list[Any]], row: int) -> History:
    names = ("history_purchases", "history_last_purchase_at", "history_last_view_at")
    counts, bought, viewed = (_list(lists[name][row]) for name in names)
    return History(
        tuple(_list(lists["history_products"][row])),
        np.array(counts, np.float32),
        np.array(bought, np.float64),
        np.array(viewed, np.float64),
    )


@dataclass(frozen=True)
class Group:
    """A label group: who and when, the retrieved candidates, and `relevance` of products (0 for every other one). `shown` are exposed products."""

    person: Person
    window: int
    candidates: Candidates
    relevance: Mapping[str, float]
    shown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Labels:
    """Moments with outcomes before candidates are known: user, time and what turned out relevant, rising by time."""

    user_ids: tuple[str, ...]
    at: tuple[datetime, ...]
    relevance: tuple[Mapping[str, float], ...]
    shown: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.user_ids)

    def sample(self, most: int, generator: np.random.Generator) -> "Labels":
        """At most `most` of them, drawn at random, still rising by time."""
        if len(self) <= most:
            return self
        chosen = sorted(generator.choice(len(self), most, replace=False).tolist())
        return Labels(*(tuple(values[i] for i in chosen) for values in (self.user_ids, self.at, self.relevance, self.shown)))


def purchase_labels(events: pd.DataFrame, kind: str, since: datetime, until: datetime, horizon_days: int = 1) -> Labels:
    """One label per user and UTC day with events of type `kind` in [since, until): the distinct products of that day, as of the first of them.

    With a longer horizon also the products of the days after, up to `until`.
    """
    found = events[(events["event_type"].astype(str) == kind) & events["user_id"].notna() & (events["event_time"] >= pd.Timestamp(since))]
    found = found[found["event_time"] < pd.Timestamp(until)].sort_values(["event_time", "user_id"], kind="stable")
    by_user = {user: rows for user, rows in found.groupby("user_id", sort=False)} if horizon_days > 1 else {}
    labels: list[tuple[datetime, str, dict[str, float]]] = []
    for (user, _day), rows in found.groupby(["user_id", found["event_time"].dt.floor("D")], sort=False):
        first = rows["event_time"].iloc[0]
        if horizon_days > 1:
            mine = by_user[user]
            rows = mine[(mine["event_time"] >= first) & (mine["event_time"] < first + pd.Timedelta(days=horizon_days))]
        labels.append((first.to_pydatetime(), str(user), dict.fromkeys(rows["product_id"].astype(str), 1.0)))
    labels.sort(key=lambda label: label[:2])
    return Labels(
        tuple(user for _, user, _ in labels), tuple(at for at, _, _ in labels), tuple(what for _, _, what in labels), tuple(() for _ in labels)
    )


def impression_labels(events: pd.DataFrame, since: datetime, until: datetime) -> Labels:
    """One label per request (user and time of impressions) in [since, until) that was answered at all, relevance by the strongest answer."""
    known = events[events["user_id"].notna() & events["product_id"].notna() & (events["event_time"] >= pd.Timestamp(since))]
    types = known["event_type"].astype(str)
    shown = known[(types == "impression") & (known["event_time"] < pd.Timestamp(until))][["user_id", "event_time", "product_id", "request_id"]]
    answers = known[types.isin(list(OUTCOMES))][["user_id", "event_time", "product_id", "request_id"]]
    answers = answers.assign(relevance=types.map(OUTCOMES)[answers.index], answered_at=answers["event_time"])
    both = shown.merge(answers.drop(columns="event_time"), on=["user_id", "product_id"], suffixes=("", "_of_answer"))
    later = both["answered_at"] - both["event_time"]
    other_request = both["request_id"].notna() & both["request_id_of_answer"].notna() & (both["request_id"] != both["request_id_of_answer"])
    both = both[(later >= pd.Timedelta(0)) & (later <= OUTCOME_WITHIN) & ~other_request]
    answered = both.groupby(["event_time", "user_id", "product_id"])["relevance"].max()
    by_request = shown.groupby(["event_time", "user_id"], sort=True)["product_id"].agg(list)
    outcomes: dict[tuple[Any, Any], dict[str, float]] = {}
    for (at, user, product), relevance in answered.items():
        outcomes.setdefault((at, user), {})[str(product)] = float(relevance)
    kept = [key for key in by_request.index if key in outcomes]
    return Labels(
        tuple(str(user) for _, user in kept),
        tuple(at.to_pydatetime() for at, _ in kept),
        tuple(outcomes[key] for key in kept),
        tuple(tuple(str(product) for product in by_request[key]) for key in kept),
    )


def labels_of(events: pd.DataFrame, kind: str, periods: Periods, settings: TrainingSettings) -> Labels:
    """All labels from the first cut to the end, sampled. Where there are impressions, half of them are requests, half days of purchases."""
    generator = np.random.default_rng(settings.seed)
    days = purchase_labels(events, kind, periods.cuts[0], periods.end, settings.label_horizon_days)
    requests = impression_labels(events, periods.cuts[0], periods.end)
    if not len(requests):
        return days.sample(settings.label_groups, generator)
    share = settings.label_groups // 2
    return _by_time([days.sample(share, generator), requests.sample(settings.label_groups - share, generator)])


def _by_time(parts: Sequence[Labels]) -> Labels:
    rows = [row for part in parts for row in zip(part.at, part.user_ids, part.relevance, part.shown, strict=True)]
    rows.sort(key=lambda row: row[:2])
    return Labels(tuple(r[1] for r in rows), tuple(r[0] for r in rows), tuple(r[2] for r in rows), tuple(r[3] for r in rows))


def groups_of(labels: Labels, reader: Reader, retrievers: Sequence[RetrieverSet], periods: Periods, settings: TrainingSettings) -> list[Group]:
    """Labels with their people and candidates; `retrievers[i]` was fitted at `periods.cuts[i]`. Groups without a relevant candidate are left out."""
    found = []
    for person, at, relevance, shown in zip(people(reader, labels.user_ids, labels.at), labels.at, labels.relevance, labels.shown, strict=True):
        window = max(0, sum(cut <= at for cut in periods.cuts) - 1)
        retriever = retrievers[window]
        candidates = retriever.retrieve(person.history, at, settings.candidates, person.interests)
        proposed = {str(retriever.product_ids[position]) for position in candidates.index}
        if proposed.union(shown) & relevance.keys():
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


@dataclass(frozen=True)
class Slate:
    """Products to be scored for one person, with the retrievers' scores and ranks (NaN where not proposed)."""

    person: Person
    product_ids: tuple[str, ...]
    scores: Floats
    ranks: Floats


def training_slates(groups: Sequence[Group], retrievers: Sequence[RetrieverSet], settings: TrainingSettings) -> list[Slate]:
    """Per group: what was relevant or shown, and a sample of the other candidates, half of it the best proposed ones."""
    generator = np.random.default_rng(settings.seed)
    return [_slate(group, retrievers[group.window], settings.negatives, generator) for group in groups]


def _slate(group: Group, retriever: RetrieverSet, negatives: int, generator: np.random.Generator) -> Slate:
    ids = [str(retriever.product_ids[position]) for position in group.candidates.index]
    wanted = group.relevance.keys() | set(group.shown)
    inside = [row for row, product in enumerate(ids) if product in wanted]
    others = [row for row, product in enumerate(ids) if product not in wanted]
    top, rest = others[: negatives // 2], others[negatives // 2 :]
    drawn = generator.choice(len(rest), min(len(rest), negatives - len(top)), replace=False) if rest else np.zeros(0, np.int64)
    rows = sorted([*inside, *top, *(rest[int(i)] for i in drawn)])
    outside = [product for product in group.shown if product not in set(ids)]
    nothing = np.full((len(outside), group.candidates.scores.shape[1]), np.nan, np.float32)
    scores, ranks = (np.concatenate([values[rows], nothing]) for values in (group.candidates.scores, group.candidates.ranks))
    return Slate(group.person, (*(ids[row] for row in rows), *outside), scores, ranks)


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
            kind: np.array([numbering.setdefault(value, len(numbering)) if value else -1 for value in values], np.int32)
            for kind, values in names.items()
        }
        columns = ("product_price", "product_price_rank", "product_first_seen_at", "product_last_purchase_at")
        numbers = {name: pd.to_numeric(found[name], errors="coerce").to_numpy(np.float64, na_value=np.nan) for name in columns}
        return cls(_numbers(found, PRODUCT_SCALARS), numbers, codes, numbering)

    def user(self, person: Person) -> UserSide:
        """The person in this table's numbering, as one row."""
        scalar = dict(zip(USER_SCALARS, person.scalars.tolist(), strict=True))
        interests, history = person.interests, person.history
        return UserSide(
            self._codes(interests.keys)[None],
            interests.signals[None],
            interests.last_at[None],
            self._codes(history.products)[None],
            history.purchases[None],
            history.last_purchase_at[None],
            history.last_view_at[None],
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
        nothing = np.zeros(0, np.float32)
        return Rows(np.zeros((0, len(RANKER_FEATURES)), np.float32), nothing, np.zeros(0, np.int64), np.zeros(0))
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
    """The users a period is measured on, as of its start, and the products they took in it."""

    people: tuple[Person, ...]
    wanted: tuple[frozenset[str], ...]

    def targets(self, retriever: RetrieverSet) -> Targets:
        """Targets as positions in the retriever's products. One it does not know still counts, with a position nobody can propose."""
        positions = {str(product): position for position, product in enumerate(retriever.product_ids)}
        products, repeat = [], []
        for person, wanted in zip(self.people, self.wanted, strict=True):
            found = {product: positions.get(product, -1 - number) for number, product in enumerate(sorted(wanted))}
            before = {product for product, count in zip(person.history.products, person.history.purchases, strict=True) if count > 0}
            products.append(frozenset(found.values()))
            repeat.append(frozenset(found[product] for product in wanted & before))
        return Targets(tuple(person.user_id for person in self.people), tuple(products), tuple(repeat))


def audience(events: pd.DataFrame, kind: str, since: datetime, until: datetime, reader: Reader, settings: TrainingSettings) -> Audience:
    """Users with an act of type `kind` both before `since` and in [since, until), sampled; wanted are the distinct products of the latter."""
    acts = events[(events["event_type"].astype(str) == kind) & events["user_id"].notna() & events["product_id"].notna()]
    before = set(acts.loc[acts["event_time"] < pd.Timestamp(since), "user_id"])
    during = acts[(acts["event_time"] >= pd.Timestamp(since)) & (acts["event_time"] < pd.Timestamp(until)) & acts["user_id"].isin(before)]
    wanted = during.groupby("user_id", sort=True)["product_id"].agg(lambda products: frozenset(map(str, products)))
    users = sorted(str(user) for user in wanted.index)
    if len(users) > settings.evaluation_users:
        drawn = np.random.default_rng(settings.seed).choice(len(users), settings.evaluation_users, replace=False)
        users = [users[i] for i in sorted(drawn.tolist())]
    return Audience(tuple(people(reader, users, [since] * len(users))), tuple(wanted[user] for user in users))


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
    keys = acts["product_id"].astype(str).map(names)
    acts = acts.assign(key=[f"{kind}:{name}" if isinstance(name, str) and name else None for name in keys])[["user_id", "event_time", "key"]].dropna()
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


def windows(periods: Periods) -> list[tuple[datetime, datetime]]:
    """The label windows, the test period last."""
    return list(pairwise([*periods.cuts, periods.end]))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
