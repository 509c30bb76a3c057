"""How a run scales over workers: measured on one and two, fitted, and projected to many.

The coupling steps of made-up objects run on one worker and on two, for some numbers of energies and sizes of the object. A step's
time is a constant and a share of the pixels that it treats, fitted by its kind to what one worker took; a run's time follows by
list scheduling of its own graph, so that barriers count. Reconstruction is added at the measured time of a visit to a frame's
pixel. Runs of steps that do nothing tell how many steps a second Dask itself can pass on::

    python tests/benchmarks/bench_scale.py --energies 10 20 40 --pixels 96 256 600 --runs 100
"""

import argparse
import heapq
import os
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from bench_coupling_workers import OPTIONS, STAGES, dataset, measure, write_states
from bench_workers import reconstruct_one
from pydantic import TypeAdapter
from scipy.optimize import nnls

from service.execution.dask.cluster import Cluster
from service.execution.dask.task import WORKER_ENVIRONMENT, Outcome, TaskSpec
from service.execution.worker import StepResult
from service.settings import DataPaths, Settings
from service.stages.pipeline import build_graph
from service.stages.reconstruct import ReconstructStep
from service.stages.scans import FRAME_PIXEL_S
from service.workflow.graph import Graph
from service.workflow.inputs import RunInput
from service.workflow.step import Step
from tasks.options.run import RunOptions

PAPER_ENERGIES, PAPER_SIDE, PAPER_FRAMES, PAPER_PIXELS = 40, 608, 1089, 256
"""The particle of `make paper`: energies, canvas [px], frames an energy, their side [px]."""
PROJECTED = (1, 2, 8, 40, 400)
"""Numbers of workers."""
DATASETS = 1000
PREDICTED_STAGES = ("reconstruct", *STAGES)


@dataclass(frozen=True)
class Measured:
    """The coupling of one dataset on some workers."""

    n_energies: int
    side: int
    n_workers: int
    wall: float
    steps: list[dict[str, Any]]
    """As `bench_coupling_workers.run_step` returns them."""


def kind(step: Step) -> str:
    """What a step does, without for which energy, tile or round."""
    return step.stage + step.part


def treated_pixels(graph: Graph, n_energies: int, side: int) -> dict[str, float]:
    """Pixels of all energies that one step of each kind treats, the steps of one barrier sharing them."""
    found = {}
    for name in {kind(step) for step in graph.steps.values()}:
        barriers = Counter(step.name.partition("-round")[2] for step in graph.steps.values() if kind(step) == name)
        found[name] = n_energies * side**2 / max(barriers.values())
    return found


def graph_of_coupling(n_energies: int, side: int) -> Graph:
    return build_graph([dataset(n_energies, side)], TypeAdapter(RunOptions).validate_python(OPTIONS), "run")


def couple(n_energies: int, side: int, n_workers: int) -> Measured:
    """Run the coupling steps of a dataset that was never measured."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        paths = DataPaths(*(Path(folder).resolve() / name for name in ("datasets", "units", "runs")))
        graph = graph_of_coupling(n_energies, side)
        write_states(paths, graph, side)
        return Measured(n_energies, side, n_workers, *measure(graph, paths, n_workers))


def fit(measured: Iterable[Measured]) -> dict[str, tuple[float, float]]:
    """Constant [s] and slope [s / px] of the time of each kind of step, both at least 0, by least relative squares."""
    seen: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for one in measured:
        graph = graph_of_coupling(one.n_energies, one.side)
        pixels = treated_pixels(graph, one.n_energies, one.side)
        for step in one.steps:
            name = kind(graph.steps[step["name"]])
            seen[name].append((pixels[name], step["seconds"]))
    found = {}
    for name, pairs in seen.items():
        size, seconds = np.array(pairs).T
        rows = np.stack([np.ones_like(size), size], axis=1) / seconds[:, None]
        constant, slope = nnls(rows, np.ones(len(seconds)))[0]
        found[name] = (float(constant), float(slope))
    return found


def durations(
    graph: Graph, n_energies: int, side: int, coefficients: Mapping[str, tuple[float, float]], visit_s: float
) -> dict[str, float]:
    """Time of each step [s] that the model knows: reconstructions by their cost, the others by the pixels they treat."""
    pixels = treated_pixels(graph, n_energies, side)
    found = {}
    for name, step in graph.steps.items():
        if isinstance(step, ReconstructStep):
            found[name] = step.cost / FRAME_PIXEL_S * visit_s
        elif kind(step) in coefficients:
            constant, slope = coefficients[kind(step)]
            found[name] = constant + slope * pixels[kind(step)]
    return found


def scheduled(graph: Graph, seconds: Mapping[str, float], n_workers: int) -> float:
    """Wall time [s] of the steps with known times, each begun, in the graph's order, once its inputs and a worker are there."""
    needs = {name: {key for key in graph.steps[name].needs if key in seconds} for name in seconds}
    users = defaultdict(list)
    for name, inputs in needs.items():
        for key in inputs:
            users[key].append(name)
    order = {name: number for number, name in enumerate(seconds)}
    ready = [(order[name], name) for name, inputs in needs.items() if not inputs]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < n_workers:
            _, name = heapq.heappop(ready)
            heapq.heappush(running, (now + seconds[name], name))
        now, ended = heapq.heappop(running)
        for name in users[ended]:
            needs[name].discard(ended)
            if not needs[name]:
                heapq.heappush(ready, (order[name], name))
    return now


