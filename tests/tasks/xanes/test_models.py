"""Models beside eq. 1: their derivatives, and parameters that are known found again."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.errors import EnergyGridError, InvalidOptionError
from tasks.scattering import Absorber
from tasks.xanes.batch import fit_model
from tasks.xanes.fit import Status
from tasks.xanes.model import PARAMETERS
from tasks.xanes.models import EXTRA, SpectrumModel, spectrum_model

Array = NDArray[np.float64]
FE, V, AS = Absorber("Fe", "L3"), Absorber("V", "K"), Absorber("As", "K")


def energies(absorber: Absorber, above: float = 75.0) -> Array:
    return absorber.edge_energy_ev + np.concatenate([np.linspace(-40, -9, 6), np.arange(-8, 26, 0.75), np.linspace(30, above, 8)])


def values(model: SpectrumModel, absorber: Absorber, **features: tuple[float, float, float]) -> Array:
    """Parameters (P,) from amplitude, energy above the edge and width of each feature."""
    shifted = [(a, absorber.edge_energy_ev + e, w) for a, e, w in (features[name] for name in (*model.steps, *model.peaks))]
    return np.array([0.2, *(value for feature in shifted for value in feature)])


def truths(name: str) -> tuple[Absorber, SpectrumModel, Array, Array]:
    if name == "l3_l2":
        model = spectrum_model(name, FE)
        p = values(
            model, FE, edge=(0.4, 3.0, 1.0), edge_2=(0.2, 16.1, 1.2), white_line=(1.5, 2.0, 1.1), white_line_2=(0.6, 15.0, 1.6)
        )
        return FE, model, FE.edge_energy_ev + np.arange(-16, 40, 0.4), p
    if name == "no_pre_edge":
        model = spectrum_model(name, AS)
        return AS, model, energies(AS), values(model, AS, edge=(1.0, 3.0, 2.0), white_line=(1.6, 4.0, 2.6))
    model = spectrum_model(name, V)
    features = {
        "pre_edge": (0.2, 1.0, 1.0),
        "pre_edge_2": (0.35, 4.5, 1.2),
        "edge": (1.0, 13.0, 3.0),
        "white_line": (0.5, 21.0, 6.0),
    }
    return V, model, energies(V), values(model, V, **features)


NAMES = ["no_pre_edge", "two_pre_edges", "l3_l2"]


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_are_those_of_the_values(name: str) -> None:
    _, model, energy, p = truths(name)
    _, jacobian = model.evaluate(energy, p[None])
    for i in range(p.size):
        step = np.zeros(p.size)
        step[i] = 1e-4
        numeric = (model.evaluate(energy, (p + step)[None])[0] - model.evaluate(energy, (p - step)[None])[0])[0] / 2e-4
        np.testing.assert_allclose(jacobian[0, i], numeric, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_known_parameters_are_found_again_within_their_errors(name: str) -> None:
    _, model, energy, p = truths(name)
    rng = np.random.default_rng(5)
    moved = np.tile(p, (60, 1))
    moved[:, 2::3] += rng.normal(0, 0.4, (60, 1))
    noise = 0.005
    spectra = model.evaluate(energy, moved)[0] + rng.normal(0, noise, (60, energy.size))
    found = fit_model(energy, spectra.T, np.full(energy.size, noise), model)
    assert np.mean(found.fit.status == Status.OK) > 0.9
    np.testing.assert_allclose(np.median(found.fit.residual), noise, rtol=0.1)
    rows = dict(zip((*PARAMETERS, *EXTRA), (*found.fit.parameters, *found.extra), strict=True))
    for i, parameter in enumerate(model.parameters):
        if parameter in PARAMETERS:
            sigma = found.fit.sigma[PARAMETERS.index(parameter)]
            assert np.median(np.abs(rows[parameter] - moved[:, i]) / sigma) < 1.2, parameter
        elif parameter.endswith("energy"):
            assert np.median(np.abs(rows[parameter] - moved[:, i])) < 0.2, parameter
    absent = set(PARAMETERS) - set(model.parameters)
    assert all(np.isnan(rows[parameter]).all() for parameter in absent)
    assert np.isnan(found.fit.pre_edge_area_sigma).all() == ("pre_edge_height" not in model.parameters)


def test_a_spectrum_without_noise_gives_its_parameters() -> None:
    _, model, energy, p = truths("l3_l2")
    found = fit_model(energy, model.evaluate(energy, p[None])[0].T, np.ones(energy.size), model)
    rows = dict(zip((*PARAMETERS, *EXTRA), (*found.fit.parameters[:, 0], *found.extra[:, 0]), strict=True))
    np.testing.assert_allclose([rows[name] for name in model.parameters], p, rtol=1e-3)


def test_pixels_that_are_not_finite_are_a_status_and_none_is_no_error() -> None:
    _, model, energy, p = truths("no_pre_edge")
    spectra = np.repeat(model.evaluate(energy, p[None])[0].T, 3, axis=1)
    spectra[4, 1] = np.nan
    status = fit_model(energy, spectra, np.ones(energy.size), model).fit.status
    assert list(status == Status.MASKED_NOT_FINITE) == [False, True, False]
    assert fit_model(energy, spectra[:, :0], np.ones(energy.size), model).fit.status.size == 0


def test_edges_and_energies_that_do_not_fit_the_model_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="L3; the absorber is V K"):
        spectrum_model("l3_l2", V)
    _, model, energy, _ = truths("l3_l2")
    with pytest.raises(EnergyGridError, match="at least 13 energies"):
        fit_model(energy[:9], np.ones((9, 2)), np.ones(9), model)
    with pytest.raises(EnergyGridError, match="both sides of the edge 2"):
        fit_model(energy[:60], np.ones((60, 2)), np.ones(60), model)
