"""The barrier where the energies of one specimen meet: complex objects in, coupled spectra out.

The order matters: pixel size, gauge, drift, logarithm, Kramers-Kronig. Everything up to the logarithm acts on the
complex object itself, in one interpolation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tasks.coupling.correction import Correction
from tasks.coupling.projection import Constrained, Pair, constrain
from tasks.coupling.registration import Grid, coarse_shift, common_grid, fine_shift, to_canvas, to_grid
from tasks.errors import EnergyGridError, RegistrationError, VacuumError
from tasks.gauge import Gauge, anchored, field_of_view, find_vacuum, measure_gauge, require_vacuum, smooth_phase
from tasks.options import AlignOptions, KKROptions
from tasks.ptycho.scan import Canvas
from tasks.scattering import Absorber

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

DRIFT_ROUNDS = 4
SAMPLE_SIGMAS = 6.0
"""The specimen is where the mean phase lies this many standard errors of the vacuum below zero, ..."""
BLUR_PX = 3
"""... but for pixels that hold less than half of what is this far away or nearer: the blurred edge of thick matter."""


@dataclass(frozen=True)
class Aligned:
    """Objects of all energies on one grid, vacuum at one."""

    energy_ev: Array
    """(E,)."""
    grid: Grid
    images: NDArray[np.complex64]
    """(E, Y, X)."""
    shift_px: Array
    """(E, 2): where the specimen sits relative to its mean place [grid px]."""
    gauges: tuple[Gauge, ...]
    """What each canvas was multiplied with."""
    field: Mask
    """(Y, X): seen at every energy."""
    vacuum: Mask
    """(Y, X): empty at every energy."""
    sample: Mask
    """(Y, X): the specimen."""


def align(
    objects: Sequence[NDArray[np.complex64]],
    doses: Sequence[NDArray[np.float32]],
    canvases: Sequence[Canvas],
    energy_ev: Array,
    options: AlignOptions,
) -> Aligned:
    """Bring the objects of all energies to one pixel, one gauge and one place.

    Parameters
    ----------
    objects : E arrays (Yc, Xc) complex64
    doses : E arrays (Yc, Xc) float32
        Photons on each object pixel (`tasks.ptycho.scan.illumination`).
    canvases : E Canvas
    energy_ev : (E,) float64 array, ascending

    Raises
    ------
    VacuumError, RegistrationError
    """
    if np.any(np.diff(energy_ev) <= 0):
        raise EnergyGridError(f"energies must ascend and differ, got {list(energy_ev)}")
    require_finite(objects, energy_ev)
    fields = [field_of_view(dose) for dose in doses]
    grid = common_grid(canvases, fields)
    vacua = first_vacua(objects, canvases, fields, grid, options)
    gauges = [measure_gauge(image, vacuum, dose) for image, vacuum, dose in zip(objects, vacua, doses, strict=True)]
    flat = _flat(objects, gauges)
    shifts = np.zeros((len(objects), 2))
    if options.drift == "find":
        shifts = register(partial(_phases, flat, vacua, canvases, grid), canvases, fields, grid)
    field = shared_field(fields, canvases, grid, shifts)
    mean = np.exp(1j * _phases(flat, vacua, canvases, grid, shifts).mean(axis=0)).astype(np.complex64)
    vacuum = _boxed(field, options) if options.vacuum_box else find_vacuum(mean, field, options.min_vacuum_fraction)
    gauges = [
        measure_gauge(image, to_canvas(vacuum.astype(float), grid, canvas, shift) > 0.9, dose)
        for image, dose, canvas, shift in zip(objects, doses, canvases, shifts, strict=True)
    ]
    images = resample(_flat(objects, gauges), canvases, grid, shifts)
    sample = find_sample(images, field, vacuum)
    return Aligned(energy_ev, grid, images, shifts, tuple(gauges), field, vacuum, sample)


def require_finite(objects: Sequence[NDArray[np.complex64]], energy_ev: Array) -> None:
    """Raise `RegistrationError` where an object is not a number."""
    for image, energy in zip(objects, energy_ev, strict=True):
        n_bad = int(np.count_nonzero(~np.isfinite(image)))
        if n_bad:
            raise RegistrationError(
                f"objects must be finite, that of {energy:.1f} eV is not at {n_bad} of {image.size} px: did its reconstruction "
                "diverge (reconstruct.alpha, reconstruct.beta), or are its counts no counts?"
            )


def first_vacua(
    objects: Sequence[NDArray[np.complex64]],
    canvases: Sequence[Canvas],
    fields: Sequence[Mask],
    grid: Grid,
    options: AlignOptions,
) -> list[Mask]:
    """Vacuum on each canvas before the drift is known: the stated box, else what is empty in each object itself."""
    if options.vacuum_box is None:
        return [find_vacuum(image, field, options.min_vacuum_fraction) for image, field in zip(objects, fields, strict=True)]
    box = _box(grid.shape, options.vacuum_box).astype(float)
    vacua = [(to_canvas(box, grid, c, np.zeros(2)) > 0.9) & field for c, field in zip(canvases, fields, strict=True)]
    for vacuum, field in zip(vacua, fields, strict=True):
        require_vacuum(vacuum, field, options.min_vacuum_fraction)
    return vacua


def register(images_at: Callable[[Array], NDArray[Any]], canvases: Sequence[Canvas], fields: Sequence[Mask], grid: Grid) -> Array:
    """(E, 2) drift [grid px]: whole pixels against the middle energy, then sub-pixel against the mean.

    ``images_at(shifts)`` returns the images (E, Y, X) that are compared, such as the phases, displaced back by shifts (E, 2).
    """
    shifts = np.zeros((len(canvases), 2))
    weight = ndimage.gaussian_filter(shared_field(fields, canvases, grid, shifts).astype(float), 2.0)
    images = images_at(shifts)
    middle = images[len(images) // 2]
    shifts = np.stack([coarse_shift(middle, image, weight) for image in images])
    for _ in range(DRIFT_ROUNDS if len(canvases) > 1 else 0):
        images = images_at(shifts)
        mean = images.mean(axis=0)
        shifts = shifts + np.stack([fine_shift(mean, image, weight) for image in images])
        shifts -= shifts.mean(axis=0)
    return shifts


def resample(
    flat: Sequence[NDArray[np.complex64]], canvases: Sequence[Canvas], grid: Grid, shifts: Array
) -> NDArray[np.complex64]:
    """(E, Y, X) complex64: every object on the grid, displaced back; 1 outside its canvas."""
    images = [to_grid(image, canvas, grid, shift, fill=1.0) for image, canvas, shift in zip(flat, canvases, shifts, strict=True)]
    return np.stack(images).astype(np.complex64)


def shared_field(fields: Sequence[Mask], canvases: Sequence[Canvas], grid: Grid, shifts: Array) -> Mask:
    """(Y, X) bool: pixels inside the field of view of every energy; `RegistrationError` where there are none."""
    seen = [to_grid(f.astype(float), c, grid, s) > 0.9 for f, c, s in zip(fields, canvases, shifts, strict=True)]
    shared = np.logical_and.reduce(seen)
    if not shared.any():
        raise RegistrationError(
            "the fields of all energies must share an area, theirs have no pixel in common once the drift is undone: "
            f"it is up to {np.abs(shifts).max():.0f} px. Did the stage lose its place, or was another field scanned?"
        )
    return np.asarray(shared)


def find_sample(images: NDArray[np.complex64], field: Mask, vacuum: Mask) -> Mask:
    """(Y, X) bool: connected matter, where the mean phase is significantly below the vacuum's.

    A thick specimen is blurred by the resolution far into the vacuum, with phases many times the noise. Such a pixel is
    told by its neighbours, which are much deeper; a thin one that is flat is not.

    Raises
    ------
    VacuumError
        There is no matter.
    """
    phases = np.stack([anchored(smooth_phase(image, field), vacuum) for image in images])
    depth = -np.where(field, ndimage.gaussian_filter(phases.mean(axis=0), 1.0), 0.0)
    noise = float(np.std(depth[vacuum]))
    sharp = depth > 0.5 * ndimage.maximum_filter(depth, size=2 * BLUR_PX + 1)
    matter = ndimage.binary_opening((depth > SAMPLE_SIGMAS * noise) & sharp & field, iterations=2)
    if not matter.any():
        raise VacuumError(
            "the field must hold a specimen: nowhere does the mean phase lie below that of the vacuum by more than its noise, "
            f"{noise:.2g} rad. Is the field blank, or the specimen outside it?"
        )
    return np.asarray(ndimage.binary_fill_holes(matter) & ~vacuum)


def _flat(objects: Sequence[NDArray[np.complex64]], gauges: Sequence[Gauge]) -> list[NDArray[np.complex64]]:
    return [image * gauge.factor((image.shape[0], image.shape[1])) for image, gauge in zip(objects, gauges, strict=True)]


def _phases(
    flat: Sequence[NDArray[np.complex64]], vacua: Sequence[Mask], canvases: Sequence[Canvas], grid: Grid, shifts: Array
) -> NDArray[Any]:
    """(E, Y, X) phases; ``vacua``, one a canvas, are where each is zero, which fixes the whole turns."""
    images = resample(flat, canvases, grid, shifts)
    everywhere = np.ones(grid.shape, bool)
    empty = [to_grid(v.astype(float), c, grid, s) > 0.9 for v, c, s in zip(vacua, canvases, shifts, strict=True)]
    return np.stack([anchored(smooth_phase(image, everywhere), vacuum) for image, vacuum in zip(images, empty, strict=True)])


def _boxed(field: Mask, options: AlignOptions) -> Mask:
    assert options.vacuum_box is not None
    vacuum = _box((field.shape[0], field.shape[1]), options.vacuum_box) & field
    require_vacuum(vacuum, field, options.min_vacuum_fraction)
    return vacuum


def _box(shape: tuple[int, int], box: tuple[int, int, int, int]) -> Mask:
    y0, y1, x0, x1 = box
    inside = np.zeros(shape, bool)
    inside[y0:y1, x0:x1] = True
    return inside


@dataclass(frozen=True)
class Spectra:
    """Absorption and phase of one specimen on one grid, all energies, and what was found on the way."""

    energy_ev: Array
    """(E,)."""
    y_m: Array
    """(Y,)."""
    x_m: Array
    """(X,)."""
    absorption: NDArray[np.float32]
    """(E, Y, X) amplitude absorption; NaN outside the field of view."""
    phase: NDArray[np.float32]
    """(E, Y, X) [rad]; NaN outside the field of view."""
    vacuum_mask: Mask
    """(Y, X)."""
    sample_mask: Mask
    """(Y, X)."""
    shift_px: Array
    """(E, 2)."""
    kk_residual: Array
    """(E,) rms over the specimen of g' - K g'' - T c [electrons per absorber atom]."""
    kk_residual_before: Array
    """(E,)."""
    kk_measured: Array
    """(E,) mean of g' - T c over the specimen before the constraint [electrons per absorber atom]."""
    kk_predicted: Array
    """(E,) the same from the absorption, K g''."""
    kk_slope: float
    sigma_absorption: Array
    """(E,) standard error of absorption in vacuum."""
    sigma_phase: Array
    """(E,) [rad]."""

    @property
    def grid(self) -> Grid:
        """The grid of all images."""
        return Grid(self.y_m, self.x_m, float(self.y_m[1] - self.y_m[0]))