def visit_seconds(n_cycles: int = 20, n_side: int = 18) -> float:
    """Processor time [s] that a visit of a reconstruction takes for each pixel of a frame of the paper's size, on one thread.

    It is that of further cycles; what a reconstruction does once is left out.
    """
    os.environ.update(WORKER_ENVIRONMENT)

    def elapsed(n: int) -> float:
        begun = time.process_time()
        reconstruct_one(n, n_side, PAPER_PIXELS)
        return time.process_time() - begun

    elapsed(2)  # compiles
    return (elapsed(2 + n_cycles) - elapsed(2)) / (n_cycles * n_side**2 * PAPER_PIXELS**2)


def do_nothing(*_: Any) -> StepResult:
    """What a step of the runs without numerics does."""
    return StepResult("done")


def steps_per_second(graph: Graph, n_runs: int) -> tuple[float, float]:
    """Steps that Dask passes on in a second, and processor time [ms] of the service's process for each."""
    n_steps = n_runs * len(graph.steps)
    ended, all_ended = Counter[str](), threading.Event()

    def on_end(key: str, outcome: Outcome) -> None:
        ended[outcome.fate] += 1
        if ended.total() == n_steps:
            all_ended.set()

    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Settings(data_dir=Path(folder), workers=2, dashboard_port=0), lambda _: None)
        cluster.start()
        try:
            begun, used = time.monotonic(), time.process_time()
            for run in range(n_runs):
                cluster.submit(nothing_but_steps(graph, run), on_end)
            all_ended.wait()
            wall, used = time.monotonic() - begun, time.process_time() - used
        finally:
            cluster.stop()
    print(f"{n_runs} runs of {len(graph.steps)} steps that do nothing: {dict(ended)}")
    return n_steps / wall, 1e3 * used / n_steps


def nothing_but_steps(graph: Graph, run: int) -> list[TaskSpec]:
    """The graph of one of many runs, every step of which does nothing."""
    return [
        TaskSpec(f"{name}-{run}", do_nothing, name, tuple(f"{key}-{run}" for key in step.needs), -float(number))
        for number, (name, step) in enumerate(graph.steps.items())
    ]


def paper_run() -> RunInput:
    """A dataset of the paper's size that was never measured."""
    made_up = dataset(PAPER_ENERGIES, PAPER_SIDE)
    scans = tuple(replace(scan, n_positions=PAPER_FRAMES, n_pixels=PAPER_PIXELS) for scan in made_up.scans)
    return replace(made_up, scans=scans)


def show_measured(measured: Sequence[Measured], coefficients: Mapping[str, tuple[float, float]]) -> None:
    """A line for each dataset and number of workers, with what the model says."""
    print("energies  px  workers  wall s  model s  efficiency  steps/s  read MB  written MB  worker MiB")
    alone = {(one.n_energies, one.side): one.wall for one in measured if one.n_workers == 1}
    for one in measured:
        graph = graph_of_coupling(one.n_energies, one.side)
        known = durations(graph, one.n_energies, one.side, coefficients, 0.0)
        model = scheduled(graph, {name: t for name, t in known.items() if graph.steps[name].stage in STAGES}, one.n_workers)
        moved = [sum(step[way] for step in one.steps) / 1e6 for way in ("read", "written")]
        print(
            f"{one.n_energies:8d} {one.side:4d} {one.n_workers:8d} {one.wall:7.1f} {model:8.1f} "
            f"{alone[one.n_energies, one.side] / one.wall / one.n_workers:11.2f} {len(one.steps) / one.wall:8.1f} "
            f"{moved[0]:8.0f} {moved[1]:11.0f} {max(step['peak'] for step in one.steps) / 2**20:11.0f}"
        )


def show_projection(coefficients: Mapping[str, tuple[float, float]], visit_s: float, dask_rate: float) -> None:
    """One run of the paper's size, and a thousand of them, on some workers."""
    graph = build_graph([paper_run()], RunOptions(), "run")
    known = durations(graph, PAPER_ENERGIES, PAPER_SIDE, coefficients, visit_s)
    work, n_steps = sum(known.values()), len(graph.steps)
    print(f"a run of the paper's size: {n_steps} steps, {work / 60:.0f} min of one worker in {', '.join(PREDICTED_STAGES)}")
    print("workers  one run, min  efficiency  1,000 datasets, h  steps/s asked of Dask")
    for n_workers in PROJECTED:
        wall = scheduled(graph, known, n_workers)
        asked = n_steps * n_workers / work
        hours = DATASETS * max(work / n_workers, n_steps / dask_rate, wall / DATASETS) / 3600
        print(f"{n_workers:7d} {wall / 60:13.1f} {work / wall / n_workers:11.2f} {hours:18.1f} {asked:22.2f}")
    print(f"Dask is the limit from {dask_rate * work / n_steps:.0f} workers on")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--energies", type=int, nargs="+", default=[10, 20, 40])
    parser.add_argument("--pixels", type=int, nargs="+", default=[96, 256, 600])
    parser.add_argument("--runs", type=int, default=100, help="runs of steps that do nothing")
    chosen = parser.parse_args()
    measured = [couple(n, side, workers) for side in chosen.pixels for n in chosen.energies for workers in (1, 2)]
    coefficients = fit(one for one in measured if one.n_workers == 1)
    show_measured(measured, coefficients)
    visit_s = visit_seconds()
    print(f"a visit takes {1e9 * visit_s:.0f} ns a pixel of a frame")
    rate, used_ms = steps_per_second(build_graph([paper_run()], RunOptions(), "run"), chosen.runs)
    print(f"Dask passes on {rate:.0f} steps a second, {used_ms:.1f} ms of the service's processor each")
    show_projection(coefficients, visit_s, rate)


if __name__ == "__main__":
    main()
