"""The embedded Dask cluster, and who may talk to a scheduler, and how: TLS of that cluster, and of a scheduler at an address.

A Dask scheduler runs whatever it is sent, so both ends of every connection present a certificate of one authority. The service
and its embedded scheduler, which are one process, pass on objects instead.
"""

import logging
import sys
import warnings
from typing import Final

import dask
from distributed import LocalCluster, Scheduler, Security

from service.execution.dask.compiled_code import compiled_code_environment
from service.execution.dask.task import WORKER_ENVIRONMENT
from service.settings import Settings

SCHEDULER_SETTINGS: Final[dict[str, object]] = {
    "distributed.admin.event-loop": "asyncio" if sys.platform == "win32" else "uvloop",
    "distributed.scheduler.rootish-taskgroup": 1_000_000_000,
    "distributed.scheduler.rootish-taskgroup-dependencies": 1_000_000_000,
    "distributed.deploy.lost-worker-timeout": 300.0,
    "distributed.worker.http.routes": [],
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.monitor-interval": "500ms",
    "distributed.admin.tick.interval": "2s",
    "distributed.admin.tick.cycle": "5s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.system-monitor.disk": False,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.dashboard.bokeh-application.keep_alive_milliseconds": 10_000,
    "distributed.scheduler.dashboard.bokeh-application.check_unused_sessions_milliseconds": 5_000,
    "distributed.client.scheduler-info-interval": "60s",
}
"""Settings of the embedded scheduler.

The first is an event loop in C, which takes less time a message. With the next two, tasks that are ready wait in the scheduler's
queue, in the order of their priorities, rather than in the queues of the workers: a new run is served as soon as any worker is
free, and a worker that dies brings only the one or two tasks under suspicion that it had. The fourth is the time [s] that a
dead worker has to come back before another takes its place; Dask's 15 s are too few beside a load. The fifth leaves the workers
without HTTP pages. The others look less often, or not at all, at processes and event loops: Dask's statistical profiler alone
(100 samples a second of every process) takes a tenth of a core for as long as the service runs, whether it computes or not. The
memory manager moves copies of results, of which steps have none."""
UNUSED_CALLBACKS: Final = ("idle-timeout", "no-workers-timeout")
"""What the scheduler looks after four times a second, and what is never so: it ends neither idle nor without workers."""
SYNC_S: Final = 60.0
"""How often the embedded cluster tells its scheduler its own name, which nobody asks for [s]."""

HEARTBEAT_S: Final = 2.0
"""How often an embedded worker tells its scheduler that it lives, four times less often than Dask asks a few workers for [s].

Nothing waits for it: that a worker has died is seen by its connection."""


def start_embedded(settings: Settings) -> LocalCluster:
    """Start one worker process a core, one thread each, all of it on loopback."""
    dask.config.set(SCHEDULER_SETTINGS)
    cluster = LocalCluster(
        n_workers=settings.workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=f"127.0.0.1:{settings.dashboard_port}",
        memory_limit=settings.worker_memory_bytes or "auto",
        env=WORKER_ENVIRONMENT | compiled_code_environment(settings.compiled_dir),
        local_directory=str(settings.data_dir.resolve() / "dask"),
        silence_logs=logging.ERROR,
        security=cluster_security(settings),
        protocol="tls://",
        scheduler_sync_interval=SYNC_S,
    )
    slow_heartbeats(cluster)
    cluster.sync(stop_unused_callbacks, cluster.scheduler)
    return cluster


async def stop_unused_callbacks(scheduler: Scheduler) -> None:
    """Stop what an embedded scheduler looks after without need (`UNUSED_CALLBACKS`)."""
    for name in UNUSED_CALLBACKS:
        if name in scheduler.periodic_callbacks:
            scheduler.periodic_callbacks[name].stop()


def cluster_security(settings: Settings) -> Security:
    """Security of all connections between service, scheduler and workers.

    An embedded cluster gets a key of its own, which exists in the memory of its processes only. A ``tls://`` scheduler is
    met with the files that the settings name. A ``tcp://`` scheduler gets none: the settings have refused those that are
    reachable by others.
    """
    if settings.scheduler is None:
        return Security.temporary()
    if not settings.scheduler.startswith("tls://"):
        return Security()
    certificate, key = settings.scheduler_certificate
    return Security(
        tls_ca_file=str(settings.tls_ca),
        tls_client_cert=str(certificate),
        tls_client_key=str(key),
        require_encryption=True,
    )


def address_within(cluster: LocalCluster) -> str:
    """An address of an embedded scheduler that only its own process reaches: nothing is packed and encrypted on the way."""
    scheduler = cluster.scheduler
    with warnings.catch_warnings():  # Dask puts the machine's address into the name, and warns where it has none
        warnings.simplefilter("ignore", RuntimeWarning)
        cluster.sync(scheduler.listen, "inproc://")
    return str(scheduler.listeners[-1].contact_address)


def slow_heartbeats(cluster: LocalCluster) -> None:
    """Have the workers of an embedded cluster say that they live every `HEARTBEAT_S`."""
    handlers = cluster.scheduler.handlers
    answer = handlers["heartbeat_worker"]
    handlers["heartbeat_worker"] = lambda **beat: {**answer(**beat), "heartbeat-interval": HEARTBEAT_S}
