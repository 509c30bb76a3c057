"""Objects of all energies brought to one pixel, one gauge and one place.

Each energy is measured alone, registered against one of them, and then against the mean of all. What passes between energies
are numbers and images that are sums over energies, so energies can be aligned in separate processes;
`tasks.coupling.spectra.align` does all of them in one.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tasks.coupling.fixed_energy import FixedEnergy
from tasks.coupling.registration import INSIDE, FixedImage, Grid, Resampling, coarse_shift, require_shared, to_canvas
from tasks.errors import BlankFixedImageError, EnergyGridError, RegistrationError, VacuumError
from tasks.gauge import Gauge, anchored, field_of_view, find_empty, find_vacuum, measure_gauge, require_vacuum, smooth_phase
from tasks.options.coupling import AlignOptions
from tasks.ptycho.scan import Canvas

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Object = NDArray[np.complex64]

REGISTER_STEPS: Final = 4
"""Gauss-Newton steps of the drift against one energy, at most."""
REFINE_STEPS: Final = 2
"""Further steps against the mean of all energies, at most."""
DRIFT_TOLERANCE_PX: Final = 0.005
"""A shorter step is the last."""
HOLE_RIM_PX: Final = 4
"""Pixels this near to a hole of the field tell nothing of the drift: the smoothing of the gradients reaches so far."""
SAMPLE_SIGMAS: Final = 6.0
"""The specimen is where the mean phase or absorption is this many standard errors of the vacuum away from the vacuum's."""
LEAST_DEPTH_RAD: Final = 1e-5
"""A shallower phase is rounding."""
BLUR_PX: Final = 3
"""A pixel less than half as deep as one this far away or nearer is no specimen: it is the blurred edge of thick matter."""
CONJUGATE: Final = (
    "is the object the complex conjugate of exp(-A + i phi) with phi < 0? Send the conjugates of images, give frames their "
    "orientation, or name an empty box (align.vacuum_box)"
)
"""What makes an object whose phase is upside down."""


@dataclass(frozen=True)
class EnergyObject:
    """The object of one energy as its reconstruction leaves it."""

    object: Object
    """(Yc, Xc) complex64."""
    dose: NDArray[np.float32]
    """(Yc, Xc) photons on each pixel (`tasks.ptycho.scan.illumination`)."""
    canvas: Canvas


@dataclass(frozen=True)
class OwnGauge:
    """What an object tells by itself: where the scan went, where it is empty, and the gauge that this fixes."""

    field: Mask
    """(Yc, Xc)."""
    vacuum: Mask
    """(Yc, Xc)."""
    gauge: Gauge


@dataclass(frozen=True)
class Registered:
    """One energy on the common grid, in the place of the fixed one."""

    shift_px: Array
    """(2,) where the specimen sits relative to the fixed energy [grid px]."""
    phase: Array
    """(Y, X) [rad], displaced back; 0 in vacuum."""
    field: Mask
    """(Y, X)."""


@dataclass(frozen=True)
class Shared:
    """What all energies have in common, once the drift is known."""

    offset_px: Array
    """(2,) mean shift of all energies against the fixed one [grid px]; images are in their mean place."""
    phase: Array
    """(Y, X) mean phase [rad]."""
    field: Mask
    """(Y, X): seen at every energy."""
    vacuum: Mask
    """(Y, X): empty at every energy."""

    @cached_property
    def fixed_image(self) -> FixedImage:
        """The mean phase, against which the drift of each energy is refined."""
        return FixedImage(self.phase, _weight(self.field))


@dataclass(frozen=True)
class Flat:
    """Absorption and phase of one energy on the common grid, in the mean place of all, zero in vacuum and outside the field."""

    absorption: NDArray[np.float32]
    """(Y, X) amplitude absorption ``-ln|O|``."""
    phase: NDArray[np.float32]
    """(Y, X) [rad], continuous."""
    shift_px: Array
    """(2,) where the specimen sits relative to its mean place [grid px]."""
    gauge: Gauge
    """What the object was multiplied with."""


def require_ascending(energy_ev: Array) -> None:
    """Raise `EnergyGridError` where energies do not ascend or are alike."""
    if np.any(np.diff(energy_ev) <= 0):
        raise EnergyGridError(f"energies must ascend and differ, got {list(energy_ev)}")


def require_finite(object_: Object, energy_ev: float) -> None:
    """Raise `RegistrationError` where an object is not a number."""
    n_bad = int(np.count_nonzero(~np.isfinite(object_)))
    if n_bad:
        raise RegistrationError(
            f"objects must be finite, that of {energy_ev:.1f} eV is not at {n_bad} of {object_.size} px: did its reconstruction "
            "diverge (reconstruct.alpha, reconstruct.beta), or are its counts no counts?"
        )


