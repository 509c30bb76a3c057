"""A Dask scheduler and workers in processes of their own, which tests start and kill."""

import contextlib
import socket
import subprocess
import sys
from pathlib import Path


class External:
    """A scheduler and workers on loopback, in processes of their own.

    Parameters
    ----------
    folder : pathlib.Path
        For their logs.
    tls : tuple of str
        Arguments that give them their certificates; none for plain TCP.
    """

    def __init__(self, folder: Path, tls: tuple[str, ...] = ()) -> None:
        self.tls = tls
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        return f"{'tls' if self.tls else 'tcp'}://127.0.0.1:{self.port}"

    def launch(self, *arguments: str) -> subprocess.Popen[bytes]:
        return self.start("-m", "distributed.cli." + arguments[0], *arguments[1:])

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start Python with these arguments."""
        with (self.folder / f"{len(self.processes)}.log").open("w") as log:
            process = subprocess.Popen([sys.executable, *arguments], stdout=log, stderr=log, cwd=self.folder)
        self.processes.append(process)
        return process

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        return self.launch(
            "dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--dashboard-address", "127.0.0.1:0", *self.tls
        )

    def start_worker(self) -> subprocess.Popen[bytes]:
        return self.launch("dask_worker", self.address, "--nthreads", "1", "--no-dashboard", "--no-nanny", *self.tls)

    def stop(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait(timeout=60)
