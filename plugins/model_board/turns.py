"""Expensive questions, answered one after the other in a thread of their own.

Airflow's API server answers most requests in forty threads. A request that waits for its turn holds none of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import TypeVar

Answer = TypeVar("Answer")


class BusyError(Exception):
    """There is no answer in time; a retry after ``seconds`` may succeed."""

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message)
        self.seconds = seconds


class Turns:
    """Runs one question at a time.

    Parameters
    ----------
    seconds
        How long a question may take, including the wait for its turn.
    capacity
        Most questions at once: the one that runs, and those that wait.
    """

    def __init__(self, seconds: int, capacity: int) -> None:
        self._seconds, self._capacity = seconds, capacity
        self._free = BoundedSemaphore(capacity)
        self._thread = ThreadPoolExecutor(1, "model-board")

    async def ask(self, work: Callable[[], Answer]) -> Answer:
        """Return what ``work`` returns, or raise what it raises.

        Raises
        ------
        BusyError
            If there are too many questions, or it takes too long. A question that has not started by then is canceled;
            one that has runs on, and the questions after it wait.
        """
        if not self._free.acquire(blocking=False):
            raise self._busy(f"{self._capacity} questions are waiting already, the most it holds")
        future = self._thread.submit(work)
        future.add_done_callback(lambda _: self._free.release())
        answer = asyncio.wrap_future(future)
        try:
            done, _ = await asyncio.wait([answer], timeout=self._seconds)
            if done:
                return answer.result()
        finally:  # also if the caller has gone
            left = future.cancel()
            answer.cancel()
        state = "waits for questions before it" if left else "is being worked on"
        raise self._busy(f"this one still {state} after {self._seconds} seconds")

    def _busy(self, why: str) -> BusyError:
        return BusyError(f"The model board answers one such question at a time, and {why}: ask again.", self._seconds)
