"""The Dask cluster that computes the steps, embedded or at an address.

Work is one Dask task, submitted under a key that also names it on the dashboard, with the tasks whose results it reads as its
inputs. Dask keeps nothing when its scheduler goes away: every task then ends as lost, and the caller submits it again.
"""

import contextlib
import hashlib
import logging
import math
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from distributed import Client, LocalCluster

from service.errors import SchedulerUnavailableError
from service.execution.dask.dashboard import protect, reachable
from service.execution.dask.embedded import address_within, cluster_security, start_embedded
from service.execution.dask.plugins import LoadAhead, VersionCheck, scheduler_difference
from service.execution.dask.submitted import OnEnd, SubmittedTasks
from service.execution.dask.task import TaskReports, TaskSpec
from service.settings import Settings
from service.stages.context import Report
from service.versions import software_versions

GPU_WORKER: Final = {"GPU": 1.0}
"""What a worker with a graphics card is started with (``dask worker --resources GPU=1``), and a batch asks for."""

CONNECT_TIMEOUT_S: Final = 3.0
LOOK_S: Final = 2.0
"""Shortest time between two looks at the workers."""
NO_WORKERS_S: Final = 10.0
"""How long there may be no worker, such as while a dead one is replaced, before that is said."""

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
        self._inproc_address = self._dashboard_token = ""
        self._client: Client | None = None
        self._submitted: SubmittedTasks | None = None
        self._loads_ahead = False
        self._link: str | None = None
        self._refusal = ""
        self._n_slots, self._n_gpus, self._looked_at = settings.workers, 0, -math.inf
        self._served = time.monotonic()

    def start(self) -> None:
        """Start the embedded cluster, if there is to be one, and connect."""
        if self._settings.allow_plain_tcp and str(self._settings.scheduler).startswith("tcp://"):
            log.warning("the Dask scheduler %s is used without TLS: who reaches it can run code here", self._settings.scheduler)
        if self._settings.scheduler is None:
            self._embedded = start_embedded(self._settings)
            self._inproc_address = address_within(self._embedded)
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
            The scheduler does not answer, has other versions than the service or workers without ptyxas, or has no workers.
        """
        if self.is_connected:
            if self.problem is not None:
                raise SchedulerUnavailableError(self.problem)
            return False
        self._disconnect()
        address, loop = self._inproc_address or self._settings.scheduler, self._embedded and self._embedded.loop
        security = None if self._embedded else cluster_security(self._settings)
        try:
            client = Client(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False, security=security, loop=loop)
        except (OSError, TimeoutError) as error:
            raise SchedulerUnavailableError(f"no Dask scheduler answers at {address}: {error}") from error
        self._client = client
        obstacle = self._set_up(client)
        if obstacle is not None:
            self._disconnect()
            raise SchedulerUnavailableError(f"the Dask scheduler {self._whose} is not used: {obstacle}")
        self._loads_ahead = False
        self._submitted = SubmittedTasks(client, self._topic, is_queued=self._embedded is not None)
        self._served = time.monotonic()
        self._link = self._find_dashboard(client)
        return True

    def _set_up(self, client: Client) -> str | None:
        """Compare versions with the scheduler, and have every worker compare its own before its first task; why that failed."""
        expected = software_versions()
        try:
            difference = scheduler_difference(expected, client.get_versions()["scheduler"])
            if difference is not None:
                return difference
            client.subscribe_topic(self._topic, self._hear)
            client.register_plugin(VersionCheck(self._topic, expected))
            client.register_plugin(TaskReports(self._topic))
        except Exception as error:  # as a worker raised it that cannot load what it is sent, or the connection is gone
            return f"its workers cannot be prepared; do all of them have ptyxas? {type(error).__name__}: {error}"
        return None

    @property
    def _whose(self) -> str:
        return f"at {self._settings.scheduler}" if self._settings.scheduler else "of this service"

    def load_ahead(self) -> None:
        """Have workers, also those to come, load the libraries of the stages while they have nothing to do."""
        if not self._loads_ahead and self._client is not None and self.is_connected:
            self._loads_ahead = True
            threading.Thread(target=register_load_ahead, args=(self._client,), daemon=True).start()

    def submit(self, tasks: Sequence[TaskSpec], on_end: OnEnd) -> None:
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
        if self._submitted is None or not self.is_connected:
            raise SchedulerUnavailableError("not connected to a Dask scheduler")
        try:
            self._submitted.submit(tasks, on_end)
        except Exception as error:
            if not self.is_connected:
                raise SchedulerUnavailableError("the connection to the Dask scheduler was lost") from error
            raise

    def release(self, keys: Iterable[str]) -> None:
        """Give up tasks: results are forgotten, what has not begun never does, what runs learns it from ``is_cancelled``."""
        if self._submitted is not None:
            self._submitted.release(keys)

    @property
    def is_connected(self) -> bool:
        """Whether work can be submitted now."""
        client, submitted = self._client, self._submitted
        return client is not None and client.status == "running" and submitted is not None and not submitted.has_lost

    @property
    def problem(self) -> str | None:
        """Why nothing can be computed at present; None where it can."""
        if not self.is_connected:
            return "the Dask scheduler cannot be reached"
        self._look_around()
        if time.monotonic() - self._served < NO_WORKERS_S:
            return None
        why = f"; {self._refusal}" if self._refusal else ""
        return f"the Dask scheduler {self._whose} has no workers: start some, or look why they left{why}"

    @property
    def n_slots(self) -> int:
        """Threads of all workers, at least 1: how many tasks run at the same time."""
        self._look_around()
        return self._n_slots

    @property
    def n_gpus(self) -> int:
        """Workers that were started with ``--resources GPU=1``."""
        self._look_around()
        return self._n_gpus

    def _look_around(self) -> None:
        """Now and then release what is due, count the workers, and bring back embedded ones that Dask gave up."""
        client, submitted = self._client, self._submitted
        if client is None or submitted is None or not self.is_connected or time.monotonic() - self._looked_at < LOOK_S:
            return
        self._looked_at = time.monotonic()
        submitted.release_due()
        self._count_workers(client)
        if self._embedded is not None:
            self._embedded.scale(self._settings.workers)

    def _count_workers(self, client: Client) -> None:
        with contextlib.suppress(OSError, KeyError, TimeoutError):
            workers = client.scheduler_info(n_workers=-1)["workers"].values()
            self._served = time.monotonic() if workers else self._served
            self._n_slots = max(1, sum(worker["nthreads"] for worker in workers))
            self._n_gpus = sum(worker.get("resources", {}).keys() >= GPU_WORKER.keys() for worker in workers)

    @property
    def dashboard_url(self) -> str | None:
        """Address of the Dask dashboard, while connected and where one answers; of an embedded one with its token."""
        return self._link if self.is_connected else None

    def _find_dashboard(self, client: Client) -> str | None:
        if self._embedded is not None:
            return f"{self._embedded.dashboard_link}?token={self._dashboard_token}"
        return reachable(client.dashboard_link)

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        message, submitted = event[1], self._submitted
        if "refused" in message:
            self._refusal = str(message["refused"])
            log.warning("%s", self._refusal)
        elif "results" not in message:
            self._on_progress(message)
        elif submitted is not None:
            submitted.take_results(message["task"], message["results"])

    def _disconnect(self) -> None:
        if self._submitted is not None:
            self._submitted.abandon()
            self._submitted = None
        if self._client is not None:
            with contextlib.suppress(OSError, TimeoutError, RuntimeError):
                self._client.close(timeout=1)
            self._client = None


def register_load_ahead(client: Client) -> None:
    """Register the plugin with the scheduler; where that fails, steps load what they need themselves."""
    with contextlib.suppress(Exception):
        client.register_plugin(LoadAhead())
