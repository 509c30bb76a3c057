from typing import Any

import numpy as np
import pytest
from hypothesis import given as random_input
from hypothesis import settings
from hypothesis import strategies as st

from storage.datasets.entries import with_energy_warnings
from storage.datasets.ingest import ScanOverrides, examine
from storage.errors import FieldError
from storage.readers.record import BeamCentre, ScanSource

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
    assert (record.n_positions, record.n_pixels) == (4, N)
    assert record.dtype == np.uint16


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"positions_m": np.zeros((3, 2))}, "positions_m: 3 positions for 4 frames"),
        ({"positions_m": np.arange(8.0).reshape(4, 2)}, "positions_m: spread over 6 m; are they in micrometres?"),
        ({"mask": np.ones((N, N - 1), bool)}, "mask: is (16, 15) for frames of (16, 16)"),
        ({"mask": np.eye(N, dtype=bool)}, "mask: leaves 6.2% of the pixels; is its meaning inverted?"),
        ({"probe": np.ones((1, 8, 8), np.complex64)}, "probe: is (8, 8) for frames of (16, 16)"),
        ({"beam_centre": BeamCentre(1.0, 8.0)}, "beam_centre_px: beam centre (y, x) = (1, 8) leaves 2 of 16 by 16"),
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
    frames = np.random.default_rng(0).poisson(9, (4, N, N)).astype(dtype)
    frames[2, 7, 9] = np.iinfo(dtype).max
    record, faults = examine(source(frames=frames), ScanOverrides())
    assert faults == []
    assert record is not None
    assert record.dtype == np.uint16
    assert np.argwhere(~record.mask).tolist() == [[7, 9]]


P = 36


def raster(**changed: Any) -> ScanSource:
    """A scan of 36 frames with about 2,300 photons each, in which single frames stand out."""
    steps = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0), indexing="ij"), -1).reshape(-1, 2)
    frames = np.random.default_rng(0).poisson(9, (P, N, N)).astype(np.uint16)
    return source(**{"frames": frames, "positions_m": 1e-7 * steps, **changed})


def dark(frames: Any) -> None:
    frames[[3, 10, 20]] = 0


def bright(frames: Any) -> None:
    frames[5] *= 200


def half_dark(frames: Any) -> None:
    frames[18:] = 0


def filled(frames: Any) -> None:
    frames[18:] = 77


HALF = list(range(18, 36))
BAD = [(dark, [3, 10, 20], "without light"), (bright, [5], "as bright"), (half_dark, HALF, "without"), (filled, HALF, "reads 77")]


@pytest.mark.parametrize(("spoil", "bad", "reason"), BAD)
@pytest.mark.parametrize("bad_frames", ["refuse", "leave_out", "keep"])
def test_frames_that_stand_apart_are_refused_left_out_or_kept_and_named(
    spoil: Any, bad: list[int], reason: str, bad_frames: Any
) -> None:
    given = raster()
    assert isinstance(given.frames, np.ndarray)
    spoil(given.frames)
    record, faults = examine(given, ScanOverrides(bad_frames=bad_frames))
    told = [fault.message for fault in faults] if record is None else list(record.warnings)
    assert any(reason in text and f"{len(bad)} (frame" in text for text in told), told
    assert (record is None) == (bad_frames == "refuse")
    if record is None:
        assert "bad_frames = 'leave_out'" in told[0]
        return
    left = [frame for frame in range(P) if frame not in bad or bad_frames == "keep"]
    assert record.kept.tolist() == left
    assert given.positions_m is not None
    np.testing.assert_array_equal(record.positions_m, given.positions_m[left])
    np.testing.assert_array_equal(record.counts(slice(0, len(left))), given.frames[left])
    np.testing.assert_array_equal(record.counts(slice(2, 9)), given.frames[left[2:9]])


@pytest.mark.parametrize("axis", [None, 0])
def test_frames_at_a_position_that_stuck_are_left_out_with_their_positions(axis: int | None) -> None:
    given = raster()
    assert given.positions_m is not None
    where = (slice(18, 36),) if axis is None else (slice(18, 36), axis)
    given.positions_m[where] = given.positions_m[18] if axis is None else given.positions_m[18, axis]
    assert [fault.field for fault in examine(given, ScanOverrides())[1]] == ["positions_m"]
    record, _ = examine(given, ScanOverrides(bad_frames="leave_out"))
    assert record is not None
    assert record.kept.tolist() == list(range(18))


def test_a_scan_of_which_most_frames_stand_apart_is_refused_whatever_is_asked_for() -> None:
    given = raster()
    assert isinstance(given.frames, np.ndarray)
    given.frames[10:] = 0
    for bad_frames in ("leave_out", "keep"):
        faults = examine(given, ScanOverrides(bad_frames=bad_frames))[1]
        assert "too many of 36 to go on without" in faults[0].message


def test_frames_that_are_copies_are_told() -> None:
    given = raster()
    assert isinstance(given.frames, np.ndarray)
    given.frames[...] = np.random.default_rng(1).poisson(20.0, given.frames.shape)
    assert examine(given, ScanOverrides())[0] is not None
    given.frames[[7, 8, 30]] = given.frames[6]
    record, faults = examine(given, ScanOverrides())
    assert record is not None, faults
    assert "equal an earlier one, count by count: 3 (frames 7-8, 30)" in record.warnings[0]
    assert len(record.kept) == P
    given.frames[:] = 0
    given.frames[:, 4, 4] = 3  # single photons may fall alike
    record, faults = examine(given, ScanOverrides())
    assert record is not None, faults
    assert not any("count by count" in text for text in record.warnings)


