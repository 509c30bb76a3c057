"""One energy's measurement written as a CXI 1.6 file (Maia, Nat. Methods 2012, 9, 854)."""

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.readers.units import JOULE_EV


def write_cxi(
    path: Path,
    counts: NDArray[np.unsignedinteger],
    positions_m: NDArray[np.float64],
    mask: NDArray[np.bool_],
    energy_ev: float,
    distance_m: float,
    detector_pixel_size_m: float,
) -> None:
    """Write one scan.

    Parameters
    ----------
    path : Path
    counts : (P, N, N) unsigned integers
        Beam centre in the middle of the frame.
    positions_m : (P, 2) float64 array
        The probe's, y and x [m]; the file has them as x, y, z.
    mask : (N, N) bool array
        True where good; the file has 0 there.
    energy_ev : float
        The file has it in joules.
    distance_m, detector_pixel_size_m : float
    """
    translation = np.zeros((len(positions_m), 3))
    translation[:, 0], translation[:, 1] = positions_m[:, 1], positions_m[:, 0]
    with h5py.File(path, "w") as file:
        file["cxi_version"] = 160
        entry = file.create_group("entry_1")
        entry["instrument_1/source_1/energy"] = energy_ev * JOULE_EV
        detector = entry.create_group("instrument_1/detector_1")
        chunks = (1, *counts.shape[1:])
        detector.create_dataset("data", data=counts, chunks=chunks, compression="gzip", compression_opts=1, shuffle=True)
        detector["distance"] = distance_m
        detector["x_pixel_size"] = detector["y_pixel_size"] = detector_pixel_size_m
        detector["mask"] = (~mask).astype(np.uint32)
        detector["translation"] = translation
        entry["data_1/data"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/data")
        entry["data_1/translation"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/translation")
        entry["sample_1/geometry_1/translation"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/translation")
