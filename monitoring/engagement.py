"""How people answered what they were shown: one row per showing, and rates by channel, tone, aspect and version.

A showing is an impression event, or, where a channel reports no impressions, an e-mail that the journal says was written for a
campaign. Its answers are the click, purchase, dismiss and unsubscribe events that name the same request (and product). Everything
here is frame -> frame.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

OUTCOMES = {"click": "clicked", "purchase": "purchased", "dismiss": "dismissed", "unsubscribe": "unsubscribed"}
"""Event type that answers a showing -> column of the showing."""

DIMENSIONS = ("channel", "tone", "aspect", "writer", "ranker", "backend", "arm")
NONE = "(none)"
"""What a dimension holds where nothing is known, such as the tone of a shelf without copy."""

SHOWING_COLUMNS = ["at", "request_id", "product_id", "user_id", *DIMENSIONS, *OUTCOMES.values()]
CAMPAIGN = "email"
"""Kind of the decisions whose journaled content counts as shown without an impression event."""


def showings(events: pd.DataFrame, decisions: pd.DataFrame, contents: pd.DataFrame) -> pd.DataFrame:
    """One row per request, product and user that was shown, with how it was answered (bool columns).

    `events`, `decisions`, `contents`: as the events table and the journal have them; each may be empty. Answers that came before the
    showing, or that name no request, are not counted. Tone and aspect come from the impression's context (what was really shown),
    else from the journaled content of that request and product.
    """
    shown = _impressions(events)
    shown = pd.concat([shown, _campaign_mails(decisions, contents, shown)], ignore_index=True)
    if shown.empty:
        return pd.DataFrame({name: pd.Series(dtype=bool if name in OUTCOMES.values() else object) for name in SHOWING_COLUMNS})
    shown = _with_journal(shown, decisions, contents)
    for event_type, column in OUTCOMES.items():
        shown[column] = _answered(shown, events[events["event_type"] == event_type])
    for name in DIMENSIONS:
        shown[name] = shown[name].astype(object).where(shown[name].notna(), NONE).astype(str)
    return shown[SHOWING_COLUMNS].sort_values(["at", "request_id", "product_id"], kind="stable").reset_index(drop=True)


def _impressions(events: pd.DataFrame) -> pd.DataFrame:
    shown = events[events["event_type"] == "impression"]
    contexts = [_context(value) for value in shown["context"]]
    frame = pd.DataFrame(
        {
            "at": shown["event_time"],
            "request_id": shown["request_id"].where(shown["request_id"].notna(), shown["event_id"]),
            "product_id": shown["product_id"],
            "user_id": shown["user_id"],
            "channel": shown["channel"],
        }
    )
    frame["tone"] = [context.get("tone") for context in contexts]
    frame["aspect"] = [context.get("aspect") for context in contexts]
    return frame.sort_values("at", kind="stable").drop_duplicates(["request_id", "product_id", "user_id"])


def _campaign_mails(decisions: pd.DataFrame, contents: pd.DataFrame, shown: pd.DataFrame) -> pd.DataFrame:
    campaign = set(decisions.loc[decisions["kind"] == CAMPAIGN, "request_id"]) - set(shown["request_id"])
    mails = contents[contents["request_id"].isin(campaign)].drop_duplicates(["request_id", "product_id", "user_id"])
    frame = mails[["at", "request_id", "product_id", "user_id", "channel"]].copy()
    return frame.assign(tone=None, aspect=None)


def _with_journal(shown: pd.DataFrame, decisions: pd.DataFrame, contents: pd.DataFrame) -> pd.DataFrame:
    """Adds what the journal knows of a showing; a showing of before the platform keeps what its event says."""
    copy = contents.drop_duplicates(["request_id", "product_id"])
    copy = pd.DataFrame(
        {
            "request_id": copy["request_id"],
            "product_id": copy["product_id"],
            "copy_channel": copy["channel"],
            "copy_tone": copy["tone"],
            "copy_aspect": [next(iter(_items(value)), None) for value in copy["aspects"]],
            "backend": copy["backend"],
            "writer": [version(value, "writer") for value in copy["models"]],
        }
    )
    request = decisions.drop_duplicates("request_id")
    request = pd.DataFrame(
        {"request_id": request["request_id"], "ranker": [version(value, "ranker") for value in request["models"]], "arm": request["arm"]}
    )
    joined = shown.merge(copy, on=["request_id", "product_id"], how="left").merge(request, on="request_id", how="left")
    for name in ("channel", "tone", "aspect"):
        joined[name] = joined[name].astype(object).where(joined[name].notna(), joined[f"copy_{name}"])
    return joined


def _answered(shown: pd.DataFrame, answers: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """bool[n_shown]: whether an answer names the showing's request and product (a request alone where it names no product)."""
    answers = answers[answers["request_id"].notna()]
    last_of_pair = answers.dropna(subset=["product_id"]).groupby(["request_id", "product_id"])["event_time"].max()
    last_of_request = answers[answers["product_id"].isna()].groupby("request_id")["event_time"].max()
    by_pair = shown.merge(last_of_pair.rename("last").reset_index(), on=["request_id", "product_id"], how="left")["last"]
    by_request = shown.merge(last_of_request.rename("last").reset_index(), on="request_id", how="left")["last"]
    at = shown["at"].reset_index(drop=True)
    return ((by_pair >= at) | (by_request >= at)).to_numpy(dtype=bool)


