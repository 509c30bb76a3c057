"""A service in a process of its own, the client that uses it, and the measurements that tests send it."""

import base64
import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import h5py
import httpx
import numpy as np
import psutil
import zarr
from numpy.typing import NDArray
from pydantic import TypeAdapter
from undrawn import mark_of

from api.client.ptyxas import PREFIX, Client
from storage.results import ResultsStore
from storage.writers.cxi import write_cxi
from tasks.ptycho.probe import ProbeSpec
from tasks.ptycho.scan import Scan
from tasks.simulation.specimen import Simulation, SimulationOptions, simulate
from tasks.simulation.truth import STATES, Assessment, assess

PTYXAS: Final = Path(sys.executable).with_name("ptyxas")
N_STATES: Final = 2
OPTIONS: Final[dict[str, Any]] = {
    "reconstruct": {"cycles": 60},
    "kkr": {"start": 40, "every": 20},
    "domains": {"n_domains": 4, "replicates": 5},
}
"""Two rounds with a barrier between them. There are more domains than states, because fits that failed lie far off."""

BRIEF_OPTIONS: Final[dict[str, Any]] = {
    "reconstruct": {"cycles": 60},
    "kkr": {"start": 10, "every": 50},
    "domains": {"n_domains": 3, "replicates": 0},
}
"""Of runs that are disturbed: most cycles are in the second round, so that a service can be killed in the middle of it."""

PRELOAD: Final = "DASK_DISTRIBUTED__WORKER__PRELOAD"
UNDRAWN: Final = str(Path(__file__).with_name("undrawn.py"))
"""Where Dask's workers read what to load as they start, and what lets a run do without its figures."""
N_WORKERS: Final = 2
"""Workers of a service that is not told otherwise."""

Writer = Callable[[Path, Scan], None]
"""Writes a scan to a file of one format."""
Array = NDArray[Any]
OpenLab = Callable[..., contextlib.AbstractContextManager["Lab"]]
"""Type of `open_lab`."""
Measure = Callable[..., Simulation]
"""Type of `small_specimen`."""


