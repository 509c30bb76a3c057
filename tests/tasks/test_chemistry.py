"""Eqs 2-5: hand-worked values, sums over sums, propagated errors."""

from typing import get_args

import numpy as np
import pytest

from tasks.chemistry import (
    Density,
    absorber_density,
    area_ratio,
    chemistry_maps,
    electron_density,
    f2_step,
    ratio,
    theoretical_electron_ratio,
)
from tasks.errors import FormulaError, InvalidOptionError
from tasks.options.domains import Descriptor
from tasks.options.spectra import ChemistryOptions
from tasks.scattering import Absorber
from tasks.units import electrons_per_absorption
from tasks.xanes.fit import SpectrumFit, Status
from tasks.xanes.uncertainty.unresolved import UNRESOLVED
from tasks.xanes.uncertainty.vacuum import ErrorScales

PAPER, CHANTLER = ChemistryOptions(), ChemistryOptions(preset="chantler")
V = Absorber()


@pytest.mark.parametrize(("formula", "expected"), [("Li10/7V6/7O2", 39.7), ("LiVO2", 35.0), ("LiVO3", 43.1)])
def test_eq5_gives_the_values_of_the_paper(formula: str, expected: float) -> None:
    assert theoretical_electron_ratio(formula, 5420.0, V, PAPER) == pytest.approx(expected, abs=0.05)


def test_eq5_with_tables_takes_f1_at_the_energy() -> None:
    """V 23 - 4.622, Li 3 + 0.0016, O 8 + 0.0886 at 5420 eV (Chantler)."""
    expected = 23 - 4.62192 + 3 + 0.00159 + 2 * (8 + 0.0886)
    assert theoretical_electron_ratio("LiVO2", 5420.0, V, CHANTLER) == pytest.approx(expected, abs=0.01)


def test_eq5_of_another_absorber_and_of_elements_the_paper_does_not_list() -> None:
    iron = theoretical_electron_ratio("LiFePO4", 7060.0, Absorber("Fe", "K"), CHANTLER)
    assert 3 + 26 + 15 + 4 * 8 - 8 < iron < 3 + 26 + 15 + 4 * 8
    assert 60 < theoretical_electron_ratio("LiVPO4F", 5420.0, V, PAPER) < 90


def test_eq5_needs_the_absorber_in_the_formula() -> None:
    with pytest.raises(FormulaError, match="must contain the absorber V"):
        theoretical_electron_ratio("LiFeO2", 5420.0, V, PAPER)


def test_step_of_f2() -> None:
    assert f2_step(V, PAPER) == 3.53
    assert f2_step(V, CHANTLER) == pytest.approx(3.53, rel=0.02)
    assert 3.0 < f2_step(Absorber("Fe", "K"), CHANTLER) < 4.0
    with pytest.raises(InvalidOptionError, match=r'the absorber is Fe K\. Choose preset "chantler"'):
        f2_step(Absorber("Fe", "K"), PAPER)


def test_densities_invert_the_forward_model() -> None:
    """A specimen of 1 um V2O5 (3.36 g/cm3): 2.22e22 V atoms per cm3."""
    n_v = 2.22e28 * 1e-6
    jump = float(electrons_per_absorption(5465.0)) * n_v * 3.53
    found = absorber_density(np.array([jump]), np.array([0.01 * jump]), V, PAPER)
    assert found.value[0] == pytest.approx(n_v, rel=1e-12)
    assert found.sigma[0] == pytest.approx(0.01 * n_v, rel=1e-12)
    phase = -float(electrons_per_absorption(5420.0)) * n_v * 40.0
    electrons = electron_density(np.array([phase]), 0.001, 5420.0)
    assert electrons.value[0] == pytest.approx(40.0 * n_v, rel=1e-12)
    assert ratio(electrons, found)[0][0] == pytest.approx(40.0, rel=1e-12)


def test_ratio_error_is_that_of_a_simulation() -> None:
    rng = np.random.default_rng(0)
    above, below = 40 + 0.8 * rng.normal(size=200_000), 1 + 0.03 * rng.normal(size=200_000)
    value, sigma = ratio(Density(np.array(40.0), np.array(0.8)), Density(np.array(1.0), np.array(0.03)))
    assert value == 40.0
    assert sigma == pytest.approx(np.std(above / below), rel=0.01)


def test_ratio_over_nothing_is_nan() -> None:
    value, sigma = ratio(Density(np.ones(2), np.ones(2)), Density(np.array([0.0, -1.0]), np.ones(2)))
    assert np.all(np.isnan(value) & np.isnan(sigma))


def test_area_ratio_is_sum_over_sum() -> None:
    above = Density(np.array([40.0, 10.0, np.nan, 7.0]), np.array([3.0, 4.0, 1.0, 1.0]))
    below = Density(np.array([1.0, 0.1, 1.0, 1.0]), np.zeros(4))
    value, sigma = area_ratio(above, below, np.array([True, True, True, False]))
    assert value == pytest.approx(50.0 / 1.1)
    assert value != pytest.approx((40 + 100) / 2)
    assert sigma == pytest.approx(5.0 / 1.1)


