"""The Dask cluster that computes the steps, embedded or at an address.

Work is one Dask task, submitted under a key that also names it on the dashboard, with the tasks whose results it reads as its
inputs. Dask keeps nothing when its scheduler goes away: every task then ends as lost, and the caller submits it again.
"""

import contextlib
import hashlib
import logging
import math
import pickle
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from distributed import Client, Future, LocalCluster

from service.errors import SchedulerUnavailableError
from service.execution.dask.dashboard import protect, reachable
from service.execution.dask.embedded import address_within, cluster_security, start_embedded
from service.execution.dask.plugins import LoadAhead, VersionCheck, scheduler_difference
from service.execution.dask.task import TOPIC, Outcome, TaskCall, TaskReports, TaskSpec, read_outcome, run_task
from service.execution.worker import StepResult
from service.settings import Settings
from service.stages.context import Report
from service.versions import software_versions

GPU_WORKER: Final = {"GPU": 1.0}
"""What a worker with a graphics card is started with (``dask worker --resources GPU=1``), and a batch asks for."""

CONNECT_TIMEOUT_S: Final = 3.0
COUNT_S: Final = 2.0
"""Shortest time between two counts of the workers."""
NO_WORKERS_S: Final = 10.0
"""How long there may be no worker, such as while a dead one is replaced, before that is said."""
FORGET_S: Final = 1.0
"""Tasks that ended well are released together after so long: each message to scheduler and worker costs as much as any other."""
RELEASE_AGAIN_S: Final = 2.0
"""Tasks that have not ended are released a second time after so long: the scheduler may take up a graph after their release."""

log = logging.getLogger(__name__)


