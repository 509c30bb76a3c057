"""Images in plain files of named arrays, in each container."""

import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

from storage.readers.image_format import open_images

STACK = np.arange(2 * 16 * 18, dtype=np.float32).reshape(2, 16, 18) + 1
FIELDS: dict[str, Any] = {"optical_density": STACK, "energy_ev": np.array([700.0, 710.0]), "pixel_size_m": np.array(8e-8)}


def write(path: Path, kind: str, **changed: Any) -> Path:
    fields = {name: value for name, value in {**FIELDS, **changed}.items() if value is not None}
    if kind == "npz":
        with path.open("wb") as file:
            np.savez(file, **fields)
    elif kind == "hdf5":
        with h5py.File(path, "w") as file:
            for name, value in fields.items():
                file[name] = value
    else:
        store = path.with_suffix(".zarr")
        group = zarr.create_group(store)
        for name, value in fields.items():
            group.create_array(name, data=np.asarray(value))
        with zipfile.ZipFile(path, "w") as archive:
            for file_ in sorted(store.rglob("*")):
                if file_.is_file():
                    archive.write(file_, file_.relative_to(store).as_posix())
    return path


@pytest.mark.parametrize("kind", ["npz", "hdf5", "zarr"])
def test_every_named_array_is_found(tmp_path: Path, kind: str) -> None:
    with open_images(write(tmp_path / "f", kind)) as sources:
        assert [(one.energy_ev, one.pixel_size_m, one.quantity, one.faults) for one in sources] == [
            (700.0, 8e-8, "optical_density", ()), (710.0, 8e-8, "optical_density", ())
        ]  # fmt: skip
        assert sources[1].image is not None
        np.testing.assert_array_equal(sources[1].image[()], STACK[1])


def test_i0_and_what_was_seen_are_read(tmp_path: Path) -> None:
    seen = np.ones((16, 18), bool)
    seen[0] = False
    path = write(tmp_path / "f", "npz", optical_density=None, intensity=STACK, i0=np.array([5.0, 6.0]), seen=seen)
    with open_images(path) as sources:
        assert [one.i0 for one in sources] == [5.0, 6.0]
        np.testing.assert_array_equal(sources[0].seen, seen)


def test_units_of_hdf5_are_converted(tmp_path: Path) -> None:
    path = write(tmp_path / "f", "hdf5", energy_ev=np.array([0.7, 0.71]), pixel_size_m=np.array(80.0))
    with h5py.File(path, "r+") as file:
        file["energy_ev"].attrs["units"] = "keV"
        file["pixel_size_m"].attrs["units"] = "nm"
    with open_images(path) as sources:
        assert sources[0].energy_ev == pytest.approx(700.0)
        assert sources[0].pixel_size_m == pytest.approx(8e-8)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"energy_ev": None}, "energy_ev"),
        ({"energy_ev": np.array([7.0, 8.0])}, "energy_ev"),
        ({"pixel_size_m": np.array(-1.0)}, "pixel_size_m"),
        ({"optical_density": STACK.transpose(1, 2, 0)}, "image"),
        ({"seen": np.ones((16, 18), np.uint8)}, "seen"),
        ({"seen": np.ones((2, 2), bool)}, "seen"),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path: Path, changed: dict[str, Any], field: str) -> None:
    with open_images(write(tmp_path / "f", "npz", **changed)) as (source, *_):
        assert [fault.field for fault in source.faults] == [field]
