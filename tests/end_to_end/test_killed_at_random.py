"""Workers, an external scheduler and the service killed with SIGKILL at random moments, over and over.

Every run ends as succeeded, with the arrays of a run that nobody disturbed, and what was finished is never computed again.
The moments come from a seed, which every failure names: ``PTYXAS_TEST_SEED=<seed> pytest <this file>`` meets them again.
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from lab import BRIEF_OPTIONS, PRELOAD, UNDRAWN, Array, Lab, OpenLab, Writer, brief_specimen

from api.client.ptyxas import UnreachableError
from service.execution.dask.task import WORKER_ENVIRONMENT

SEED = int(os.environ.get("PTYXAS_TEST_SEED", random.SystemRandom().randrange(10**6)))
N_DEATHS = int(os.environ.get("PTYXAS_TEST_DEATHS", "1"))
"""How often each kind is killed: once in every run of the tests, three times by ``make survive``."""
DEATHS = {"embedded": ["worker", "service"] * N_DEATHS, "external": ["scheduler"] * N_DEATHS}
N_STEPS = 29
"""Ten energies in two rounds, the barrier between them, spectra, fit, maps, domains, results, figures in three steps."""
LOOK_NS = 2_000_000_000
"""Between a worker's look for the manifest and its line in the log another, an orphan, may put the step in its place; that is a
moment, but seconds on a machine that is busy with others."""
WAIT_S = 900
"""A disturbed run takes three minutes, and seven on a machine that is busy with others."""
DASK = Path(sys.executable).with_name("dask")
Strike = Callable[[random.Random], None]
"""Kills something, chosen by a sequence of random numbers."""


def finished_steps(data_dir: Path) -> dict[str, int]:
    """When each finished step was put in its place, by the rename's mark on its folder [ns since 1970], by its key."""
    found: dict[str, int] = {}
    for manifest in data_dir.glob("units/*/[!.]*/manifest.json"):
        with contextlib.suppress(FileNotFoundError):
            found[manifest.parent.name] = manifest.parent.stat().st_ctime_ns
    return found


