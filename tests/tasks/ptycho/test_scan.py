"""Positions, canvases and what makes a scan insane."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.errors import GeometryError
from tasks.ptycho.scan import MARGIN_PX, Canvas, Scan, check_geometry, illumination, plan_canvas

RASTER = np.stack(np.meshgrid(np.arange(5.0), np.arange(7.0), indexing="ij"), axis=-1).reshape(-1, 2) * 150e-9


def test_every_frame_lies_on_the_canvas_and_the_origin_is_where_it_says() -> None:
    canvas = plan_canvas(RASTER + 3e-6, 15e-9, 64)
    corners = canvas.corners_px(RASTER + 3e-6, 64)
    assert corners.min() == pytest.approx(MARGIN_PX)
    assert (corners.max(axis=0) + 64 <= np.array(canvas.shape) - MARGIN_PX).all()
    # a frame's pixel [32, 32] is the probe's position
    centre = np.asarray(canvas.origin_m) + (corners[8] + 32) * canvas.pixel_size_m
    np.testing.assert_allclose(centre, RASTER[8] + 3e-6, atol=1e-15)


def test_neighbouring_energies_share_a_shape() -> None:
    shapes = {plan_canvas(RASTER, pixel, 64).shape for pixel in np.linspace(14.7e-9, 15e-9, 9)}
    assert len(shapes) == 1


def test_positions_in_the_wrong_unit_are_named() -> None:
    with pytest.raises(GeometryError, match="metres"):
        plan_canvas(RASTER * 1e9, 15e-9, 64)


def test_scan_pixel_is_lambda_z_over_np() -> None:
    scan = Scan(np.zeros((1, 96, 96), np.uint16), np.zeros((1, 2)), np.ones((96, 96), bool), 5420.0, 0.5, 75e-6)
    assert scan.pixel_size_m == pytest.approx(1.239841984e-6 / 5420 * 0.5 / (96 * 75e-6))


def test_the_mean_pattern_counts_a_pixel_only_where_it_was_good() -> None:
    """One masked, one at the end of its range in half of the frames, one in all; more frames than a block holds."""
    counts = np.full((40, 256, 256), 7, np.uint16)
    counts[::2, 0, 1] = counts[:, 0, 2] = np.iinfo(np.uint16).max
    counts[:20, 0, 3] = 9
    mask = np.ones((256, 256), bool)
    mask[0, 0] = False
    scan = Scan(counts, np.zeros((40, 2)), mask, 5420.0, 0.5, 75e-6)
    assert len(list(scan.blocks())) > 1
    mean, good = scan.mean_pattern
    assert mean[0, :5] == pytest.approx([0, 7, 0, 8, 7])
    assert good[0, :4].tolist() == [False, True, False, True]
    assert good[1:].all()


def test_a_sane_scan_has_no_faults() -> None:
    assert check_geometry(RASTER, 15e-9, 64, 300e-9) == []


@pytest.mark.parametrize(
    ("positions", "fwhm", "field", "says"),
    [
        (RASTER * 1e3, None, "positions_m", "overlap"),
        (RASTER * 1e6, None, "positions_m", "overlap"),
        (RASTER * 1e9, None, "positions_m", "are the positions in metres"),
        (np.concatenate([RASTER, RASTER + 400e-6]), None, "positions_m", "the positions span 0.000401 m = 26800 px"),
        (RASTER * 1e-6, None, "positions_m", "one object pixel"),
        (RASTER * 2.5, 300e-9, "positions_m", "larger than the probe"),
        (RASTER, 600e-9, "probe.fwhm_m", "oversampled"),
        (RASTER * 0, None, "positions_m", "coincide"),
        (RASTER[:1], None, "positions_m", "at least 2"),
    ],
)
def test_insane_scans_name_field_and_cause(positions: NDArray[np.float64], fwhm: float | None, field: str, says: str) -> None:
    faults = check_geometry(positions, 15e-9, 64, fwhm)
    assert any(name == field and says in message for name, message in faults)


@pytest.mark.parametrize("pixel_size_m", [0.0, 5e-324, 1e-300, np.inf, np.nan, -1e-8])
def test_a_pixel_that_no_object_has_is_refused(pixel_size_m: float) -> None:
    assert check_geometry(RASTER, pixel_size_m, 64, None)
    if not pixel_size_m > 1:
        with pytest.raises(GeometryError, match="may be at most"):
            plan_canvas(RASTER, pixel_size_m, 64)


def test_illumination_counts_the_photons_of_every_frame() -> None:
    canvas = plan_canvas(RASTER, 15e-9, 32)
    probe = np.full((2, 32, 32), 3 + 4j, np.complex64)
    dose = illumination(canvas, RASTER, probe)
    assert dose.sum() == pytest.approx(len(RASTER) * 32 * 32 * 2 * 25)
    assert dose[0, 0] == 0


def test_the_axes_of_a_canvas_are_the_places_of_its_pixels() -> None:
    canvas = Canvas((5, 4), 2e-9, (1e-6, -3e-6))
    y_m, x_m = canvas.axes_m
    corners = canvas.corners_px(np.stack([y_m[:4], x_m], axis=1), 1)
    np.testing.assert_allclose(corners, np.stack([np.arange(4)] * 2, axis=1), atol=1e-9)
    assert y_m[-1] == pytest.approx(1e-6 + 4 * 2e-9)
