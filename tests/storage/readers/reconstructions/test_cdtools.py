"""Results of cdtools, written field by field."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage.readers.image_format import open_images

OBJECT = np.exp(1j * np.arange(16 * 20).reshape(16, 20) / 100).astype(np.complex64)
BASIS = np.array([[0, -5e-9], [-5e-9, 0], [0, 0]])


def write(path: Path, **changed: Any) -> Path:
    fields = {
        "obj": OBJECT,
        "obj_basis": BASIS,
        "probe_basis": BASIS,
        "probe": np.ones((2, 8, 8), np.complex64),
        "wavelength": np.float32(1.239841984e-6 / 850),
        "translations": np.zeros((3, 3)),
        **changed,
    }
    with h5py.File(path, "w") as file:
        for name, value in fields.items():
            if value is not None:
                file[name] = value
    return path


def test_object_energy_pixel_and_probe(tmp_path: Path) -> None:
    with open_images(write(tmp_path / "f")) as (source,):
        assert source.faults == ()
        assert source.energy_ev == pytest.approx(850)
        assert source.pixel_size_m == pytest.approx(5e-9)
        assert source.probe is not None
        assert source.image is not None
        np.testing.assert_array_equal(source.image[()], OBJECT)


def test_older_files_have_one_basis(tmp_path: Path) -> None:
    with open_images(write(tmp_path / "f", obj_basis=None, basis=BASIS)) as (source,):
        assert source.pixel_size_m == pytest.approx(5e-9)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"wavelength": None}, "energy_ev"),
        ({"wavelength": 1.46}, "energy_ev"),
        ({"wavelength": -1e-9}, "energy_ev"),
        ({"obj_basis": None}, "pixel_size_m"),
        ({"obj_basis": BASIS.T}, "pixel_size_m"),
        ({"obj_basis": np.diag([1e-8, 1e-8, 1e-8])[:, :2] + [[0, 1e-8], [0, 0], [0, 0]]}, "pixel_size_m"),
        ({"obj_basis": BASIS * [1, 2]}, "pixel_size_m"),
        ({"obj": OBJECT[0]}, "image"),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path: Path, changed: dict[str, Any], field: str) -> None:
    with open_images(write(tmp_path / "f", **changed)) as (source,):
        assert [fault.field for fault in source.faults] == [field]
