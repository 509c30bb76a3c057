"""Files of the Hard X-ray Nanoprobe, both forms, written field by field."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage.errors import HostileFileError
from storage.readers.format import open_scan

COUNTS = np.random.default_rng(0).poisson(20, (5, 16, 16))
POINTS_UM = np.array([[0.0, 1, 2, 3, 4], [10.0, 11, 12, 13, 14]])
POSITIONS_M = 1e-6 * POINTS_UM[::-1].T
PREPARED: dict[str, Any] = {
    "diffamp": np.sqrt(COUNTS).astype(np.float32), "points": POINTS_UM, "lambda_nm": 1239.841984 / 9000, "ccd_pixel_um": 55.0,
    "z_m": 0.5, "angle": 0.0,
}  # fmt: skip
RAW: dict[str, Any] = {"diff_data/merlin1/det_images": COUNTS, "scan/scan_positions": POINTS_UM, "scan/energy": 9.0}


def write(path: Path, form: dict[str, Any], **changed: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in {**form, **{key.replace("__", "/"): value for key, value in changed.items()}}.items():
            if value is not None:
                file[name] = value
    return path


def test_amplitudes_become_the_counts_they_are_roots_of(tmp_path: Path) -> None:
    with open_scan(write(tmp_path / "f", PREPARED)) as (source,):
        assert source.faults == ()
        assert source.frames is not None
        np.testing.assert_array_equal(source.frames[0:5], COUNTS)
        assert source.positions_m is not None
        np.testing.assert_allclose(source.positions_m, POSITIONS_M)
        assert source.energy_ev == pytest.approx(9000)
        assert source.distance_m == 0.5
        assert source.detector_pixel_size_m == pytest.approx(55e-6)


@pytest.mark.parametrize("shape", [(16, 16), (18, 14)])
def test_the_beam_is_brought_from_the_corners_to_the_middle(tmp_path: Path, shape: tuple[int, int]) -> None:
    y, x = np.indices(shape)
    beam = np.rint(900 * np.exp(-((y - shape[0] // 2) ** 2 + (x - shape[1] // 2) ** 2) / 12))
    counts = np.stack([beam, np.roll(beam, 1, axis=1)])
    for amplitudes in (np.sqrt(counts), np.fft.fftshift(np.sqrt(counts), axes=(1, 2))):
        with open_scan(write(tmp_path / "f", PREPARED, diffamp=amplitudes, points=POINTS_UM[:, :2])) as (source,):
            assert source.frames is not None
            np.testing.assert_array_equal(source.frames[0:2], counts)
            np.testing.assert_array_equal(source.frames[1:2], counts[1:])


@pytest.mark.parametrize(("ic", "is_told"), [(np.ones(5), False), (np.array([1, 1.1, 1, 1.1, 1]), True)])
def test_an_ion_chamber_that_was_divided_by_is_told(tmp_path: Path, ic: Any, is_told: bool) -> None:
    with open_scan(write(tmp_path / "f", PREPARED, ic=ic)) as (source,):
        assert ["divided by it when the file was prepared" in one for one in source.warnings] == [True] * is_told


@pytest.mark.parametrize("energy", [9.0, 9000.0])
@pytest.mark.parametrize("place", ["diff_data/merlin1/det_images", "entry/data/data"])
def test_raw_frames_are_counts(tmp_path: Path, place: str, energy: float) -> None:
    form = {"diff_data/merlin1/det_images": None, place: COUNTS}
    with open_scan(write(tmp_path / "f", {**RAW, **form}, scan__energy=energy)) as (source,):
        assert source.faults == ()
        assert source.frames is not None
        np.testing.assert_array_equal(source.frames[0:5], COUNTS)
        assert source.positions_m is not None
        np.testing.assert_allclose(source.positions_m, POSITIONS_M)
        assert source.energy_ev == pytest.approx(9000)
        assert source.distance_m is None


def test_stated_units_count(tmp_path: Path) -> None:
    path = write(tmp_path / "f", PREPARED, points=POINTS_UM * 1e-3)
    with h5py.File(path, "r+") as file:
        file["points"].attrs["units"] = "mm"
    with open_scan(path) as (source,):
        assert source.positions_m is not None
        np.testing.assert_allclose(source.positions_m, POSITIONS_M)


@pytest.mark.parametrize(
    ("form", "changed", "field"),
    [
        (PREPARED, {"points": POINTS_UM.T}, "positions_m"),
        (PREPARED, {"points": None}, "positions_m"),
        (PREPARED, {"lambda_nm": None}, "energy_ev"),
        (PREPARED, {"lambda_nm": 1.4e-10}, "energy_ev"),
        (PREPARED, {"z_m": 0.0}, "distance_m"),
        (PREPARED, {"diffamp": COUNTS[0]}, "counts"),
        (RAW, {"scan__energy": 0.009}, "energy_ev"),
        (RAW, {"diff_data__merlin1__det_images": None}, "counts"),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path: Path, form: dict[str, Any], changed: dict[str, Any], field: str) -> None:
    with open_scan(write(tmp_path / "f", form, **changed)) as (source,):
        assert [fault.field for fault in source.faults] == [field]


def test_frames_elsewhere_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "f", PREPARED, diffamp=h5py.ExternalLink("/etc/passwd", "x"))
    with pytest.raises(HostileFileError, match="external link"), open_scan(path):
        pass


@pytest.mark.parametrize("place", ["diff_data/eiger/det_images", "entry/data/data"])
def test_frames_of_several_detectors_are_refused(tmp_path: Path, place: str) -> None:
    with open_scan(write(tmp_path / "f", {**RAW, place: COUNTS})) as (source,):
        assert [fault.field for fault in source.faults] == ["counts"]
        assert "several detectors" in source.faults[0].message
