from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from storage.datasets.counts import CountReport, check_counts
from storage.datasets.framing import frame_about
from storage.datasets.masking import (
    beam_warnings,
    hidden_beam,
    hidden_counts,
    hot_pixels,
    hot_warning,
    mask_faults,
    mask_warnings,
)
from storage.readers.record import ScanSource

N, P = 32, 12
Mask = NDArray[np.bool_]


def beam(width_px: float = 5.0) -> NDArray[np.float64]:
    """A Gaussian beam in the middle of the frame, 5,000 photons in its brightest pixel."""
    y, x = np.indices((N, N)) - N // 2
    return np.asarray(5000 * np.exp(-(y**2 + x**2) / (2 * width_px**2)))


def measured(width_px: float = 5.0) -> NDArray[np.int32]:
    return np.random.default_rng(0).poisson(beam(width_px), (P, N, N)).astype(np.int32)


def check(frames: Any, mask: Mask | None = None, frame_masks: Any = None) -> CountReport:
    return check_counts(ScanSource("file", frames=frames, mask=mask, frame_masks=frame_masks), frame_about((N, N), None, 0))


def disc(radius: float) -> Mask:
    y, x = np.indices((N, N)) - N // 2
    return np.asarray(np.hypot(y, x) <= radius)


def everywhere() -> Mask:
    return np.ones((N, N), bool)


def all_told(report: CountReport, mask: Mask) -> str:
    assert report.faults == []
    return "; ".join([*(fault.message for fault in mask_faults(report, mask)), *mask_warnings(report, mask)])


def test_a_mask_of_gaps_and_dead_pixels_is_not_worth_a_word() -> None:
    mask = everywhere()
    mask[:, 3] = mask[9, 9] = mask[0, 0] = False
    assert all_told(check(measured(), mask), mask) == ""
    assert all_told(check(measured()), everywhere()) == ""


def test_a_mask_the_wrong_way_round_is_refused() -> None:
    mask = ~disc(14)
    report = check(measured(3.0), mask)
    assert [fault.field for fault in mask_faults(report, mask)] == ["mask"]
    assert hidden_counts(report) > 0.99
    assert "the brightest pixels among them; is its meaning inverted?" in all_told(report, mask)
    mask = np.eye(N, dtype=bool)
    assert "leaves 3.1% of the pixels" in all_told(check(measured(), mask), mask)


@pytest.mark.parametrize("radius", [1, 3, 6])
def test_a_mask_over_the_brightest_pixels_is_told_with_its_share(radius: float) -> None:
    mask = ~disc(radius)
    report = check(measured(), mask)
    share = beam()[disc(radius)].sum() / beam().sum()
    assert hidden_counts(report) == pytest.approx(share, abs=0.01)
    told = all_told(report, mask)
    assert f"hides {hidden_counts(report):.1%} of the counted photons" in told
    assert "brightest pixels of the mean pattern" in told


