"""Files of ptypy, read by h5py by the names of a real one, and by our own reader."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from published import PIXEL_SIZE_M, SIGMA_ABSORPTION, SIGMA_PHASE

from storage.exports.source import Source
from storage.readers.image_format import open_images


def test_each_energy_is_a_storage_of_object_and_probe(exported: dict[str, Path], one: Source) -> None:
    absorption, phase = (one.read("ds_a/spectra", name) for name in ("absorption", "phase"))
    with h5py.File(exported["ptyr"]) as file:
        assert list(file["content/obj"]) == list(file["content/probe"]) == [f"S{index:04d}G00" for index in range(5)]
        storage = file["content/obj/S0002G00"]
        assert storage["_energy"][()] == pytest.approx(one.read("ds_a/spectra", "energy")[2] / 1e3)
        np.testing.assert_allclose(storage["data"][0], np.exp(-absorption[2] + 1j * phase[2]), rtol=1e-5)
        assert storage["_psize"][...].tolist() == pytest.approx([PIXEL_SIZE_M] * 2)
        np.testing.assert_array_equal(file["content/probe/S0002G00/data"], one.read("ds_a/reconstruction", "probe")[2])


def test_our_reader_finds_the_same(exported: dict[str, Path], one: Source) -> None:
    with open_images(exported["ptyr"]) as sources:
        assert [source.faults for source in sources] == [()] * 5
        assert [source.energy_ev for source in sources] == pytest.approx(one.read("ds_a/spectra", "energy").tolist())
        assert sources[4].origin_m == (0.0, 0.0)
        assert sources[3].errors == pytest.approx([SIGMA_ABSORPTION, SIGMA_PHASE])
