"""Products of ptychodus, read by h5py by the names of its documentation, and by our own reader as one upload."""

import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from published import PIXEL_SIZE_M, SIGMA_ABSORPTION, SIGMA_PHASE

from storage.exports.source import Source
from storage.readers.image_format import open_images


def test_each_energy_is_a_product(exported: dict[str, Path], one: Source, tmp_path: Path) -> None:
    absorption, phase = (one.read("ds_a/spectra", name) for name in ("absorption", "phase"))
    with zipfile.ZipFile(exported["ptychodus"]) as archive:
        names = sorted(archive.namelist())
        archive.extractall(tmp_path)
    assert len(names) == 5
    with h5py.File(tmp_path / names[1]) as file:
        assert file.attrs["probe_energy_eV"] == one.read("ds_a/spectra", "energy")[1]
        assert file["object"].shape == (1, 12, 15)
        np.testing.assert_allclose(file["object"][0], np.exp(-absorption[1] + 1j * phase[1]), rtol=1e-5)
        assert file["object"].attrs["pixel_width_m"] == pytest.approx(PIXEL_SIZE_M)
        assert file["object"].attrs["center_x_m"] == pytest.approx(7 * PIXEL_SIZE_M)
        np.testing.assert_array_equal(file["probe"][0], one.read("ds_a/reconstruction", "probe")[1])


def test_one_upload_brings_every_energy_back(exported: dict[str, Path], one: Source) -> None:
    with open_images(exported["ptychodus"]) as sources:
        assert [source.faults for source in sources] == [()] * 5
        assert [source.energy_ev for source in sources] == one.read("ds_a/spectra", "energy").tolist()
        assert sources[0].origin_m == pytest.approx((0, 0), abs=1e-12)
        assert sources[3].errors == pytest.approx([SIGMA_ABSORPTION, SIGMA_PHASE])
