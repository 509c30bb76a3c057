"""The full-size study: whole runs on simulated specimens over REST, their maps' errors against the truth.

40 energies, 144 positions, frames of 96 x 96; a line a specimen, and whether the limits hold. A minute or two a specimen on
two cores with the defaults, a quarter of an hour with the paper's 800 cycles of every energy::

    python tests/end_to_end/accept.py --seeds 0 1 2 --photons 1e8 --kkr joint off
    python tests/end_to_end/accept.py --preset default paper --photons 1e8 1e7 1e6
    python tests/end_to_end/accept.py --cycles 800 --start-from optics
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from api.cli.demo import Demo
from tasks.options.presets import PRESETS
from tasks.simulation.specimen import SimulationOptions
from tasks.simulation.truth import STATES, Assessment


class Limit(NamedTuple):
    """What a figure must keep to."""

    name: str
    words: str
    holds: Callable[[Assessment], bool]


ERRORS_HOLD = (
    Limit(
        "edge energy",
        "within one standard error on 64 to 72 % of pixels",
        lambda a: 0.64 <= a.within_sigma["edge_energy"] <= 0.72,
    ),
    Limit(
        "PE/dmu", "within one standard error on 60 to 76 % of pixels", lambda a: 0.6 <= a.within_sigma["pre_edge_ratio"] <= 0.76
    ),
    Limit(
        "electron ratio",
        "within one standard error on 60 to 76 % of pixels",
        lambda a: 0.6 <= a.within_sigma["electron_ratio"] <= 0.76,
    ),
)
LIMITS = {
    1e8: (
        *ERRORS_HOLD,
        Limit("edge energy", "off by at most 0.08 eV", lambda a: abs(a.edge_energy_off_ev) <= 0.08),
        Limit("edge energy", "robust sd at most 0.075 eV", lambda a: a.edge_energy_sd_ev <= 0.075),
        Limit("N_V", "within 3 %", lambda a: abs(a.n_absorber_ratio - 1) <= 0.03),
        Limit("electron ratio", "off by at most 0.2", lambda a: abs(a.electron_ratio_off) <= 0.2),
        Limit("domains", "adjusted Rand index at least 0.97", lambda a: a.adjusted_rand >= 0.97),
        Limit("particle", "at least 80 % kept", lambda a: a.coverage >= 0.80),
    ),
    1e7: (
        *ERRORS_HOLD,
        Limit("edge energy", "robust sd at most 0.13 eV", lambda a: a.edge_energy_sd_ev <= 0.13),
        Limit("domains", "adjusted Rand index at least 0.93", lambda a: a.adjusted_rand >= 0.93),
    ),
    1e6: ERRORS_HOLD,
}
"""By photons a frame."""

HEADER = (
    f"{'photons':>8} {'seed':>4} {'preset/kkr':>29}   {'A, 1e-3':>7} {'phi':>5}   "
    f"{'E0 off':>7} {'sd eV':>6}   {'PE/dmu off':>10} {'sd eV':>6}   {'N_V':>6}   "
    f"{'e/V off':>7} {'sd':>5}   {'within sigma: E0, PE, e/V':>25}   {'ARI':>5}   {'kept':>4}"
)


def main() -> int:
    """Run every specimen; the exit status tells whether all limits held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--photons", type=float, nargs="+", default=[1e8])
    parser.add_argument(
        "--kkr", nargs="+", default=["joint"], choices=["joint", "absorption_to_phase", "phase_to_absorption", "off"]
    )
    parser.add_argument("--preset", nargs="+", default=["default"], choices=list(PRESETS))
    parser.add_argument("--cycles", type=int, help="of every energy; by default until it has converged")
    parser.add_argument("--start-from", choices=["reference", "pilot", "optics"])
    chosen = parser.parse_args()
    reconstruct = {"cycles": chosen.cycles, "start_from": chosen.start_from}
    given = {"reconstruct": {name: value for name, value in reconstruct.items() if value is not None}}
    pairs = [(preset, mode) for preset in chosen.preset for mode in chosen.kkr]
    choices = {f"{preset}/{mode}": {**given, "preset": preset, "kkr": {"mode": mode}} for preset, mode in pairs}
    print(HEADER, flush=True)
    broken = []
    for photons in chosen.photons:
        for seed in chosen.seeds:
            for name, found in study(seed, photons, choices).items():
                print(row(photons, seed, name, found), flush=True)
                if name == "default/joint":
                    broken += [f"{photons:g} photons, seed {seed}: {limit}" for limit in broken_limits(photons, found)]
    print("all limits hold" if not broken else "\n".join(["not met:", *broken]))
    return bool(broken)


def study(seed: int, photons: float, choices: Mapping[str, dict[str, Any]]) -> dict[str, Assessment]:
    """One specimen under each choice of options; reconstructions are shared where only the stages after differ."""
    with tempfile.TemporaryDirectory(prefix="ptyxas-accept-") as folder:
        options = SimulationOptions(seed=seed, photons=photons)
        return Demo(Path(folder) / "demo", options, {}, None, Console(quiet=True)).compare(choices)


def broken_limits(photons: float, found: Assessment) -> list[str]:
    """The limits that ``found`` breaks."""
    return [f"{limit.name} {limit.words}" for limit in LIMITS.get(photons, ()) if not limit.holds(found)]


def row(photons: float, seed: int, name: str, a: Assessment) -> str:
    """One line of the table."""
    shares = " ".join(f"{a.within_sigma[quantity]:.3f}" for quantity in STATES)
    return (
        f"{photons:8.0e} {seed:4d} {name:>29}   {1e3 * a.absorption_sd:7.2f} {1e3 * a.phase_sd_rad:5.2f}   "
        f"{a.edge_energy_off_ev:+7.3f} {a.edge_energy_sd_ev:6.3f}   "
        f"{a.pre_edge_ratio_off_ev:+10.3f} {a.pre_edge_ratio_sd_ev:6.3f}   {a.n_absorber_ratio:6.4f}   "
        f"{a.electron_ratio_off:+7.2f} {a.electron_ratio_sd:5.2f}   {shares:>25}   {a.adjusted_rand:5.3f}   {a.coverage:4.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
