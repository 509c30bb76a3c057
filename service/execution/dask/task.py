"""A Dask task: what it runs on a worker, what it reports, and how it ended."""

import contextlib
import ctypes
import os
import pickle
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

from distributed import Future, Worker, WorkerPlugin, get_worker
from distributed.protocol import pickle as dask_pickle
from distributed.scheduler import KilledWorker

from service.execution.libraries import finish_import
from service.execution.worker import StepResult
from service.stages.context import IsCancelled, Report

WORKER_ENVIRONMENT: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "NPROC": "1",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""One thread a worker: two layers of threads on the same cores only get in each other's way; and memory in large pages.

``NPROC`` is what XLA takes for the number of cores; without it every elementwise pass is split among threads. The GNU C library
asks the kernel for pages of 2 MiB, if it is told to before the process starts: a cycle of the reconstruction goes through tens of
MB, more than a processor finds in pages of 4 KiB without looking them up."""
TOPIC: Final = "ptyxas-topic"
"""Annotation of a task: the topic of its reports."""
EXCEPTION_S: Final = 10.0
"""Longest wait for the exception of a task that failed, which is on its way already."""
MALLOC_THRESHOLDS: Final = {-3: 32 * 2**20, -1: 128 * 2**20}
"""``M_MMAP_THRESHOLD`` and ``M_TRIM_THRESHOLD`` of the GNU C library [bytes].

Dask's nanny sets the second to 64 kiB, so that the memory of every temporary array goes back to the kernel and faults in
again. Blocks of up to 32 MiB, the largest threshold that the library takes, are kept for reuse instead."""
NICENESS: Final = 5
"""Priority of numerical work: requests to the service come first."""

Work = Callable[[Any, Report, IsCancelled], StepResult | Sequence[StepResult]]
"""What a task runs: one step (`service.execution.worker.perform`), or a batch of them."""


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Attributes
    ----------
    fate : str
        ``killed`` means that its worker died again and again; ``lost`` that the scheduler, or the connection, went away.
    results : tuple of StepResult
        One for each of its steps, where the work itself ended.
    message : str
        Why there are no results.
    blamed : str
        Key of the task where the failure began: this one, or one of its inputs.
    """

    fate: Literal["done", "failed", "killed", "lost"]
    results: tuple[StepResult, ...] = ()
    message: str = ""
    blamed: str = ""


class WorkFailedError(Exception):
    """Raised in a task whose work did not end well, so that Dask runs nothing that depends on it."""

    def __init__(self, key: str, results: tuple[StepResult, ...]) -> None:
        super().__init__(key, results)
        self.key, self.results = key, results


@dataclass(frozen=True)
class TaskSpec:
    """A task to be submitted.

    Attributes
    ----------
    key : str
        Its name for Dask, which nothing else has.
    work : callable
    request : object
        What ``work`` is called with; anything that can be pickled.
    inputs : tuple of str
        Keys of the tasks that must end well first.
    priority : float
        Tasks of higher priority are run first.
    resources : mapping, optional
        What the worker must have.
    """

    key: str
    work: Work
    request: Any
    inputs: tuple[str, ...] = ()
    priority: float = 0.0
    resources: Mapping[str, float] | None = None


@dataclass(frozen=True)
class TaskCall:
    """Arguments of `run_task` in one object, into which Dask does not look: it takes strings that equal a key for results.

    The work and its request are pickled once, by Dask's own rules; the client, the scheduler and the worker would each do it.
    """

    topic: str
    pickled: bytes

    @classmethod
    def of(cls, topic: str, work: Work, request: Any) -> "TaskCall":
        """The call of ``work(request, report, is_cancelled)``."""
        return cls(topic, dask_pickle.dumps((work, request)))

    @property
    def work_and_request(self) -> tuple[Work, Any]:
        """What is called, and with what."""
        found: tuple[Work, Any] = dask_pickle.loads(self.pickled)
        return found


