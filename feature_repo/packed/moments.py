"""Times as a packed row carries them: eight bytes, big-endian microseconds since 1970 plus 2**63, so that bytes compare as times do."""

from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

_BIAS = 1 << 63
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def times(raw: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Event times (microseconds since 1970) of rows whose first eight bytes at least are there, uint8[n, 8 or more]."""
    return (np.ascontiguousarray(raw[:, :8]).view(">u8")[:, 0].astype(np.uint64) ^ np.uint64(_BIAS)).view(np.int64)


def stamp(moment: datetime | None) -> bytes:
    """A time as a row carries it. A naive one is UTC, as everywhere in Feast."""
    return b"\0" * 8 if moment is None else (microseconds(moment) + _BIAS).to_bytes(8, "big")


def stamps(moments: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Times (microseconds, int64[n]) as rows carry them, uint8[n, 8]."""
    return np.ascontiguousarray((moments.view(np.uint64) ^ np.uint64(_BIAS)).astype(">u8")).view(np.uint8).reshape(-1, 8)


def moment_of(row: bytes) -> datetime:
    """Event time of a row."""
    return EPOCH + timedelta(microseconds=int.from_bytes(row[:8], "big") - _BIAS)


def microseconds(moment: datetime) -> int:
    """Since 1970; exact."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - EPOCH) // _MICROSECOND


def alive(at: NDArray[np.int64], ttl: timedelta | None, now: datetime) -> NDArray[np.bool_]:
    """Which event times (microseconds since 1970) a time to live leaves, bool[n]; None or zero: all."""
    if not ttl:
        return np.ones(len(at), np.bool_)
    return at >= microseconds(now - ttl)
