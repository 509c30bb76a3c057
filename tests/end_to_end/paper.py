"""The paper's whole job, measured: one particle of the paper's size, registered in place and analysed by a service of its own.

40 energies, 33 x 33 positions of 150 nm, frames of 256 x 256 (11 GB of counts); ``--size small`` is far less. Prints the time of
every stage, cycles by energy, the memory of the service and its workers, bytes on disk, and errors against the truth::

    python tests/end_to_end/paper.py --size paper --folder /scratch/paper --workers 2
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import psutil
from lab import ServiceProcess
from rich.console import Console

from api.cli.demo import assess_run, errors_table
from api.cli.simulate import Measurement, measure
from api.client.ptyxas import Client
from service.settings import Settings
from tasks.simulation.specimen import SimulationOptions

SIZES: Final = {
    "paper": SimulationOptions(n_positions_side=33, n_pixels=256, photons=1e8, radius_m=1.9e-6, n_grains=60),
    "small": SimulationOptions(
        n_energies=12, n_positions_side=8, n_pixels=48, pixel_size_m=25e-9, radius_m=0.32e-6, n_states=2, n_grains=5
    ),
}
SAMPLE_S: Final = 0.5
"""Time between two looks at the memory of the processes."""


@dataclass
class Memory:
    """Largest resident memory [bytes] of a service, and of the largest of the processes that it started."""

    service: int = 0
    worker: int = 0

    def look(self, process: psutil.Process) -> None:
        """Take the present memory into account."""
        self.service = max(self.service, process.memory_info().rss)
        for child in process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                self.worker = max(self.worker, child.memory_info().rss)


@dataclass
class Timeline:
    """When the steps of each stage ran [s since the run was submitted], and the cycles of each energy."""

    begins: dict[str, float] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)
    busy: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    cycles: dict[float, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def take(self, event: dict[str, Any], now: float) -> None:
        """Take an event of the run into account."""
        if event["kind"] == "note":
            self.warnings.append(event["text"])
        if event["kind"] != "unit":
            return
        stage, seconds = event["stage"], event["seconds"]
        self.begins[stage] = min(self.begins.get(stage, now), now - seconds)
        self.ends[stage] = now
        self.busy[stage] += seconds
        if stage == "reconstruct":
            self.cycles[event["energy_ev"]] = event["cycle"]


def main() -> int:
    """Measure, analyse and print; the exit status tells whether the run succeeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="paper")
    parser.add_argument("--folder", type=Path, help="for scans and data; removed at the end if not given")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--energies", type=int, help="fewer or more energies than the size has")
    chosen = parser.parse_args()
    options = SIZES[chosen.size]
    if chosen.energies is not None:
        options = replace(options, n_energies=chosen.energies)
    with tempfile.TemporaryDirectory(prefix="ptyxas-paper-") as folder:
        return play(chosen.folder or Path(folder), options, chosen.workers)


def play(folder: Path, options: SimulationOptions, workers: int) -> int:
    """One job, by a service of its own; returns the exit status."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = ("--register-roots", str(folder / "scans"), "--workers", str(workers))
    serving = ServiceProcess(folder / "data", *flags)
    try:
        return analyse(serving, folder / "scans", options)
    finally:
        serving.stop()


def analyse(serving: ServiceProcess, folder: Path, options: SimulationOptions, *, is_drawn: bool = True) -> int:
    """Measure a particle into a folder that the service may read, analyse it there, and print; returns the exit status.

    All but one of the figures are left out where the run is not to be drawn.
    """
    console, begun = Console(width=120), time.monotonic()
    measured = measure(options, folder)
    console.print(
        f"measured {len(measured.files)} energies, {measured.n_bytes / 1e6:.0f} MB, in {time.monotonic() - begun:.0f} s"
    )
    with Client(serving.url) as client, watched(serving) as memory:
        begun = time.monotonic()
        dataset = register(client, measured, folder)
        console.print(f"registered in {time.monotonic() - begun:.1f} s")
        run_id = submit(client, dataset, measured)
        if not is_drawn:
            serving.leave_undrawn(run_id)
        run, timeline, seconds = follow(client, run_id)
    console.print(f"{run['state']} {seconds:.1f} s after the run's start; {run['error'] or ''}")
    if run["state"] != "succeeded":
        return 1
    print_timeline(console, timeline)
    console.print(f"memory: service {memory.service / 2**20:.0f} MiB, largest worker {memory.worker / 2**20:.0f} MiB")
    for name in ("units", "runs"):
        console.print(f"{name}: {size_of(serving.data_dir / name) / 1e6:.1f} MB on disk")
    console.print(errors_table(assess_run(measured.simulation, Settings(data_dir=serving.data_dir), run)[1]))
    return 0


def register(client: Client, measured: Measurement, folder: Path) -> str:
    """Register the scans where they are; returns the dataset's id."""
    sample = {"name": "simulated", "formula": measured.formula, "group": "simulated"}
    about = {"title": "simulated", "sample": sample, "absorber": measured.absorber, "probe": measured.probe}
    return str(client.call("POST", "/datasets/register", json={**about, "path": str(folder.resolve())})["id"])


def submit(client: Client, dataset: str, measured: Measurement) -> str:
    """Submit a run of the dataset with the defaults; returns its identifier."""
    n_states = len(measured.simulation.specimen.states)
    return str(client.submit([dataset], {"domains": {"n_domains": n_states}}, "paper")["id"])


def follow(client: Client, run_id: str) -> tuple[dict[str, Any], Timeline, float]:
    """The run once it has ended, its timeline, and the seconds that it took since it was submitted."""
    begun, timeline = time.monotonic(), Timeline()
    for event in client.follow(run_id):
        timeline.take(event, time.monotonic() - begun)
    return client.run(run_id), timeline, time.monotonic() - begun


@contextmanager
def watched(serving: ServiceProcess) -> Iterator[Memory]:
    """The memory of a service and its workers, looked at until the block ends."""
    memory, ended, process = Memory(), threading.Event(), psutil.Process(serving.process.pid)

    def look() -> None:
        while not ended.wait(SAMPLE_S):
            with suppress(psutil.NoSuchProcess):
                memory.look(process)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        ended.set()
        thread.join()


def print_timeline(console: Console, timeline: Timeline) -> None:
    """Stages with their times, cycles by energy, and what the run had to say."""
    for stage, begin in timeline.begins.items():
        console.print(f"{stage:>12}: {begin:7.1f} to {timeline.ends[stage]:7.1f} s, {timeline.busy[stage]:8.1f} s of workers")
    cycles = dict(sorted(timeline.cycles.items()))
    console.print(f"cycles, {sum(cycles.values())} in all: " + ", ".join(f"{energy:.1f} eV {n}" for energy, n in cycles.items()))
    for text in timeline.warnings:
        console.print(text, highlight=False)


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    found = 0
    for place, _, names in os.walk(folder):  # rounds that nothing needs any more are being removed
        for name in names:
            with suppress(FileNotFoundError):
                found += Path(place, name).stat().st_size
    return found


if __name__ == "__main__":
    sys.exit(main())
