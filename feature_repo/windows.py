"""Windowed features declared as data."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

Measure = Literal["count", "sum", "mean", "first", "last", "days", "distinct"]


@dataclass(frozen=True)
class Windowed:
    """One windowed feature. A window is whole UTC buckets plus the current one; None means ever.

    `column` names a column of the enriched events (`amount`, `price`, `rating`, …) for sum, mean and distinct; `where` keeps events whose
    column or context entry has that value; `days` counts distinct UTC days; `first` and `last` are unix seconds of event times.
    """

    name: str
    entity: Literal["user_id", "product_id"]
    event_types: tuple[str, ...]
    measure: Measure
    window: timedelta | None
    description: str
    bucket: Literal["hour", "day"] = "day"
    column: str = ""
    where: tuple[str, str] | None = None

    def tags(self) -> dict[str, str]:
        """The declaration as Feast field tags."""
        window = "ever" if self.window is None else f"{self.window.days}d"
        found = {"measure": self.measure, "events": ",".join(self.event_types), "window": window, "bucket": self.bucket}
        if self.column:
            found["column"] = self.column
        if self.where:
            found["where"] = "=".join(self.where)
        return found


@dataclass(frozen=True)
class Ratio:
    """One windowed feature over another; missing where the lower one is 0."""

    name: str
    over: str
    under: str
    description: str

    def tags(self) -> dict[str, str]:
        """The declaration as Feast field tags."""
        return {"measure": "ratio", "over": self.over, "under": self.under}
