"""Stacks of TIFF images, written by tifffile and by Pillow, with their energies as text."""

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from storage.readers.image_format import open_images

STACK = np.random.default_rng(1).uniform(0.5, 1, (3, 16, 20)).astype(np.float32)
ENERGIES = "# energies [eV]\n705.0\n709.5\n\n720.0\n"


def tiff(images: np.ndarray[Any, Any], **options: Any) -> bytes:
    file = BytesIO()
    kind: dict[str, Any] = {} if "imagej" in options else {"photometric": "rgb" if images.ndim == 4 else "minisblack"}
    tifffile.imwrite(file, images, **kind, **options)
    return file.getvalue()


def write(path: Path, text: str = ENERGIES, **images: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("energies.txt", text)
        for name, content in images.items():
            archive.writestr(f"{name}.tif", content)
    return path


def test_one_file_of_all_energies(tmp_path: Path) -> None:
    per_cm = 1 / 20e-7
    stack = tiff(STACK, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER")
    with open_images(write(tmp_path / "f", transmission=stack)) as sources:
        assert [source.faults for source in sources] == [()] * 3
        assert [source.energy_ev for source in sources] == [705.0, 709.5, 720.0]
        assert {source.quantity for source in sources} == {"transmission"}
        assert sources[0].pixel_size_m == pytest.approx(20e-9)
        assert sources[1].image is not None
        np.testing.assert_array_equal(sources[1].image[()], STACK[1])


def test_imagej_states_the_unit_in_its_description(tmp_path: Path) -> None:
    stack = tiff(STACK, imagej=True, resolution=(50, 50), metadata={"unit": "um", "axes": "ZYX"})
    with open_images(write(tmp_path / "f", optical_density=stack)) as sources:
        assert sources[0].pixel_size_m == pytest.approx(20e-9)


def test_a_file_an_energy_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    images = {}
    for number, image in zip((9, 10, 100), STACK, strict=True):
        file = BytesIO()
        Image.fromarray(image).save(file, "TIFF")
        images[f"scan_{number}"] = file.getvalue()
    with open_images(write(tmp_path / "f", "# quantity: intensity\n705 2.0\n709.5, 2.5\n720\t3.0", **images)) as sources:
        assert [source.i0 for source in sources] == [2.0, 2.5, 3.0]
        for source, image in zip(sources, STACK, strict=True):
            assert source.image is not None
            np.testing.assert_array_equal(source.image[()], image)
        assert sources[0].pixel_size_m is None, "Pillow states none"


def test_a_printers_resolution_is_no_pixel(tmp_path: Path) -> None:
    with open_images(write(tmp_path / "f", absorption=tiff(STACK, resolution=(300, 300), resolutionunit="INCH"))) as sources:
        assert (sources[0].faults, sources[0].pixel_size_m) == ((), None)


@pytest.mark.parametrize(
    ("text", "name", "images", "field"),
    [
        ("705\n709\n", "transmission", STACK, "image"),
        (ENERGIES, "scan", STACK, "image"),
        (ENERGIES, "transmission", STACK.transpose(1, 2, 0).copy(), "image"),
        ("0.705\n0.7095\n0.72", "transmission", STACK, "energy_ev"),
        ("705 1\n709 1\n720 1", "transmission", STACK, "i0"),
        ("705 1\n709 1\n720 0", "intensity", STACK, "i0"),
        ("705\n709 eV\n720", "transmission", STACK, "file"),
        ("", "transmission", STACK, "file"),
        (ENERGIES, "transmission", np.zeros((3, 16, 20, 3), np.uint8), "file"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, name: str, images: np.ndarray[Any, Any], field: str) -> None:
    with open_images(write(tmp_path / "f", text, **{name: tiff(images)})) as (source,):
        assert [fault.field for fault in source.faults] == [field]


def test_a_damaged_image_is_a_fault(tmp_path: Path) -> None:
    with open_images(write(tmp_path / "f", absorption=tiff(STACK)[:100])) as (source,):
        assert [fault.field for fault in source.faults] == ["file"]


def test_images_that_expand_beyond_all_proportion_are_refused(tmp_path: Path) -> None:
    """Zeros of 81 MiB in a hundred kilobytes, which a ZIP makes one more of."""
    bomb = tiff(np.zeros((4600, 4600), np.float32), compression="zlib")
    assert len(bomb) < 150_000
    with open_images(write(tmp_path / "f", "700.0\n", absorption=bomb)) as (source,):
        (fault,) = source.faults
    assert (fault.field, "MiB, over 300 to 1" in fault.message) == ("file", True)


@pytest.mark.parametrize("text", ["705,1\n709,5\n720,2\n", "# eV\r\n705,10\r\n709,55\r\n720,25\r\n"])
def test_a_decimal_comma_is_not_taken_for_a_column(tmp_path: Path, text: str) -> None:
    with open_images(write(tmp_path / "f", text, intensity=tiff(STACK))) as (source,):
        assert "decimal comma" in source.faults[0].message


@pytest.mark.parametrize(
    "text", ["705.0,1\n709.5,2\n720,3", "705, 1\n709, 2\n720, 3", "705\t1\n709\t2\n720\t3", "\ufeff705 1\n709 2\n720 3"]
)
def test_columns_are_read_whatever_separates_them(tmp_path: Path, text: str) -> None:
    with open_images(write(tmp_path / "f", text, intensity=tiff(STACK))) as sources:
        assert [source.faults for source in sources] == [()] * 3
        assert [source.i0 for source in sources] == [1, 2, 3]
        assert sources[0].energy_ev == 705


@pytest.mark.parametrize("orientation", range(9))
def test_images_are_turned_as_their_tag_says(tmp_path: Path, orientation: int) -> None:
    stored = [tiff(image, extratags=[(274, "H", 1, orientation, True)]) for image in STACK]
    upright = [np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(content)))) for content in stored]
    assert upright[0].shape == ((20, 16) if orientation >= 5 else (16, 20))
    images = {f"absorption_{number}": content for number, content in enumerate(stored)}
    with open_images(write(tmp_path / "f", ENERGIES, **images)) as sources:
        assert [source.faults for source in sources] == [()] * 3
        for source, image in zip(sources, upright, strict=True):
            assert source.image is not None
            np.testing.assert_array_equal(source.image[()], image)


def test_images_whose_zero_is_white_are_refused(tmp_path: Path) -> None:
    """Pillow inverts them when it reads them, tifffile and ImageJ do not."""
    file = BytesIO()
    tifffile.imwrite(file, (1000 * STACK).astype(np.uint16), photometric="miniswhite")
    with open_images(write(tmp_path / "f", absorption=file.getvalue())) as (source,):
        assert ["zero is white (PhotometricInterpretation 0)" in fault.message for fault in source.faults] == [True]
