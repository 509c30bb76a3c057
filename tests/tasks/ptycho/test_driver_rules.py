"""Update rules beside the default, and an end before the last cycle: each is what its paper or its option says."""

import logging
import re
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.driver import run
from tasks.ptycho.kernels.cycle import gather_probe_over_cycle, prepare, update_probe_by_position
from tasks.ptycho.probe import initial_probe
from tasks.ptycho.reconstruction import Reconstruction
from tasks.ptycho.scan import Canvas, Scan, plan_canvas
from tasks.ptycho.schedule import has_converged, object_step_size
from tasks.ptycho.solver import init
from tasks.ptycho.state import State
from tasks.simulation.specimen import SimulationOptions, simulate

Measured = tuple[Scan, Canvas, NDArray[np.complex64]]
"""A scan, its canvas and the first guess of its probe."""


@pytest.fixture(scope="module")
def measured() -> Measured:
    simulation = simulate(
        SimulationOptions(
            n_energies=1, n_positions_side=6, n_pixels=48, n_states=1, n_grains=1, radius_m=0.3e-6, pixel_size_m=20e-9
        )
    )
    scan = simulation.scans[0]
    canvas = plan_canvas(scan.positions_m, scan.pixel_size_m, scan.n_pixels)
    power = scan.counts.sum() / len(scan.counts)
    return scan, canvas, initial_probe(simulation.probe_guess, scan.energy_ev, scan.pixel_size_m, scan.n_pixels, power)


def reconstruct(measured: Measured, cycles: int, n_cycles: int | None = None, state: State | None = None, **chosen: Any) -> State:
    scan, canvas, probe = measured
    options = ReconstructOptions(cycles=cycles, **chosen)
    return run(Reconstruction(scan, canvas, state or init(canvas, probe, options), n_cycles or cycles, options))


@pytest.mark.parametrize(("update", "kernel"), [("cycle", "gathered_cycle"), ("position", "update_probe_by_position")])
def test_all_cycles_of_a_scan_are_one_compilation(
    measured: Measured, caplog: pytest.LogCaptureFixture, update: str, kernel: str
) -> None:
    scan, canvas, probe = measured
    alone = replace(scan, counts=scan.counts[:31], positions_m=scan.positions_m[:31])  # no other test has so many frames
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        reconstruct((alone, canvas, probe), 4, probe_update=update)
    assert len([text for text in caplog.messages if re.match(rf"Compiling (jit\()?{kernel}\b", text)]) == 1


