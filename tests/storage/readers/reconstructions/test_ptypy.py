"""Reconstructions of ptypy, written field by field, and the real one."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from measurements import FOLDER

from storage.readers.image_format import open_images

REAL = FOLDER / "diamond_scan.ptyr"
OBJECT = np.exp(1j * np.arange(16 * 20).reshape(1, 16, 20) / 100).astype(np.complex64)


def write(path: Path, storages: tuple[str, ...] = ("S00G00",), **changed: Any) -> Path:
    with h5py.File(path, "w") as file:
        file["header/kind"] = "minimal"
        for index, name in enumerate(storages):
            fields = {"data": OBJECT, "_psize": np.array([5e-9, 5e-9]), "_energy": 0.85 + 0.01 * index, **changed}
            file.create_group(f"content/obj/{name}")
            for key, value in fields.items():
                if value is not None:
                    file[f"content/obj/{name}/{key}"] = value
            file[f"content/probe/{name}/data"] = np.ones((2, 8, 8), np.complex64)
    return path


def test_every_storage_is_an_energy_with_its_pixel_and_probe(tmp_path: Path) -> None:
    with open_images(write(tmp_path / "f", ("S00G00", "S01G00"))) as sources:
        assert [one.label for one in sources] == ["S00G00", "S01G00"]
        assert [one.energy_ev for one in sources] == [pytest.approx(850), pytest.approx(860)]
        assert [one.pixel_size_m for one in sources] == [5e-9, 5e-9]
        assert all(one.faults == () and one.probe is not None for one in sources)
        assert sources[0].image is not None
        np.testing.assert_array_equal(sources[0].image[()], OBJECT[0])


def test_the_origin_is_the_first_pixel(tmp_path: Path) -> None:
    with open_images(write(tmp_path / "f", _origin=np.array([-1e-6, -2e-6]))) as (source,):
        assert source.origin_m == (-1e-6, -2e-6)


@pytest.mark.parametrize(
    ("name", "value", "unit"),
    [
        ("_energy", 850.0, "eV"), ("_energy", 850 * 1.602176634e-19, "J"), ("_energy", 0.85e-3, "MeV"),
        ("_psize", np.array([5.0, 5.0]), "nm"), ("_origin", np.array([-1.0, -2.0]), "um"),
    ],
)  # fmt: skip
def test_a_unit_that_is_stated_counts(tmp_path: Path, name: str, value: Any, unit: str) -> None:
    path = write(tmp_path / "f", **{"_origin": np.array([-1e-6, -2e-6]), name: value})
    with h5py.File(path, "r+") as file:
        file[f"content/obj/S00G00/{name}"].attrs["units"] = unit
    with open_images(path) as (source,):
        assert source.faults == ()
        assert source.energy_ev == pytest.approx(850)
        assert source.pixel_size_m == pytest.approx(5e-9)
        assert source.origin_m == pytest.approx((-1e-6, -2e-6))
    with h5py.File(path, "r+") as file:
        file[f"content/obj/S00G00/{name}"].attrs["units"] = "deg"
    with open_images(path) as (source,):
        assert "is no unit of" in source.faults[0].message


def test_of_several_modes_the_first_is_taken_and_told(tmp_path: Path) -> None:
    with open_images(write(tmp_path / "f", data=np.concatenate([OBJECT, 2 * OBJECT]))) as (source,):
        assert source.warnings == ("the object has 2 modes; the first is taken",)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"_energy": None}, "energy_ev"),
        ({"_energy": 850.0}, "energy_ev"),
        ({"_psize": None}, "pixel_size_m"),
        ({"_psize": np.array([5e-9, 6e-9])}, "pixel_size_m"),
        ({"data": None}, "image"),
        ({"data": OBJECT[0, 0]}, "image"),
        ({"_origin": np.array([0.0, np.nan])}, "origin_m"),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path: Path, changed: dict[str, Any], field: str) -> None:
    with open_images(write(tmp_path / "f", **changed)) as (source,):
        assert [fault.field for fault in source.faults] == [field]


@pytest.mark.skipif(not REAL.exists(), reason="needs diamond_scan.ptyr of the real data")
def test_the_real_reconstruction_is_read_to_its_energy_and_pixel() -> None:
    with open_images(REAL) as (source,):
        assert source.faults == ()
        assert source.energy_ev == pytest.approx(6200)
        assert source.pixel_size_m == pytest.approx(63.58e-9, rel=1e-3)
        assert source.image is not None
        assert source.image.shape == (402, 416)
