"""CXI files of objects, read by h5py by the paths of the specification, and by our own reader."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from published import PIXEL_SIZE_M

from storage.errors import ExportError
from storage.exports.cxi import write_cxi_images
from storage.exports.source import Source
from storage.readers.image_format import open_images
from storage.readers.units import JOULE_EV
from storage.results import Group, ResultsStore, write_results


def test_each_energy_is_an_entry_with_object_and_probe(exported: dict[str, Path], one: Source) -> None:
    absorption, phase = (one.read("ds_a/spectra", name) for name in ("absorption", "phase"))
    energies = one.read("ds_a/spectra", "energy")
    with h5py.File(exported["cxi"]) as file:
        assert (file["cxi_version"][()], file["number_of_entries"][()]) == (160, 5)
        for index in range(5):
            entry = file[f"entry_{index + 1}"]
            np.testing.assert_allclose(entry["image_1/data"][...], np.exp(-absorption[index] + 1j * phase[index]), rtol=1e-5)
            assert entry["instrument_1/source_1/energy"][()] == pytest.approx(energies[index] * JOULE_EV)
            assert not entry["image_1/mask"][...].any()
            np.testing.assert_allclose(entry["image_1/image_size"][...], [15 * PIXEL_SIZE_M, 12 * PIXEL_SIZE_M, 0])
            probe = one.read("ds_a/reconstruction", "probe")[index]
            np.testing.assert_array_equal(entry["instrument_1/source_1/illumination"][...], probe)


def test_our_reader_finds_the_same(exported: dict[str, Path], one: Source, tmp_path: Path) -> None:
    with open_images(exported["cxi"]) as sources:
        assert [source.faults for source in sources] == [()] * 5
        assert [source.energy_ev for source in sources] == pytest.approx(one.read("ds_a/spectra", "energy").tolist())
        assert sources[0].pixel_size_m == pytest.approx(PIXEL_SIZE_M)
        np.testing.assert_array_equal(sources[2].probe, one.read("ds_a/reconstruction", "probe")[2])


def test_pixels_that_were_not_seen_are_missing(tmp_path: Path) -> None:
    images = np.zeros((1, 3, 4), np.float32)
    images[0, 1, 2] = np.nan
    coords = {"energy": np.array([5465.0]), "y": np.arange(3) * 1e-8, "x": np.arange(4) * 1e-8}
    write_results(tmp_path / "r.zarr", {"ds_a/spectra": Group(coords, {"absorption": images, "phase": images})}, {})
    write_cxi_images(Source(ResultsStore(tmp_path / "r.zarr"), "run_1", ["ds_a"]), tmp_path / "out.cxi")
    with h5py.File(tmp_path / "out.cxi") as file:
        assert np.argwhere(file["entry_1/image_1/mask"][...]).tolist() == [[1, 2]]
        assert np.isfinite(file["entry_1/image_1/data"][...]).all()


def test_what_does_not_fit_is_refused_in_words(both: Source, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="holds one dataset, and the run has 2") as refused:
        write_cxi_images(both, tmp_path / "out.cxi")
    assert refused.value.field == "dataset"
    coords = {"energy": np.array([5465.0]), "y": np.arange(3) * 1e-8, "x": np.arange(4) * 1e-8}
    write_results(tmp_path / "r.zarr", {"ds_a/spectra": Group(coords, {"absorption": np.zeros((1, 3, 4), np.float32)})}, {})
    with pytest.raises(ExportError, match="absorption alone"):
        write_cxi_images(Source(ResultsStore(tmp_path / "r.zarr"), "run_1", ["ds_a"]), tmp_path / "out.cxi")
