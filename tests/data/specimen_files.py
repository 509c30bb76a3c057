"""One simulated specimen, and writers of its measurement in every format that a reader knows, in several forms of each."""

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import h5py
import hdf5plugin
import numpy as np
from measurements import star_patterns
from numpy.typing import NDArray

from storage.datasets.store import DatasetStore
from storage.readers.photon_energy import HC_EV_M
from storage.readers.units import JOULE_EV
from storage.writers.cxi import write_cxi

N: Final = 24
"""Side of the simulated frames."""
ROWS, COLUMNS = 6, 9
ENERGY_EV, DISTANCE_M, PIXEL_M = 7112.0, 0.5, 75e-6
STEP_M: Final = 150e-9
ON_STAR_PX: Final = 40.0
"""Where the scan's middle lies on the star, right of its origin, among spokes."""
PHOTONS: Final = 2e5
DETECTOR, CENTRE_PX = (30, 34), (12, 19)
"""Extents (y, x) of the whole detector, and the pixel (y, x) of it that the beam's centre is on."""
DEAD_PX, FULL_PX, FULL_FRAME = (5, 7), (13, 12), 11
"""A pixel (y, x) that counts nothing, and one that in one frame reads the end of its range."""
FULL_SCALE: Final = 2**16 - 1
DARK: Final = 3
"""What a camera adds to every pixel."""


@dataclass(frozen=True)
class Truth:
    """The measurement as ptyxas is to store it: frames of N x N pixels with the beam's centre in the middle.

    Attributes
    ----------
    counts : (P, N, N) uint16
        0 where masked.
    mask : (N, N) bool
        True where good.
    positions_m : (P, 2) float64
        Of the probe, (y, x) [m]: a raster of 6 x 9, each off it by some nanometres, which drifts.
    axes_m : (6,) and (9,) float64
        The raster without these.
    flux : (P,) float64
        Of each frame, relative to their mean.
    probe : (N, N) complex64
    """

    counts: NDArray[np.uint16]
    mask: NDArray[np.bool_]
    positions_m: NDArray[np.float64]
    axes_m: tuple[NDArray[np.float64], NDArray[np.float64]]
    flux: NDArray[np.float64]
    probe: NDArray[np.complex64]

    @property
    def raster_m(self) -> NDArray[np.float64]:
        """(P, 2) positions of the raster alone (y, x) [m]."""
        return np.stack([axis.ravel() for axis in np.meshgrid(*self.axes_m, indexing="ij")], axis=1)


@cache
def truth() -> Truth:
    """Measure thirty gold spokes with a beam that is neither round nor symmetric about any axis."""
    rng = np.random.default_rng(20)
    axes = np.arange(-2.5, 3.0) * STEP_M, np.arange(-4.0, 5.0) * STEP_M
    raster = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
    n = len(raster)
    drift = np.linspace(0, 1, n)[:, None] * np.array([60e-9, -90e-9])
    positions = 1e-9 * np.rint(1e9 * (raster + drift + rng.uniform(-20e-9, 20e-9, raster.shape)))
    y, x = np.indices((N, N)) - N // 2
    amplitude = np.exp(-((y / 1.9) ** 2 + (x / 2.8) ** 2 + y * x / 9) / 2)
    probe = amplitude * np.exp(1j * (0.10 * x**2 + 0.14 * y**2 + 0.004 * x**3 - 0.006 * y**2 * x + 0.01 * y**3))
    probe *= np.sqrt(PHOTONS / np.sum(np.abs(probe) ** 2))
    flux = rng.uniform(0.8, 1.2, n)
    flux /= flux.mean()
    pixel_m = HC_EV_M / ENERGY_EV * DISTANCE_M / (N * PIXEL_M)
    patterns = star_patterns(positions / pixel_m + np.array([0.0, ON_STAR_PX]), probe[None].astype(np.complex64))
    mask = np.ones((N, N), bool)
    mask[DEAD_PX] = mask[FULL_PX] = False
    counts = (rng.poisson(patterns * flux[:, None, None]) * mask).astype(np.uint16)
    return Truth(counts, mask, positions, axes, flux, probe.astype(np.complex64))


