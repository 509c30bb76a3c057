"""The Dask cluster: graphs, priorities, cancelling, and a scheduler that may be late, die and come back."""

from __future__ import annotations

import os
import platform
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dask_processes import External

from service.errors import SchedulerUnavailableError
from service.execution.dask import submitted
from service.execution.dask.cluster import Cluster
from service.execution.dask.embedded import SCHEDULER_SETTINGS
from service.execution.dask.task import NICENESS, WORKER_ENVIRONMENT, Outcome, TaskSpec, Work
from service.execution.worker import StepResult
from service.settings import Settings
from service.stages.context import IsCancelled, Report

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

WAIT_S = 300
"""A process starts in seconds, but in a minute or two on a machine that is busy with others."""

Ended = queue.SimpleQueue[tuple[str, Outcome]]


@pytest.fixture
def external(tmp_path: Path) -> Iterator[External]:
    external = External(tmp_path)
    yield external
    external.stop()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, queue.SimpleQueue[dict[str, Any]]]]:
    """A cluster of one worker, and what its tasks report."""
    reports: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    cluster = Cluster(Settings(data_dir=tmp_path_factory.mktemp("dask"), workers=1, dashboard_port=0), reports.put)
    cluster.start()
    yield cluster, reports
    cluster.stop()


@pytest.fixture
def one_worker(embedded: tuple[Cluster, queue.SimpleQueue[dict[str, Any]]]) -> Cluster:
    return embedded[0]


def put(ended: Ended) -> Callable[[str, Outcome], None]:
    return lambda key, outcome: ended.put((key, outcome))


def make_work(seconds: float = 0.0) -> Work:
    """Reports what it is called with, takes its time unless it is cancelled, and returns its successor."""

    def work(request: int, report: Report, is_cancelled: IsCancelled) -> StepResult:
        import time

        from service.execution.worker import StepResult

        report({"request": request})
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if is_cancelled():
                return StepResult("cancelled")
            time.sleep(0.02)
        return StepResult("done", attributes={"found": request + 1, "at": time.monotonic()})

    return work


def make_waiting_work(gate: str) -> Work:
    """Waits until there is a file."""

    def work(request: int, report: Report, is_cancelled: IsCancelled) -> StepResult:
        import os
        import time

        from service.execution.worker import StepResult

        while not os.path.exists(gate) and not is_cancelled():
            time.sleep(0.02)
        return StepResult("done")

    return work


def make_failing_work() -> Work:
    def work(request: str, report: Report, is_cancelled: IsCancelled) -> StepResult:
        from service.execution.worker import StepResult

        if request == "raise":
            raise RuntimeError("the sky fell down")
        return StepResult("failed", message="no photons")

    return work


def make_telling_work() -> Work:
    """Returns the environment of its process, its number, and the priorities of its first and its own thread."""

    def work(request: list[str], report: Report, is_cancelled: IsCancelled) -> StepResult:
        import os
        import threading

        from service.execution.worker import StepResult

        threads = os.getpid(), threading.get_native_id()
        priorities = [os.getpriority(os.PRIO_PROCESS, thread) for thread in threads]
        found = {name: os.environ.get(name) for name in request}
        return StepResult("done", attributes={"environment": found, "pid": os.getpid(), "priorities": priorities})

    return work


def make_listing_work() -> Work:
    """Returns which of some libraries its process has loaded."""

    def work(request: list[str], report: Report, is_cancelled: IsCancelled) -> StepResult:
        import sys

        from service.execution.worker import StepResult

        return StepResult("done", attributes={"loaded": [name for name in request if name in sys.modules]})

    return work


def attributes_of(ended: Ended) -> dict[str, Any]:
    """Attributes of the next task that ends well."""
    _, outcome = ended.get(timeout=WAIT_S)
    assert outcome.fate == "done", outcome
    return dict(outcome.results[0].attributes)


def has_large_pages() -> bool:
    """Whether the kernel grants large pages to whoever asks, and the C library can ask."""
    granted = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    name, version = platform.libc_ver()
    can_ask = name == "glibc" and tuple(map(int, version.split(".")[:2])) >= (2, 35)
    return can_ask and granted.exists() and "[never]" not in granted.read_text()


