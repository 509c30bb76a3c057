"""The figures of a scan and of an image before a run."""

import numpy as np

from tasks.figures.measurement import measured_images, measurement


def test_the_pattern_is_drawn_without_masked_pixels_beside_the_positions() -> None:
    counts = np.outer(np.hanning(32), np.hanning(32)) * 100
    mask = np.ones((32, 32), bool)
    mask[5, 6] = False
    positions_m = np.array([[0.0, 0.0], [0.0, 1e-6], [2e-6, 0.0]])
    figure = measurement(counts, mask, positions_m)
    left, right = figure.axes[:2]
    shown = left.images[0].get_array()
    assert shown is not None
    assert np.flatnonzero(np.ma.getmaskarray(np.ma.masked_invalid(shown))).tolist() == [5 * 32 + 6]
    assert np.asarray(right.lines[0].get_xydata()).tolist() == [[0, 0], [1, 0], [0, 2]]
    assert right.yaxis_inverted()


def test_a_scan_without_a_count_is_drawn() -> None:
    figure = measurement(np.zeros((8, 8)), np.ones((8, 8), bool), np.zeros((1, 2)))
    figure.draw_without_rendering()
    assert figure.axes[0].images[0].norm.vmin == 1.0


def test_images_are_drawn_beside_each_other_with_their_own_scales() -> None:
    absorption = np.linspace(0, 1, 80).reshape(8, 10)
    figure = measured_images({"absorption": absorption, "phase": np.where(absorption > 0.1, -absorption, np.nan)}, 2e-8)
    figure.draw_without_rendering()
    left, right = (axes.images[0] for axes in figure.axes[:2])
    assert left.get_clim()[1] <= 1
    assert right.get_clim()[0] < -0.9
    assert measured_images({"absorption": absorption}, 2e-8).axes[0].images
