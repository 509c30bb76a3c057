"""A scan of one energy, the canvas that holds its object, and checks of its geometry."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import GeometryError
from tasks.units import object_pixel_size_m

MARGIN_PX = 4
"""Empty pixels around the outermost frames, so that refined positions stay on the canvas."""

CANVAS_STEP_PX = 32
"""Canvas sides are multiples of this, so that energies of one measurement share a shape, hence one compilation."""

MAX_CANVAS_PX = 16_384
"""Largest object side reconstructed in one piece (2 GiB of complex64)."""

BLOCK_PIXELS = 2**19
"""Pixels of the frames processed together, at least one frame: temporary arrays stay within a few MiB."""


@dataclass(frozen=True)
class Scan:
    """The measurement of one energy."""

    counts: NDArray[Any]
    """(P, N, N) uint16, uint32 or float32 [photons]; the beam centre is in the middle of the frame."""
    positions_m: NDArray[np.float64]
    """(P, 2) float64: (y, x) of the probe [m]."""
    mask: NDArray[np.bool_]
    """(N, N) bool: True where the detector pixel is good."""
    energy_ev: float
    distance_m: float
    """From specimen to detector."""
    detector_pixel_size_m: float

    @property
    def n_pixels(self) -> int:
        """Side N of a frame."""
        return int(self.counts.shape[-1])

    @property
    def pixel_size_m(self) -> float:
        """Pixel of the object [m]."""
        return object_pixel_size_m(self.energy_ev, self.distance_m, self.n_pixels, self.detector_pixel_size_m)

    def blocks(self) -> Iterator[tuple[slice, NDArray[Any], NDArray[np.bool_]]]:
        """Yield a slice of frames, their counts (F, N, N), and whether these are good: neither masked nor saturated."""
        full = np.iinfo(self.counts.dtype).max if self.counts.dtype.kind == "u" else np.inf
        n_frames = max(1, BLOCK_PIXELS // self.n_pixels**2)
        for first in range(0, len(self.counts), n_frames):
            frames = slice(first, first + n_frames)
            counts = self.counts[frames]
            yield frames, counts, self.mask & (counts != full)

    @property
    def mean_photons(self) -> float:
        """Mean sum of a frame's counts over good pixels."""
        mean, good = self.mean_pattern
        return float(np.sum(mean, where=good))

    @cached_property
    def mean_pattern(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(N, N) each: mean of each pixel's good counts, 0 where none was good; and whether any was good. All frames are read."""
        total, n_good = np.zeros(self.mask.shape), np.zeros(self.mask.shape, int)
        for _, counts, good in self.blocks():
            total += np.sum(counts, axis=0, where=good, dtype=float)
            n_good += np.count_nonzero(good, axis=0)
        return total / np.maximum(n_good, 1), n_good > 0


@dataclass(frozen=True)
class Canvas:
    """The padded array that holds the object of one energy."""

    shape: tuple[int, int]
    pixel_size_m: float
    origin_m: tuple[float, float]
    """(y, x) of the centre of pixel [0, 0], in the frame of the positions."""

    @property
    def axes_m(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(Y,) and (X,) float64: centres of the rows and columns, in the frame of the positions [m]."""
        (y, x), (n_y, n_x) = self.origin_m, self.shape
        return y + np.arange(float(n_y)) * self.pixel_size_m, x + np.arange(float(n_x)) * self.pixel_size_m

    def corners_px(self, positions_m: NDArray[np.float64], n_pixels: int) -> NDArray[np.float64]:
        """(P, 2) float64: position of each frame's first pixel on the canvas [px], not rounded.

        A frame's pixel ``[N // 2, N // 2]`` is the probe's position.
        """
        return np.asarray((positions_m - np.asarray(self.origin_m)) / self.pixel_size_m - n_pixels // 2)


@dataclass(frozen=True)
class Placement:
    """Corrections of each frame's measured position and flux."""

    displacement_px: NDArray[np.float64]
    """(P, 2) float64: displacement from the measured position, (y, x) [px]; mean 0."""
    scale: NDArray[np.float64]
    """(P,) float64: amplitude of the frame relative to the scan's; mean square 1."""

    def corners_px(self, scan: Scan, canvas: Canvas) -> NDArray[np.float64]:
        """(P, 2) float64: position of each frame's first pixel on the canvas [px], clipped to the canvas."""
        corners = canvas.corners_px(scan.positions_m, scan.n_pixels) + self.displacement_px
        return np.clip(corners, 0, np.array(canvas.shape) - scan.n_pixels)

    def positions_m(self, scan: Scan, canvas: Canvas) -> NDArray[np.float64]:
        """(P, 2) float64: the corrected positions of the probe, (y, x) [m], clipped to the canvas."""
        moved_px = self.corners_px(scan, canvas) - canvas.corners_px(scan.positions_m, scan.n_pixels)
        return np.asarray(scan.positions_m + moved_px * canvas.pixel_size_m)


def measured_placement(n_positions: int) -> Placement:
    """The placement without corrections."""
    return Placement(np.zeros((n_positions, 2)), np.ones(n_positions))


def plan_canvas(positions_m: NDArray[np.float64], pixel_size_m: float, n_pixels: int) -> Canvas:
    """The smallest canvas that holds every frame, rounded up to `CANVAS_STEP_PX`.

    It depends on this energy's scan only, so that an energy can be reconstructed before the next is measured.

    Parameters
    ----------
    positions_m : (P, 2) float64 array [m]
    pixel_size_m : float
        Object pixel.
    n_pixels : int
        Side of a frame.

    Raises
    ------
    GeometryError
        The object would be larger than `MAX_CANVAS_PX`, usually because positions are in a wrong unit.
    """
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        needed = np.ceil(np.ptp(positions_m, axis=0) / pixel_size_m) + n_pixels + 2 * MARGIN_PX + 1
    if not (pixel_size_m > 0 and needed.max() <= MAX_CANVAS_PX):
        raise GeometryError(
            f"the object may be at most {MAX_CANVAS_PX} px across, the positions span {np.ptp(positions_m, axis=0).max():.3g} m "
            f"= {needed.max():.6g} px of {pixel_size_m:.3g} m: are the positions in metres, or is the distance wrong?"
        )
    height, width = (int(-(-side // CANVAS_STEP_PX) * CANVAS_STEP_PX) for side in needed)
    origin = positions_m.min(axis=0) - (n_pixels // 2 + MARGIN_PX) * pixel_size_m
    return Canvas((height, width), pixel_size_m, (float(origin[0]), float(origin[1])))


def illumination(canvas: Canvas, positions_m: NDArray[np.float64], probe: NDArray[np.complex64]) -> NDArray[np.float32]:
    """(Y, X) float32: photons on each object pixel over the scan, with the probe (M, N, N) at whole pixels."""
    intensity = np.sum(np.abs(probe) ** 2, axis=0)
    n = intensity.shape[0]
    dose = np.zeros(canvas.shape, np.float32)
    for row, column in np.rint(canvas.corners_px(positions_m, n)).astype(int):
        dose[row : row + n, column : column + n] += intensity
    return dose


def check_geometry(
    positions_m: NDArray[np.float64], pixel_size_m: float, n_pixels: int, probe_fwhm_m: float | None
) -> list[tuple[str, str]]:
    """All errors in the geometry of a scan, as pairs of field and message; empty where it is plausible.

    Parameters
    ----------
    positions_m : (P, 2) float64 array [m]
    pixel_size_m : float
        Object pixel.
    n_pixels : int
        Side of a frame; the reconstructed window is ``n_pixels * pixel_size_m`` wide.
    probe_fwhm_m : float or None
        Width of the probe, None where it is unknown; oversampling is then not checked.
    """
    errors = []
    window_m = n_pixels * pixel_size_m
    if len(positions_m) < 2:
        return [("positions_m", f"a ptychographic scan needs at least 2 positions, got {len(positions_m)}")]
    step_m = float(np.median(nearest_distances(positions_m)))
    if step_m == 0:
        errors.append(("positions_m", "half of the positions coincide with another: are they encoder readings that stuck?"))
    if step_m > 0.5 * window_m:
        errors.append(
            (
                "positions_m",
                f"neighbouring positions must overlap: the median step is {step_m:.3g} m in a window of {window_m:.3g} m; "
                "are the positions in metres, and distance_m and detector_pixel_size_m right?",
            )
        )
    elif step_m and np.ptp(positions_m, axis=0).max() < pixel_size_m:
        errors.append(("positions_m", f"all positions lie within one object pixel ({pixel_size_m:.3g} m): are they in metres?"))
    try:
        plan_canvas(positions_m, pixel_size_m, n_pixels)
    except GeometryError as error:
        errors.append(("positions_m", str(error)))
    if probe_fwhm_m is not None:
        if step_m > probe_fwhm_m:
            errors.append(
                (
                    "positions_m",
                    f"the median step {step_m:.3g} m is larger than the probe ({probe_fwhm_m:.3g} m): frames do not overlap",
                )
            )
        if probe_fwhm_m > 0.5 * window_m:
            errors.append(
                (
                    "probe.fwhm_m",
                    f"the probe ({probe_fwhm_m:.3g} m) must be narrower than half the window ({window_m:.3g} m) for the "
                    "pattern to be oversampled: is distance_m too short, or fwhm_m in another unit?",
                )
            )
    return errors


def nearest_distances(positions_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P,) float64: distance from each position to its nearest neighbour [m]."""
    from scipy.spatial import cKDTree

    distances, _ = cKDTree(positions_m).query(positions_m, k=2)
    return np.asarray(distances[:, 1], dtype=float)