class TaskReports(WorkerPlugin):  # type: ignore[misc]  # distributed has no types
    """Reports from a worker, to the subscribers of a topic, that a task of that topic began, and the results when it ended well.

    Results arrive as events, with the messages of the scheduler, while each that a client gathers costs two round trips more.
    A worker that ends one task begins the next at once, and what it reports of both goes into Dask's own message about them.

    Parameters
    ----------
    topic : str
        Dictionaries with ``task`` (its key) are reported to it, with ``begun``, or with ``results`` as `run_task` left them.
    """

    def __init__(self, topic: str) -> None:
        self.name = plugin_name(topic)
        self.topic = topic
        self._results: dict[str, bytes] = {}

    def setup(self, worker: Worker) -> None:
        """Remember the worker."""
        self._worker = worker

    def keep(self, key: str, results: bytes) -> None:
        """Take the results of a task that is about to end, in any thread."""
        self._results[key] = results

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """Report what a task's new state means; Dask calls this just before it tells the scheduler."""
        if finish == "executing":
            task = self._worker.state.tasks[key]
            if (task.annotations or {}).get(TOPIC) == self.topic:
                self._worker.log_event(self.topic, {"begun": True, "task": key})
        elif finish != "long-running":
            results = self._results.pop(key, None)
            if results is not None and finish == "memory":
                self._worker.log_event(self.topic, {"results": results, "task": key})


def reports_of(worker: Worker, topic: str) -> TaskReports:
    """The plugin of a worker that reports to a topic; every worker has it before its first task."""
    found: TaskReports = worker.plugins[plugin_name(topic)]
    return found


def plugin_name(topic: str) -> str:
    """Dask's name of the plugin that reports to a topic."""
    return f"{topic}-reports"


def run_task(call: TaskCall, *inputs: None) -> None:
    """Run ``work(request, report, is_cancelled)`` on a worker.

    Its progress is sent to the subscribers of the topic; that it began, and its results, are `TaskReports`'. The inputs only
    keep the order.
    """
    worker = get_worker()
    key = str(worker.get_current_task())
    prepare_numerics()
    lower_priority(NICENESS)
    finish_import()

    def report(message: dict[str, Any]) -> None:
        worker.log_event(call.topic, {**message, "task": key})

    work, request = call.work_and_request
    found = work(request, report, lambda: is_released(worker, key))
    results = (found,) if isinstance(found, StepResult) else tuple(found)
    if any(result.fate != "done" for result in results):
        raise WorkFailedError(key, results)
    reports_of(worker, call.topic).keep(key, pickle.dumps(results))


def is_released(worker: Worker, key: str) -> bool:
    """Whether the scheduler has told this worker that nobody wants the result of a task any more.

    Dask does not interrupt a thread, so a running task has to ask.
    """
    task = worker.state.tasks.get(key)
    return task is None or task.state == "cancelled"


def prepare_numerics() -> None:
    """Set up this process before numerical libraries are loaded, which read `WORKER_ENVIRONMENT`; others may have started it."""
    for name, value in WORKER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    keep_memory()


@cache
def keep_memory() -> None:
    """Have this process keep freed memory for its next arrays (`MALLOC_THRESHOLDS`); only the GNU C library has that."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in MALLOC_THRESHOLDS.items():
            mallopt(parameter, value)


def lower_priority(niceness: int) -> None:
    """Lower the priority of this thread, and of those it starts, to at least ``niceness``; others of its process keep theirs.

    Only Linux has priorities of threads.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(niceness, os.getpriority(os.PRIO_PROCESS, thread)))


def read_outcome(future: Future, results: tuple[StepResult, ...], *, is_queued: bool = False) -> Outcome:
    """How an ended task ended.

    Parameters
    ----------
    future : Future
    results : tuple of StepResult
        Those that it reported.
    is_queued : bool
        Ready tasks wait with the scheduler, so that a worker has no more than it runs, and one beside. Then a task whose
        workers died is to blame for that; else it may have been one of many that waited there.
    """
    if future.status == "cancelled":
        return Outcome("lost", message="the connection to the scheduler was lost")
    if future.status != "error":  # where its worker died right after its end, the status may have moved on from "finished"
        return Outcome("done", results) if results else Outcome("lost", message="the report of its result was lost")
    cause = future.exception(timeout=EXCEPTION_S)
    if isinstance(cause, WorkFailedError):
        return Outcome("failed", cause.results, blamed=cause.key)
    if isinstance(cause, KilledWorker):
        message = "its worker process died again and again, most likely out of memory"
        return Outcome("failed" if is_queued else "killed", message=message, blamed=str(cause.task))
    return Outcome("failed", message=f"{type(cause).__name__}: {cause}", blamed=str(future.key))
