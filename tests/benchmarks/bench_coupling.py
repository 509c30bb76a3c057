"""The Kramers-Kronig projection: pixels a second on one thread, both bands, 40 energies.

Run as a script; it prints the line that docs/performance.md quotes.
"""

import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from tasks.coupling import Noise, Pair, project, projections, split_bands
from tasks.kkr import outside_columns, window_matrix
from tasks.refraction import Absorber
from tasks.simulate import energy_grid

SIDE = 384
REPEATS = 5


def main() -> None:
    """Time the whole projection, its matrix products alone, and the band split."""
    energy = energy_grid(40, 5465.0)
    absorber = Absorber("V", "K")
    rng = np.random.default_rng(0)
    pair = Pair(rng.normal(0.05, 0.01, (40, SIDE, SIDE)), rng.normal(-0.7, 0.01, (40, SIDE, SIDE)))
    field = np.ones((SIDE, SIDE), bool)
    stacked = np.concatenate([pair.absorption, pair.phase])
    with threadpool_limits(1):
        started = time.perf_counter()
        K, T = window_matrix(energy), outside_columns(energy, absorber, "LiVO2")
        matrices = projections(K, T, (Noise(1.0, 4.0), Noise(1.0, 1.2)), "joint")
        once = time.perf_counter() - started
        whole, products, split = [], [], []
        for _ in range(REPEATS):
            whole.append(timed(lambda: project(pair, energy, matrices, field)))
            products.append(timed(lambda: [np.tensordot(matrix, stacked, axes=1) for matrix in matrices]))
            split.append(timed(lambda: split_bands(stacked, field)))
    pixels = SIDE**2
    print(f"matrices, once a run: {once * 1e3:.0f} ms")
    for name, seconds in (("whole projection", whole), ("its matrix products", products), ("its band split", split)):
        print(f"{name:<22} {pixels / np.median(seconds) / 1e6:6.2f} Mpx/s")


def timed(work: Callable[[], object]) -> float:
    """Seconds that ``work()`` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
