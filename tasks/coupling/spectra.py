"""The barrier where the energies of one specimen meet: complex objects in, coupled spectra out.

The order matters: pixel size, gauge, drift, logarithm, Kramers-Kronig. Everything up to the logarithm acts on the
complex object itself, in one interpolation.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tasks.coupling.alignment import (
    EnergyObject,
    Object,
    Shared,
    find_sample,
    flatten,
    own_gauge,
    register,
    register_fixed,
    require_ascending,
    require_finite,
    share,
)
from tasks.coupling.correction import Correction
from tasks.coupling.fixed_energy import fixed_index
from tasks.coupling.outliers import noisiest
from tasks.coupling.projection import Constrained, Pair, constrain
from tasks.coupling.registration import Grid, common_grid, to_canvas
from tasks.errors import RegistrationError, VacuumError
from tasks.gauge import Gauge, field_box, field_of_view
from tasks.options.coupling import AlignOptions, KKROptions
from tasks.ptycho.scan import Canvas
from tasks.scattering import Absorber

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Found = TypeVar("Found")


@dataclass(frozen=True)
class Aligned:
    """Objects of all energies on one grid, zero absorption and phase in vacuum."""

    energy_ev: Array
    """(E,)."""
    grid: Grid
    absorption: NDArray[np.float32]
    """(E, Y, X) amplitude absorption."""
    phase: NDArray[np.float32]
    """(E, Y, X) [rad]."""
    shift_px: Array
    """(E, 2): where the specimen sits relative to its mean place [grid px]."""
    gauges: tuple[Gauge, ...]
    """What each object was multiplied with."""
    field: Mask
    """(Y, X): seen at every energy."""
    vacuum: Mask
    """(Y, X): empty at every energy."""
    sample: Mask
    """(Y, X): the specimen."""

    @property
    def images(self) -> NDArray[np.complex64]:
        """(E, Y, X) complex64: the objects; 1 outside the field."""
        return as_object(self.absorption, self.phase)


def as_object(absorption: NDArray[np.float32], phase: NDArray[np.float32]) -> NDArray[np.complex64]:
    """``exp(-A + i phi)``, complex64."""
    return np.asarray(np.exp(-absorption + 1j * phase), dtype=np.complex64)


def align(
    objects: Sequence[Object],
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
        As calibrated; errors name energies as they were measured, ``options.energy_offset_ev`` lower.

    Raises
    ------
    VacuumError, RegistrationError, EnergyGridError
    """
    require_ascending(energy_ev)
    measured_ev = energy_ev - options.energy_offset_ev
    seen = [EnergyObject(*one) for one in zip(objects, doses, canvases, strict=True)]
    of_each(measured_ev, lambda at: require_finite(seen[at].object, float(measured_ev[at])))
    grid = common_grid(canvases, of_each(measured_ev, lambda at: field_box(field_of_view(doses[at]))))
    own = of_each(measured_ev, lambda at: own_gauge(seen[at], grid, options))
    middle = fixed_index(len(seen))
    fixed = register_fixed(seen[middle], own[middle], grid, float(measured_ev[middle]))
    found = of_each(measured_ev, lambda at: register(seen[at], own[at], fixed, grid, options))
    shared = share(
        np.stack([one.shift_px for one in found]),
        np.mean([one.phase for one in found], axis=0),
        np.logical_and.reduce([one.field for one in found]),
        grid,
        options,
    )
    flat = of_each(measured_ev, lambda at: flatten(seen[at], own[at].gauge, found[at].shift_px, shared, grid, options))
    phase = np.stack([one.phase for one in flat])
    return Aligned(
        energy_ev,
        grid,
        np.stack([one.absorption for one in flat]),
        phase,
        np.stack([one.shift_px for one in flat]),
        tuple(one.gauge for one in flat),
        shared.field,
        shared.vacuum,
        _sample(phase, shared, measured_ev),
    )


