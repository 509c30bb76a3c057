"""A scan: diffraction patterns, where the probe was, and the object array that holds them all."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.errors import GeometryError
from tasks.units import object_pixel_size_m

MARGIN_PX = 4
"""Empty pixels around the outermost frame, so that refined positions stay on the canvas."""

CANVAS_STEP_PX = 32
"""Canvas sides are multiples of this: energies of one measurement share a shape, hence one compilation."""

MAX_CANVAS_PX = 16_384
"""Largest object side reconstructed in one piece (2 GiB of complex64)."""

BLOCK_PIXELS = 2**19
"""Pixels of the frames looked at together, at least one frame: what is made of them stays within a few MiB."""


@dataclass(frozen=True)
class Scan:
    """One energy's measurement."""

    counts: NDArray
    """(P, N, N) uint16, uint32 or float32: photons, the beam centre in the middle of the frame."""
    positions_m: NDArray[np.float64]
    """(P, 2) float64: the probe's (y, x) [m]."""
    mask: NDArray[np.bool_]
    """(N, N) bool: True where the detector pixel is good."""
    energy_ev: float
    distance_m: float
    """Specimen to detector."""
    detector_pixel_size_m: float

    @property
    def n_pixels(self) -> int:
        """Side N of a frame."""
        return int(self.counts.shape[-1])

    @property
    def pixel_size_m(self) -> float:
        """Pixel of the object [m]."""
        return object_pixel_size_m(self.energy_ev, self.distance_m, self.n_pixels, self.detector_pixel_size_m)

    def blocks(self) -> Iterator[tuple[slice, NDArray, NDArray[np.bool_]]]:
        """Frames, their counts (F, N, N), and where these are good: neither masked nor at the end of their range."""
        full = np.iinfo(self.counts.dtype).max if self.counts.dtype.kind == "u" else np.inf
        n_frames = max(1, BLOCK_PIXELS // self.n_pixels**2)
        for first in range(0, len(self.counts), n_frames):
            frames = slice(first, first + n_frames)
            counts = self.counts[frames]
            yield frames, counts, self.mask & (counts != full)

    def mean_pattern(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(N, N) each: mean count of every pixel where it was good, 0 where it never was; and whether it ever was."""
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

    def corners_px(self, positions_m: NDArray[np.float64], n_pixels: int) -> NDArray[np.float64]:
        """(P, 2) float64: where the first pixel of each frame falls [px], not rounded.

        A frame's pixel ``[N // 2, N // 2]`` is the probe's position.
        """
        return (positions_m - np.asarray(self.origin_m)) / self.pixel_size_m - n_pixels // 2


@dataclass(frozen=True)
class Placement:
    """Where each frame was and how bright, as far as it differs from what was measured."""

    displacement_px: NDArray[np.float64]
    """(P, 2) float64: from the measured position, (y, x) [px]; mean 0."""
    scale: NDArray[np.float64]
    """(P,) float64: amplitude relative to the scan's; its mean square is 1."""

    def corners_px(self, scan: Scan, canvas: Canvas) -> NDArray[np.float64]:
        """(P, 2) float64: where the first pixel of each frame falls [px], never beyond the canvas."""
        corners = canvas.corners_px(scan.positions_m, scan.n_pixels) + self.displacement_px
        return np.clip(corners, 0, np.array(canvas.shape) - scan.n_pixels)

    def positions_m(self, scan: Scan, canvas: Canvas) -> NDArray[np.float64]:
        """(P, 2) float64: the corrected positions of the probe, (y, x) [m], as far as the canvas reaches."""
        moved_px = self.corners_px(scan, canvas) - canvas.corners_px(scan.positions_m, scan.n_pixels)
        return np.asarray(scan.positions_m + moved_px * canvas.pixel_size_m)


def unmoved(n_positions: int) -> Placement:
    """Every frame where and as bright as it was measured."""
    return Placement(np.zeros((n_positions, 2)), np.ones(n_positions))


def plan_canvas(positions_m: NDArray[np.float64], pixel_size_m: float, n_pixels: int) -> Canvas:
    """The smallest canvas that holds every frame, rounded up to `CANVAS_STEP_PX`.

    It depends on this energy alone, so that an energy can be reconstructed before the next is measured.

    Raises
    ------
    GeometryError
        The object would be larger than `MAX_CANVAS_PX`: positions in a wrong unit, as a rule.
    """
    extent_px = np.ptp(positions_m, axis=0) / pixel_size_m
    needed = np.ceil(extent_px).astype(int) + n_pixels + 2 * MARGIN_PX + 1
    if needed.max() > MAX_CANVAS_PX:
        raise GeometryError(
            f"the object may be at most {MAX_CANVAS_PX} px across, the positions span {np.ptp(positions_m, axis=0).max():.3g} m "
            f"= {needed.max()} px of {pixel_size_m:.3g} m: are the positions in metres, or is the distance wrong?"
        )
    height, width = (int(-(-side // CANVAS_STEP_PX) * CANVAS_STEP_PX) for side in needed)
    origin = positions_m.min(axis=0) - (n_pixels // 2 + MARGIN_PX) * pixel_size_m
    return Canvas((height, width), pixel_size_m, (float(origin[0]), float(origin[1])))


def illumination(canvas: Canvas, positions_m: NDArray[np.float64], probe: NDArray[np.complex64]) -> NDArray[np.float32]:
    """(Y, X) float32: photons that fell on each object pixel over the scan, the probe (M, N, N) at whole pixels."""
    intensity = np.sum(np.abs(probe) ** 2, axis=0)
    n = intensity.shape[0]
    dose = np.zeros(canvas.shape, np.float32)
    for row, column in np.rint(canvas.corners_px(positions_m, n)).astype(int):
        dose[row : row + n, column : column + n] += intensity
    return dose


def find_faults(
    positions_m: NDArray[np.float64], pixel_size_m: float, n_pixels: int, probe_fwhm_m: float | None
) -> list[tuple[str, str]]:
    """Everything wrong with the geometry of a scan as (field, message) pairs; empty where it is sane.

    Parameters
    ----------
    positions_m : (P, 2) float64 array [m]
    pixel_size_m : float
        Object pixel.
    n_pixels : int
        Side of a frame; the reconstructed window is ``n_pixels * pixel_size_m`` wide.
    probe_fwhm_m : float or None
        Width of the probe where it is known; oversampling cannot be judged without it.
    """
    faults = []
    window_m = n_pixels * pixel_size_m
    if len(positions_m) < 2:
        return [("positions_m", f"a ptychographic scan needs at least 2 positions, got {len(positions_m)}")]
    step_m = float(np.median(nearest_distances(positions_m)))
    if step_m == 0:
        faults.append(("positions_m", "half of the positions coincide with another: are they encoder readings that stuck?"))
    if step_m > 0.5 * window_m:
        faults.append(
            (
                "positions_m",
                f"neighbouring positions must overlap: the median step is {step_m:.3g} m in a window of {window_m:.3g} m; "
                "are the positions in metres, and distance_m and detector_pixel_size_m right?",
            )
        )
    elif step_m and np.ptp(positions_m, axis=0).max() < pixel_size_m:
        faults.append(("positions_m", f"all positions lie within one object pixel ({pixel_size_m:.3g} m): are they in metres?"))
    try:
        plan_canvas(positions_m, pixel_size_m, n_pixels)
    except GeometryError as error:
        faults.append(("positions_m", str(error)))
    if probe_fwhm_m is not None:
        if step_m > probe_fwhm_m:
            faults.append(
                (
                    "positions_m",
                    f"the median step {step_m:.3g} m is larger than the probe ({probe_fwhm_m:.3g} m): frames do not overlap",
                )
            )
        if probe_fwhm_m > 0.5 * window_m:
            faults.append(
                (
                    "probe.fwhm_m",
                    f"the probe ({probe_fwhm_m:.3g} m) must be narrower than half the window ({window_m:.3g} m) for the "
                    "pattern to be oversampled: is distance_m too short, or fwhm_m in another unit?",
                )
            )
    return faults


def nearest_distances(positions_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P,) float64: distance of each position to its nearest neighbour [m]."""
    from scipy.spatial import cKDTree

    distances, _ = cKDTree(positions_m).query(positions_m, k=2)
    return np.asarray(distances[:, 1], dtype=float)
