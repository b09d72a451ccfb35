"""Waits for something that may hang, but not for long, and not for two of them."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Found = TypeVar("Found")

THREADS = 4


class Patience:
    """Runs calls in threads of its own and waits at most `timeout_s` for each.

    A call that was given up goes on in its thread, for nothing can stop it. Until it ends nobody waits for another one: what hangs costs one caller
    the timeout, and all that come meanwhile take their fallback at once.
    """

    def __init__(self, name: str, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._given_up = 0

    def run(self, call: Callable[[], Found]) -> Found:
        """What `call` returns or raises.

        Raises:
            TimeoutError: it took too long, or one before it did and has not ended yet.
        """
        if self._given_up:
            raise TimeoutError("an earlier call has not ended yet")
        future = self._threads.submit(call)
        try:
            return future.result(self.timeout_s)
        except TimeoutError:
            if not future.done():
                self._give_up(future)
                raise TimeoutError(f"no answer within {self.timeout_s:g} s") from None
            return future.result()  # it ended just now, or raised this by itself

    async def wait(self, call: Callable[[], Found]) -> Found:
        """`run` for an event loop, which goes on meanwhile."""
        if self._given_up:
            raise TimeoutError("an earlier call has not ended yet")
        future = self._threads.submit(call)
        here = asyncio.wrap_future(future)
        done, _ = await asyncio.wait((here,), timeout=self.timeout_s)
        if not done:
            self._give_up(future)
            raise TimeoutError(f"no answer within {self.timeout_s:g} s")
        return here.result()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _give_up(self, future: "Future[Found]") -> None:
        with self._lock:
            self._given_up += 1
        future.add_done_callback(self._ended)

    def _ended(self, future: "Future[Found]") -> None:
        with self._lock:
            self._given_up -= 1
