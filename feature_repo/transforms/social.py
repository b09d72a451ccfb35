"""What the people a user follows and the other members of their groups did, as known at the start of a UTC day."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from feature_repo.declarations import HALF_LIFE, VIEW_SHARE_OF_TIES
from feature_repo.workbench import AHEAD_DAYS, DAY_US, Workbench

Floats = NDArray[np.float32]

SOCIAL_KEYS = 256
"""Interests that the follow and group signals cover: the ones most acted on in the shop."""
TOP_KEYS = 16
"""Strongest interests by follow and group that enter a user's candidates for the K kept."""


@dataclass(frozen=True)
class Ties:
    """Who is tied to whom on one day, as sparse matrices of ones."""

    follows: csr_matrix  # [U, U]
    members: csr_matrix  # [U, G]

    @property
    def comembers(self) -> Floats:
        """float32[U]: other members of a user's groups."""
        sizes = np.asarray(self.members.sum(axis=0)).ravel() - 1
        return np.asarray(self.members @ np.maximum(sizes, 0), np.float32)

    def of_followed(self, users: NDArray[np.int32], values: Floats) -> Floats:
        """Sum over the people that each of `users` follows, [len(users), C]."""
        return np.asarray(self.follows[users] @ values, np.float32)

    def per_comember(self, users: NDArray[np.int32], values: Floats) -> Floats:
        """Mean over the other members of the groups of `users`, [len(users), C]."""
        mine = self.members[users]
        total = mine @ np.asarray(self.members.T @ values) - np.asarray(mine.sum(axis=1)) * values[users]
        return np.asarray(total / np.maximum(self.comembers[users], 1)[:, None], np.float32)


def social(bench: Workbench) -> None:
    """Make tables `social` (user_social) and `social_keys` (user_id, day, key, follow, group): one row per user and UTC day of a moment, then
    one as of the build's day, then what changes in the days ahead as windows empty. Acts of a day are known from the next day on; decay goes
    on by days.
    """
    made = edges(bench)
    last = bench.as_of_us // DAY_US
    active = bench.arrays(f"select distinct user_id, least(at_us // {DAY_US}, {last}) as day from moments order by day, user_id")
    keys = _keys(bench)
    acts = _daily(bench, keys)
    users = int(bench.frame("select count(*) as n from users")["n"][0])
    state = _State(users, len(keys))
    rows: list[pd.DataFrame] = []
    tops: list[pd.DataFrame] = []
    ties = ties_on(last, made, users)
    static = bool((made["since_day"] <= int(np.min(active["day"], initial=last))).all())
    days, starts = np.unique(active["day"], return_index=True)
    ends = np.r_[starts, len(active["day"])][1:]
    for day, start, end in zip(days, starts, ends, strict=True):
        who = np.asarray(active["user_id"][start:end])
        ties = ties if static else ties_on(int(day), made, users)
        if len(made):
            state.advance(int(day), acts)
        rows.append(_scalars(who, int(day), ties, state))
        if len(made) and len(keys):
            tops.append(_top(who, int(day), ties, state))
    rows = rows or [_scalars(np.zeros(0, np.int64), last, ties, state)]  # a shop that knows nobody
    if len(made):
        rows += _ahead(made, users, last, state, acts)
    bench.add("social", pd.concat(rows, ignore_index=True))
    empty = pd.DataFrame({"user_id": [], "day": [], "key": [], "follow": [], "member": []})
    empty = empty.astype({"user_id": "int32", "day": "int64", "key": "int32"})
    bench.add("social_keys", pd.concat(tops, ignore_index=True) if tops else empty)


def _ahead(made: pd.DataFrame, users: int, last: int, state: "_State", acts: dict[str, dict[str, NDArray[Any]]]) -> list[pd.DataFrame]:
    """Rows of tied users for each day after `last` on which a number of theirs changes."""
    who = np.sort(made["user_id"].unique()).astype(np.int32)
    before = _scalars(who, last, ties_on(last, made, users), state)
    found = []
    for day in range(last + 1, last + AHEAD_DAYS + 1):
        state.advance(day, acts)
        now = _scalars(who, day, ties_on(day, made, users), state)
        changed = (now.drop(columns="at_us").to_numpy() != before.drop(columns="at_us").to_numpy()).any(axis=1)
        found.append(now[changed])
        before = now
    return found


class _State:
    """Acts per user, summed up to the start of a day: by interest with decay, and in windows of whole days."""

    def __init__(self, users: int, keys: int) -> None:
        self.day = -1
        self.decayed = np.zeros((users, keys), np.float32)
        self.windows = {name: np.zeros(users, np.float32) for name in ("purchases_7d", "purchases_30d", "views_7d")}

    def advance(self, day: int, acts: dict[str, dict[str, NDArray[Any]]]) -> None:
        by_key, totals = acts["by_key"], acts["totals"]
        factor = 2.0 ** (-(day - self.day) / HALF_LIFE.days) if self.day >= 0 else 1.0
        self.decayed *= np.float32(factor)
        low, high = np.searchsorted(by_key["day"], [self.day if self.day >= 0 else -(2**40), day])
        if high > low:
            ages = day - by_key["day"][low:high] - 1
            where = (by_key["user_id"][low:high], by_key["key"][low:high])
            np.add.at(self.decayed, where, by_key["weight"][low:high] * 2.0 ** (-ages / HALF_LIFE.days))
        for name, column, width in (("purchases_7d", "purchases", 7), ("purchases_30d", "purchases", 30), ("views_7d", "views", 7)):
            low, high = np.searchsorted(totals["day"], [day - width, day])
            self.windows[name] = np.bincount(totals["user_id"][low:high], totals[column][low:high], minlength=len(self.decayed)).astype(np.float32)
        self.day = day


