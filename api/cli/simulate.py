"""Commands that prepare a measurement: simulate, plan."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import TypeAdapter
from rich.console import Group
from rich.table import Table

from api.cli.flags import fields_of, with_flags
from api.cli.terminal import console, plain_errors, safe
from storage.writers.cxi import write_cxi
from tasks.planning.plan import REFERENCE_ENERGIES, EnergyPlan, PlanOptions, plan_energies
from tasks.ptycho.probe import ProbeSpec
from tasks.ptycho.scan import Scan
from tasks.scattering import Absorber
from tasks.simulation.chemical_states import formula_of
from tasks.simulation.specimen import Simulation, SimulationOptions
from tasks.simulation.specimen import simulate as simulate_specimen

TOO_SPARSE: Final = 0.1
"""Rms of the Kramers-Kronig matrix [electrons] above which the constraint does more harm than good."""

ERROR_NAMES: Final = {
    "edge_energy_ev": "edge energy, eV",
    "pre_edge_ratio_ev": "pre-edge area / jump, eV",
    "edge_jump": "edge jump and amount of the absorber, relative",
    "electron_ratio": "electrons per absorber",
}
"""What the fields of `tasks.planning.plan.Errors` are called in the table."""

commands = typer.Typer()


@commands.command()
@with_flags(fields_of(SimulationOptions))
def simulate(folder: Annotated[Path, typer.Argument(help="Folder for the CXI files.")], **given: Any) -> None:
    """Simulate a measurement: one CXI file an energy, and the command that submits them."""
    with plain_errors():
        measured = measure(SimulationOptions(**given), folder)
    console.print(f"{len(measured.files)} scans in {safe(folder)}, {measured.n_bytes / 1e6:.0f} MB; submit them with")
    console.print(safe(measured.command), soft_wrap=True, highlight=False)


@commands.command()
@with_flags(fields_of(PlanOptions))
def plan(
    figure: Annotated[Path | None, typer.Option(help="PNG for a figure of the energies over the expected spectra.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    **given: Any,
) -> None:
    """Choose the energies to measure so that the errors are least, and estimate the errors to expect."""
    with plain_errors():
        made = plan_energies(PlanOptions(**given))
        if figure is not None:
            from tasks.figures.plan import plan_png

            figure.write_bytes(plan_png(made))
    if as_json:
        print(json.dumps(plan_as_json(made), indent=2))
    else:
        console.print(plan_as_table(made), highlight=False)


@dataclass(frozen=True)
class Measurement:
    """A simulated measurement, as files."""

    simulation: Simulation
    files: Sequence[Path]

    @property
    def n_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def formula(self) -> str:
        """Formula of the specimen's first state, which stands for what a user knows of the specimen."""
        return formula_of(self.simulation.specimen.states[0], self.simulation.absorber)

    @property
    def absorber(self) -> dict[str, str]:
        """Element and edge."""
        return {"element": self.simulation.absorber.element, "edge": self.simulation.absorber.edge}

    @property
    def chemistry(self) -> dict[str, str]:
        """Options of the chemistry stage; the paper's constants are those of the V K edge only."""
        return {} if self.simulation.absorber == Absorber() else {"preset": "chantler"}

    @property
    def probe(self) -> dict[str, Any]:
        """The probe that a user would state, which differs from the true one."""
        probe: dict[str, Any] = TypeAdapter(ProbeSpec).dump_python(self.simulation.probe_guess, mode="json")
        return probe

    @property
    def command(self) -> str:
        """The command line that submits the files."""
        probe = TypeAdapter(ProbeSpec).dump_json(self.simulation.probe_guess, exclude_defaults=True).decode()
        options = f"-o domains.n_domains={len(self.simulation.specimen.states)}"
        if self.chemistry:
            options += f" --absorber {self.absorber['element']} --edge {self.absorber['edge']}"
        files = f"{shlex.quote(str(self.files[0].parent))}/*.cxi"
        return f"ptyxas submit {files} --formula {self.formula} --probe {shlex.quote(probe)} {options} --watch"


def measure(options: SimulationOptions, folder: Path) -> Measurement:
    """Simulate a measurement and write it into ``folder``, one CXI file an energy; the simulation does not hold the counts."""
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []

    def write(scan: Scan) -> Scan:
        """Write a scan, and forget its counts."""
        files.append(folder / f"{len(files):03d}-{scan.energy_ev:.2f}eV.cxi")
        write_cxi(
            files[-1],
            scan.counts,
            scan.positions_m,
            scan.mask,
            scan.energy_ev,
            scan.distance_m,
            scan.detector_pixel_size_m,
        )
        return replace(scan, counts=scan.counts[:0].copy())  # a view would hold them all

    simulation = simulate_specimen(options, keep=write)
    return Measurement(simulation, files)


def plan_as_json(plan: EnergyPlan) -> dict[str, Any]:
    """Energies [eV], shares of the photons, and expected errors of a plan, for programs."""
    return {
        "energies_ev": plan.energy_ev.round(3).tolist(),
        "photon_shares": plan.share.round(5).tolist(),
        "expected_errors": asdict(plan.errors),
        "expected_errors_of_40_energies": asdict(plan.reference),
        "kramers_kronig_rms": plan.kk_rms,
        "options": asdict(plan.options),
    }


def plan_as_table(plan: EnergyPlan) -> Group:
    """The energies to measure, then the expected errors beside those of the usual grid."""
    edge = plan.options.absorber.edge_energy_ev
    energies = Table("energy, eV", "from the edge", "share of the photons", box=None, header_style="bold", pad_edge=False)
    for energy, share in zip(plan.energy_ev, plan.share, strict=True):
        energies.add_row(f"{energy:.2f}", f"{energy - edge:+.2f}", f"{share:.1%}")
    usual = f"{REFERENCE_ENERGIES} energies"
    errors = Table("expected error of one pixel", "this plan", usual, box=None, header_style="bold", pad_edge=False)
    for name, title in ERROR_NAMES.items():
        errors.add_row(title, *(f"{getattr(one, name):.3g}" for one in (plan.errors, plan.reference)))
    relation = f"\nthe Kramers-Kronig matrix leaves {plan.kk_rms:.3f} electrons rms on these energies"
    if plan.kk_rms > TOO_SPARSE:
        relation += ": too much for the constraint. Submit with -o kkr.mode=off -o fit.joint=true"
    return Group(energies, "", errors, relation)
