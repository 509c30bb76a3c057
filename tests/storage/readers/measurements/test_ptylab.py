"""Inputs of PtyLab, written field by field."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage.errors import HostileFileError
from storage.readers.format import open_scan

FRAMES = np.random.default_rng(0).poisson(20, (5, 16, 16)).astype(np.float32)
FIELDS: dict[str, Any] = {
    "ptychogram": FRAMES, "encoder": 1e-7 * np.arange(10.0).reshape(5, 2), "wavelength": 1.239841984e-6 / 5420, "dxd": 75e-6,
    "zo": 1.5, "entrancePupilDiameter": 1e-6,
}  # fmt: skip


def write(path: Path, **changed: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in {**FIELDS, **changed}.items():
            if value is not None:
                file[name] = value
    return path


def test_lengths_are_metres_and_positions_y_x(tmp_path: Path) -> None:
    with open_scan(write(tmp_path / "f", dxd=np.array([[75e-6]]))) as (source,):
        assert source.faults == ()
        assert source.warnings == ()
        assert source.frames is not None
        np.testing.assert_array_equal(source.frames[1:3], FRAMES[1:3])
        np.testing.assert_array_equal(source.positions_m, FIELDS["encoder"])
        assert source.energy_ev == pytest.approx(5420)
        assert (source.distance_m, source.detector_pixel_size_m) == (1.5, 75e-6)


def test_transposed_positions_are_turned(tmp_path: Path) -> None:
    with open_scan(write(tmp_path / "f", encoder=FIELDS["encoder"].T)) as (source,):
        np.testing.assert_array_equal(source.positions_m, FIELDS["encoder"])


def test_the_dark_field_is_subtracted_and_an_orientation_told(tmp_path: Path) -> None:
    path = write(tmp_path / "f", ptychogram=FRAMES + 7, ptychogramDark=np.full((3, 16, 16), 7.0), orientation=1)
    with open_scan(path) as (source,):
        assert source.frames is not None
        np.testing.assert_array_equal(source.frames[0:5], FRAMES)
        assert "dark field" in source.warnings[0]
        assert "orientation 1" in source.warnings[1]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"encoder": None}, "positions_m"),
        ({"encoder": np.zeros((5, 4))}, "positions_m"),
        ({"wavelength": None}, "energy_ev"),
        ({"wavelength": 632e-9}, "energy_ev"),
        ({"wavelength": 0.0}, "energy_ev"),
        ({"zo": -1.0}, "distance_m"),
        ({"dxd": np.nan}, "detector_pixel_size_m"),
        ({"ptychogram": FRAMES[0]}, "counts"),
        ({"ptychogramDark": np.zeros((4, 4))}, "dark"),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path: Path, changed: dict[str, Any], field: str) -> None:
    with open_scan(write(tmp_path / "f", **changed)) as (source,):
        assert [fault.field for fault in source.faults] == [field]


def test_frames_elsewhere_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(HostileFileError, match="external link"),
        open_scan(write(tmp_path / "f", encoder=h5py.ExternalLink("g", "x"))),
    ):
        pass
