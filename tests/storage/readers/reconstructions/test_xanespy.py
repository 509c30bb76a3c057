"""Framesets of xanespy, written field by field."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage.readers.image_format import open_images

ENERGIES = np.array([[8325.0, 8350.0, 8400.0]])
STACK = np.random.default_rng(1).uniform(0, 1, (1, 3, 16, 20))


def write(path: Path, **changed: Any) -> Path:
    fields = {"optical_depths": STACK, "energies": ENERGIES, "pixel_sizes": np.full((1, 3), 0.03), **changed}
    with h5py.File(path, "w") as file:
        sample = file.create_group("sample_1")
        sample.attrs["latest_data_name"] = "aligned"
        sample["imported/energies"], sample["imported/intensities"] = ENERGIES, STACK
        for name, value in fields.items():
            if value is not None:
                sample[f"aligned/{name}"] = value
        if fields["pixel_sizes"] is not None:
            sample["aligned/pixel_sizes"].attrs["unit"] = "µm"
    return path


def test_the_latest_version_is_read_with_energies_and_pixel(tmp_path: Path) -> None:
    with open_images(write(tmp_path / "f")) as sources:
        assert [source.faults for source in sources] == [()] * 3
        assert [source.energy_ev for source in sources] == ENERGIES[0].tolist()
        assert {source.quantity for source in sources} == {"optical_density"}
        assert sources[0].pixel_size_m == pytest.approx(3e-8)
        assert sources[2].image is not None
        np.testing.assert_array_equal(sources[2].image[()], STACK[0, 2])


def test_of_several_times_the_first_is_taken_and_told(tmp_path: Path) -> None:
    with open_images(write(tmp_path / "f", optical_depths=np.concatenate([STACK, STACK]))) as sources:
        assert sources[0].warnings == ("the frameset has 2 times; the first is taken",)


@pytest.mark.parametrize("energies", [ENERGIES, ENERGIES[0]])
def test_energies_are_converted_from_the_unit_they_state(tmp_path: Path, energies: Any) -> None:
    path = write(tmp_path / "f", energies=energies / 1e3)
    with h5py.File(path, "r+") as file:
        file["sample_1/aligned/energies"].attrs["units"] = "keV"
    with open_images(path) as sources:
        assert [source.energy_ev for source in sources] == pytest.approx(ENERGIES[0].tolist())
    with h5py.File(path, "r+") as file:
        file["sample_1/aligned/energies"].attrs["units"] = "nm"
    with open_images(path) as sources:
        assert "is no unit of energy" in sources[0].faults[0].message


def test_absorbances_are_read_with_a_warning(tmp_path: Path) -> None:
    with open_images(write(tmp_path / "f", optical_depths=None, absorbances=STACK)) as sources:
        assert "decadic" in sources[0].warnings[0]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"energies": ENERGIES / 1000}, "energy_ev"),
        ({"energies": ENERGIES[:, :2]}, "image"),
        ({"pixel_sizes": np.array([[0.03, 0.04, 0.03]])}, "pixel_size_m"),
        ({"optical_depths": STACK[0].transpose(1, 2, 0)}, "image"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changed: dict[str, Any], field: str) -> None:
    with open_images(write(tmp_path / "f", **changed)) as (source, *_):
        assert [fault.field for fault in source.faults] == [field]


@pytest.mark.parametrize(
    "latest", ["aligned", b"aligned", np.bytes_("aligned"), np.array(["aligned"], object), np.array([b"aligned"])]
)
def test_the_name_of_the_latest_version_may_be_text_of_any_kind(tmp_path: Path, latest: Any) -> None:
    path = write(tmp_path / "f")
    with h5py.File(path, "r+") as file:
        sample = file["sample_1"]
        sample["older/energies"], sample["older/optical_depths"] = ENERGIES, 9 * STACK
        sample.attrs["latest_data_name"] = latest
    with open_images(path) as sources:
        assert sources[1].image is not None
        np.testing.assert_array_equal(sources[1].image[()], STACK[0, 1])
