"""What Dask has every worker do before its first task: compare its software with the service's, and load libraries ahead.

Another version of a numerical library, or another state of ptyxas itself, computes other numbers under the same key, which
later runs would then take for their own.
"""

import threading
from collections.abc import Mapping
from typing import Final

from distributed import Worker, WorkerPlugin

from service.execution.dask.task import NICENESS, lower_priority, prepare_numerics
from service.execution.libraries import load_ahead, pass_over_loaded
from service.versions import differences, software_versions

MOST_MEMORY_SHARE: Final = 0.25
"""Share of a worker's memory that libraries which nothing needs yet may take."""


class VersionCheck(WorkerPlugin):  # type: ignore[misc]  # distributed has no types
    """Closes a worker whose software differs from the service's; Dask calls it before the worker gets its first task.

    Parameters
    ----------
    topic : str
        Where a refusal is reported, as a dictionary with ``refused`` (the sentence) and ``worker`` (its address).
    expected : mapping
        The service's `service.versions.software_versions`.
    """

    def __init__(self, topic: str, expected: Mapping[str, str]) -> None:
        self.name = f"{topic}-versions"
        self.topic, self.expected = topic, dict(expected)

    async def setup(self, worker: Worker) -> None:
        """Compare, and close the worker with its nanny where it differs."""
        found = differences(self.expected, software_versions())
        if found:
            worker.log_event(self.topic, {"refused": f"worker {worker.address} got no work: {found}", "worker": worker.address})
            await worker.close(nanny=True, reason="other versions than the service's")


class LoadAhead(WorkerPlugin):  # type: ignore[misc]  # distributed has no types
    """Has a worker import the libraries of the stages, in a thread of its own, whenever it computes nothing.

    It goes on while the worker takes less than `MOST_MEMORY_SHARE` of its memory: all libraries take 480 MiB, JAX and the
    stages 250 of them.
    """

    name = "ptyxas-load-ahead"

    def setup(self, worker: Worker) -> None:
        """Start the thread."""
        limit = worker.memory_manager.memory_limit

        def has_memory_left() -> bool:
            return limit is None or worker.monitor.get_process_memory() < MOST_MEMORY_SHARE * limit

        def load() -> None:
            prepare_numerics()
            lower_priority(NICENESS)
            load_ahead(lambda: bool(worker.state.executing_count), has_memory_left)
            pass_over_loaded()

        threading.Thread(target=load, name=self.name, daemon=True).start()


def scheduler_difference(expected: Mapping[str, str], versions: Mapping[str, object]) -> str | None:
    """What differs between the service and a scheduler, from what ``Client.get_versions`` says of the scheduler.

    A scheduler computes nothing, so only what it shares with the service by its messages is compared.
    """
    packages = versions.get("packages")
    theirs = {str(name): str(version) for name, version in packages.items()} if isinstance(packages, Mapping) else {}
    return differences({name: expected[name] for name in ("dask", "distributed")}, theirs)
