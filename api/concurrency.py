"""A limit to costly answers: few are computed at the same time, some more may wait, and others are refused."""

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from api.problems import BusyError

Result = TypeVar("Result")


class ConcurrencyLimit:
    """The limit to one kind of answer.

    Parameters
    ----------
    n_at_once : int
        Answers that are computed at the same time, each in a thread.
    most_waiting : int
        Further ones that may wait.
    busy : str
        The message to those that may not.
    """

    def __init__(self, n_at_once: int, most_waiting: int, busy: str) -> None:
        self._limiter = CapacityLimiter(n_at_once)
        self._most, self._busy = n_at_once + most_waiting, busy
        self._n_admitted = 0

    async def run(self, work: Callable[[], Result]) -> Result:
        """What ``work`` returns.

        Raises
        ------
        BusyError
            Too many wait already.
        """
        # counted here, because a task that has come for a thread is not at once among those that the limiter knows of
        if self._n_admitted >= self._most:
            raise BusyError(self._busy)
        self._n_admitted += 1
        try:
            return await to_thread.run_sync(work, limiter=self._limiter)
        finally:
            self._n_admitted -= 1
