"""Energies together are what they are alone, to rounding, whatever way each goes."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.driver import batch_bytes, run, run_together
from tasks.ptycho.probe import initial_probe
from tasks.ptycho.reconstruction import Reconstruction
from tasks.ptycho.scan import Canvas, Scan, plan_canvas
from tasks.ptycho.solver import init
from tasks.ptycho.state import State
from tasks.simulation.specimen import SimulationOptions, simulate

SMALL = SimulationOptions(
    n_energies=3, n_positions_side=6, n_pixels=48, n_states=1, n_grains=1, radius_m=0.25e-6, pixel_size_m=20e-9
)

Energy = tuple[Scan, Canvas, NDArray[np.complex64]]
"""A scan, its canvas and the first guess of its probe."""


@pytest.fixture(scope="module")
def energies() -> list[Energy]:
    """Scan, canvas and first guess of three energies; one guess is far off, one scan is shorter than the others."""
    simulation = simulate(SMALL)
    found = []
    for number, scan in enumerate(simulation.scans):
        power = scan.counts.sum() / len(scan.counts)
        optics = replace(simulation.probe_guess, fwhm_m=200e-9) if number == 1 else simulation.probe_guess
        if number == 2:
            scan = replace(scan, counts=scan.counts[:-3], positions_m=scan.positions_m[:-3])
        canvas = plan_canvas(scan.positions_m, scan.pixel_size_m, scan.n_pixels)
        found.append((scan, canvas, initial_probe(optics, scan.energy_ev, scan.pixel_size_m, scan.n_pixels, power)))
    return [*found, found[0]]


@pytest.mark.parametrize(
    "chosen",
    [{}, {"subpixel": False}, {"position_refinement": "points", "refine_start": 6}],
    ids=["default", "rounded", "refined"],
)
def test_a_batch_is_what_its_energies_are_alone(energies: list[Energy], chosen: dict[str, Any]) -> None:
    options = ReconstructOptions(cycles=12, **chosen)
    alone: list[State] = []
    cycles: list[Reconstruction] = []
    heard: list[tuple[int, int]] = []
    for number, (scan, canvas, probe) in enumerate(energies):
        options_of = replace(options, seed=number)
        state = init(canvas, probe, options_of)
        alone.append(run(Reconstruction(scan, canvas, state, 12, options_of)))
        told = lambda cycle, error, number=number: heard.append((number, cycle))  # noqa: E731
        cycles.append(Reconstruction(scan, canvas, state, 12, options_of, told))
    together = dict(run_together(cycles))
    assert sorted(together) == [0, 1, 2, 3]
    for number, one in enumerate(alone):
        other = together[number]
        np.testing.assert_allclose(other.errors, one.errors, rtol=1e-4)
        assert np.abs(other.object - one.object).max() < 1e-4
        assert np.abs(other.probe - one.probe).max() < 1e-3 * np.abs(one.probe).max()
    assert sorted(heard) == [(number, cycle) for number in range(4) for cycle in range(1, 13)]


def test_the_papers_job_fits_a_graphics_card() -> None:
    """40 energies, 289 positions, frames of 256 x 256, with those of the half detector: 10.4 GiB of 80."""
    one = batch_bytes(289, 256, 1, (544, 544))
    assert 40 * one == pytest.approx(10.4 * 2**30, rel=0.02)
    assert batch_bytes(289, 256, 2, (544, 544)) > one > batch_bytes(289, 256, 1, (544, 544), subpixel=False)
