"""The whole job on a specimen whose chemistry is known: measured, submitted over REST, compared with the truth."""

import contextlib
import shlex
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from api.cli.client import Client
from api.cli.progress import show_run, show_uploads
from service.errors import ConflictError, ServiceError
from service.settings import Settings
from storage.results import ResultsStore
from storage.writers.cxi import write_cxi
from tasks.ptycho.probe import ProbeSpec
from tasks.scattering import Absorber
from tasks.simulation.chemical_states import formula_of
from tasks.simulation.specimen import Simulation, SimulationOptions, simulate
from tasks.simulation.truth import Assessment, assess

MARK: Final = ".ptyxas-demo"
"""A file that says that a folder is a demo's, and may be emptied by the next."""


class Server(Protocol):
    """A service behind HTTP; ``run`` lasts until ``should_exit``."""

    started: bool
    should_exit: bool

    def run(self) -> None: ...

    @property
    def url(self) -> str: ...


OpenServer = Callable[[Settings, Callable[[str], None]], Server]


@dataclass(frozen=True)
class Measured:
    """A simulated measurement, as files."""

    simulation: Simulation
    files: Sequence[Path]

    @property
    def n_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def formula(self) -> str:
        """Formula of the specimen, as far as one would know it: that of its first state."""
        return formula_of(self.simulation.specimen.states[0], self.simulation.absorber)

    @property
    def absorber(self) -> dict[str, str]:
        """Element and edge."""
        return {"element": self.simulation.absorber.element, "edge": self.simulation.absorber.edge}

    @property
    def chemistry(self) -> dict[str, str]:
        """The options of the chemistry: the paper's constants are those of the V K edge only."""
        return {} if self.simulation.absorber == Absorber() else {"preset": "chantler"}

    @property
    def probe(self) -> dict[str, Any]:
        """What the beamline believes of its optics."""
        probe: dict[str, Any] = TypeAdapter(ProbeSpec).dump_python(self.simulation.probe_guess, mode="json")
        return probe

    @property
    def command(self) -> str:
        """What submits the files."""
        probe = TypeAdapter(ProbeSpec).dump_json(self.simulation.probe_guess, exclude_defaults=True).decode()
        options = f"-o domains.n_domains={len(self.simulation.specimen.states)}"
        if self.chemistry:
            options += f" --absorber {self.absorber['element']} --edge {self.absorber['edge']}"
        files = f"{shlex.quote(str(self.files[0].parent))}/*.cxi"
        return f"ptyxas submit {files} --formula {self.formula} --probe {shlex.quote(probe)} {options} --watch"


def measure(options: SimulationOptions, folder: Path) -> Measured:
    """Simulate a measurement and write it into ``folder``, one CXI file an energy."""
    folder.mkdir(parents=True, exist_ok=True)
    simulation = simulate(options)
    files = []
    for number, scan in enumerate(simulation.scans):
        files.append(folder / f"{number:03d}-{scan.energy_ev:.2f}eV.cxi")
        write_cxi(
            files[-1],
            scan.counts,
            scan.positions_m,
            scan.mask,
            scan.energy_ev,
            scan.distance_m,
            scan.detector_pixel_size_m,
        )
    return Measured(simulation, files)


