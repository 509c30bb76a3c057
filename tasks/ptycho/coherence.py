"""Tests whether the probe needs another mode: the misfit compared with what photon noise alone leaves.

A model that explains the patterns leaves the noise of the counts. Where the misfit is clearly larger and no longer falls, the
model lacks something: most often the beam was partially coherent or moved during the exposure, which more modes of the
probe describe (Thibault & Menzel, Nature 494, 68 (2013)).
"""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

from tasks.ptycho.kernels.cycle import Frames
from tasks.ptycho.kernels.propagation import displace, far_field

EXCESS = 1.6
"""Misfit, in units of what photon noise leaves, above which a further mode is tried.

Coherent simulated specimens at 1e5 to 1e8 photons a frame reach 1.1 to 1.4 when R has stopped falling (up to 2.1 where the
probe does not fit into the frame, and there the trial fails); the Siemens star of the tests reaches 2.0, with two modes 1.5."""

MOST_MODES = 3
"""Largest number of modes that ``probe_modes="auto"`` reaches."""

ASKED_AFTER = (20, 40, 80)
"""Numbers of cycles after which a further mode is considered."""
TRIAL_CYCLES = 10
"""Cycles of the trial of a further mode."""
PAYS = 0.85
"""A further mode is kept if it lowers R to less than this share: errors of positions or flux are not explained by modes, and
what `STALLED` lets R fall by itself is less."""

STALL_CYCLES = 5
STALLED = 0.05
"""R has stopped falling once it has fallen by less than this share over `STALL_CYCLES`."""

SAMPLED_FRAMES = 256
"""Frames on which the noise's misfit is estimated where more are not needed."""

BRIGHT = 12.0
"""Amplitude from which the noise of a root is a quarter of a photon to within half a percent."""


def has_stalled(errors: NDArray[np.float32]) -> bool:
    """Whether R, one a cycle, has stopped falling."""
    return len(errors) > STALL_CYCLES and bool(errors[-1] > (1 - STALLED) * errors[-1 - STALL_CYCLES])


def noise_misfit(object_: jax.Array, probe: jax.Array, frames: Frames) -> float:
    """Misfit [photons] expected of the photon noise: ``sum E (sqrt n - sqrt m)^2``, n Poisson of the model's mean m.

    Parameters
    ----------
    object_ : (Y, X) complex64
    probe : (M, N, N) complex64 [sqrt photons]
    frames : Frames
        Only good pixels count.
    """
    return float(_noise_misfit(object_, probe, frames, jnp.asarray(share_left(), jnp.float32)))


def sampled_noise_misfit(object_: jax.Array, probe: jax.Array, frames: Frames) -> float:
    """`noise_misfit` of all frames, estimated from `SAMPLED_FRAMES` of them that are spread over the scan."""
    n_frames = len(frames.corner)
    if n_frames <= SAMPLED_FRAMES:
        return noise_misfit(object_, probe, frames)
    sampled = np.linspace(0, n_frames - 1, SAMPLED_FRAMES).astype(int)
    by_frame = {name: getattr(frames, name)[sampled] for name in ("amplitude", "corner", "ramp", "copy", "remainder", "gain")}
    return noise_misfit(object_, probe, frames._replace(**by_frame)) * n_frames / SAMPLED_FRAMES


@jax.jit
def _noise_misfit(object_: jax.Array, probe: jax.Array, frames: Frames, share: jax.Array) -> jax.Array:
    size = frames.amplitude.shape[1:]
    spectrum = jnp.fft.fft2(probe)
    amplitudes = jnp.linspace(0, BRIGHT, len(share))

    def add(total: jax.Array, p: jax.Array) -> tuple[jax.Array, None]:
        wave = far_field(jax.lax.dynamic_slice(object_, frames.corner[p], size) * displace(spectrum, frames.ramp[p]))
        mean = jnp.sum(wave.real**2 + wave.imag**2, axis=0)
        root = jnp.sqrt(mean) / frames.gain[p]
        left = jnp.where(root < BRIGHT, mean * jnp.interp(root, amplitudes, share), frames.gain[p] ** 2 / 4)
        return total + jnp.where(frames.amplitude[p] >= 0, left, 0), None

    return jnp.sum(jax.lax.scan(add, jnp.zeros(size, jnp.float32), jnp.arange(len(frames.corner)))[0])


@lru_cache(maxsize=1)
def share_left() -> NDArray[np.float64]:
    """(385,) float64: ``E (sqrt n - a)^2 / a^2`` for Poisson n of mean a^2, at amplitudes a from 0 to `BRIGHT` in equal steps.

    It is 2 (1 - a) where a is small and 1 / (4 a^2) where a is large.
    """
    amplitude = np.linspace(0, BRIGHT, 385)[1:, None]
    n, mean = np.arange(400), amplitude**2
    probability = np.exp(xlogy(n, mean) - mean - gammaln(n + 1))  # scipy.stats has it too, and takes a second to import
    variance = ((np.sqrt(n) - amplitude) ** 2 * probability).sum(axis=1)
    return np.append(2.0, variance / amplitude[:, 0] ** 2)
