"""The coupling of all energies on a service's Dask: wall and processor time on one worker and on two, and the longest step.

One worker and two take turns, so that a machine that changes its speed meanwhile does it to both.

    python tests/benchmarks/bench_coupling_workers.py --energies 40 --pixels 608 --turns 4
"""

import argparse
import json
import queue
import resource
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from distributed import get_worker
from numpy.typing import NDArray
from pydantic import TypeAdapter
from scipy import ndimage
from scipy.special import erf

from service.execution.dask.cluster import Cluster
from service.execution.dask.task import Outcome, TaskSpec
from service.execution.worker import StepResult, perform
from service.settings import DataPaths, Settings
from service.stages.context import IsCancelled, Report, StepRequest
from service.stages.pipeline import build_graph
from service.stages.reconstruct import ReconstructStep
from service.stages.scans import FIELD_BOX, field_box_of
from service.workflow.graph import Graph
from service.workflow.inputs import RunInput, ScanInput
from storage.artifacts import ArtifactStore
from tasks.gauge import Gauge
from tasks.options.run import RunOptions
from tasks.ptycho.scan import Canvas

OPTIONS = {"reconstruct": {"cycles": 30, "start_from": "optics"}, "kkr": {"start": 10, "every": 20}}
"""One barrier between two rounds, and the spectra."""
STAGES = ("couple", "spectra")


def dataset(n_energies: int, side: int) -> RunInput:
    """A dataset that was never measured."""
    scans = []
    for i, energy in enumerate(np.linspace(5420, 5540, n_energies)):
        pixel = 15e-9 * 5540 / energy
        canvas = Canvas((side, side), pixel, (-pixel * (side - 1) / 2, -pixel * (side - 1) / 2))
        scans.append(ScanInput(f"s{i}", float(energy), 4, 64, f"{i:064x}", canvas))
    return RunInput("ds", "ds", "", "LiVO2", {"element": "V", "edge": "K"}, {"probe": None}, tuple(scans))


def object_of(step: ReconstructStep, side: int) -> NDArray[np.complex64]:
    """A disc with some structure, in a gauge and a place of its own, with noise."""
    rng, scale = np.random.default_rng(int(step.energy_ev * 100)), step.scan.canvas.pixel_size_m / 15e-9
    y, x = (np.indices((side, side)) - (side - 1) / 2) * scale
    down, right = rng.normal(0, 2, 2)
    disc = ndimage.gaussian_filter(np.clip(0.3 * side - np.hypot(y - down, x - right), 0, 4) / 4, 1)
    disc *= 1 + 0.2 * np.sin((y - down) / 8) * np.cos((x - right) / 10)
    noise = rng.normal(0, 3e-3, (2, side, side))
    gauge = Gauge(rng.normal(0, 0.05), rng.uniform(-3, 3), (rng.normal(0, 0.005), rng.normal(0, 0.005)))
    absorption = disc * (0.05 + 0.05 * (1 + erf((step.energy_ev - 5470) / 4))) + noise[0]
    image = np.exp(-absorption + 1j * (noise[1] - 0.7 * disc))
    return np.asarray(image / gauge.factor((side, side)), dtype=np.complex64)


def write_states(paths: DataPaths, graph: Graph, side: int) -> None:
    """Store all rounds as reconstructions would leave them."""
    rim = side // 16
    dose = np.pad(np.full((side - 2 * rim, side - 2 * rim), 1e4, np.float32), rim)
    for step in graph.steps.values():
        if isinstance(step, ReconstructStep):
            arrays: dict[str, NDArray[Any]] = {
                "object": object_of(step, side), "dose": dose, "probe": np.ones((1, 64, 64), np.complex64),
                "errors": np.ones(5, np.float32), "prtf": np.linspace(1, 0, 33, dtype=np.float32),
            }  # fmt: skip
            ArtifactStore(paths.artifacts).write(
                step.key, arrays, {"warnings": [], "noise_error": 0.9, FIELD_BOX: field_box_of(dose)}
            )


