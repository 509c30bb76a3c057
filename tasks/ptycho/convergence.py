"""When a reconstruction has converged: what still changes of the object, slow waves included, against photon noise.

R says little of the object's slow waves, which change few counts, and ePIE at a constant step keeps stirring the photon noise
of every pixel. So two running averages of the object are compared, a long and a short one: noise averages out in both, while a
wave that still moves differs. The difference is smoothed, and freed of what no diffraction pattern shows: a constant factor, a
plane of the phase, and a displacement.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tasks.gauge import field_of_view
from tasks.ptycho.state import ComplexArray

COMPARED_CYCLES = 5
"""Cycles between two comparisons."""
LONG_AVERAGE, SHORT_AVERAGE = 2, 8
"""Exponents of the averages: the mean age of what is in them is 1/4 and 1/10 of the cycles so far."""
REMAINING_PER_DIFFERENCE = 3.0
"""What remains to change, over the difference of the averages: 2 to 4 on simulated specimens at 1e6 to 1e8 photons a frame."""
CONVERGED = 0.4
"""Remaining change, in units of a pixel's photon noise, from which the step may decay, in which half as many cycles follow."""
SMOOTHING_PX = 3.0
"""Standard deviation of the Gaussian that leaves the slow waves of a change [px]."""
RIM_PX = 3
"""The compared area keeps this far from the rim of the scanned field."""


@dataclass(frozen=True)
class Averages:
    """Running averages of the object (Y, X) over the cycles so far, weighted by the cycle's number to some power.

    The weights follow Shamir & Zhang (ICML 2013), eq. 3: ``a_k = (1 - w) a_{k-1} + w O_k`` with ``w = (p + 1) / (k + p)``.
    """

    n_cycles: int
    long: ComplexArray
    short: ComplexArray

    @classmethod
    def of(cls, object_: ComplexArray) -> "Averages":
        """Both averages of a single object."""
        return cls(1, jnp.asarray(object_), jnp.asarray(object_))

    def with_cycle(self, object_: ComplexArray) -> "Averages":
        """The averages with one more object."""
        k = self.n_cycles + 1
        long, short = ((power + 1) / (k + power) for power in (LONG_AVERAGE, SHORT_AVERAGE))
        return Averages(k, *_averaged(self.long, self.short, object_, long, short))

    def mapped(self, to_other_pixels: Callable[[ComplexArray], ComplexArray]) -> "Averages":
        """The averages of the same objects on other pixels."""
        return replace(self, long=to_other_pixels(self.long), short=to_other_pixels(self.short))

    def remaining_change(self, dose: NDArray[np.float32], excess: float) -> float:
        """Estimate of what still changes of the object, in units of a pixel's photon noise; see `relative_change`."""
        return REMAINING_PER_DIFFERENCE * relative_change(np.asarray(self.long), np.asarray(self.short), dose, excess)


@jax.jit
def _averaged(
    long: jax.Array, short: jax.Array, object_: jax.Array, of_long: float, of_short: float
) -> tuple[jax.Array, jax.Array]:
    """Both averages with one more object of these weights."""
    return (1 - of_long) * long + of_long * object_, (1 - of_short) * short + of_short * object_


def relative_change(
    before: NDArray[np.complex64], after: NDArray[np.complex64], dose: NDArray[np.float32], excess: float = 1.0
) -> float:
    """Rms of the smoothed difference of ln O of two objects (Y, X), in units of a pixel's noise.

    Parameters
    ----------
    before, after : (Y, X) complex64 arrays
    dose : (Y, X) float32 array
        Photons on each object pixel (`tasks.ptycho.scan.illumination`): the variance of A and of the phase is ``1 / (2 dose)``.
    excess : float
        R over the R that photon noise leaves, at least 1: what the model does not explain acts as noise too.

    Returns
    -------
    float
        Infinite where an object is not finite.
    """
    field = field_of_view(dose)
    inner = ndimage.binary_erosion(field, iterations=RIM_PX)
    compared = ndimage.binary_dilation(inner)
    if not inner.any() or not all(np.isfinite(one[compared]).all() and one[compared].all() for one in (before, after)):
        return float("inf")
    change = np.log(np.where(inner, after, 1) / np.where(inner, before, 1))
    change = np.where(inner, change - _undetermined_part(change, before, after, inner, dose), 0)
    share = ndimage.gaussian_filter(inner.astype(float), SMOOTHING_PX)
    slow = [ndimage.gaussian_filter(part, SMOOTHING_PX)[inner] / share[inner] for part in (change.real, change.imag)]
    variance = excess * float(np.mean(1 / (2 * dose[inner].astype(float))))
    return float(np.sqrt(np.mean(slow[0] ** 2 + slow[1] ** 2) / variance))


def _undetermined_part(
    change: NDArray[np.complex128],
    before: NDArray[np.complex64],
    after: NDArray[np.complex64],
    inner: NDArray[np.bool_],
    dose: NDArray[np.float32],
) -> NDArray[np.complex128]:
    """(Y, X) complex128: the part of ``change`` that no pattern shows, fitted by least squares with weights ``dose``."""
    y, x = (axis - axis.mean() for axis in np.indices(inner.shape, dtype=float))
    # half the logarithm of the ratio of a pixel's neighbours is the gradient of ln O, also where the phase wraps; the mean
    # gradient of both objects tells a displacement to the second order
    with_neighbours = ndimage.binary_dilation(inner)
    objects = [np.where(with_neighbours, one, 1) for one in (before, after)]
    slopes = [sum(np.log(np.roll(one, -1, axis) / np.roll(one, 1, axis)) for one in objects) / 4 for axis in (0, 1)]
    terms = np.stack([np.ones_like(y), 1j * np.ones_like(y), 1j * y, 1j * x, *slopes])
    weight = np.sqrt(dose[inner])
    rows, values = terms[:, inner] * weight, change[inner] * weight
    rows, values = np.concatenate([rows.real, rows.imag], axis=1), np.concatenate([values.real, values.imag])
    found = np.linalg.lstsq(rows.T, values, rcond=None)[0]
    return np.asarray(np.tensordot(found, terms, 1))
