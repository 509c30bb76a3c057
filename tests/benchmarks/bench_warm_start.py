"""Energies that start from a reference against energies that start from the optics: cycles and errors against the truth.

A simulated particle of four energies, 100 positions of 64 x 64, pixel 22.5 nm. The reference (5490 eV) starts from the optics
with ``cycles="auto"``, the others from it; the same energies by a number of cold cycles are what they are compared with::

    python tests/benchmarks/bench_warm_start.py --seeds 301 302 303 --photons 1e8 1e7 1e6 --cold 800
"""

import argparse
import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

# ruff: noqa: E402 -- the number of threads is read when the libraries are loaded
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tasks.coupling.warm_start import StartingEnergy
from tasks.gauge import measure_gauge
from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.driver import run
from tasks.ptycho.probe import initial_probe
from tasks.ptycho.reconstruction import Reconstruction
from tasks.ptycho.scan import Canvas, illumination, plan_canvas
from tasks.ptycho.solver import init
from tasks.ptycho.state import State
from tasks.simulation.chemical_states import electrons_per_formula
from tasks.simulation.specimen import Simulation, SimulationOptions, simulate, transmission_at

ENERGIES_EV = (5420.0, 5466.0, 5490.0, 5540.0)
REFERENCE = 2
PARTICLE = SimulationOptions(energies_ev=ENERGIES_EV, n_positions_side=10, n_pixels=64, pixel_size_m=22.5e-9, radius_m=0.45e-6)
"""Its probe fits into the frames' window of 1.44 um."""
AUTO = ReconstructOptions(cycles="auto")


@dataclass(frozen=True)
class Specimen:
    """A simulated specimen, and how its energies are reconstructed."""

    simulation: Simulation

    def canvas(self, energy: int) -> Canvas:
        scan = self.simulation.scans[energy]
        return plan_canvas(scan.positions_m, scan.pixel_size_m, scan.n_pixels)

    def reconstruct(self, energy: int, options: ReconstructOptions = AUTO, start: StartingEnergy | None = None) -> State:
        """The final state of one energy."""
        scan, canvas = self.simulation.scans[energy], self.canvas(energy)
        guess = self.simulation.probe_guess
        probe = initial_probe(guess, scan.energy_ev, scan.pixel_size_m, scan.n_pixels, scan.mean_photons)
        return run(Reconstruction(scan, canvas, init(canvas, probe, options), options.max_cycles, options, warm_start=start))

    def reference(self, energy: int, options: ReconstructOptions = AUTO) -> tuple[int, StartingEnergy]:
        """Cycles of a cold reconstruction, and the start from it."""
        state, scan, canvas = self.reconstruct(energy, options), self.simulation.scans[energy], self.canvas(energy)
        dose = illumination(canvas, scan.positions_m, state.probe)
        start = StartingEnergy(state.object, state.probe, canvas, dose, scan.mean_photons, len(scan.counts))
        return state.cycle, start

    def errors(self, energy: int, state: State) -> NDArray[np.float64]:
        """Errors (2, K) of A and of the phase [rad] in the particle's interior, in the vacuum's gauge, without a displacement."""
        simulation, canvas = self.simulation, self.canvas(energy)
        drift_m, scan = simulation.drift_m[energy], simulation.scans[energy]
        y_m, x_m = (canvas.origin_m[k] + np.arange(canvas.shape[k]) * canvas.pixel_size_m - drift_m[k] for k in (0, 1))
        electrons = electrons_per_formula(simulation.specimen.states, simulation.energies_ev, simulation.absorber)[energy]
        truth = transmission_at(simulation.specimen, electrons, y_m, x_m, scan.energy_ev)
        particle = simulation.specimen.thickness(*np.meshgrid(y_m, x_m, indexing="ij")) > 0
        around = ndimage.binary_dilation(particle, iterations=9) & ~ndimage.binary_dilation(particle, iterations=2)
        ratio = (state.object / truth).astype(np.complex64)
        error = np.log(ratio * measure_gauge(ratio, around).factor(ratio.shape))
        inside = ndimage.binary_erosion(particle, iterations=3)
        return without_displacement(error[inside], [slope[inside] for slope in np.gradient(np.log(truth))])


def without_displacement(error: NDArray[np.complex128], slopes: list[NDArray[np.complex128]]) -> NDArray[np.float64]:
    """Real and imaginary part (2, K) of an error (K,), after a fit of the two gradients (K,) of ln O."""
    rows = np.stack(slopes, axis=1)
    split, values = np.concatenate([rows.real, rows.imag]), np.concatenate([error.real, error.imag])
    return np.asarray((values - split @ np.linalg.lstsq(split, values, rcond=None)[0]).reshape(2, -1))


def rms(errors: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Root mean square over energies and pixels of the two errors."""
    return np.asarray(np.sqrt(np.mean([np.mean(error**2, axis=1) for error in errors], axis=0)))


def print_specimen(seed: int, photons: float, cold_cycles: int) -> None:
    """A line: cycles by energy, and the errors of both ways."""
    specimen = Specimen(simulate(replace(PARTICLE, seed=seed, photons=photons)))
    cold_auto, start = specimen.reference(REFERENCE)
    others = [energy for energy in range(len(ENERGIES_EV)) if energy != REFERENCE]
    warm = [specimen.reconstruct(energy, AUTO, start) for energy in others]
    cold = [specimen.reconstruct(energy, ReconstructOptions(cycles=cold_cycles)) for energy in others] if cold_cycles else warm
    warm_error, cold_error = (
        rms([specimen.errors(energy, state) for energy, state in zip(others, states, strict=True)]) for states in (warm, cold)
    )
    cycles = " ".join(f"{state.cycle:3d}" for state in warm)
    cells = " ".join(f"{1e3 * a:6.2f} {1e3 * b:6.2f} {a / b:5.2f}" for a, b in zip(warm_error, cold_error, strict=True))
    print(f"{photons:8.0e} {seed:5d} {cold_auto:5d} {cycles:>12}  {cells}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[301, 302, 303])
    parser.add_argument("--photons", type=float, nargs="+", default=[1e8, 1e7, 1e6])
    parser.add_argument("--cold", type=int, default=800, help="cold cycles to compare with; 0 for none")
    chosen = parser.parse_args()
    print(
        f"{'photons':>8} {'seed':>5} {'cold':>5} {'warm cycles':>12}  A, 1e-3: warm, cold, ratio; phase, mrad: warm, cold, ratio"
    )
    for photons in chosen.photons:
        for seed in chosen.seeds:
            print_specimen(seed, photons, chosen.cold)


if __name__ == "__main__":
    main()
