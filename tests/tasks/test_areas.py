"""Spectra and ratios of areas against the parameters they were made from."""

import numpy as np
import pytest
from published import EDGE_EV, energies, published_maps, true_parameters
from scipy import ndimage

from tasks.areas import AreaModel, area_electrons, area_pre_edge, fit_mean, mean_spectrum, means, pixel_fit, pixel_sigma
from tasks.errors import EnergyGridError, NoModelError
from tasks.scattering import Absorber
from tasks.xanes.model import PARAMETERS, eq1
from tasks.xanes.uncertainty.neighbours import blurred, noise_correlation

ENERGY_EV = energies(25)
SHAPE = (30, 40)
TRUTH = true_parameters(SHAPE)
SCALE = EDGE_EV / ENERGY_EV
MODEL = AreaModel(Absorber("V"))


def test_the_mean_has_the_error_of_one_pixel_over_the_root_of_their_number() -> None:
    rng = np.random.default_rng(1)
    sigma = np.linspace(0.5, 2, 25)
    images = 3 + sigma[:, None, None] * rng.normal(size=(25, 60, 60))
    inside = np.zeros((60, 60), bool)
    inside[10:30, 5:30] = True
    mean, error = mean_spectrum(images, sigma, inside)
    assert error == pytest.approx(sigma / np.sqrt(500))
    assert np.sqrt(np.mean(((mean - 3) / error) ** 2)) == pytest.approx(1, abs=0.4)
    assert np.isnan(mean_spectrum(images, None, inside)[1]).all()


