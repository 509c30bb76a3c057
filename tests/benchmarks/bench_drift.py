"""The drift between energies against the truth, after whole reconstructions.

The specimens of `tests/end_to_end/accept.py` (40 energies, 144 positions, 96 x 96 frames), reconstructed from a reference; a
minute or two each. Prints the rms error of the drift along y and x, its largest, and what it is between neighbouring energies,
which is noise: errors that grow along the energies are slow waves of the phase that were taken for a displacement::

    python tests/benchmarks/bench_drift.py --seeds 203 204 --photons 1e8 1e7
"""

import argparse

import numpy as np
from bench_warm_start import Specimen
from numpy.typing import NDArray

from tasks.coupling.spectra import align
from tasks.options.coupling import AlignOptions
from tasks.ptycho.scan import illumination
from tasks.simulation.specimen import SimulationOptions, simulate

REFERENCE_EV = 5480.0


def drift_errors(specimen: Specimen) -> NDArray[np.float64]:
    """(E, 2) errors of the drift [px], of mean zero."""
    simulation = specimen.simulation
    energies = np.asarray(simulation.energies_ev)
    _, start = specimen.reference(int(np.argmin(np.abs(energies - REFERENCE_EV))))
    states = [specimen.reconstruct(energy, start=start) for energy in range(len(energies))]
    canvases = [specimen.canvas(energy) for energy in range(len(energies))]
    doses = [
        illumination(canvas, scan.positions_m, state.probe)
        for canvas, scan, state in zip(canvases, simulation.scans, states, strict=True)
    ]
    aligned = align([state.object for state in states], doses, canvases, energies, AlignOptions())
    error = aligned.shift_px - np.asarray(simulation.drift_m) / aligned.grid.pixel_size_m
    return np.asarray(error - error.mean(axis=0))


def main() -> None:
    """Print a line a specimen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[203])
    parser.add_argument("--photons", type=float, nargs="+", default=[1e8])
    chosen = parser.parse_args()
    print(f"{'photons':>8} {'seed':>5}   drift's error, px: {'y':>6} {'x':>6} {'most':>6}   {'noise y':>7} {'x':>6}")
    for photons in chosen.photons:
        for seed in chosen.seeds:
            error = drift_errors(Specimen(simulate(SimulationOptions(seed=seed, photons=photons))))
            noise = np.std(np.diff(error, n=2, axis=0), axis=0) / np.sqrt(6)
            y, x = error.std(axis=0)
            cells = f"{y:6.4f} {x:6.4f} {np.abs(error).max():6.4f}"
            print(f"{photons:8.0e} {seed:5d}                      {cells}   {noise[0]:7.4f} {noise[1]:6.4f}", flush=True)


if __name__ == "__main__":
    main()
