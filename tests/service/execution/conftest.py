"""A run loop on a real cluster with small fake stages, and what tests watch of it."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest
from places import on_disk

from service.execution.dask.cluster import Cluster
from service.execution.dask.task import Work
from service.execution.runner import Runner
from service.execution.submission import Executor
from service.execution.worker import StepResult
from service.records.run_repository import RunRepository
from service.records.run_steps import RunStepRepository, RunSteps
from service.records.views import RunView
from service.settings import DataPaths, Settings
from service.stages.context import IsCancelled, Report, StepRequest
from service.workflow.inputs import RunInput, ScanInput
from storage.catalogue.catalogue import Catalogue
from tasks.options.run import OPTIONS, RunOptions
from tasks.ptycho.scan import Canvas

WAIT_S = 120.0
"""A run of these takes a second, but half a minute on a machine that is busy with others."""


def made_up_input(n_energies: int = 12, name: str = "ds_a", is_open: bool = False) -> RunInput:
    """A dataset that was made up."""
    canvas = Canvas((64, 64), 1.5e-8, (0.0, 0.0))
    scans = tuple(ScanInput(f"s{i}", 5420.0 + 10 * i, 16, 32, f"{name}{i}", canvas) for i in range(n_energies))
    return RunInput(name, name, "g", "LiVO2", {"element": "V", "edge": "K"}, {}, scans, is_open)


def made_up_work(
    seconds: float = 0.0, fail: str = "", poison: str = "", warnings: dict[str, str] | None = None, slow: str = ""
) -> Work:
    """Stands in for `worker.perform`: writes a small array under the key, and a file that tests count.

    Parameters
    ----------
    seconds : float
        Time that each step takes, or each whose name begins with ``slow``.
    fail, poison : str
        Step that fails, and step that ends its worker's process.
    warnings : dict of str to str
        By step.
    """

    def work(request: StepRequest, report: Report, is_cancelled: IsCancelled) -> StepResult:
        import os
        import time

        import numpy as np

        from service.execution.worker import StepResult
        from storage.artifacts import ArtifactStore

        step, store = request.step, ArtifactStore(request.paths.artifacts)
        if store.has(step.key):
            return StepResult("done")
        (on_disk(request.paths.runs) / f"{time.time_ns()} {step.key} {request.run_id} {step.stage}.begun").touch()
        until = time.monotonic() + seconds * step.name.startswith(slow)
        while time.monotonic() < until:
            report({"run_id": request.run_id, "unit": step.name, "cycle": 1, "n_cycles": 2, "error": 0.1})
            if is_cancelled():
                return StepResult("cancelled")
            time.sleep(0.02)
        if fail and step.name == fail:
            return StepResult("failed", message="the sky fell down")
        if poison and step.name == poison:
            os._exit(1)
        found = [text for name, text in (warnings or {}).items() if name == step.name]
        store.write(step.key, {"x": np.ones(3)}, {"warnings": found})
        # one file a line: appending to one file from several processes may lose lines
        line = f"{time.time_ns()} {step.key} {request.run_id} {step.stage}"
        (on_disk(request.paths.runs) / f"{line}.log").touch()
        return StepResult("done", is_computed=True, seconds=seconds)

    return work


class NotedSteps(RunStepRepository):
    """Stands in for where the steps of runs that have ended are written down."""

    def __init__(self) -> None:
        self.noted: dict[str, tuple[Sequence[RunInput], RunSteps]] = {}

    def note(self, run_id: str, inputs: Sequence[RunInput], steps: RunSteps) -> None:
        self.noted[run_id] = inputs, steps


class Bench:
    """One run loop with its catalogue and folders, over a cluster shared by all tests."""

    def __init__(self, folder: Path, work: Work, datasets: dict[str, RunInput]) -> None:
        self.paths = DataPaths(folder / "datasets", folder / "units", folder / "runs")
        self.paths.runs.mkdir(exist_ok=True)
        self.catalogue = Catalogue(f"sqlite:///{folder}/catalogue.sqlite")
        self.records = RunRepository(self.catalogue)
        self.datasets = datasets
        self.kept_steps = NotedSteps()
        self.runner = Runner(self.records, self.paths, self.load, work, kept_steps=self.kept_steps)

    def load(self, ids: Sequence[str], options: RunOptions) -> list[RunInput]:
        return [self.datasets[name] for name in ids]

    def submit(self, run_id: str, *ids: str, **options: Any) -> None:
        self.records.open_run(run_id, run_id, ids, OPTIONS.validate_python(options))
        self.runner.wake()

    def cancel(self, run_id: str) -> None:
        self.paths.raise_stop_flag(run_id)
        self.runner.wake()

    def view(self, run_id: str) -> RunView:
        view = self.records.view(run_id)
        assert view is not None
        return view

    def wait(self, run_id: str, *states: str, timeout: float = WAIT_S) -> RunView:
        until = time.monotonic() + timeout
        while (view := self.view(run_id)).state not in states:
            assert time.monotonic() < until, f"{run_id} is {view.state} ({view.error}), {view.stages}"
            time.sleep(0.02)
        return view

    def wait_for_steps(self, n: int, timeout: float = WAIT_S) -> None:
        """Wait until ``n`` steps have been computed."""
        until = time.monotonic() + timeout
        while len(self.log()) < n:
            assert time.monotonic() < until, [(run.submitted, run.stages()) for run in self.runner._runs.values()]
            time.sleep(0.02)

    def begun_by(self, stage: str) -> list[str]:
        """Runs that began a step of a stage, once for each time."""
        return [path.stem.split()[2] for path in on_disk(self.paths.runs).glob(f"* {stage}.begun")]

    def wait_for_beginning(self, stage: str, timeout: float = WAIT_S) -> str:
        """Wait until a step of a stage has been begun, and return the run that began it."""
        until = time.monotonic() + timeout
        while not (runs := self.begun_by(stage)):
            assert time.monotonic() < until, f"no step of {stage} was begun"
            time.sleep(0.02)
        return runs[0]

    def log(self) -> list[list[str]]:
        """Key, run and stage of every step computed, in order."""
        return [path.stem.split()[1:] for path in sorted(on_disk(self.paths.runs).glob("*.log"))]

    def computed(self) -> list[str]:
        """Keys of every step computed, in order."""
        return [line[0] for line in self.log()]

    def seconds_of_a_run(self, run_id: str, *ids: str) -> float:
        """How long a run of one round takes at present, from its submission to its end: a measure of how busy the machine is."""
        began = time.monotonic()
        self.submit(run_id, *ids, reconstruct={"cycles": 1}, kkr={"mode": "off"})
        self.wait(run_id, "succeeded")
        return time.monotonic() - began

    def messages(self, run_id: str = "run_1") -> list[str]:
        return [event.data["text"] for event in self.records.events(run_id, 0) if event.kind == "note"]


MakeInput = Callable[..., RunInput]
FakeWork = Callable[..., Work]


@pytest.fixture
def run_input() -> MakeInput:
    """A dataset that was made up, by its number of energies, its name and whether it is open."""
    return made_up_input


@pytest.fixture
def fake_work() -> FakeWork:
    """What stands in for `worker.perform`."""
    return made_up_work


class MakeBench(Protocol):
    """Starts a bench on the shared cluster, or on another."""

    def __call__(self, work: Work | None = None, cluster: Executor | None = None, **datasets: RunInput) -> Bench: ...


Listener = Callable[[dict[str, Any]], None]


class SparingCluster(Cluster):
    """A cluster for made-up steps, whose workers load no libraries ahead: seconds of a processor in each."""

    def load_ahead(self) -> None:
        pass


@pytest.fixture(scope="module")
def cluster_and_listeners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, list[Listener]]]:
    listeners: list[Listener] = []
    settings = Settings(data_dir=tmp_path_factory.mktemp("dask"), workers=2, dashboard_port=0)

    def pass_on(report: dict[str, Any]) -> None:
        for listen in listeners:
            listen(report)

    cluster = SparingCluster(settings, pass_on)
    cluster.start()
    yield cluster, listeners
    cluster.stop()


@pytest.fixture
def cluster(cluster_and_listeners: tuple[Cluster, list[Listener]]) -> Cluster:
    return cluster_and_listeners[0]


@pytest.fixture
def wait_for_idle_workers(cluster: Cluster) -> Callable[..., None]:
    """Waits until no worker has anything to do."""

    def wait(timeout: float = WAIT_S) -> None:
        assert cluster._client is not None
        until = time.monotonic() + timeout
        while any(names for names in cluster._client.run(active_tasks).values()):
            assert time.monotonic() < until, "workers are still busy"
            time.sleep(0.05)

    return wait


def active_tasks(dask_worker: Any) -> list[str]:
    """Tasks whose code is running in a thread of a worker, whether the scheduler still wants them or not."""
    return list(dask_worker.active_threads.values())


@pytest.fixture
def make_bench(tmp_path: Path, cluster_and_listeners: tuple[Cluster, list[Listener]]) -> Iterator[MakeBench]:
    shared, listeners = cluster_and_listeners
    benches: list[Bench] = []

    def make(work: Work | None = None, cluster: Executor | None = None, **datasets: RunInput) -> Bench:
        bench = Bench(tmp_path, work or made_up_work(), datasets or {"a": made_up_input()})
        benches.append(bench)
        listeners.append(bench.runner.hear_progress)
        bench.runner.start(cluster or shared)
        return bench

    yield make
    listeners.clear()
    for bench in benches:
        bench.runner.stop()
        bench.catalogue.close()