@dataclass(frozen=True)
class Delivered:
    """The measurement as a detector delivers it.

    Attributes
    ----------
    frames : (P, ny, nx) integers or float
        With the dead pixel, and the end of the range where one pixel met it.
    good : (ny, nx) bool
        False at the dead pixel.
    centre_px : (y, x)
        The pixel that the beam's centre is on.
    probe : (ny, nx) complex64
        As sampled by frames of this extent.
    """

    frames: NDArray[Any]
    good: NDArray[np.bool_]
    centre_px: tuple[int, int]
    probe: NDArray[np.complex64]


def delivered(dtype: Any, orientation: int = 0, *, is_whole: bool = False, offset: int = 0) -> Delivered:
    """The frames of a detector that is mounted so that ``orientation`` puts them right.

    Parameters
    ----------
    dtype : numpy dtype
        Of the frames; the end of the range of an integer one, and `FULL_SCALE` of a float one, is the saturated reading.
    orientation : int
        0-7.
    is_whole : bool
        All of the detector, with the beam's centre off its middle, or the square about it.
    offset : int
        Added to every count.
    """
    right, dtype = truth(), np.dtype(dtype)
    good = np.ones((N, N), bool)
    good[DEAD_PX] = False
    # A pixel that is not square's is background; the end of the range is marked by -1 until the frames have their type.
    frames = right.counts.astype(np.int64) + offset
    frames[:, ~right.mask] = offset
    frames[:, *FULL_PX] = offset + 40
    frames[FULL_FRAME, *FULL_PX] = -1
    frames, good, probe = (turned_back(array, orientation) for array in (frames, good, right.probe))
    centre = N // 2, N // 2
    if is_whole:
        frames, good, centre = _on_detector(frames, 2 + offset), _on_detector(good, True), CENTRE_PX
        probe = _near_field(_on_detector(_far_field(probe), 0))
    full = FULL_SCALE if dtype.kind == "f" else np.iinfo(dtype).max
    read = np.where(frames < 0, full, frames).astype(dtype)
    return Delivered(read, good, centre, probe.astype(np.complex64))


def turned_back(frames: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo an orientation step by step, last first: frames (..., N, N) as a detector delivers them that need it."""
    if orientation & 4:
        frames = np.swapaxes(frames, -2, -1)
    for bit, axis in ((2, -1), (1, -2)):
        if orientation & bit:
            frames = np.roll(np.flip(frames, axis), 1, axis)
    return frames


def _on_detector(frames: NDArray[Any], background: Any) -> NDArray[Any]:
    """(..., ny, nx): frames (..., N, N) about the beam's centre, in a detector that has ``background`` elsewhere."""
    whole = np.full((*frames.shape[:-2], *DETECTOR), background, frames.dtype)
    first, left = (centre - N // 2 for centre in CENTRE_PX)
    whole[..., first : first + N, left : left + N] = frames
    return whole


def _far_field(wave: NDArray[Any]) -> NDArray[Any]:
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(wave), norm="ortho"))


def _near_field(wave: NDArray[Any]) -> NDArray[Any]:
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(wave), norm="ortho"))


Where = Callable[[Path, int], Path]
"""Writes a file below a folder, of a detector that needs an orientation; returns the file or folder to be taken."""


@dataclass(frozen=True)
class Form:
    """A form of a format.

    Attributes
    ----------
    reader : str
        How the name of its reader begins.
    write : callable
    is_on_axes : bool
        Positions are the axes of a raster.
    tolerance_m : float
        Of positions, which a text may round.
    states : tuple of str
        What the file has besides frames, positions and energy: any of "distance", "pixel", "probe", "monitor", "dark".
    """

    reader: str
    write: Where
    is_on_axes: bool = False
    tolerance_m: float = 1e-15
    states: tuple[str, ...] = ()


def hdf5(path: Path, content: Mapping[str, Any]) -> Path:
    """Write an HDF5 file of arrays by their paths; a value may be (array, its unit), and frames are compressed."""
    with h5py.File(path, "w") as file:
        for name, value in content.items():
            if isinstance(value, h5py.ExternalLink | h5py.SoftLink):
                file[name] = value
                continue
            array, unit = value if isinstance(value, tuple) else (value, None)
            if isinstance(array, np.ndarray) and array.ndim > 2:
                chunks = (*(1,) * (array.ndim - 2), *array.shape[-2:])
                dataset = file.create_dataset(name, data=array, chunks=chunks, compression=hdf5plugin.Bitshuffle(cname="lz4"))
            else:
                dataset = file.create_dataset(name, data=array)
            if unit is not None:
                dataset.attrs["units"] = unit
    return path


