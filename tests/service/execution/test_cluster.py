"""An external Dask scheduler: it may be late, die and come back; what ran on it is lost, and known to be."""

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import time

import pytest

from service.errors import SchedulerUnavailableError
from service.execution import cluster as scheduler
from service.execution.cluster import NICENESS, WORKER_ENVIRONMENT, Cluster
from service.settings import Settings

WAIT_S = 120
"""A process starts in seconds, but in a minute on a machine that is busy with others."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class External:
    """A scheduler and one worker in processes of their own."""

    def __init__(self, folder):
        self.port = free_port()
        self.folder = folder
        self.processes = []

    @property
    def address(self):
        return f"tcp://127.0.0.1:{self.port}"

    def launch(self, *arguments):
        log = (self.folder / f"{len(self.processes)}.log").open("w")
        command = [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        log.close()
        self.processes.append(process)
        return process

    def start_scheduler(self):
        return self.launch("dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--dashboard-address", ":0")

    def start_worker(self):
        return self.launch("dask_worker", self.address, "--nthreads", "1", "--no-dashboard", "--no-nanny")

    def stop(self):
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait(timeout=10)


def test_a_worker_computes_in_one_thread():
    """XLA starts its threads, one a core as it thinks, when it first computes."""
    program = """
import pathlib, jax.numpy
jax.numpy.ones(3).block_until_ready()
print([file.read_text().strip() for file in pathlib.Path("/proc/self/task").glob("*/comm")].count("tf_XLAEigen"))
"""
    count = {}
    for name, more in (("worker", scheduler.WORKER_ENVIRONMENT), ("three cores", {"NPROC": "3"})):
        done = subprocess.run([sys.executable, "-c", program], env=os.environ | more, capture_output=True, text=True, check=True)
        count[name] = int(done.stdout)
    assert count == {"worker": 1, "three cores": 3}


@pytest.fixture
def external(tmp_path):
    external = External(tmp_path)
    yield external
    external.stop()


def connect_within(cluster, seconds):
    until = time.monotonic() + seconds
    while True:
        try:
            return cluster.connect()
        except SchedulerUnavailableError:
            if time.monotonic() > until:
                raise


def make_work(seconds=0.0):
    def work(call, report, is_cancelled):
        import time

        report({"call": call})
        time.sleep(seconds)
        return call + 1

    return work


def make_environment_work():
    def work(call, report, is_cancelled):
        import os

        return {name: os.environ.get(name) for name in call}

    return work


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_scheduler_may_be_late_and_die_and_come_back(external, tmp_path):
    told = queue.SimpleQueue()
    ended = queue.SimpleQueue()
    cluster = Cluster(Settings(data_dir=tmp_path, scheduler=external.address), told.put)
    cluster.start()
    assert not cluster.is_connected
    first = external.start_scheduler()
    external.start_worker()
    connect_within(cluster, WAIT_S)
    cluster.submit("one", make_work(), 1, ended.put)
    ending = ended.get(timeout=WAIT_S)
    assert (ending.fate, ending.result) == ("done", 2)
    assert told.get(timeout=WAIT_S)["call"] == 1
    assert cluster.n_slots == 1

    cluster.submit("alone", make_environment_work(), list(WORKER_ENVIRONMENT), ended.put)
    assert ended.get(timeout=WAIT_S).result == WORKER_ENVIRONMENT, "whoever started the worker, its numerics take one thread"

    cluster.submit("two", make_work(seconds=2 * WAIT_S), 2, ended.put)
    told.get(timeout=WAIT_S)
    os.kill(first.pid, signal.SIGKILL)
    assert ended.get(timeout=WAIT_S).fate == "lost"
    external.start_scheduler()
    external.start_worker()
    assert connect_within(cluster, WAIT_S) is True
    assert cluster.connect() is False
    cluster.submit("two-again", make_work(), 2, ended.put)
    assert ended.get(timeout=WAIT_S).result == 3
    assert told.get(timeout=WAIT_S)["call"] == 2
    cluster.stop()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_embedded_worker_that_dask_gave_up_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(scheduler, "RESTART_S", 0.01)
    ended = queue.SimpleQueue()
    told = queue.SimpleQueue()
    cluster = Cluster(Settings(data_dir=tmp_path, workers=1, dashboard_port=0), told.put)
    cluster.start()
    try:
        cluster.submit("first", make_priority_work(), 0, ended.put)
        priorities, pid = ended.get(timeout=WAIT_S).result
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert priorities == (own, max(own, NICENESS)), "only the thread that computes steps back"
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
        cluster.submit("second", make_priority_work(), 0, ended.put)
        until = time.monotonic() + WAIT_S
        while ended.empty() and time.monotonic() < until:
            assert cluster.n_slots == 1
            time.sleep(0.1)
        assert ended.get(timeout=1).result[1] != pid
    finally:
        cluster.stop()


def make_priority_work():
    def work(call, report, is_cancelled):
        import os
        import threading

        threads = os.getpid(), threading.get_native_id()
        return tuple(os.getpriority(os.PRIO_PROCESS, thread) for thread in threads), os.getpid()

    return work
