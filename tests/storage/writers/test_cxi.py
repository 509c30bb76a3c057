"""What is written as CXI is read back."""

from pathlib import Path

import numpy as np
import pytest

from storage.readers.format import open_scan
from storage.writers.cxi import write_cxi


def test_a_scan_survives_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    counts = rng.poisson(7, (5, 16, 16)).astype(np.uint32)
    positions_m = rng.normal(0, 1e-6, (5, 2))
    mask = rng.uniform(size=(16, 16)) > 0.1
    write_cxi(tmp_path / "a.cxi", counts, positions_m, mask, 5466.5, 1.34, 75e-6)
    with open_scan(tmp_path / "a.cxi") as [source]:
        assert source.faults == ()
        assert source.frames is not None
        np.testing.assert_array_equal(source.frames[()], counts)
        np.testing.assert_array_equal(source.positions_m, positions_m)
        np.testing.assert_array_equal(source.mask, mask)
        found = source.energy_ev, source.distance_m, source.detector_pixel_size_m
        assert found == pytest.approx((5466.5, 1.34, 75e-6), rel=1e-9)
