"""Files of Diamond's acquisition, written field by field."""

import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage.readers.format import open_scan
from storage.readers.record import ScanSource

COUNTS = np.random.default_rng(0).poisson(20, (6, 16, 16))
Y_UM, X_UM = np.array([10.0, 11.0]), np.array([0.0, 1.0, 2.0])
RASTER_M = 1e-6 * np.stack([axis.ravel() for axis in np.meshgrid(Y_UM, X_UM, indexing="ij")], axis=1)
I13: dict[str, Any] = {
    "entry1/instrument/merlin_sw_hdf/data": COUNTS, "entry1/instrument/t1_sxy/t1_sx": np.tile(X_UM, 2),
    "entry1/instrument/t1_sxy/t1_sy": np.repeat(Y_UM, 3),
}  # fmt: skip
FRAMES = "entry1/instrument/_andorrastor/data"
SCAN: dict[str, Any] = {FRAMES: COUNTS.reshape(2, 3, 16, 16)}
STXM: dict[str, Any] = {"entry1/Counter1/sample_y": Y_UM, "entry1/Counter1/sample_x": X_UM, "entry1/Counter1/energy": 708.0}
DARK: dict[str, Any] = {FRAMES: np.full((1, 2, 16, 16), 3)}


def write(path: Path, form: dict[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in form.items():
            file[name] = value
    return path


def packed(folder: Path, **files: dict[str, Any]) -> Path:
    """A ZIP of HDF5 files, by their stems."""
    with zipfile.ZipFile(folder / "scan.zip", "w") as archive:
        for name, form in files.items():
            archive.write(write(folder / f"{name}.nxs", form), f"{name}.nxs")
    return folder / "scan.zip"


def faults(path: Path) -> dict[str, str]:
    with open_scan(path) as (source,):
        return {fault.field: fault.message for fault in source.faults}


def frames_of(source: ScanSource) -> Any:
    assert source.faults == ()
    assert source.frames is not None
    return source.frames[0:6]


@pytest.mark.parametrize("motors", ["t1_sxy/t1_s", "t1_sxyz/t1_s", "lab_sxy/lab_s"])
def test_a_scan_of_i13_is_one_file(tmp_path: Path, motors: str) -> None:
    form = {name.replace("t1_sxy/t1_s", motors): value for name, value in I13.items()}
    with open_scan(write(tmp_path / "f", form)) as (source,):
        np.testing.assert_array_equal(frames_of(source), COUNTS)
        assert source.positions_m is not None
        np.testing.assert_allclose(source.positions_m, RASTER_M)
        assert source.energy_ev is None


def test_a_scan_of_i08_has_its_axes_in_another_file_and_dark_frames_in_a_third(tmp_path: Path) -> None:
    with open_scan(packed(tmp_path, scan=SCAN, image=STXM, Dark=DARK)) as (source,):
        np.testing.assert_array_equal(frames_of(source), COUNTS - 3)
        assert source.positions_m is not None
        np.testing.assert_allclose(source.positions_m, RASTER_M)
        assert source.energy_ev == 708.0
        assert "dark field" in " ".join(source.warnings)


def test_without_dark_frames_the_counts_stay_and_the_offset_is_told(tmp_path: Path) -> None:
    with open_scan(packed(tmp_path, scan=SCAN, image=STXM)) as (source,):
        np.testing.assert_array_equal(frames_of(source), COUNTS)
        assert "the offset that the camera adds" in source.warnings[0]
    with open_scan(write(tmp_path / "f", I13)) as (source,):
        assert source.warnings == ()


def test_a_flat_field_is_in_a_file_of_its_own(tmp_path: Path) -> None:
    flat = np.where(np.arange(16) < 8, 0.5, 1.5) * np.ones((16, 16))
    with open_scan(packed(tmp_path, scan={FRAMES: SCAN[FRAMES] * 2 * flat + 3}, image=STXM, dark=DARK, flat={"flat": flat})) as (
        source,
    ):
        np.testing.assert_array_equal(frames_of(source), 2 * COUNTS)
    assert "flat" in faults(packed(tmp_path, scan=SCAN, image=STXM, flat={"flat": flat[:8]}))


def test_what_is_missing_or_does_not_fit_is_named(tmp_path: Path) -> None:
    assert "positions_m" in faults(packed(tmp_path, scan=SCAN))
    assert "sample_x" in faults(packed(tmp_path, scan=SCAN))["positions_m"]
    short = {**STXM, "entry1/Counter1/sample_x": np.arange(5.0)}
    assert "the axes of a raster of so many, got (5,) and (2,)" in faults(packed(tmp_path, scan=SCAN, image=short))["positions_m"]
    assert "dark" in faults(packed(tmp_path, scan=SCAN, image=STXM, dark={FRAMES: np.ones((2, 8, 8))}))
    millimetres = write(tmp_path / "f", I13)
    with h5py.File(millimetres, "r+") as file:
        for axis in "xy":
            file[f"entry1/instrument/t1_sxy/t1_s{axis}"].attrs["units"] = "mm"
    with open_scan(millimetres) as (source,):
        assert source.positions_m is not None
        np.testing.assert_allclose(source.positions_m, 1e3 * RASTER_M)


def test_frames_in_a_linked_file_that_is_not_beside_the_scan_are_named(tmp_path: Path) -> None:
    link = h5py.ExternalLink("/dls/raw/merlin-1.hdf", "/entry/instrument/detector/data")
    form = {**I13, "entry1/instrument/merlin_sw_hdf/data": link}
    assert "merlin_sw_hdf are in another file, which is not beside the scan" in faults(packed(tmp_path, scan=form))["counts"]


def test_frames_of_two_detectors_are_a_fault(tmp_path: Path) -> None:
    form = {**I13, "entry1/instrument/excalibur/data": COUNTS}
    assert "several detectors" in faults(write(tmp_path / "f", form))["counts"]


def test_a_detector_whose_file_was_not_sent_is_named(tmp_path: Path) -> None:
    link = h5py.ExternalLink("/dls/raw/excalibur-1.hdf", "/entry/instrument/detector/data")
    with open_scan(packed(tmp_path, scan={**I13, "entry1/instrument/excalibur/data": link})) as (source,):
        np.testing.assert_array_equal(frames_of(source), COUNTS)
        (warning,) = source.warnings
        assert "the frames are those of merlin_sw_hdf; excalibur is in another file" in warning


CXI: dict[str, Any] = {
    "entry_1/data/data": COUNTS.reshape(2, 3, 16, 16), "entry_1/instrument_1/beam_1/energy": 708.0,
    "entry_1/instrument_1/detector_1/distance": 0.1, "entry_1/instrument_1/detector_1/x_pixel_size": 55e-6,
    "entry_1/instrument_1/detector_1/y_pixel_size": 55e-6, "entry_1/instrument_1/detector_1/darkfield": np.full((16, 16), 2),
    "entry_1/instrument_1/detector_1/flatfield": np.ones((16, 16)),
    "entry_1/instrument_1/monitor/data": np.array([1.0, 2, 3, 1, 2, 3]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("frames", "y", "x"),
    [
        (COUNTS.reshape(2, 3, 16, 16), Y_UM, X_UM),
        (COUNTS, Y_UM, X_UM),
        (COUNTS.reshape(2, 3, 16, 16), np.repeat(Y_UM, 3).reshape(2, 3), np.tile(X_UM, 2).reshape(2, 3)),
        (COUNTS, np.repeat(Y_UM, 3), np.tile(X_UM, 2)),
        (COUNTS, np.repeat(Y_UM, 3)[:, None, None], np.tile(X_UM, 2)[:, None, None]),
    ],
    ids=["raster", "one after another", "both of each place", "both of each frame", "with empty axes"],
)
def test_diamonds_cxi_has_axes_or_both_positions(tmp_path: Path, frames: Any, y: Any, x: Any) -> None:
    form = {**CXI, "entry_1/data/data": frames, "entry_1/data/y": 1e-6 * y, "entry_1/data/x": 1e-6 * x}
    with open_scan(write(tmp_path / "f", form)) as (source,):
        np.testing.assert_array_equal(frames_of(source), COUNTS - 2)
        assert source.positions_m is not None
        np.testing.assert_allclose(source.positions_m, RASTER_M)
        assert source.energy_ev == 708.0
        assert "monitor varies" in " ".join(source.warnings)


def test_axes_that_do_not_fit_the_frames_are_a_fault(tmp_path: Path) -> None:
    form = {**CXI, "entry_1/data/y": Y_UM * 1e-6, "entry_1/data/x": np.arange(4.0) * 1e-6}
    assert "each of the 6 frames" in faults(write(tmp_path / "f", form))["positions_m"]
