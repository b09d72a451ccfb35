"""Journal and event frames of an invented shop, for the tests of monitoring: seeded, and shifted from a given day on if asked."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from feature_repo.events import EVENTS, TABLES
from feature_repo.home import ShopHome
from feature_repo.ingest import STORED
from feature_repo.journal import CONTENT_COLUMNS, DECISION_COLUMNS, ITEM_COLUMNS, Content, Decision, Item, Journal
from feature_repo.settings import Settings
from monitoring.refresh import Inputs

START = datetime(2025, 3, 3, tzinfo=UTC)
CATEGORIES = ("Phones", "Tablets", "Laptops", "Kettles", "Chairs")
TONES = ("plain", "warm", "playful", "expert")
RATE = {"plain": 0.08, "warm": 0.12, "playful": 0.06, "expert": 0.1}


def home(folder: Path) -> ShopHome:
    return ShopHome.create(Settings(home=folder), "invented")


def inputs(days: int, per_day: int = 150, shelf: int = 4, shift_on: int | None = None, seed: int = 0) -> Inputs:
    """`days` days of `per_day` decisions of `shelf` items, each shown and answered. From day `shift_on`: dearer shelves of one category, older
    users, a feature that went missing, half the answers degraded, and copy nobody clicks."""
    draw = np.random.default_rng(seed)
    decisions, items, contents, events = [], [], [], []
    for number in range(days * per_day):
        day = number // per_day
        shifted = shift_on is not None and day >= shift_on
        at = START + timedelta(days=day, seconds=float(draw.integers(0, 86_000)))
        request, user, tone = f"r{number}", f"u_{draw.integers(0, 400)}", str(draw.choice(TONES))
        models = {"ranker": "1" if day < 4 else "2", "writer": "1", "retriever": "1"}
        decisions.append(
            {
                "request_id": request, "at": at, "kind": "feed", "surface": "home", "user_id": user, "n": shelf,
                "user_features": {"user_views_7d": float(draw.poisson(6 if not shifted else 20)), "user_spend_90d": float(draw.lognormal(3, 1)),
                                  "user_age_days": None if shifted and draw.random() < 0.6 else float(draw.integers(1, 900)), "user_keys": ["a"]},
                "product_matrix_version": "1", "candidate_ids": [], "models": models, "policy": "default",
                "degraded": ["no_user_row"] if draw.random() < (0.5 if shifted else 0.03) else [], "latency_ms": float(draw.gamma(5, 2)),
                "arm": str(draw.choice(["full", "popular"])), "sample_share": 0.0,
            }
        )  # fmt: skip
        for rank in range(1, shelf + 1):
            category = "Phones" if shifted else str(draw.choice(CATEGORIES, p=[0.3, 0.2, 0.2, 0.2, 0.1]))
            product = f"{category}-{draw.integers(0, 40)}"
            price = float(draw.lognormal(4, 0.5)) * (3 if shifted else 1)
            items.append(
                {
                    "request_id": request, "at": at, "user_id": user, "surface": "home", "product_id": product, "rank": rank,
                    "score": float(draw.normal(2 - 0.2 * rank, 1)), "returned": True, "propensity": 1.0,
                    "features": {"product_price": price, "match_category": float(draw.random())}, "category": category, "price": price, "reasons": [],
                }
            )  # fmt: skip
            aspect = str(draw.choice(["value", "design"]))
            contents.append(
                {
                    "request_id": request, "at": at, "user_id": user, "product_id": product, "channel": "title", "language": "en", "tone": tone,
                    "aspects": [aspect], "text": "…", "subject": None, "body": None, "backend": "template" if draw.random() < 0.1 else "writer",
                    "facts": [], "models": models,
                }
            )  # fmt: skip
            shown = {"user_id": user, "product_id": product, "request_id": request, "channel": str(draw.choice(["site", "push"], p=[0.8, 0.2]))}
            events.append(shown | {"event_type": "impression", "event_time": at, "context": json.dumps({"tone": tone, "aspect": aspect})})
            if draw.random() < RATE[tone] * (0.2 if shifted else 1):
                events.append(shown | {"event_type": "click", "event_time": at + timedelta(seconds=20)})
                if draw.random() < 0.3:
                    events.append(shown | {"event_type": "purchase", "event_time": at + timedelta(seconds=90), "price": price, "quantity": 1.0})
            elif draw.random() < 0.01:
                events.append(shown | {"event_type": "dismiss", "event_time": at + timedelta(seconds=30)})
    return Inputs(
        _frame(decisions, DECISION_COLUMNS), _frame(items, ITEM_COLUMNS), _frame(contents, CONTENT_COLUMNS), events_frame(events), catalogue=200
    )


def _frame(rows: Sequence[Mapping[str, object]], columns: list[str], **defaults: object) -> pd.DataFrame:
    frame = pd.DataFrame([defaults | dict(row) for row in rows], columns=columns)
    frame["at"] = pd.to_datetime(frame["at"], utc=True).astype("datetime64[us, UTC]")
    return frame


def decision_frame(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Decisions of which the rows say what matters."""
    return _frame(rows, DECISION_COLUMNS, at=START, kind="feed", user_id="u_1", models={}, degraded=[], user_features={}, latency_ms=1.0)


