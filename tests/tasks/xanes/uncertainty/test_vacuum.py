"""What the vacuum tells of the errors of fits: errors so scaled hold where the noise of energies is not independent."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.scattering import Absorber
from tasks.xanes.batch import fit_model
from tasks.xanes.fit import SpectrumFit, fit_spectra
from tasks.xanes.model import PARAMETERS, edge_step, eq1, jacobian, pre_edge_ratio
from tasks.xanes.models import spectrum_model
from tasks.xanes.prior import Prior
from tasks.xanes.uncertainty.linearised import Linearisation, linearised_eq1, linearised_model
from tasks.xanes.uncertainty.vacuum import LEAST_PIXELS, MOST_PIXELS, ErrorScales, error_scales, sampled, vacuum_warnings

Array = NDArray[np.float64]

EDGE_EV = Absorber().edge_energy_ev
ENERGY_EV = np.concatenate([np.linspace(5420, 5460, 10), np.linspace(5462, 5490, 22), np.linspace(5495, 5540, 8)])
FIT = np.array([0.012, 0.064, 5478.0, 3.2, 0.02, 5470.0, 1.1, 0.024, 5484.0, 4.0])
OWN = 4e-4
"""Standard deviation of the noise of one energy."""
SIGMA = np.full(ENERGY_EV.size, OWN)
N = 4000


def noise(kind: str, rng: np.random.Generator, n: int = N) -> Array:
    """(40, n) noise: ``white``, ``smooth`` (alike at neighbouring energies), ``rough`` (unlike), or with a false ``edge``."""
    white = OWN * rng.normal(size=(ENERGY_EV.size + 1, n))
    if kind == "edge":
        return np.asarray(white[1:] + 3e-4 * edge_step(ENERGY_EV, FIT[2], FIT[3])[:, None] * rng.normal(size=n))
    return np.asarray({"white": white[1:], "smooth": (white[1:] + white[:-1]) / 2, "rough": (white[1:] - white[:-1]) / 2}[kind])


def typical(sigma: Array = SIGMA) -> Linearisation:
    return linearised_eq1(ENERGY_EV, eq1(ENERGY_EV, FIT)[:, None], sigma, EDGE_EV, None)


def share_within(found: SpectrumFit, name: str, truth: Array = FIT[:, None]) -> float:
    """Of the fits of ``truth`` (10, 1 or n) with noise, those that are off by less than one standard error."""
    if name == "pre_edge_ratio":
        return float(np.mean(np.abs(pre_edge_ratio(found.parameters) - pre_edge_ratio(truth)) < found.pre_edge_ratio_sigma))
    i = PARAMETERS.index(name)
    return float(np.mean(np.abs(found.parameters[i] - truth[i]) < found.sigma[i]))


@pytest.mark.parametrize("kind", ["white", "smooth", "rough", "edge"])
def test_scaled_errors_hold_whatever_energies_share(kind: str) -> None:
    rng = np.random.default_rng(1)
    scales = error_scales(typical(), noise(kind, rng))
    own = fit_spectra(ENERGY_EV, eq1(ENERGY_EV, FIT)[:, None] + noise(kind, rng), SIGMA, EDGE_EV)
    for name in ("edge_jump", "edge_energy", "edge_width", "pre_edge_height", "white_line_height", "pre_edge_ratio"):
        assert share_within(scales.scaled(own), name) == pytest.approx(0.68, abs=0.025), name
    unscaled = share_within(own, "edge_jump")
    low, high = {"white": (0.65, 0.71), "smooth": (0.0, 0.56), "rough": (0.85, 1.0), "edge": (0.0, 0.56)}[kind]
    assert low < unscaled < high


def test_they_hold_with_a_prior_and_weights_too() -> None:
    rng, grows = np.random.default_rng(2), np.linspace(0.5, 1.5, ENERGY_EV.size)[:, None]
    sd = np.where(np.char.endswith(PARAMETERS, "width"), 0.3, np.inf)
    truth = FIT[:, None] + np.where(np.isfinite(sd), sd, 0.0)[:, None] * rng.normal(size=(10, N))
    pixels = eq1(ENERGY_EV, truth) + grows * noise("smooth", rng)
    weighed, prior = SIGMA * grows[:, 0], Prior(FIT, sd, noise=np.sqrt(0.5))
    scales = error_scales(linearised_eq1(ENERGY_EV, pixels, weighed, EDGE_EV, prior), grows * noise("smooth", rng))
    own = fit_spectra(ENERGY_EV, pixels, weighed, EDGE_EV, prior)
    for name in ("edge_jump", "edge_energy", "white_line_height"):
        assert share_within(scales.scaled(own), name) == pytest.approx(0.68, abs=0.025), name
        assert share_within(own, name) < 0.65
    assert share_within(scales.scaled(own), "edge_width", truth) == pytest.approx(0.68, abs=0.025)


def test_the_scale_does_not_depend_on_the_size_of_the_noise() -> None:
    few, many = (error_scales(typical(), size * noise("smooth", np.random.default_rng(3))) for size in (0.01, 10.0))
    assert few.by_name == pytest.approx(many.by_name, rel=1e-9)


def test_other_models_know_their_own_parameters() -> None:
    rng = np.random.default_rng(4)
    model = spectrum_model("no_pre_edge", Absorber())
    without = np.where(np.isin(PARAMETERS, ["pre_edge_height"]), 0.0, FIT)
    pixels = eq1(ENERGY_EV, without)[:, None] + noise("smooth", rng, 600)
    fitted = fit_model(ENERGY_EV, pixels, SIGMA, model)
    assert fitted.typical is not None
    scales = error_scales(linearised_model(ENERGY_EV, fitted.typical, SIGMA, model), noise("smooth", rng))
    assert scales.of("pre_edge_ratio") == 1.0
    found = scales.scaled(fitted.fit)
    assert share_within(found, "edge_energy") == pytest.approx(0.68, abs=0.05)
    assert np.isnan(found.sigma[PARAMETERS.index("pre_edge_height")]).all()


def test_a_peak_that_is_not_there_has_no_scale() -> None:
    without = np.where(np.isin(PARAMETERS, ["pre_edge_height"]), 0.0, FIT)
    about = Linearisation(PARAMETERS, without, jacobian(ENERGY_EV, without), SIGMA, np.zeros(10))
    scales = error_scales(about, noise("smooth", np.random.default_rng(5)))
    assert scales.of("pre_edge_energy") == 1.0
    assert scales.of("edge_jump") > 1.1
    assert np.isfinite(list(scales.by_name.values())).all()


def test_pixels_that_are_not_finite_are_left_out() -> None:
    images = noise("smooth", np.random.default_rng(6))
    expected = error_scales(typical(), images[:, 7:])
    images[3, :7] = np.nan
    assert error_scales(typical(), images).by_name == pytest.approx(expected.by_name)


def test_a_large_vacuum_is_sampled_evenly() -> None:
    vacuum = np.ones((300, 200), bool)
    vacuum[:, :50] = False
    some = sampled(vacuum)
    assert 0.5 * MOST_PIXELS <= np.count_nonzero(some) <= MOST_PIXELS
    assert not (some & ~vacuum).any()
    assert some[:150].sum() == pytest.approx(some[150:].sum(), rel=0.01)
    np.testing.assert_array_equal(sampled(vacuum[:100]), vacuum[:100])


def test_pixels_that_are_not_quite_empty_are_a_minority_or_are_named() -> None:
    images = noise("white", np.random.default_rng(8))
    images[:, : N // 10] += 0.1 * eq1(ENERGY_EV, FIT)[:, None]
    some = error_scales(typical(), images)
    assert some.of("edge_jump") == pytest.approx(1.0, abs=0.05)
    assert vacuum_warnings(some) == []
    images[:, N // 10 :] += 0.1 * eq1(ENERGY_EV, FIT)[:, None]
    (warning,) = vacuum_warnings(error_scales(typical(), images))
    assert "align.vacuum_box" in warning
    assert "times as large as their noise explains" in warning


@pytest.mark.parametrize("shift_ev", [2.8, 3.5, 5.6, 6.3])
def test_one_energy_more_than_parameters_is_enough(shift_ev: float) -> None:
    energy_ev = np.linspace(EDGE_EV - 30.0, EDGE_EV + 60.0, 11) + shift_ev
    about = Linearisation(PARAMETERS, FIT, jacobian(energy_ev, FIT), SIGMA[:11], np.zeros(10))
    assert error_scales(about, noise("smooth", np.random.default_rng(9))[:11]).by_name


@pytest.mark.parametrize("kind", ["few", "none", "zero", "unfitted"])
def test_too_little_to_tell_leaves_errors_as_they_are(kind: str) -> None:
    n = {"few": LEAST_PIXELS - 1, "none": 0}.get(kind, N)
    images = noise("smooth", np.random.default_rng(7), n) * (kind != "zero")
    about = linearised_eq1(ENERGY_EV, np.full((40, 1 - (kind == "unfitted")), FIT[1]), SIGMA, EDGE_EV, None)
    scales = error_scales(about if kind == "unfitted" else typical(), images)
    assert scales == ErrorScales({})
