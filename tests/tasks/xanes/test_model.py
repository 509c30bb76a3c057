"""Eq. 1 against hand-worked values and numerical derivatives."""

import numpy as np
import pytest

from tasks.xanes.model import PARAMETERS, eq1, jacobian, pre_edge_area, pre_edge_ratio

P = np.array([0.1, 2.0, 5478.0, 3.0, 0.5, 5470.0, 1.5, 0.8, 5490.0, 6.0])


def test_names_follow_the_symbols_of_the_paper() -> None:
    assert PARAMETERS[2] == "edge_energy"
    assert len(set(PARAMETERS)) == 10


def test_value_at_the_edge_energy() -> None:
    peaks = 0.5 / (1 + (8 / 1.5) ** 2) + 0.8 / (1 + (12 / 6) ** 2)
    assert eq1([5478.0], P)[0] == pytest.approx(0.1 + 1.0 + peaks, rel=1e-14)


def test_far_limits_differ_by_the_jump() -> None:
    before, after = eq1([-1e7, 1e7], P)
    assert before == pytest.approx(0.1, abs=1e-6)
    assert after - before == pytest.approx(2.0, abs=1e-6)


def test_peak_width_is_half_the_full_width_at_half_maximum() -> None:
    only_peak = P * np.array([0, 0, 1, 1, 1, 1, 1, 0, 1, 1])
    assert eq1([5470.0 - 1.5, 5470.0, 5470.0 + 1.5], only_peak) == pytest.approx([0.25, 0.5, 0.25])


def test_many_pixels_at_once() -> None:
    energy = np.linspace(5420, 5540, 7)
    p = np.stack([P, P + 0.5], axis=1).reshape(10, 2, 1)
    spectra = eq1(energy, p)
    assert spectra.shape == (7, 2, 1)
    np.testing.assert_allclose(spectra[:, 1, 0], eq1(energy, P + 0.5), rtol=1e-14)


def test_jacobian_is_the_derivative() -> None:
    energy = np.linspace(5440, 5520, 23)
    steps = 1e-4 * np.eye(10)
    numerical = np.stack([(eq1(energy, P + h) - eq1(energy, P - h)) / 2e-4 for h in steps], axis=1)
    np.testing.assert_allclose(jacobian(energy, P), numerical, atol=2e-8)
    np.testing.assert_allclose(jacobian(energy, np.stack([P + 0.5, P], axis=1))[:, 1], jacobian(energy, P), rtol=1e-14)


def test_pre_edge_area_is_the_integral_of_its_lorentzian() -> None:
    energy = np.linspace(-2e5, 2e5, 4_000_001)
    only_peak = np.array([0, 0, 0, 1, 0.5, 0, 1.5, 0, 0, 1.0])
    assert np.trapezoid(eq1(energy, only_peak), energy) == pytest.approx(pre_edge_area(only_peak), rel=1e-4)
    assert pre_edge_ratio(P) == pytest.approx(np.pi * 0.5 * 1.5 / 2.0)


def test_pre_edge_ratio_without_a_jump_is_nan() -> None:
    p = P.copy()
    p[1] = 0.0
    assert np.isnan(pre_edge_ratio(p))
