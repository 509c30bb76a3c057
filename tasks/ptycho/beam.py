"""The beam on the detector: how bright it is, where it is, and how much of it the detector hides.

A beam stop, gaps and saturated pixels hide photons that went through the specimen all the same. What the first guess of
the probe has there is fitted to the pixels that are good, and then only follows what is seen of it: object and probe are
as good as without a stop, but later.
"""

import jax
import numpy as np
from numpy.typing import NDArray

from tasks.ptycho.probe import pixel_coordinates, scale_to_power

Array = NDArray[np.float64]

BEAM_CENTRE_PX = 0.5
"""Where the mean frame's middle lies nearer to the middle of the frame than this, the beam is taken to be there."""

AIM_PX = 0.01
"""A beam partly hidden is aimed at again until it moves by less; each time it comes nearer by the share that is seen."""
MOST_AIMS = 100

LEAST_SEEN = 0.5
"""The probe's memory grows to the inverse of this at most: longer ones swing where little of the beam is seen."""

MUCH_HIDDEN = 0.5
"""Share of the beam above which the user is told.

With 44 % hidden an object took up to four times as many cycles, with 91 % it was still worse by half after as many;
with the whole beam hidden it is not determined: a constant added to it changes no pixel that is seen."""

CAUTION = 0.02
"""Weight of the guess that nothing is hidden, relative to that of all pixels.

Without it, a guessed beam a third too narrow, hidden as a whole, is taken for a hundred times as bright as it is."""


def fitted(probe: NDArray[np.complex64], mean: Array, mask: NDArray[np.bool_], aim: bool = True) -> NDArray[np.complex64]:
    """The probe (M, N, N) as bright as the beam and, if asked to ``aim``, where the beam is.

    Parameters
    ----------
    probe : (M, N, N) complex64 array
        Of any power, its far field in the middle of the frame.
    mean : (N, N) float64 array
        Mean count of each pixel; what it says where masked does not matter.
    mask : (N, N) bool array
        True where good. Photons behind a beam stop count as well: see `completed`.
    aim : bool
        Move the far field as `aimed` does.
    """
    probe = aimed(probe, mean, mask) if aim else probe
    return scale_to_power(probe, float(completed(mean, mask, probe).sum()))


def aimed(probe: NDArray[np.complex64], mean: Array, mask: NDArray[np.bool_]) -> NDArray[np.complex64]:
    """The probe (M, N, N) with the beam where the frames have it: in the middle of the `completed` mean count (N, N).

    A beam beside the frame's middle is a ramp on the probe, and ePIE is slow to find one that goes once around; a middle
    less than `BEAM_CENTRE_PX` away is taken as it is.
    """
    place = np.zeros(2)
    for _ in range(MOST_AIMS):
        before, place = place, middle_of(completed(mean, mask, tilted(probe, place)))
        if np.abs(place - before).max() < AIM_PX or mask.all():
            break
    return probe if np.hypot(*place) < BEAM_CENTRE_PX else tilted(probe, place)


def completed(mean: Array, mask: NDArray[np.bool_], probe: NDArray[np.complex64]) -> Array:
    """(N, N) float64: the mean count, and where masked the probe's own far field, fitted to it by least squares elsewhere.

    The bright pixels decide: photons that the specimen scatters past them are few. Where hardly a bright one is good,
    `CAUTION` says that little is hidden, and nothing else would be better known.
    """
    model = far_pattern(probe)
    known = float(np.sum(model**2, where=mask) + CAUTION * np.sum(model**2))
    return np.where(mask, mean, float(np.sum(model * mean, where=mask)) / known * model)


def hidden_share(probe: NDArray[np.complex64], mask: NDArray[np.bool_]) -> float:
    """Share of the beam's photons that fall on masked pixels, without a specimen."""
    pattern = far_pattern(probe)
    return float(np.sum(pattern, where=~mask) / pattern.sum())


def far_pattern(probe: NDArray[np.complex64]) -> Array:
    """(N, N) float64: the beam on the detector without a specimen, its centre in the middle; it sums to the power."""
    waves = np.fft.fft2(probe, norm="ortho")
    return np.asarray(np.fft.fftshift(np.sum(np.abs(waves) ** 2, axis=0, dtype=float)))


def middle_of(pattern: Array) -> Array:
    """(2,) float64: centre of mass (y, x) of a pattern (N, N), from the frame's middle [px]; that where it is dark."""
    indices = pixel_coordinates(len(pattern))
    total = float(pattern.sum())
    return np.array([pattern.sum(axis=1 - axis) @ indices / total if total else 0.0 for axis in (0, 1)])


def tilted(probe: NDArray[np.complex64], place: Array) -> NDArray[np.complex64]:
    """The probe (M, N, N) with its far field moved by ``place`` (y, x) [px]."""
    n = probe.shape[-1]
    down, right = (np.exp(2j * np.pi * part * pixel_coordinates(n) / n) for part in place)
    return (probe * down[:, None] * right).astype(np.complex64)


def lasting_momentum(momentum: float, probe: jax.Array, mask: NDArray[np.bool_]) -> float:
    """The share of its last step that the probe (M, N, N) takes again, more than ``momentum`` where a part of it is hidden.

    Hidden waves of the probe only follow those that are seen, in as many more cycles; the probe remembers so many more.
    """
    if mask.all():
        return momentum
    seen = max(1 - hidden_share(np.asarray(probe), mask), LEAST_SEEN)
    return momentum / (momentum + (1 - momentum) * seen)


def hidden_beam(energy_ev: float, share: float) -> list[str]:
    """What the user is told where the mask hides this ``share`` of the beam: one sentence, or none."""
    if share < MUCH_HIDDEN:
        return []
    return [
        f"{energy_ev:.1f} eV: the mask hides {share:.0%} of the beam itself: the object comes late (more cycles), and with less "
        "than a tenth of the beam in sight its large shapes and its contrast may be wrong: is the mask right? A smaller beam "
        "stop, or its rim uncovered in an attenuated scan, helps"
    ]
