"""Masks in files beside the frames: in which sense, which way round, and which of several."""

import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage.errors import FieldError, InvalidScanError
from storage.readers.format import open_scan
from storage.readers.measurements.mask_file import holds_mask, masked
from storage.readers.record import ScanSource

NY, NX = 6, 8
GOOD = np.ones((NY, NX), bool)
GOOD[1, 2] = False


def write(path: Path, matlab: bool = False, **arrays: Any) -> h5py.File:
    """An HDF5 file of the arrays, open for reading; those of MATLAB are transposed and say so."""
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = np.transpose(values) if matlab else values
            if matlab:
                file[name].attrs["MATLAB_class"] = np.bytes_("double")
    return h5py.File(path)


def source(**changed: Any) -> ScanSource:
    return ScanSource(**{"label": "file", "frames": np.zeros((3, NY, NX), np.int32), **changed})


@pytest.mark.parametrize(
    ("arrays", "matlab"),
    [({"mask": GOOD.astype(float)}, False), ({"mask": GOOD}, True), ({"bad_pixels": 1 - GOOD.astype(np.uint8)}, False)],
)
def test_a_pixel_is_good_as_the_name_of_the_array_says(tmp_path: Path, arrays: dict[str, Any], matlab: bool) -> None:
    with write(tmp_path / "m.h5", matlab, **arrays) as file:
        (found,) = masked([source()], [file])
    np.testing.assert_array_equal(found.mask, GOOD)
    assert found.faults == ()


def test_it_counts_besides_the_mask_of_the_frames(tmp_path: Path) -> None:
    own = np.ones((NY, NX), bool)
    own[4, 5] = False
    with write(tmp_path / "m.h5", mask=GOOD.astype(int)) as file:
        first, second = masked([source(mask=own), source()], [file])
    np.testing.assert_array_equal(first.mask, own & GOOD)
    np.testing.assert_array_equal(second.mask, GOOD)


def test_frames_with_their_own_mask_are_no_mask_file(tmp_path: Path) -> None:
    with write(tmp_path / "f.h5", counts=np.zeros((3, NY, NX)), mask=GOOD) as file:
        assert not holds_mask(file)
        assert masked([source()], [file])[0].mask is None


@pytest.mark.parametrize(
    ("arrays", "words"),
    [({"mask": GOOD.T.astype(int)}, "(8, 6), and they are (6, 8)"), ({"mask": GOOD.astype(complex)}, "must be (ny, nx) numbers")],
    ids=["transposed", "complex"],
)
def test_a_mask_that_cannot_be_theirs_is_a_fault(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    with write(tmp_path / "m.h5", **arrays) as file:
        (found,) = masked([source()], [file])
    assert [(fault.field, words in fault.message) for fault in found.faults] == [("mask", True)]
    assert found.mask is None


def test_of_two_masks_none_is_taken(tmp_path: Path) -> None:
    with write(tmp_path / "a.h5", mask=GOOD) as one, write(tmp_path / "b.h5", mask=GOOD) as two:
        (found,) = masked([source()], [one, two])
    assert found.faults == (FieldError("mask", "is in 2 files beside the frames: send the one that is meant"),)


@pytest.mark.parametrize("stored", [GOOD.astype(int), h5py.ExternalLink("/etc/passwd", "x"), h5py.SoftLink("/elsewhere")])
def test_an_upload_with_a_mask_beside_its_frames(tmp_path: Path, stored: Any) -> None:
    with h5py.File(tmp_path / "000012.h5", "w") as file:
        file["entry/measurement/eiger1m/frames"] = np.full((4, NY, NX), 7)
        file["entry/measurement/pseudo/x"], file["entry/measurement/pseudo/y"] = np.arange(4.0), np.zeros(4)
        file["entry/snapshots/pre_scan/energy"] = 7112.0
    with h5py.File(tmp_path / "mask.h5", "w") as file:
        file["mask"] = stored
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for name in ("000012.h5", "mask.h5"):
            archive.write(tmp_path / name, name)
    is_array = isinstance(stored, np.ndarray)
    try:
        with open_scan(tmp_path / "scan.zip") as (found,):
            assert (found.mask is not None) is is_array
    except InvalidScanError:
        assert not is_array
