"""What the data cannot see, fixed by what is known to be empty.

``O -> c exp(i q.r) O`` with the inverse on the probe leaves every diffraction pattern unchanged, so each energy comes
with its own complex factor c and phase ramp q. In vacuum O = 1: its mean and the plane of its phase fix both.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tasks.arrays import robust_sd
from tasks.errors import RegistrationError, VacuumError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]
"""First and last row, first and last column [px]."""

FIELD_LEVEL = 0.15
"""Pixels that received less than this share of the median dose inside the scan are outside the field."""
LEAST_ISLAND = 0.01
"""Parts of the field apart from the rest that hold less than this share of it are left out."""
RIM_PX = 3
"""Vacuum keeps this far from the specimen and from the edge of the field: about a resolution element."""
CLIP_SIGMAS = 3.5
ENVELOPE_QUANTILE = 0.95
"""Share of the pixels that the first plane through the envelope has below it; it lies on the vacuum as soon as that is the rest.

On simulated particles (noise 2 to 30 mrad, phase 0.15 to 2 rad, rough or smooth) it finds a vacuum of 17 % of the field in 16
of 18 cases, and of 13 % in 13; 0.93 finds 16 and 7, 0.9 finds 9 and none, 0.8 none of 28 %, and up to 0.995 no more is found.
What lies above the vacuum by mistake must not carry the plane: where that is 1 or 2 % of a field half of which is empty, the
worst gauge is off by 12 or 21 mrad with any share from 0.9 to 0.98, and by 67 or 78 with 0.99."""
PIXELS_OF_START = 20_000
"""A first plane through the envelope is fitted to about so many of the pixels."""
LOWER_QUARTILE = 0.3186
"""Of the absolute value of a unit normal variable."""
FLAT = 1e-9
"""A contrast that varies by no more than this does not vary."""
FLAT_WITHIN = 8.0
"""Vacuum is flat to this many times the ripple from pixel to pixel; an envelope that is not, is matter."""


@dataclass(frozen=True)
class Gauge:
    """The factor ``exp(log_gain + i (phase + slope . (r - centre)))`` that turns an object's vacuum into 1."""

    log_gain: float
    phase_rad: float
    slope_rad_px: tuple[float, float]
    """Along y and x, about the middle of the array [rad/px]."""

    def factor(self, shape: tuple[int, int], centre: tuple[float, float] | None = None) -> NDArray[np.complex64]:
        """(Y, X) complex64, to multiply the object with; ``centre`` [px] is the middle of the array by default."""
        y, x = _centred_axes(shape, centre)
        down = np.exp(self.log_gain + 1j * (self.phase_rad + self.slope_rad_px[0] * y))
        return np.asarray(down[:, None] * np.exp(1j * self.slope_rad_px[1] * x), dtype=np.complex64)

    def onto_probe(self, probe: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """The probe (M, N, N) with the inverse factor; the constant phase, which no pattern shows, is kept."""
        n = probe.shape[-1]
        ramp = Gauge(-self.log_gain, 0.0, (-self.slope_rad_px[0], -self.slope_rad_px[1]))
        return (probe * ramp.factor((n, n), (n // 2, n // 2))).astype(np.complex64)


def field_of_view(dose: NDArray[np.float32]) -> Mask:
    """(Y, X) bool: where the scan put enough photons to trust the object; holes filled, but for those without any light.

    Small islands are left out: no path leads from the vacuum to them along which the phase could be followed.
    """
    if not (np.isfinite(dose).all() and dose.max() > 0):
        raise VacuumError(
            "the scanned field must have received light; the dose on the object is zero or not finite. Did the reconstruction "
            "diverge, or is the probe empty?"
        )
    lit = dose[dose > 0.5 * dose.max()]
    field = ndimage.binary_fill_holes(dose > FIELD_LEVEL * np.median(lit)) & (dose > 0)
    parts, _ = ndimage.label(field)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= LEAST_ISLAND * sizes.sum())[parts] & field)


def field_box(field: Mask) -> Box:
    """The smallest box that holds a field of view (Y, X).

    Raises
    ------
    RegistrationError
        The field is empty.
    """
    if not field.any():
        raise RegistrationError(
            "the fields of all energies must share an area, one of them is empty: does its image hold numbers?"
        )
    rows, columns = np.flatnonzero(field.any(axis=1)), np.flatnonzero(field.any(axis=0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def smooth_phase(image: NDArray[np.complex64], field: Mask | None = None) -> Array:
    """Phase [rad] of ``image`` (Y, X), continuous where it nears +-pi; zero outside the field, which is all of it by default."""
    inside = image if field is None else np.where(field, image, 1)
    mean = np.angle(np.sum(inside if field is None else inside[field]))
    turned = inside * np.exp(-1j * mean)
    phase = np.angle(turned)
    if not np.ptp(phase) <= np.pi and _jumps(phase, field):
        inner = np.ones(phase.shape, bool) if field is None else field
        return np.asarray(np.where(inner, _unwrapped(turned, phase, inner) + mean, 0.0), dtype=float)
    return np.asarray(phase + mean, dtype=float)


def _unwrapped(image: NDArray[np.complex64], phase: NDArray[np.floating], field: Mask) -> NDArray[np.floating]:
    """The ``phase`` (Y, X) [rad] of ``image`` without its jumps of whole turns inside the field; zero outside.

    As a rule it is the ramp that makes them. Without it the phase is continuous, and only else is it unwrapped, in twenty
    times as long.
    """
    down, right = _local_ramp(image, field)
    flat = image * Gauge(0.0, 0.0, (-down, -right)).factor((field.shape[0], field.shape[1]))
    mean = np.angle(np.sum(flat[field]))
    level = np.angle(flat * np.exp(-1j * mean))
    if not _jumps(level, field):
        y, x = _centred_axes((field.shape[0], field.shape[1]), None)
        return np.where(field, level + mean + down * y[:, None] + right * x, 0.0)
    # half a second to load, which a reconstruction that measures its vacuum need not wait for
    from skimage.restoration import unwrap_phase

    return np.asarray(unwrap_phase(np.ma.array(phase, mask=~field)).filled(0.0))


def _jumps(phase: NDArray[np.floating], field: Mask | None) -> bool:
    """Whether a pixel of the field and the next one lie more than half a turn apart in ``phase`` (Y, X) [rad]."""
    for axis in (0, 1):
        far = np.abs(np.diff(phase, axis=axis)) > np.pi
        if np.any(far if field is None else far & _both_inside(field, axis)):
            return True
    return False


def _both_inside(field: Mask, axis: int) -> Mask:
    """True where a pixel and the next one along ``axis`` are in the field (Y, X); one less along ``axis``."""
    along = np.moveaxis(field, axis, 0)
    return np.asarray(np.moveaxis(along[1:] & along[:-1], 0, axis))


def anchored(phase: Array, vacuum: Mask) -> Array:
    """An unwrapped phase (Y, X) [rad] shifted by whole turns so that the vacuum lies at zero."""
    turns = np.round(np.median(phase[vacuum]) / (2 * np.pi)) if vacuum.any() else 0.0
    return np.asarray(phase - 2 * np.pi * turns)


def absorption_and_phase(image: NDArray[np.complex64], field: Mask) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """``A = -ln|O|`` and the continuous phase [rad] of one object (Y, X) whose gauge is not fixed; NaN outside the field.

    The phase has its upper end, where the vacuum is if there is any, within half a turn of zero.
    """
    absorption = -np.log(np.maximum(np.abs(image), np.finfo(np.float32).tiny))
    phase = smooth_phase(image, field)
    phase -= 2 * np.pi * np.round(np.quantile(phase[field], 0.98) / (2 * np.pi))
    return np.where(field, absorption, np.nan).astype(np.float32), np.where(field, phase, np.nan).astype(np.float32)


def find_vacuum(image: NDArray[np.complex64], field: Mask, min_fraction: float) -> Mask:
    """(Y, X) bool: the part of the field that is empty in the phase of ``image``, as `find_empty` finds it.

    Raises
    ------
    VacuumError
    """
    return find_empty(smooth_phase(image, field), field, min_fraction)


def find_empty(contrast: Array, field: Mask, min_fraction: float) -> Mask:
    """(Y, X) bool: the part of the field that is empty, a resolution element away from the specimen.

    Matter only lowers the ``contrast`` (Y, X), a phase [rad] or the logarithm of a transmission, so the vacuum is the upper
    envelope: a plane is fitted to ever fewer pixels, dropping those that lie further below it than the noise, which the
    pixels above it measure.

    Raises
    ------
    VacuumError
        Less than ``min_fraction`` of the field is empty.
    """
    inner = ndimage.binary_erosion(field, iterations=RIM_PX)
    require_vacuum(inner, field, min_fraction)
    contrast = ndimage.gaussian_filter(contrast, 1.0)
    basis = _plane_basis(field.shape)[:, inner]
    values = contrast[inner]
    ripple = max(ripple_of(contrast, inner), FLAT)
    plane = _upper_plane(basis, values, ripple)
    above = values - plane @ basis
    noise = _noise_above(above, ripple)
    if noise > FLAT_WITHIN * ripple:
        raise VacuumError(
            f"part of the field must be empty and flat to fix the object's gauge or I0; its envelope is uneven by {noise:.2g}: "
            "scan a wider field around the particle, or name an empty box (align.vacuum_box)"
        )
    empty = np.zeros_like(field)
    empty[inner] = above > -CLIP_SIGMAS * noise
    empty = ndimage.binary_erosion(ndimage.binary_opening(empty), iterations=RIM_PX)
    require_vacuum(empty, field, min_fraction)
    return np.asarray(empty)


def ripple_of(image: Array, inner: Mask) -> float:
    """Noise from pixel to pixel of ``image`` (Y, X) inside the mask.

    It is told by the lower quartile, which is the vacuum's even where matter, which is rougher, fills most of the field.
    """
    return float(np.quantile(np.abs(image - ndimage.gaussian_filter(image, 2.0))[inner], 0.25)) / LOWER_QUARTILE


def require_vacuum(empty: Mask, field: Mask, min_fraction: float) -> None:
    """Raise `VacuumError` where less than ``min_fraction`` of the field is empty."""
    fraction = empty.sum() / max(int(field.sum()), 1)
    if fraction < min_fraction:
        raise VacuumError(
            f"at least {min_fraction:.1%} of the scanned field must be empty to fix the object's gauge or I0, found "
            f"{fraction:.1%}: scan a wider field around the particle, or name an empty box (align.vacuum_box)"
        )


def measure_gauge(image: NDArray[np.complex64], vacuum: Mask, weights: NDArray[np.floating] | None = None) -> Gauge:
    """The gauge that makes the vacuum of ``image`` (Y, X) complex64 one on average and its phase flat.

    ``weights`` (Y, X), the dose as a rule, count well-lit pixels more.

    Raises
    ------
    VacuumError
        No pixel is empty, or none of the light passes one that is.
    """
    require_vacuum(vacuum, vacuum, 1.0)
    n_opaque = int(np.count_nonzero(image[vacuum] == 0))
    if n_opaque:
        raise VacuumError(
            f"an empty area must let the light pass, but the object is zero at {n_opaque} of its {int(vacuum.sum())} px: did the "
            "reconstruction fail, or is align.vacuum_box outside what was reconstructed?"
        )
    weight = np.ones(int(vacuum.sum())) if weights is None else np.asarray(weights[vacuum], dtype=float)
    # without its ramp the phase need not be unwrapped from one empty region to the next, between which lies matter
    ramp = _local_ramp(image, vacuum)
    flat = image * Gauge(0.0, 0.0, (-ramp[0], -ramp[1])).factor((vacuum.shape[0], vacuum.shape[1]))
    turned = np.angle(np.sum(flat[vacuum]))
    phase = smooth_phase(flat * np.exp(-1j * turned), vacuum)[vacuum]
    basis = _plane_basis(vacuum.shape)[:, vacuum]
    plane = _weighted_plane(basis, phase, weight)
    log_gain = -float(np.average(np.log(np.abs(image[vacuum])), weights=weight))
    return Gauge(log_gain, -float(plane[0] + turned), (-float(plane[1] + ramp[0]), -float(plane[2] + ramp[1])))


def _local_ramp(image: NDArray[np.complex64], inside: Mask) -> tuple[float, float]:
    """Mean step of the phase from pixel to pixel along y and x [rad/px], of neighbours that are both ``inside``."""
    lit = np.where(inside, image, 0)
    return float(np.angle(np.sum(lit[1:] * lit[:-1].conj()))), float(np.angle(np.sum(lit[:, 1:] * lit[:, :-1].conj())))


def fit_quadratic_surface(image: NDArray[np.complex64], vacuum: Mask, weights: NDArray[np.floating]) -> Array:
    """Coefficients (6,) of the `quadratic_surface` about the middle of ``image`` (Y, X) that ln|O| follows in the vacuum.

    ``weights`` (Y, X), the dose as a rule, count well-lit pixels more.
    """
    root = np.sqrt(np.asarray(weights[vacuum], dtype=float))
    y, x = (axis[vacuum] for axis in np.meshgrid(*_centred_axes(vacuum.shape, None), indexing="ij"))
    terms = np.stack([quadratic_surface(unit, y, x) for unit in np.eye(6)])
    found = np.linalg.lstsq((terms * root).T, np.log(np.abs(image[vacuum])) * root, rcond=None)[0]
    return np.asarray(found, dtype=float)


def quadratic_surface(coefficients: Array, y: Array, x: Array) -> Array:
    """``c0 + c1 y + c2 x + c3 y^2 + c4 x y + c5 x^2``, the shape that y and x [px] have together."""
    c = coefficients
    return np.asarray(c[0] + c[1] * y + c[2] * x + c[3] * y**2 + c[4] * x * y + c[5] * x**2)


def _upper_plane(basis: Array, values: Array, ripple: float) -> Array:
    """Coefficients (3,) of the plane through the upper envelope of ``values`` (n,).

    It starts as the plane that leaves a twentieth of the pixels above it (`ENVELOPE_QUANTILE`), and shrinks onto what lies
    within the noise: that of the pixels above, but no less than the ``ripple``.
    """
    step = max(1, values.size // PIXELS_OF_START)
    plane = _quantile_plane(np.ascontiguousarray(basis[:, ::step]), values[::step], ENVELOPE_QUANTILE)
    keep = np.zeros(values.size, bool)
    for _ in range(60):
        residual = values - plane @ basis
        now = residual > -2.5 * _noise_above(residual, 2 * ripple)
        if now.sum() < 10 or np.array_equal(now, keep):
            break
        keep = now
        plane = _weighted_plane(basis, values, now.astype(float))
    return plane


def _noise_above(residual: Array, least: float) -> float:
    """Standard deviation that the positive residuals tell, at least ``least``."""
    above = residual[residual > 0]
    return max(robust_sd(above, centre=0.0), least) if above.size else least


def _quantile_plane(basis: Array, values: Array, quantile: float) -> Array:
    """Plane (3,) that leaves ``1 - quantile`` of the values above it, by iteratively reweighted least squares."""
    plane = _weighted_plane(basis, values, np.ones_like(values))
    spread = max(float(np.std(values)), FLAT)
    for _ in range(50):
        residual = values - plane @ basis
        weight = np.where(residual > 0, quantile, 1 - quantile) / np.maximum(np.abs(residual), 1e-4 * spread)
        plane = _weighted_plane(basis, values, weight)
    return plane


def _weighted_plane(basis: Array, values: Array, weight: Array) -> Array:
    """Coefficients (3,) of the plane through ``values`` (n,) by weighted least squares, from the normal equations."""
    weighted = basis * weight
    return np.asarray(np.linalg.lstsq(weighted @ basis.T, weighted @ values, rcond=None)[0], dtype=float)


def _plane_basis(shape: tuple[int, ...]) -> Array:
    y, x = _centred_axes((shape[0], shape[1]), None)
    return np.stack([np.ones(shape), np.broadcast_to(y[:, None], shape), np.broadcast_to(x[None, :], shape)])


def _centred_axes(shape: tuple[int, ...], centre: tuple[float, float] | None) -> tuple[Array, Array]:
    middle = ((shape[0] - 1) / 2, (shape[1] - 1) / 2) if centre is None else centre
    return np.arange(shape[0], dtype=float) - middle[0], np.arange(shape[1], dtype=float) - middle[1]
