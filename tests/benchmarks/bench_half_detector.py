"""What cycles on the middle half of the detector save and cost: processor time and errors with and without them.

A simulated particle of four energies, 14 x 14 positions of 256 x 256, pixel 15 nm. The reference (5480 eV) starts from the
optics, the others from it; once with ``half_detector="auto"``, once with ``"never"``::

    python tests/benchmarks/bench_half_detector.py --seeds 204 205 206 --photons 1e8 1e7

``--size large`` is 24 x 24 positions, whose slow waves take longer to settle.
"""

import argparse
import time
from dataclasses import replace

import numpy as np
from bench_warm_start import Specimen, rms

from tasks.options.reconstruct import ReconstructOptions
from tasks.simulation.specimen import SimulationOptions, simulate

PARTICLE = SimulationOptions(
    energies_ev=(5420.0, 5480.0, 5500.0, 5540.0), n_positions_side=14, n_pixels=256, radius_m=0.72e-6, n_grains=14
)
PARTICLES = {"small": PARTICLE, "large": replace(PARTICLE, n_positions_side=24, radius_m=1.25e-6, n_grains=30)}
REFERENCE, OTHERS = 1, (0, 2, 3)
WAYS = {"never": ReconstructOptions(half_detector="never"), "auto": ReconstructOptions()}

HEADER = ["photons", "seed", "half", "cold", "s", "warm", "s", "A(1e-3)", "phase(mrad)"]
"""Cycles and processor time [s] of the reference (cold) and of one of the others (warm), and the errors of these."""


def row(specimen: Specimen, options: ReconstructOptions) -> tuple[float, ...]:
    """The numbers of `HEADER` from ``cold`` on."""
    begun = time.process_time()
    cycles, start = specimen.reference(REFERENCE, options)
    cold_s, begun = time.process_time() - begun, time.process_time()
    warm = [specimen.reconstruct(energy, options, start) for energy in OTHERS]
    warm_s = (time.process_time() - begun) / len(OTHERS)
    a, phase = 1e3 * rms([specimen.errors(energy, state) for energy, state in zip(OTHERS, warm, strict=True)])
    return cycles, cold_s, float(np.mean([state.cycle for state in warm])), warm_s, a, phase


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[204, 205, 206])
    parser.add_argument("--photons", type=float, nargs="+", default=[1e8, 1e7])
    parser.add_argument("--size", choices=list(PARTICLES), default="small")
    chosen = parser.parse_args()
    print(*(f"{name:>10}" for name in HEADER))
    for photons in chosen.photons:
        for seed in chosen.seeds:
            specimen = Specimen(simulate(replace(PARTICLES[chosen.size], seed=seed, photons=photons)))
            for way, options in WAYS.items():
                numbers = (f"{number:10.3f}" for number in row(specimen, options))
                print(f"{photons:10.0e}", f"{seed:10d}", f"{way:>10}", *numbers, flush=True)


if __name__ == "__main__":
    main()
