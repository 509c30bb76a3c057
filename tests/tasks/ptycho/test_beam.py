"""The beam is as bright, and where, as it was made, whatever part of it the detector hides."""

from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.ptycho.beam import (
    centre_of_mass,
    centre_on_beam,
    far_pattern,
    fill_masked,
    fit_to_beam,
    hidden_beam_warnings,
    hidden_share,
    momentum_for_hidden_beam,
    tilt,
)
from tasks.ptycho.probe import ProbeSpec, initial_probe

N = 64
POWER = 1e7


def probe_of(fwhm_m: float = 100e-9, kind: Literal["kb", "gaussian"] = "kb", power: float = POWER) -> NDArray[np.complex64]:
    return initial_probe(ProbeSpec(kind, fwhm_m, defocus_m=1e-4), 5465.0, 15e-9, N, power)


def stop(radius_px: float, arm_px: float = 0) -> NDArray[np.bool_]:
    """(N, N) bool: True beside a disc in the middle and its arm down to the rim."""
    y, x = np.indices((N, N)) - N // 2
    return ~((np.hypot(y, x) < radius_px) | ((np.abs(x) < arm_px / 2) & (y > 0)))


def power_of(probe: NDArray[Any]) -> float:
    return float(np.sum(np.abs(probe) ** 2, dtype=float))


def test_the_beam_on_the_detector_has_all_photons() -> None:
    assert far_pattern(probe_of()).sum() == pytest.approx(POWER, rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "radius_px", "arm_px", "seen", "found"),
    [("kb", 2.5, 0, 0.7, 0.985), ("kb", 3.5, 1, 0.45, 0.96), ("gaussian", 1.5, 0, 0.65, 0.975), ("gaussian", 2.5, 3, 0.35, 0.86)],
)
def test_photons_behind_a_stop_count(
    kind: Literal["kb", "gaussian"], radius_px: float, arm_px: float, seen: float, found: float
) -> None:
    """Seen is what the stop leaves, and nonsense behind it; the guess has another power."""
    mask = stop(radius_px, arm_px)
    mean = np.where(mask, far_pattern(probe_of(kind=kind)), 54321.0)
    assert mean[mask].sum() < seen * POWER
    assert found * POWER < power_of(fit_to_beam(probe_of(kind=kind, power=1.0), mean, mask)) < 1.001 * POWER


def test_with_nothing_hidden_the_power_is_that_of_the_photons_whatever_the_guess() -> None:
    mean = far_pattern(probe_of(100e-9))
    for guess in (probe_of(60e-9), probe_of(200e-9, "gaussian")):
        assert power_of(fit_to_beam(guess, mean, np.ones((N, N), bool))) == pytest.approx(POWER, rel=1e-5)


@pytest.mark.parametrize("ratio", [0.75, 1.35, 2.0])
@pytest.mark.parametrize("radius_px", [2.5, 4, 5, 7])
def test_a_wrong_guess_is_never_much_brighter_than_the_beam(ratio: float, radius_px: float) -> None:
    mask = stop(radius_px)
    mean = far_pattern(probe_of())
    found = power_of(fit_to_beam(probe_of(100e-9 * ratio, power=1.0), mean, mask))
    assert mean[mask].sum() < found < 1.25 * POWER


@pytest.mark.parametrize("place", [(1.0, 0.0), (-4.0, 3.0)])
@pytest.mark.parametrize(("radius_px", "arm_px"), [(0.0, 0), (2.5, 0), (3.5, 3)])
def test_a_beam_beside_the_middle_is_found_beside_a_stop(place: tuple[float, float], radius_px: float, arm_px: float) -> None:
    mask = stop(radius_px, arm_px)
    mean = far_pattern(tilt(probe_of(), np.array(place)))
    found = centre_on_beam(probe_of(power=1.0), mean, mask)
    assert centre_of_mass(far_pattern(found)) == pytest.approx(place, abs=0.15)


def test_a_beam_in_the_middle_is_left_there_by_the_arm_of_a_stop() -> None:
    """Of the photons that are seen the middle lies a pixel and a half up."""
    mask = stop(3.5, 5)
    mean = far_pattern(probe_of(kind="gaussian"))
    assert centre_of_mass(mean * mask)[0] < -0.5
    guess = probe_of(kind="gaussian", power=1.0)
    np.testing.assert_array_equal(centre_on_beam(guess, mean, mask), guess)


def test_darkness_moves_nothing() -> None:
    guess = probe_of()
    np.testing.assert_array_equal(centre_on_beam(guess, np.zeros((N, N)), stop(2.5)), guess)
    assert not fill_masked(np.zeros((N, N)), stop(2.5), guess).any()


def test_half_of_a_beam_is_hidden_by_half_a_detector() -> None:
    left, middle = np.arange(N) < N // 2, np.arange(N) == N // 2
    share = hidden_share(probe_of(), np.broadcast_to(~left, (N, N)))
    on_middle = hidden_share(probe_of(), np.broadcast_to(~middle, (N, N)))
    assert share + on_middle / 2 == pytest.approx(0.5, abs=1e-3)


def test_the_probe_remembers_longer_what_is_hidden_and_no_other() -> None:
    probe = probe_of()
    assert momentum_for_hidden_beam(0.8, probe, stop(0)) == 0.8
    assert momentum_for_hidden_beam(0.0, probe, stop(2.5)) == 0.0
    hidden = hidden_share(probe, stop(2.5))
    longer = momentum_for_hidden_beam(0.8, probe, stop(2.5))
    assert longer / (1 - longer) == pytest.approx(4 / (1 - hidden))
    assert momentum_for_hidden_beam(0.8, probe, stop(10)) == pytest.approx(8 / 9)


def test_only_who_hides_half_of_the_beam_is_warned() -> None:
    assert hidden_beam_warnings(5465.0, 0.45) == []
    (text,) = hidden_beam_warnings(5465.0, 0.62)
    assert text.startswith("5465.0 eV: the mask hides 62% of the beam")


def test_with_the_whole_beam_hidden_a_constant_of_the_object_is_seen_nowhere() -> None:
    """The limit: P (O + c) has the far field of P O and c times the beam, which is behind the stop."""
    probe, mask = probe_of(kind="gaussian"), stop(16)
    assert hidden_share(probe, mask) > 1 - 1e-6
    object_ = np.exp(1j * np.random.default_rng(0).normal(size=(N, N)))
    patterns = [far_pattern(probe * (object_ + c))[mask] for c in (0, 0.5)]
    np.testing.assert_allclose(patterns[0], patterns[1], atol=2e-3 * patterns[0].max())