def own_gauge(seen: EnergyObject, grid: Grid, options: AlignOptions) -> OwnGauge:
    """Field, vacuum and gauge of one object; the vacuum is the stated box, else what is empty in the object itself.

    Raises
    ------
    VacuumError
    """
    field = field_of_view(seen.dose)
    if options.vacuum_box is None:
        vacuum = _own_vacuum(seen.object, field, options.min_vacuum_fraction)
    else:
        box = _box(grid.shape, options.vacuum_box).astype(np.float32)
        vacuum = (to_canvas(box, grid, seen.canvas, np.zeros(2)) > INSIDE) & field
        require_vacuum(vacuum, field, options.min_vacuum_fraction)
    return OwnGauge(field, vacuum, _gauge(seen, vacuum, options))


def _own_vacuum(image: Object, field: Mask, min_fraction: float) -> Mask:
    """The empty part (Y, X) of the field of one object, as `find_vacuum` finds it; an object upside down is told.

    Raises
    ------
    VacuumError
    """
    try:
        return find_vacuum(image, field, min_fraction)
    except VacuumError as error:
        try:
            find_vacuum(image.conj(), field, min_fraction)
        except VacuumError:
            raise error from None
        raise VacuumError(
            f"matter must lower the phase, and here the field's flat part is the lowest of it: {CONJUGATE}"
        ) from error


def register_fixed(seen: EnergyObject, own: OwnGauge, grid: Grid, energy_ev: float) -> FixedEnergy:
    """The object at an energy [eV] as what the others are registered against."""
    found = _registered(seen, own, _in_gauge(seen, own.gauge), grid, np.zeros(2))
    return FixedEnergy(energy_ev, found.phase, found.field)


def register(seen: EnergyObject, own: OwnGauge, fixed: FixedEnergy, grid: Grid, options: AlignOptions) -> Registered:
    """The drift of one energy against the fixed one: whole pixels, then fractions.

    Raises
    ------
    RegistrationError
        The images do not resemble each other.
    BlankFixedImageError
        The fixed energy shows nothing.
    """
    image, shift = _in_gauge(seen, own.gauge), np.zeros(2)
    if options.drift == "find":
        still = _registered(seen, own, image, grid, shift)
        weight = _weight(fixed.field & still.field)
        shift = coarse_shift(fixed.phase, still.phase, weight)
        try:
            shift = _refined(image, seen.canvas, grid, FixedImage(fixed.phase, weight), shift, REGISTER_STEPS)
        except RegistrationError:
            _require_specimen(fixed, _held(own.vacuum, Resampling.of(seen.canvas, grid, np.zeros(2))))
            raise  # there is a specimen, and it is another
    return _registered(seen, own, image, grid, shift)


def share(shifts_px: Array, mean_phase: Array, field: Mask, grid: Grid, options: AlignOptions) -> Shared:
    """What all energies have in common, in the mean place of the specimen.

    Parameters
    ----------
    shifts_px : (E, 2) array
        Against the fixed energy.
    mean_phase : (Y, X) array
        Mean over energies of `Registered.phase`.
    field : (Y, X) bool array
        Pixels in the fields of all energies.

    Raises
    ------
    RegistrationError
        The fields share no area.
    VacuumError
    """
    offset = shifts_px.mean(axis=0)
    here = Canvas(grid.shape, grid.pixel_size_m, (float(grid.y_m[0]), float(grid.x_m[0])))
    here_from = Resampling.of(here, grid, -offset)
    field = _held(field, here_from)
    require_shared(field, shifts_px - offset)
    phase = np.where(field, here_from(mean_phase), 0.0)
    return Shared(offset, phase, field, shared_vacuum(phase, field, options))


def shared_vacuum(contrast: Array, field: Mask, options: AlignOptions) -> Mask:
    """(Y, X): the box that is stated to be empty, else what `find_empty` finds in the mean contrast (Y, X), or `VacuumError`."""
    least = options.min_vacuum_fraction
    if options.vacuum_box is None:
        return find_empty(contrast, field, least)
    vacuum = _box(field.shape, options.vacuum_box) & field
    require_vacuum(vacuum, field, least)
    return vacuum


def flatten(seen: EnergyObject, own: Gauge, shift_px: Array, shared: Shared, grid: Grid, options: AlignOptions) -> Flat:
    """One energy in its final gauge and place, the drift refined against the mean of all.

    Parameters
    ----------
    seen : EnergyObject
    own : Gauge
        That which the object shows by itself.
    shift_px : (2,) array
        As `register` found it.
    shared : Shared
    grid : Grid
    options : AlignOptions
    """
    shift = shift_px - shared.offset_px
    if options.drift == "find":
        shift = _refined(_in_gauge(seen, own), seen.canvas, grid, shared.fixed_image, shift, REFINE_STEPS)
    vacuum = to_canvas(shared.vacuum.astype(np.float32), grid, seen.canvas, shift) > INSIDE
    gauge = _gauge(seen, vacuum, options)
    image = Resampling.of(seen.canvas, grid, shift)(_in_gauge(seen, gauge), fill=1.0)
    absorption = np.where(shared.field, -np.log(np.maximum(np.abs(image), 1e-6)), 0.0).astype(np.float32)
    phase = np.where(shared.field, anchored(smooth_phase(image, shared.field), shared.vacuum), 0.0).astype(np.float32)
    return Flat(absorption, phase, shift, gauge)


