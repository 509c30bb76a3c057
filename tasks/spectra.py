"""The barrier where the energies of one specimen meet: complex objects in, coupled spectra out.

The order matters: pixel size, gauge, drift, logarithm, Kramers-Kronig. Everything up to the logarithm acts on the
complex object itself, in one interpolation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tasks.errors import EnergyGridError
from tasks.gauge import Gauge, field_of_view, find_vacuum, measure_gauge, require_vacuum, smooth_phase
from tasks.options import AlignOptions
from tasks.ptycho.scan import Canvas
from tasks.register import Grid, coarse_shift, common_grid, fine_shift, to_canvas, to_grid

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

DRIFT_ROUNDS = 4
SAMPLE_SIGMAS = 6.0
"""The specimen is where the mean phase lies this many standard errors of the vacuum below zero."""


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
    fields = [field_of_view(dose) for dose in doses]
    gauges = [
        measure_gauge(image, find_vacuum(image, field, options.min_vacuum_fraction), dose)
        for image, field, dose in zip(objects, fields, doses, strict=True)
    ]
    grid = common_grid(canvases, fields)
    shifts = register(_flat(objects, gauges), canvases, fields, grid)
    field = shared_field(fields, canvases, grid, shifts)
    mean = _mean_image(_flat(objects, gauges), canvases, grid, shifts)
    vacuum = _boxed(field, options) if options.vacuum_box else find_vacuum(mean, field, options.min_vacuum_fraction)
    gauges = [
        measure_gauge(image, to_canvas(vacuum.astype(float), grid, canvas, shift) > 0.9, dose)
        for image, dose, canvas, shift in zip(objects, doses, canvases, shifts, strict=True)
    ]
    images = resample(_flat(objects, gauges), canvases, grid, shifts)
    sample = find_sample(images, field, vacuum)
    return Aligned(energy_ev, grid, images, shifts, tuple(gauges), field, vacuum, sample)


def register(flat: Sequence[NDArray[np.complex64]], canvases: Sequence[Canvas], fields: Sequence[Mask], grid: Grid) -> Array:
    """(E, 2) drift [grid px] on the phase images: whole pixels against the middle energy, then sub-pixel against the mean."""
    shifts = np.zeros((len(flat), 2))
    weight = ndimage.gaussian_filter(shared_field(fields, canvases, grid, shifts).astype(float), 2.0)
    phases = _phases(flat, canvases, grid, shifts)
    middle = phases[len(phases) // 2]
    shifts = np.stack([coarse_shift(middle, phase, weight) for phase in phases])
    for _ in range(DRIFT_ROUNDS if len(flat) > 1 else 0):
        phases = _phases(flat, canvases, grid, shifts)
        mean = phases.mean(axis=0)
        shifts = shifts + np.stack([fine_shift(mean, phase, weight) for phase in phases])
        shifts -= shifts.mean(axis=0)
    return shifts


def resample(flat: Sequence[NDArray[np.complex64]], canvases: Sequence[Canvas], grid: Grid, shifts: Array) -> NDArray[np.complex64]:
    """(E, Y, X) complex64: every object on the grid, displaced back; 1 outside its canvas."""
    images = [to_grid(image, canvas, grid, shift, fill=1.0) for image, canvas, shift in zip(flat, canvases, shifts, strict=True)]
    return np.stack(images).astype(np.complex64)


def shared_field(fields: Sequence[Mask], canvases: Sequence[Canvas], grid: Grid, shifts: Array) -> Mask:
    """(Y, X) bool: pixels inside the field of view of every energy."""
    seen = [to_grid(f.astype(float), c, grid, s) > 0.9 for f, c, s in zip(fields, canvases, shifts, strict=True)]
    return np.asarray(np.logical_and.reduce(seen))


def find_sample(images: NDArray[np.complex64], field: Mask, vacuum: Mask) -> Mask:
    """(Y, X) bool: connected matter, where the mean phase is significantly below the vacuum's."""
    phase = ndimage.gaussian_filter(np.stack([smooth_phase(image, field) for image in images]).mean(axis=0), 1.0)
    threshold = -SAMPLE_SIGMAS * float(np.std(phase[vacuum]))
    matter = ndimage.binary_opening((phase < threshold) & field, iterations=2)
    return np.asarray(ndimage.binary_fill_holes(matter))


def _flat(objects: Sequence[NDArray[np.complex64]], gauges: Sequence[Gauge]) -> list[NDArray[np.complex64]]:
    return [image * gauge.factor((image.shape[0], image.shape[1])) for image, gauge in zip(objects, gauges, strict=True)]


def _phases(flat: Sequence[NDArray[np.complex64]], canvases: Sequence[Canvas], grid: Grid, shifts: Array) -> NDArray:
    images = resample(flat, canvases, grid, shifts)
    everywhere = np.ones(grid.shape, bool)
    return np.stack([smooth_phase(image, everywhere) for image in images])


def _mean_image(flat: Sequence[NDArray[np.complex64]], canvases: Sequence[Canvas], grid: Grid, shifts: Array) -> NDArray[np.complex64]:
    phase = _phases(flat, canvases, grid, shifts).mean(axis=0)
    return np.exp(1j * phase).astype(np.complex64)


def _boxed(field: Mask, options: AlignOptions) -> Mask:
    assert options.vacuum_box is not None
    y0, y1, x0, x1 = options.vacuum_box
    vacuum = np.zeros_like(field)
    vacuum[y0:y1, x0:x1] = field[y0:y1, x0:x1]
    require_vacuum(vacuum, field, options.min_vacuum_fraction)
    return vacuum
