"""What a run spends outside its numerical kernels: scheduling, Zarr, HTTP.

    python tests/benchmarks/bench_overhead.py                         about a minute; what it says of ten minutes is inferred
    python tests/benchmarks/bench_overhead.py --positions 12 --pixels 96 --cycles 800 --start 500 --energies 40     ten minutes
    python tests/benchmarks/bench_overhead.py --energies 400 --positions 2 --pixels 64 --cycles 20 --uncoupled  many small steps

One worker by default, so that no time is lost in waiting for others at the barriers, which is no overhead of the service.
A step says how long it took and how much of that went into reading and writing arrays; the rest of its time are kernels
(compiling them included). What lies between steps is scheduling, and before the first one the import of the numerics.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from bench_service import serving
from pydantic import TypeAdapter

from api.client.ptyxas import Client
from storage.writers.cxi import write_cxi
from tasks.ptycho.probe import ProbeSpec
from tasks.simulation.specimen import Simulation, SimulationOptions, simulate

TEN_MINUTES_S = 600.0


@dataclass(frozen=True)
class Spent:
    """Where the time of a run's workers went [s]."""

    wall: float
    n_workers: int
    n_steps: int
    kernels: float
    storage: float
    barriers: float
    """Workers with nothing to do while one step brings all energies together."""
    start: float
    """Until the first step began: the run taken up, the numerics imported."""

    @property
    def between(self) -> float:
        """Between steps."""
        return self.wall * self.n_workers - self.kernels - self.storage - self.barriers - self.start

    @property
    def share(self) -> float:
        """Share of the workers' time outside kernels."""
        return (self.start + self.between + self.storage) / (self.wall * self.n_workers - self.barriers)

    @property
    def share_of_ten_minutes(self) -> float:
        """The same for ten minutes of one worker with as many steps, each as large as here."""
        return (self.start / self.n_workers + self.between + self.storage) / TEN_MINUTES_S


def account(events: list[dict[str, Any]], n_workers: int) -> Spent:
    """Add up what the events of a run say."""
    began, ended = (
        moment(event) for event in events if event["kind"] == "state" and event["state"] in ("running", "succeeded", "failed")
    )
    steps = [event for event in events if event["kind"] == "unit" and event["computed"]]
    counts = {event["stage"]: sum(other["stage"] == event["stage"] for other in steps) for event in steps}
    storage = [step["seconds"] if step["stage"] == "results" else step["storage_seconds"] for step in steps]
    alone = sum(step["seconds"] for step in steps if step["stage"] == "couple" or counts[step["stage"]] == 1)
    first = sorted(moment(step) - step["seconds"] for step in steps)[:n_workers]
    return Spent(
        wall=ended - began,
        n_workers=n_workers,
        n_steps=len(steps),
        kernels=sum(step["seconds"] for step in steps) - sum(storage),
        storage=sum(storage),
        barriers=alone * (n_workers - 1),
        start=sum(first) - n_workers * began,
    )


def moment(event: dict[str, Any]) -> float:
    """When something happened [s since 1970]."""
    return datetime.fromisoformat(event["time"]).timestamp()


def upload(client: Client, simulation: Simulation, folder: Path) -> str:
    """Send a simulated measurement; its sealed dataset."""
    probe = TypeAdapter(ProbeSpec).dump_python(simulation.probe_guess, mode="json")
    sample = {"formula": simulation.specimen.states[0].formula}
    spec = {"title": "overhead", "sample": sample, "absorber": {"element": "V", "edge": "K"}, "probe": probe}
    dataset = str(client.create_dataset(spec)["id"])
    path = folder / "scan.cxi"
    for number, scan in enumerate(simulation.scans):
        write_cxi(path, scan.counts, scan.positions_m, scan.mask, scan.energy_ev, scan.distance_m, scan.detector_pixel_size_m)
        client.put_scan(dataset, path, f"e{number}")
    client.seal(dataset)
    return dataset


def show(spent: Spent) -> None:
    """Print the account."""
    total = spent.wall * spent.n_workers
    print(f"{spent.n_steps} steps in {spent.wall:.1f} s on {spent.n_workers} worker(s)")
    for name in ("kernels", "storage", "between", "start", "barriers"):
        seconds = getattr(spent, name)
        print(f"  {name:9} {seconds:8.2f} s  {seconds / total:6.1%}  {seconds / spent.n_steps * 1e3:7.1f} ms a step")
    print(f"outside kernels: {spent.share:.1%} of this run; of ten minutes with as many steps: {spent.share_of_ten_minutes:.1%}")


def main() -> None:
    """Run one and print where its time went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--energies", type=int, default=12)
    parser.add_argument("--positions", type=int, default=8, help="along each side")
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--start", type=int, default=100, help="cycle after which the energies are coupled, every 50")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--uncoupled", action="store_true", help="reconstruct only: few frames show no vacuum to couple by")
    given = parser.parse_args()
    what = SimulationOptions(
        n_energies=given.energies, n_positions_side=given.positions, n_pixels=given.pixels,
        radius_m=0.035e-6 * given.positions,
    )  # fmt: skip
    simulation = simulate(what)
    kkr = {"mode": "off"} if given.uncoupled else {"start": given.start}
    options = {"reconstruct": {"cycles": given.cycles}, "kkr": kkr}
    with tempfile.TemporaryDirectory() as name, serving(Path(name) / "data", given.workers) as (url, pid), Client(url) as client:
        dataset, service = upload(client, simulation, Path(name)), psutil.Process(pid)
        before = sum(service.cpu_times()[:2])
        run = client.submit([dataset], options)["id"]
        events = list(client.follow(run))
        ended, service_s = client.run(run), sum(service.cpu_times()[:2]) - before
        n_files = sum(path.is_file() for path in Path(name, "data", "units").rglob("*"))
    spent = account(events, given.workers)
    show(spent)
    print(f"the service: {service_s / spent.n_steps * 1e3:.1f} ms of processor time a step; {n_files} files of steps")
    if ended["state"] != "succeeded":
        sys.exit(f"the run {ended['state']}: {ended['error']}")


if __name__ == "__main__":
    main()
