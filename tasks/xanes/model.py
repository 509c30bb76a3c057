"""Eq. 1: the absorption of one state near an edge, a step with a pre-edge peak and a white line."""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erf

PARAMETERS: Final = (
    "offset",
    "edge_jump",
    "edge_energy",
    "edge_width",
    "pre_edge_height",
    "pre_edge_energy",
    "pre_edge_width",
    "white_line_height",
    "white_line_energy",
    "white_line_width",
)
"""The ten parameters, in the order of the first axis of every parameter array.

In the symbols of the paper: a, b1, b2, b3, c11, c12, c13, c21, c22, c23. Offset, jump and heights are in the unit of
the absorption; energies and widths are in eV. A peak's width is half its full width at half maximum.
"""


def eq1(energy_ev: ArrayLike, parameters: ArrayLike) -> NDArray[np.float64]:
    """Absorption at each energy, eq. 1 of Uematsu et al., PCCP 2023, 25, 3867.

    Parameters
    ----------
    energy_ev : (E,) float64 array [eV]
    parameters : (10,) or (10, ...) float64 array
        In the order of `PARAMETERS`.

    Returns
    -------
    (E,) or (E, ...) float64 array
        In the unit of the offset, the jump and the heights.
    """
    p = np.asarray(parameters, dtype=np.float64)
    E = _beside(energy_ev, p)
    peaks = p[4] * lorentzian(E, p[5], p[6]) + p[7] * lorentzian(E, p[8], p[9])
    return np.asarray(p[0] + p[1] * edge_step(E, p[2], p[3]) + peaks)


def edge_step(
    energy_ev: NDArray[np.float64], centre_ev: float | NDArray[np.float64], width_ev: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Step from 0 to 1, half way up at ``centre_ev`` [eV]: the integral of a Gaussian of 1/e half width ``width_ev`` [eV]."""
    return np.asarray(0.5 * (1.0 + erf((energy_ev - centre_ev) / width_ev)))


def lorentzian(
    energy_ev: NDArray[np.float64], centre_ev: float | NDArray[np.float64], width_ev: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Peak of height 1 and half width ``width_ev`` [eV] at half maximum; its area is ``pi * width_ev``."""
    return np.asarray(1.0 / (1.0 + ((energy_ev - centre_ev) / width_ev) ** 2))


def jacobian(energy_ev: ArrayLike, parameters: ArrayLike) -> NDArray[np.float64]:
    """Derivatives of eq. 1 by each parameter, analytic.

    Parameters
    ----------
    energy_ev : (E,) float64 array [eV]
    parameters : (10,) or (10, ...) float64 array

    Returns
    -------
    (E, 10) or (E, ..., 10) float64 array
    """
    p = np.asarray(parameters, dtype=np.float64)
    E = _beside(energy_ev, p)
    u = (E - p[2]) / p[3]
    bell = -p[1] * np.exp(-u * u) / (np.sqrt(np.pi) * p[3])
    columns = [np.ones_like(u), edge_step(E, p[2], p[3]), bell, bell * u]
    for height, centre, width in (p[4:7], p[7:10]):
        t = (E - centre) / width
        peak = lorentzian(E, centre, width)
        slope = 2.0 * height * peak * peak * t / width
        columns += [peak, slope, slope * t]
    return np.stack(columns, axis=-1)


def _beside(energy_ev: ArrayLike, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Energies (E, 1, ...) that broadcast against a row of the parameters (10, ...)."""
    return np.asarray(energy_ev, dtype=np.float64).reshape((-1,) + (1,) * (parameters.ndim - 1))


def pre_edge_area(parameters: ArrayLike) -> NDArray[np.float64]:
    """PE = pi c11 c13, the whole area under the pre-edge Lorentzian [eV x absorption], from (10, ...) parameters."""
    p = np.asarray(parameters, dtype=np.float64)
    return np.asarray(np.pi * p[4] * p[6])


def pre_edge_ratio(parameters: ArrayLike) -> NDArray[np.float64]:
    """PE / dmu [eV], the pre-edge area per unit of edge jump, from (10, ...) parameters; NaN where the jump is zero."""
    p = np.asarray(parameters, dtype=np.float64)
    return pre_edge_area(p) / np.where(p[1] > 0, p[1], np.nan)


def area_slopes(names: tuple[str, ...], parameters: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Derivatives of the pre-edge area and of its ratio to the edge jump by the parameters of a model.

    Parameters
    ----------
    names : (P,) tuple of str
        As those of eq. 1, the jump second; a second pre-edge peak adds to the area.
    parameters : (n, P) float64 array

    Returns
    -------
    area, ratio : (n, P) float64 arrays
        NaN where the model has no pre-edge peak; those of the ratio where the jump is not positive.
    """
    p = parameters
    area = np.zeros_like(p) if "pre_edge_height" in names else np.full_like(p, np.nan)
    ratio = area.copy()
    for first in [i for i, name in enumerate(names) if name.startswith("pre_edge") and name.endswith("height")]:
        area[:, first], area[:, first + 2] = np.pi * p[:, first + 2], np.pi * p[:, first]
        jump = np.where(p[:, 1] > 0, p[:, 1], np.nan)
        ratio[:, first], ratio[:, first + 2] = area[:, first] / jump, area[:, first + 2] / jump
        ratio[:, 1] -= np.pi * p[:, first] * p[:, first + 2] / jump**2
    return area, ratio
