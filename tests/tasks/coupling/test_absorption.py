"""Absorption alone against the simulated particle it was taken from."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from imaged import PIXEL_M, SIDE_PX, imaged
from numpy.typing import NDArray

from tasks.coupling.absorption import AbsorptionSpectra, absorption_spectra
from tasks.errors import EnergyGridError, RegistrationError, VacuumError
from tasks.options.coupling import AlignOptions
from tasks.ptycho.scan import Canvas

N = 12
CANVASES = [Canvas((SIDE_PX, SIDE_PX), PIXEL_M, (0.0, 0.0))] * N
I0 = np.linspace(300.0, 500.0, N)


def absorption() -> NDArray[np.float64]:
    return -0.5 * np.log(imaged().transmission)


def found(images: NDArray[np.float64], is_normalised: bool = False, **options: Any) -> AbsorptionSpectra:
    return absorption_spectra(
        list(images), CANVASES, imaged().energies_ev, replace(AlignOptions(), **options), is_normalised=is_normalised
    )


def test_i0_comes_from_the_empty_area_and_drift_is_taken_out() -> None:
    spectra = found(absorption() - 0.5 * np.log(I0)[:, None, None])
    np.testing.assert_allclose(spectra.incident_intensity, I0, rtol=1e-3)
    moved = imaged().drift_px - imaged().drift_px.mean(axis=0)
    off = np.abs(spectra.shift_px - moved)
    assert np.median(off) < 0.06
    assert off.max() < 0.4, "the two energies within the edge, where the states differ most"
    inside = spectra.sample_mask
    known = found(absorption(), is_normalised=True)
    assert known.absorption.shape == spectra.absorption.shape
    np.testing.assert_allclose(spectra.absorption[:, inside], known.absorption[:, inside], atol=1e-3)
    assert np.abs(spectra.absorption[:, spectra.vacuum_mask].mean(axis=1)).max() < 1e-6
    np.testing.assert_allclose(spectra.sigma_absorption, 2e-3, rtol=0.3)


def test_a_stated_empty_area_counts_before_an_i0_taken_out_already() -> None:
    """A file's I0 that was read through matter leaves an absorption in what is known to be empty."""
    left = np.linspace(0.02, 0.05, N)
    spectra = found(absorption() + left[:, None, None], is_normalised=True, drift="none", vacuum_box=(0, 5, 0, 48))
    right = found(absorption(), is_normalised=True, drift="none")
    np.testing.assert_allclose(spectra.absorption, right.absorption, atol=1e-3)
    np.testing.assert_allclose(spectra.incident_intensity, np.exp(-2 * left), rtol=2e-3)


def test_images_that_are_normalised_stay_as_they_are_and_need_no_empty_area() -> None:
    inner = absorption()[:, 16:32, 16:32]
    spectra = absorption_spectra(
        list(inner),
        [Canvas((16, 16), PIXEL_M, (0.0, 0.0))] * N,
        imaged().energies_ev,
        replace(AlignOptions(), drift="none", min_vacuum_fraction=0.5),
        is_normalised=True,
    )
    assert not spectra.vacuum_mask.any()
    assert spectra.sample_mask.all()
    np.testing.assert_allclose(spectra.absorption, inner, atol=1e-5)
    np.testing.assert_array_equal(spectra.incident_intensity, 1)
    assert (spectra.sigma_absorption > 0).all()


def test_without_i0_too_little_empty_area_is_an_error_that_says_so() -> None:
    with pytest.raises(VacuumError, match="must be empty"):
        found(absorption() - 3.0, min_vacuum_fraction=0.9)


def test_counts_in_single_precision_have_errors_in_double() -> None:
    spectra = found(np.asarray(absorption() - 0.5 * np.log(I0)[:, None, None], np.float32), drift="none")
    assert spectra.sigma_absorption.dtype == spectra.incident_intensity.dtype == np.float64


def test_a_stated_box_is_taken_for_i0() -> None:
    spectra = found(absorption() - 0.5 * np.log(I0)[:, None, None], vacuum_box=(3, 11, 3, 11))
    assert spectra.vacuum_mask.sum() == 64
    np.testing.assert_allclose(spectra.incident_intensity, I0, rtol=2e-3)


def test_a_field_with_nothing_in_it_is_an_error_that_says_so() -> None:
    blank = np.random.default_rng(0).normal(0, 1e-3, absorption().shape)
    with pytest.raises(VacuumError, match="must hold a specimen"):
        found(blank, drift="none")


@pytest.mark.parametrize("is_normalised", [False, True])
def test_an_energy_without_a_number_is_an_error_that_says_so(is_normalised: bool) -> None:
    images = absorption()
    images[4] = np.nan
    with pytest.raises(RegistrationError, match="one of them is empty"):
        found(images, is_normalised)


def test_images_that_are_the_same_number_everywhere_are_an_error_that_says_so() -> None:
    with pytest.raises(VacuumError, match="must hold a specimen"):
        found(np.zeros_like(absorption()), is_normalised=True, drift="none")
    with pytest.raises(RegistrationError, match="must resemble"):
        found(np.zeros_like(absorption()))


def test_pixels_without_a_number_are_outside_the_field() -> None:
    images = absorption()
    images[:, :10] = np.nan
    spectra = found(images, is_normalised=True, drift="none")
    assert spectra.absorption.shape[1] == SIDE_PX - 10
    assert np.isfinite(spectra.absorption).all()


def test_energies_must_ascend() -> None:
    with pytest.raises(EnergyGridError, match="ascend"):
        absorption_spectra(list(absorption()[:2]), CANVASES[:2], np.array([2.0, 1.0]), AlignOptions(), is_normalised=True)


@pytest.mark.parametrize("box", [None, (0, 5, 0, 48)])
def test_absorption_upside_down_is_a_sentence(box: Any) -> None:
    with pytest.raises(VacuumError, match=r"matter must absorb|nowhere does the mean absorption"):
        found(-absorption(), is_normalised=True, drift="none", vacuum_box=box)


@pytest.mark.parametrize("offset", [-0.3, 0.0, 0.3])
def test_an_i0_that_is_off_by_a_factor_leaves_the_spectra_as_they_are(offset: float) -> None:
    right, off = (found(absorption() + by, is_normalised=True, drift="none") for by in (0.0, offset))
    np.testing.assert_allclose(off.absorption - right.absorption, offset, atol=1e-4)


def test_a_hole_in_the_specimen_leaves_what_is_around_it_as_it_is() -> None:
    spoilt, seen = absorption(), np.ones((SIDE_PX, SIDE_PX), bool)
    seen[24:30, 24:30] = False
    spoilt[:, ~seen] = np.nan
    whole, holed = found(absorption(), is_normalised=True), found(spoilt, is_normalised=True)
    hole = np.isnan(holed.absorption).any(axis=0) & np.isfinite(whole.absorption).all(axis=0)
    assert 36 <= hole.sum() < 150
    assert not (holed.sample_mask & hole).any()
    off = np.abs(holed.absorption - whole.absorption)[:, holed.sample_mask & whole.sample_mask]
    assert off.max() < 0.02  # a step to zero at its border would ring by a tenth of the specimen's 0.08
    assert np.sqrt(np.mean(off**2)) < 5e-4