def test_positions_that_return_are_told() -> None:
    given = raster()
    assert given.positions_m is not None
    given.positions_m[...] += np.random.default_rng(0).uniform(-1e-8, 1e-8, (P, 2))
    given.positions_m[::4] = given.positions_m[0]
    record, _ = examine(given, ScanOverrides())
    assert record is not None
    assert "frames at positions that return more often than others: 9" in record.warnings[0]


STATED = [
    ("distance_m", 2.0, {"distance_m": None}),
    ("detector_pixel_size_m", 1e-4, {"detector_pixel_size_m": None}),
    ("beam_centre_px", (8.0, 8.0), {"beam_centre": BeamCentre(1.0, 8.0)}),
    ("beam_centre_px", (8.0, 8.0), {"beam_centre": None}),
    ("saturation_count", 100.0, {"saturation_count": 2.0}),
]


@pytest.mark.parametrize(("field", "value", "found"), STATED)
def test_what_is_stated_is_used_before_what_a_file_has_right_or_wrong(field: str, value: Any, found: dict[str, Any]) -> None:
    fault = FieldError(field, "must be positive, got 0")
    wrong = source(**found, faults=(fault,))
    assert fault in examine(wrong, ScanOverrides())[1]
    record, faults = examine(wrong, ScanOverrides(**{field: value}))
    assert faults == []
    assert record is not None
    assert getattr(record, field, value) == value


@pytest.mark.parametrize(
    "found", [{"probe": np.ones((1, 8, 8), np.complex64)}, {"faults": (FieldError("probe", "has no light"),)}]
)
def test_a_wrong_probe_of_a_file_matters_only_where_no_optics_are_described(found: dict[str, Any]) -> None:
    assert [fault.field for fault in examine(source(**found), ScanOverrides())[1]] == ["probe"]
    record, faults = examine(source(**found), ScanOverrides(describes_probe=True))
    assert faults == []
    assert record is not None
    assert record.probe is None
    right, _ = examine(source(probe=np.ones((1, N, N), np.complex64)), ScanOverrides(describes_probe=True))
    assert right is not None
    assert right.probe is not None, "nothing that a file holds is lost"


def test_a_fault_of_another_field_is_not_mended_by_what_is_stated() -> None:
    fault = FieldError("energy_ev", "missing")
    assert examine(source(faults=(fault,)), ScanOverrides(distance_m=1.0, detector_pixel_size_m=1e-4))[1] == [fault]


@pytest.mark.parametrize("pixel_m", [75e-6, None])
def test_a_beam_centre_in_metres_is_converted_by_the_pixel_that_holds(pixel_m: float | None) -> None:
    given = source(beam_centre=BeamCentre(6 * 75e-6, 7 * 75e-6, is_length=True), detector_pixel_size_m=pixel_m)
    record, _ = examine(given, ScanOverrides(detector_pixel_size_m=75e-6))
    assert record is not None
    assert (record.framing.rows, record.framing.columns) == (slice(0, 12), slice(1, 13))
    if pixel_m is None:
        faults = {fault.field: fault.message for fault in examine(given, ScanOverrides())[1]}
        assert "the pixel size is unknown; give it in pixels" in faults["beam_centre_px"]


def test_a_pixel_bad_in_single_frames_is_stored_as_the_largest_number_there() -> None:
    masks = np.ones((4, N, N), bool)
    masks[2, 7, 9] = False
    record, faults = examine(source(frame_masks=masks), ScanOverrides(orientation=4))
    assert faults == []
    assert record is not None
    assert record.mask.all()
    counts = record.counts(slice(0, 4))
    assert np.argwhere(counts == 65535).tolist() == [[2, 9, 7]]


def test_masks_of_another_number_of_frames_are_refused() -> None:
    assert faults_of(source(frame_masks=np.ones((3, N, N), bool))) == ["mask: is (3, 16, 16) for frames of (4, 16, 16)"]


@pytest.mark.parametrize(("other_ev", "told"), [(5420.02, 1), (5419.92, 1), (5420.5, 0)])
def test_energies_that_no_monochromator_tells_apart_are_told(other_ev: float, told: int) -> None:
    record, _ = examine(source(), ScanOverrides())
    assert record is not None
    assert len(with_energy_warnings(record, [other_ev, 5500.0]).warnings) == told


@settings(deadline=None, max_examples=100)
@random_input(
    st.sampled_from(["u1", "u2", "i4", "f4"]),
    st.tuples(st.integers(1, 6), st.integers(2, 20), st.integers(2, 20)),
    st.integers(0, 2**31),
    st.floats(-1e3, 1e3) | st.just(np.nan),
    st.integers(-1, 8),
    st.none() | st.integers(1, 40),
)
def test_whatever_a_file_holds_is_accepted_or_refused_by_field(
    dtype: str, shape: tuple[int, int, int], seed: int, number: float, orientation: int, n_pixels: int | None
) -> None:
    random = np.random.default_rng(seed)
    frames = random.integers(0, np.iinfo(np.uint8).max, shape).astype(dtype)
    positions = random.choice([0.0, 1e-7, 2e-7, number], (shape[0], 2))
    given = source(frames=frames, positions_m=positions if np.isfinite(positions).all() else None, distance_m=number)
    record, faults = examine(given, ScanOverrides(orientation=orientation, n_pixels=n_pixels))
    assert (record is None) == bool(faults) or given.positions_m is None
    if record is not None:
        assert record.counts(slice(0, record.n_positions)).shape == (record.n_positions, record.n_pixels, record.n_pixels)
