"""The command study: six simulated particles in two groups and a standard, analysed together as in the paper's study."""

import io
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from api.cli.demo import ServerThread, assess_run, local_settings, prepare, succeeded, with_cycles
from api.cli.progress import send_dataset
from api.cli.simulate import Measurement, measure
from api.cli.terminal import console, plain_errors, safe
from api.client.ptyxas import Client
from service.settings import DataPaths, Settings
from storage.location import Location
from storage.results import ResultsStore
from tasks.domains.kmeans import elbow
from tasks.simulation.chemical_states import formula_of, reference_text
from tasks.simulation.specimen import SimulationOptions
from tasks.simulation.truth import Assessment, state_shares

GROUPS: Final = {
    "as-prepared": (0.48, 0.32, 0.10, 0.10),
    "delithiated": (0.10, 0.16, 0.34, 0.40),
}
"""Weights of the chemical states in each group's particles; delithiation raises the edge energy."""
PARTICLES_A_GROUP: Final = 3
N_STATES: Final = 4
STANDARD: Final = "standard"
SHARE_TOLERANCE: Final = 0.05
"""Largest accepted difference of a domain's share from the truth."""
GALLERY_COLOURS: Final = 192
"""Colours of a picture in the gallery: the file is then a third as large."""

commands = typer.Typer()


@commands.command()
def study(
    folder: Annotated[Path, typer.Option(help="Folder for everything; that of an earlier study is emptied.")] = Path(
        "ptyxas-study"
    ),
    energies: Annotated[int, typer.Option(help="Number of energies.", min=10)] = 20,
    positions: Annotated[int, typer.Option(help="Scan positions along each side.", min=4)] = 10,
    pixels: Annotated[int, typer.Option(help="Side of a frame.", min=32)] = 64,
    cycles: Annotated[int | None, typer.Option(help="Cycles of every energy; by default until it has converged.", min=1)] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; by default one a core.", min=1)] = None,
    gallery: Annotated[Path | None, typer.Option(help="Folder for reduced copies of the figures.")] = None,
) -> None:
    """Analyse six simulated particles in two groups and a standard together; compare the domains' shares with the truth."""
    with plain_errors():
        particles = SimulationOptions(n_energies=energies, n_positions_side=positions, n_pixels=pixels, radius_m=0.45e-6)
        findings = ParticleStudy(folder, particles, cycles, workers, console).play(gallery)
    console.print(findings_table(findings))
    console.print(f"largest error of a share {findings.worst:.3f}; elbow at k = {findings.elbow}; {findings.seconds:.0f} s")
    if not findings.holds:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Findings:
    """Results of the study beside the truth.

    Attributes
    ----------
    names : sequence of str
        The six particles.
    found, true : (6, 4) float64 arrays
        Share of each domain, and of the state that it stands for, weighted by the amount of absorber.
    elbow : int
        Number of domains at the elbow of the inertia.
    assessments : sequence of Assessment
        Errors of each particle's maps.
    seconds : float
    """

    names: Sequence[str]
    found: NDArray[np.float64]
    true: NDArray[np.float64]
    elbow: int
    assessments: Sequence[Assessment]
    seconds: float

    @property
    def worst(self) -> float:
        """Largest difference of a share from the truth."""
        return float(np.max(np.abs(self.found - self.true)))

    @property
    def holds(self) -> bool:
        """Whether every share is within 0.05 of the truth and the elbow within one of the number of states."""
        return self.worst <= SHARE_TOLERANCE and abs(self.elbow - N_STATES) <= 1


