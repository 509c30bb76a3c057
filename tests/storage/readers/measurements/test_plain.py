from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage.errors import UnknownFormatError
from storage.readers.format import open_scan
from storage.readers.record import BeamCentre


@pytest.mark.parametrize("writer", ["npz", "plain"])
def test_every_named_array_is_found_and_positions_are_y_x(files: Any, tmp_path: Path, writer: str) -> None:
    mask = np.ones((16, 16), bool)
    mask[3, 4] = False
    path = getattr(files, writer)(
        tmp_path / "f.npz", mask=mask, probe=np.ones((2, 16, 16), np.complex128), beam_centre_px=np.array([8, 9])
    )
    with open_scan(path) as (source,):
        assert source.faults == ()
        assert source.frames is not None
        np.testing.assert_array_equal(source.frames[2:5], files.measurement()["counts"][2:5])
        np.testing.assert_array_equal(source.frames[0:2], files.measurement()["counts"][0:2])
    np.testing.assert_array_equal(source.positions_m, files.measurement()["positions_m"])
    np.testing.assert_array_equal(source.mask, mask)
    assert source.probe is not None
    assert source.probe.shape == (2, 16, 16)
    assert source.beam_centre == BeamCentre(8.0, 9.0)
    assert (source.energy_ev, source.distance_m, source.detector_pixel_size_m) == (5420.0, 1.5, 75e-6)


def test_numbers_may_be_attributes_of_the_file(files: Any, tmp_path: Path) -> None:
    path = files.plain(tmp_path / "f", energy_ev=None, distance_m=None)
    with h5py.File(path, "r+") as file:
        file.attrs.update({"energy_ev": 5470.0, "distance_m": 2, "counts": "no"})
    with open_scan(path) as (source,):
        assert (source.energy_ev, source.distance_m, source.faults) == (5470.0, 2.0, ())


@pytest.mark.parametrize("mask", [np.ones((16, 16), np.uint8), np.ones(16, bool)])
def test_a_mask_that_could_mean_either_is_refused(files: Any, tmp_path: Path, mask: Any) -> None:
    with open_scan(files.npz(tmp_path / "f.npz", mask=mask)) as (source,):
        (fault,) = source.faults
    assert fault.field == "mask"
    assert "name it bad_pixels if 0 = good" in fault.message


def test_bad_pixels_mean_what_they_say(files: Any, tmp_path: Path) -> None:
    with open_scan(files.npz(tmp_path / "f.npz", bad_pixels=np.eye(16, dtype=np.uint8))) as (source,):
        np.testing.assert_array_equal(source.mask, ~np.eye(16, dtype=bool))


def test_a_bad_beam_centre_is_named(files: Any, tmp_path: Path) -> None:
    with open_scan(files.npz(tmp_path / "f.npz", beam_centre_px=np.array([1.0]))) as (source,):
        assert [fault.field for fault in source.faults] == ["beam_centre_px"]


def test_compressed_members_are_read_too(files: Any, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "f.npz", **files.measurement())
    with open_scan(tmp_path / "f.npz") as (source,):
        assert source.frames is not None
        np.testing.assert_array_equal(source.frames[4:6], files.measurement()["counts"][4:6])
        np.testing.assert_array_equal(source.frames[1:2], files.measurement()["counts"][1:2])


def test_arrays_under_other_names_are_not_guessed_at(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", a=np.ones(3))
    with pytest.raises(UnknownFormatError, match="ZIP archive, but none of"), open_scan(tmp_path / "f.npz"):
        pass
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["a"] = 1
    with pytest.raises(UnknownFormatError, match="HDF5, but none of"), open_scan(tmp_path / "f.h5"):
        pass


def test_named_arrays_may_be_virtual_or_linked_where_their_files_are_beside(files: Any, tmp_path: Path) -> None:
    given = files.measurement()
    folder = tmp_path / "scan"
    folder.mkdir()
    with h5py.File(folder / "detector.h5", "w") as file:
        file["entry/frames"] = given["counts"]
        file["entry/dark"] = np.zeros(given["counts"].shape[1:])
    layout = h5py.VirtualLayout(given["counts"].shape, given["counts"].dtype)
    layout[:] = h5py.VirtualSource("detector.h5", "entry/frames", given["counts"].shape)
    with h5py.File(files.plain(folder / "scan.h5", counts=None), "r+") as file:
        file.create_virtual_dataset("counts", layout)
        file["dark"] = h5py.ExternalLink("detector.h5", "entry/dark")
    with open_scan(folder) as (source,):
        assert source.faults == ()
        assert source.frames is not None
        np.testing.assert_array_equal(source.frames[2:5], given["counts"][2:5])
    with h5py.File(folder / "scan.h5", "r+") as file:
        del file["dark"]
        file["dark"] = h5py.ExternalLink("darks.h5", "dark")
    with open_scan(folder) as (source,):
        assert ["'darks.h5', which is not beside it" in fault.message for fault in source.faults] == [True]