def of_each(energy_ev: Array, work: Callable[[int], Found]) -> list[Found]:
    """What ``work`` finds of each energy, by its place.

    Raises
    ------
    VacuumError, RegistrationError
        An energy, the ``energy_ev`` of the error, is without vacuum or likeness to the others.
    """
    found = []
    for place, energy in enumerate(energy_ev):
        with concerning(float(energy)):
            found.append(work(place))
    return found


@contextmanager
def concerning(energy_ev: float) -> Iterator[None]:
    """Have errors of vacuum or likeness blame an energy [eV], as measured, unless they blame one already: the fixed one."""
    try:
        yield
    except (VacuumError, RegistrationError) as error:
        if error.energy_ev is None:
            error.energy_ev = energy_ev
        raise


def _sample(phase: NDArray[np.float32], shared: Shared, energy_ev: Array) -> Mask:
    """(Y, X) bool: the specimen in the mean of phases (E, Y, X); energies that drown it in noise are named."""
    try:
        return find_sample(phase.mean(axis=0, dtype=float), shared.field, shared.vacuum)
    except VacuumError as error:
        raise VacuumError(f"{error}{noisiest(energy_ev, rms_in_vacuum(phase, shared.vacuum))}") from error


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


def impose(
    aligned: Aligned, canvases: Sequence[Canvas], absorber: Absorber, formula: str, kkr_options: KKROptions
) -> tuple[Spectra, list[Correction]]:
    """Impose Kramers-Kronig on aligned objects: spectra that obey it, and the correction each reconstruction should take back.

    Parameters
    ----------
    aligned : Aligned
    canvases : E Canvas
    absorber, formula
        Whose tables stand in outside the measured window.
    kkr_options : KKROptions
        ``gamma`` scales the corrections, not the spectra.

    Raises
    ------
    EnergyGridError, FormulaError
    """
    before = Pair(aligned.absorption.astype(float), aligned.phase.astype(float))
    found = constrain(before, aligned.energy_ev, absorber, formula, aligned.field, aligned.sample, kkr_options)
    edge = sample_edge(aligned.sample)
    corrections = [
        Correction(correction_factor(change * edge, aligned.grid, canvas, shift, gauge), gauge)
        for change, canvas, shift, gauge in zip(
            changes(before, found.pair, kkr_options.gamma), canvases, aligned.shift_px, aligned.gauges, strict=True
        )
    ]
    return _spectra(aligned, before, found), corrections


def changes(before: Pair, after: Pair, gamma: float) -> NDArray[np.complex64]:
    """(E, Y, X) complex64: what is added to ln O, ``gamma`` times the constraint's change."""
    change = (before.absorption - after.absorption) + 1j * (after.phase - before.phase)
    return np.asarray(gamma * change, dtype=np.complex64)


def sample_edge(sample: Mask) -> NDArray[np.float32]:
    """(Y, X) float32: 1 in the specimen, fading out over its edge; corrections are multiplied with it."""
    return np.asarray(ndimage.gaussian_filter(sample.astype(np.float32), 1.0))


def correction_factor(
    change: NDArray[np.complex64], grid: Grid, canvas: Canvas, shift_px: Array, gauge: Gauge
) -> NDArray[np.complex64]:
    """(Yc, Xc) complex64: ``exp(change)`` on an energy's own canvas, times the gauge; only the change is interpolated."""
    own = to_canvas(change, grid, canvas, shift_px)
    return np.asarray(np.exp(own) * gauge.factor(canvas.shape), dtype=np.complex64)


def rms_in_vacuum(images: NDArray[np.floating], vacuum: Mask) -> Array:
    """(E,) root mean square of images (E, Y, X) over the vacuum, which is their noise: there they are zero."""
    return np.asarray(np.sqrt(np.mean(images[:, vacuum].astype(float) ** 2, axis=1)))


def _spectra(aligned: Aligned, before: Pair, found: Constrained) -> Spectra:
    def shown(images: Array) -> NDArray[np.float32]:
        return np.where(aligned.field, images, np.nan).astype(np.float32)

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
        sigma_absorption=rms_in_vacuum(before.absorption, aligned.vacuum),
        sigma_phase=rms_in_vacuum(before.phase, aligned.vacuum),
    )
