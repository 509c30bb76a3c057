"""The Kramers-Kronig partner of eq. 1: what the phase must be where the absorption is a step and two peaks.

``f'(E) = -(1/pi) P int f''(x) / (x - E) dx`` near the edge (the mirror pole at -E adds what is constant to 1e-4 there).
The partner of a Lorentzian is ``t / (1 + t^2)``, that of an erf step the mean logarithm of the distance to a Gaussian,
a smooth function of (E - b2) / b3 that is tabulated once. Beyond the window the tables take over, as in `tasks.coupling.kkr`.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import cumulative_simpson
from scipy.interpolate import CubicSpline
from scipy.special import dawsn

from tasks.coupling.kkr import TAPER_EV, transform_matrix, window_corners
from tasks.xanes.model import lorentzian

Array = NDArray[np.float64]

LAST_U: Final = 12.0
"""From here on the series in 1 / u is true to 1e-6."""


def _mean_logarithm_table() -> CubicSpline:
    u = np.linspace(0.0, LAST_U, 2401)
    at_zero = -(np.euler_gamma + 2 * np.log(2)) / (2 * np.pi)
    return CubicSpline(u, at_zero + 2 / np.pi * cumulative_simpson(dawsn(u), x=u, initial=0.0))


_TABLE: Final = _mean_logarithm_table()


def mean_logarithm(u: Array) -> Array:
    """``1/pi`` times the mean of ``ln|v - u|`` over a Gaussian v of variance 1/2; its derivative is ``2/pi dawsn(u)``."""
    distance = np.abs(u)
    far = np.maximum(distance, LAST_U)
    series = (np.log(far) - 1 / (4 * far**2) - 3 / (16 * far**4)) / np.pi
    return np.where(distance < LAST_U, _TABLE(np.minimum(distance, LAST_U)), series)


def background_partner(energy_ev: Array) -> Array:
    """(E,) partner of a constant absorption of 1 in the window (E,) [eV], tapered to zero beyond it."""
    return np.asarray(transform_matrix(energy_ev, window_corners(energy_ev)) @ np.array([0.0, 1.0, 1.0, 0.0]))


def window_end(energy_ev: Array) -> Array:
    """(E,) what ends a step of 1 at the window's upper end and taper, instead of at infinity."""
    left = energy_ev[-1] - energy_ev
    logarithm = np.log(np.where(left > 0, left, 1.0))
    share = left / TAPER_EV
    return np.asarray(((1 + share) * np.log(left + TAPER_EV) - share * logarithm - 1) / np.pi)


def eq1_partner(energy_ev: Array, parameters: Array) -> tuple[Array, Array]:
    """Partner of eq. 1 at each energy, and its derivatives by the parameters.

    Parameters
    ----------
    energy_ev : (E,) float64 array [eV]
        The whole window, ascending.
    parameters : (n, 10) float64 array
        In the order of `tasks.xanes.model.PARAMETERS`, a row a spectrum.

    Returns
    -------
    partner : (n, E) float64 array
        In the unit of the absorption; ``-phi`` where all wavelengths are that of the edge.
    jacobian : (n, E, 10) float64 array
    """
    p = parameters[:, None, :]
    u = (energy_ev - p[..., 2]) / p[..., 3]
    step = mean_logarithm(u) + np.log(p[..., 3]) / np.pi - window_end(energy_ev)
    slope = 2 / np.pi * dawsn(u)
    per_width = p[..., 1] / p[..., 3]
    constant = np.broadcast_to(background_partner(energy_ev), u.shape)
    columns = [constant, step, -per_width * slope, per_width * (1 / np.pi - u * slope)]
    partner = p[..., 0] * constant + p[..., 1] * step
    for height, centre, width in ((p[..., i], p[..., i + 1], p[..., i + 2]) for i in (4, 7)):
        t = (energy_ev - centre) / width
        peak = lorentzian(energy_ev, centre, width)
        by_t = height * (1 - t * t) * peak * peak
        columns += [t * peak, -by_t / width, -by_t * t / width]
        partner = partner + height * t * peak
    return partner, np.stack(columns, axis=-1)
