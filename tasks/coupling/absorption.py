"""Absorption of one specimen where there is no phase: images of all energies on one grid, I0 taken from an empty area.

As for complex objects, what acts on the transmission comes before the logarithm, and the empty area fixes what the images
alone cannot tell: here the incident intensity of each energy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tasks.arrays import filled
from tasks.coupling.alignment import SAMPLE_SIGMAS, require_ascending, shared_vacuum
from tasks.coupling.drift import log_transmission, register_chemistry, shared_field
from tasks.coupling.registration import common_grid
from tasks.errors import VacuumError
from tasks.gauge import RIM_PX, field_box, ripple_of
from tasks.options.coupling import AlignOptions
from tasks.ptycho.scan import Canvas

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

LEAST_NEGATIVE = 0.01
UPSIDE_DOWN = 3.0
"""Absorption that lies lower than this below 0, and this many times as far below as above, is upside down."""


@dataclass(frozen=True)
class AbsorptionSpectra:
    """Absorption of one specimen on one grid, all energies."""

    energy_ev: Array
    """(E,)."""
    y_m: Array
    """(Y,)."""
    x_m: Array
    """(X,)."""
    absorption: NDArray[np.float32]
    """(E, Y, X) amplitude absorption, half the optical density; NaN outside the field of view."""
    vacuum_mask: Mask
    """(Y, X): empty at every energy."""
    sample_mask: Mask
    """(Y, X)."""
    shift_px: Array
    """(E, 2)."""
    sigma_absorption: Array
    """(E,) standard error of absorption: in the empty area, or from pixel to pixel where there is none."""
    incident_intensity: Array
    """(E,) I0 in the unit of the images, from the empty area; 1 where the images were normalised before and none is stated."""


def absorption_spectra(
    images: Sequence[NDArray[np.floating]],
    canvases: Sequence[Canvas],
    energy_ev: Array,
    options: AlignOptions,
    *,
    is_normalised: bool,
) -> AbsorptionSpectra:
    """Bring absorption images to one pixel, one place and one I0.

    Parameters
    ----------
    images : E arrays (Yc, Xc)
        ``-ln(I / I0) / 2``, or ``-ln(I) / 2`` where I0 is not known; NaN where the specimen was not seen.
    canvases : E Canvas
    energy_ev : (E,) float64 array, ascending
    options : AlignOptions
    is_normalised : bool
        Whether I0 is taken out already; the images then need no empty area, and are left as they are unless one is stated.

    Raises
    ------
    VacuumError
        I0 is not known and too little of the field is empty.
    RegistrationError, EnergyGridError
    """
    require_ascending(energy_ev)
    fields = [np.isfinite(image) for image in images]
    grid = common_grid(canvases, [field_box(field) for field in fields])
    levels = np.array([0.0 if is_normalised else np.median(image[seen]) for image, seen in zip(images, fields, strict=True)])
    flat = [
        np.exp(level - filled(np.where(seen, image, level), seen).astype(float))
        for image, seen, level in zip(images, fields, levels, strict=True)
    ]
    shifts = np.zeros((len(flat), 2))
    if options.drift == "find":
        shifts = register_chemistry(flat, canvases, fields, grid)
    field = shared_field(fields, canvases, grid, shifts)
    contrast = log_transmission(flat, canvases, grid, shifts)
    if is_normalised and options.vacuum_box is None:
        require_upright(-contrast, field)
    vacuum = _vacuum(contrast.mean(axis=0), field, options, is_needed=not is_normalised)
    takes_i0 = not is_normalised or options.vacuum_box is not None
    offsets = contrast[:, vacuum].mean(axis=1) if takes_i0 else np.zeros(len(flat))
    absorption = offsets[:, None, None] - contrast
    return AbsorptionSpectra(
        energy_ev=energy_ev,
        y_m=grid.y_m,
        x_m=grid.x_m,
        absorption=np.where(field, absorption, np.nan).astype(np.float32),
        vacuum_mask=vacuum,
        sample_mask=_sample(absorption.mean(axis=0), field, vacuum),
        shift_px=shifts,
        sigma_absorption=_noise(absorption, field, vacuum),
        incident_intensity=np.exp(2 * (np.asarray(offsets, np.float64) - levels)),
    )


def require_upright(absorption: Array, field: Mask) -> None:
    """Refuse images (E, Y, X) that were normalised already and differ from 0 downwards, ever further over the energies.

    An I0 that is too small shifts all energies alike, and hides no edge; a light matrix makes the absorption fall, from above 0.

    Raises
    ------
    VacuumError
    """
    smooth = ndimage.gaussian_filter(np.where(field, absorption.mean(axis=0), 0.0), 1.0)[field]
    low, high = (float(np.quantile(smooth, share)) for share in (0.02, 0.98))
    part = max(1, len(absorption) // 4)
    rise = float(np.mean(absorption[-part:, field]) - np.mean(absorption[:part, field])) if len(absorption) > 1 else 0.0
    if low < -LEAST_NEGATIVE and -low > UPSIDE_DOWN * max(high, 0.0) and rise < 0:
        raise VacuumError(
            f"matter must absorb, and more after its edge: the absorption A, normalised already, is {low:.3g} to {high:.3g} on "
            f"average and changes by {rise:.2g} from the first energies to the last: is it I0 / I, or ln(I / I0) without sign?"
        )


def _vacuum(contrast: Array, field: Mask, options: AlignOptions, is_needed: bool) -> Mask:
    """The box that is stated to be empty, else what is found to be; none where none is found and none is needed."""
    try:
        return shared_vacuum(contrast, field, options)
    except VacuumError:
        if is_needed or options.vacuum_box is not None:
            raise
        return np.zeros_like(field)


def _sample(absorption: Array, field: Mask, vacuum: Mask) -> Mask:
    """Connected matter, where the mean absorption is significantly above that of the empty area; all where there is none."""
    if not vacuum.any():
        return field
    smooth = ndimage.gaussian_filter(absorption, 1.0)
    threshold = float(np.mean(smooth[vacuum])) + SAMPLE_SIGMAS * float(np.std(smooth[vacuum]))
    matter = ndimage.binary_opening((smooth > threshold) & field, iterations=2)
    if not matter.any():
        raise VacuumError(
            "the field must hold a specimen: nowhere does the mean absorption lie above that of the empty area by more than its "
            f"noise, {threshold / SAMPLE_SIGMAS:.2g}. Is the field blank, or the specimen outside it?"
        )
    return np.asarray(ndimage.binary_fill_holes(matter) & field)


def _noise(absorption: Array, field: Mask, vacuum: Mask) -> Array:
    if vacuum.any():
        return np.asarray(np.std(absorption[:, vacuum], axis=1), np.float64)
    inner = ndimage.binary_erosion(field, iterations=RIM_PX)
    return np.array([ripple_of(image, inner) for image in absorption], np.float64)
