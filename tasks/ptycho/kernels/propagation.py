"""Linear operators of the measurement, each with its adjoint, on JAX arrays with the beam centre at ``[0, 0]``.

The far field of an exit wave is its unitary Fourier transform, so photons are conserved: sum |F|^2 = sum |psi|^2.
"""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray


def far_field(exit_wave: jax.Array) -> jax.Array:
    """(..., N, N) complex64: the wave at the detector."""
    return jnp.fft.fft2(exit_wave, norm="ortho")


def back_propagate(wave: jax.Array) -> jax.Array:
    """(..., N, N) complex64: adjoint (and inverse) of `far_field`."""
    return jnp.fft.ifft2(wave, norm="ortho")


def shift_ramps(fractions_px: NDArray[np.float64], n_pixels: int) -> NDArray[np.complex64]:
    """(P, 2, N) complex64: the Fourier factors that displace an array by ``fractions_px`` (P, 2) along y and x [px].

    The Nyquist factor of an even N is made real, so that a real array stays real.
    """
    frequency = np.fft.fftfreq(n_pixels)
    ramps = np.exp(-2j * np.pi * fractions_px[:, :, None] * frequency)
    if n_pixels % 2 == 0:
        ramps[:, :, n_pixels // 2] = ramps[:, :, n_pixels // 2].real
    return np.asarray(ramps.astype(np.complex64))


def frequency_ramps(n_pixels: int) -> NDArray[np.complex64]:
    """(N,) complex64: the Fourier factors ``-2 pi i f`` of the derivative with respect to a displacement [1/px]."""
    frequency = np.fft.fftfreq(n_pixels)
    frequency[np.abs(frequency) == 0.5] = 0
    return (-2j * np.pi * frequency).astype(np.complex64)


def displace(spectrum: jax.Array, ramp: jax.Array) -> jax.Array:
    """(..., N, N) complex64: the array whose Fourier transform is ``spectrum``, displaced by ``ramp`` (2, N)."""
    return jnp.fft.ifft2(spectrum * (ramp[0][:, None] * ramp[1][None, :]))


def displace_adjoint(array: jax.Array, ramp: jax.Array) -> jax.Array:
    """(..., N, N) complex64: adjoint of `displace` up to the factor 1 / N^2 of its unnormalised inverse transform."""
    return jnp.fft.fft2(array) * (ramp[0].conj()[:, None] * ramp[1].conj()[None, :])
