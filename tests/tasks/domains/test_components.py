"""Components are those of scikit-learn on the same matrix, and states that are known are told apart by them."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from tasks.domains.clustering import find_domains
from tasks.domains.components import non_negative_factors, normalised_spectra, principal_components
from tasks.errors import InvalidOptionError
from tasks.options.domains import DomainOptions
from tasks.xanes.model import edge_step, lorentzian

Array = NDArray[np.float64]
ENERGY = np.linspace(5420, 5540, 40)
STATES = np.stack(
    [edge_step(ENERGY, e, 3.0) + h * lorentzian(ENERGY, 5490.0, 5.0) for e, h in ((5474.0, 0.6), (5477.0, 0.4), (5480.0, 0.8))]
)
NOISE = 0.01
EDGE_EV = 5465.0


def pixels(n: int, seed: int) -> tuple[Array, Array, NDArray[np.int64]]:
    """Absorption (E, n) of pixels of any thickness, each in one of the states, their jump (n,) and state (n,)."""
    rng = np.random.default_rng(seed)
    state, jump = rng.integers(0, 3, n), rng.uniform(0.3, 2.0, n)
    clean = (0.3 + STATES[state].T) * jump / (ENERGY / EDGE_EV)[:, None]
    return clean + rng.normal(0, NOISE * 0.3, clean.shape), jump, state


def specimen(n: int, seed: int) -> tuple[Array, Array, NDArray[np.int64]]:
    """Normalised spectra (E, n), their errors (E, n) and states (n,)."""
    absorption, jump, state = pixels(n, seed)
    return normalised_spectra(ENERGY, absorption, 0.3 * jump, jump, EDGE_EV), np.full((40, n), NOISE * 0.3) / jump, state


@pytest.mark.parametrize(("edge_ev", "span_ev"), [(EDGE_EV, (-45.0, 75.0)), (706.8, (-9.0, 32.0))])
def test_spectra_are_scaled_at_the_wavelength_of_the_edge_wherever_it_lies_among_the_energies(
    edge_ev: float, span_ev: tuple[float, float]
) -> None:
    grid = edge_ev + np.linspace(*span_ev, 41)
    shape = edge_step(grid, edge_ev, 2.0) + 0.5 * lorentzian(grid, edge_ev + 4.0, 2.0)
    offset, jump = np.array([0.1, 0.9, 3.0]), np.array([0.2, 0.2, 1.0])
    absorption = (offset + shape[:, None] * jump) / (grid / edge_ev)[:, None]
    found = normalised_spectra(grid, absorption, offset, jump, edge_ev)
    np.testing.assert_allclose(found, np.repeat(shape[:, None], 3, axis=1), atol=1e-12)


def test_a_pixel_without_a_jump_has_no_normalised_spectrum() -> None:
    found = normalised_spectra(ENERGY, np.ones((40, 3)), np.zeros(3), np.array([1.0, 0.0, -1.0]), EDGE_EV)
    assert np.isfinite(found).all(axis=0).tolist() == [True, False, False]


def test_components_are_those_of_scikit_learn_on_the_same_matrix() -> None:
    spectra, sigma, _ = specimen(300, 0)
    found = principal_components([spectra[:, :120], spectra[:, 120:]], [sigma[:, :120], sigma[:, 120:]], 4)
    reference = PCA(4, svd_solver="full").fit(spectra.T)
    np.testing.assert_allclose(found.spectra, reference.components_, atol=1e-10)
    np.testing.assert_allclose(found.scree[:4], reference.explained_variance_ratio_, rtol=1e-10)
    np.testing.assert_allclose(np.concatenate(found.scores, axis=1), reference.transform(spectra.T).T, atol=1e-10)
    assert found.scree.sum() == pytest.approx(1.0)
    assert found.scree[:2].sum() > 0.95


def test_errors_of_scores_are_those_of_their_noise() -> None:
    spectra, sigma, state = specimen(600, 1)
    found = principal_components([spectra], [sigma], 2)
    true = found.spectra @ (STATES.T - found.mean[:, None])
    pull = (found.scores[0] - true[:, state]) / found.sigmas[0]
    np.testing.assert_allclose(pull.std(axis=1), 1.0, rtol=0.15)


def test_domains_in_the_space_of_components_are_the_states_whatever_the_thickness() -> None:
    sets = [specimen(400, 2), specimen(300, 3)]
    found = principal_components([one[0] for one in sets], [one[1] for one in sets], 2)
    options = DomainOptions(n_domains=3, space="components")
    domains = find_domains(found.scores, found.sigmas, [np.ones(400), np.ones(300)], ["a", "b"], options)
    assert adjusted_rand_score(np.concatenate([one[2] for one in sets]), np.concatenate(domains.labels)) > 0.97


def test_factors_are_nowhere_negative_and_rebuild_the_spectra() -> None:
    spectra, _, _ = specimen(200, 4)
    found = non_negative_factors([spectra], 3, seed=0)
    assert found.spectra.min() >= 0
    assert found.weights[0].min() >= 0
    assert found.spectra.max(axis=1) == pytest.approx(1.0)
    assert np.sqrt(np.mean((found.spectra.T @ found.weights[0] - spectra) ** 2)) < 0.03
    assert np.all(np.diff(found.weights[0].sum(axis=1)) <= 0)


def test_pixels_without_a_spectrum_have_no_score_and_none_at_all_is_a_sentence() -> None:
    spectra, sigma, _ = specimen(50, 5)
    spectra[3, 7] = np.nan
    scores = principal_components([spectra], [sigma], 3).scores[0]
    assert np.flatnonzero(np.isnan(scores).any(axis=0)).tolist() == [7]
    assert np.flatnonzero(np.isnan(non_negative_factors([spectra], 2, seed=1).weights[0]).any(axis=0)).tolist() == [7]
    for empty in (spectra[:, :0], np.full((40, 5), np.nan)):
        with pytest.raises(InvalidOptionError, match="at least two pixels"):
            principal_components([empty], [np.ones(empty.shape)], 3)


def test_spectra_that_are_all_alike_have_components_without_a_share() -> None:
    found = principal_components([np.ones((10, 20))], [np.full((10, 20), 0.1)], 4)
    np.testing.assert_array_equal(found.scree, 0)
    np.testing.assert_allclose(found.scores[0], 0, atol=1e-12)
