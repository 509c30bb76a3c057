"""Photon energies that ptychography is done at, and why a number in a file is none of them."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from storage.readers.units import JOULE_EV, quoted

MIN_PHOTON_EV: Final = 30.0
MAX_PHOTON_EV: Final = 2e5
"""Photon energies from where the tables of scattering factors begin to where no ptychography is done [eV]."""

MAX_JOULES: Final = 1e-12
"""A positive number below this, beside which no unit stands, is in joules: as an energy in eV it is none of a photon."""

HC_EV_M: Final = 1.239841984e-6
"""Planck's constant times the speed of light [eV m]."""


def is_photon_energy(energy_ev: float) -> bool:
    """Whether photons of ptychography can have this energy [eV]."""
    return MIN_PHOTON_EV <= energy_ev <= MAX_PHOTON_EV


def in_ev(energies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Energies [eV], of which those in joules are recognised by their size."""
    return np.where((energies > 0) & (energies < MAX_JOULES), energies / JOULE_EV, energies)


def impossible_energy(value: float, unit: str) -> str:
    """Why a number, in eV where ``unit`` is the unit that a file states, is no photon energy."""
    allowed = f"{MIN_PHOTON_EV:g} to {MAX_PHOTON_EV:g}"
    if unit:
        cause = "; it is the storage ring's, not the photons'" if value > MAX_PHOTON_EV else ""
        return f"photon energy must be {allowed} eV, got {value:g} eV (its unit is {quoted(unit)}){cause}"
    cause = "; it looks like keV: state units = 'keV'" if 0.05 <= value < MIN_PHOTON_EV else ""
    return f"photon energy {value:g} is neither joules (< {MAX_JOULES:g}) nor electronvolts ({allowed}){cause}"
