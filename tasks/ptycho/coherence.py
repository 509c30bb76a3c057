"""Whether the beam was less coherent than its probe says: what is left of the misfit beside what photon noise leaves.

A model that explains the patterns leaves the noise of the counts. Where clearly more is left and no longer falls, something
is missing in the model: most often that the beam was partially coherent or moved during the exposure, which more modes of the
probe describe (Thibault & Menzel, Nature 494, 68 (2013)).
"""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.stats import poisson

from tasks.ptycho.cycle import Frames
from tasks.ptycho.propagation import displace, far_field

EXCESS = 1.6
"""Misfit, in units of what photon noise leaves, from which a mode is missing.

Coherent simulated specimens at 1e5 to 1e8 photons a frame: 1.1 to 1.4 when R has stopped falling (up to 2.1 where the probe
does not fit into the frame, and there a mode on trial does not stay); the Siemens star of the tests
2.0, with two modes 1.5."""

MOST_MODES = 3
"""Modes to which a probe grows by itself."""

ASKED_AFTER = (20, 40, 80)
"""Cycles after which it is asked."""
TRIAL_CYCLES = 10
"""Cycles of a mode on trial."""
PAYS = 0.85
"""A mode on trial stays if it lowers R to less than this share: what is wrong with positions or flux it does not mend, and what
`STALLED` lets R fall by itself is less."""

STALL_CYCLES = 5
STALLED = 0.05
"""R has stopped falling once it has fallen by less than this share over `STALL_CYCLES`."""

BRIGHT = 12.0
"""Amplitude from which the noise of a root is a quarter of a photon to within half a percent."""


def has_stalled(errors: NDArray[np.float32]) -> bool:
    """Whether R, one a cycle, has stopped falling."""
    return len(errors) > STALL_CYCLES and bool(errors[-1] > (1 - STALLED) * errors[-1 - STALL_CYCLES])


def noise_misfit(image: jax.Array, probe: jax.Array, frames: Frames) -> float:
    """Misfit [photons] that the counts' own noise leaves: ``sum E (sqrt n - sqrt m)^2``, n Poisson about the model's m.

    Parameters
    ----------
    image : (Y, X) complex64
    probe : (M, N, N) complex64 [sqrt photons]
    frames : Frames
        Only good pixels count.
    """
    return float(_noise_misfit(image, probe, frames, jnp.asarray(share_left(), jnp.float32)))


@jax.jit
def _noise_misfit(image: jax.Array, probe: jax.Array, frames: Frames, share: jax.Array) -> jax.Array:
    size = frames.amplitude.shape[1:]
    spectrum = jnp.fft.fft2(probe)
    amplitudes = jnp.linspace(0, BRIGHT, len(share))

    def add(total: jax.Array, p: jax.Array) -> tuple[jax.Array, None]:
        wave = far_field(jax.lax.dynamic_slice(image, frames.corner[p], size) * displace(spectrum, frames.ramp[p]))
        mean = jnp.sum(wave.real**2 + wave.imag**2, axis=0)
        root = jnp.sqrt(mean) / frames.gain[p]
        left = jnp.where(root < BRIGHT, mean * jnp.interp(root, amplitudes, share), frames.gain[p] ** 2 / 4)
        return total + jnp.where(frames.amplitude[p] >= 0, left, 0), None

    return jnp.sum(jax.lax.scan(add, jnp.zeros(size, jnp.float32), jnp.arange(len(frames.corner)))[0])


@lru_cache(maxsize=1)
def share_left() -> NDArray[np.float64]:
    """``E (sqrt n - a)^2 / a^2`` for Poisson n of mean a^2, at amplitudes a from 0 to `BRIGHT` in equal steps.

    2 (1 - a) where it is dark, 1 / (4 a^2) where it is bright.
    """
    amplitude = np.linspace(0, BRIGHT, 385)[1:, None]
    n = np.arange(400)
    variance = ((np.sqrt(n) - amplitude) ** 2 * poisson.pmf(n, amplitude**2)).sum(axis=1)
    return np.append(2.0, variance / amplitude[:, 0] ** 2)
