"""The Siemens star of a real measurement, or of a simulated one, comes out of its patterns, whatever the probe's first guess."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import star
from numpy.typing import NDArray

from tasks.ptycho.orientation import find_orientation, require_clear
from tasks.ptycho.probe import ProbeSpec, initial_probe, power_fractions
from tasks.ptycho.scan import Scan, plan_canvas
from tasks.ptycho.state import State

Measured = tuple[Scan, star.Image]
"""A scan, and the first guess of its probe."""


@pytest.fixture(scope="module")
def measured(measured_file: Callable[[str], Path]) -> Measured:
    return star.measured(measured_file(star.STAR.name))


@pytest.fixture(scope="module")
def found(measured: Measured) -> State:
    """By the defaults, with the probe that came with the file."""
    return star.reconstruct(*measured, 60)


def test_misfit_lies_far_below_what_is_known_of_this_scan(found: State) -> None:
    # 0.0191 after 12 and 0.0185 after 60 cycles of ePIE between pixels
    assert found.errors[11] < 0.0185
    assert found.errors[59] < 0.0100


def test_the_beam_is_not_quite_coherent(found: State) -> None:
    """One mode leaves twice what photon noise leaves, so a second was added: a tenth of the power, half of the excess."""
    assert len(found.probe) == 2
    assert found.noise_error is not None
    assert 0.05 < power_fractions(found.probe)[1] < 0.25
    assert found.errors[19] > 1.8 * found.noise_error
    assert found.errors[59] < 1.6 * found.noise_error


@pytest.mark.parametrize(("radius_px", "share"), [(90, 0.6), (60, 0.5), (42, 0.3)])
def test_spokes_are_resolved_towards_the_hub(found: State, radius_px: int, share: float) -> None:
    power = np.abs(star.around_hub(star.level(found.object), np.array([float(radius_px)]))[0, 1:]) ** 2
    assert np.argmax(power) == star.SPOKES - 1
    assert power[star.SPOKES - 1] > share * power.sum()


@pytest.mark.study
def test_spokes_are_resolved_further_in_than_by_plain_epie(measured: Measured) -> None:
    """Two halves of the scan share no photon: their spokes agree nearer to the hub, and better everywhere."""
    scan, probe = measured
    canvas = plan_canvas(scan.positions_m, scan.pixel_size_m, scan.n_pixels)
    agreed = []
    for options in ({}, star.PLAIN_EPIE):
        one, other = (star.level(star.reconstruct(half, probe, 60, canvas, **options).object) for half in star.halves(scan))
        agreed.append(star.agreement(one, star.put_on(other, one)))
    ours, plain = agreed
    end_px = star.inner_end_px(plain)
    assert star.inner_end_px(ours) < end_px - 0.4
    outside = end_px < star.RADII_PX
    assert (1 - ours[outside]).mean() < 0.8 * (1 - plain[outside]).mean()


def test_frames_of_a_turned_detector_are_recognised(measured: Measured) -> None:
    """Rows flipped after a transpose on the way from the detector: undone by flipping rows, then transposing."""
    (scan, _), probe = star.halves(measured[0]), measured[1]

    def delivered(frames: NDArray[Any]) -> NDArray[Any]:
        return np.roll(frames.swapaxes(-2, -1)[..., ::-1, :], 1, -2)

    turned = replace(scan, counts=delivered(scan.counts), mask=delivered(scan.mask))
    assert [require_clear(find_orientation(one, probe)) for one in (scan, turned)] == [0, 5]


@pytest.mark.parametrize(
    "guess",
    [
        ProbeSpec("zone_plate", outer_zone_m=50e-9, defocus_m=550e-6),
        ProbeSpec("gaussian", fwhm_m=50e-9, defocus_m=600e-6),
    ],
    ids=lambda guess: guess.kind,
)
def test_another_guess_of_the_probe_leads_to_the_same_star(measured: Measured, found: State, guess: ProbeSpec) -> None:
    scan, _ = measured
    probe = initial_probe(guess, scan.energy_ev, scan.pixel_size_m, scan.n_pixels, star.mean_power(scan))
    state = star.reconstruct(scan, probe, 15)
    assert state.errors[-1] < 0.0140
    wanted = star.level(found.object)
    ours = star.put_on(star.level(state.object), wanted)
    a, b = (image[star.FIELD] - image[star.FIELD].mean() for image in (ours, wanted))
    assert np.abs(np.vdot(a, b)) > 0.985 * np.linalg.norm(a) * np.linalg.norm(b)
