from pathlib import Path

import h5py
import numpy as np
import pytest

from storage.cxi import write_cxi
from storage.datasets import DatasetStore


def test_what_is_written_is_read_back(store: DatasetStore, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    counts = random.poisson(20, (4, 16, 16)).astype(np.uint32)
    positions = random.random((4, 2)) * 1e-6
    mask = np.ones((16, 16), bool)
    mask[2, 3] = False
    write_cxi(tmp_path / "scan.cxi", counts, positions, mask, 5420.5, 1.5, 75e-6)
    store.add_scan("ds_1", "a", tmp_path / "scan.cxi")
    scan = store.read_scan("ds_1", "a")
    np.testing.assert_array_equal(scan["counts"], np.where(mask, counts, 0))
    np.testing.assert_array_equal(scan["positions_m"], positions)
    np.testing.assert_array_equal(scan["mask"], mask)
    assert scan["energy_ev"] == pytest.approx(5420.5, rel=1e-12)
    assert (scan["distance_m"], scan["detector_pixel_size_m"]) == (1.5, 75e-6)


def test_the_file_says_what_cxi_says(tmp_path: Path) -> None:
    positions = np.array([[1e-6, 2e-6]])
    write_cxi(tmp_path / "f", np.ones((1, 8, 8), np.uint16), positions, np.ones((8, 8), bool), 8800.0, 1.0, 75e-6)
    with h5py.File(tmp_path / "f") as file:
        assert file["cxi_version"][()] == 160
        np.testing.assert_array_equal(file["entry_1/data_1/translation"][()], [[2e-6, 1e-6, 0]])
        assert file["entry_1/instrument_1/source_1/energy"][()] == pytest.approx(1.40991544e-15)
        assert not file["entry_1/instrument_1/detector_1/mask"][()].any()
        assert file["entry_1/data_1/data"].shape == (1, 8, 8)
