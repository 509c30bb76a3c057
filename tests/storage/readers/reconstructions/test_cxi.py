"""Reconstructions in CXI files, written field by field, and the real one."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from measurements import FOLDER

from storage.errors import UnknownFormatError
from storage.readers.image_format import open_images

REAL = FOLDER / "cosmic_856eV_result.cxi"
JOULE_EV = 1.602176634e-19
OBJECT = np.exp(1j * np.arange(16 * 20).reshape(16, 20) / 100).astype(np.complex64)
IMAGE, SOURCE, DETECTOR = "image_1", "instrument_1/source_1", "instrument_1/detector_1"


def write(path: Path, n_entries: int = 1, **changed: Any) -> Path:
    """A file of entries 10 eV apart; a name in ``changed`` is a path, "/" written as "__", and None leaves it out."""
    with h5py.File(path, "w") as file:
        file["cxi_version"] = 160
        for index in range(n_entries):
            fields = {
                f"{IMAGE}/data": OBJECT * (index + 1),
                f"{IMAGE}/image_size": np.array([20 * 5e-9, 16 * 5e-9, 0.0]),
                f"{SOURCE}/energy": (850 + 10 * index) * JOULE_EV,
                **{name.replace("__", "/"): value for name, value in changed.items()},
            }
            for name, value in fields.items():
                if value is not None:
                    file[f"entry_{index + 1}/{name}"] = value
    return path


def test_every_entry_is_an_energy_with_its_pixel(tmp_path: Path) -> None:
    with open_images(write(tmp_path / "f", 2)) as sources:
        assert [one.faults for one in sources] == [(), ()]
        assert [one.energy_ev for one in sources] == [pytest.approx(850), pytest.approx(860)]
        assert [one.pixel_size_m for one in sources] == [pytest.approx(5e-9)] * 2
        assert sources[1].image is not None
        np.testing.assert_array_equal(sources[1].image[()], 2 * OBJECT)


def test_the_pixel_follows_from_the_detectors_corner(tmp_path: Path) -> None:
    corner: dict[str, Any] = {
        "image_1__image_size": None,
        "instrument_1__detector_1__corner_position": np.array([0.01461, 0.01461, 0.121]),
    }
    with open_images(write(tmp_path / "f", **corner)) as (source,):
        assert source.pixel_size_m == pytest.approx(1.239841984e-6 / 850 * 0.121 / (2 * 0.01461))


def test_the_rings_energy_is_not_taken_for_the_photons(tmp_path: Path) -> None:
    ring: dict[str, Any] = {"instrument_1__source_1__energy": 1900.0}
    with open_images(write(tmp_path / "f", **ring)) as (source,):
        assert source.energy_ev == 1900.0
        assert "has no unit: taken for the photons' energy" in source.warnings[0]
    with open_images(write(tmp_path / "f", definition="NXcxi_ptycho", **ring)) as (source,):
        assert "NeXus means the storage ring there" in source.faults[0].message
    with open_images(write(tmp_path / "f", **ring, instrument_1__beam_1__incident_energy=856.0)) as (source,):
        assert source.energy_ev == 856.0


def test_the_middle_of_the_image_places_it(tmp_path: Path) -> None:
    centre = np.array([2e-6, 1e-6, 0.0])
    with open_images(write(tmp_path / "f", image_1__image_center=centre)) as (source,):
        assert source.origin_m == pytest.approx((1e-6 - 7.5 * 5e-9, 2e-6 - 9.5 * 5e-9))


def test_the_mask_probe_and_single_layers_are_read(tmp_path: Path) -> None:
    mask = np.zeros((16, 20), np.uint32)
    mask[0] = 1
    path = write(
        tmp_path / "f",
        image_1__data=OBJECT[None],
        image_1__mask=mask,
        instrument_1__source_1__probe=np.ones((2, 8, 8), np.complex64),
    )
    with open_images(path) as (source,):
        assert source.faults == ()
        assert source.image is not None
        np.testing.assert_array_equal(source.image[()], OBJECT)
        np.testing.assert_array_equal(source.seen, mask == 0)
        assert source.probe is not None
        assert source.probe.shape == (2, 8, 8)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"instrument_1__source_1__energy": None}, "energy_ev"),
        ({"instrument_1__source_1__energy": 0.85}, "energy_ev"),
        ({"image_1__x_pixel_size": 5e-9, "image_1__y_pixel_size": 6e-9}, "pixel_size_m"),
        ({"image_1__data": np.stack([OBJECT, OBJECT])}, "image"),
        ({"image_1__mask": np.zeros((20, 17))}, "seen"),
        ({"image_1__image_center": np.array([1e-6, 1e-6])}, "origin_m"),
        ({"image_1__image_center": np.array([np.inf, 0.0, 0.0])}, "origin_m"),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path: Path, changed: dict[str, Any], field: str) -> None:
    with open_images(write(tmp_path / "f", **changed)) as (source,):
        assert [fault.field for fault in source.faults] == [field]


def test_entries_without_an_image_are_none(tmp_path: Path) -> None:
    with pytest.raises(UnknownFormatError, match="image_n"), open_images(write(tmp_path / "f", image_1__data=None)):
        pass


@pytest.mark.skipif(not REAL.exists(), reason="needs cosmic_856eV_result.cxi of the real data")
def test_the_real_reconstruction_is_read_to_its_energy_and_pixel() -> None:
    with open_images(REAL) as (source,):
        assert source.energy_ev == pytest.approx(855.9, abs=0.1)
        assert source.pixel_size_m == pytest.approx(6.0e-9, rel=0.01)
        assert source.image is not None
        assert source.image.shape == (285, 285)


def test_an_image_that_begins_in_its_middle_is_put_back(tmp_path: Path) -> None:
    bad = np.zeros(OBJECT.shape, int)
    bad[3, 5] = 1
    given: dict[str, Any] = {
        "image_1__data": np.fft.fftshift(OBJECT), "image_1__mask": np.fft.fftshift(bad), "image_1__is_fft_shifted": 1,
    }  # fmt: skip
    with open_images(write(tmp_path / "f", **given)) as (source,):
        assert source.image is not None
        np.testing.assert_array_equal(source.image[()], OBJECT)
        np.testing.assert_array_equal(source.seen, bad == 0)
        assert "is_fft_shifted" in source.warnings[0]


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"image_1__data_space": "diffraction"}, "image", "a diffraction pattern"),
        ({"image_1__image_size": np.array([20 * 5e-9, 20 * 5e-9, 0])}, "pixel_size_m", "gives 5e-09 by 6.25e-09 m"),
        ({"image_1__image_size": np.array([16 * 5e-9, 20 * 5e-9, 0])}, "pixel_size_m", "square"),
        ({"image_1__image_size": np.array([np.nan, np.nan, 0])}, "pixel_size_m", "square"),
        ({"image_1__mask": np.zeros((20, 16), int)}, "seen", "(20, 16)"),
    ],
)
def test_what_would_give_a_wrong_image_is_refused(tmp_path: Path, changed: dict[str, Any], field: str, words: str) -> None:
    with open_images(write(tmp_path / "f", **changed)) as (source,):
        found = [fault.message for fault in source.faults if fault.field == field]
    assert any(words in message for message in found), found
