"""Reconstructions of PtychoShelves and of fold_slice, written field by field, as MATLAB does."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage.readers.image_format import open_images

OBJECT = np.exp(1j * np.arange(16 * 20).reshape(16, 20) / 100).astype(np.complex64)
PAIR = np.dtype([("real", "f8"), ("imag", "f8")])


def pairs(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Complex numbers as MATLAB 7.3 stores them."""
    stored = np.empty(values.shape, PAIR)
    stored["real"], stored["imag"] = values.real, values.imag
    return stored


def write(path: Path, **changed: Any) -> Path:
    fields: dict[str, Any] = {
        "reconstruction/p/objects/object_0": OBJECT.T,
        "reconstruction/p/dx_spec": np.array([[2e-8], [2e-8]]),
        "reconstruction/p/energy": np.array([[8.979]]),
    }
    with h5py.File(path, "w") as file:
        for name, value in {**fields, **{f"reconstruction/p/{key}": value for key, value in changed.items()}}.items():
            if value is not None:
                file[name] = value
        file["reconstruction"].require_group("p/objects")
    return path


def test_an_object_is_turned_back_and_has_energy_and_pixel(tmp_path: Path) -> None:
    with open_images(write(tmp_path / "f")) as (source,):
        assert source.faults == ()
        assert source.energy_ev == pytest.approx(8979)
        assert source.pixel_size_m == 2e-8
        assert source.image is not None
        np.testing.assert_array_equal(source.image[()], OBJECT)


def test_pairs_and_layers_of_fold_slice(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f", "w") as file:
        file["object"] = pairs(np.stack([OBJECT.T, OBJECT.T]))
        file["p/dx_spec"] = np.array([[1e-8, 1e-8]])
        file["p/lambda"] = np.array([[1.239841984e-6 / 8979]])
    with open_images(tmp_path / "f") as (source,):
        assert source.faults == ()
        assert source.energy_ev == pytest.approx(8979)
        assert source.warnings == ("the object has 2 layers; their product is taken",)
        assert source.image is not None
        assert (source.image.shape, source.image.dtype.kind) == ((16, 20), "c")
        np.testing.assert_allclose(source.image[()], OBJECT**2, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "value", "unit"),
    [
        ("energy", 8979.0, "eV"), ("energy", 8979 * 1.602176634e-19, "J"), ("energy", 8.979, "kev"),
        ("dx_spec", np.array([[20.0], [20.0]]), "nm"), ("lambda", 1239841.984 / 8979, "pm"),
    ],
)  # fmt: skip
def test_a_unit_that_is_stated_counts(tmp_path: Path, name: str, value: Any, unit: str) -> None:
    path = write(tmp_path / "f", **{"energy": None, name: value} if name == "lambda" else {name: value})
    with h5py.File(path, "r+") as file:
        file[f"reconstruction/p/{name}"].attrs["units"] = unit
    with open_images(path) as (source,):
        assert source.faults == ()
        assert source.energy_ev == pytest.approx(8979)
        assert source.pixel_size_m == pytest.approx(2e-8)
    with h5py.File(path, "r+") as file:
        file[f"reconstruction/p/{name}"].attrs["units"] = "deg"
    with open_images(path) as (source,):
        assert "is no unit of" in source.faults[0].message


def test_every_object_is_read(tmp_path: Path) -> None:
    with open_images(write(tmp_path / "f", **{"objects/object_1": 2 * OBJECT.T})) as sources:
        assert [source.label for source in sources] == ["object_0", "object_1"]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"energy": None}, "energy_ev"),
        ({"energy": 8979.0e3}, "energy_ev"),
        ({"energy": np.nan}, "energy_ev"),
        ({"dx_spec": np.array([2e-8, 3e-8])}, "pixel_size_m"),
        ({"dx_spec": np.array([0.0, 0.0])}, "pixel_size_m"),
        ({"objects/object_0": OBJECT[0]}, "image"),
        ({"objects/object_0": np.stack([np.stack([OBJECT, OBJECT])] * 2)}, "image"),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path: Path, changed: dict[str, Any], field: str) -> None:
    with open_images(write(tmp_path / "f", **changed)) as (source,):
        assert [fault.field for fault in source.faults] == [field]