@dataclass(frozen=True)
class Demo:
    """One demonstration.

    Attributes
    ----------
    folder : Path
        Scans and the service's data go into it.
    options : SimulationOptions
        What is measured.
    cycles, coupling_start : int
        Cycles of the reconstruction, and the one after which the energies are coupled.
    workers : int or None
        Worker processes; one a core where none.
    console : Console
        Where it is told.
    """

    folder: Path
    options: SimulationOptions
    cycles: int
    coupling_start: int
    workers: int | None
    console: Console

    def play(self, open_server: OpenServer, *, keep: bool = False) -> Assessment:
        """Play it from the beginning to the figures; ``keep`` goes on serving until interrupted."""
        begun = time.monotonic()
        prepare(self.folder)
        settings = self._settings()
        with running(open_server(settings, self._tell_address)) as server:
            measured = self._measure(server)
            with Client(server.url) as client:
                run = self._run(client, self._upload(client, measured), measured, {})
            store, found = assess_run(measured.simulation, settings, run)
            self.console.print(errors_table(found))
            self._tell_where(server.url, run["id"], store.path, time.monotonic() - begun)
            if keep:
                self.console.print(f"serving {server.url} until Ctrl-C")
                with contextlib.suppress(KeyboardInterrupt):
                    threading.Event().wait()
        return found

    def compare(self, open_server: OpenServer, modes: Sequence[str]) -> list[tuple[str, Assessment]]:
        """The same measurement under several modes of the Kramers-Kronig constraint: each mode with its errors."""
        prepare(self.folder)
        settings = self._settings()
        with running(open_server(settings, self._tell_address)) as server:
            measured = self._measure(server)
            found = []
            with Client(server.url) as client:
                dataset = self._upload(client, measured)
                for mode in modes:
                    run = self._run(client, dataset, measured, {"mode": mode})
                    found.append((mode, assess_run(measured.simulation, settings, run)[1]))
        return found

    def _settings(self) -> Settings:
        chosen: dict[str, Any] = {} if self.workers is None else {"workers": self.workers}
        return Settings(data_dir=self.folder / "data", port=free_port(8000), dashboard_port=free_port(8787), **chosen)

    def _measure(self, server: Server) -> Measured:
        """Measure while the service starts."""
        measured = measure(self.options, self.folder / "scans")
        self.console.print(f"measured {len(measured.files)} energies, {measured.n_bytes / 1e6:.0f} MB")
        wait_until_started(server)
        return measured

    def _upload(self, client: Client, measured: Measured) -> str:
        """A sealed dataset with every scan; its id."""
        sample = {"name": f"simulated {self.options.seed}", "formula": measured.formula, "group": "simulated"}
        spec = {"title": sample["name"], "sample": sample, "absorber": measured.absorber}
        dataset = client.create_dataset({**spec, "probe": measured.probe})
        show_uploads(client, dataset["id"], measured.files, self.console)
        client.seal(dataset["id"])
        return str(dataset["id"])

    def _run(self, client: Client, dataset: str, measured: Measured, kkr: dict[str, Any]) -> dict[str, Any]:
        """A run on the dataset, watched to its successful end."""
        options = {
            "reconstruct": {"cycles": self.cycles},
            "kkr": {"start": self.coupling_start, **kkr},
            "chemistry": measured.chemistry,
            "domains": {"n_domains": len(measured.simulation.specimen.states)},
        }
        submitted = client.submit([dataset], options, "demo")
        self.console.print(f"Dask dashboard {submitted['dashboard_url']}", highlight=False)
        run = show_run(client, submitted["id"], self.console)
        if run["state"] != "succeeded":
            raise ServiceError(f"without results there is nothing to compare: run {run['id']} has {run['state']}")
        return run

    def _tell_address(self, url: str) -> None:
        self.console.print(f"serving {url}, its page and its API")

    def _tell_where(self, url: str, run_id: str, results: Path, seconds: float) -> None:
        lines = {
            "results": results,
            "figures": results.parent / "figures",
            "page": f"{url}/?run={run_id}",
            "dashboard": f"{url}/dask",
            "notebook": f'xr.open_datatree("{url}/api/v1/runs/{run_id}/results.zarr", engine="zarr")',
            "serve again": f"ptyxas serve --data-dir {shlex.quote(str(self.folder / 'data'))}",
        }
        for name, value in lines.items():
            self.console.print(f"{name:<12} {value}", soft_wrap=True, highlight=False)
        self.console.print(f"whole job in {seconds:.0f} s")


def prepare(folder: Path) -> None:
    """An empty folder for a demo; only a folder that an earlier demo marked as its own is emptied.

    Raises
    ------
    ConflictError
        The folder holds something else.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).is_file():
            raise ConflictError(f"{folder} is not empty and not an earlier demo's: choose another --folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def free_port(wanted: int) -> int:
    """``wanted`` where it is free on loopback, else 0: any."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
    return wanted


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """``server`` in a thread, from its start to its orderly end."""
    thread = threading.Thread(target=server.run, name="http")
    thread.start()
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join()


def wait_until_started(server: Server, timeout_s: float = 120.0) -> None:
    """Wait for the first moment that requests are answered.

    Raises
    ------
    ServiceError
        The server ended, or did not start in time.
    """
    deadline = time.monotonic() + timeout_s
    while not server.started:
        if server.should_exit or time.monotonic() > deadline:
            raise ServiceError("the service did not start; its log says why")
        time.sleep(0.05)


def assess_run(
    simulation: Simulation, settings: Settings, run: dict[str, Any], number: int = 0
) -> tuple[ResultsStore, Assessment]:
    """A run's results, and the errors of one dataset's published maps against the truth."""
    store = ResultsStore(settings.runs_dir / run["id"] / "results.zarr")

    def read(group: str, name: str, index: tuple[int, ...] = ()) -> Any:
        return np.asarray(store.read(f"{run['datasets'][number]}/{group}", name, index)[0])

    names = ("edge_energy", "pre_edge_ratio", "n_absorber", "electron_ratio", "mask")
    maps = {name: read("maps", name) for name in names}
    y_m, x_m = read("maps", "y"), read("maps", "x")
    spectra = read("spectra", "absorption"), read("spectra", "phase")
    return store, assess(simulation, y_m, x_m, spectra, maps, read("domains", "label"))


def errors_table(found: Assessment) -> Table:
    """The errors as a table for a terminal."""
    table = Table("against the truth", "off (median)", "robust sd", box=None, header_style="bold", pad_edge=False)
    table.add_row("edge energy, eV", f"{found.edge_energy_off_ev:+.3f}", f"{found.edge_energy_sd_ev:.3f}")
    table.add_row("pre-edge area / jump, eV", f"{found.pre_edge_ratio_off_ev:+.3f}", f"{found.pre_edge_ratio_sd_ev:.3f}")
    table.add_row("electrons per V atom", f"{found.electron_ratio_off:+.2f}", f"{found.electron_ratio_sd:.2f}")
    table.add_row("V atoms, found / true", f"{found.n_absorber_ratio:.4f}", "")
    table.add_row("domains, adjusted Rand index", f"{found.adjusted_rand:.3f}", "")
    table.add_row("share of the particle kept", f"{found.coverage:.2f}", "")
    return table
