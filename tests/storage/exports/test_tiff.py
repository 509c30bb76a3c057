"""TIFF files, read by tifffile, which knows what ImageJ writes."""

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from published import PIXEL_SIZE_M

from storage.exports.source import Source
from storage.exports.tiff import as_rational


def opened(path: Path, name: str) -> tifffile.TiffFile:
    with zipfile.ZipFile(path) as archive:
        return tifffile.TiffFile(BytesIO(archive.read(name)))


@pytest.mark.parametrize("pixel_size_m", [1e-11, 0.7e-9, 15e-9, 22.5e-9, 1e-6, 3.0])
def test_pixel_sizes_are_kept_in_32_bits(pixel_size_m: float) -> None:
    numerator, denominator = as_rational(0.01 / pixel_size_m)
    assert 0 < max(numerator, denominator) < 2**32
    assert numerator / denominator == pytest.approx(0.01 / pixel_size_m, rel=1e-6)


def test_a_map_is_float32_with_its_pixel_size(exported: dict[str, Path], one: Source) -> None:
    with opened(exported["tiff"], "ds_a/maps/edge_energy.tif") as file:
        np.testing.assert_array_equal(file.asarray(), one.read("ds_a/maps", "edge_energy"))
        tags = file.pages.first.tags
        assert tags["ResolutionUnit"].value == 3, "centimetres"
        for axis in "XY":
            pixels, centimetres = tags[f"{axis}Resolution"].value
            assert 0.01 * centimetres / pixels == pytest.approx(PIXEL_SIZE_M, rel=1e-6)
        assert file.is_imagej
        assert (file.imagej_metadata or {})["unit"] == "cm"


def test_a_stack_has_an_image_an_energy_labelled_for_imagej(exported: dict[str, Path], one: Source) -> None:
    with opened(exported["tiff"], "ds_a/spectra/absorption.tif") as file:
        np.testing.assert_array_equal(file.asarray(), one.read("ds_a/spectra", "absorption"))
        metadata = file.imagej_metadata or {}
        assert (metadata["images"], metadata["Labels"][0]) == (5, "energy 5420.0 eV")


def test_labels_are_small_whole_numbers(exported: dict[str, Path], one: Source) -> None:
    with opened(exported["tiff"], "ds_a/domains/label.tif") as file:
        assert file.asarray().dtype == np.uint8
        np.testing.assert_array_equal(file.asarray(), one.read("ds_a/domains", "label"))