def fitted(n: int = 6) -> SpectrumFit:
    p = np.tile(np.array([0.01, 0.1, 5478.0, 3.0, 0.02, 5470.0, 1.5, 0.05, 5490.0, 6.0])[:, None], n)
    return SpectrumFit(
        p, 0.01 * np.abs(p), np.full(n, 0.001), np.full(n, 0.02), np.full(n, 1e-3), np.ones(n), np.zeros(n, np.int8)
    )


def test_maps_have_the_names_of_the_store_and_hide_masked_pixels() -> None:
    status = np.array([0, 1, 2, 3, 4, 5], dtype=np.int8)
    phase = np.full((2, 3), -0.5, dtype=np.float32)
    beside = [f"edge_energy_{name}" for name in ("half", "half_sigma", "centroid", "centroid_sigma")]
    maps = chemistry_maps(fitted(), status, phase, 0.01, 5420.0, V, PAPER, dict.fromkeys(beside, np.full(6, 5477.0)))
    assert set(maps) == {
        "edge_energy", "edge_jump", "edge_width", "offset", "pre_edge_height", "pre_edge_energy", "pre_edge_width",
        "pre_edge_area", "white_line_height", "white_line_energy", "white_line_width", "pre_edge_ratio", "n_absorber",
        "n_electron", "n_electron_sigma", "electron_ratio", "residual", "status", "mask", *beside,
        *(f"{name}_sigma" for name in get_args(Descriptor)),
    }  # fmt: skip
    assert maps["white_line_height_sigma"][0, 0] == pytest.approx(0.01 * 0.05)
    assert maps["pre_edge_area_sigma"][0, 0] == pytest.approx(0.001)
    assert maps["mask"].ravel().tolist() == [True, True, True, False, False, False]
    assert maps["status"].dtype == np.int8
    assert maps["status"][1, 0] == Status.MASKED_VACUUM
    for name, values in maps.items():
        assert values.shape == (2, 3)
        if name not in ("mask", "status", "n_electron", "n_electron_sigma"):
            assert values.dtype == np.float32
            assert np.array_equal(np.isfinite(values), maps["mask"]), name
    assert np.all(np.isfinite(maps["n_electron"]))
    np.testing.assert_allclose(maps["n_electron_sigma"], 0.02 * maps["n_electron"], rtol=1e-6)
    assert maps["pre_edge_ratio"][0, 0] == pytest.approx(np.pi * 0.02 * 1.5 / 0.1, rel=1e-6)
    expected = maps["n_electron"][0, 0] / maps["n_absorber"][0, 0]
    assert maps["electron_ratio"][0, 0] == pytest.approx(expected, rel=1e-6)
    assert maps["electron_ratio_sigma"][0, 0] == pytest.approx(expected * np.hypot(0.02, 0.01), rel=1e-5)


def test_the_error_of_the_jump_reaches_what_is_divided_by_it_and_nothing_else() -> None:
    further = (np.zeros(6, np.int8), np.full((2, 3), -0.5), 0.01, 5420.0, V, PAPER)
    own, found = (chemistry_maps(ErrorScales({"edge_jump": scale}).scaled(fitted(6)), *further) for scale in (1.0, 3.0))
    assert found["edge_jump_sigma"][0, 0] == pytest.approx(3 * own["edge_jump_sigma"][0, 0])
    expected = found["electron_ratio"][0, 0] * np.hypot(0.02, 0.03)
    assert found["electron_ratio_sigma"][0, 0] == pytest.approx(expected, rel=1e-5)
    same = set(own) - {"edge_jump_sigma", "electron_ratio_sigma"}
    assert all(np.array_equal(own[name], found[name], equal_nan=True) for name in same)


def test_maps_of_too_few_pixels_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="6 pixels do not fill"):
        chemistry_maps(fitted(), np.zeros(6, np.int8), np.zeros((2, 2)), 0.01, 5420.0, V, PAPER)


def test_maps_of_states_have_larger_errors_at_a_border_and_amounts_have_not() -> None:
    fit = fitted(25)
    fit.parameters[2] += np.tile([0, 0, 0.5, 1, 1], 5)
    maps = chemistry_maps(fit, np.zeros(25, np.int8), np.full((5, 5), -0.5), 0.01, 5420.0, V, PAPER)
    own = 0.01 * np.abs(fitted(1).parameters[2, 0])
    np.testing.assert_allclose(maps["edge_energy_sigma"], own, rtol=1e-6)  # the step is within its noise
    fit.sigma[2] = 0.1
    seen = chemistry_maps(fit, np.zeros(25, np.int8), np.full((5, 5), -0.5), 0.01, 5420.0, V, PAPER)
    expected = np.sqrt(0.01 + UNRESOLVED[0] * np.array([0, 0.0525, 0.24, 0.0525, 0]))
    np.testing.assert_allclose(seen["edge_energy_sigma"][2], expected, rtol=1e-5)
    np.testing.assert_allclose(seen["edge_jump_sigma"], 0.01 * 0.1, rtol=1e-6)