@pytest.mark.parametrize("rule", [gather_probe_over_cycle, update_probe_by_position])
def test_a_regularised_step_is_divided_by_a_share_of_the_peak_and_the_rest_of_the_place(measured: Measured, rule: Any) -> None:
    scan, canvas, probe = measured
    frames, _ = prepare(scan, canvas, subpixel=False)
    first, object_ = jnp.array([7]), np.ones(canvas.shape, np.complex64)
    steps = (1.0,) if rule is gather_probe_over_cycle else (1.0, 0.0)

    def change(regularisation: Any) -> NDArray[Any]:
        after = rule(jnp.array(object_), jnp.asarray(probe), frames, first, *steps, regularisation)[0] - object_
        y, x = np.asarray(frames.corner[7])
        return np.asarray(after)[y : y + 48, x : x + 48]

    share = 0.1
    plain, gentle = change(None), change(share if len(steps) == 1 else (share, 1.0))
    brightness = np.sum(np.abs(probe) ** 2, axis=0)
    expected = plain * brightness.max() / ((1 - share) * brightness + share * brightness.max())
    np.testing.assert_allclose(gentle, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(gentle).max() > 2 * np.abs(plain).max()


def test_a_share_of_one_is_plain_epie(measured: Measured) -> None:
    plainly: dict[str, Any] = {}
    plain, same = (
        reconstruct(measured, 3, probe_update="position", settle=0, **more)
        for more in (plainly, {"momentum_every": 40, "momentum": 0, "object_momentum": 0})
    )
    np.testing.assert_allclose(same.object, plain.object, atol=1e-5)
    np.testing.assert_allclose(same.probe, plain.probe, atol=1e-4 * np.abs(plain.probe).max())


def test_momentum_within_the_cycle_brings_r_down_sooner(measured: Measured) -> None:
    plainly: dict[str, Any] = {}
    steps: dict[str, Any] = {"object_momentum": 0.9, "momentum": 0.5, "alpha": 0.2, "beta": 0.2}
    epie, mpie = (
        reconstruct(measured, 30, probe_update="position", settle=0, **more)
        for more in (plainly, {"momentum_every": 12, **steps})
    )
    assert mpie.errors[-1] < 0.7 * epie.errors[-1]


def test_momentum_within_the_cycle_goes_on_as_if_never_stopped(measured: Measured) -> None:
    chosen: dict[str, Any] = {"probe_update": "position", "momentum_every": 12, "regularisation": 0.3}
    whole = reconstruct(measured, 6, **chosen)
    half = reconstruct(measured, 6, 2, **chosen)
    np.testing.assert_array_equal(reconstruct(measured, 6, 4, half, **chosen).object, whole.object)


def test_an_energy_whose_r_has_converged_settles_its_step_and_stops(measured: Measured) -> None:
    chosen: dict[str, Any] = {"stop_change": 0.1, "settle": 1 / 3}
    state = reconstruct(measured, 300, **chosen)
    assert state.is_stopped
    assert state.stops_after is not None
    assert 30 <= state.cycle == state.stops_after < 200
    at = next(c for c in range(20, 200) if np.ceil(c * 1.5) == state.stops_after)
    before, now = state.errors[at - 20 : at - 10].mean(), state.errors[at - 10 : at].mean()
    assert 0.9 * before < now <= before
    assert object_step_size(state.cycle - 1, ReconstructOptions(cycles=300), state.stops_after) == pytest.approx(0.1)
    more = reconstruct(measured, 300, 50, state, **chosen)
    assert more.cycle == state.cycle
    np.testing.assert_array_equal(more.object, state.object)


def test_stopping_early_is_the_same_in_parts_and_never_happens_unasked(measured: Measured) -> None:
    chosen: dict[str, Any] = {"stop_change": 0.1}
    whole = reconstruct(measured, 300, **chosen)
    parts = reconstruct(measured, 300, 15, **chosen)
    for _ in range(19):
        parts = reconstruct(measured, 300, 15, parts, **chosen)
    assert parts.cycle == whole.cycle
    np.testing.assert_array_equal(parts.object, whole.object)
    flat = reconstruct(measured, 25)
    assert not has_converged(flat, ReconstructOptions(cycles=300))
    assert flat.stops_after is None


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.study) for seed in (1, 2))])
def test_a_million_photons_diverge_by_no_rule(seed: int) -> None:
    """64 x 64 frames, 1e6 photons each: R falls and stays where it fell to."""
    simulation = simulate(
        SimulationOptions(
            n_energies=1, n_positions_side=6, n_pixels=64, radius_m=0.3e-6, photons=1e6, seed=seed, n_states=1, n_grains=1
        )
    )
    scan = simulation.scans[0]
    canvas = plan_canvas(scan.positions_m, scan.pixel_size_m, scan.n_pixels)
    power = scan.counts.sum() / len(scan.counts)
    weak = scan, canvas, initial_probe(simulation.probe_guess, scan.energy_ev, scan.pixel_size_m, scan.n_pixels, power)
    mpie = {"probe_update": "position", "alpha": 0.2, "beta": 0.2, "momentum_every": 12, "object_momentum": 0.9, "momentum": 0.5}
    for rule in (
        {},
        {"probe_update": "position"},
        {"regularisation": 0.3},
        mpie,
        {"position_refinement": "points"},
        {"frame_flux": True},
    ):
        state = reconstruct(weak, 60, **rule)
        assert np.isfinite(state.object).all()
        assert state.errors[-1] < 1.05 * state.errors.min(), rule
        assert state.errors[-1] < 0.1 * state.errors[0], rule
