"""How a model agrees with the frames: the amplitudes that it explains, and the misfit that photon noise leaves."""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

from tasks.ptycho.kernels.constraints import intensity
from tasks.ptycho.kernels.cycle import Frames
from tasks.ptycho.kernels.propagation import displace, far_field
from tasks.ptycho.resolution import ring_numbers

SAMPLED_FRAMES = 256
"""Frames on which the noise's misfit is estimated where more are not needed."""

BRIGHT = 12.0
"""Amplitude from which the noise of a root is a quarter of a photon to within half a percent."""
STEPS = 384
"""Equal steps between 0 and `BRIGHT` at which the noise of dimmer amplitudes is tabulated."""


class Agreement(NamedTuple):
    """What all frames say of a model."""

    prtf: NDArray[np.float32]
    """(N // 2 + 1,) float32: phase-retrieval transfer function, ``sum |F| sqrt(I) / sum I`` over each ring and all frames, at
    `tasks.ptycho.resolution.detector_frequencies`; NaN in a ring without a good pixel or a photon.

    It is 1 where the modelled amplitude is the measured one. Where the mean count falls below one photon it falls like
    the mean's root, as a model cannot know which pixel a photon will hit. (Of several reconstructions from random
    starts, as Chapman et al., J. Opt. Soc. Am. A 23, 1179 (2006) take it, it would be the modulus of the mean.)"""

    noise_misfit: float
    """Misfit [photons] expected of the photon noise: ``sum E (sqrt n - sqrt m)^2``, n Poisson of the model's mean m."""


class Sums(NamedTuple):
    """(N, N) float32 each: sums over frames where a pixel is good, beam centre at [0, 0]."""

    explained: jax.Array
    """``|F| sqrt(I)``."""
    measured: jax.Array
    """``I`` [photons]."""
    noise: jax.Array
    """``E (sqrt n - sqrt m)^2`` [photons]."""


def agreement(object_: jax.Array, probe: jax.Array, frames: Frames) -> Agreement:
    """How a model agrees with all frames.

    Parameters
    ----------
    object_ : (Y, X) complex64
    probe : (M, N, N) complex64 [sqrt photons]
    frames : Frames
        Only good pixels count.
    """
    sums = _sum_over_frames(object_, probe, frames, jnp.asarray(share_left(), jnp.float32))
    n = frames.amplitude.shape[-1]
    ring = ring_numbers((n, n), 1.0, 1 / n).ravel()
    above, below = (np.bincount(ring, np.asarray(one, float).ravel())[: n // 2 + 1] for one in (sums.explained, sums.measured))
    prtf = np.divide(above, below, out=np.full(n // 2 + 1, np.nan), where=below > 0)
    return Agreement(prtf.astype(np.float32), float(jnp.sum(sums.noise)))


def sampled_noise_misfit(object_: jax.Array, probe: jax.Array, frames: Frames) -> float:
    """`Agreement.noise_misfit` of all frames, estimated from `SAMPLED_FRAMES` of them that are spread over the scan."""
    n_frames = len(frames.corner)
    if n_frames > SAMPLED_FRAMES:
        sampled = np.linspace(0, n_frames - 1, SAMPLED_FRAMES).astype(int)
        by_frame = {name: getattr(frames, name)[sampled] for name in ("amplitude", "corner", "ramp", "copy", "remainder", "gain")}
        frames = frames._replace(**by_frame)
    return agreement(object_, probe, frames).noise_misfit * n_frames / len(frames.corner)


@jax.jit
def _sum_over_frames(object_: jax.Array, probe: jax.Array, frames: Frames, share: jax.Array) -> Sums:
    size = frames.amplitude.shape[1:]
    spectrum = jnp.fft.fft2(probe)

    def add(total: Sums, p: jax.Array) -> tuple[Sums, None]:
        wave = far_field(jax.lax.dynamic_slice(object_, frames.corner[p], size) * displace(spectrum, frames.ramp[p]))
        mean = intensity(wave)
        amplitude = jnp.sqrt(mean)
        measured = frames.gain[p] * jnp.maximum(frames.amplitude[p], 0)
        root = amplitude / frames.gain[p]
        left = mean * map_coordinates(share, [root * (STEPS / BRIGHT)], order=1, mode="nearest")
        noise = jnp.where(root < BRIGHT, left, frames.gain[p] ** 2 / 4)
        more = amplitude * measured, measured**2, jnp.where(frames.amplitude[p] >= 0, noise, 0)
        return Sums(*(one + other for one, other in zip(total, more, strict=True))), None

    nothing = jnp.zeros(size, jnp.float32)
    return jax.lax.scan(add, Sums(nothing, nothing, nothing), jnp.arange(len(frames.corner)))[0]


@lru_cache(maxsize=1)
def share_left() -> NDArray[np.float64]:
    """(STEPS + 1,) float64: ``E (sqrt n - a)^2 / a^2`` for Poisson n of mean a^2, at amplitudes a from 0 to `BRIGHT`.

    It is 2 (1 - a) where a is small and 1 / (4 a^2) where a is large.
    """
    amplitude = np.linspace(0, BRIGHT, STEPS + 1)[1:, None]
    n, mean = np.arange(400), amplitude**2
    probability = np.exp(xlogy(n, mean) - mean - gammaln(n + 1))  # scipy.stats has it too, and takes a second to import
    variance = ((np.sqrt(n) - amplitude) ** 2 * probability).sum(axis=1)
    return np.append(2.0, variance / amplitude[:, 0] ** 2)
