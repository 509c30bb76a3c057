"""Which way up the detector is: found in all eight cases, or said that nothing tells."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from specimen_files import turned_back

from tasks.errors import OrientationError
from tasks.ptycho.orientation import (
    HALF_TURN,
    Verdict,
    composed,
    find_orientation,
    phase_contrast,
    positions_on_detector,
    require_clear,
    require_fit,
)
from tasks.ptycho.probe import ProbeSpec, initial_probe
from tasks.ptycho.scan import Scan
from tasks.simulation.specimen import SimulationOptions, simulate

SMALL = SimulationOptions(
    n_energies=1, n_positions_side=8, n_pixels=48, n_states=1, n_grains=1, radius_m=0.3e-6, pixel_size_m=20e-9
)

Measured = tuple[Scan, NDArray[np.complex64]]
"""A scan and the first guess of its probe."""


@pytest.fixture(scope="module")
def measured() -> Measured:
    simulation = simulate(SMALL)
    scan = simulation.scans[0]
    power = scan.counts.sum() / len(scan.counts)
    return scan, initial_probe(simulation.probe_guess, scan.energy_ev, scan.pixel_size_m, scan.n_pixels, power)


def undone(scan: Scan, orientation: int) -> Scan:
    """The scan as a detector would deliver it whose frames need ``orientation``."""
    return replace(scan, counts=turned_back(scan.counts, orientation), mask=turned_back(scan.mask, orientation))


@pytest.mark.parametrize("orientation", range(8))
def test_every_orientation_is_found(measured: Measured, orientation: int) -> None:
    """The probe's guess is round, so it is the same in all of them; only the phase's sign tells a half turn."""
    scan, probe = measured
    verdict = find_orientation(undone(scan, orientation), probe)
    assert require_clear(verdict) == orientation
    assert verdict.lead > 5
    assert verdict.errors[orientation] == verdict.errors[orientation ^ HALF_TURN]


def test_positions_are_turned_the_other_way_round() -> None:
    """A frame's pixel goes where ``orientation`` puts it, and positions on the detector's axes follow it back."""
    step = np.array([[2.0, 5.0]])
    for orientation in range(8):
        y, x = positions_on_detector(step, orientation)[0]
        # forward: flip the axes, then transpose
        y, x = (-y if orientation & 1 else y), (-x if orientation & 2 else x)
        assert ((x, y) if orientation & 4 else (y, x)) == (2.0, 5.0)


def test_two_orientations_are_one_after_the_other() -> None:
    point = np.array([[2.0, 5.0]])
    for first in range(8):
        for then in range(8):
            both = positions_on_detector(positions_on_detector(point, then), first)
            np.testing.assert_array_equal(positions_on_detector(point, composed(first, then)), both)


@pytest.mark.parametrize(("given", "needed"), [(0, 4), (1, 0), (4, 5)])
def test_a_wrong_orientation_is_named_and_the_right_one_suggested(measured: Measured, given: Any, needed: Any) -> None:
    """The frames need ``needed``, and ``given`` was applied to them."""
    scan, probe = measured
    turned = undone(scan, needed)
    for frames in ("counts", "mask"):
        array = getattr(turned, frames)
        for bit, axis in ((1, -2), (2, -1)):
            array = np.roll(np.flip(array, axis), 1, axis) if given & bit else array
        turned = replace(turned, **{frames: np.swapaxes(array, -2, -1) if given & 4 else array})
    with pytest.raises(OrientationError, match=rf"with orientation {given}, .* with orientation {needed};"):
        require_fit(turned, probe, given)


def test_a_right_orientation_passes(measured: Measured) -> None:
    require_fit(*measured, 0)


@pytest.mark.parametrize("seed", range(6))
def test_frames_that_show_nothing_contradict_no_orientation(seed: int) -> None:
    """The same round spot everywhere under a probe of another width: one orientation fits up to twice as well by chance."""
    rng = np.random.default_rng(seed)
    n = 48
    r2 = ((np.indices((n, n)) - n // 2) ** 2).sum(axis=0)
    counts = rng.poisson(200 * np.exp(-r2 / 30), (36, n, n)).astype(np.uint16)
    positions_m: NDArray[np.float64] = np.indices((6, 6), np.float64).reshape(2, -1).T * 100e-9
    scan = Scan(counts, positions_m, np.ones((n, n), bool), 5450.0, 0.5, 75e-6)
    power = float(counts.sum(dtype=float) / len(counts))
    require_fit(scan, initial_probe(ProbeSpec("gaussian", 3e-7), 5450.0, scan.pixel_size_m, n, power), 0)


def test_an_orientation_that_nothing_tells_is_an_error_that_says_why() -> None:
    alike = Verdict(0, dict.fromkeys(range(8), 0.02), -0.5)
    with pytest.raises(OrientationError, match=r"0: 0.02, 1: 0.02.*positions' unit"):
        require_clear(alike)
    errors = {one: 0.001 if one in (1, 2) else 0.02 for one in range(8)}
    with pytest.raises(OrientationError, match=r"found 1 and its half turn 2.*absorbs too little"):
        require_clear(Verdict(1, errors, 0.05))
    assert require_clear(Verdict(2, errors, -0.4)) == 2


def test_contrast_is_that_of_matter_whatever_the_ramp() -> None:
    rng = np.random.default_rng(0)
    thickness = np.clip(np.cumsum(rng.normal(size=(40, 40)), axis=1), 0, None) * 0.02
    y, x = np.indices(thickness.shape)
    object_ = np.exp(-(0.1 + 1j) * thickness + 1j * (0.02 * y - 0.05 * x + 1))
    lit = np.hypot(y - 20, x - 20) < 18
    assert phase_contrast(object_, lit) < -0.8
    assert phase_contrast(object_.conj(), lit) > 0.8
    unrelated = np.exp(1j * np.angle(object_) + rng.normal(0, 1e-3, object_.shape))
    assert abs(phase_contrast(unrelated, lit)) < 0.1
