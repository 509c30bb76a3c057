"""The command demo: a simulated specimen is measured and submitted over REST, and its maps are compared with the truth."""

import contextlib
import shlex
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from api.cli.progress import send_dataset, show_run
from api.cli.serve import open_server
from api.cli.simulate import Measurement, measure
from api.cli.terminal import console, plain_errors, print_facts
from api.client.ptyxas import Client
from service.errors import ConflictError, ServiceError
from service.settings import DataPaths, Settings
from storage.results import ResultsStore
from tasks.simulation.specimen import Simulation, SimulationOptions
from tasks.simulation.truth import STATES, Assessment, assess

if TYPE_CHECKING:
    from api.server.http_server import HttpServer

DEMO_MARKER: Final = ".ptyxas-demo"
"""A file that marks a folder as one that a demonstration made, which the next may empty."""

START_TIMEOUT_S: Final = 120.0
"""Longest wait for the service to answer requests."""

commands = typer.Typer()


@commands.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Folder for everything; that of an earlier demo is emptied.")] = Path(
        "ptyxas-demo"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the specimen.")] = 0,
    energies: Annotated[int, typer.Option(help="Number of energies.", min=10)] = 24,
    positions: Annotated[int, typer.Option(help="Scan positions along each side.", min=4)] = 12,
    pixels: Annotated[int, typer.Option(help="Side of a frame.", min=32)] = 64,
    photons: Annotated[float, typer.Option(help="Photons in a frame.", min=1)] = 1e8,
    cycles: Annotated[int | None, typer.Option(help="Cycles of every energy; by default until it has converged.", min=1)] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; by default one a core.", min=1)] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Go on serving until Ctrl-C.")] = False,
) -> None:
    """Measure, submit and analyse a simulated specimen over REST, and compare its maps with the truth."""
    with plain_errors():
        options = SimulationOptions(seed=seed, n_energies=energies, n_positions_side=positions, n_pixels=pixels, photons=photons)
        Demo(folder, options, with_cycles(cycles), workers, console).play(keep=keep)


@dataclass(frozen=True)
class Demo:
    """One demonstration.

    Attributes
    ----------
    folder : Path
        Folder for the scans and the service's data.
    options : SimulationOptions
        Specimen and measurement.
    run_options : dict
        Options of the run, by stage, that differ from the defaults.
    workers : int or None
        Worker processes; one a core if None.
    console : Console
        Where progress is printed.
    """

    folder: Path
    options: SimulationOptions
    run_options: dict[str, Any]
    workers: int | None
    console: Console

    def play(self, *, keep: bool = False) -> Assessment:
        """Run the demonstration and return the maps' errors; with ``keep``, go on serving until interrupted."""
        begun = time.monotonic()
        prepare(self.folder)
        settings = self._settings()
        with ServerThread(settings, self._show_address) as server:
            measured, url = self._measure(), server.wait_for_url()
            with Client(url) as client:
                run = self._run(client, self._upload(client, measured), measured, {})
            _, found = assess_run(measured.simulation, settings, run)
            self.console.print(errors_table(found))
            self._show_addresses(url, run["id"], DataPaths.of(settings), time.monotonic() - begun)
            if keep:
                self.console.print(f"serving {url} until Ctrl-C")
                with contextlib.suppress(KeyboardInterrupt):
                    threading.Event().wait()
        return found

    def compare(self, choices: Mapping[str, dict[str, Any]]) -> dict[str, Assessment]:
        """Errors of the maps of one measurement under each of several choices of options, by the choices' names."""
        prepare(self.folder)
        settings = self._settings()
        with ServerThread(settings, self._show_address) as server:
            measured, found = self._measure(), {}
            with Client(server.wait_for_url()) as client:
                dataset = self._upload(client, measured)
                for name, chosen in choices.items():
                    run = self._run(client, dataset, measured, chosen)
                    found[name] = assess_run(measured.simulation, settings, run)[1]
        return found

    def _settings(self) -> Settings:
        return local_settings(self.folder, self.workers, free_port(8787))

    def _measure(self) -> Measurement:
        """Simulate the measurement, while the service starts."""
        measured = measure(self.options, self.folder / "scans")
        self.console.print(f"measured {len(measured.files)} energies, {measured.n_bytes / 1e6:.0f} MB")
        return measured

    def _upload(self, client: Client, measured: Measurement) -> str:
        """Upload every scan and seal the dataset; returns its id."""
        sample = {"name": f"simulated {self.options.seed}", "formula": measured.formula, "group": "simulated"}
        spec = {"title": sample["name"], "sample": sample, "absorber": measured.absorber}
        return str(send_dataset(client, {**spec, "probe": measured.probe}, measured.files, self.console)["id"])

    def _run(self, client: Client, dataset: str, measured: Measurement, chosen: dict[str, Any]) -> dict[str, Any]:
        """Start a run on the dataset and follow it; returns the run once it has succeeded."""
        domains = {"n_domains": len(measured.simulation.specimen.states)}
        options = {"chemistry": measured.chemistry, "domains": domains, **self.run_options, **chosen}
        submitted = client.submit([dataset], options, "demo")
        threading.Thread(target=import_module, args=("sklearn.metrics",), daemon=True).start()  # the comparison needs it
        self.console.print(f"Dask dashboard {submitted['dashboard_url']}", highlight=False)
        return succeeded(client, submitted["id"], self.console)

    def _show_address(self, url: str) -> None:
        self.console.print(f"serving {url}, its page and its API")

    def _show_addresses(self, url: str, run_id: str, paths: DataPaths, seconds: float) -> None:
        lines = {
            "results": paths.results(run_id),
            "figures": paths.figures(run_id),
            "page": f"{url}/?run={run_id}",
            "dashboard": f"{url}/dask",
            "notebook": f'xr.open_datatree("{url}/api/v1/runs/{run_id}/results.zarr", engine="zarr")',
            "serve again": f"ptyxas serve --data-dir {shlex.quote(str(self.folder / 'data'))}",
        }
        print_facts(lines, self.console)
        self.console.print(f"whole job in {seconds:.0f} s")


