"""Frames of several energies in one array, taken apart."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage.datasets.store import DatasetStore
from storage.readers.format import open_scan

ENERGIES_EV = np.array([5420.0, 5470.0, 5540.0])


def stack(files: Any) -> tuple[np.ndarray, np.ndarray]:
    """(E, P, ny, nx) counts and (P, 2) positions."""
    given = files.measurement()
    return np.stack([given["counts"] + index for index in range(3)]), given["positions_m"]


@pytest.mark.parametrize("form", ["npz", "plain"])
@pytest.mark.parametrize("is_own", [False, True])
def test_a_stack_becomes_one_scan_an_energy(store: DatasetStore, files: Any, tmp_path: Path, form: str, is_own: bool) -> None:
    counts, positions = stack(files)
    given = np.stack([positions + 1e-9 * index for index in range(3)]) if is_own else positions
    path = getattr(files, form)(tmp_path / "f", counts=counts, energy_ev=ENERGIES_EV, positions_m=given)
    path = path if path.exists() else path.with_suffix(".npz")
    added = store.add_scan("ds_1", "stack", path)
    assert [info.energy_ev for info in added.scans] == ENERGIES_EV.tolist()
    for index in range(3):
        scan = store.read_scan("ds_1", f"stack.{index + 1}")
        np.testing.assert_array_equal(scan["counts"], counts[index])
        np.testing.assert_allclose(scan["positions_m"], given[index] if is_own else given)


def test_cxi_may_hold_a_stack_in_one_entry(files: Any, tmp_path: Path) -> None:
    counts, _ = stack(files)
    path = files.cxi(tmp_path / "f", counts=counts, energy_ev=ENERGIES_EV)
    with open_scan(path) as sources:
        assert [source.faults for source in sources] == [()] * 3
        assert [source.energy_ev for source in sources] == pytest.approx(ENERGIES_EV.tolist())
        assert sources[2].frames is not None
        np.testing.assert_array_equal(sources[2].frames[0:6], counts[2])
        assert [source.label for source in sources] == ["entry_1 1", "entry_1 2", "entry_1 3"]


def test_a_raster_whose_energy_was_read_in_every_row_is_one_energy(files: Any, tmp_path: Path) -> None:
    given = files.measurement()
    raster = given["counts"].reshape(3, 2, 16, 16)
    path = files.plain(tmp_path / "f", counts=raster, energy_ev=5420 + np.array([0.0, 0.01, 0.02]))
    with open_scan(path) as (source,):
        assert source.energy_ev == pytest.approx(5420.01)


def test_energies_that_do_not_fit_are_named(files: Any, tmp_path: Path) -> None:
    counts, _ = stack(files)
    path = files.plain(tmp_path / "f", counts=counts, energy_ev=ENERGIES_EV[:2])
    with open_scan(path) as sources:
        assert "energy_ev" in {fault.field for source in sources for fault in source.faults}
    with h5py.File(path, "r+") as file:
        del file["energy_ev"]
        file["energy_ev"] = np.array([5420.0, np.nan, 5540.0])
    with open_scan(path) as sources:
        assert "energy_ev" in {fault.field for source in sources for fault in source.faults}


@pytest.mark.parametrize("form", ["npz", "plain", "cxi"])
def test_every_energy_gets_its_own_distance_and_probe(files: Any, tmp_path: Path, form: str) -> None:
    counts, _ = stack(files)
    probes = np.stack([np.full((2, 16, 16), 1 + index) for index in range(3)]).astype(np.complex64)
    more = {"distance_m": np.array([1.0, 1.1, 1.2]), "probe": probes}
    path = getattr(files, form)(tmp_path / "f", counts=counts, energy_ev=ENERGIES_EV, **more)
    path = path if path.exists() else path.with_suffix(".npz")
    with open_scan(path) as sources:
        assert [source.faults for source in sources] == [()] * 3
        assert [source.distance_m for source in sources] == [1.0, 1.1, 1.2]
        for source, probe in zip(sources, probes, strict=True):
            np.testing.assert_array_equal(source.probe, probe)


@pytest.mark.parametrize("form", ["npz", "plain", "cxi"])
def test_as_many_probes_as_energies_are_not_modes_of_one_beam(files: Any, tmp_path: Path, form: str) -> None:
    counts, _ = stack(files)
    probes = np.stack([np.full((16, 16), 1 + index) for index in range(3)]).astype(np.complex64)
    path = getattr(files, form)(tmp_path / "f", counts=counts, energy_ev=ENERGIES_EV, probe=probes)
    path = path if path.exists() else path.with_suffix(".npz")
    with open_scan(path) as sources:
        for source, probe in zip(sources, probes, strict=True):
            np.testing.assert_array_equal(source.probe, probe[np.newaxis])
            assert "3 probes for 3 energies" in source.warnings[-1]


def test_a_beam_centre_and_a_mask_of_each_energy(files: Any, tmp_path: Path) -> None:
    counts, _ = stack(files)
    masks = np.ones((3, 16, 16), bool)
    masks[[0, 1, 2], 0, [0, 1, 2]] = False
    more = {"mask": masks, "beam_centre_px": np.array([[8, 8], [8, 7], [7, 8]])}
    with open_scan(files.npz(tmp_path / "f.npz", counts=counts, energy_ev=ENERGIES_EV, **more)) as sources:
        assert [np.argwhere(~source.mask).tolist() for source in sources if source.mask is not None] == [
            [[0, n]] for n in range(3)
        ]
        assert [(one.beam_centre.y, one.beam_centre.x) for one in sources if one.beam_centre] == [(8, 8), (8, 7), (7, 8)]
