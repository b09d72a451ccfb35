"""Periods of a shop's time, and labels: moments at which a user turned out to want something.

A *moment* is a user and a time. Labels come from two places:

- Impressions: the products of one request (user and time), relevance 1 for a click, 2 for a cart, 3 for a purchase that followed within a day.
- Purchases (reviews, clicks or views in a shop that has too few): the distinct products a user bought on one UTC day, relevance 1, as of the first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from training.errors import TrainingError
from training.settings import TrainingSettings

JUST_BEFORE = timedelta(microseconds=1)
"""A label is joined this long before its moment, so that its own event is not among its features."""
TARGET_TYPES = ("purchase", "review", "click", "view")
"""What a shop's rankings are judged by: the first of these that it has enough of."""
FEWEST_TARGETS = 20
OUTCOMES = {"click": 1.0, "cart": 2.0, "purchase": 3.0}
OUTCOME_WITHIN = pd.Timedelta(days=1)


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
        return Labels(
            tuple(self.user_ids[i] for i in chosen),
            tuple(self.at[i] for i in chosen),
            tuple(self.relevance[i] for i in chosen),
            tuple(self.shown[i] for i in chosen),
        )


def purchase_labels(events: pd.DataFrame, kind: str, since: datetime, until: datetime, horizon_days: int = 1) -> Labels:
    """One label per user and UTC day with events of type `kind` in [since, until): the distinct products of that day, as of the first of them.

    With a longer horizon also the products of the days after, up to `until`.
    """
    found = events[(events["event_type"].astype(str) == kind) & events["user_id"].notna() & events["product_id"].notna()]
    found = found[(found["event_time"] >= pd.Timestamp(since)) & (found["event_time"] < pd.Timestamp(until))]
    found = pd.DataFrame({"user": found["user_id"].astype(str), "product": found["product_id"].astype(str), "at": found["event_time"]})
    days = found.groupby(["user", found["at"].dt.floor("D").rename("day")])["at"].min().rename("first").reset_index()
    days = days.sort_values(["first", "user"], kind="stable")
    both = days.merge(found, on="user")
    until_then = both["day"] + pd.Timedelta(days=1) if horizon_days == 1 else both["first"] + pd.Timedelta(days=horizon_days)
    both = both[(both["at"] >= both["first"]) & (both["at"] < until_then)]
    products = both.groupby(["first", "user"], sort=True)["product"].agg(list)
    moments = [(first.to_pydatetime(), user) for first, user in products.index]
    wanted = tuple(dict.fromkeys(sorted(names), 1.0) for names in products)
    return Labels(tuple(user for _, user in moments), tuple(at for at, _ in moments), wanted, tuple(() for _ in moments))


def impression_labels(events: pd.DataFrame, since: datetime, until: datetime) -> Labels:
    """One label per request (user and time of impressions) in [since, until) that was answered at all, relevance by the strongest answer."""
    columns = ["user_id", "event_time", "product_id", "request_id"]
    known = events[events["user_id"].notna() & events["product_id"].notna() & (events["event_time"] >= pd.Timestamp(since))]
    types = known["event_type"].astype(str)
    shown = known.loc[(types == "impression") & (known["event_time"] < pd.Timestamp(until)), columns]
    answers = known.loc[types.isin(list(OUTCOMES)) & (known["event_time"] < pd.Timestamp(until)), columns].rename(
        columns={"event_time": "answered_at"}
    )
    answers["relevance"] = types[answers.index].map(OUTCOMES)
    both = shown.merge(answers, on=["user_id", "product_id"], suffixes=("", "_of_answer"))
    later = both["answered_at"] - both["event_time"]
    elsewhere = both["request_id"].notna() & both["request_id_of_answer"].notna() & (both["request_id"] != both["request_id_of_answer"])
    both = both[(later >= pd.Timedelta(0)) & (later <= OUTCOME_WITHIN) & ~elsewhere]
    answered = both.groupby(["event_time", "user_id", "product_id"])["relevance"].max().reset_index()
    outcomes: dict[tuple[Any, str], dict[str, float]] = {}
    for at, user, product, relevance in zip(*(answered[name] for name in answered.columns), strict=True):
        outcomes.setdefault((at, str(user)), {})[str(product)] = float(relevance)
    requests = shown.merge(answered[["event_time", "user_id"]].drop_duplicates(), on=["event_time", "user_id"])
    by_request = requests.groupby(["event_time", "user_id"], sort=True)["product_id"].agg(list)
    moments = [(at, str(user)) for at, user in by_request.index]
    return Labels(
        tuple(user for _, user in moments),
        tuple(at.to_pydatetime() for at, _ in moments),
        tuple(outcomes[moment] for moment in moments),
        tuple(tuple(str(product) for product in products) for products in by_request),
    )


def labels_of(events: pd.DataFrame, kind: str, periods: Periods, settings: TrainingSettings) -> Labels:
    """All labels from the first cut to the end, sampled. Where there are impressions, half of them are requests, half days of purchases."""
    generator = np.random.default_rng(settings.seed)
    # Apart at the start of the test period, so that no label before it looks into it.
    spans = [(periods.cuts[0], periods.test), (periods.test, periods.end)]
    order = arrival_order(events)
    days = _by_time([purchase_labels(events, kind, *span, settings.label_horizon_days) for span in spans], order)
    requests = _by_time([impression_labels(events, *span) for span in spans], order)
    if not len(requests):
        return days.sample(settings.label_groups, generator)
    share = settings.label_groups // 2
    return _by_time([days.sample(share, generator), requests.sample(settings.label_groups - share, generator)], order)


def arrival_order(events: pd.DataFrame) -> dict[str, int]:
    """User -> place by their first event. Samples are drawn in this order, not by pseudonym: another key gives the same people."""
    return {str(user): place for place, user in enumerate(events["user_id"].dropna().unique())}


def _by_time(parts: Sequence[Labels], order: Mapping[str, int]) -> Labels:
    rows = [row for part in parts for row in zip(part.at, part.user_ids, part.relevance, part.shown, strict=True)]
    rows.sort(key=lambda row: (row[0], order[row[1]]))
    return Labels(tuple(r[1] for r in rows), tuple(r[0] for r in rows), tuple(r[2] for r in rows), tuple(r[3] for r in rows))