def packed(path: Path, *files: Path) -> Path:
    """A ZIP of files."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            archive.write(file, file.name)
    return path


def cxi_of_the_definition(folder: Path, orientation: int) -> Path:
    """CXI 1.6: energies in joules, translations (P, 3) of x, y and z, the mask's bits, a beam centre off the middle."""
    right, read = truth(), delivered(np.uint16, orientation, is_whole=True)
    y, x = right.positions_m.T
    detector = "entry_1/instrument_1/detector_1"
    return hdf5(
        folder / "scan.cxi",
        {
            f"{detector}/data": read.frames,
            f"{detector}/distance": DISTANCE_M,
            f"{detector}/x_pixel_size": PIXEL_M,
            f"{detector}/y_pixel_size": PIXEL_M,
            f"{detector}/mask": np.where(read.good, 0x1000, 0x8).astype(np.uint32),
            f"{detector}/beam_center_y": read.centre_px[0],
            f"{detector}/beam_center_x": read.centre_px[1],
            "entry_1/data_1/data": h5py.SoftLink(f"/{detector}/data"),
            "entry_1/sample_1/geometry_1/translation": np.stack([x, y, 0 * x], axis=1),
            "entry_1/instrument_1/source_1/energy": ENERGY_EV * JOULE_EV,
            "entry_1/instrument_1/source_1/illumination": read.probe,
            "entry_1/control_1/data": right.flux,
        },
    )


def cxi_of_several_energies(folder: Path, orientation: int) -> Path:
    """A stack whose second energy is the measurement; what it may state of each differs at the first."""
    right, read = truth(), delivered(np.int32, orientation, is_whole=True)
    y, x = right.positions_m.T
    detector = "entry_1/instrument_1/detector_1"
    both = {
        "entry_1/data/data": (read.frames[:, ::-1], read.frames), "entry_1/data/y": (2 * y, y), "entry_1/data/x": (x - 1e-6, x),
        "entry_1/instrument_1/beam_1/energy": (ENERGY_EV - 20, ENERGY_EV), f"{detector}/mask": (~read.good[::-1], ~read.good),
        f"{detector}/beam_center_y": (DETECTOR[0] - CENTRE_PX[0], CENTRE_PX[0]),
        f"{detector}/beam_center_x": (CENTRE_PX[1], CENTRE_PX[1]), "entry_1/control_1/data": (np.ones(len(y)), right.flux),
        "entry_1/instrument_1/source_1/illumination": (read.probe[None, ::-1], read.probe[None]),
    }  # fmt: skip
    one = {f"{detector}/distance": DISTANCE_M, f"{detector}/x_pixel_size": PIXEL_M}
    return hdf5(folder / "scan.cxi", {**one, **{path: np.stack(pair) for path, pair in both.items()}})


def cxi_of_cosmic(folder: Path, orientation: int) -> Path:
    """CXI without pixel size and distance, which the detector's basis and corner state; translations (3, P); dark frames."""
    right, read = truth(), delivered(np.int32, orientation, offset=DARK)
    y, x = right.positions_m.T
    detector = "entry_1/instrument_1/detector_1"
    return hdf5(
        folder / "scan.cxi",
        {
            "entry_1/data_1/data": read.frames,
            "entry_1/data_1/translation": (1e6 * np.stack([x, y, 0 * x]), "um"),
            "entry_1/instrument_1/source_1/energy": (ENERGY_EV / 1e3, "keV"),
            f"{detector}/basis_vectors": PIXEL_M * np.array([[0, -1.0], [-1, 0], [0, 0]]),
            f"{detector}/corner_position": np.array([9e-4, 9e-4, DISTANCE_M]),
            f"{detector}/data_dark": np.full((2, N, N), DARK),
            f"{detector}/mask": (~read.good).astype(np.uint8),
        },
    )


