"""Twenty planned energies against the usual forty, and the usual twenty, at the same total of photons.

Without arguments, noisy spectra of single pixels; with ``--ptychography``, whole runs on a small simulated specimen
(64 x 64, 64 positions, 150 cycles; some minutes). Prints what docs/plan.md quotes::

    python tests/benchmarks/bench_plan.py --ptychography
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from api.cli.demo import Demo, with_cycles
from tasks.coupling.kkr import joint_projection, outside_columns, window_matrix
from tasks.planning.plan import PlanOptions, expected_parameters, kramers_kronig_error, noise_per_absorber, plan_energies
from tasks.scattering import Absorber
from tasks.simulation.chemical_states import STATES, electrons_per_formula
from tasks.simulation.energies import energy_grid
from tasks.simulation.specimen import SimulationOptions
from tasks.xanes.fit import fit_spectra
from tasks.xanes.joint import Pairs, fit_pairs
from tasks.xanes.model import PARAMETERS, pre_edge_ratio

Array = NDArray[np.float64]
V = Absorber()
EDGE_EV = V.edge_energy_ev
N_PIXELS = 2400
PHOTONS = 1e8
"""In a frame of the forty energies; frames of twenty hold twice as many."""
CYCLES = 150


def grids() -> dict[str, Array]:
    """The energies that are compared."""
    planned = {n: plan_energies(PlanOptions(energies=n)).energy_ev for n in (14, 20)}
    return {
        "usual 40": energy_grid(40, EDGE_EV),
        "usual 20": energy_grid(20, EDGE_EV),
        "planned 20": planned[20],
        "usual 14": energy_grid(14, EDGE_EV),
        "planned 14": planned[14],
    }


def errors(energy_ev: Array, options: PlanOptions, seed: int) -> list[float]:
    """Robust sd of the edge energy and of PE / dmu [eV]: absorption alone, constraint then fit, joint fit."""
    rng = np.random.default_rng(seed)
    state = np.arange(N_PIXELS) % len(STATES)
    electrons = electrons_per_formula(STATES, energy_ev, V)[:, state]
    noise = np.stack([noise_per_absorber(options, expected_parameters(s, options), energy_ev) for s in STATES], axis=1)
    sigma = noise[:, state] * np.sqrt(energy_ev.size)
    absorption = electrons.imag + sigma * rng.normal(size=sigma.shape)
    phase = electrons.real + options.phase_noise * sigma * rng.normal(size=sigma.shape)
    even = sigma.mean(axis=1)
    K, T = window_matrix(energy_ev), outside_columns(energy_ev, V, options.compound)
    coupled = joint_projection(K, T, even, options.phase_noise * even) @ np.concatenate([absorption, phase])
    fits = (
        fit_spectra(energy_ev, absorption, even, EDGE_EV),
        fit_spectra(energy_ev, coupled[: energy_ev.size], even, EDGE_EV),
        fit_pairs(Pairs(energy_ev, absorption, phase, even, options.phase_noise * even, T), EDGE_EV),
    )
    edges = EDGE_EV + np.array([s.edge_ev for s in STATES])[state]
    ratios = np.array([pre_edge_ratio(expected_parameters(s, options)) for s in STATES])[state]
    at = PARAMETERS.index("edge_energy")
    return [robust_sd(x) for fit in fits for x in (fit.parameters[at] - edges, pre_edge_ratio(fit.parameters) - ratios)]


def robust_sd(values: Array) -> float:
    """1.4826 times the median absolute deviation."""
    return float(1.4826 * np.nanmedian(np.abs(values - np.nanmedian(values))))


def measured(energy_ev: Array, cycles: int) -> list[str]:
    """Errors of whole runs on a small specimen, the constraint on and off."""
    options = SimulationOptions(
        seed=5, energies_ev=tuple(energy_ev.tolist()), n_positions_side=8, n_pixels=64, radius_m=0.32e-6, n_states=3, n_grains=5,
        photons=PHOTONS * 40 / energy_ev.size,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="ptyxas-plan-") as folder:
        demo = Demo(Path(folder) / "demo", options, with_cycles(cycles), 1, Console(quiet=True))
        return [
            f"{mode:>5}: edge energy {a.edge_energy_off_ev:+.3f} {a.edge_energy_sd_ev:.3f} eV, "
            f"PE/dmu {a.pre_edge_ratio_off_ev:+.3f} {a.pre_edge_ratio_sd_ev:.3f} eV, "
            f"electron ratio {a.electron_ratio_off:+.2f} {a.electron_ratio_sd:.2f}, "
            f"ARI {a.adjusted_rand:.3f}, kept {a.coverage:.2f}"
            for mode, a in demo.compare({mode: {"kkr": {"mode": mode}} for mode in ("off", "joint")}).items()
        ]


def main() -> None:
    """Print both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ptychography", action="store_true")
    if parser.parse_args().ptychography:
        for name, energy in list(grids().items())[:3]:
            print(name, *measured(energy, CYCLES), sep="\n  ", flush=True)
        return
    for photons in (4e6, 4e7):
        print(f"{photons:.0e} photons a pixel; robust sd [eV] of edge energy and PE/dmu: absorption alone, constraint, joint fit")
        for name, energy in grids().items():
            cells = "  ".join(f"{sd:6.3f}" for sd in errors(energy, PlanOptions(photons=photons), 0))
            print(f"{name:>12}  {cells}   K leaves {kramers_kronig_error(energy, V, 'LiVO2'):.3f} electrons")


if __name__ == "__main__":
    main()
