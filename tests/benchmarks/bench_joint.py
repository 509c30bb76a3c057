"""Eq. 1 fitted to absorption alone, to absorption after the Kramers-Kronig constraint, and to absorption and phase together.

An image of four states; photon noise, white in absorption and phase, and a phase error that is slow over the image and
new at every energy. Prints bias and robust spread of edge energy, PE / jump and jump, and pixels a second::

    python tests/benchmarks/bench_joint.py
"""

import time

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tasks.coupling.kkr import outside_columns
from tasks.coupling.projection import Pair, constrain
from tasks.options.coupling import KKROptions
from tasks.scattering import Absorber
from tasks.simulation.chemical_states import ABSORPTION_JUMP, STATES, electrons_per_formula
from tasks.simulation.energies import energy_grid
from tasks.units import electrons_per_absorption
from tasks.xanes.fit import SpectrumFit, at_edge_wavelength, fit_spectra
from tasks.xanes.joint import Pairs, fit_pairs
from tasks.xanes.model import PARAMETERS, pre_edge_ratio

SIDE = 44
V = Absorber()
EDGE_EV = V.edge_energy_ev
ENERGY = energy_grid(40, EDGE_EV)
Array = NDArray[np.float64]


def measured(noise: float, ratio: float, slow: float, seed: int) -> tuple[Pair, NDArray[np.int64]]:
    """Absorption and phase of one electron-thick specimen; noise in units of the edge jump, slow in units of it."""
    rng = np.random.default_rng(seed)
    quadrant = (np.arange(SIDE) >= SIDE // 2).astype(int)
    state = 2 * quadrant[:, None] + quadrant[None, :]
    electrons = electrons_per_formula(STATES[:4], ENERGY, V)[:, state]
    sigma = noise * ABSORPTION_JUMP
    shape = electrons.shape
    waves = ndimage.gaussian_filter(rng.normal(size=shape), (0, 6, 6))
    second = electrons.imag + rng.normal(0, sigma, shape)
    first = electrons.real + ratio * rng.normal(0, sigma, shape) + slow * sigma * waves / waves.std()
    scale = electrons_per_absorption(ENERGY)[:, None, None]
    return Pair(second * scale, -first * scale), state


def row(found: SpectrumFit, state: NDArray[np.int64], seconds: float) -> str:
    """Bias and robust spread of three figures."""
    edge = np.array([EDGE_EV + one.edge_ev for one in STATES])[state.ravel()]
    ratio = np.array([np.pi * s.pre_edge_height * s.pre_edge_width_ev / ABSORPTION_JUMP for s in STATES])[state.ravel()]
    unit = ABSORPTION_JUMP * float(electrons_per_absorption(EDGE_EV))
    errors = (
        found.parameters[PARAMETERS.index("edge_energy")] - edge,
        pre_edge_ratio(found.parameters) - ratio,
        100 * (found.parameters[PARAMETERS.index("edge_jump")] / unit - 1),
    )
    cells = []
    for error in errors:
        median = np.nanmedian(error)
        cells.append(f"{median:+7.3f} {1.4826 * np.nanmedian(np.abs(error - median)):6.3f}")
    return "   ".join([*cells, f"{state.size / seconds:9,.0f}"])


def compare(noise: float, ratio: float, slow: float, seed: int = 0) -> dict[str, str]:
    """One line a way of fitting."""
    pair, state = measured(noise, ratio, slow, seed)
    everywhere = np.ones((SIDE, SIDE), bool)
    even = np.full(ENERGY.size, noise * ABSORPTION_JUMP * float(electrons_per_absorption(EDGE_EV)))
    lines = {}

    def spectra(images: Array) -> Array:
        return at_edge_wavelength(ENERGY, images, EDGE_EV).reshape(ENERGY.size, -1)

    begun = time.perf_counter()
    lines["absorption alone"] = row(
        fit_spectra(ENERGY, spectra(pair.absorption), even, EDGE_EV), state, time.perf_counter() - begun
    )
    coupled = constrain(pair, ENERGY, V, "LiVO2", everywhere, everywhere, KKROptions()).pair
    begun = time.perf_counter()
    lines["constraint, then fit"] = row(
        fit_spectra(ENERGY, spectra(coupled.absorption), even, EDGE_EV), state, time.perf_counter() - begun
    )
    begun = time.perf_counter()
    pairs = Pairs(
        ENERGY, spectra(pair.absorption), -spectra(pair.phase), even, np.hypot(ratio, slow) * even,
        outside_columns(ENERGY, V, "LiVO2"),
    )  # fmt: skip
    lines["joint fit"] = row(fit_pairs(pairs, EDGE_EV), state, time.perf_counter() - begun)
    return lines


def main() -> None:
    """Print the table."""
    compare(0.03, 1.0, 0.0)  # compiles
    print(
        f"{'noise':>5} {'phase':>5} {'slow':>4}  {'':<20} {'E0 off':>7} {'sd eV':>6}   {'PE/dmu':>7} {'sd eV':>6}   "
        f"{'jump %':>7} {'sd %':>6}   {'pixels/s':>9}"
    )
    for noise in (0.01, 0.03, 0.1):
        for ratio, slow in ((0.5, 0.0), (1.1, 0.0), (1.1, 1.0), (1.4, 2.0)):
            for name, line in compare(noise, ratio, slow).items():
                print(f"{noise:5.2f} {ratio:5.1f} {slow:4.1f}  {name:<20} {line}")


if __name__ == "__main__":
    main()
