"""Files of cSAXS with the orchestra's positions beside them, written field by field."""

import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage.errors import HostileFileError
from storage.readers.format import open_scan

COUNTS = np.random.default_rng(0).poisson(20, (4, 16, 16))
FIELDS: dict[str, Any] = {
    "entry/data/data": COUNTS, "entry/instrument/eiger_4/x_pixel_size": 75.0, "entry/instrument/eiger_4/y_pixel_size": 75.0,
    "entry/instrument/monochromator/distance": -7326.0, "entry/instrument/monochromator/energy": 6.2,
}  # fmt: skip
ORCHESTRA = """Scan 00123, Samplename sample
DataPoint TotalPoints Target_x Average_x_st_fzp Stdev_x_st_fzp Target_y Average_y_st_fzp Stdev_y_st_fzp
0 4 0.0 0.1 0.001 5.0 5.1 0.001
1 4 1.0 1.1 0.001 5.0 5.2 0.001
2 4 2.0 2.1 0.001 6.0 6.1 0.001
3 4 3.0 3.1 0.001 6.0 6.2 0.001
"""


def write(folder: Path, positions: str | None = ORCHESTRA, **changed: Any) -> Path:
    """A ZIP of the frames and their positions."""
    with h5py.File(folder / "frames.h5", "w") as file:
        for name, value in {**FIELDS, **{key.replace("__", "/"): value for key, value in changed.items()}}.items():
            if value is not None:
                file[name] = value
    with zipfile.ZipFile(folder / "scan.zip", "w") as archive:
        archive.write(folder / "frames.h5", "frames.h5")
        if positions is not None:
            archive.writestr("scan_00123.dat", positions)
    return folder / "scan.zip"


def test_units_are_the_beamlines_and_the_probe_is_opposite_to_the_stage(tmp_path: Path) -> None:
    with open_scan(write(tmp_path)) as (source,):
        assert source.faults == ()
        assert source.frames is not None
        np.testing.assert_array_equal(source.frames[0:4], COUNTS)
        assert source.positions_m is not None
        np.testing.assert_allclose(source.positions_m, -1e-6 * np.array([[5.1, 0.1], [5.2, 1.1], [6.1, 2.1], [6.2, 3.1]]))
        assert source.energy_ev == pytest.approx(6200)
        assert source.distance_m == pytest.approx(7.326)
        assert source.detector_pixel_size_m == pytest.approx(75e-6)


@pytest.mark.parametrize(
    ("positions", "changed", "field"),
    [
        (None, {}, "positions_m"),
        (ORCHESTRA.replace("5.2", "nan"), {}, "positions_m"),
        (ORCHESTRA, {"entry__instrument__monochromator__energy": 0.001}, "energy_ev"),
        (ORCHESTRA, {"entry__instrument__monochromator__distance": 0.0}, "distance_m"),
        (ORCHESTRA, {"entry__instrument__eiger_4__x_pixel_size": 172.0}, "detector_pixel_size_m"),
        (ORCHESTRA, {"entry__data__data": COUNTS[0]}, "counts"),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path: Path, positions: str | None, changed: dict[str, Any], field: str) -> None:
    with open_scan(write(tmp_path, positions, **changed)) as (source,):
        assert [fault.field for fault in source.faults] == [field]


def test_frames_elsewhere_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, entry__instrument__eiger_4__pixel_mask=h5py.ExternalLink("/etc/passwd", "x"))
    with pytest.raises(HostileFileError, match="external link"), open_scan(path):
        pass


@pytest.mark.parametrize("name", ["x_pixel_size", "pixel_mask"])
def test_a_second_detector_is_refused_because_the_frames_could_be_either_ones(tmp_path: Path, name: str) -> None:
    value: Any = 172.0 if name == "x_pixel_size" else np.zeros((16, 16), int)
    with open_scan(write(tmp_path, ORCHESTRA, **{f"entry__instrument__a_pilatus__{name}": value})) as (source,):
        (fault,) = source.faults
    assert fault.field == "detector_pixel_size_m"
    assert "a_pilatus, entry/instrument/eiger_4" in fault.message
