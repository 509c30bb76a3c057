"""The tasks that are with a scheduler, over a client that only notes what it is told."""

import pickle
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from service.execution.dask import submitted
from service.execution.dask.submitted import SubmittedTasks
from service.execution.dask.task import Outcome, TaskSpec
from service.execution.worker import StepResult, perform


class NotedFuture:
    """Stands in for Dask's."""

    def __init__(self, key: str, client: "NotedClient") -> None:
        self.key, self.client = key, client
        self.status = "pending"
        self.callback: Callable[[NotedFuture], None] = lambda future: None

    def done(self) -> bool:
        return self.status != "pending"

    def add_done_callback(self, callback: Callable[["NotedFuture"], None]) -> None:
        self.callback = callback

    def release(self) -> None:
        self.client.released.append(self.key)

    def end(self, status: str) -> None:
        self.status = status
        self.callback(self)


class NotedClient:
    """Stands in for Dask's: the futures it gave, and the keys that were released, in order."""

    def __init__(self) -> None:
        self.futures: dict[str, NotedFuture] = {}
        self.released: list[str] = []

    def get(self, graph: Any, keys: list[str], sync: bool) -> list[NotedFuture]:
        self.futures |= {key: NotedFuture(key, self) for key in keys}
        return [self.futures[key] for key in keys]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> NotedClient:
    monkeypatch.setattr(submitted, "Future", NotedFuture)
    return NotedClient()


@pytest.fixture
def often() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def submit(tasks: SubmittedTasks, *keys: str) -> list[tuple[str, Outcome]]:
    """Submit tasks of these keys; how each has ended, as that is heard of."""
    ended: list[tuple[str, Outcome]] = []
    tasks.submit([TaskSpec(key, perform, 1) for key in keys], lambda key, outcome: ended.append((key, outcome)))
    return ended


def test_what_ended_well_is_released_with_the_next_submission_and_what_had_not_at_once(client: NotedClient) -> None:
    tasks = SubmittedTasks(client, "topic", is_queued=True)
    submit(tasks, "well", "running", "failed")
    client.futures["well"].status, client.futures["failed"].status = "finished", "error"
    tasks.release(["well", "running", "failed", "unknown"])
    assert client.released == ["running", "failed"]
    submit(tasks, "next")
    assert client.released == ["running", "failed", "well"]


def test_what_ended_well_is_released_after_a_second_where_nothing_is_submitted(
    client: NotedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = SubmittedTasks(client, "topic", is_queued=True)
    submit(tasks, "well")
    client.futures["well"].status = "finished"
    tasks.release(["well"])
    tasks.release_due()
    assert client.released == []
    monkeypatch.setattr(submitted, "RELEASE_TOGETHER_S", -1.0)
    tasks.release_due()
    assert client.released == ["well"]


def test_threads_release_a_second_time_just_once(client: NotedClient, monkeypatch: pytest.MonkeyPatch, often: None) -> None:
    tasks = SubmittedTasks(client, "topic", is_queued=True)
    keys, n_threads = [f"task-{n}" for n in range(2000)], 8
    submit(tasks, *keys)
    tasks.release(keys)
    assert client.released == keys
    submit(tasks, "task-7")  # of that name again, and wanted
    monkeypatch.setattr(submitted, "RELEASE_AGAIN_S", -1.0)
    barrier = threading.Barrier(n_threads)

    def release(_: int) -> None:
        barrier.wait()
        tasks.release_due()

    with ThreadPoolExecutor(n_threads) as threads:
        list(threads.map(release, range(n_threads)))
    assert sorted(client.released[len(keys) :]) == sorted(set(keys) - {"task-7"})


@pytest.mark.parametrize(("status", "is_at_once"), [("finished", True), ("cancelled", True), ("error", False)])
def test_only_a_failure_is_told_in_a_thread(client: NotedClient, status: str, is_at_once: bool) -> None:
    """Its exception is fetched through Dask's loop, which would wait for itself; a thread for each task that ended costs time."""
    SubmittedTasks(client, "topic", is_queued=True)
    executor = NotedFuture._cb_executor  # type: ignore[attr-defined]
    future, told = NotedFuture("one", client), queue.SimpleQueue[threading.Thread]()
    future.status = status
    executor.submit(lambda future: told.put(threading.current_thread()), future)
    assert (told.get(timeout=10) is threading.current_thread()) is is_at_once


def test_results_belong_to_tasks_that_are_wanted(client: NotedClient) -> None:
    tasks = SubmittedTasks(client, "topic", is_queued=True)
    ended = submit(tasks, "one", "other")
    result = (StepResult("done", is_computed=True),)
    tasks.take_results("one", pickle.dumps(result))
    tasks.release(["other"])
    for key in ("one", "other"):
        client.futures[key].end("finished")
    assert ended == [("one", Outcome("done", result))]
    assert not tasks.has_lost


@pytest.mark.parametrize("status", ["lost", "pending"])
def test_a_task_whose_worker_died_right_after_its_end_has_ended_well_or_is_computed_again(
    client: NotedClient, status: str
) -> None:
    """Dask tells of the end in one thread, and may hear in another, before that is done, that the worker is gone."""
    tasks = SubmittedTasks(client, "topic", is_queued=True)
    ended = submit(tasks, "told", "untold")
    result = (StepResult("done", is_computed=True),)
    tasks.take_results("told", pickle.dumps(result))
    for future in client.futures.values():
        future.end(status)
    assert ended == [("told", Outcome("done", result))]
    tasks.take_results("untold", pickle.dumps(result))
    client.futures["untold"].end("finished")
    assert ended[1:] == [("untold", Outcome("done", result))]
    assert not tasks.has_lost


def test_a_scheduler_that_is_gone_shows_in_what_it_lost_unless_all_was_abandoned(client: NotedClient) -> None:
    for is_abandoned in (False, True):
        tasks = SubmittedTasks(client, "topic", is_queued=True)
        ended = submit(tasks, "one", "other")
        if is_abandoned:
            tasks.abandon()
        for future in client.futures.values():
            future.end("cancelled")
        assert tasks.has_lost is not is_abandoned
        assert [outcome.fate for _, outcome in ended] == ([] if is_abandoned else ["lost", "lost"])
