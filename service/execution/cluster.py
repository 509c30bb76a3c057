"""Dask, embedded or at an address: the only place that knows it.

A unit is submitted with a name a person can read on the dashboard, and ends in one of three ways: done, failed, or
lost (the scheduler or the connection went away; Dask itself keeps nothing, so the caller submits it again).
"""

import contextlib
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import dask
from distributed import Client, Future, LocalCluster, Security, Worker, get_worker
from distributed.scheduler import KilledWorker

from service.errors import SchedulerUnavailableError
from service.settings import Settings
from service.stages.context import IsCancelled, Report

TOPIC: Final = "ptyxas-progress"

WORKER_ENVIRONMENT: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "NPROC": "1",
}
"""One thread a worker: two layers of threads on the same cores only get in each other's way.

``NPROC`` is what XLA takes for the number of cores; without it every elementwise pass is split among threads."""

GPU_WORKER: Final = {"GPU": 1.0}
"""What a worker with a graphics card is started with (``dask worker --resources GPU=1``), and a batch asks for."""

CONNECT_TIMEOUT_S: Final = 3.0
COUNT_S: Final = 2.0
"""Workers are counted at most this often."""
RESTART_S: Final = 300.0
"""A dead embedded worker has this long to come back before another takes its place; Dask's 15 s are too few beside a load."""
NICENESS: Final = 5
"""Priority of numerical work: whoever asks the service something has the processor first."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How submitted work ended."""

    fate: Literal["done", "failed", "lost"]
    result: Any = None
    message: str = ""


def perform_on_worker(work: Callable[[Any, Report, IsCancelled], Any], call: Any) -> Any:
    """Run ``work(call, report, is_cancelled)`` in a task; ``report`` sends progress to every subscribed client."""
    worker = get_worker()
    key = worker.get_current_task()
    for name, value in WORKER_ENVIRONMENT.items():  # the numerics, not loaded yet, read it; also where others started the worker
        os.environ.setdefault(name, value)
    step_back(NICENESS)
    return work(call, lambda progress: worker.log_event(TOPIC, progress), lambda: is_released(worker, key))


def is_released(worker: Worker, key: str) -> bool:
    """Whether the scheduler has told this worker that nobody wants a task any more.

    Dask does not interrupt a thread, so a running task has to ask. A task goes on as long as any client wants its result.
    """
    task = worker.state.tasks.get(key)
    return task is None or task.state == "cancelled"