class ServiceProcess:
    """``ptyxas serve`` on a folder, from its first answer until it is stopped or killed."""

    def __init__(self, data_dir: Path, *flags: str) -> None:
        self.data_dir = data_dir
        self.log = data_dir.with_name(f"{data_dir.name}.log")
        with self.log.open("w") as log:
            command = [
                str(PTYXAS),
                "serve",
                "--data-dir",
                str(data_dir),
                "--port",
                "0",
                "--dashboard-port",
                "0",
                "--workers",
                str(N_WORKERS),
                *flags,
            ]
            environment = {PRELOAD: UNDRAWN} | os.environ | {"NO_COLOR": "1"}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        self.url = self._wait_for_address()

    def leave_undrawn(self, run_id: str, *but: str) -> None:
        """Leave out the figures of a run, all but those whose names begin with one of ``but``, or all but one."""
        mark = mark_of(self.data_dir, run_id)
        mark.parent.mkdir(exist_ok=True)
        mark.with_suffix(".part").write_text(" ".join(but))
        mark.with_suffix(".part").rename(mark)

    def _wait_for_address(self, timeout_s: float = 90.0) -> str:
        until = time.monotonic() + timeout_s
        while time.monotonic() < until and self.process.poll() is None:
            if found := re.search(r"serves (http://[\d.]+:\d+)", self.log.read_text()):
                return found[1]
            time.sleep(0.05)
        self.process.kill()
        raise AssertionError(f"the service did not start: {self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        """End it as a power cut would, and check that its workers end too."""
        self.end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as an operator would, by SIGTERM."""
        self.end(signal.SIGTERM)

    def end(self, how: signal.Signals) -> None:
        """Send a signal and wait until the service and all its child processes have ended."""
        living = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        self.process.send_signal(how)
        self.process.wait(timeout=60)
        _, left = psutil.wait_procs(living, timeout=30)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        assert left == [], f"processes outlived the service: {left}"


@dataclass(frozen=True)
class Job:
    """A run that has ended, and all its events."""

    view: dict[str, Any]
    events: list[dict[str, Any]]

    @property
    def id(self) -> str:
        """Identifier of the run."""
        return str(self.view["id"])

    def computed(self) -> list[str]:
        """Stages of the steps that were computed for this run, in order."""
        return [event["stage"] for event in self.events if event["kind"] == "unit" and event["computed"]]


@dataclass
class Lab:
    """A running service, and requests to it as a user would send them."""

    serving: ServiceProcess
    client: Client
    http: httpx.Client
    simulations: dict[str, Simulation] = field(default_factory=dict)
    """Measurement of each dataset, by its identifier."""

    def create(self, **changes: Any) -> str:
        """Create an open dataset and return its identifier."""
        spec = {"title": "specimen", "sample": {"formula": "LiVO2"}, "absorber": {"element": "V", "edge": "K"}}
        return str(self.client.create_dataset(spec | changes)["id"])

    def put(self, dataset: str, name: str, path: Path) -> httpx.Response:
        """Upload a file unchanged, with its digest."""
        body = path.read_bytes()
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        headers = {"Content-Digest": f"sha-256=:{digest}:"}
        return self.http.put(f"/datasets/{dataset}/scans/{name}", content=body, headers=headers)

    def upload(
        self, simulation: Simulation, folder: Path, write: Sequence["Writer"], group: str = "", n: int | None = None
    ) -> str:
        """Create a sealed dataset of a simulated measurement, its files written by each of ``write`` in turn."""
        probe = TypeAdapter(ProbeSpec).dump_python(simulation.probe_guess, mode="json")
        sample = {"formula": simulation.specimen.states[0].formula, "group": group}
        dataset = self.create(title=f"specimen {simulation.options.seed}", sample=sample, probe=probe)
        for number, scan in enumerate(simulation.scans[:n]):
            path = folder / f"{number:03d}"
            write[number % len(write)](path, scan)
            assert self.put(dataset, f"e{number:03d}", path).raise_for_status().status_code == 201
            path.unlink()
        self.client.seal(dataset)
        self.simulations[dataset] = simulation
        return dataset

    def submit(
        self, datasets: list[str], options: dict[str, Any], name: str = "", *, is_drawn: bool | Sequence[str] = True
    ) -> str:
        """Submit a run and return its identifier.

        Of its figures all are drawn, or one where it is not to be drawn, or those whose names begin as ``is_drawn`` says.
        """
        run_id = str(self.client.submit(datasets, options, name)["id"])
        if is_drawn is not True:
            self.serving.leave_undrawn(run_id, *(is_drawn or ()))
        return run_id

    def run(self, datasets: list[str], options: dict[str, Any], name: str = "", *, is_drawn: bool | Sequence[str] = True) -> Job:
        """Submit a run and follow it to its end; its figures are those of `submit`."""
        run_id = self.submit(datasets, options, name, is_drawn=is_drawn)
        return self.job(run_id, list(self.client.follow(run_id)))

    def job(self, run_id: str, events: list[dict[str, Any]]) -> Job:
        """Return a run that has ended, as the service reports it."""
        return Job(self.client.run(run_id), events)

    def results(self, job: Job) -> ResultsStore:
        """Return the results on disk."""
        return ResultsStore(self.serving.data_dir / "runs" / job.id / "results.zarr")

    def array(self, job: Job, path: str) -> Array:
        """Read one array of the results on disk."""
        group, _, name = path.rpartition("/")
        return np.asarray(self.results(job).read(group, name)[0])

    def arrays(self, run_id: str, dataset: str) -> dict[str, Array]:
        """Read every numerical array in the results of a run; in their paths the dataset's identifier is replaced by ``it``."""
        group = zarr.open_group(self.serving.data_dir / "runs" / run_id / "results.zarr", mode="r")
        members = {path: node for path, node in group.members(max_depth=None) if isinstance(node, zarr.Array)}
        found = {path.replace(dataset, "it"): np.asarray(node[...]) for path, node in members.items()}
        return {path: values for path, values in found.items() if values.dtype.kind in "biufc"}

    def assess(self, job: Job, dataset: str, labels: Array | None = None) -> Assessment:
        """Compare the maps of a dataset, and its domains or other ``labels``, with the truth."""
        names = (*STATES, *(f"{name}_sigma" for name in STATES), "n_absorber", "mask")
        maps = {name: self.array(job, f"{dataset}/maps/{name}") for name in names}
        y_m, x_m = (self.array(job, f"{dataset}/maps/{axis}") for axis in "yx")
        spectra = self.array(job, f"{dataset}/spectra/absorption"), self.array(job, f"{dataset}/spectra/phase")
        labels = self.array(job, f"{dataset}/domains/label") if labels is None else labels
        return assess(self.simulations[dataset], y_m, x_m, spectra, maps, labels)


def as_cxi(path: Path, scan: Scan) -> None:
    """Write a scan as CXI."""
    write_cxi(path, scan.counts, scan.positions_m, scan.mask, scan.energy_ev, scan.distance_m, scan.detector_pixel_size_m)


def named_arrays(scan: Scan) -> dict[str, Any]:
    """Return the arrays and numbers of a scan by their names in plain files."""
    names = ("counts", "positions_m", "mask", "energy_ev", "distance_m", "detector_pixel_size_m")
    return {name: getattr(scan, name) for name in names}


def as_npz(path: Path, scan: Scan) -> None:
    """Write a scan as NPZ."""
    with path.open("wb") as file:
        np.savez(file, **named_arrays(scan))


def as_hdf5(path: Path, scan: Scan) -> None:
    """Write a scan as plain HDF5."""
    with h5py.File(path, "w") as file:
        for name, values in named_arrays(scan).items():
            file[name] = values


@cache
def small_specimen(seed: int, n_energies: int = 14) -> Simulation:
    """Measure a particle of half a micrometre in two states, with vacuum around it, in few and small frames."""
    return simulate(
        SimulationOptions(
            seed=seed, n_energies=n_energies, n_positions_side=8, n_pixels=48, radius_m=0.28e-6, n_states=N_STATES, n_grains=4,
        )
    )  # fmt: skip


@cache
def brief_specimen() -> Simulation:
    """Measure a smaller particle at as few energies as a fit of its spectra needs."""
    return simulate(
        SimulationOptions(
            seed=0, n_energies=10, n_positions_side=6, n_pixels=48, radius_m=0.2e-6, n_states=N_STATES, n_grains=2,
        )
    )  # fmt: skip


@contextlib.contextmanager
def open_lab(data_dir: Path, *flags: str) -> Iterator[Lab]:
    """Start a service on a folder; it is stopped when the block ends."""
    serving = ServiceProcess(data_dir, *flags)
    try:
        with Client(serving.url) as client, httpx.Client(base_url=serving.url + PREFIX, timeout=60) as http:
            yield Lab(serving, client, http)
    finally:
        if serving.process.poll() is None:
            serving.stop()
