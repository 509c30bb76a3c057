from typing import Any

import numpy as np
import pytest

from storage.datasets.ingest import ScanOverrides, examine
from storage.readers.record import ScanSource

N = 16


def source(**changed: Any) -> ScanSource:
    frames = np.random.default_rng(0).poisson(9, (4, N, N)).astype(np.uint16)
    positions = 1e-7 * np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]])
    fields: dict[str, Any] = {
        "label": "file", "frames": frames, "positions_m": positions, "energy_ev": 5420.0, "distance_m": 1.0,
        "detector_pixel_size_m": 75e-6,
    }  # fmt: skip
    return ScanSource(**{**fields, **changed})


def faults_of(given: ScanSource, overrides: ScanOverrides | None = None) -> list[str]:
    record, faults = examine(given, overrides or ScanOverrides())
    assert (record is None) == bool(faults)
    return [f"{fault.field}: {fault.message}" for fault in faults]


def test_nothing_is_wrong_with_a_good_scan() -> None:
    record, faults = examine(source(), ScanOverrides())
    assert faults == []
    assert record is not None
    assert (record.n_positions, record.n_pixels, record.dtype) == (4, N, np.uint16)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"positions_m": np.zeros((3, 2))}, "positions_m: 3 positions for 4 frames"),
        ({"positions_m": np.arange(8.0).reshape(4, 2)}, "positions_m: spread over 6 m; are they in micrometres?"),
        ({"mask": np.ones((N, N - 1), bool)}, "mask: is (16, 15) for frames of (16, 16)"),
        ({"mask": np.eye(N, dtype=bool)}, "mask: leaves 6.2% of the pixels; is its meaning inverted?"),
        ({"probe": np.ones((1, 8, 8), np.complex64)}, "probe: is (8, 8) for frames of (16, 16)"),
        ({"beam_centre_px": (1.0, 8.0)}, "beam_centre_px: beam centre (y, x) = (1, 8) leaves 2 of 16 by 16"),
        ({"distance_m": None}, "distance_m: missing: neither the file nor the dataset gives it"),
        ({"detector_pixel_size_m": None}, "detector_pixel_size_m: missing"),
        ({"frames": np.zeros((4, N, N), np.uint16)}, "counts: every count is zero"),
    ],
)
def test_each_fault_is_named(changed: dict[str, Any], message: str) -> None:
    found = faults_of(source(**changed))
    assert len(found) == 1
    assert found[0].startswith(message)


def test_an_orientation_out_of_range_is_named() -> None:
    assert faults_of(source(), ScanOverrides(orientation=8)) == ["orientation: orientation must be 0 to 7, got 8"]


def test_mask_and_probe_turn_with_the_frames() -> None:
    mask = np.ones((N, N), bool)
    mask[3, 5] = False
    probe = np.zeros((2, N, N), np.complex64)
    probe[:, 3, 5] = 1j
    record, _ = examine(source(mask=mask, probe=probe), ScanOverrides(orientation=4 + 1))
    assert record is not None
    assert record.probe is not None
    assert np.argwhere(~record.mask).tolist() == [[5, N - 3]]
    assert np.argwhere(record.probe[0]).tolist() == [[5, N - 3]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_pixels_that_overflow_in_one_frame_are_masked(dtype: Any) -> None:
    frames = np.ones((4, N, N), dtype)
    frames[2, 7, 9] = np.iinfo(dtype).max
    record, faults = examine(source(frames=frames), ScanOverrides())
    assert faults == []
    assert record is not None
    assert record.dtype == np.uint16
    assert np.argwhere(~record.mask).tolist() == [[7, 9]]