def cxi_of_diamond(folder: Path, orientation: int) -> Path:
    """NXcxi_ptycho: frames and positions in rows of the raster, NeXus' mask, the beam's energy, a beam centre as a length."""
    right, read = truth(), delivered(">u4", orientation, is_whole=True)
    detector = "entry_1/instrument_1/detector_1"
    y, x = right.positions_m.reshape(ROWS, COLUMNS, 2).transpose(2, 0, 1)
    return hdf5(
        folder / "scan.nxs",
        {
            "entry_1/definition": "NXcxi_ptycho",
            "entry_1/data/data": read.frames.reshape(ROWS, COLUMNS, *DETECTOR),
            "entry_1/data/y": (1e3 * y, "mm"),
            "entry_1/data/x": (1e3 * x, "mm"),
            "entry_1/instrument_1/source_1/energy": 2999.0,
            "entry_1/instrument_1/beam_1/incident_beam_energy": (ENERGY_EV, "eV"),
            "entry_1/instrument_1/monitor/data": right.flux.reshape(ROWS, COLUMNS),
            f"{detector}/distance": (1e3 * DISTANCE_M, "mm"),
            f"{detector}/x_pixel_size": (1e6 * PIXEL_M, "um"),
            f"{detector}/y_pixel_size": (1e6 * PIXEL_M, "um"),
            f"{detector}/pixel_mask": np.where(read.good, 0, 2).astype(np.uint32),
            f"{detector}/beam_center_y": (PIXEL_M * CENTRE_PX[0], "m"),
            f"{detector}/beam_center_x": (PIXEL_M * CENTRE_PX[1], "m"),
        },
    )


def cxi_of_the_exporter(folder: Path, orientation: int) -> Path:
    """CXI as ptyxas itself writes it."""
    read, path = delivered(np.uint32, orientation), folder / "scan.cxi"
    write_cxi(path, read.frames, truth().positions_m, read.good, ENERGY_EV, DISTANCE_M, PIXEL_M)
    return path


def positions_in_text(folder: Path) -> Path:
    """Columns [um] in another order, with one more."""
    lines = [f"{number};{1e6 * x!r};{1e6 * y!r}" for number, (y, x) in enumerate(truth().positions_m.tolist())]
    return _text(folder / "positions.csv", ["n;x_um;y_um", *lines])


def positions_of_the_orchestra(folder: Path) -> Path:
    """The stage's positions [um], whose negatives are the probe's."""
    head = ["Scan 7", "DataPoint Target_x Average_x_st_fzp Stdev_x_st_fzp Target_y Average_y_st_fzp Stdev_y_st_fzp"]
    lines = [f"{n} 0 {-1e6 * x!r} 0 0 {-1e6 * y!r} 0" for n, (y, x) in enumerate(truth().positions_m.tolist())]
    return _text(folder / "scan_00007.dat", head + lines)


def positions_of_velociprobe(folder: Path) -> Path:
    """Four lines a frame [nm], whose mean is the frame's."""
    lines = [
        f"{4 * n + part},{round(1e9 * x) + off},{round(1e9 * y) - off},0,0,0,0,{n}"
        for n, (y, x) in enumerate(truth().positions_m.tolist())
        for part, off in enumerate((-7, 7, 3, -3))
    ]
    return _text(folder / "positions.csv", lines)