def step_back(niceness: int) -> None:
    """Lower the priority of this thread, and of those it starts, to at least ``niceness``; others of its process keep theirs.

    Only Linux has priorities of threads.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(niceness, os.getpriority(os.PRIO_PROCESS, thread)))


class Cluster:
    """A Dask cluster: processes of our own, or those of a scheduler at an address.

    Parameters
    ----------
    settings : Settings
        ``scheduler``, ``workers``, ``dashboard_port`` and the TLS files.
    on_progress : callable
        Called with each dictionary that running work reports, in a thread of Dask's own: it must only hand it over.
    """

    def __init__(self, settings: Settings, on_progress: Report) -> None:
        self._settings = settings
        self._on_progress = on_progress
        self._embedded: LocalCluster | None = None
        self._client: Client | None = None
        self._futures: dict[str, Future] = {}
        self._guard = threading.Lock()
        self._stale = False
        self._n_slots, self._n_gpus, self._counted = settings.workers, 0, -math.inf

    def start(self) -> None:
        """Start the embedded cluster, if there is to be one, and connect."""
        if self._settings.scheduler is None:
            self._embedded = start_embedded(self._settings)
        try:
            self.connect()
        except SchedulerUnavailableError as error:  # it may come up after the service: runs wait for it
            log.warning("%s", error)

    def stop(self) -> None:
        """Disconnect, and stop the processes this object started."""
        self._disconnect()
        if self._embedded is not None:
            self._embedded.close()
            self._embedded = None

    def connect(self) -> bool:
        """Connect again where the connection is gone; True where that was so, and with it all work in flight.

        Raises
        ------
        SchedulerUnavailableError
            The scheduler does not answer.
        """
        if self._client is not None and self._client.status == "running" and not self._stale:
            return False
        self._disconnect()
        address = self._embedded or self._settings.scheduler
        try:
            self._client = Client(
                address, timeout=CONNECT_TIMEOUT_S, set_as_default=False, security=client_security(self._settings)
            )
        except (OSError, TimeoutError) as error:
            raise SchedulerUnavailableError(f"no Dask scheduler answers at {address}: {error}") from error
        self._client.subscribe_topic(TOPIC, lambda event: self._on_progress(event[1]))
        self._stale = False
        return True

    def submit(
        self,
        name: str,
        work: Callable[[Any, Report, IsCancelled], Any],
        call: Any,
        on_end: Callable[[Outcome], None],
        resources: dict[str, float] | None = None,
    ) -> None:
        """Have a worker run ``work(call, report, is_cancelled)``; ``on_end`` hears of it once, in a thread of Dask's own.

        ``resources`` names what the worker must have: ``GPU_WORKER``, or nothing.
        """
        if self._client is None:
            raise SchedulerUnavailableError("not connected to a Dask scheduler")
        future = self._client.submit(perform_on_worker, work, call, key=name, pure=False, resources=resources)
        with self._guard:
            self._futures[name] = future
        future.add_done_callback(lambda ended: self._finish(name, ended, on_end))

    def cancel(self, names: list[str]) -> None:
        """Take work back: what has not begun never does, and what runs learns of it when it asks ``is_cancelled``."""
        with self._guard:
            futures = [self._futures.pop(name) for name in names if name in self._futures]
        if self._client is not None and futures:
            with contextlib.suppress(OSError, TimeoutError, RuntimeError):
                self._client.cancel(futures, force=True)

    @property
    def is_connected(self) -> bool:
        """Whether work can be submitted now."""
        return self._client is not None and self._client.status == "running" and not self._stale

    @property
    def n_slots(self) -> int:
        """Threads of all workers, at least 1: how many units run at the same time."""
        if self.is_connected and time.monotonic() - self._counted > COUNT_S:
            self._counted = time.monotonic()
            self._n_slots, self._n_gpus = self._count_workers()
            if self._embedded is not None:
                self._embedded.scale(self._settings.workers)  # brings back those that Dask gave up
        return self._n_slots

    @property
    def n_gpus(self) -> int:
        """Workers that were started with ``--resources GPU=1``, as last counted by `n_slots`."""
        return self._n_gpus

    def _count_workers(self) -> tuple[int, int]:
        assert self._client is not None
        try:
            workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        except (OSError, KeyError, TimeoutError):
            return self._n_slots, self._n_gpus
        n_gpus = sum(worker.get("resources", {}).keys() >= GPU_WORKER.keys() for worker in workers)
        return max(1, sum(worker["nthreads"] for worker in workers)), n_gpus

    @property
    def dashboard_url(self) -> str | None:
        """Address of the Dask dashboard, while connected."""
        return self._client.dashboard_link if self.is_connected and self._client is not None else None

    def _finish(self, name: str, future: Future, on_end: Callable[[Outcome], None]) -> None:
        ending = read_ending(future)
        with self._guard:
            was_wanted = self._futures.pop(name, None) is not None
            self._stale = self._stale or (ending.fate == "lost" and was_wanted)
        on_end(ending)

    def _disconnect(self) -> None:
        with self._guard:
            self._futures.clear()
        if self._client is not None:
            with contextlib.suppress(OSError, TimeoutError, RuntimeError):
                self._client.close(timeout=1)
            self._client = None


def start_embedded(settings: Settings) -> LocalCluster:
    """Start one worker process a core, one thread each, all of it on loopback."""
    dask.config.set({"distributed.deploy.lost-worker-timeout": RESTART_S})
    return LocalCluster(
        n_workers=settings.workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=f"127.0.0.1:{settings.dashboard_port}",
        memory_limit=settings.worker_memory_bytes or "auto",
        env=WORKER_ENVIRONMENT,
        local_directory=str(settings.data_dir.resolve() / "dask"),
        silence_logs=logging.ERROR,
    )


def client_security(settings: Settings) -> Security | None:
    """TLS towards a ``tls://`` scheduler, nothing otherwise."""
    if settings.scheduler is None or not settings.scheduler.startswith("tls://"):
        return None
    return Security(
        tls_ca_file=str(settings.tls_ca),
        tls_client_cert=str(settings.tls_certificate),
        tls_client_key=str(settings.tls_key),
        require_encryption=True,
    )


def read_ending(future: Future) -> Outcome:
    """How a finished future ended, a worker's death in plain words."""
    if future.status == "finished":
        try:
            return Outcome("done", future.result(timeout=CONNECT_TIMEOUT_S))
        except Exception as error:  # the result left with the scheduler that held it
            return Outcome("lost", message=f"the result was lost: {error}")
    if future.status != "error":
        return Outcome("lost", message="the connection to the scheduler was lost")
    cause = future.exception()
    if isinstance(cause, KilledWorker):
        return Outcome("failed", message="its worker process died again and again, most likely out of memory")
    return Outcome("failed", message=f"{type(cause).__name__}: {cause}")
