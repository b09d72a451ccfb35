"""What a place that keeps packed rows can do. SQLite (`sqlite_rows.py`) and Redis (`redis_rows.py`) can; one suite of tests holds both to it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

Found = list[bytes | None]


@dataclass(frozen=True)
class Changes:
    """Entity keys written since a position; None if that is not known any more, and everything has to be read again. `upto`: the new position."""

    keys: list[bytes] | None
    upto: str


class Rows(Protocol):
    """Rows by view and entity key. A row carries its own times and schema (`layout.py`), which is what a write is judged by.

    A write replaces a row of another schema; a row of the same one only if the new row's event time is later, or the same and its created time is not
    earlier, or not given. So an older value never takes the place of a newer one, and whoever corrects a value can. Safe with several writers.
    """

    def declare(self, view: str) -> None:
        """Make room for a view, if there is none."""

    def write(self, view: str, keys: Sequence[bytes], rows: Sequence[bytes]) -> None:
        """Write rows; of two with the same key the same rule decides. The view must have been declared."""

    def read(self, wanted: Sequence[tuple[str, Sequence[bytes]]]) -> list[Found]:
        """For each view and its keys the rows, in order; None where there is none."""

    def scan(self, view: str, size: int = 20_000) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """Every key and row of a view, in runs of about `size`. What is written meanwhile may be missing: take the position before."""

    def keys(self, view: str, size: int = 50_000) -> Iterator[list[bytes]]:
        """Every key of a view, in runs of about `size`."""

    def position(self, view: str) -> str:
        """Where `changes` begins for somebody who reads everything now."""

    def changes(self, view: str, since: str) -> Changes:
        """What was written since `since`, which `position` or an earlier call gave."""

    def drop(self, view: str) -> None:
        """Forget a view."""

    def clear(self) -> None:
        """Forget everything."""

    def settle(self) -> None:
        """The first writes of a new place are whole: from now on others read it."""

    def close(self) -> None:
        """End connections of this thread."""