@pytest.mark.parametrize("waves", [0.0, 0.3])
def test_the_error_of_a_mean_is_its_scatter_where_neighbours_share_noise(waves: float) -> None:
    """Boxes of noise that Gaussians have blurred, against the error from the correlation that is found in the same images."""
    rng = np.random.default_rng(2)
    images, slow = (ndimage.gaussian_filter(rng.normal(size=(60, 66, 66)), (0, s, s), mode="wrap") for s in (0.7, 3.0))
    images = images + waves * slow * images.std() / slow.std()
    noise = noise_correlation(images, np.ones((66, 66), bool))
    assert noise.blur_px == pytest.approx(0.7, rel=0.05 + waves)
    sigma = np.full(60, images.std())
    for side in (1, 2, 6):
        inside = np.zeros((66, 66), bool)
        inside[:side, :side] = True
        error = mean_spectrum(images, sigma, inside, noise)[1][0]
        scatter = images.reshape(60, 66 // side, side, 66 // side, side).mean(axis=(2, 4)).std()
        assert error == pytest.approx(scatter, rel=0.05), side
    assert error > 2 * sigma[0] / 6  # what independent pixels would have


def test_the_noise_of_an_area_is_the_scatter_of_its_pixels_about_their_fits() -> None:
    sigma, residual = np.array([1.0, 2.0, 3.0]), np.full((6, 6), 8.0)
    residual[:3], residual[0, 0] = 4.0, np.nan
    inside = np.zeros((6, 6), bool)
    inside[:3] = True
    found = pixel_sigma(sigma, residual, inside)
    assert np.sqrt(np.mean(found**2)) == pytest.approx(4.0)
    np.testing.assert_allclose(found / found[0], sigma)
    error = mean_spectrum(np.ones((3, 6, 6)), sigma, inside, residual=residual)[1]
    np.testing.assert_allclose(error, found / np.sqrt(18))
    for unknown in (None, np.full((6, 6), np.nan)):
        np.testing.assert_array_equal(pixel_sigma(sigma, unknown, inside), sigma)
    np.testing.assert_array_equal(pixel_sigma(np.zeros(3), residual, inside), np.zeros(3))
    by_chance = np.full((6, 6), 1e-4)
    np.testing.assert_array_equal(pixel_sigma(sigma, by_chance, inside), sigma)


def test_means_of_images_that_come_one_by_one_leave_out_what_was_not_seen() -> None:
    images = np.random.default_rng(3).normal(size=(3, 4, 5)).astype(np.float32)
    whole, corner = np.ones((4, 5), bool), np.zeros((4, 5), bool)
    corner[0, 0] = True
    images[1, 0, 0] = np.nan
    found = means(iter(images), {"whole": whole, "corner": corner})
    assert found["whole"] == pytest.approx(np.nanmean(images, axis=(1, 2)), rel=1e-5)
    np.testing.assert_array_equal(found["corner"], images[:, 0, 0])
    assert means(iter(images), {}) == {}


def test_ratios_count_what_neighbours_share() -> None:
    maps = published_maps(TRUTH, np.ones(SHAPE, bool))
    inside = np.zeros(SHAPE, bool)
    inside[5:25, 5:30] = True
    for ratio in (area_electrons, area_pre_edge):
        alone, shared = ratio(maps, inside), ratio(maps, inside, blurred(0.7))
        assert alone is not None
        assert shared is not None
        assert shared[0] == alone[0]
        assert shared[1] / alone[1] == pytest.approx(2 * np.sqrt(np.pi) * 0.7, rel=0.1)  # less at the area's border


def test_the_fit_of_a_mean_finds_the_parameters_and_lies_on_the_spectrum() -> None:
    truth = TRUTH[:, 15, 20]
    spectrum = eq1(ENERGY_EV, truth) * SCALE
    fit = fit_mean(ENERGY_EV, spectrum, np.full(25, 1e-3), MODEL)
    assert fit.parameters["edge_energy"] == pytest.approx(truth[PARAMETERS.index("edge_energy")], abs=1e-3)
    assert fit.residual == pytest.approx(np.zeros(25), abs=1e-6)
    assert np.interp(ENERGY_EV, fit.curve_energy_ev, fit.curve) == pytest.approx(spectrum, abs=2e-4)
    unweighted = fit_mean(ENERGY_EV, spectrum, np.full(25, np.nan), MODEL)
    assert unweighted.parameters["edge_jump"] == pytest.approx(fit.parameters["edge_jump"], rel=1e-4)
    with pytest.raises(EnergyGridError):
        fit_mean(ENERGY_EV[:5], spectrum[:5], np.full(5, 1e-3), MODEL)


def test_a_pixel_has_the_fit_of_the_maps() -> None:
    kept = np.ones(SHAPE, bool)
    kept[0, 0] = False
    maps = published_maps(TRUTH, kept)
    spectrum = eq1(ENERGY_EV, TRUTH[:, 3, 7]) * SCALE
    fit = pixel_fit(ENERGY_EV, spectrum + 0.01, maps, (3, 7), MODEL)
    assert fit is not None
    assert fit.residual == pytest.approx(np.full(25, 0.01), abs=2e-5)  # maps are in single precision
    assert fit.sigma["edge_energy"] == pytest.approx(0.1)
    assert np.isnan(fit.sigma["offset"])
    assert pixel_fit(ENERGY_EV, spectrum, maps, (0, 0), MODEL) is None
    assert pixel_fit(ENERGY_EV, spectrum, {}, (3, 7), MODEL) is None


def test_the_model_of_the_run_is_fitted() -> None:
    absorber = Absorber("Fe", "L3")
    energy, model = np.linspace(695.0, 740.0, 90), AreaModel(absorber, "l3_l2")
    truth = dict.fromkeys(model.parameters, 0.0) | {
        "offset": 0.1, "edge_jump": 0.2, "edge_energy": 707.5, "edge_width": 1.0, "edge_2_jump": 0.1, "edge_2_energy": 720.5,
        "edge_2_width": 1.0, "white_line_height": 0.9, "white_line_energy": 708.5, "white_line_width": 1.2,
        "white_line_2_height": 0.4, "white_line_2_energy": 721.5, "white_line_2_width": 1.5,
    }  # fmt: skip
    spectrum = model.curve(energy, np.array([truth[name] for name in model.parameters])) * (absorber.edge_energy_ev / energy)
    fit = fit_mean(energy, spectrum, np.full(90, 1e-3), model)
    assert set(fit.parameters) == set(model.parameters)
    assert fit.parameters["white_line_energy"] == pytest.approx(708.5, abs=0.02)
    assert fit.parameters["white_line_2_energy"] == pytest.approx(721.5, abs=0.02)
    assert fit.residual == pytest.approx(np.zeros(90), abs=1e-3)
    one = {name: np.full((2, 2), value) for name, value in fit.parameters.items()}
    of_pixel = pixel_fit(energy, spectrum, one, (1, 1), model)
    assert of_pixel is not None
    np.testing.assert_allclose(of_pixel.curve, fit.curve)


def test_where_no_model_is_fitted_no_curve_is_made_up() -> None:
    none = AreaModel(Absorber("V"), "none")
    spectrum = eq1(ENERGY_EV, TRUTH[:, 15, 20]) * SCALE
    assert pixel_fit(ENERGY_EV, spectrum, published_maps(TRUTH, np.ones(SHAPE, bool)), (3, 7), none) is None
    with pytest.raises(NoModelError, match="no model"):
        fit_mean(ENERGY_EV, spectrum, np.full(25, 1e-3), none)


def test_ratios_are_sums_over_sums_with_errors() -> None:
    maps = published_maps(TRUTH, np.ones(SHAPE, bool))
    inside = np.zeros(SHAPE, bool)
    inside[:, :10] = True
    maps["n_electron"][0, 0] *= 3
    electrons, pre_edge = area_electrons(maps, inside), area_pre_edge(maps, inside)
    assert electrons is not None
    assert pre_edge is not None
    assert electrons[0] == pytest.approx(maps["n_electron"][inside].sum() / maps["n_absorber"][inside].sum())
    assert pre_edge[0] == pytest.approx(maps["pre_edge_area"][inside].sum() / maps["edge_jump"][inside].sum())
    # area and jump each have 5 % a pixel, independently
    assert pre_edge[1] / pre_edge[0] == pytest.approx(0.05 * np.sqrt(2 / inside.sum()), rel=0.02)
    assert area_electrons({}, inside) is None
    assert area_pre_edge({}, inside) is None