def couple(
    objects: Sequence[NDArray[np.complex64]],
    doses: Sequence[NDArray[np.float32]],
    canvases: Sequence[Canvas],
    energy_ev: Array,
    absorber: Absorber,
    formula: str,
    align_options: AlignOptions,
    kkr_options: KKROptions,
) -> tuple[Spectra, list[Correction]]:
    """Objects of all energies to spectra that obey Kramers-Kronig, and the correction each reconstruction should take back.

    Parameters
    ----------
    objects, doses, canvases, energy_ev
        As `align` takes them.
    absorber, formula
        Whose tables stand in outside the measured window.
    align_options : AlignOptions
    kkr_options : KKROptions
        ``gamma`` scales the corrections, not the spectra.

    Raises
    ------
    VacuumError, RegistrationError, EnergyGridError, FormulaError
    """
    aligned = align(objects, doses, canvases, energy_ev, align_options)
    before = logarithm(aligned)
    found = constrain(before, energy_ev, absorber, formula, aligned.field, aligned.sample, kkr_options)
    change = kkr_options.gamma * ((before.absorption - found.pair.absorption) + 1j * (found.pair.phase - before.phase))
    change *= ndimage.gaussian_filter(aligned.sample.astype(float), 1.0)
    corrections = [
        Correction(correction_factor(image, aligned.grid, canvas, shift, gauge), gauge)
        for image, canvas, shift, gauge in zip(change, canvases, aligned.shift_px, aligned.gauges, strict=True)
    ]
    return _spectra(aligned, before, found), corrections


