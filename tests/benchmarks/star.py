"""A real Siemens star of thirty spokes (../shared/data), and how far towards its hub they are seen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from measurements import FOLDER
from numpy.typing import NDArray
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from storage.readers.format import open_scan
from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.driver import run
from tasks.ptycho.probe import scale_to_power
from tasks.ptycho.reconstruction import Reconstruction
from tasks.ptycho.scan import Canvas, Scan, plan_canvas
from tasks.ptycho.solver import init
from tasks.ptycho.state import State

Image = NDArray[np.complex64]

STAR = FOLDER / "siemens_star.cxi"
"""The real file."""
FIELD = slice(110, 370), slice(100, 360)
"""The well-lit middle of the canvas, all spokes of it."""
HUB_PX = (230, 208)
"""Where the spokes would meet, on the canvas."""
SPOKES = 30
FLAT_PX = 20
"""Radius within which the hub is flat."""
RADII_PX = np.arange(25, 60, 0.5)
"""Circles about the hub, from its inside to where any rule tells the spokes apart."""
ORDERS = slice(20, 101)
"""Angular orders of the spokes: their number, its triple, and what their irregularities put around them."""

PLAIN_EPIE: dict[str, Any] = {"probe_update": "position", "settle": 0, "subpixel": False}
"""ePIE as published and as its peers run it."""


def measured(path: Path = STAR) -> tuple[Scan, Image]:
    """The scan, and the first guess of the probe that came with it, at the scan's power."""
    with open_scan(path) as (source,):
        assert source.frames is not None
        assert source.positions_m is not None
        assert source.probe is not None
        assert source.energy_ev is not None
        assert source.distance_m is not None
        assert source.detector_pixel_size_m is not None
        counts = np.asarray(source.frames[0 : source.frames.shape[0]])
        mask = np.ones(counts.shape[1:], bool) if source.mask is None else source.mask
        scan = Scan(counts, source.positions_m, mask, source.energy_ev, source.distance_m, source.detector_pixel_size_m)
        return scan, scale_to_power(source.probe, mean_power(scan))


def mean_power(scan: Scan) -> float:
    """Photons a frame."""
    return float(scan.counts.sum(dtype=float) / len(scan.counts))


def reconstruct(scan: Scan, probe: Image, cycles: int, canvas: Canvas | None = None, **options: Any) -> State:
    """The star after ``cycles``, on the scan's own canvas where none is given."""
    chosen = ReconstructOptions(cycles=cycles, **options)
    canvas = canvas or plan_canvas(scan.positions_m, scan.pixel_size_m, scan.n_pixels)
    return run(Reconstruction(scan, canvas, init(canvas, probe, chosen), cycles, chosen))


def halves(scan: Scan) -> list[Scan]:
    """Every other position each: they share no photon."""
    return [replace(scan, counts=scan.counts[k::2], positions_m=scan.positions_m[k::2]) for k in (0, 1)]


def level(image: Image) -> Image:
    """Without the phase ramp that no pattern shows, and of mean 1 in the field."""
    for axis in (0, 1):
        middle = image[FIELD]
        side = middle.shape[axis]
        slope = np.angle(np.sum(np.take(middle, range(1, side), axis) * np.take(middle, range(side - 1), axis).conj()))
        image = image * np.exp(-1j * slope * np.indices(image.shape)[axis])
    return np.asarray(image / image[FIELD].mean())


def put_on(image: Image, other: Image) -> Image:
    """``image``, displaced and turned in phase to lie on ``other``."""
    shift, _, _ = phase_cross_correlation(other[FIELD], image[FIELD], upsample_factor=50, normalization=None)
    moved = np.fft.ifft2(ndimage.fourier_shift(np.fft.fft2(image), shift))
    return np.asarray(moved * np.exp(1j * np.angle(np.vdot(moved[FIELD], other[FIELD]))))


def around_hub(image: Image, radii_px: NDArray[np.float64]) -> NDArray[np.complex128]:
    """(R, 721) complex128 [rad]: angular harmonics of the phase on circles about the hub."""
    angle = np.linspace(0, 2 * np.pi, 1440, endpoint=False)
    y = HUB_PX[0] + radii_px[:, None] * np.sin(angle)
    x = HUB_PX[1] + radii_px[:, None] * np.cos(angle)
    return np.fft.rfft(ndimage.map_coordinates(np.angle(image), [y, x], order=3), axis=1) * 2 / len(angle)


def agreement(one: Image, other: Image, radii_px: NDArray[np.float64] = RADII_PX) -> NDArray[np.float64]:
    """(R,): correlation of two images' spokes on circles about the hub, the Fourier ring correlation of the angle."""
    a, b = (around_hub(image, radii_px)[:, ORDERS] for image in (one, other))
    cross = np.sum(a * b.conj(), axis=1).real
    return np.asarray(cross / np.sqrt(np.sum(np.abs(a) ** 2, axis=1) * np.sum(np.abs(b) ** 2, axis=1)))


def inner_end_px(agreed: NDArray[np.float64], radii_px: NDArray[np.float64] = RADII_PX, least: float = 0.5) -> float:
    """Radius at which, coming from outside, the agreement of the spokes first falls below ``least``."""
    outer = int(np.flatnonzero(agreed < least).max()) + 1
    inner = outer - 1
    share = (agreed[outer] - least) / (agreed[outer] - agreed[inner])
    return float(radii_px[outer] + share * (radii_px[inner] - radii_px[outer]))


def spoke_period_m(radius_px: float, pixel_size_m: float) -> float:
    """From one spoke to the next at ``radius_px``."""
    return 2 * np.pi * radius_px * pixel_size_m / SPOKES