def test_a_worker_computes_in_one_thread() -> None:
    """XLA starts its threads, one a core as it thinks, when it first computes."""
    program = """
import pathlib, jax.numpy
jax.numpy.ones(3).block_until_ready()
print([file.read_text().strip() for file in pathlib.Path("/proc/self/task").glob("*/comm")].count("tf_XLAEigen"))
"""
    count = {}
    for name, more in (("worker", WORKER_ENVIRONMENT), ("three cores", {"NPROC": "3"})):
        done = subprocess.run([sys.executable, "-c", program], env=os.environ | more, capture_output=True, text=True, check=True)
        count[name] = int(done.stdout)
    assert count == {"worker": 1, "three cores": 3}


@pytest.mark.skipif(not has_large_pages(), reason="this system grants no large pages")
def test_arrays_of_a_worker_lie_in_large_pages() -> None:
    program = """
import pathlib, jax.numpy
held = jax.numpy.ones(2**24).block_until_ready()  # 64 MiB
lines = pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines()
print(next(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages")))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | WORKER_ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 32 * 1024, "kB"


def test_the_scheduler_knows_which_task_reads_which(one_worker: Cluster) -> None:
    ended: Ended = queue.SimpleQueue()
    tasks = [
        TaskSpec("ptyxas-first-1", make_work(seconds=30), 1),
        TaskSpec("ptyxas-second-1", make_work(), 2, inputs=("ptyxas-first-1",)),
        TaskSpec("ptyxas-third-1", make_work(), 3, inputs=("ptyxas-first-1", "ptyxas-second-1", "ptyxas-gone-1")),
    ]
    one_worker.submit(tasks[:2], put(ended))
    one_worker.submit(tasks[2:], put(ended))
    assert one_worker._client is not None
    until = time.monotonic() + WAIT_S
    found: dict[str, set[str]] = {}
    while len(found) < 3 and time.monotonic() < until:
        found = one_worker._client.run_on_scheduler(dependencies_of, [task.key for task in tasks])
    assert found == {
        "ptyxas-first-1": set(),
        "ptyxas-second-1": {"ptyxas-first-1"},
        "ptyxas-third-1": {"ptyxas-first-1", "ptyxas-second-1"},
    }
    one_worker.release(task.key for task in tasks)
    assert ended.empty(), "what was released is not heard of"


def dependencies_of(keys: list[str], dask_scheduler: Any) -> dict[str, set[str]]:
    tasks = [dask_scheduler.tasks[key] for key in keys if key in dask_scheduler.tasks]
    return {task.key: {read.key for read in task.dependencies} for task in tasks}


def test_a_string_that_equals_a_key_stays_a_string(one_worker: Cluster) -> None:
    ended: Ended = queue.SimpleQueue()
    one_worker.submit([TaskSpec("ptyxas-one-2", make_work(), 1), TaskSpec("PATH", make_work(), 1)], put(ended))
    one_worker.submit([TaskSpec("ptyxas-two-2", make_telling_work(), ["PATH"])], put(ended))
    found = {key: outcome.results[0].attributes for key, outcome in (ended.get(timeout=WAIT_S) for _ in range(3))}
    assert found["ptyxas-two-2"]["environment"] == {"PATH": found["ptyxas-two-2"]["environment"]["PATH"]}
    one_worker.release(found)


def test_tasks_of_higher_priority_are_run_first(one_worker: Cluster, tmp_path: Path) -> None:
    """The first holds the worker until the scheduler has all the others."""
    ended: Ended = queue.SimpleQueue()
    first = TaskSpec("ptyxas-first-3", make_waiting_work(str(tmp_path / "gate")), 0, priority=100.0)
    one_worker.submit([first], put(ended))
    tasks = [TaskSpec(f"ptyxas-task-{n}-3", make_work(), n, priority=float(n)) for n in range(20)]
    one_worker.submit(tasks, put(ended))
    late = TaskSpec("ptyxas-task-100-3", make_work(), 15, priority=15.5)
    one_worker.submit([late], put(ended))
    assert one_worker._client is not None
    until = time.monotonic() + WAIT_S
    while len(one_worker._client.run_on_scheduler(dependencies_of, [task.key for task in (first, *tasks, late)])) < 22:
        assert time.monotonic() < until
        time.sleep(0.05)
    (tmp_path / "gate").touch()
    order = [ended.get(timeout=WAIT_S)[0] for _ in range(22)]
    expected = ["ptyxas-first-3"] + [f"ptyxas-task-{n}-3" for n in range(19, 15, -1)] + ["ptyxas-task-100-3"]
    assert order[: len(expected)] == expected
    one_worker.release(order)


def test_a_failure_is_told_with_the_task_where_it_began(one_worker: Cluster) -> None:
    ended: Ended = queue.SimpleQueue()
    tasks = [
        TaskSpec("ptyxas-bad-4", make_failing_work(), "return"),
        TaskSpec("ptyxas-reader-4", make_work(), 1, inputs=("ptyxas-bad-4",)),
        TaskSpec("ptyxas-worse-4", make_failing_work(), "raise"),
    ]
    one_worker.submit(tasks, put(ended))
    found = dict(ended.get(timeout=WAIT_S) for _ in tasks)
    assert found["ptyxas-bad-4"] == Outcome("failed", (StepResult("failed", message="no photons"),), blamed="ptyxas-bad-4")
    assert (found["ptyxas-reader-4"].fate, found["ptyxas-reader-4"].blamed) == ("failed", "ptyxas-bad-4")
    assert found["ptyxas-worse-4"] == Outcome("failed", message="RuntimeError: the sky fell down", blamed="ptyxas-worse-4")
    one_worker.release(found)


def test_a_released_task_stops_and_its_worker_is_free(embedded: tuple[Cluster, queue.SimpleQueue[dict[str, Any]]]) -> None:
    cluster, reports = embedded
    ended: Ended = queue.SimpleQueue()
    cluster.submit([TaskSpec("ptyxas-long-5", make_work(seconds=2 * WAIT_S), 51)], put(ended))
    while reports.get(timeout=WAIT_S).get("request") != 51:
        pass
    cluster.release(["ptyxas-long-5"])
    cluster.submit([TaskSpec("ptyxas-next-5", make_work(), 52)], put(ended))
    assert attributes_of(ended)["found"] == 53
    assert ended.empty()
    cluster.release(["ptyxas-next-5"])


def test_what_is_released_right_after_it_was_submitted_is_not_computed(one_worker: Cluster) -> None:
    """The scheduler takes up a graph in the background, so a release may overtake it."""
    ended: Ended = queue.SimpleQueue()
    keys = [f"ptyxas-brief-{n}-6" for n in range(200)]
    one_worker.submit([TaskSpec(key, make_work(seconds=0.5), 1) for key in keys], put(ended))
    one_worker.release(keys)
    until = time.monotonic() + WAIT_S
    time.sleep(2 * submitted.RELEASE_AGAIN_S)
    one_worker.release([])
    assert one_worker._client is not None
    while (left := one_worker._client.run_on_scheduler(dependencies_of, keys)) and time.monotonic() < until:
        time.sleep(0.1)
    assert left == {}
    assert ended.empty()


def connect_within(cluster: Cluster, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while True:
        try:
            return cluster.connect()
        except SchedulerUnavailableError:
            if time.monotonic() > until:
                raise


def test_a_scheduler_may_be_late_and_die_and_come_back(external: External, tmp_path: Path) -> None:
    reports: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    ended: Ended = queue.SimpleQueue()
    cluster = Cluster(Settings(data_dir=tmp_path, scheduler=external.address), reports.put)
    cluster.start()
    assert not cluster.is_connected
    with pytest.raises(SchedulerUnavailableError):
        cluster.submit([TaskSpec("one", make_work(), 1)], put(ended))
    first = external.start_scheduler()
    external.start_worker()
    connect_within(cluster, WAIT_S)
    cluster.submit([TaskSpec("one", make_work(), 1)], put(ended))
    assert attributes_of(ended)["found"] == 2
    assert reports.get(timeout=WAIT_S).items() >= {"begun": True, "task": "one"}.items()
    assert reports.get(timeout=WAIT_S).items() >= {"request": 1, "task": "one"}.items()
    assert cluster.n_slots == 1

    cluster.submit([TaskSpec("alone", make_telling_work(), list(WORKER_ENVIRONMENT))], put(ended))
    assert attributes_of(ended)["environment"] == WORKER_ENVIRONMENT, "whoever started the worker, its numerics take one thread"

    cluster.submit([TaskSpec("two", make_work(seconds=2 * WAIT_S), 2)], put(ended))
    while reports.get(timeout=WAIT_S).get("request") != 2:
        pass
    os.kill(first.pid, signal.SIGKILL)
    assert ended.get(timeout=WAIT_S)[1].fate == "lost"
    external.start_scheduler()
    external.start_worker()
    assert connect_within(cluster, WAIT_S) is True
    assert cluster.connect() is False
    cluster.submit([TaskSpec("two-again", make_work(), 2)], put(ended))
    assert attributes_of(ended)["found"] == 3
    cluster.stop()


def test_a_step_takes_few_messages_of_dask(one_worker: Cluster) -> None:
    """That one task began travels with the end of the one before, and what has ended is released together."""

    def count(dask_worker: Any = None) -> int:
        return int(dask_worker.batched_stream.batch_count)

    def counts() -> list[int]:
        client = one_worker._client
        assert client is not None
        assert one_worker._embedded is not None
        scheduler = one_worker._embedded.scheduler
        streams = (*scheduler.client_comms.values(), *scheduler.stream_comms.values(), client.scheduler_comm)
        return [*client.run(count).values(), *(stream.batch_count for stream in streams)]

    n, ended = 40, queue.SimpleQueue[tuple[str, Outcome]]()
    before = counts()
    one_worker.submit([TaskSpec(f"ptyxas-few-{number}", make_work(seconds=0.04), number) for number in range(n)], put(ended))
    for _ in range(n):
        key, outcome = ended.get(timeout=WAIT_S)
        assert outcome.fate == "done"
        assert len(outcome.results) == 1
        one_worker.release([key])
    from_worker, to_client, to_worker, from_client = (now - then for now, then in zip(counts(), before, strict=True))
    assert from_worker < 2.5 * n  # of which one is what the work itself reports
    assert to_client < 2.5 * n
    assert to_worker < 1.5 * n
    assert from_client < 0.5 * n


def test_an_embedded_worker_that_dask_gave_up_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEDULER_SETTINGS, "distributed.deploy.lost-worker-timeout", 0.01)
    ended: Ended = queue.SimpleQueue()
    cluster = Cluster(Settings(data_dir=tmp_path, workers=1, dashboard_port=0), lambda report: None)
    cluster.start()
    try:
        cluster.submit([TaskSpec("first", make_telling_work(), [])], put(ended))
        found = attributes_of(ended)
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert found["priorities"] == [own, max(own, NICENESS)], "only the thread that computes steps back"
        os.kill(found["pid"], signal.SIGKILL)
        time.sleep(0.5)
        cluster.submit([TaskSpec("second", make_telling_work(), [])], put(ended))
        until = time.monotonic() + WAIT_S
        while ended.empty() and time.monotonic() < until:
            assert cluster.n_slots == 1
            time.sleep(0.1)
        assert attributes_of(ended)["pid"] != found["pid"]
    finally:
        cluster.stop()


def test_idle_workers_load_libraries_ahead_once_steps_are_to_come(one_worker: Cluster) -> None:
    ended: Ended = queue.SimpleQueue()
    libraries = ["jax", "matplotlib", "sklearn"]

    def loaded(key: str) -> list[str]:
        one_worker.submit([TaskSpec(key, make_listing_work(), libraries)], put(ended))
        return list(attributes_of(ended)["loaded"])

    assert loaded("before") == []
    one_worker.load_ahead()
    one_worker.load_ahead()
    until = time.monotonic() + WAIT_S
    while (found := loaded(f"after-{time.monotonic_ns()}")) != libraries:
        assert time.monotonic() < until, found
        time.sleep(0.5)