class Cluster:
    """A Dask cluster: processes of our own, or those of a scheduler at an address.

    Parameters
    ----------
    settings : Settings
        ``scheduler``, ``workers``, ``dashboard_port`` and the TLS files.
    on_progress : callable
        Called with each dictionary that running work reports, in a thread of Dask's own: it must only hand it over.
        ``task`` is the key of the task; ``begun`` is there in the first dictionary of each.
    """

    def __init__(self, settings: Settings, on_progress: Report) -> None:
        self._settings = settings
        self._on_progress = on_progress
        self._topic = f"ptyxas-{hashlib.sha256(str(settings.data_dir.resolve()).encode()).hexdigest()[:12]}"
        self._embedded: LocalCluster | None = None
        self._within = self._dashboard_token = ""
        self._client: Client | None = None
        self._futures: dict[str, Future] = {}
        self._results: dict[str, tuple[StepResult, ...]] = {}
        self._released: deque[tuple[float, str]] = deque()
        self._ended: list[Future] = []
        self._forgotten = -math.inf
        self._guard = threading.Lock()
        self._is_stale = self._loads_ahead = False
        self._link: str | None = None
        self._refusal = ""
        self._n_slots, self._n_gpus, self._counted = settings.workers, 0, -math.inf
        self._served = time.monotonic()

    def start(self) -> None:
        """Start the embedded cluster, if there is to be one, and connect."""
        if self._settings.allow_plain_tcp and str(self._settings.scheduler).startswith("tcp://"):
            log.warning("the Dask scheduler %s is used without TLS: who reaches it can run code here", self._settings.scheduler)
        if self._settings.scheduler is None:
            self._embedded = start_embedded(self._settings)
            self._within = address_within(self._embedded)
            self._dashboard_token = protect(self._embedded)
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
        """Connect again where the connection is gone; True where that was so, and with it all tasks.

        Raises
        ------
        SchedulerUnavailableError
            The scheduler does not answer, has other versions than the service, or has no workers.
        """
        if self.is_connected:
            if self.problem is not None:
                raise SchedulerUnavailableError(self.problem)
            return False
        self._disconnect()
        address, where = self._within or self._settings.scheduler, self._embedded and self._embedded.loop
        security = None if self._embedded else cluster_security(self._settings)
        try:
            client = Client(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False, security=security, loop=where)
        except (OSError, TimeoutError) as error:
            raise SchedulerUnavailableError(f"no Dask scheduler answers at {address}: {error}") from error
        self._client = client
        self._welcome(client)
        self._is_stale = False
        self._served = time.monotonic()
        self._link = self._find_dashboard(client)
        return True

    def _welcome(self, client: Client) -> None:
        """Compare versions with the scheduler, and have every worker compare its own before its first task."""
        expected = software_versions()
        difference = scheduler_difference(expected, client.get_versions()["scheduler"])
        if difference is not None:
            self._disconnect()
            raise SchedulerUnavailableError(f"the Dask scheduler at {self._settings.scheduler} is not used: {difference}")
        client.subscribe_topic(self._topic, self._hear)
        client.register_plugin(VersionCheck(self._topic, expected))
        client.register_plugin(TaskReports(self._topic))
        self._loads_ahead = False

    def load_ahead(self) -> None:
        """Have workers, also those to come, load the libraries of the stages while they have nothing to do."""
        if not self._loads_ahead and self._client is not None and self.is_connected:
            self._loads_ahead = True
            threading.Thread(target=register_load_ahead, args=(self._client,), daemon=True).start()

    def submit(self, tasks: Sequence[TaskSpec], on_end: Callable[[str, Outcome], None]) -> None:
        """Submit tasks as one graph, which costs a fifth of submitting each alone.

        Parameters
        ----------
        tasks : sequence of TaskSpec
            Their inputs are among them, or were submitted before; unknown ones have ended, and are left out.
        on_end : callable
            ``on_end(key, outcome)`` is called once for each task, in a thread of Dask's own, unless it is released before.

        Raises
        ------
        SchedulerUnavailableError
        """
        if self._client is None or not self.is_connected:
            raise SchedulerUnavailableError("not connected to a Dask scheduler")
        self._forget_ended(time.monotonic())
        with self._guard:
            graph = graph_of(tasks, self._futures, self._topic)
        try:
            futures = self._client.get(graph, [task.key for task in tasks], sync=False)
        except Exception as error:
            if not self.is_connected:
                raise SchedulerUnavailableError("the connection to the Dask scheduler was lost") from error
            raise
        with self._guard:
            self._futures.update((future.key, future) for future in futures)
        for future in futures:
            future.add_done_callback(partial(self._finish, on_end))

    def release(self, keys: Iterable[str]) -> None:
        """Give up tasks: results are forgotten, what has not begun never does, what runs learns it from ``is_cancelled``."""
        now = time.monotonic()
        with self._guard:
            futures = [(key, self._futures.pop(key)) for key in keys if key in self._futures]
            self._released.extend((now, key) for key, future in futures if not future.done())
            for key, _ in futures:
                self._results.pop(key, None)
            self._ended += [future for _, future in futures if future.status == "finished"]
        self._forget([future for _, future in futures if future.status != "finished"])
        if now - self._forgotten > FORGET_S:
            self._forget_ended(now)
        self._release_again(now)

    def _forget_ended(self, now: float) -> None:
        with self._guard:
            self._forgotten, ended, self._ended = now, self._ended, []
        self._forget(ended)

    def _forget(self, futures: Iterable[Future]) -> None:
        for future in futures:
            with contextlib.suppress(Exception):  # the connection is gone, and all tasks with it
                future.release()

    def _release_again(self, now: float) -> None:
        while self._released and now - self._released[0][0] > RELEASE_AGAIN_S:
            _, key = self._released.popleft()
            if self._client is not None and key not in self._futures:
                with contextlib.suppress(Exception):
                    Future(key, self._client).release()

    @property
    def is_connected(self) -> bool:
        """Whether work can be submitted now."""
        return self._client is not None and self._client.status == "running" and not self._is_stale

    @property
    def problem(self) -> str | None:
        """Why nothing can be computed at present; None where it can."""
        if not self.is_connected:
            return "the Dask scheduler cannot be reached"
        self._count_workers()
        if time.monotonic() - self._served < NO_WORKERS_S:
            return None
        where = self._settings.scheduler or "of this service"
        why = f"; {self._refusal}" if self._refusal else ""
        return f"the Dask scheduler {where} has no workers: start some, or look why they left{why}"

    @property
    def n_slots(self) -> int:
        """Threads of all workers, at least 1: how many tasks run at the same time."""
        self._count_workers()
        return self._n_slots

    @property
    def n_gpus(self) -> int:
        """Workers that were started with ``--resources GPU=1``."""
        self._count_workers()
        return self._n_gpus

    def _count_workers(self) -> None:
        """Count the workers now and then, and bring back embedded ones that Dask gave up."""
        if self._client is None or not self.is_connected or time.monotonic() - self._counted < COUNT_S:
            return
        self._counted = time.monotonic()
        self._forget_ended(self._counted)
        self._release_again(self._counted)
        with contextlib.suppress(OSError, KeyError, TimeoutError):
            workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
            self._served = self._counted if workers else self._served
            self._n_slots = max(1, sum(worker["nthreads"] for worker in workers))
            self._n_gpus = sum(worker.get("resources", {}).keys() >= GPU_WORKER.keys() for worker in workers)
        if self._embedded is not None:
            self._embedded.scale(self._settings.workers)

    @property
    def dashboard_url(self) -> str | None:
        """Address of the Dask dashboard, while connected and where one answers; of an embedded one with its token."""
        return self._link if self.is_connected else None

    def _find_dashboard(self, client: Client) -> str | None:
        if self._embedded is not None:
            return f"{self._embedded.dashboard_link}?token={self._dashboard_token}"
        return reachable(client.dashboard_link)

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        message = event[1]
        if "refused" in message:
            self._refusal = str(message["refused"])
            log.warning("%s", self._refusal)
            return
        if "results" not in message:
            self._on_progress(message)
            return
        with self._guard:
            if message["task"] in self._futures:
                self._results[message["task"]] = pickle.loads(message["results"])

    def _finish(self, on_end: Callable[[str, Outcome], None], future: Future) -> None:
        with self._guard:
            if future.key not in self._futures or self._futures[future.key] is not future:
                return  # released
            results = self._results.pop(future.key, ())
            self._is_stale = self._is_stale or future.status not in ("finished", "error")
        on_end(future.key, read_outcome(future, results, is_queued=self._embedded is not None))

    def _disconnect(self) -> None:
        with self._guard:
            self._futures.clear()
            self._results.clear()
            self._released.clear()
            self._ended.clear()
        if self._client is not None:
            with contextlib.suppress(OSError, TimeoutError, RuntimeError):
                self._client.close(timeout=1)
            self._client = None


def register_load_ahead(client: Client) -> None:
    """Register the plugin with the scheduler; where that fails, steps load what they need themselves."""
    with contextlib.suppress(Exception):
        client.register_plugin(LoadAhead())


def graph_of(tasks: Sequence[TaskSpec], submitted: Mapping[str, Future], topic: str) -> HighLevelGraph:
    """Dask graph of tasks, whose inputs are among them or among those submitted before."""
    own = {task.key for task in tasks}
    calls = {
        task.key: (
            run_task,
            TaskCall(topic, task.work, task.request),
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
