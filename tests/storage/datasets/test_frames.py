import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from storage.datasets.frames import FrameFinding, find_bad_frames, long_runs, named, revisited, usual_photons

Array = NDArray[np.float64]
P = 36


def raster(jitter: float = 0.1) -> Array:
    steps = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0), indexing="ij"), -1).reshape(-1, 2)
    return np.asarray(150e-9 * (steps + np.random.default_rng(0).uniform(-jitter, jitter, (P, 2))))


def photons() -> Array:
    return np.random.default_rng(1).normal(1e5, 1e4, P)


def find(
    totals: Array | None = None,
    positions: Array | None = None,
    constant: Array | None = None,
    unwritten: NDArray[np.bool_] | None = None,
    hidden: float = 0.0,
) -> list[FrameFinding]:
    return find_bad_frames(
        photons() if totals is None else totals,
        np.full(P, np.nan) if constant is None else constant,
        np.zeros(P, bool) if unwritten is None else unwritten,
        raster() if positions is None else positions,
        hidden,
    )


def frames_of(found: list[FrameFinding]) -> list[tuple[str, list[int]]]:
    return [(finding.field, finding.frames.tolist()) for finding in found]


@pytest.mark.parametrize("jitter", [0.0, 0.1])
def test_nothing_is_wrong_with_an_ordinary_scan(jitter: float) -> None:
    assert find(positions=raster(jitter)) == []


@pytest.mark.parametrize("dark", [[3], [0, 1, 35], [3, 10, 20], list(range(18, 36)), list(range(0, 27))])
@pytest.mark.parametrize("light", [0.0, 0.005])
def test_frames_without_light_among_others_are_named(dark: list[int], light: float) -> None:
    totals = photons()
    totals[dark] *= light
    (finding,) = find(totals)
    assert frames_of([finding]) == [("counts", dark)]
    assert "(nearly) without light" in str(finding)


@pytest.mark.parametrize(("factor", "found"), [(200, True), (12, True), (3, False), (0.3, False)])
def test_a_frame_far_brighter_than_the_others_is_named(factor: float, found: bool) -> None:
    totals = photons()
    totals[5] *= factor
    assert frames_of(find(totals)) == ([("counts", [5])] if found else [])


def test_an_absorbing_specimen_does_not_make_frames_dark() -> None:
    totals = photons()
    totals[:20] *= 0.05
    assert find(totals) == []


def test_few_photons_scatter_without_being_dark_or_bright() -> None:
    assert find(np.random.default_rng(0).poisson(3.0, P).astype(float)) == []


def test_behind_a_beam_stop_only_frames_without_any_photon_are_dark() -> None:
    totals = photons()
    totals[:18] *= 0.003
    totals[20] = 0
    assert frames_of(find(totals, hidden=0.6)) == [("counts", [20])]


def test_frames_never_written_and_frames_of_one_value_are_named_for_that_reason() -> None:
    unwritten, constant, totals = np.zeros(P, bool), np.full(P, np.nan), photons()
    unwritten[30:], totals[30:], constant[30:] = True, 0, 0
    constant[4], totals[4] = 77, 77 * 256
    found = find(totals, constant=constant, unwritten=unwritten)
    assert [str(finding) for finding in found] == [
        "frames that were never written, or only in part: 6 (frames 30-35)",
        "frames in which every pixel reads 77, as unwritten: 1 (frame 4)",
    ]


@pytest.mark.parametrize("jitter", [0.0, 0.1])
@pytest.mark.parametrize("stuck", [(10, 22), (18, 36), (0, 18), (33, 36)])
def test_an_encoder_that_stuck_is_named_with_its_frames(jitter: float, stuck: tuple[int, int]) -> None:
    positions = raster(jitter)
    positions[slice(*stuck)] = positions[stuck[0]]
    found = find(positions=positions)
    assert frames_of(found) == [("positions_m", list(range(*stuck)))]
    assert "position repeats" in str(found[0])


def test_one_axis_that_stuck_is_named() -> None:
    positions = raster()
    positions[18:, 0] = positions[18, 0]
    (finding,) = find(positions=positions)
    assert frames_of([finding]) == [("positions_m", list(range(18, 36)))]
    assert "y rests far longer than elsewhere" in str(finding)


@pytest.mark.parametrize("repeats", [2, 3, 6])
def test_exposures_repeated_at_every_position_are_meant(repeats: int) -> None:
    positions = np.repeat(raster()[: P // repeats], repeats, axis=0)
    assert find(positions=positions) == []


@pytest.mark.parametrize("shape", ["spiral", "snake", "line", "circle"])
def test_the_usual_scans_are_in_order(shape: str) -> None:
    k = np.arange(P)
    if shape == "spiral":
        positions = 1e-7 * np.sqrt(k)[:, None] * np.stack([np.sin(2.4 * k), np.cos(2.4 * k)], 1)
    elif shape == "snake":
        positions = raster(0).reshape(6, 6, 2)
        positions[1::2] = positions[1::2, ::-1]
        positions = positions.reshape(-1, 2)
    elif shape == "line":
        positions = np.stack([np.zeros(P), 1e-7 * k], 1)
    else:
        grid = np.stack(np.meshgrid(np.arange(-4.0, 5), np.arange(-4.0, 5), indexing="ij"), -1).reshape(-1, 2)
        positions = 1e-7 * grid[np.hypot(*grid.T) < 3.4][:P]
        assert len(positions) == P
    assert find(positions=np.asarray(positions)) == []


def test_one_position_misread_by_far_is_named() -> None:
    positions = raster()
    positions[5] += 30e-6
    assert frames_of(find(positions=positions)) == [("positions_m", [5])]


def test_positions_that_return_out_of_turn_are_found() -> None:
    positions = raster()
    positions[::3] = positions[0]
    np.testing.assert_array_equal(revisited(positions), np.arange(0, P, 3))
    assert len(revisited(raster())) == len(revisited(np.tile(raster(), (3, 1)))) == 0


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        ([3], "frame 3"),
        ([3, 4, 5], "frames 3-5"),
        ([0, 3, 4, 9], "frames 0, 3-4, 9"),
        (list(range(0, 40, 2)), "frames 0, 2, 4, 6, 8, 10, 12, 14, 16, 18 and 10 more runs"),
    ],
)
def test_frames_are_named_briefly(frames: list[int], text: str) -> None:
    assert named(np.array(frames)) == text


def test_the_usual_photons_are_those_of_frames_with_light() -> None:
    totals = photons()
    usual = usual_photons(totals)
    totals[:20] = 0
    assert usual_photons(totals) == pytest.approx(usual, rel=0.2)
    assert usual_photons(np.zeros(4)) == 0


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_runs_are_whole_and_long(rests: list[bool]) -> None:
    found = long_runs(np.array(rests))
    assert len(found) == len(rests) + 1
    for frame in map(int, np.flatnonzero(found)):
        assert found[frame - 1] or found[min(frame + 1, len(rests))]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1e9), min_size=4, max_size=30), st.floats(0, 1))
def test_any_photons_are_judged_without_an_error(totals: list[float], hidden: float) -> None:
    n = len(totals)
    positions = np.zeros((n, 2))
    found = find_bad_frames(np.array(totals), np.full(n, np.nan), np.zeros(n, bool), positions, hidden)
    assert all(0 < len(finding.frames) <= n and np.all(np.diff(finding.frames) > 0) for finding in found)