def run_step(request: StepRequest, report: Report, is_cancelled: IsCancelled) -> StepResult:
    """Perform a step; who did, how long it took, how much of that in storage and on the processor, and what it read and wrote."""
    began, process = time.thread_time(), psutil.Process()
    before = process.io_counters()
    result = perform(request, report, is_cancelled)
    cpu, after = time.thread_time() - began, process.io_counters()
    found = {"name": request.step.name, "worker": get_worker().address, "seconds": result.seconds, "cpu": cpu,
             "storage": result.storage_seconds, "read": after.read_chars - before.read_chars,
             "written": after.write_chars - before.write_chars,
             "peak": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}  # fmt: skip
    return replace(result, attributes=found)


def measure(graph: Graph, paths: DataPaths, n_workers: int) -> tuple[float, list[dict[str, Any]]]:
    """Wall time [s] of all coupling steps on the workers of a service's cluster, and what each step took."""
    steps = [step for step in graph.steps.values() if step.stage in STAGES]
    ended: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    settings = Settings(data_dir=paths.artifacts.parent, workers=n_workers, dashboard_port=0)
    cluster = Cluster(settings, lambda report: None)
    cluster.start()
    try:
        assert cluster._client is not None
        cluster._client.run(warm_up)
        began = time.monotonic()
        tasks = [
            TaskSpec(step.name, run_step, StepRequest("run", step, paths), step.needs, priority=-number)
            for number, step in enumerate(steps)
        ]
        cluster.submit(tasks, lambda key, outcome: ended.put(outcome))
        outcomes = [ended.get() for _ in tasks]
        taken = time.monotonic() - began
    finally:
        cluster.stop()
    failed = [outcome for outcome in outcomes if outcome.fate != "done"]
    if failed:
        raise RuntimeError(str(failed[0]))
    return taken, [dict(outcome.results[0].attributes) for outcome in outcomes]


def warm_up() -> None:
    """Load what a worker of a running service has loaded."""
    import xraydb  # noqa: F401

    import tasks.coupling.spectra
    import tasks.ptycho.resolution  # noqa: F401


def in_folder(graph: Graph, side: int, n_workers: int) -> tuple[float, list[dict[str, Any]]]:
    """`measure` in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        paths = DataPaths(*(Path(folder).resolve() / name for name in ("datasets", "units", "runs")))
        write_states(paths, graph, side)
        return measure(graph, paths, n_workers)


def show(graph: Graph, n_workers: int, wall: float, found: list[dict[str, Any]]) -> None:
    """Print a table of the kinds of steps."""
    kinds: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in found:
        step = graph.steps[one["name"]]
        kinds[step.stage + step.part].append(one)
    cpu, storage = (sum(one[key] for one in found) for key in ("cpu", "storage"))
    print(f"{n_workers} workers: {wall:.1f} s, {cpu:.1f} s of processors, {storage:.1f} s of storage", flush=True)
    for kind, ones in kinds.items():
        longest = max(one["seconds"] for one in ones)
        print(f"  {kind:18} {len(ones):3} steps {sum(one['cpu'] for one in ones):6.2f} s  longest {longest:.2f} s"
              f"  storage {1e3 * sum(one['storage'] for one in ones) / len(ones):.0f} ms each")  # fmt: skip


def main() -> None:
    """Print the tables of all turns, and how much faster two workers are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--energies", type=int, default=40)
    parser.add_argument("--pixels", type=int, default=608)
    parser.add_argument("--turns", type=int, default=4)
    given = parser.parse_args()
    graph = build_graph([dataset(given.energies, given.pixels)], TypeAdapter(RunOptions).validate_python(OPTIONS), "run")
    walls: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(given.turns):
        for n_workers, taken in walls.items():
            wall, found = in_folder(graph, given.pixels, n_workers)
            taken.append(wall)
            show(graph, n_workers, wall, found)
    by_turn = [one / two for one, two in zip(*walls.values(), strict=True)]
    speed_up = sum(walls[1]) / sum(walls[2])
    print(json.dumps({"energies": given.energies, "pixels": given.pixels, "speed_up": speed_up, "by_turn": by_turn}))


if __name__ == "__main__":
    main()
