"""Whether workers and the scheduler run the same software as the service, before they get any work.

Another version of a numerical library, or another state of ptyxas itself, computes other numbers under the same key, which
later runs would then take for their own.
"""

from collections.abc import Mapping

from distributed import Worker, WorkerPlugin

from service.versions import differences, software_versions


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


def scheduler_difference(expected: Mapping[str, str], versions: Mapping[str, object]) -> str | None:
    """What differs between the service and a scheduler, from what ``Client.get_versions`` says of the scheduler.

    A scheduler computes nothing, so only what it shares with the service by its messages is compared.
    """
    packages = versions.get("packages")
    theirs = {str(name): str(version) for name, version in packages.items()} if isinstance(packages, Mapping) else {}
    return differences({name: expected[name] for name in ("dask", "distributed")}, theirs)