def _text(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return path


def positions_in_hdf5(folder: Path) -> Path:
    """An array with its unit."""
    return hdf5(folder / "positions.h5", {"positions_m": (1e3 * truth().positions_m, "mm")})


def positions_in_npy(folder: Path) -> Path:
    """An array (2, P), big-endian."""
    np.save(folder / "positions.npy", truth().positions_m.T.astype(">f8"))
    return folder / "positions.npy"


def positions_in_npz(folder: Path) -> Path:
    """A member in Fortran order."""
    np.savez_compressed(folder / "positions.npz", positions_m=np.asfortranarray(truth().positions_m))
    return folder / "positions.npz"


def eiger(folder: Path, orientation: int, positions: Callable[[Path], Path] = positions_in_text) -> Path:
    """A master, two data files of unequal length, and the positions, in a ZIP."""
    read = delivered(np.uint32, orientation, is_whole=True)
    read.frames[:, ~read.good] = 2**32 - 1
    parts = {f"scan_data_00000{number}.h5": part for number, part in ((1, read.frames[:40]), (2, read.frames[40:]))}
    files = [hdf5(folder / name, {"entry/data/data": part}) for name, part in parts.items()]
    detector = "entry/instrument/detector"
    master = hdf5(
        folder / "scan_master.h5",
        {
            **{f"entry/data/{name[5:16]}": h5py.ExternalLink(name, "/entry/data/data") for name in reversed(parts)},
            f"{detector}/detectorSpecific/photon_energy": (ENERGY_EV, "eV"),
            f"{detector}/detectorSpecific/pixel_mask": np.where(read.good, 1 << 16, 1 | 1 << 16).astype(np.uint32),
            f"{detector}/detector_distance": (DISTANCE_M, "m"),
            f"{detector}/x_pixel_size": (PIXEL_M, "m"),
            f"{detector}/y_pixel_size": (PIXEL_M, "m"),
            f"{detector}/beam_center_x": (read.centre_px[1] + 0.3, "pixel"),
            f"{detector}/beam_center_y": (read.centre_px[0] - 0.4, "pixel"),
            f"{detector}/bit_depth_image": 32,
            "entry/instrument/beam/incident_wavelength": (1e10 * HC_EV_M / ENERGY_EV, "angstrom"),
        },
    )
    return packed(folder / "eiger.zip", master, *files, positions(folder))


def ptyd(folder: Path, orientation: int) -> Path:
    """Two chunks, with the weights of every frame beside it, which leave out the saturated pixel once."""
    right, read = truth(), delivered(np.int32, orientation, is_whole=True)
    weights = np.broadcast_to(read.good, read.frames.shape).astype(np.float32)
    content: dict[str, Any] = {
        "meta/energy": ENERGY_EV / 1e3, "meta/distance": DISTANCE_M, "meta/psize": np.full(2, PIXEL_M),
        "meta/center": np.array(read.centre_px, float), "info/energy": 6.2, "meta/propagation": "farfield",
    }  # fmt: skip
    for number, part in enumerate((slice(0, 20), slice(20, None))):
        content |= {f"chunks/{number}/{name}": array[part] for name, array in (("data", read.frames), ("weights", weights))}
        content |= {f"chunks/{number}/positions": right.positions_m[part], f"chunks/{number}/indices": np.arange(20)}
    return hdf5(folder / "scan.ptyd", content)


def ptyd_with_common_weights(folder: Path, orientation: int) -> Path:
    """One chunk of floats, with weights of all frames, and numbers in ``info``."""
    right, read = truth(), delivered(np.float32, orientation)
    content = {
        "chunks/0/data": read.frames, "chunks/0/positions": right.positions_m, "meta/weight2d": read.good.astype(float),
        "meta/energy": "None", "info/energy": ENERGY_EV / 1e3, "info/distance": DISTANCE_M, "info/psize": PIXEL_M,
    }  # fmt: skip
    return hdf5(folder / "scan.ptyd", content)


def ptylab(folder: Path, orientation: int) -> Path:
    """Frames as floats, and their mask in a file beside them."""
    right, read = truth(), delivered(np.float32, orientation)
    content = {
        "ptychogram": read.frames, "encoder": right.positions_m, "wavelength": HC_EV_M / ENERGY_EV, "dxd": PIXEL_M,
        "zo": DISTANCE_M, "entrancePupilDiameter": 1e-6, "orientation": 0,
    }  # fmt: skip
    return packed(folder / "ptylab.zip", hdf5(folder / "ptylab.hdf5", content), _mask(folder, read))


def ptylab_with_dark_frames(folder: Path, orientation: int) -> Path:
    """Readings of a camera in 16 bits, with what it adds."""
    right, read = truth(), delivered(np.uint16, orientation, offset=DARK)
    content = {
        "ptychogram": read.frames, "ptychogramDark": np.full((3, N, N), DARK), "encoder": right.positions_m,
        "wavelength": HC_EV_M / ENERGY_EV, "dxd": PIXEL_M, "zo": DISTANCE_M,
    }  # fmt: skip
    return packed(folder / "ptylab.zip", hdf5(folder / "ptylab.hdf5", content), _mask(folder, read))


def hxn_prepared(folder: Path, orientation: int) -> Path:
    """Roots of the counts with the beam in the corners."""
    right, read = truth(), delivered(np.float64, orientation)
    content = {
        "diffamp": np.fft.ifftshift(np.sqrt(read.frames), axes=(1, 2)).astype(np.float32),
        "points": 1e6 * right.positions_m.T[::-1], "lambda_nm": 1e9 * HC_EV_M / ENERGY_EV,
        "ccd_pixel_um": 1e6 * PIXEL_M, "z_m": DISTANCE_M, "ic": np.ones(len(right.flux)), "angle": 0.0,
    }  # fmt: skip
    return packed(folder / "hxn.zip", hdf5(folder / "hxn.h5", content), _mask(folder, read))


def hxn_prepared_in_the_middle(folder: Path, orientation: int) -> Path:
    """Roots of the counts with the beam in the middle."""
    right, read = truth(), delivered(np.float64, orientation)
    content = {
        "diffamp": np.sqrt(read.frames).astype(np.float32), "points": 1e6 * right.positions_m.T[::-1],
        "lambda_nm": 1e9 * HC_EV_M / ENERGY_EV, "ccd_pixel_um": 1e6 * PIXEL_M, "z_m": DISTANCE_M,
    }  # fmt: skip
    return packed(folder / "hxn.zip", hdf5(folder / "hxn.h5", content), _mask(folder, read))


def hxn_raw(folder: Path, orientation: int) -> Path:
    """Counts of one detector; the energy in keV without its unit."""
    right, read = truth(), delivered(np.uint32, orientation)
    content = {
        "diff_data/eiger1/det_images": read.frames, "scan/scan_positions": 1e6 * right.positions_m.T[::-1],
        "scan/energy": ENERGY_EV / 1e3,
    }  # fmt: skip
    return packed(folder / "hxn.zip", hdf5(folder / "scan_7.h5", content), _mask(folder, read))


def nanomax(folder: Path, orientation: int) -> Path:
    """A master whose frames are in another file, linked as its acquisition does, with the whole path."""
    right, read = truth(), delivered(np.uint32, orientation)
    frames = hdf5(folder / "scan_000012_eiger.hdf5", {"entry/measurement/Eiger/data": read.frames})
    y, x = right.positions_m.T
    master = hdf5(
        folder / "000012.h5",
        {
            "entry/measurement/xspress3/frames": np.zeros((len(y), 4, 256), np.uint32),
            "entry/measurement/eiger1m/frames": h5py.ExternalLink(f"/data/raw/{frames.name}", "/entry/measurement/Eiger/data"),
            "entry/measurement/pseudo/x": 1e6 * x,
            "entry/measurement/pseudo/y": 1e6 * y,
            "entry/measurement/alba/channel1": 2e-7 * right.flux,
            "entry/snapshots/pre_scan/energy": np.array([ENERGY_EV]),
        },
    )
    return packed(folder / "nanomax.zip", master, frames, _mask(folder, read))


def nanomax_with_gaps(folder: Path, orientation: int) -> Path:
    """A master that holds the frames, in which pixels that are no pixels are negative."""
    right, read = truth(), delivered(np.int32, orientation)
    read.frames[:, ~read.good] = -1
    y, x = right.positions_m.T
    content = {
        "entry/measurement/merlin/frames": read.frames, "entry/measurement/pseudo/x": (1e3 * x, "mm"),
        "entry/measurement/pseudo/y": (1e3 * y, "mm"), "entry/snapshots/post_scan/energy": (ENERGY_EV / 1e3, "keV"),
    }  # fmt: skip
    return hdf5(folder / "000012.h5", content)


def diamond_i13_linked(folder: Path, orientation: int) -> Path:
    """Motors in a file that links to that of the detector, and has spectra of fluorescence besides."""
    right, read = truth(), delivered(np.uint16, orientation)
    y, x = 1e6 * right.positions_m.T
    frames = hdf5(folder / "merlin-71234.hdf", {"entry/instrument/detector/data": read.frames})
    link = h5py.ExternalLink(f"/dls/i13-1/data/raw/{frames.name}", "/entry/instrument/detector/data")
    content = {
        "entry1/instrument/merlin_sw_hdf/data": link, "entry1/instrument/xsp3/data": np.zeros((len(y), 1, 4, 256), np.uint32),
        "entry1/instrument/t1_sxy/t1_sx": x, "entry1/instrument/t1_sxy/t1_sy": y, "entry1/Counter1/energy": ENERGY_EV,
    }  # fmt: skip
    return packed(folder / "i13.zip", hdf5(folder / "71234.nxs", content), frames, _mask(folder, read))


def diamond_i13(folder: Path, orientation: int) -> Path:
    """One file of frames and motors."""
    right, read = truth(), delivered(np.uint16, orientation)
    y, x = 1e6 * right.positions_m.T
    content = {
        "entry1/instrument/merlin_sw_hdf/data": read.frames, "entry1/instrument/t1_sxy/t1_sx": x,
        "entry1/instrument/t1_sxy/t1_sy": y, "entry1/Counter1/energy": ENERGY_EV,
    }  # fmt: skip
    return packed(folder / "i13.zip", hdf5(folder / "71234.nxs", content), _mask(folder, read))


def diamond_i08(folder: Path, orientation: int) -> Path:
    """A raster's frames, the axes of the STXM program, dark frames and a mask, each in a file."""
    right, read = truth(), delivered(np.uint16, orientation, offset=DARK)
    camera = "entry1/instrument/_andorrastor/data"
    y, x = (1e6 * axis for axis in right.axes_m)
    files = [
        hdf5(folder / "i08-7.nxs", {camera: read.frames.reshape(ROWS, COLUMNS, N, N)}),
        hdf5(folder / "i08-6-dark.nxs", {camera: np.full((1, 5, N, N), DARK, np.uint16)}),
        hdf5(
            folder / "Sample_Image_2026-07-01_007.hdf5",
            {"entry1/Counter1/sample_y": y, "entry1/Counter1/sample_x": x, "entry1/Counter1/energy": ENERGY_EV},
        ),
    ]
    return packed(folder / "i08.zip", *files, _mask(folder, read))


def csaxs(folder: Path, orientation: int) -> Path:
    """Frames and the monochromator's numbers, a distance that counts downstream, and the orchestra's positions."""
    read = delivered(np.uint32, orientation)
    content = {
        "entry/data/data": read.frames,
        "entry/instrument/eiger_4/x_pixel_size": 1e6 * PIXEL_M,
        "entry/instrument/eiger_4/y_pixel_size": 1e6 * PIXEL_M,
        "entry/instrument/eiger_4/pixel_mask": np.where(read.good, 0, 2).astype(np.uint32),
        "entry/instrument/monochromator/energy": ENERGY_EV / 1e3,
        "entry/instrument/monochromator/distance": -1e3 * DISTANCE_M,
    }
    return packed(folder / "csaxs.zip", hdf5(folder / "run_00007.h5", content), positions_of_the_orchestra(folder))


def named_arrays(orientation: int, dtype: Any = np.int32) -> dict[str, Any]:
    """What a file of named arrays may hold."""
    right, read = truth(), delivered(dtype, orientation, is_whole=True)
    return {
        "counts": read.frames, "positions_m": right.positions_m, "energy_ev": ENERGY_EV, "distance_m": DISTANCE_M,
        "detector_pixel_size_m": PIXEL_M, "mask": read.good, "probe": read.probe, "beam_centre_px": np.array(read.centre_px),
        "monitor": right.flux,
    }  # fmt: skip


def named_hdf5(folder: Path, orientation: int) -> Path:
    """In HDF5, with numbers as attributes, and masks of every frame."""
    arrays = named_arrays(orientation, ">i4")
    arrays["mask"] = np.broadcast_to(arrays["mask"], arrays["counts"].shape)
    numbers = {name: arrays.pop(name) for name in ("energy_ev", "distance_m", "detector_pixel_size_m", "beam_centre_px")}
    path = hdf5(folder / "scan.h5", arrays)
    with h5py.File(path, "r+") as file:
        file.attrs.update(numbers)
    return path


def named_npz(folder: Path, orientation: int) -> Path:
    """In NPZ, compressed, in Fortran order, with the root's rows and columns of the raster."""
    arrays = named_arrays(orientation, np.uint16)
    arrays |= {
        "counts": np.asfortranarray(arrays["counts"].reshape(ROWS, COLUMNS, *DETECTOR)),
        "positions_m": arrays["positions_m"].reshape(ROWS, COLUMNS, 2),
        "bad_pixels": (~arrays.pop("mask")).astype(int),
    }
    np.savez_compressed(folder / "scan.npz", **arrays)
    return folder / "scan.npz"


def named_by_matlab(folder: Path, orientation: int) -> Path:
    """As MATLAB saves (ny, nx, P): axes the other way round, numbers (1, 1), logical arrays integers, complex ones pairs."""
    arrays = named_arrays(orientation)
    pairs = np.empty(arrays["probe"].shape, [("real", "f8"), ("imag", "f8")])
    pairs["real"], pairs["imag"] = arrays["probe"].real, arrays["probe"].imag
    arrays |= {"probe": pairs, "mask": arrays["mask"].astype(np.uint8)}
    with h5py.File(folder / "scan.mat", "w", userblock_size=512) as file:
        for name, value in arrays.items():
            array = np.atleast_2d(value)
            file[name] = np.swapaxes(array, -2, -1)
            file[name].attrs["MATLAB_class"] = np.bytes_("logical" if name == "mask" else str(array.dtype))
    return folder / "scan.mat"


def own_zarr(folder: Path, orientation: int) -> Path:
    """A dataset's own Zarr in a folder, to which an NPZ file was added."""
    store = DatasetStore(folder / "datasets")
    store.create("other", {})
    store.add_scan("other", "a", named_npz(folder, orientation))
    return folder / "datasets" / "other"


def own_zarr_zipped(folder: Path, orientation: int) -> Path:
    """The same in a ZIP."""
    path, top = folder / "dataset.zip", own_zarr(folder, orientation)
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(top.rglob("*")):
            if file.is_file() and file.name != ".lock":
                archive.write(file, f"dataset.zarr/{file.relative_to(top)}")
    return path


def _mask(folder: Path, read: Delivered) -> Path:
    """A mask in a file of its own."""
    return hdf5(folder / "detector_mask.h5", {"mask": read.good.astype(np.int32)})


CXI, EIGER, PTYD, PTYLAB = "CXI", "Dectris EIGER", "ptypy", "PtyLab"
HXN, NANOMAX, DIAMOND, CSAXS, NAMED = "NSLS-II HXN", "MAX IV NanoMAX", "Diamond", "SLS cSAXS", "HDF5, NPZ or zipped Zarr"
GEOMETRY = ("distance", "pixel")

FORMS: Final[Mapping[str, Form]] = {
    "cxi": Form(CXI, cxi_of_the_definition, states=(*GEOMETRY, "probe", "monitor")),
    "cxi-stack": Form(CXI, cxi_of_several_energies, states=(*GEOMETRY, "probe", "monitor")),
    "cxi-cosmic": Form(CXI, cxi_of_cosmic, states=(*GEOMETRY, "dark")),
    "cxi-diamond": Form(CXI, cxi_of_diamond, states=(*GEOMETRY, "monitor")),
    "cxi-exported": Form(CXI, cxi_of_the_exporter, states=GEOMETRY),
    **{
        f"eiger-{name}": Form(EIGER, partial(eiger, positions=writer), states=GEOMETRY)
        for name, writer in {
            "text": positions_in_text, "orchestra": positions_of_the_orchestra, "velociprobe": positions_of_velociprobe,
            "hdf5": positions_in_hdf5, "npy": positions_in_npy, "npz": positions_in_npz,
        }.items()
    },
    "ptyd": Form(PTYD, ptyd, states=GEOMETRY),
    "ptyd-common": Form(PTYD, ptyd_with_common_weights, states=GEOMETRY),
    "ptylab": Form(PTYLAB, ptylab, states=GEOMETRY),
    "ptylab-dark": Form(PTYLAB, ptylab_with_dark_frames, states=(*GEOMETRY, "dark")),
    "hxn": Form(HXN, hxn_prepared, states=GEOMETRY),
    "hxn-middle": Form(HXN, hxn_prepared_in_the_middle, states=GEOMETRY),
    "hxn-raw": Form(HXN, hxn_raw),
    "nanomax": Form(NANOMAX, nanomax, states=("monitor",)),
    "nanomax-gaps": Form(NANOMAX, nanomax_with_gaps),
    "i13": Form(DIAMOND, diamond_i13),
    "i13-linked": Form(DIAMOND, diamond_i13_linked),
    "i08": Form(DIAMOND, diamond_i08, is_on_axes=True, states=("dark",)),
    "csaxs": Form(CSAXS, csaxs, states=GEOMETRY),
    "named-hdf5": Form(NAMED, named_hdf5, states=(*GEOMETRY, "probe", "monitor")),
    "named-matlab": Form(NAMED, named_by_matlab, states=(*GEOMETRY, "probe", "monitor")),
    "named-npz": Form(NAMED, named_npz, states=(*GEOMETRY, "probe", "monitor")),
    "zarr": Form(NAMED, own_zarr, states=(*GEOMETRY, "probe")),
    "zarr-zip": Form(NAMED, own_zarr_zipped, states=(*GEOMETRY, "probe")),
}  # fmt: skip
"""Every form, by a short name."""