def find_sample(mean_phase: Array, field: Mask, vacuum: Mask) -> Mask:
    """(Y, X) bool: connected matter, where the mean phase is significantly below the vacuum's.

    A thick specimen is blurred by the resolution far into the vacuum, with phases many times the noise. Such a pixel is
    told by its neighbours, which are much deeper; a thin one that is flat is not.

    Raises
    ------
    VacuumError
        There is no matter.
    """
    depth = -np.where(field, ndimage.gaussian_filter(mean_phase, 1.0), 0.0)
    noise = float(np.std(depth[vacuum]))
    sharp = depth > 0.5 * ndimage.maximum_filter(depth, size=2 * BLUR_PX + 1)
    matter = ndimage.binary_opening((depth > max(SAMPLE_SIGMAS * noise, LEAST_DEPTH_RAD)) & sharp & field, iterations=2)
    if not matter.any():
        if ndimage.binary_opening((-depth > max(SAMPLE_SIGMAS * noise, LEAST_DEPTH_RAD)) & field, iterations=2).any():
            raise VacuumError(f"matter must lower the phase, and here it only rises above the vacuum's: {CONJUGATE}")
        raise VacuumError(
            "the field must hold a specimen: nowhere does the mean phase lie below that of the vacuum by more than its noise, "
            f"{noise:.2g} rad. Is the field blank, or the specimen outside it?"
        )
    return np.asarray(ndimage.binary_fill_holes(matter) & field & ~vacuum)


def _require_specimen(fixed: FixedEnergy, vacuum: Mask) -> None:
    """Raise `BlankFixedImageError` where the fixed energy shows nothing beside the vacuum (Y, X)."""
    try:
        find_sample(fixed.phase, fixed.field, vacuum)
    except VacuumError as error:
        blank = BlankFixedImageError(
            f"{error} (This is the energy in the middle, {fixed.energy_ev:.1f} eV, against which all others are registered. "
            "Was the beam lost there?)"
        )
        blank.energy_ev = fixed.energy_ev
        raise blank from error


def _refined(image: Object, canvas: Canvas, grid: Grid, fixed: FixedImage, shift: Array, n_steps: int) -> Array:
    """(2,) shift after Gauss-Newton steps of the phase of one energy's ``image`` (Yc, Xc) against the fixed image.

    Whole turns, which `_registered` fixes, are no matter here: the steps leave a constant free.
    """
    for _ in range(n_steps):
        step = fixed.shift_of(smooth_phase(Resampling.of(canvas, grid, shift)(image, fill=1.0)))
        shift = shift + step
        if np.abs(step).max() < DRIFT_TOLERANCE_PX:
            break
    return shift


def _gauge(seen: EnergyObject, vacuum: Mask, options: AlignOptions) -> Gauge:
    """The gauge that the vacuum (Yc, Xc) fixes; none where objects come in it."""
    return measure_gauge(seen.object, vacuum, seen.dose) if options.gauge == "find" else Gauge(0.0, 0.0, (0.0, 0.0))


def _in_gauge(seen: EnergyObject, gauge: Gauge) -> Object:
    """(Yc, Xc) complex64: the object in a gauge."""
    return np.asarray(seen.object * gauge.factor(seen.canvas.shape))


def _registered(seen: EnergyObject, own: OwnGauge, image: Object, grid: Grid, shift: Array) -> Registered:
    """One energy, whose object in its own gauge is ``image`` (Yc, Xc), displaced back by ``shift``.

    The object's own vacuum, where the phase is zero, fixes the whole turns.
    """
    place = Resampling.of(seen.canvas, grid, shift)
    phase = anchored(smooth_phase(place(image, fill=1.0)), _held(own.vacuum, place))
    return Registered(shift, phase, _held(own.field, place))


def _held(mask: Mask, place: Resampling) -> Mask:
    """(Y, X): pixels of the grid that a mask (Yc, Xc) holds."""
    return np.asarray(place(mask.astype(np.float32)) > INSIDE)


def _weight(field: Mask) -> Array:
    """(Y, X): how much a pixel tells of the drift; in holes of the field, whose borders do not move along, nothing."""
    whole = ndimage.binary_fill_holes(field)
    weight = ndimage.gaussian_filter(whole.astype(float), 2.0)
    holes = whole & ~field
    if holes.any():
        weight *= ndimage.gaussian_filter((~ndimage.binary_dilation(holes, iterations=HOLE_RIM_PX)).astype(float), 1.0)
    return np.asarray(weight)


def _box(shape: tuple[int, ...], box: tuple[int, int, int, int]) -> Mask:
    y0, y1, x0, x1 = box
    inside = np.zeros(shape, bool)
    inside[y0:y1, x0:x1] = True
    return inside
