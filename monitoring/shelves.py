"""What was recommended: one row per item shown, one row per decision, and measures of all shelves of a window together.

Everything here is frame -> frame or frame -> number, on the journal's frames.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from monitoring.windows import floor

ITEM_NUMBERS = ("score", "rank", "price", "propensity")
ITEM_LABELS = ("category", "surface", "arm")


def item_frame(decisions: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """One row per item shown: at, request_id, product_id, user_id, score, rank, price, propensity, category, surface, arm."""
    shown = items[items["returned"].astype(bool)]
    arms = decisions.drop_duplicates("request_id")[["request_id", "arm"]]
    frame = shown.merge(arms, on="request_id", how="left")
    for name in ITEM_NUMBERS:
        frame[name] = pd.to_numeric(frame[name], errors="coerce").astype(float)
    for name in ITEM_LABELS:
        frame[name] = frame[name].astype(object).where(frame[name].notna(), "(none)").astype(str)
    return frame[["at", "request_id", "product_id", "user_id", *ITEM_NUMBERS, *ITEM_LABELS]].reset_index(drop=True)


def decision_frame(decisions: pd.DataFrame, items: pd.DataFrame, contents: pd.DataFrame) -> pd.DataFrame:
    """One row per decision: at, request_id, kind, arm, latency_ms, degraded (bool), fallback (its first reason or "(none)"), shown (int),
    diversity (NaN below two items), price (mean of the shelf), template_share (share of its texts not written by the model; NaN without text)."""
    shelves = item_frame(decisions, items).groupby("request_id")
    reasons = [list(value) if isinstance(value, list | tuple | np.ndarray) else [] for value in decisions["degraded"]]
    frame = decisions[["at", "request_id", "kind"]].copy()
    frame["arm"] = decisions["arm"].astype(object).where(decisions["arm"].notna(), "(none)").astype(str)
    frame["latency_ms"] = pd.to_numeric(decisions["latency_ms"], errors="coerce").astype(float)
    frame["degraded"] = [bool(each) for each in reasons]
    frame["fallback"] = [str(each[0]) if each else "(none)" for each in reasons]
    request = frame["request_id"]
    frame["shown"] = request.map(shelves.size()).fillna(0).astype(int)
    frame["diversity"] = request.map(shelves["category"].agg(list_diversity)).astype(float)
    frame["price"] = request.map(shelves["price"].mean()).astype(float)
    template = contents["backend"].astype(str).eq("template").groupby(contents["request_id"]).mean()
    frame["template_share"] = request.map(template).astype(float)
    return frame.reset_index(drop=True)


def list_diversity(categories: pd.Series) -> float:
    """Share of the pairs of a list whose categories differ, in [0, 1]; NaN for a list of one.

    Intra-list diversity with the distance "another category": Ziegler et al., Improving recommendation lists through topic
    diversification, WWW 2005 (there as its complement, intra-list similarity).
    """
    n = len(categories)
    if n < 2:
        return float("nan")
    counts = categories.value_counts().to_numpy(float)
    return float(1 - (counts * (counts - 1)).sum() / (n * (n - 1)))


def coverage(shown: pd.Series, catalogue: int) -> float:
    """Share of the catalogue's products that were shown at least once; NaN for an empty catalogue.

    Catalogue coverage: Ge, Delgado-Battenfeld, Jannach, Beyond accuracy, RecSys 2010. It grows with the number of shelves.
    """
    return shown.nunique() / catalogue if catalogue else float("nan")


def concentration(shown: pd.Series, catalogue: int) -> float:
    """Gini coefficient of how often each product of the catalogue was shown: 0 all alike, 1 one product only; NaN when nothing was shown.

    As in Fleder, Hosanagar, Blockbuster culture's next rise or fall, Management Science 55 (2009); products never shown count with 0.
    """
    counts = np.sort(shown.value_counts().to_numpy(float))
    size = max(catalogue, len(counts))
    if not len(counts):
        return float("nan")
    padded = np.concatenate([np.zeros(size - len(counts)), counts])
    ranks = np.arange(1, size + 1)
    return float((2 * ranks - size - 1) @ padded / (size * padded.sum()))


@dataclass(frozen=True)
class Measure:
    """A number that describes all shelves of a window. `share` marks one that is a share of rows, judged as a rate.

    `judged` is off for one that says the same as another.
    """

    title: str
    of: Callable[[pd.DataFrame, pd.DataFrame, int], float]
    share: bool = False
    judged: bool = True


MEASURES: Mapping[str, Measure] = {
    "degraded": Measure("Share of degraded answers", lambda items, decisions, catalogue: _mean(decisions["degraded"]), share=True),
    "full": Measure("Answers given in full, of 100", lambda items, decisions, catalogue: 100 * (1 - _mean(decisions["degraded"])), judged=False),
    "empty": Measure("Share of empty answers", lambda items, decisions, catalogue: _mean(_shelves(decisions)["shown"] == 0), share=True),
    "template": Measure("Share of copy from templates", lambda items, decisions, catalogue: _mean(decisions["template_share"])),
    "length": Measure("Products per shelf", lambda items, decisions, catalogue: _mean(_shelves(decisions)["shown"])),
    "coverage": Measure("Catalogue coverage", lambda items, decisions, catalogue: coverage(items["product_id"], catalogue)),
    "concentration": Measure("Concentration (Gini)", lambda items, decisions, catalogue: concentration(items["product_id"], catalogue)),
    "diversity": Measure("Diversity of a shelf", lambda items, decisions, catalogue: _mean(decisions["diversity"])),
    "categories": Measure("Categories shown", lambda items, decisions, catalogue: float(items["category"].nunique())),
    "price": Measure("Mean price shown", lambda items, decisions, catalogue: _mean(items["price"])),
    "score": Measure("Mean score shown", lambda items, decisions, catalogue: _mean(items["score"])),
    "latency": Measure("Median time to answer, ms", lambda items, decisions, catalogue: _median(decisions["latency_ms"])),
}


def measures(items: pd.DataFrame, decisions: pd.DataFrame, catalogue: int) -> dict[str, float]:
    """Every measure that has a value. `items`, `decisions`: of `item_frame` and `decision_frame`; `catalogue`: number of products for sale."""
    values = {name: measure.of(items, decisions, catalogue) for name, measure in MEASURES.items()}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def _shelves(decisions: pd.DataFrame) -> pd.DataFrame:
    return decisions[decisions["kind"].isin(["recommendations", "feed"])]


def _mean(values: pd.Series) -> float:
    values = values.dropna()
    return float(values.mean()) if len(values) else float("nan")


def _median(values: pd.Series) -> float:
    values = values.dropna()
    return float(values.median()) if len(values) else float("nan")


def features_of(values: pd.Series) -> pd.DataFrame:
    """A series of objects (name -> value) as a frame of its scalars: numbers and flags as float64, short texts as str.

    Arrays and nested objects are left out, a name that an object lacks is missing.
    """
    frame = pd.DataFrame([value or {} for value in values], index=values.index)
    for name in list(frame.columns):
        if frame[name].dtype != object:
            frame[name] = frame[name].astype(float)
            continue
        kinds = set(frame[name].dropna().map(type))
        if kinds & {list, tuple, dict, np.ndarray}:
            del frame[name]
        elif str in kinds:
            frame[name] = frame[name].map(lambda value: value if isinstance(value, str) else None)
        else:
            frame[name] = pd.to_numeric(frame[name], errors="coerce").astype(float)
    return frame


def user_frame(decisions: pd.DataFrame, hours: int) -> pd.DataFrame:
    """One row per user and window of `hours`: the user features of their last decision in it, behind at, user_id."""
    windows = decisions["at"].map(lambda at: floor(at, hours)).rename("window")
    last = decisions.assign(window=windows).sort_values("at", kind="stable").drop_duplicates(["user_id", "window"], keep="last")
    last = last.reset_index(drop=True)
    return pd.concat([last[["at", "user_id"]], features_of(last["user_features"])], axis=1)


def pair_frame(items: pd.DataFrame) -> pd.DataFrame:
    """One row per item shown: the features it was ranked by, behind at, user_id."""
    shown = items[items["returned"].astype(bool)].reset_index(drop=True)
    return pd.concat([shown[["at", "user_id"]], features_of(shown["features"])], axis=1)
