"""How well a ptychographic measurement can be known at best: the Cramer-Rao bound of object and probe together.

Photons are Poisson numbers of mean ``I = |psi|^2``, so a parameter t of the exit wave has the Fisher information
``sum (dI/dt)^2 / I = sum (2 Re(conj(psi) / |psi| dpsi/dt))^2``. Parameters are A and phi of every pixel of the object
``O = exp(-A + i phi)``, and the real and imaginary part of every pixel of the probe. What no pattern shows (a constant and a ramp
between object and probe, a common displacement, the probe's phase) is fixed as the analysis fixes it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

Array = NDArray[np.float64]
Wave = NDArray[np.complex128]
Mask = NDArray[np.bool_]

WEAK = 1.0
"""Standard deviation known beforehand of A, of phi and of the probe relative to its maximum: it bounds what is not lit."""


@dataclass(frozen=True)
class Measurement:
    """One energy of a scan: object (Y, X), a probe (N, N) whose squares are photons, and where its first pixel lies."""

    object: Wave
    probe: Wave
    corners: NDArray[np.int64]
    """(P, 2) row and column."""
    offsets_px: Array
    """(P, 2) displacement of the probe beyond whole pixels."""
    good: Mask
    """(N, N), zero frequency in the middle."""


@dataclass(frozen=True)
class Bound:
    """Least standard errors of A and phi [rad] of the pixels (K,) that were asked for, and their correlation (K,)."""

    absorption: Array
    phase: Array
    correlation: Array


def fisher_information(measurement: Measurement) -> Array:
    """(2 Y X + 2 N N,) square: information about A, phi and the probe's real and imaginary parts."""
    n, (height, width) = len(measurement.probe), measurement.object.shape
    n_object, total = height * width, 2 * height * width + 2 * n * n
    information = np.zeros((total, total))
    transform = np.fft.fft(np.eye(n), norm="ortho")
    seen = np.fft.ifftshift(measurement.good).ravel()
    waves = np.kron(transform, transform)[seen]
    pixels = np.arange(n_object).reshape(height, width)
    of_probe = 2 * n_object + np.arange(2 * n * n)
    for (row, column), offset in zip(measurement.corners, measurement.offsets_px, strict=True):
        patch = pixels[row : row + n, column : column + n].ravel()
        shift = np.kron(*(fourier_shift(n, step) for step in offset))
        probe = shift @ measurement.probe.ravel()
        object_ = measurement.object.ravel()[patch]
        exit_wave = waves @ (probe * object_)
        unit = np.conj(exit_wave) / np.maximum(np.abs(exit_wave), 1e-12)
        by_object = unit[:, None] * (waves * (probe * object_))
        by_probe = unit[:, None] * ((waves * object_) @ shift)
        rows = 2 * np.hstack([-by_object.real, -by_object.imag, by_probe.real, -by_probe.imag])
        place = np.concatenate([patch, n_object + patch, of_probe])
        information[np.ix_(place, place)] += rows.T @ rows
    return information


def fourier_shift(n: int, step_px: float) -> Wave:
    """(n, n): moves a periodic array by ``step_px`` to higher indices, between pixels by its Fourier series."""
    ramp = np.exp(-2j * np.pi * np.fft.fftfreq(n) * step_px)
    return np.asarray(np.fft.ifft(ramp[:, None] * np.fft.fft(np.eye(n), axis=0), axis=0))


def cramer_rao(measurement: Measurement, vacuum: Mask, inside: Mask) -> Bound:
    """The bound for the pixels ``inside`` (Y, X), after what `gauge_directions` names is fixed in ``vacuum`` (Y, X)."""
    information = fisher_information(measurement)
    n_object = measurement.object.size
    known = np.concatenate(
        [np.full(2 * n_object, WEAK), np.full(2 * measurement.probe.size, WEAK * np.abs(measurement.probe).max())]
    )
    fixed = gauge_directions(measurement, vacuum, inside)
    information += np.diag(known**-2.0) + 1e3 * np.diag(information).max() * fixed @ fixed.T
    asked = np.concatenate([np.flatnonzero(inside), n_object + np.flatnonzero(inside)])
    columns = np.zeros((len(information), len(asked)))
    columns[asked, np.arange(len(asked))] = 1
    covariance = cho_solve(cho_factor(information, overwrite_a=True), columns)[asked]
    variance, k = np.diag(covariance), len(asked) // 2
    absorption, phase = np.sqrt(variance[:k]), np.sqrt(variance[k:])
    return Bound(absorption, phase, np.diag(covariance[:k, k:]) / (absorption * phase))


def gauge_directions(measurement: Measurement, vacuum: Mask, inside: Mask) -> Array:
    """(parameters, 7) unit vectors of what the analysis holds at zero.

    The mean of A and the plane of phi in the vacuum, the displacement of the object by the gradients of ln O inside the
    particle, and the probe's phase.
    """
    shape, n_object = measurement.object.shape, measurement.object.size
    y, x = (axis - axis[vacuum].mean() for axis in np.indices(shape).astype(float))
    slopes = np.gradient(np.log(measurement.object))
    empty, probe = np.zeros(n_object), measurement.probe.ravel()
    none = np.zeros(2 * probe.size)
    rows = [np.concatenate([(vacuum * 1.0).ravel(), empty, none])]
    rows += [np.concatenate([empty, (vacuum * plane).ravel(), none]) for plane in (np.ones(shape), y, x)]
    rows += [np.concatenate([-(inside * slope.real).ravel(), (inside * slope.imag).ravel(), none]) for slope in slopes]
    rows.append(np.concatenate([empty, empty, -probe.imag, probe.real]))
    return np.stack([row / np.linalg.norm(row) for row in rows], axis=1)