def kill(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL to all of them, none having time to notice the others' end."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


def tree(pid: int) -> list[psutil.Process]:
    """A process and all it started."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def workers_below(pid: int) -> list[psutil.Process]:
    """Dask's worker processes among those that a process started."""
    found: list[psutil.Process] = []
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            is_worker = process.environ().get("OMP_NUM_THREADS") == "1"
            found += [process] if is_worker and any("spawn_main" in word for word in process.cmdline()) else []
    return found


class Arena:
    """One data folder, a service on it, and the runs that are being disturbed."""

    lab: Lab

    def __init__(self, folder: Path, open_lab: OpenLab, writer: Writer) -> None:
        self.data_dir, self.log = folder / "data", folder / "computations"
        self._folder, self._open_lab, self._writer = folder, open_lab, writer
        self._stack = contextlib.ExitStack()

    def open(self, *flags: str) -> None:
        """Start the service, again if need be."""
        self._stack.close()
        self.lab = self._stack.enter_context(self._open_lab(self.data_dir, *flags))

    def close(self) -> None:
        self._stack.close()

    def submit(self) -> tuple[str, str]:
        """The same measurement again, as a dataset of its own that shares no step with the others: dataset and run."""
        dataset = self.lab.upload(brief_specimen(), self._folder, [self._writer])
        return dataset, self.lab.submit([dataset], BRIEF_OPTIONS, is_drawn=False)

    def wait_for_steps(self, before: int, n_steps: int, run: str) -> None:
        """Until so many steps more than ``before`` are finished, or the run has ended."""
        until = time.monotonic() + WAIT_S
        while len(finished_steps(self.data_dir)) < before + n_steps:
            assert time.monotonic() < until, f"seed {SEED}: {n_steps} steps were not finished: {self.state(run)}"
            time.sleep(0.01)

    def state(self, run: str) -> Any:
        with contextlib.suppress(UnreachableError):
            return self.lab.client.run(run)
        return "the service is down"

    def end_of(self, run: str) -> dict[str, Any]:
        """The run once it has ended."""
        until = time.monotonic() + WAIT_S
        while (view := self.lab.client.run(run))["state"] in ("queued", "running"):
            assert time.monotonic() < until, f"seed {SEED}: the run does not end: {view}"
            time.sleep(0.1)
        return view

    def disturb(self, cluster: str, strikes: dict[str, Strike]) -> tuple[str, dict[str, Any]]:
        """A run during which ``strikes[kind](moments)`` happen at random moments: its dataset, and the run as it ended."""
        moments = random.Random(f"{SEED} {cluster}")
        kinds = moments.sample(DEATHS[cluster], k=len(DEATHS[cluster]))
        before = len(finished_steps(self.data_dir))
        dataset, run = self.submit()
        for kind, n_steps in zip(kinds, sorted(moments.choices(range(N_STEPS), k=len(kinds))), strict=True):
            self.wait_for_steps(before, n_steps, run)
            time.sleep(moments.uniform(0, 0.5))
            strikes[kind](moments)
        return dataset, self.end_of(run)


@pytest.fixture(scope="module")
def arena(own_lab: OpenLab, writers: dict[str, Writer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    folder = tmp_path_factory.mktemp("arena")
    witness = Path(__file__).with_name("witness.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PRELOAD, repr([str(witness), UNDRAWN]))
        patch.setenv("PTYXAS_TEST_LOG", str(folder / "computations"))
        patch.setenv("PTYXAS_KEEP_ROUNDS", "1")  # to see when each was written
        arena = Arena(folder, own_lab, writers["cxi"])
        yield arena
        arena.close()


def check(arena: Arena, undisturbed: dict[str, Array], dataset: str, run: dict[str, Any]) -> None:
    """The three promises."""
    assert run["state"] == "succeeded", f"seed {SEED}: {run['error']}"
    assert {stage["state"] for stage in run["stages"]} <= {"done", "skipped"}
    assert sum(stage["total"] for stage in run["stages"]) == N_STEPS
    arrays = arena.lab.arrays(run["id"], dataset)
    assert arrays.keys() == undisturbed.keys()
    for name, values in arrays.items():
        np.testing.assert_allclose(values, undisturbed[name], rtol=1e-6, atol=0, err_msg=f"seed {SEED}: {name}")
    finished = finished_steps(arena.data_dir)
    begun = [line.split() for line in arena.log.read_text().splitlines()]
    again = [key for key, began in begun if int(began) > finished[key] + LOOK_NS]
    assert again == [], f"seed {SEED}: computed although finished"


def test_workers_and_service_killed(arena: Arena, undisturbed: dict[str, Array]) -> None:
    def kill_worker(moments: random.Random) -> None:
        living = workers_below(arena.lab.serving.process.pid)
        kill(living and [moments.choice(living)])

    def kill_service(moments: random.Random) -> None:
        process = arena.lab.serving.process
        # now with all it started, now leaving orphans that work on beside the next service until they notice
        kill(moments.choice([tree(process.pid), [psutil.Process(process.pid)]]))
        process.wait()
        arena.open()

    arena.open()
    check(arena, undisturbed, *arena.disturb("embedded", {"worker": kill_worker, "service": kill_service}))


class Cluster:
    """A Dask scheduler and a worker, started again as systemd or Kubernetes would where they end."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._log = (folder / "dask.log").open("a")
        self._folder = folder
        self.scheduler, self.workers = self._start_scheduler(), self._start_workers()
        self._closing = threading.Event()
        self._supervisor = threading.Thread(target=self._keep_workers)
        self._supervisor.start()

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        environment = os.environ | WORKER_ENVIRONMENT
        return subprocess.Popen(
            [str(DASK), *command], stdout=self._log, stderr=self._log, env=environment, start_new_session=True
        )

    def _start_scheduler(self) -> subprocess.Popen[bytes]:
        return self._start("scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")

    def _start_workers(self) -> subprocess.Popen[bytes]:
        return self._start(
            "worker", self.address, "--host", "127.0.0.1", "--nworkers", "1", "--nthreads", "1", "--no-dashboard",
            "--local-directory", str(self._folder),
        )  # fmt: skip

    def kill_scheduler(self, moments: random.Random) -> None:
        kill([psutil.Process(self.scheduler.pid)])
        self.scheduler.wait()
        time.sleep(moments.uniform(0, 1))
        self.scheduler = self._start_scheduler()

    def _keep_workers(self) -> None:
        while not self._closing.wait(0.2):
            if self.workers.poll() is not None:
                self.workers = self._start_workers()

    def close(self) -> None:
        self._closing.set()
        self._supervisor.join()
        for process in (self.workers, self.scheduler):
            if process.poll() is None:
                kill(tree(process.pid))
            process.wait()
        self._log.close()


def test_external_scheduler_killed(arena: Arena, undisturbed: dict[str, Array], tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    try:
        arena.open("--scheduler", cluster.address)
        check(arena, undisturbed, *arena.disturb("external", {"scheduler": cluster.kill_scheduler}))
    finally:
        arena.close()
        cluster.close()
