"""A mode is added where the beam lacked coherence, and only there."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.coherence import ASKED_AFTER
from tasks.ptycho.driver import run
from tasks.ptycho.probe import initial_probe, power_fractions
from tasks.ptycho.reconstruction import Reconstruction
from tasks.ptycho.scan import Canvas, Scan, plan_canvas
from tasks.ptycho.solver import init
from tasks.ptycho.state import State, orthogonalised
from tasks.simulation.specimen import SimulationOptions, simulate

SMALL = SimulationOptions(
    n_energies=1, n_positions_side=8, n_pixels=48, n_states=1, n_grains=1, radius_m=0.3e-6, pixel_size_m=20e-9
)

Case = tuple[Scan, Canvas, NDArray[np.complex64]]
"""A scan, its canvas and the first guess of its probe."""


def case(seed: int, photons: float) -> Case:
    """One energy's scan, its canvas and the first guess of its probe."""
    simulation = simulate(replace(SMALL, seed=seed, photons=photons))
    scan = simulation.scans[0]
    canvas = plan_canvas(scan.positions_m, scan.pixel_size_m, scan.n_pixels)
    power = scan.counts.sum() / len(scan.counts)
    return scan, canvas, initial_probe(simulation.probe_guess, scan.energy_ev, scan.pixel_size_m, scan.n_pixels, power)


def partly_coherent(seed: int, photons: float, share: float) -> Case:
    """The same beam over a smooth random object, with ``share`` of its power in a second mode; whole pixels, Poisson counts."""
    scan, canvas, guess = case(seed, photons)
    n, rng = scan.n_pixels, np.random.default_rng(seed)
    modes = orthogonalised(init(canvas, guess, ReconstructOptions(probe_modes=2))).probe
    powers = np.array([1 - share, share]) * np.sum(np.abs(guess) ** 2)
    true = modes * np.sqrt(powers / np.sum(np.abs(modes) ** 2, axis=(1, 2)))[:, None, None]
    smooth = ndimage.gaussian_filter(rng.normal(size=(2, *canvas.shape)), (0, 3, 3)) * 4
    specimen = np.exp(-0.2 * np.abs(smooth[0]) + 1j * smooth[1])
    corners = np.rint(canvas.corners_px(scan.positions_m, n)).astype(int)
    far = [np.fft.fft2(specimen[y : y + n, x : x + n] * true, norm="ortho") for y, x in corners]
    counts = np.fft.fftshift(rng.poisson(np.sum(np.abs(far) ** 2, axis=1)), axes=(1, 2)).astype(np.uint32)
    positions_m = np.asarray(canvas.origin_m) + (corners + n // 2) * canvas.pixel_size_m
    return replace(scan, counts=counts, positions_m=positions_m, mask=np.ones_like(scan.mask)), canvas, guess


def reconstruct(one: Case, cycles: int, **options: Any) -> State:
    scan, canvas, probe = one
    chosen = ReconstructOptions(cycles=cycles, **options)
    return run(Reconstruction(scan, canvas, init(canvas, probe, chosen), cycles, chosen))


def test_a_partially_coherent_probe_is_told_by_its_modes() -> None:
    """A fifth of the power in a second mode: one mode cannot explain it, two find its share."""
    one, two = (reconstruct(partly_coherent(0, 1e6, 0.2), 70, probe_modes=modes) for modes in (1, 2))
    assert two.errors[-1] < 0.1 * one.errors[-1]
    assert power_fractions(two.probe) == pytest.approx([0.8, 0.2], abs=0.03)
    a, b = two.probe.reshape(2, -1)
    assert abs(np.vdot(a, b)) < 1e-3 * np.linalg.norm(a) * np.linalg.norm(b)


@pytest.mark.parametrize(("photons", "share"), [(1e6, 0.2), pytest.param(1e8, 0.02, marks=pytest.mark.study)])
def test_a_mode_is_added_where_the_beam_was_partly_coherent(photons: float, share: float) -> None:
    one = partly_coherent(0, photons, share)
    grown, single = (reconstruct(one, 120, probe_modes=modes) for modes in ("auto", 1))
    assert len(grown.probe) == 2
    assert power_fractions(grown.probe) == pytest.approx([1 - share, share], abs=0.2 * share)
    assert grown.errors[-1] < 0.5 * single.errors[-1]
    assert grown.noise_error is not None
    assert grown.errors[-1] < 2.5 * grown.noise_error


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.study)])
@pytest.mark.parametrize(("photons", "times"), [(1e5, 1.3), (1e6, 1.3), (1e8, 2.5)])
def test_a_coherent_beam_keeps_its_one_mode_at_no_cost(seed: int, photons: float, times: float) -> None:
    one = case(seed, photons)
    auto, single = (reconstruct(one, 80, probe_modes=modes) for modes in ("auto", 1))
    np.testing.assert_array_equal(auto.object, single.object)
    assert auto.noise_error is not None
    assert auto.errors[-1] < times * auto.noise_error


def test_wrong_flux_is_not_taken_for_a_lack_of_coherence() -> None:
    """The misfit is far above photon noise, but a mode on trial does not lower it, and leaves nothing behind."""
    scan, canvas, guess = case(0, 1e8)
    flux = np.random.default_rng(0).uniform(0.8, 1.2, (len(scan.counts), 1, 1))
    one = replace(scan, counts=np.rint(scan.counts * flux).astype(scan.counts.dtype)), canvas, guess
    heard: list[int] = []
    chosen = ReconstructOptions(cycles=70)
    auto = run(Reconstruction(one[0], canvas, init(canvas, guess, chosen), 70, chosen, lambda cycle, _: heard.append(cycle)))
    single = reconstruct(one, 70, probe_modes=1)
    assert auto.noise_error is not None
    assert auto.errors[-1] > 3 * auto.noise_error
    assert len(heard) > len(auto.errors) == 70, "no mode was tried"
    np.testing.assert_array_equal(auto.object, single.object)


def test_the_rule_of_the_paper_keeps_the_modes_it_was_given() -> None:
    grown = reconstruct(partly_coherent(0, 1e8, 0.2), ASKED_AFTER[0] + 25, probe_update="position", settle=0)
    assert len(grown.probe) == 1
    assert len(grown.errors) == ASKED_AFTER[0] + 25


def test_a_probe_grows_alike_in_one_piece_and_in_two() -> None:
    one = partly_coherent(1, 1e8, 0.2)
    scan, canvas, probe = one
    chosen = ReconstructOptions(cycles=120)
    first = run(Reconstruction(scan, canvas, init(canvas, probe, chosen), 40, chosen))
    second = run(Reconstruction(scan, canvas, first, 80, chosen))
    whole = reconstruct(one, 120)
    assert len(second.probe) == len(whole.probe) == 2
    np.testing.assert_allclose(second.errors, whole.errors, rtol=1e-3)