def _scalars(who: NDArray[np.int32], day: int, ties: Ties, state: _State) -> pd.DataFrame:
    windows = np.stack([state.windows[name] for name in ("purchases_7d", "purchases_30d", "views_7d")], axis=1)
    followed = np.asarray(ties.follows[who].sum(axis=1), np.float32).ravel()
    of_followed = ties.of_followed(who, windows) / np.maximum(followed, 1)[:, None]
    of_groups = ties.per_comember(who, windows[:, :2])
    return pd.DataFrame(
        {
            "user_id": who, "at_us": np.full(len(who), day * DAY_US), "user_followed": followed,
            "user_groups": np.asarray(ties.members[who].sum(axis=1), np.float32).ravel(), "user_comembers": ties.comembers[who],
            "user_follow_purchases_7d": of_followed[:, 0], "user_follow_purchases_30d": of_followed[:, 1], "user_follow_views_7d": of_followed[:, 2],
            "user_group_purchases_7d": of_groups[:, 0], "user_group_purchases_30d": of_groups[:, 1],
        }
    )  # fmt: skip


def _top(who: NDArray[np.int32], day: int, ties: Ties, state: _State) -> pd.DataFrame:
    """The strongest interests of each user by follow + group, in long form."""
    follow = ties.of_followed(who, state.decayed)
    member = ties.per_comember(who, state.decayed)
    width = min(TOP_KEYS, follow.shape[1])
    best = np.argpartition(-(follow + member), width - 1, axis=1)[:, :width]
    at = np.arange(len(who))[:, None]
    found = pd.DataFrame(
        {
            "user_id": np.repeat(who, width), "day": np.full(best.size, day, np.int64), "key": state_keys(best),
            "follow": follow[at, best].ravel(), "member": member[at, best].ravel(),
        }
    )  # fmt: skip
    return found[(found["follow"] + found["member"]) > 1e-4]


def state_keys(columns: NDArray[np.int64]) -> NDArray[np.int32]:
    """Columns of the state are codes of the table `keys`, which numbers the most acted on first."""
    return columns.ravel().astype(np.int32)


def _keys(bench: Workbench) -> NDArray[Any]:
    """The first interests of table `keys` (made here): every category and brand, most acted on first."""
    bench.sql(
        """create or replace table keys as
        with every as (
            select 'category:' || category as name from acts where category is not null and event_type <> 'impression'
            union all select 'brand:' || brand from acts where brand is not null and event_type <> 'impression'
            union all select 'category:' || product_category from offers where product_category <> ''
            union all select 'brand:' || product_brand from offers where product_brand <> ''
            union all select distinct subject_kind || ':' || subject from _preferences where subject_kind in ('category', 'brand')),
        counted as (select name, count(*) as n from every group by 1)
        select cast(row_number() over (order by n desc, name) - 1 as int) as key, name from counted"""
    )
    return np.asarray(bench.arrays(f"select key from keys where key < {SOCIAL_KEYS} order by key")["key"])


def _daily(bench: Workbench, keys: NDArray[Any]) -> dict[str, dict[str, NDArray[Any]]]:
    """Acts that ties pass on, per UTC day on which they became known."""
    chosen = f"""select user_id, known_us // {DAY_US} as day, category, brand, event_type,
                 case when event_type = 'purchase' then 1.0 else {VIEW_SHARE_OF_TIES} end as weight
                 from acts where user_id is not null and event_type in ('purchase', 'view')"""
    by_key = bench.arrays(
        f"""with chosen as ({chosen}), long as (
            select user_id, day, 'category:' || category as name, weight from chosen where category is not null
            union all select user_id, day, 'brand:' || brand, weight from chosen where brand is not null)
        select user_id, day, key, cast(sum(weight) as float) as weight
        from long join keys using (name) where key < {len(keys)} group by all order by day, user_id, key"""
    )
    totals = bench.arrays(
        f"""with chosen as ({chosen}) select user_id, day, sum(cast(event_type = 'purchase' as int))::float as purchases,
        sum(cast(event_type = 'view' as int))::float as views from chosen group by all order by day, user_id"""
    )
    return {"by_key": {k: np.asarray(v) for k, v in by_key.items()}, "totals": {k: np.asarray(v) for k, v in totals.items()}}


def edges(bench: Workbench) -> pd.DataFrame:
    """kind, user, target as codes; `since_day`: the first whole day after the tie was made (undated: always)."""
    ties = bench.tables["ties"]
    bench.add("_ties", ties.assign(since_us=ties["since"].dt.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64)).drop(columns="since"))
    return bench.frame(
        f"""select t.kind, u.user_id, case when t.kind = 'follow' then f.user_id end as followed,
               case when t.kind = 'group' then dense_rank() over (partition by t.kind order by t.target) - 1 end as member_of,
               case when t.since_us > 0 then t.since_us // {DAY_US} + 1 else 0 end as since_day
        from _ties t join users u on u.name = t.user_id left join users f on f.name = t.target and t.kind = 'follow'"""
    )


def ties_on(day: int, made: pd.DataFrame, users: int) -> Ties:
    """Who is tied to whom at the start of `day`, of the ties `edges` made."""
    here = made[made["since_day"] <= day]
    follows, groups = here[here["kind"] == "follow"], here[here["kind"] == "group"]
    count = int(made["member_of"].max()) + 1 if made["member_of"].notna().any() else 1
    return Ties(
        csr_matrix((np.ones(len(follows), np.float32), (follows["user_id"], follows["followed"].astype(int))), (users, users)),
        csr_matrix((np.ones(len(groups), np.float32), (groups["user_id"], groups["member_of"].astype(int))), (users, count)),
    )
