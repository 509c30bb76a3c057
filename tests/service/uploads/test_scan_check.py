"""Checks of a scan beside its dataset: how wide the beam is, and how far the energy is from the edge."""

from pathlib import Path

import numpy as np
import pytest

from service.uploads.sandbox import IngestRequest, read_file
from service.uploads.scan_check import beam_width_m
from storage.datasets.store import DatasetStore


def test_a_defocused_beam_is_wider_than_its_focus() -> None:
    assert beam_width_m({"kind": "zone_plate"}, 5420.0) is None
    assert beam_width_m({"kind": "kb", "fwhm_m": 3e-7}, 5420.0) == pytest.approx(3e-7)
    assert beam_width_m({"kind": "kb", "fwhm_m": 3e-7, "defocus_m": 4e-4}, 5420.0) == pytest.approx(4.3e-7, rel=0.05)


@pytest.mark.parametrize(
    ("energy_ev", "edge_ev", "is_far"),
    [(3000.0, 5465.1, True), (8000.0, 5465.1, True), (5420.0, 5465.1, False), (6900.0, 5465.1, False), (3000.0, None, False)],
)
def test_an_energy_far_from_the_edge_is_told_of(tmp_path: Path, energy_ev: float, edge_ev: float | None, is_far: bool) -> None:
    store = DatasetStore(tmp_path / "datasets")
    store.create("ds_a", {"probe": {"kind": "kb"}, "distance_m": 0.5, "detector_pixel_size_m": 75e-6})
    path = tmp_path / "scan.npz"
    places = np.stack(np.meshgrid(np.arange(4), np.arange(4), indexing="ij"), -1).reshape(-1, 2) * 1e-7
    counts = np.random.default_rng(0).poisson(50, (16, 32, 32)).astype(np.uint16)
    np.savez(path, counts=counts, positions_m=places, energy_ev=energy_ev)
    assert read_file(IngestRequest(store.root, "ds_a", "a", str(path), edge_ev=edge_ev))["kind"] == "done"
    warnings = " ".join(store.scans("ds_a")[0].warnings)
    assert ("far from the dataset's edge" in warnings) == is_far


@pytest.mark.parametrize("fwhm_m", [5e-324, 1e-300, 1e-10, 1e-3, 1e300])
def test_a_beam_of_any_width_and_defocus_has_a_width(fwhm_m: float) -> None:
    width_m = beam_width_m({"kind": "kb", "fwhm_m": fwhm_m, "defocus_m": 0.99}, 5465.0)
    assert width_m is not None
    assert width_m >= fwhm_m
