"""Units: the two numbers everything else is built on."""

import numpy as np
import pytest

from tasks.units import electrons_per_absorption, object_pixel_size_m, wavelength_m


def test_wavelength_of_the_vanadium_edge() -> None:
    assert wavelength_m(5465.0) == pytest.approx(2.26869e-10, rel=1e-5)


def test_object_pixel_grows_with_wavelength_by_two_percent_over_the_window() -> None:
    pixels = object_pixel_size_m(np.array([5420.0, 5540.0]), 0.5, 96, 75e-6)
    assert pixels[0] / pixels[1] == pytest.approx(5540 / 5420)
    assert pixels[0] == pytest.approx(2.28753e-10 * 0.5 / (96 * 75e-6), rel=1e-5)


def test_electrons_per_absorption_is_re_lambda() -> None:
    assert electrons_per_absorption(5465.0) == pytest.approx(2.8179403e-15 * 2.26869e-10, rel=1e-5)
