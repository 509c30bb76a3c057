"""The limit to costly work: how many work at the same time, how many wait, and who is refused."""

import threading

import anyio
import pytest

from api.concurrency import ConcurrencyLimit
from api.problems import BusyError


class Work:
    """Waits until it may go on, and knows how many did at the same time."""

    def __init__(self) -> None:
        self.n_at_work = self.most_at_work = 0
        self.go_on = threading.Event()
        self._guard = threading.Lock()

    def __call__(self) -> str:
        with self._guard:
            self.n_at_work += 1
            self.most_at_work = max(self.most_at_work, self.n_at_work)
        assert self.go_on.wait(30)
        with self._guard:
            self.n_at_work -= 1
        return "done"


def test_of_many_that_come_at_once_no_more_wait_than_may() -> None:
    limit, work, answers = ConcurrencyLimit(2, 3, "ask again"), Work(), []

    async def ask() -> None:
        try:
            answers.append(await limit.run(work))
        except BusyError as error:
            answers.append(str(error))

    async def burst() -> None:
        async with anyio.create_task_group() as asking:
            for _ in range(20):
                asking.start_soon(ask)
            while len(answers) < 15 or work.n_at_work < 2:
                await anyio.sleep(0.01)
            work.go_on.set()

    anyio.run(burst)
    assert sorted(answers) == ["ask again"] * 15 + ["done"] * 5
    assert work.most_at_work == 2


def test_a_place_is_free_again_after_its_work_whatever_comes_of_it() -> None:
    limit = ConcurrencyLimit(1, 0, "ask again")

    async def one_after_another() -> None:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await limit.run(lambda: 1 / 0)
        assert await limit.run(lambda: "done") == "done"

    anyio.run(one_after_another)