def version(models: Any, name: str) -> str | None:
    """Version of the model `name` in a journaled `models` object, such as {"writer": "3"} or {"storyshelf-writer": {"version": 3}}."""
    models = _context(models)
    value = models.get(name, models.get(f"storyshelf-{name}"))
    if isinstance(value, dict):
        value = value.get("version")
    return None if value is None else str(value)


def _context(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        value = json.loads(value)
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | np.ndarray) else []


def rates(shown: pd.DataFrame, outcome: str, by: str | None = None, confidence: float = 0.99) -> pd.DataFrame:
    """One row per group of `by` (or one row in all): group, shown, answered, rate, lower, upper (Wilson interval).

    Groups are sorted by name. No showings: no rows.
    """
    groups = shown[by] if by else pd.Series("all", index=shown.index, dtype=object)
    counted = shown[outcome].groupby(groups).agg(["size", "sum"])
    lower, upper = wilson(counted["sum"].to_numpy(float), counted["size"].to_numpy(float), confidence)
    return pd.DataFrame(
        {
            "group": counted.index.astype(str),
            "shown": counted["size"].to_numpy(int),
            "answered": counted["sum"].to_numpy(int),
            "rate": (counted["sum"] / counted["size"]).to_numpy(float),
            "lower": lower,
            "upper": upper,
        }
    )


Floats = np.ndarray[Any, np.dtype[np.float64]]


def wilson(successes: Floats, trials: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Score interval of a proportion, element by element.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927) 209-212.
    """
    z = float(norm.ppf(0.5 + confidence / 2))
    p = successes / trials
    centre = (p + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2))
    return np.where(successes == 0, 0.0, centre - half), np.where(successes == trials, 1.0, centre + half)


def difference(current: Sequence[int], reference: Sequence[int], confidence: float) -> tuple[float, float]:
    """Interval of current rate minus reference rate, each given as (answered, shown).

    R. G. Newcombe, Interval estimation for the difference between independent proportions, Statistics in Medicine 17 (1998) 873-890,
    method 10 (without continuity correction).
    """
    p1, p2 = current[0] / current[1], reference[0] / reference[1]
    (lower1, lower2), (upper1, upper2) = wilson(np.array([current[0], reference[0]], float), np.array([current[1], reference[1]], float), confidence)
    gap = p1 - p2
    below = np.sqrt((p1 - lower1) ** 2 + (upper2 - p2) ** 2)
    above = np.sqrt((upper1 - p1) ** 2 + (p2 - lower2) ** 2)
    return float(gap - below), float(gap + above)
