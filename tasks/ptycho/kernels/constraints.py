"""The two constraints ptychography alternates between, for one frame.

Modulus constraint: the wave at the detector has the measured amplitude. Overlap constraint: every exit wave is the
product of one object and one probe (Maiden & Rodenburg, Ultramicroscopy 109, 1256 (2009), eqs 5 and 6).
"""

import jax
import jax.numpy as jnp

SMALLEST_INTENSITY = 1e-12
"""Added to the modelled intensity so that the quotient stays finite where the model predicts none [photons]."""


def intensity(wave: jax.Array) -> jax.Array:
    """(N, N) float32: ``sum_m |F_m|^2`` of the modes (M, N, N) of a wave, added one by one: XLA reduces short axes slowly."""
    return jnp.asarray(sum(mode.real**2 + mode.imag**2 for mode in wave))


def modulus_correction(wave: jax.Array, amplitude: jax.Array) -> jax.Array:
    """The difference between the far field with the measured amplitude and the far field as modelled.

    Parameters
    ----------
    wave : (M, N, N) complex64
        Far field of each mode; their intensities add.
    amplitude : (N, N) float32
        Square root of the counts; negative where the pixel is masked or saturated, so that the modelled wave is kept.

    Returns
    -------
    (M, N, N) complex64
        Its `intensity` is the misfit (|F| - sqrt I)^2 of each good pixel [photons].
    """
    factor = jnp.where(amplitude < 0, 0.0, amplitude * jax.lax.rsqrt(intensity(wave) + SMALLEST_INTENSITY) - 1.0)
    # a real times a complex number would be computed as a complex product
    return jax.lax.complex(wave.real * factor, wave.imag * factor)


def object_step(patch: jax.Array, probe: jax.Array, change: jax.Array, size: jax.Array) -> jax.Array:
    """eq. 5 with modes: the patch (N, N) plus ``size sum_m P_m* dpsi_m``, size being alpha / max sum_m |P_m|^2."""
    return patch + size * jnp.sum(probe.conj() * change, axis=0)


def probe_step(patch: jax.Array, change: jax.Array, beta: float, regularisation: float | None = None) -> jax.Array:
    """eq. 6: ``beta O* dpsi_m / max |O|^2``, the change of each mode, shape (M, N, N) complex64; or as `regularised`."""
    brightness = patch.real**2 + patch.imag**2
    return beta / regularised(brightness, regularisation) * patch.conj() * change


def regularised(brightness: jax.Array, share: float | None) -> jax.Array:
    """The divisor of a step: the maximum of ``brightness`` (N, N), as in ePIE, where ``share`` is None.

    Else, (N, N), ``(1 - share) brightness + share max(brightness)``: rPIE, Maiden, Johnson & Li, Optica 4, 736 (2017).
    """
    peak = jnp.max(brightness)
    return peak if share is None else (1 - share) * brightness + share * peak
