"""Images of a simulated particle as other programs would hand them over: made without measurement or reconstruction."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tasks.scattering import Absorber
from tasks.simulation.chemical_states import electrons_per_formula
from tasks.simulation.energies import energy_grid
from tasks.simulation.specimen import SimulationOptions, grow_specimen, transmission_at

PIXEL_M = 20e-9
SIDE_PX = 48
NOISE = 2e-3


@dataclass(frozen=True)
class Imaged:
    """Objects (E, Y, X) complex64 of one specimen, which drifts, at energies (E,) [eV]."""

    energies_ev: NDArray[np.float64]
    objects: NDArray[np.complex64]
    drift_px: NDArray[np.float64]

    @property
    def transmission(self) -> NDArray[np.float64]:
        """(E, Y, X) I / I0."""
        return np.abs(self.objects).astype(np.float64) ** 2


@cache
def imaged(n_energies: int = 12, drift_px: float = 0.6, noise: float = NOISE) -> Imaged:
    """A particle of two states in the middle of a field that is empty around it, in a gauge of its own at every energy."""
    rng = np.random.default_rng(3)
    options = SimulationOptions(n_states=2, n_grains=2, radius_m=0.3e-6)
    specimen, absorber = grow_specimen(options), Absorber("V", "K")
    energies_ev = energy_grid(n_energies, absorber.edge_energy_ev)
    electrons = electrons_per_formula(specimen.states, energies_ev, absorber)
    drift = rng.normal(0, drift_px, (n_energies, 2))
    axis_m = (np.arange(SIDE_PX) - (SIDE_PX - 1) / 2) * PIXEL_M
    images = [
        transmission_at(specimen, electrons[e], axis_m - y * PIXEL_M, axis_m - x * PIXEL_M, float(energy))
        for e, (energy, (y, x)) in enumerate(zip(energies_ev, drift, strict=True))
    ]
    added = noise * (rng.normal(size=(n_energies, SIDE_PX, SIDE_PX)) + 1j * rng.normal(size=(n_energies, SIDE_PX, SIDE_PX)))
    return Imaged(energies_ev, (np.stack(images) + added).astype(np.complex64), drift)
