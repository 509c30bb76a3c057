"""Products of ptychodus, written field by field."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage.readers.image_format import open_images

OBJECT = np.exp(1j * np.arange(16 * 20).reshape(1, 16, 20) / 100).astype(np.complex64)
FIELDS: dict[str, Any] = {
    "name": "particle",
    "comments": "",
    "detector_object_distance_m": 1.9,
    "probe_energy_eV": 5465.0,
    "exposure_time_s": 0.1,
    "probe_position_indexes": np.arange(3),
    "probe_position_x_m": np.arange(3) * 1e-7,
    "probe_position_y_m": np.arange(3) * 1e-7,
    "probe": np.ones((1, 2, 8, 8), np.complex64),
    "probe_pixel_height_m": 1e-8,
    "probe_pixel_width_m": 1e-8,
    "object": OBJECT,
    "object_pixel_height_m": 1e-8,
    "object_pixel_width_m": 1e-8,
    "object_center_y_m": 2e-7,
    "object_center_x_m": 1e-7,
    "object_layer_spacing_m": np.array([]),
    "loss_values": np.arange(3.0),
}
OF_OBJECT = ("pixel_height_m", "pixel_width_m", "center_y_m", "center_x_m")


def write(path: Path, kind: str, **changed: Any) -> Path:
    fields = {name: value for name, value in {**FIELDS, **changed}.items() if value is not None}
    if kind == "npz":
        with path.open("wb") as target:
            np.savez(target, **fields)
        return path
    with h5py.File(path, "w") as file:
        for name, value in fields.items():
            if isinstance(value, np.ndarray):
                file[name] = value
        for name, value in fields.items():
            owner, _, own = name.partition("_")
            if owner in ("object", "probe") and own in OF_OBJECT:
                if owner in file:
                    file[owner].attrs[own] = value
            elif not isinstance(value, np.ndarray):
                file.attrs[name] = value
    return path


@pytest.mark.parametrize("kind", ["h5", "npz"])
def test_object_energy_pixel_place_and_probe(tmp_path: Path, kind: str) -> None:
    with open_images(write(tmp_path / "f", kind)) as (source,):
        assert source.faults == ()
        assert (source.quantity, source.energy_ev, source.pixel_size_m) == ("object", 5465.0, 1e-8)
        assert source.origin_m == pytest.approx((2e-7 - 7.5e-8, 1e-7 - 9.5e-8))
        assert source.image is not None
        np.testing.assert_allclose(source.image[()], OBJECT[0])
        assert source.probe is not None
        assert source.probe.shape == (2, 8, 8)


def test_layers_of_a_thick_object_are_multiplied_and_told(tmp_path: Path) -> None:
    with open_images(write(tmp_path / "f", "h5", object=np.concatenate([OBJECT, OBJECT]))) as (source,):
        assert source.warnings == ("the object has 2 layers; their product is taken",)
        assert source.image is not None
        np.testing.assert_allclose(source.image[()], OBJECT[0] ** 2, rtol=1e-5)


@pytest.mark.parametrize("kind", ["h5", "npz"])
@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"probe_energy_eV": 5.465}, "energy_ev"),
        ({"probe_energy_eV": 0.0}, "energy_ev"),
        ({"object_pixel_height_m": 2e-8}, "pixel_size_m"),
        ({"object_pixel_width_m": -1e-8}, "pixel_size_m"),
        ({"object": OBJECT[0, 0]}, "image"),
        ({"object": OBJECT[None]}, "image"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, kind: str, changed: dict[str, Any], field: str) -> None:
    with open_images(write(tmp_path / "f", kind, **changed)) as (source,):
        assert [fault.field for fault in source.faults] == [field]


def test_a_pixel_that_is_missing_is_left_to_the_dataset(tmp_path: Path) -> None:
    with open_images(write(tmp_path / "f", "h5", object_pixel_width_m=None, object_pixel_height_m=None)) as (source,):
        assert (source.faults, source.pixel_size_m, source.origin_m) == ((), None, None)