@dataclass(frozen=True)
class ParticleStudy:
    """One study.

    Attributes
    ----------
    folder : Path
        Folder for the scans and the service's data.
    options : SimulationOptions
        Measurement and size of every particle.
    cycles : int or None
        Cycles of every energy; until it has converged if None.
    workers : int or None
        Worker processes; one a core if None.
    console : Console
    """

    folder: Path
    options: SimulationOptions
    cycles: int | None
    workers: int | None
    console: Console

    def play(self, gallery: Path | None = None) -> Findings:
        """Measure, submit over REST, and compare with the truth; reduced figures are written into ``gallery``."""
        begun = time.monotonic()
        prepare(self.folder)
        settings = local_settings(self.folder, self.workers, dashboard_port=0)
        with ServerThread(settings, lambda url: self.console.print(f"serving {url}")) as server:
            measured = {name: measure(one, self.folder / "scans" / name) for name, one in self.specimens().items()}
            with Client(server.wait_for_url()) as client:
                ids = [self._upload(client, name, one) for name, one in measured.items()]
                run = succeeded(client, client.submit(ids, self._run_options(measured), "study")["id"], self.console)
        paths = DataPaths.of(settings)
        results, figures = paths.results(run["id"]), paths.figures(run["id"])
        if gallery is not None:
            fill_gallery(figures, ids[0], gallery)
        self.console.print(safe(f"results      {results}\nfigures      {figures}"), soft_wrap=True)
        return self._compare(measured, settings, run, time.monotonic() - begun)

    def specimens(self) -> dict[str, SimulationOptions]:
        """Every particle and the standard, by name."""
        made: dict[str, SimulationOptions] = {}
        for group, weights in GROUPS.items():
            for _ in range(PARTICLES_A_GROUP):
                number = len(made) + 1
                seed = self.options.seed + number
                made[f"{group} {number}"] = replace(self.options, seed=seed, n_states=N_STATES, state_weights=weights)
        made[STANDARD] = replace(self.options, seed=self.options.seed, n_states=1, n_grains=1)
        return made

    def _upload(self, client: Client, name: str, measured: Measurement) -> str:
        is_standard = name == STANDARD
        sample = {
            "name": name, "formula": measured.formula, "group": "" if is_standard else name.rpartition(" ")[0],
            "standard": is_standard,
        }  # fmt: skip
        title = measured.formula if is_standard else f"Particle {name.rpartition(' ')[2]}"
        spec = {"title": title, "sample": sample, "absorber": measured.absorber, "probe": measured.probe}
        return str(send_dataset(client, spec, measured.files, self.console)["id"])

    def _run_options(self, measured: dict[str, Measurement]) -> dict[str, Any]:
        # The tables give the constants at the energy of the phase; the paper's are those at the edge.
        simulation = next(iter(measured.values())).simulation
        states, absorber = simulation.specimen.states, simulation.absorber
        return {
            **with_cycles(self.cycles),
            "domains": {"n_domains": N_STATES},
            "chemistry": {"preset": "chantler", "compounds": [formula_of(state, absorber) for state in states]},
            "references": {"xdi": [reference_text(state, absorber) for state in states]},
        }

    def _compare(self, measured: dict[str, Measurement], settings: Settings, run: dict[str, Any], seconds: float) -> Findings:
        particles = {name: one.simulation for name, one in measured.items() if name != STANDARD}
        found = [assess_run(simulation, settings, run, number) for number, simulation in enumerate(particles.values())]
        store = ResultsStore(DataPaths.of(settings).results(run["id"]))
        return Findings(
            names=list(particles),
            found=np.asarray(store.read("domains", "fraction")[0]),
            true=np.stack([state_shares(simulation) for simulation in particles.values()]),
            elbow=elbow(np.asarray(store.read("domains", "inertia")[0])),
            assessments=[assessment for _, assessment in found],
            seconds=seconds,
        )


def findings_table(findings: Findings) -> Table:
    """Shares and errors as a table for a terminal."""
    columns = ["particle", *(f"domain {k}: found (true)" for k in range(1, N_STATES + 1)), "edge energy sd, eV", "ARI"]
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for name, found, true, one in zip(findings.names, findings.found, findings.true, findings.assessments, strict=True):
        shares = [f"{a:.3f} ({b:.3f})" for a, b in zip(found, true, strict=True)]
        table.add_row(name, *shares, f"{one.edge_energy_sd_ev:.3f}", f"{one.adjusted_rand:.3f}")
    return table


def fill_gallery(figures: Location, dataset: str, gallery: Path) -> None:
    """Write reduced copies of the study's figures, and of one dataset's, into a folder."""
    gallery.mkdir(parents=True, exist_ok=True)
    listed = json.loads((figures / "figures.json").read_text(encoding="utf-8"))
    for item in listed:
        if item["dataset"] in (None, dataset):
            name = item["name"].removesuffix(f"-{dataset}")
            (gallery / f"{name}.png").write_bytes(smaller((figures / f"{item['name']}.png").read_bytes()))


def smaller(png: bytes) -> bytes:
    """A picture at two thirds of its size and in `GALLERY_COLOURS` colours."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    size = (round(picture.width * 2 / 3), round(picture.height * 2 / 3))
    reduced = picture.resize(size, Image.Resampling.LANCZOS).quantize(GALLERY_COLOURS, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    reduced.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
