"""Objects of results as files of reconstructions hold them."""

from pathlib import Path

import numpy as np
import pytest

from storage.errors import ExportError
from storage.exports.objects import objects
from storage.exports.source import Source
from storage.results import Group, ResultsStore, write_results

COORDS = {"energy": np.array([5465.0]), "y": 2e-8 + np.arange(3) * 1e-8, "x": np.arange(4) * 1e-8}


def source(path: Path, **arrays: np.ndarray) -> Source:
    write_results(path, {"ds_a/spectra": Group(COORDS, arrays)}, {})
    return Source(ResultsStore(path), "run_1", ["ds_a"])


def test_pixels_that_were_not_seen_are_zero_and_the_place_is_kept(tmp_path: Path) -> None:
    absorption = np.zeros((1, 3, 4), np.float32)
    absorption[0, 1, 2] = np.nan
    (found,) = objects(source(tmp_path / "r.zarr", absorption=absorption, phase=np.full((1, 3, 4), 0.5, np.float32)), "ds_a")
    assert np.argwhere(found.object == 0).tolist() == [[1, 2]]
    np.testing.assert_allclose(found.object[found.seen], np.exp(0.5j), rtol=1e-6)
    assert found.origin_m == pytest.approx((2e-8, 0))
    assert found.centre_m == pytest.approx((3e-8, 1.5e-8))
    assert found.probe is None
    assert found.errors == {}


def test_absorption_alone_has_no_objects(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="absorption alone"):
        next(objects(source(tmp_path / "r.zarr", absorption=np.zeros((1, 3, 4), np.float32)), "ds_a"))
