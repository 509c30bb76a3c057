"""The beam on the detector: its power, its position, and the share of it that the mask hides.

Photons on masked pixels (a beam stop, gaps, saturated pixels) went through the specimen all the same. The initial probe is
fitted to the good pixels; its hidden part then only follows what is visible, so that object and probe become as
good as without a stop, but later.
"""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tasks.ptycho.probe import pixel_coordinates, scale_to_power

Array = NDArray[np.float64]

BEAM_CENTRE_PX = 0.5
"""A mean frame whose centre of mass is nearer to the middle of the frame than this is taken to be centred."""

CENTRING_TOLERANCE_PX = 0.01
"""The centring of a partly hidden beam is iterated until it moves by less; each step shrinks by the hidden share."""
MAX_CENTRING_STEPS = 100

MIN_VISIBLE_SHARE = 0.5
"""The probe's momentum lasts longer by the inverse of this at most: beyond it oscillates where little of the beam is visible."""

MUCH_HIDDEN = 0.5
"""Share of the beam above which the user is warned.

With 44 % hidden an object took up to four times as many cycles, with 91 % its error was still larger by half after as many;
with the whole beam hidden it is not determined: a constant added to it changes no good pixel."""

UNHIDDEN_PRIOR = 0.02
"""Weight of the assumption that nothing is hidden, relative to that of all pixels.

Without it, an initial beam a third too narrow and hidden as a whole is taken for a hundred times as bright as it is."""


def fit_to_beam(probe: NDArray[np.complex64], mean: Array, mask: NDArray[np.bool_], centre: bool = True) -> NDArray[np.complex64]:
    """The probe (M, N, N) with the beam's power and, where asked for, its position on the detector.

    Parameters
    ----------
    probe : (M, N, N) complex64 array
        Of any power, its far field in the middle of the frame.
    mean : (N, N) float64 array
        Mean count of each pixel; masked values are not used.
    mask : (N, N) bool array
        True where good. Photons behind a beam stop count as well: see `fill_masked`.
    centre : bool
        Move the far field as `centre_on_beam` does.
    """
    probe = centre_on_beam(probe, mean, mask) if centre else probe
    return scale_to_power(probe, float(fill_masked(mean, mask, probe).sum()))


def centre_on_beam(probe: NDArray[np.complex64], mean: Array, mask: NDArray[np.bool_]) -> NDArray[np.complex64]:
    """The probe (M, N, N) with its far field at the centre of mass of the mean count (N, N), masked pixels filled.

    A beam beside the frame's middle is a phase ramp on the probe, and ePIE is slow to find one that exceeds 2 pi; a centre
    less than `BEAM_CENTRE_PX` away is left as it is.
    """
    position = np.zeros(2)
    for _ in range(MAX_CENTRING_STEPS):
        before, position = position, centre_of_mass(fill_masked(mean, mask, tilt(probe, position)))
        if np.abs(position - before).max() < CENTRING_TOLERANCE_PX or mask.all():
            break
    return probe if np.hypot(*position) < BEAM_CENTRE_PX else tilt(probe, position)


def fill_masked(mean: Array, mask: NDArray[np.bool_], probe: NDArray[np.complex64]) -> Array:
    """(N, N) float64: the mean count, masked pixels replaced by the probe's own far field, scaled by least squares.

    The bright pixels decide: photons that the specimen scatters past them are few. Where hardly a bright pixel is good,
    `UNHIDDEN_PRIOR` assumes that little is hidden, as nothing else is known.
    """
    model = far_pattern(probe)
    known = float(np.sum(model**2, where=mask) + UNHIDDEN_PRIOR * np.sum(model**2))
    return np.where(mask, mean, float(np.sum(model * mean, where=mask)) / known * model)


def hidden_share(probe: jax.Array | NDArray[np.complex64], mask: NDArray[np.bool_]) -> float:
    """Share of the photons of a beam of the probe (M, N, N) that fall on masked pixels (N, N), without a specimen."""
    return 0.0 if mask.all() else float(_hidden_share(probe, np.fft.ifftshift(~mask)))


@jax.jit
def _hidden_share(probe: jax.Array, hidden: jax.Array) -> jax.Array:
    """Share of the photons on the pixels ``hidden`` (N, N) with the beam centre at [0, 0], float32."""
    waves = jnp.fft.fft2(probe)
    pattern = jnp.sum(waves.real**2 + waves.imag**2, axis=0)
    return jnp.sum(pattern, where=hidden) / jnp.sum(pattern)


def far_pattern(probe: NDArray[np.complex64]) -> Array:
    """(N, N) float64: the beam on the detector without a specimen, its centre in the middle; it sums to the power."""
    waves = np.fft.fft2(probe, norm="ortho")
    return np.asarray(np.fft.fftshift(np.sum(np.abs(waves) ** 2, axis=0, dtype=float)))


def centre_of_mass(pattern: Array) -> Array:
    """(2,) float64: centre of mass (y, x) of a pattern (N, N), from the frame's middle [px]; zero where it is dark."""
    indices = pixel_coordinates(len(pattern))
    total = float(pattern.sum())
    return np.array([pattern.sum(axis=1 - axis) @ indices / total if total else 0.0 for axis in (0, 1)])


def tilt(probe: NDArray[np.complex64], shift_px: Array) -> NDArray[np.complex64]:
    """The probe (M, N, N) with its far field moved by ``shift_px`` (y, x)."""
    n = probe.shape[-1]
    down, right = (np.exp(2j * np.pi * part * pixel_coordinates(n) / n) for part in shift_px)
    return np.asarray((probe * down[:, None] * right).astype(np.complex64))


def momentum_for_hidden_beam(momentum: float, probe: jax.Array | NDArray[np.complex64], mask: NDArray[np.bool_]) -> float:
    """The probe's ``momentum``, increased where the mask hides a part of the beam of the probe (M, N, N).

    The probe's hidden part follows the visible one in the more cycles the more is hidden; its momentum lasts as many more.
    """
    visible = max(1 - hidden_share(probe, mask), MIN_VISIBLE_SHARE)
    return momentum / (momentum + (1 - momentum) * visible)


def hidden_beam_warnings(energy_ev: float, share: float) -> list[str]:
    """The warning that the mask hides this ``share`` of the beam: one sentence, or none."""
    if share < MUCH_HIDDEN:
        return []
    return [
        f"{energy_ev:.1f} eV: the mask hides {share:.0%} of the beam itself: the object converges late (more cycles), and with "
        "less than a tenth of the beam visible its large shapes and its contrast may be wrong: is the mask right? A smaller beam "
        "stop, or its rim uncovered in an attenuated scan, helps"
    ]
