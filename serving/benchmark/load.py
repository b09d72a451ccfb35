"""A small load generator: one process, keep-alive connections, loopback. Bounded in requests and in time.

Two ways to ask. `closed`: each connection asks again as soon as it was answered; the rate that comes out is the one at which a service saturates.
`open_`: requests are due at random moments at a given rate (Poisson), whatever became of those before; a latency counts from the moment the request
was due and not from when it could be sent, so that a service which stands still is not let off (no coordinated omission).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

LATE_S = 15.0
"""Seconds that an answer may take after the last request was due; then it counts as not answered."""

Body = Callable[[int], bytes]
"""Body of the n-th request."""


@dataclass
class Outcome:
    """What came back. `seconds`: latencies of answers with status 200; `cpu_share`: of one core, what this process took."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    elapsed: float = 0.0
    cpu_share: float = 0.0

    @property
    def rate(self) -> float:
        """Answers with status 200 a second."""
        return len(self.seconds) / self.elapsed if self.elapsed else 0.0

    def percentile_ms(self, share: float) -> float:
        return float(np.percentile(self.seconds, share)) * 1000 if self.seconds else float("nan")


class _Connection(asyncio.Protocol):
    """One keep-alive connection: a request out, its answer in."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[int] | None = None
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = self._received.find(b"\r\n\r\n")
        if head < 0 or self._waiting is None or self._waiting.done():
            return
        headers = bytes(self._received[:head]).lower()
        length = int(headers.split(b"content-length:")[1].split(b"\r\n")[0])
        if len(self._received) >= head + 4 + length:
            status = int(headers[9:12])
            self._received.clear()
            if b"\nconnection: close" in headers and self._transport is not None:
                self._transport.close()
                self._transport = None
            self._waiting.set_result(status)

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(0)

    async def ask(self, request: bytes) -> int:
        """The status of the answer; 0 if the connection broke. Connects first where the service closed after its last answer."""
        if self._transport is None or self._transport.is_closing():
            await self.connect()
        assert self._transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    async def connect(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def closed(port: int, path: str, body: Body, connections: int, seconds: float, most: int = 1_000_000) -> Outcome:
    """As many requests as `connections` get answered one after the other."""

    async def run(pool: list[_Connection], outcome: Outcome) -> None:
        ends, numbers = time.perf_counter() + seconds, iter(range(most))

        async def one(connection: _Connection) -> None:
            for number in numbers:
                if time.perf_counter() >= ends:
                    break
                began = time.perf_counter()
                _count(outcome, await connection.ask(_request(port, path, body(number))), began)

        await asyncio.gather(*(one(connection) for connection in pool))

    return asyncio.run(_measured(port, connections, run))


def open_(port: int, path: str, body: Body, connections: int, seconds: float, rate: float, seed: int = 1) -> Outcome:
    """`rate` requests a second, due at random; those for which no connection is free wait for one, and the wait counts."""

    async def run(pool: list[_Connection], outcome: Outcome) -> None:
        random = np.random.default_rng(seed)
        due = np.cumsum(random.exponential(1 / rate, int(rate * seconds)))
        free: asyncio.LifoQueue[_Connection] = asyncio.LifoQueue()
        for place in random.permutation(len(pool)):
            free.put_nowait(pool[place])
        began = time.perf_counter()

        async def one(number: int, moment: float) -> None:
            connection = await free.get()
            try:
                status = await asyncio.wait_for(connection.ask(_request(port, path, body(number))), LATE_S)
            except TimeoutError:
                status = 0
            _count(outcome, status, moment)
            free.put_nowait(connection)

        asked = []
        for number, after in enumerate(due.tolist()):
            moment = began + after
            if (wait := moment - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            asked.append(asyncio.ensure_future(one(number, moment)))
        await asyncio.gather(*asked)

    return asyncio.run(_measured(port, connections, run))


async def _measured(port: int, connections: int, run: Callable[[list[_Connection], Outcome], "asyncio.Future[None] | object"]) -> Outcome:
    pool = [_Connection(port) for _ in range(connections)]
    for connection in pool:
        await connection.connect()
    outcome = Outcome()
    began, worked = time.perf_counter(), time.process_time()
    await run(pool, outcome)  # type: ignore[misc]
    outcome.elapsed = time.perf_counter() - began
    outcome.cpu_share = (time.process_time() - worked) / outcome.elapsed
    for connection in pool:
        connection.close()
    return outcome


def _count(outcome: Outcome, status: int, since: float) -> None:
    outcome.statuses[status] += 1
    if status == 200:
        outcome.seconds.append(time.perf_counter() - since)


def _request(port: int, path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def drawn(users: int, seed: int) -> Iterator[int]:
    """Users without hot spots: each as likely as any other."""
    random = np.random.default_rng(seed)
    while True:
        yield from random.integers(0, users, 10_000).tolist()
