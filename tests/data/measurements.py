"""Files of real measurements that tests read, or simulated ones in their place where the files are absent.

The real files are not part of the repository. They are looked for in the folder that ``PTYXAS_TEST_DATA`` names, else in
``shared/data`` beside the repository. A simulated file has the name, the format and the sizes of the real one, and what tests
know of it: a clone alone tests every path.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from storage.writers.cxi import write_cxi
from tasks.ptycho.probe import ProbeSpec, initial_probe, power_fractions
from tasks.scattering import transmission
from tasks.units import object_pixel_size_m
from tasks.xanes.model import eq1

FOLDER: Final = Path(os.environ.get("PTYXAS_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")

OXIDES: Final[Mapping[str, tuple[float, ...]]] = {
    "V2O3": (0.0, 0.927, 5478.60, 5.18, 0.110, 5470.40, 1.633, 0.371, 5488.09, 5.84),
    "V2O5": (0.0, 0.944, 5481.96, 5.07, 0.648, 5471.04, 1.150, 0.206, 5501.51, 16.66),
}
"""Parameters of eq. 1 that describe the measured powders."""

STAR_SPOKES: Final = 30
STAR_HUB_PX: Final = (-2.3, -24.4)
"""Where the spokes of the star would meet, relative to the origin of the positions."""
STAR_SCAN_PX: Final = 164.35
"""Half the side of the scanned square."""
SECOND_MODE: Final = 0.24
"""Share of the star's beam that is in a second mode of the probe."""


def measurement(name: str, folder: Path) -> Path:
    """Path of a real file, or of the simulated one, which is written into ``folder`` when it is first asked for."""
    real, simulated = FOLDER / name, folder / name
    if real.is_file():
        return real
    if not simulated.exists():
        SIMULATED[name](simulated)
    return simulated


def write_oxide(path: Path) -> None:
    """XDI file of an oxide powder in transmission: 517 points from 5365 to 6300 eV, 0.25 eV across the edge."""
    energy = np.concatenate([np.arange(5365.0, 5445.0, 5.0), np.arange(5445.0, 5495.1, 0.25), np.linspace(5495.9, 6300.2, 300)])
    energy -= 0.005
    background = -0.8 - 6e-4 * (energy - 5465.0)
    absorption = background + 1.5 * eq1(energy, np.array(OXIDES[path.stem])[:, None])[:, 0]
    rows = [f"{e:.4f} {1e5:.1f} {1e5 * np.exp(-a):.3f}" for e, a in zip(energy, absorption, strict=True)]
    head = ["#XDI/1.1", "# Column.1: energy eV", "# Column.2: i0 counts", "# Column.3: itrans counts"]
    head += [f"# Sample.name: {path.stem}", f"# Sample.formula: {path.stem}", "#----"]
    path.write_text("\n".join([*head, *rows, ""]), encoding="utf-8")


def write_siemens_star(path: Path) -> None:
    """CXI file of a gold star seen with a partly coherent beam: 516 frames of 128 x 128 and a first guess of the probe."""
    n, energy_ev, distance_m, detector_pixel_m, photons = 128, 8800.0, 1.703443, 75e-6, 6e6
    pixel_m = object_pixel_size_m(energy_ev, distance_m, n, detector_pixel_m)
    rng = np.random.default_rng(516)
    side = np.linspace(-STAR_SCAN_PX + 3, STAR_SCAN_PX - 3, 23)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)[rng.permutation(23 * 23)[:516]]
    positions_px = grid + rng.uniform(-3, 3, grid.shape)
    positions_px[np.argmin(positions_px, axis=0), [0, 1]] = -STAR_SCAN_PX
    optics = ProbeSpec("zone_plate", outer_zone_m=45e-9, defocus_m=690e-6)
    modes = initial_probe(optics, energy_ev, pixel_m, n, photons, n_modes=2)
    shares = np.array([1 - SECOND_MODE, SECOND_MODE]) / power_fractions(modes)
    modes = (modes * np.sqrt(shares)[:, None, None]).astype(np.complex64)
    counts = rng.poisson(star_patterns(positions_px, modes)).astype(np.uint32)
    write_cxi(path, counts, positions_px * pixel_m, np.ones((n, n), bool), energy_ev, distance_m, detector_pixel_m)
    guess = ProbeSpec("zone_plate", outer_zone_m=45e-9, defocus_m=640e-6)
    with h5py.File(path, "r+") as file:
        file["entry_1/instrument_1/source_1/illumination"] = initial_probe(guess, energy_ev, pixel_m, n, photons)[0]


def star_patterns(positions_px: NDArray[np.float64], modes: NDArray[np.complex64]) -> NDArray[np.float64]:
    """(P, N, N) mean photons, the beam's centre in the middle of the frame, for probe modes of shape (M, N, N)."""
    n = modes.shape[-1]
    spectra = np.fft.fft2(modes)
    whole = np.rint(positions_px).astype(int)
    frames = np.empty((len(positions_px), n, n))
    for frame, corner, fraction in zip(frames, whole - n // 2, positions_px - whole, strict=True):
        y, x = np.meshgrid(corner[0] + np.arange(n), corner[1] + np.arange(n), indexing="ij")
        probes = np.fft.ifft2(np.stack([ndimage.fourier_shift(spectrum, fraction) for spectrum in spectra]))
        waves = np.fft.fft2(probes * star_transmission(y, x), norm="ortho")
        frame[:] = np.fft.fftshift((np.abs(waves) ** 2).sum(axis=0))
    return frames


def star_transmission(y_px: NDArray[np.int64], x_px: NDArray[np.int64]) -> NDArray[np.complex64]:
    """Transmission of thirty gold spokes whose contrast falls steeply towards the hub, about 36 px from it."""
    y, x = y_px - STAR_HUB_PX[0], x_px - STAR_HUB_PX[1]
    radius, angle = np.hypot(y, x), np.arctan2(y, x)
    contrast = 1 / (1 + np.exp(-(radius - 36) / 2.5))
    spokes = contrast * np.tanh(radius / 20 * np.sin(STAR_SPOKES * angle)) / 2
    return transmission(0.15 * (0.5 + spokes), -1.3 * (0.5 + spokes)).astype(np.complex64)


def write_nearfield(path: Path) -> None:
    """CXI file of 200 frames of 100 x 100, five pixels masked: for readers, since nothing was diffracted in it."""
    rng = np.random.default_rng(200)
    counts = rng.poisson(50.0, (200, 100, 100)).astype(np.uint32)
    mask = np.ones((100, 100), bool)
    mask[40, 10:15] = False
    positions_m = np.stack(np.meshgrid(np.arange(20.0), np.arange(10.0), indexing="ij"), axis=-1).reshape(-1, 2) * 1e-6
    write_cxi(path, counts, positions_m, mask, 12658.02, 3.5, 55e-6)


SIMULATED: Final[Mapping[str, Callable[[Path], None]]] = {
    "V2O3.xdi": write_oxide,
    "V2O5.xdi": write_oxide,
    "siemens_star.cxi": write_siemens_star,
    "petra3_p25_nearfield.cxi": write_nearfield,
}
"""What writes the file that stands in for a real one."""