def test_a_mask_beside_the_brightest_that_hides_many_photons_is_told() -> None:
    mask = everywhere()
    mask[: N // 2 - 2] = False
    assert "of the counted photons, with 0 of" in all_told(check(measured(), mask), mask)


def test_a_beam_stop_without_counts_behind_it_is_told_by_its_surroundings() -> None:
    mask = ~disc(8)
    frames = np.where(mask, measured(), 0)
    report = check(frames, mask)
    assert hidden_counts(report) == 0
    assert hidden_beam(report) > 0.5
    assert "hides about" in all_told(report, mask)
    small = ~disc(2)
    assert all_told(check(np.where(small, measured(), 0), small), small) == ""


def test_masks_of_single_frames_count_as_much_as_they_hide() -> None:
    masks = np.ones((P, N, N), bool)
    masks[3] = ~disc(6)
    report = check(measured(), frame_masks=masks)
    assert hidden_counts(report) == pytest.approx(beam()[disc(6)].sum() / beam().sum() / P, abs=0.01)
    assert hidden_beam(report) == 0
    assert report.good.all()
    masks[:] = ~disc(6)
    assert "brightest pixels" in all_told(check(measured(), frame_masks=masks), everywhere())


def test_bright_pixels_that_saturate_are_told_and_gaps_are_not() -> None:
    frames = measured().astype(np.uint16)
    frames[:, 2, :] = 65535
    assert all_told(check(frames), everywhere()) == ""
    frames[4, N // 2, N // 2 : N // 2 + 2] = 65535
    told = all_told(check(frames), everywhere())
    assert "34 pixels reach the end of the detector's range, in up to 12 frames each, and are masked in all" in told


@pytest.mark.parametrize("group", [[(5, 5)], [(5, 5), (20, 27)], [(5, 5), (5, 6)], [(0, 0)], [(16, 2), (17, 2), (17, 3)]])
def test_pixels_far_above_their_neighbours_in_every_frame_are_hot(group: list[tuple[int, int]]) -> None:
    frames = measured(2.5)
    for place in group:
        frames[(slice(None), *place)] = np.random.default_rng(1).poisson(90_000, P)
    report = check(frames)
    hot = hot_pixels(report, P)
    assert [tuple(place) for place in np.argwhere(hot).tolist()] == sorted(group)
    assert f"({group[0][0] + 4}, {group[0][1]})" in hot_warning(hot, (4, 0))


@pytest.mark.parametrize("width_px", [0.85, 1.5, 5.0, 20.0])
def test_an_oversampled_beam_has_no_hot_pixel(width_px: float) -> None:
    assert not hot_pixels(check(measured(width_px)), P).any()


@pytest.mark.parametrize("width_px", [0.7, 0.85])
@pytest.mark.parametrize("dead", [[(16, 16)], [(15, 16)], [(15, 15)], [(15, 16), (16, 15)], [(row, 15) for row in range(N)]])
def test_a_beam_of_few_pixels_is_not_hot_beside_a_dead_one(width_px: float, dead: list[tuple[int, int]]) -> None:
    """A dead pixel next to the middle must not turn the pixels beyond it, bright by right, into hot ones."""
    mask = everywhere()
    mask[tuple(np.transpose(dead))] = False
    frames = 100 * measured(width_px)
    assert not hot_pixels(check(np.where(mask, frames, 0), mask), P).any()


@pytest.mark.parametrize("dead", [[(5, 6)], [(4, 4), (6, 6)], [(row, 6) for row in range(N)], [(row, 6) for row in range(8, N)]])
def test_a_hot_pixel_beside_masked_ones_is_hot(dead: list[tuple[int, int]]) -> None:
    mask, frames = everywhere(), measured(2.5)
    mask[tuple(np.transpose(dead))] = False
    frames[:, 5, 5] = 90_000
    assert np.argwhere(hot_pixels(check(np.where(mask, frames, 0), mask), P)).tolist() == [[5, 5]]


def test_what_is_bright_in_some_frames_only_is_not_hot() -> None:
    frames = measured(2.5)
    frames[: P // 2, 5, 5] = 90_000
    assert not hot_pixels(check(frames), P).any()


def test_few_photons_make_no_pixel_hot() -> None:
    frames = np.random.default_rng(0).poisson(0.05, (P, N, N)).astype(np.int32)
    assert not hot_pixels(check(frames), P).any()


@pytest.mark.parametrize(
    ("rolled", "words"),
    [
        ((0, 0), ""),
        ((2, -3), ""),
        ((N // 2, N // 2), "is the beam in the corners"),
        ((N // 2 - 1, N // 2), "is the beam in the corners"),
        ((0, 9), "centred at (row, column) (16, 25), 9 pixels"),
        ((-7, 6), "centred at (row, column) (9, 22), 9 pixels"),
    ],
)
def test_light_that_is_not_in_the_middle_is_told(rolled: tuple[int, int], words: str) -> None:
    told = list(beam_warnings(check(np.roll(measured(), rolled, axis=(1, 2))), (0, 0)))
    assert bool(told) == bool(words)
    assert words in "".join(told)


def test_light_that_is_everywhere_has_no_place() -> None:
    frames = np.random.default_rng(0).poisson(9, (P, N, N)).astype(np.int32)
    frames[:, 0, 0] += 50
    assert list(beam_warnings(check(frames), (0, 0))) == []
    assert list(beam_warnings(check(measured(30.0)), (0, 0))) == []
