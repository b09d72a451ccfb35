"""Windows of the shop's time, and which period each one is compared with."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Window:
    """A half-open period [start, end) in UTC."""

    start: datetime
    end: datetime

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC"

    def overlaps(self, other: "Window") -> bool:
        return self.start < other.end and other.start < self.end


def floor(moment: datetime, hours: int) -> datetime:
    """Start of the window that `moment` lies in; windows are counted from 1970-01-01 00:00 UTC."""
    length = timedelta(hours=hours)
    return EPOCH + (moment - EPOCH) // length * length


def between(first: datetime, now: datetime, hours: int) -> Iterator[Window]:
    """Every window from the one that holds `first` to the one that holds `now`, which is still open."""
    length = timedelta(hours=hours)
    start = floor(first, hours)
    while start <= now:
        yield Window(start, start + length)
        start += length


def reference_of(window: Window, anchor: datetime, days: int, mode: Literal["first", "preceding"]) -> Window:
    """The period that `window` is compared with: the `days` from `anchor` on, or the `days` before the window."""
    length = timedelta(days=days)
    return Window(anchor, anchor + length) if mode == "first" else Window(window.start - length, window.start)
