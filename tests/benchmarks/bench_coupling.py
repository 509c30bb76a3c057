"""The Kramers-Kronig projection: pixels a second on one thread, both bands, 40 energies.

Run as a script; it prints the line that docs/performance.md quotes.
"""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tasks.coupling.kkr import outside_columns, window_matrix
from tasks.coupling.projection import BAND_SPLIT_PX, Noise, Pair, project, projections, split_bands
from tasks.scattering import Absorber
from tasks.simulation.energies import energy_grid

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
        whole, plainly, split = [], [], []
        for _ in range(REPEATS):
            whole.append(timed(lambda: project(pair, energy, K, T, matrices, field)))
            plainly.append(timed(lambda: in_plain_steps(stacked, matrices)))
            split.append(timed(lambda: split_bands(stacked, field)))
    pixels = SIDE**2
    print(f"matrices, once a run: {once * 1e3:.0f} ms")
    for name, seconds in (("whole projection", whole), ("the same, plainly", plainly), ("split of all images", split)):
        print(f"{name:<22} {pixels / np.median(seconds) / 1e6:6.2f} Mpx/s")


def in_plain_steps(stacked: NDArray[np.float64], matrices: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Both bands of every image by `scipy.ndimage`, each projected by its own matrix."""
    low = ndimage.gaussian_filter(stacked, (0, BAND_SPLIT_PX, BAND_SPLIT_PX))
    return np.asarray(np.tensordot(matrices[0], low, axes=1) + np.tensordot(matrices[1], stacked - low, axes=1))


def timed(work: Callable[[], object]) -> float:
    """Processor seconds that ``work()`` takes."""
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