def logarithm(aligned: Aligned) -> Pair:
    """``A = -ln|O|`` and the continuous phase of every energy; zero outside the field."""
    inside = aligned.field
    absorption = np.where(inside, -np.log(np.maximum(np.abs(aligned.images), 1e-6)), 0.0)
    phase = np.stack([anchored(smooth_phase(image, inside), aligned.vacuum) for image in aligned.images])
    return Pair(absorption.astype(float), np.where(inside, phase, 0.0))


def correction_factor(
    change: NDArray[np.complex128], grid: Grid, canvas: Canvas, shift_px: Array, gauge: Gauge
) -> NDArray[np.complex64]:
    """(Yc, Xc) complex64: ``exp(change)`` on an energy's own canvas, times the gauge; only the change is interpolated."""
    own = to_canvas(change, grid, canvas, shift_px)
    return np.asarray(np.exp(own) * gauge.factor(canvas.shape), dtype=np.complex64)


def _spectra(aligned: Aligned, before: Pair, found: Constrained) -> Spectra:
    def shown(images: Array) -> NDArray[np.float32]:
        return np.where(aligned.field, images, np.nan).astype(np.float32)

    def in_vacuum(images: Array) -> Array:
        return np.asarray(np.sqrt(np.mean(images[:, aligned.vacuum] ** 2, axis=1)))

    return Spectra(
        energy_ev=aligned.energy_ev,
        y_m=aligned.grid.y_m,
        x_m=aligned.grid.x_m,
        absorption=shown(found.pair.absorption),
        phase=shown(found.pair.phase),
        vacuum_mask=aligned.vacuum,
        sample_mask=aligned.sample,
        shift_px=aligned.shift_px,
        kk_residual=found.residual_after,
        kk_residual_before=found.residual_before,
        kk_measured=found.measured,
        kk_predicted=found.predicted,
        kk_slope=found.slope,
        sigma_absorption=in_vacuum(before.absorption),
        sigma_phase=in_vacuum(before.phase),
    )
