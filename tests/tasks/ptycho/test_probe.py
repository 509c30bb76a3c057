"""Probes from the optics have the width, the power and the place they were asked for."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from tasks.errors import InvalidOptionError
from tasks.ptycho.probe import ProbeSpec, add_modes, initial_probe, kb_focus, kb_profile, resample, scale_to_power


def fwhm(profile: NDArray[Any], step: float) -> float:
    half = np.flatnonzero(profile >= profile.max() / 2)
    left, right = half[0], half[-1]
    level = profile.max() / 2
    edge_left = left - (profile[left] - level) / (profile[left] - profile[left - 1])
    edge_right = right + (profile[right] - level) / (profile[right] - profile[right + 1])
    return float((edge_right - edge_left) * step)


@pytest.mark.parametrize(
    "spec", [ProbeSpec("kb", 300e-9), ProbeSpec("kb", 300e-9, apodisation=0.9), ProbeSpec("gaussian", 300e-9)]
)
def test_focus_has_the_width_asked_for(spec: ProbeSpec) -> None:
    probe = initial_probe(spec, 5465.0, 15e-9, 128, 1e6)
    intensity = np.abs(probe[0]) ** 2
    assert fwhm(intensity[64], 15e-9) == pytest.approx(300e-9, rel=0.01)
    assert fwhm(intensity[:, 64], 15e-9) == pytest.approx(300e-9, rel=0.01)
    assert np.unravel_index(intensity.argmax(), intensity.shape) == (64, 64)
    assert intensity.sum() == pytest.approx(1e6, rel=1e-4)


def test_zone_plate_focus_is_an_airy_disc_of_its_outer_zone() -> None:
    probe = initial_probe(ProbeSpec("zone_plate", outer_zone_m=50e-9, stop_diameter_m=0.0), 5465.0, 5e-9, 128, 1.0)
    # first zero of the Airy pattern: 1.22 outer zone widths
    profile = np.abs(probe[0, 64, 64:]) ** 2
    assert np.argmin(profile[:20]) * 5e-9 == pytest.approx(1.22 * 50e-9, abs=5e-9)


def test_defocus_widens_and_conserves() -> None:
    sharp, wide = (kb_focus(ProbeSpec(defocus_m=d, apodisation=0.9), 5465.0, 15e-9, 128) for d in (0.0, 2e-3))
    assert np.sum(np.abs(wide) ** 2) == pytest.approx(np.sum(np.abs(sharp) ** 2), rel=0.02)
    assert np.abs(wide).max() < 0.8 * np.abs(sharp).max()


def test_sharp_aperture_in_focus_is_a_sinc_at_any_distance() -> None:
    y_m = np.linspace(-700e-9, 700e-9, 97)
    profile = kb_profile(ProbeSpec(fwhm_m=300e-9), 5465.0, y_m)
    np.testing.assert_allclose(profile / 256, np.sinc(0.8859 * y_m / 300e-9), atol=2e-3)


def test_a_displaced_beam_is_the_beam_seen_from_its_axis() -> None:
    spec, y_m = ProbeSpec(defocus_m=4e-4, apodisation=0.9), np.linspace(-500e-9, 500e-9, 41)
    centres_m = np.array([[-7e-9, 0.0], [3e-9, 120e-9]])
    found = kb_profile(spec, 5465.0, y_m, centres_m)
    assert found.shape == (2, 2, 41)
    for index in np.ndindex(2, 2):
        np.testing.assert_allclose(found[index], kb_profile(spec, 5465.0, y_m - centres_m[index]), atol=1e-10)


def test_modes_are_added_with_little_power() -> None:
    probe = add_modes(initial_probe(ProbeSpec(), 5465.0, 15e-9, 64, 1.0), 3)
    power = np.sum(np.abs(probe) ** 2, axis=(1, 2))
    assert power[1:] == pytest.approx([0.05, 0.05], rel=1e-3)


def test_supplied_without_an_array_says_where_it_was_sought() -> None:
    with pytest.raises(InvalidOptionError, match="illumination"):
        initial_probe(ProbeSpec("supplied"), 5465.0, 15e-9, 64, 1.0)


def test_a_resized_probe_is_the_same_field_on_another_pixel() -> None:
    spec = ProbeSpec("gaussian", fwhm_m=200e-9, defocus_m=3e-4)
    for ratio in (0.98, 1.03):
        one, other = (initial_probe(spec, 5465.0, pixel, 64, 1.0) for pixel in (15e-9, 15e-9 * ratio))
        found = resample(one, ratio)
        found *= np.linalg.norm(other) / np.linalg.norm(found)
        inside = np.s_[:, 2:-2, 2:-2]  # the window of smaller pixels does not reach further
        np.testing.assert_allclose(found[inside], other[inside], atol=2e-3 * np.abs(other).max())


def test_a_resampled_probe_has_no_more_light_far_from_the_beam() -> None:
    """Its tails reach to the rim of its window, so that a cut there would scatter over the whole frame."""
    probe = initial_probe(ProbeSpec("kb", fwhm_m=300e-9, defocus_m=4e-4, apodisation=0.9), 5465.0, 22.5e-9, 64, 1e8)
    frequency = np.fft.fftfreq(64)
    far = np.hypot(frequency[:, None], frequency) > 0.2
    before, after = (np.sum(np.abs(np.fft.fft2(one))[:, far] ** 2) for one in (probe, resample(probe, 1.01)))
    assert after < 1.5 * before


@pytest.mark.parametrize(
    "sizes",
    [
        {"stop_diameter_m": 200e-6},
        {"stop_diameter_m": 180e-6},
        {"outer_diameter_m": 50e-6},
        {"outer_diameter_m": 1e-7, "stop_diameter_m": 1e-7},
    ],
)
def test_a_stop_that_covers_its_zone_plate_is_refused(sizes: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="stop_diameter_m must be below outer_diameter_m, or no light passes"):
        ProbeSpec(kind="zone_plate", **sizes)
    assert ProbeSpec(kind="kb", **sizes).kind == "kb"


@pytest.mark.parametrize("probe", [np.zeros((1, 8, 8), np.complex64), np.full((1, 8, 8), np.nan, np.complex64)])
def test_a_probe_without_light_is_refused(probe: NDArray[Any]) -> None:
    with pytest.raises(InvalidOptionError, match="light in its window"):
        scale_to_power(probe, 1e6)


@pytest.mark.parametrize(
    "sizes",
    [
        {"fwhm_m": 1e-300}, {"fwhm_m": 5e-324, "defocus_m": 1e-3}, {"fwhm_m": 0}, {"outer_zone_m": 1e-320},
        {"outer_zone_m": 1e300}, {"outer_diameter_m": 1e-300}, {"outer_diameter_m": 1e300}, {"stop_diameter_m": 1e308},
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["kb", "gaussian", "zone_plate"])
def test_sizes_that_no_optics_has_are_refused(kind: Any, sizes: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        ProbeSpec(kind=kind, **sizes)


@pytest.mark.parametrize("kind", ["kb", "gaussian", "zone_plate"])
@pytest.mark.parametrize("width_m", [1e-10, 1e-9, 9.9e-4])
@pytest.mark.parametrize("defocus_m", [0.0, -0.99, 1e-300])
@pytest.mark.parametrize("apodisation", [5e-324, 1.0])
def test_sizes_at_their_limits_give_a_probe_or_a_sentence(
    kind: Any, width_m: float, defocus_m: float, apodisation: float
) -> None:
    spec = ProbeSpec(kind=kind, fwhm_m=width_m, outer_zone_m=width_m, defocus_m=defocus_m, apodisation=apodisation)
    if kind == "zone_plate":  # whose pupil lies between two samples, or beyond all of them
        with pytest.raises(InvalidOptionError, match="must have light in its window"):
            initial_probe(spec, 5465.0, 15e-9, 16, 1e6)
    else:
        assert np.sum(np.abs(initial_probe(spec, 5465.0, 15e-9, 16, 1e6)) ** 2) == pytest.approx(1e6, rel=1e-4)


def test_optics_too_coarse_for_the_frames_give_a_sentence() -> None:
    spec = ProbeSpec(kind="zone_plate", outer_zone_m=1e-3)
    with pytest.raises(InvalidOptionError, match="light in its window"):
        initial_probe(spec, 5465.0, 15e-9, 32, 1e6)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "KB mirrors, 300 nm, in focus"),
        ({"kind": "zone_plate", "defocus_m": 2e-5}, "a zone plate, 50 nm, 20 µm from the focus"),
        ({"kind": "supplied"}, "as in the files"),
    ],
)
def test_optics_in_words(spec: dict[str, Any], words: str) -> None:
    assert ProbeSpec(**spec).in_words() == words
