"""What a simulated world is made from: its seed and sizes, the instant its history ends, and the knobs that make it drift.

A folder with a `demo.toml` (see docs/simulator.md) changes any of it; without one the defaults hold.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from feature_repo.errors import FeatureRepoError

STYLES = 4
"""Dimensions of style, in which a shopper's taste meets a product's."""
END = datetime(2025, 6, 30, tzinfo=UTC)
"""The instant at which the default history ends. A fixed one, so that the same seed gives the same tables on any day."""
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Drift:
    """What goes wrong in the last `days` of the history, or from now on in a live run. The defaults change nothing.

    `taste_shift`: share of each shopper's category tastes replaced by another shopper type's (0 to 1). `new_category`: everyone takes to
    the category that arrived last. `price_shock`: factor on every price. `broken_feed`: share of views, impressions and carts that
    never arrive. `dull_copy`: written copy stops persuading and starts to bore.
    """

    taste_shift: float = 0.0
    new_category: bool = False
    price_shock: float = 1.0
    broken_feed: float = 0.0
    dull_copy: bool = False
    days: int = 21


NAMED_DRIFTS: Mapping[str, Drift] = {
    "none": Drift(),
    "taste_shift": Drift(taste_shift=0.9),
    "new_category": Drift(new_category=True),
    "price_shock": Drift(price_shock=1.4),
    "broken_feed": Drift(broken_feed=0.7),
    "dull_copy": Drift(dull_copy=True),
}
"""What `--drift NAME` means."""


@dataclass(frozen=True)
class World:
    """Everything the simulator is told. `placebo` switches off every effect of which product or which copy is shown."""

    seed: int = 7
    shoppers: int = 20_000
    products_per_category: int = 108
    days: int = 181
    end: datetime = END
    sessions_per_shopper: float = 4.6
    placebo: bool = False
    drift: Drift = field(default_factory=Drift)

    def __post_init__(self) -> None:
        if self.shoppers < 20 or self.products_per_category < 5 or self.days < 80:
            raise ValueError("a world needs at least 20 shoppers, 5 products per category and 80 days")

    @property
    def end_us(self) -> int:
        return (self.end - _EPOCH) // _MICROSECOND

    @property
    def start_us(self) -> int:
        return self.end_us - timedelta(days=self.days) // _MICROSECOND

    @property
    def drift_us(self) -> int:
        """When the drift sets in."""
        return self.end_us - timedelta(days=self.drift.days) // _MICROSECOND

    def scaled(self, scale: float) -> "World":
        """The same world with fewer shoppers and a smaller catalogue, for tests and trials."""
        return replace(
            self,
            shoppers=max(20, round(self.shoppers * scale)),
            products_per_category=max(10, round(self.products_per_category * min(1.0, scale * 10))),
        )

    @classmethod
    def read(cls, folder: Path | None) -> "World":
        """The world of a folder's `demo.toml`, or the default one.

        Raises:
            FeatureRepoError: the file is no TOML, or names a field that does not exist or has the wrong type.
        """
        file = folder / "demo.toml" if folder else None
        if file is None or not file.exists():
            return cls()
        try:
            return _from(tomllib.loads(file.read_text(encoding="utf-8-sig")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError, ValueError) as error:
            raise FeatureRepoError(f"{file} can't be read: {error}. docs/simulator.md lists its fields.") from error


def _from(entries: dict[str, Any]) -> World:
    drift = entries.pop("drift", {})
    if isinstance(drift, str):
        if drift not in NAMED_DRIFTS:
            raise ValueError(f"drift '{drift}' is none of {', '.join(NAMED_DRIFTS)}")
        chosen = NAMED_DRIFTS[drift]
    else:
        chosen = Drift(**_checked(Drift, drift))
    end = entries.pop("end", END)
    end = datetime.fromisoformat(end) if isinstance(end, str) else end
    if not isinstance(end, datetime):
        raise ValueError("`end` must be an instant such as 2025-06-30T00:00:00Z")
    return World(**_checked(World, entries), end=end if end.tzinfo else end.replace(tzinfo=UTC), drift=chosen)


def _checked(record: type[World] | type[Drift], entries: dict[str, Any]) -> dict[str, Any]:
    known = {each.name: each for each in fields(record)}
    for name, value in entries.items():
        if name not in known:
            raise ValueError(f"no field '{name}'; there are {', '.join(known)}")
        kind = known[name].type
        number = isinstance(value, int | float) and not isinstance(value, bool)
        right = isinstance(value, bool) if kind is bool else number if kind is float else isinstance(value, int) and not isinstance(value, bool)
        if not right:
            raise ValueError(f"'{name}' must be {getattr(kind, '__name__', kind)}, not {value!r}")
        if number and value < 0:
            raise ValueError(f"'{name}' must not be negative")
    return entries
