"""Physical constants and the few conversions between what is set and what is seen."""

from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

CLASSICAL_ELECTRON_RADIUS_M: Final = 2.8179403e-15
"""r_e [m], CODATA."""

HC_EV_M: Final = 1.239841984e-6
"""h c [eV m]: wavelength times energy."""

Scalar = TypeVar("Scalar", float, NDArray[np.float64])


def wavelength_m(energy_ev: Scalar) -> Scalar:
    """Wavelength [m] of a photon of energy ``energy_ev`` [eV]."""
    return HC_EV_M / energy_ev


def object_pixel_size_m(energy_ev: Scalar, distance_m: float, n_pixels: int, detector_pixel_size_m: float) -> Scalar:
    """Pixel of the reconstructed object [m], ``lambda z / (N p)``: it grows with the wavelength.

    Parameters
    ----------
    energy_ev : float or (E,) float64 array [eV]
    distance_m : float
        Specimen to detector [m].
    n_pixels : int
        Side N of the square diffraction pattern.
    detector_pixel_size_m : float
        Detector pixel p [m].
    """
    return wavelength_m(energy_ev) * distance_m / (n_pixels * detector_pixel_size_m)


def electrons_per_absorption(energy_ev: Scalar) -> Scalar:
    """``r_e lambda`` [m^2]: A or phi divided by it is a projected electron number density [e- m^-2]."""
    return CLASSICAL_ELECTRON_RADIUS_M * wavelength_m(energy_ev)