def item_frame(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Items of which the rows say what matters."""
    return _frame(rows, ITEM_COLUMNS, at=START, user_id="u_1", surface="home", rank=1, score=0.0, propensity=1.0, features={}, category="x")


def content_frame(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Contents of which the rows say what matters."""
    return _frame(rows, CONTENT_COLUMNS, at=START, user_id="u_1", models={}, aspects=[], backend="writer")


def events_frame(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Rows with some of the columns as a full events table."""
    frame = pd.DataFrame(rows, columns=EVENTS.names, dtype=object)
    frame["event_id"] = [f"e{number}" for number in range(len(frame))]
    frame["event_time"] = pd.to_datetime(frame["event_time"], utc=True)
    frame["arrived_at"] = frame["event_time"]
    frame["sequence"] = range(len(frame))
    return frame.astype({column.name: column.pandas_dtype for column in EVENTS.columns})


def without_journal(made: Inputs) -> Inputs:
    return Inputs(made.decisions.iloc[:0], made.items.iloc[:0], made.contents.iloc[:0], made.events, made.catalogue)


def write(home: ShopHome, made: Inputs, now: datetime) -> None:
    """The shop's tables as ingestion stores them (products by name, the events of `made`), its journal, and its clock at `now`."""
    home.tables.mkdir(parents=True)
    frames = {name: TABLES[name].empty() for name in STORED}
    names = sorted({*made.items["product_id"], *made.events["product_id"].dropna()})
    products = pd.DataFrame({"product_id": names}).reindex(columns=frames["products"].columns)
    frames |= {"products": products.astype(frames["products"].dtypes.to_dict()), "events": made.events}
    for name in STORED:
        frames[name].to_parquet(home.tables / f"{name}.parquet", index=False)
    journal = Journal(home.journal)
    items, contents = made.items.groupby("request_id"), made.contents.groupby("request_id")
    for row in made.decisions.to_dict("records"):
        own = items.get_group(row["request_id"]).to_dict("records")
        texts = contents.get_group(row["request_id"]).to_dict("records")
        row |= {"at": row["at"].to_pydatetime(), "degraded": tuple(row["degraded"])}
        journal.record(
            Decision(
                **{str(name): value for name, value in row.items()},
                feature_names=tuple(own[0]["features"]),
                items=tuple(Item(**_fields(each, Item) | {"features": tuple(each["features"].values()), "reasons": ()}) for each in own),
                contents=tuple(Content(**_fields(each, Content)) for each in texts),
            )
        )
    journal.close()
    home.write_manifest({"clock_offset_s": (datetime.now(UTC) - now).total_seconds()})


def _fields(row: Mapping[str, Any], record: Any) -> dict[str, Any]:
    return {name: row[name] for name in record.__dataclass_fields__}
