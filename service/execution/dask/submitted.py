"""The tasks that were submitted through one connection to a scheduler and not released since.

Dask keeps a task, and its result, for as long as there is a future of it. So the futures of all tasks that somebody wants are
held here. To release one tells the scheduler that nobody wants that task any more.
"""

import contextlib
import math
import os
import pickle
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from distributed import Client, Future

from service.execution.dask.task import TOPIC, Outcome, TaskCall, TaskSpec, read_outcome, run_task
from service.execution.worker import StepResult

RELEASE_TOGETHER_S: Final = 1.0
"""Tasks that ended well are released together after so long: each message to scheduler and worker costs as much as any other."""
RELEASE_AGAIN_S: Final = 2.0
"""Tasks that have not ended are released a second time after so long: the scheduler may take up a graph after their release."""
LOST_WITH_ITS_WORKER: Final = ("lost", "pending")
"""Statuses of a future that had ended when its worker died, before that was heard of: Dask computes the task again."""

OnEnd = Callable[[str, Outcome], None]
"""``on_end(key, outcome)`` is called once for each task, in a thread of Dask's own, unless it is released before."""


class CallbackExecutor(ThreadPoolExecutor):
    """Where Dask's futures call back: at once, in Dask's own loop, and after a failure in a thread, which fetches the exception.

    By itself Dask wakes a thread for each task that ended, which costs the service a tenth of what a task costs it.
    """

    def __init__(self) -> None:
        super().__init__(1, thread_name_prefix="ptyxas-failed")

    def submit(self, callback: Callable[[Future], None], future: Future) -> None:  # type: ignore[override]  # all that Dask asks
        """Call back."""
        if future.status == "error":
            super().submit(callback, future)
        else:
            callback(future)


def call_back_at_once() -> None:
    """Have Dask use a `CallbackExecutor`; a version of Dask without the attribute starts threads of its own."""
    if not isinstance(getattr(Future, "_cb_executor", None), CallbackExecutor) or Future._cb_executor_pid != os.getpid():
        Future._cb_executor, Future._cb_executor_pid = CallbackExecutor(), os.getpid()


class SubmittedTasks:
    """Futures of the tasks that a client submitted, and the results that their workers reported.

    It lasts as long as the connection of its client. All methods may be called in any thread.

    Parameters
    ----------
    client : Client
    topic : str
        Where the tasks report to.
    is_queued : bool
        Whether ready tasks wait with the scheduler, as `read_outcome` takes it.
    """

    def __init__(self, client: Client, topic: str, *, is_queued: bool) -> None:
        self._client = client
        self._topic = topic
        self._is_queued = is_queued
        self._futures: dict[str, Future] = {}
        self._results: dict[str, tuple[StepResult, ...]] = {}
        self._ended_well: list[Future] = []
        self._released_early: deque[tuple[float, str]] = deque()
        self._released_together = -math.inf
        self._guard = threading.Lock()
        self._has_lost = False
        call_back_at_once()

    @property
    def has_lost(self) -> bool:
        """Whether a task ended without having been carried out, as all do when the scheduler goes away."""
        return self._has_lost

    def submit(self, tasks: Sequence[TaskSpec], on_end: OnEnd) -> None:
        """Submit tasks as one graph; inputs that are neither among them nor held have ended, and are left out."""
        self._release_ended()
        with self._guard:
            graph = graph_of(tasks, self._futures, self._topic)
        futures = self._client.get(graph, [task.key for task in tasks], sync=False)
        with self._guard:
            self._futures.update((future.key, future) for future in futures)
        for future in futures:
            future.add_done_callback(partial(self._finish, on_end))

    def take_results(self, key: str, results: bytes) -> None:
        """Take the results of a task, as `run_task` left them: they are reported before it ends."""
        with self._guard:
            if key in self._futures:
                self._results[key] = pickle.loads(results)

    def release(self, keys: Iterable[str]) -> None:
        """Give up tasks: at once those that have not ended well, and soon those that have (`release_due`)."""
        others: list[Future] = []
        with self._guard:
            for future in [self._futures.pop(key) for key in keys if key in self._futures]:
                self._results.pop(future.key, None)
                (self._ended_well if future.status == "finished" else others).append(future)
            now = time.monotonic()
            self._released_early.extend((now, future.key) for future in others if not future.done())
        release_all(others)
        self.release_due()

    def release_due(self) -> None:
        """Release what was given up and waits for that; to be called now and then."""
        now = time.monotonic()
        if now - self._released_together > RELEASE_TOGETHER_S:
            self._release_ended()
        with self._guard:
            due = []
            while self._released_early and now - self._released_early[0][0] > RELEASE_AGAIN_S:
                due.append(self._released_early.popleft()[1])
            due = [key for key in due if key not in self._futures]
        release_all(Future(key, self._client) for key in due)

    def abandon(self) -> None:
        """Hold nothing any more, without a word to the scheduler; no task is heard of from now on."""
        with self._guard:
            self._futures.clear()
            self._results.clear()
            self._ended_well.clear()
            self._released_early.clear()

    def _release_ended(self) -> None:
        with self._guard:
            self._released_together = time.monotonic()
            ended, self._ended_well = self._ended_well, []
        release_all(ended)

    def _finish(self, on_end: OnEnd, future: Future) -> None:
        with self._guard:
            if future.key not in self._futures or self._futures[future.key] is not future:
                return  # released
            results = self._results.pop(future.key, ())
            is_computed_again = future.status in LOST_WITH_ITS_WORKER and not results
            self._has_lost = self._has_lost or future.status == "cancelled"
        if is_computed_again:
            future.add_done_callback(partial(self._finish, on_end))
            return
        on_end(future.key, read_outcome(future, results, is_queued=self._is_queued))


def release_all(futures: Iterable[Future]) -> None:
    """Tell the scheduler that nobody wants these tasks; where the connection is gone, all tasks are with it."""
    with contextlib.suppress(Exception):
        for future in futures:
            future.release()


def graph_of(tasks: Sequence[TaskSpec], submitted: Mapping[str, Future], topic: str) -> HighLevelGraph:
    """Dask graph of tasks, whose inputs are among them or among those submitted before."""
    own = {task.key for task in tasks}
    calls = {
        task.key: (
            run_task,
            TaskCall.of(topic, task.work, task.request),
            *(submitted.get(key, key) for key in task.inputs if key in own or key in submitted),
        )
        for task in tasks
    }
    annotations = {
        "priority": {task.key: task.priority for task in tasks}.get,
        "resources": {task.key: dict(task.resources) for task in tasks if task.resources}.get,
        TOPIC: topic,
    }
    name = f"ptyxas-{uuid.uuid4().hex}"
    return HighLevelGraph({name: MaterializedLayer(calls, annotations=annotations)}, {name: set()})
