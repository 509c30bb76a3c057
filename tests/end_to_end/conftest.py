"""The service as its users meet it: the command ``ptyxas serve`` in a process of its own, and specimens of known chemistry.

One service and its runs are shared by all tests here; whoever breaks something starts a service of their own.
"""

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
from typing import Any

import h5py
import httpx
import numpy as np
import psutil
import pytest
import zarr
from pydantic import TypeAdapter

from api.cli.client import PREFIX, Client
from storage.results import ResultsStore
from storage.writers.cxi import write_cxi
from tasks.ptycho.probe import ProbeSpec
from tasks.ptycho.scan import Scan
from tasks.simulation.specimen import Simulation, SimulationOptions, simulate
from tasks.simulation.truth import Assessment, assess

PTYXAS = Path(sys.executable).with_name("ptyxas")
N_STATES = 2
OPTIONS = {
    "reconstruct": {"cycles": 60},
    "kkr": {"start": 40, "every": 20},
    "domains": {"n_domains": 4},
}
"""Two rounds with a barrier between them; more domains than states, as fits that failed in so small a measurement lie far off."""


class Serving:
    """``ptyxas serve`` on a folder, from its first answer until it is stopped or killed."""

    def __init__(self, data_dir: Path, *flags: str) -> None:
        self.data_dir = data_dir
        self.log = data_dir.with_name(f"{data_dir.name}.log")
        with self.log.open("w") as log:
            command = [PTYXAS, "serve", "--data-dir", data_dir, "--port", "0", "--dashboard-port", "0", "--workers", "2", *flags]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"NO_COLOR": "1"})
        self.url = self._wait_for_address()

    def _wait_for_address(self, timeout_s: float = 90.0) -> str:
        until = time.monotonic() + timeout_s
        while time.monotonic() < until and self.process.poll() is None:
            if found := re.search(r"serves (http://[\d.]+:\d+)", self.log.read_text()):
                return found[1]
            time.sleep(0.05)
        self.process.kill()
        raise AssertionError(f"the service did not start: {self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        """End it as a power cut would, and see that its workers leave as well."""
        self.end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as an operator would."""
        self.end(signal.SIGTERM)

    def end(self, how: signal.Signals) -> None:
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
    """A run that has ended, and every event on its way there."""

    view: dict[str, Any]
    events: list[dict[str, Any]]

    @property
    def id(self) -> str:
        return str(self.view["id"])

    def computed(self) -> list[str]:
        """Stages of the units that were computed for this run, in order."""
        return [event["stage"] for event in self.events if event["kind"] == "unit" and event["computed"]]


@dataclass
class Lab:
    """A service and what its user does with it."""

    serving: Serving
    client: Client
    http: httpx.Client
    simulations: dict[str, Simulation] = field(default_factory=dict)
    """By dataset."""

    def create(self, **changes: Any) -> str:
        """An open dataset."""
        spec = {"title": "specimen", "sample": {"formula": "LiVO2"}, "absorber": {"element": "V", "edge": "K"}}
        return str(self.client.create_dataset(spec | changes)["id"])

    def put(self, dataset: str, name: str, path: Path) -> httpx.Response:
        """Send a file as it is, with its digest."""
        body = path.read_bytes()
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        headers = {"Content-Digest": f"sha-256=:{digest}:"}
        return self.http.put(f"/datasets/{dataset}/scans/{name}", content=body, headers=headers)

    def upload(
        self, simulation: Simulation, folder: Path, write: Sequence["Writer"], group: str = "", n: int | None = None
    ) -> str:
        """A sealed dataset of a simulated measurement, its files written by each of ``write`` in turn."""
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

    def run(self, datasets: list[str], options: dict[str, Any], name: str = "") -> Job:
        """A run, followed to its end."""
        run_id = self.client.submit(datasets, options, name)["id"]
        return self.job(run_id, list(self.client.follow(run_id)))

    def job(self, run_id: str, events: list[dict[str, Any]]) -> Job:
        """A run that has ended, as the service tells of it."""
        return Job(self.client.run(run_id), events)

    def results(self, job: Job) -> ResultsStore:
        """The results as they lie on disk."""
        return ResultsStore(self.serving.data_dir / "runs" / job.id / "results.zarr")

    def array(self, job: Job, path: str) -> np.ndarray:
        """One array of the results as it lies on disk."""
        group, _, name = path.rpartition("/")
        return np.asarray(self.results(job).read(group, name)[0])

    def arrays(self, run_id: str, dataset: str) -> dict[str, np.ndarray]:
        """Every array of numbers in the results of a run on one dataset, whose name is replaced by ``it``."""
        group = zarr.open_group(self.serving.data_dir / "runs" / run_id / "results.zarr", mode="r")
        members = {path: node for path, node in group.members(max_depth=None) if isinstance(node, zarr.Array)}
        found = {path.replace(dataset, "it"): np.asarray(node[...]) for path, node in members.items()}
        return {path: values for path, values in found.items() if values.dtype.kind in "biufc"}

    def assess(self, job: Job, dataset: str, labels: np.ndarray | None = None) -> Assessment:
        """Errors of the maps of a dataset, and of its domains or other ``labels``, against its truth."""
        names = ("edge_energy", "pre_edge_ratio", "n_absorber", "electron_ratio", "mask")
        maps = {name: self.array(job, f"{dataset}/maps/{name}") for name in names}
        y_m, x_m = (self.array(job, f"{dataset}/maps/{axis}") for axis in "yx")
        spectra = self.array(job, f"{dataset}/spectra/absorption"), self.array(job, f"{dataset}/spectra/phase")
        labels = self.array(job, f"{dataset}/domains/label") if labels is None else labels
        return assess(self.simulations[dataset], y_m, x_m, spectra, maps, labels)


Writer = Callable[[Path, Scan], None]


def as_cxi(path: Path, scan: Scan) -> None:
    write_cxi(path, scan.counts, scan.positions_m, scan.mask, scan.energy_ev, scan.distance_m, scan.detector_pixel_size_m)


def named_arrays(scan: Scan) -> dict[str, Any]:
    names = ("counts", "positions_m", "mask", "energy_ev", "distance_m", "detector_pixel_size_m")
    return {name: getattr(scan, name) for name in names}


def as_npz(path: Path, scan: Scan) -> None:
    with path.open("wb") as file:
        np.savez(file, **named_arrays(scan))


def as_hdf5(path: Path, scan: Scan) -> None:
    with h5py.File(path, "w") as file:
        for name, values in named_arrays(scan).items():
            file[name] = values


@cache
def small_specimen(seed: int, n_energies: int = 14) -> Simulation:
    """A particle of half a micrometre in two states, with empty space around it, seen with few and small frames."""
    return simulate(
        SimulationOptions(
            seed=seed, n_energies=n_energies, n_positions_side=8, n_pixels=48, radius_m=0.28e-6, n_states=N_STATES, n_grains=4,
        )
    )  # fmt: skip


@contextlib.contextmanager
def laboratory(data_dir: Path, *flags: str) -> Iterator[Lab]:
    """A service of one's own, and its user."""
    serving = Serving(data_dir, *flags)
    try:
        with Client(serving.url) as client, httpx.Client(base_url=serving.url + PREFIX, timeout=60) as http:
            yield Lab(serving, client, http)
    finally:
        if serving.process.poll() is None:
            serving.stop()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The service that tests share."""
    with laboratory(tmp_path_factory.mktemp("house") / "data") as lab:
        yield lab


@pytest.fixture(scope="session")
def own_lab() -> Callable[..., contextlib.AbstractContextManager[Lab]]:
    """Starts a service of the test's own on a folder."""
    return laboratory


@pytest.fixture(scope="session")
def specimen() -> Callable[..., Simulation]:
    """A simulated measurement, by its seed."""
    return small_specimen


@pytest.fixture(scope="session")
def options() -> dict[str, Any]:
    """Options of the runs that tests share."""
    return OPTIONS


@pytest.fixture(scope="session")
def writers() -> dict[str, Writer]:
    """What writes a scan, by format."""
    return {"cxi": as_cxi, "npz": as_npz, "hdf5": as_hdf5}


@pytest.fixture(scope="session")
def pristine(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset sent as CXI files."""
    return lab.upload(small_specimen(0), tmp_path_factory.mktemp("files"), [as_cxi], "as prepared")


@pytest.fixture(scope="session")
def charged(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset sent half as NPZ, half as plain HDF5, of another group."""
    return lab.upload(small_specimen(1), tmp_path_factory.mktemp("files"), [as_npz, as_hdf5], "delithiated")


@pytest.fixture(scope="session")
def main_job(lab: Lab, pristine: str) -> Job:
    """A run on one dataset, from its first scan to its results."""
    return lab.run([pristine], OPTIONS, "main job")


@pytest.fixture(scope="session")
def joint_job(lab: Lab, main_job: Job, pristine: str, charged: str) -> Job:
    """A run on both datasets; the first has been through all stages of its own already."""
    return lab.run([pristine, charged], OPTIONS, "both")