def with_cycles(cycles: int | None) -> dict[str, Any]:
    """Options of a run whose energies take so many cycles; None leaves them to the defaults."""
    return {} if cycles is None else {"reconstruct": {"cycles": cycles}}


def prepare(folder: Path) -> None:
    """Make an empty folder for a demonstration; only a folder that an earlier one marked is emptied.

    Raises
    ------
    ConflictError
        The folder holds something else.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / DEMO_MARKER).is_file():
            raise ConflictError(f"{folder} is not empty and not an earlier demo's: choose another --folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DEMO_MARKER).touch()


def local_settings(folder: Path, workers: int | None, dashboard_port: int) -> Settings:
    """Those of a service that works below a folder, with so many workers, or by default one a core."""
    chosen: dict[str, Any] = {} if workers is None else {"workers": workers}
    return Settings(data_dir=folder / "data", port=free_port(8000), dashboard_port=dashboard_port, **chosen)


def free_port(wanted: int) -> int:
    """``wanted`` if that port is free on loopback, else 0, which means any free port."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
    return wanted


class ServerThread(threading.Thread):
    """A service that is opened and runs in a thread of its own, until the end of the block that it is the context of."""

    def __init__(self, settings: Settings, on_start: Callable[[str], None]) -> None:
        super().__init__(name="http")
        self._settings, self._on_start = settings, on_start
        self._server: HttpServer | None = None
        self._error: Exception | None = None
        self._is_wanted = True

    def run(self) -> None:
        """Open the server, and serve unless that is no longer wanted."""
        try:
            self._server = open_server(self._settings, self._on_start)
            if self._is_wanted:
                self._server.run()
        except Exception as error:
            self._error = error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_wanted = False
        while self.is_alive() and not self._has_started:  # a server that is told to end while it starts leaves its workers behind
            time.sleep(0.05)
        if self._server is not None:
            self._server.should_exit = True
        self.join()

    @property
    def _has_started(self) -> bool:
        return self._server is not None and self._server.started

    def wait_for_url(self) -> str:
        """The address of the service, once it answers requests.

        Raises
        ------
        ServiceError
            The server ended, or did not start in time. Any other error with which it could not be opened is raised as it is.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._server is None or not self._server.started:
            if self._error is not None:
                raise self._error
            if not self.is_alive() or time.monotonic() > deadline:
                raise ServiceError("the service did not start; its log says why")
            time.sleep(0.05)
        return self._server.url


def succeeded(client: Client, run_id: str, console: Console) -> dict[str, Any]:
    """Follow a run to its end; returns it.

    Raises
    ------
    ServiceError
        It did not succeed.
    """
    run = show_run(client, run_id, console)
    if run["state"] != "succeeded":
        raise ServiceError(f"run {run['id']} has {run['state']}, so there are no results to compare with the truth")
    return run


def assess_run(
    simulation: Simulation, settings: Settings, run: dict[str, Any], number: int = 0
) -> tuple[ResultsStore, Assessment]:
    """A run's results, and the errors of one dataset's published maps against the truth."""
    store = ResultsStore(DataPaths.of(settings).results(run["id"]))

    def read(group: str, name: str, index: tuple[int, ...] = ()) -> Any:
        return np.asarray(store.read(f"{run['datasets'][number]}/{group}", name, index)[0])

    names = (*STATES, *(f"{name}_sigma" for name in STATES), "n_absorber", "mask")
    maps = {name: read("maps", name) for name in names}
    y_m, x_m = read("maps", "y"), read("maps", "x")
    spectra = read("spectra", "absorption"), read("spectra", "phase")
    return store, assess(simulation, y_m, x_m, spectra, maps, read("domains", "label"))


def errors_table(found: Assessment) -> Table:
    """The errors as a table for a terminal."""
    columns = ("against the truth", "off (median)", "robust sd", "within one standard error")
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    edge, ratio, electrons = (f"{found.within_sigma[name]:.0%}" for name in STATES)
    table.add_row("edge energy, eV", f"{found.edge_energy_off_ev:+.3f}", f"{found.edge_energy_sd_ev:.3f}", edge)
    table.add_row("pre-edge area / jump, eV", f"{found.pre_edge_ratio_off_ev:+.3f}", f"{found.pre_edge_ratio_sd_ev:.3f}", ratio)
    table.add_row("electrons per V atom", f"{found.electron_ratio_off:+.2f}", f"{found.electron_ratio_sd:.2f}", electrons)
    table.add_row("V atoms, found / true", f"{found.n_absorber_ratio:.4f}")
    table.add_row("domains, adjusted Rand index", f"{found.adjusted_rand:.3f}")
    table.add_row("share of the particle kept", f"{found.coverage:.2f}")
    return table
