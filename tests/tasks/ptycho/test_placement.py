"""Displaced frames are put back where they were taken, dim ones found dim; what is already right is left alone."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy import ndimage

from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.driver import run
from tasks.ptycho.kernels.cycle import prepare
from tasks.ptycho.placement import Slopes, corrected, misfit_slopes
from tasks.ptycho.probe import ProbeSpec, initial_probe
from tasks.ptycho.reconstruction import Reconstruction
from tasks.ptycho.scan import Placement, Scan, illumination, plan_canvas
from tasks.ptycho.solver import init
from tasks.ptycho.state import State

N, SIDE, PIXEL_M, PHOTONS = 64, 8, 15e-9, 1e8
OPTICS = ProbeSpec("gaussian", fwhm_m=300e-9, defocus_m=400e-6)

Measured = tuple[Scan, NDArray[np.complex64]]
"""A scan and the first guess of its probe."""


@pytest.fixture(scope="module")
def measured() -> Measured:
    """A raster over a rough object and its vacuum, 1e8 photons a frame, every frame cut and displaced exactly."""
    rng = np.random.default_rng(3)
    axis = (np.arange(SIDE) - (SIDE - 1) / 2) * 150e-9
    positions = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    positions += rng.uniform(-0.2, 0.2, positions.shape) * 150e-9
    canvas = plan_canvas(positions, PIXEL_M, N)
    true = initial_probe(OPTICS, 5465.0, PIXEL_M, N, PHOTONS)[0]
    rough = ndimage.gaussian_filter(rng.normal(size=(2, *canvas.shape)), (0, 4, 4))
    y, x = np.indices(canvas.shape) - np.array(canvas.shape).reshape(2, 1, 1) / 2
    matter = ndimage.gaussian_filter((np.hypot(y, x) < 36).astype(float), 2)
    thickness = matter * np.clip(1 + 0.4 * rough / rough.std(), 0.1, None)
    object_ = np.exp(-0.05 * thickness[0] - 0.4j * thickness[1])
    counts = []
    for corner in canvas.corners_px(positions, N):
        row, column = np.rint(corner).astype(int)
        ramps = [np.exp(-2j * np.pi * f * np.fft.fftfreq(N)) for f in corner - (row, column)]
        displaced = np.fft.ifft2(np.fft.fft2(true) * np.multiply.outer(*ramps))
        wave = np.fft.fft2(object_[row : row + N, column : column + N] * displaced, norm="ortho")
        counts.append(rng.poisson(np.fft.fftshift(np.abs(wave) ** 2)))
    distance_m = PIXEL_M * N * 75e-6 * 5465.0 / 1.239841984e-6
    scan = Scan(np.array(counts, np.uint32), positions, np.ones((N, N), bool), 5465.0, distance_m, 75e-6)
    assert scan.pixel_size_m == pytest.approx(PIXEL_M)
    return scan, initial_probe(replace(OPTICS, defocus_m=200e-6), 5465.0, PIXEL_M, N, PHOTONS)


def displaced(scan: Scan, kind: str) -> tuple[Scan, NDArray[np.float64]]:
    """The scan with wrong positions, and by how much [px]: up to 3 px by an affine map, by chance, or both."""
    rng = np.random.default_rng(1)
    centred = scan.positions_m - scan.positions_m.mean(axis=0)
    affine = centred @ np.array([[1.0, -0.6], [0.9, 0.8]])  # scale, rotation and shear
    affine *= 3 / np.abs(affine).max()
    error = {"affine": affine, "points": rng.uniform(-3, 3, affine.shape), "right": 0 * affine}[kind]
    return replace(scan, positions_m=scan.positions_m + error * PIXEL_M), error


def reconstruct(scan: Scan, probe: NDArray[np.complex64], cycles: int, **chosen: Any) -> State:
    options = ReconstructOptions(cycles=cycles, **chosen)
    canvas = plan_canvas(scan.positions_m, scan.pixel_size_m, scan.n_pixels)
    return run(Reconstruction(scan, canvas, init(canvas, probe, options), cycles, options))


def rms_px(displacement: NDArray[Any]) -> float:
    """Of the displacements, without what all have in common."""
    return float(np.sqrt(np.mean(np.sum((displacement - displacement.mean(axis=0)) ** 2, axis=1))))


@pytest.mark.parametrize("kind", ["affine", "points"])
def test_errors_of_three_pixels_are_found_to_a_third(measured: Measured, kind: str) -> None:
    scan, probe = measured
    wrong, error = displaced(scan, kind)
    state = reconstruct(wrong, probe, 80, position_refinement=kind)
    assert rms_px(error) > 1.5
    assert rms_px(state.displacement_px + error) < 0.3
    assert np.abs(state.displacement_px.mean(axis=0)).max() < 1e-9
    assert state.errors[-1] < 0.2 * reconstruct(wrong, probe, 80).errors[-1]


def test_positions_that_are_right_stay_so(measured: Measured) -> None:
    scan, probe = measured
    state = reconstruct(scan, probe, 80, position_refinement="points")
    assert rms_px(state.displacement_px) < 0.2


def test_a_frame_that_shows_nothing_goes_back_to_where_it_was_measured() -> None:
    displacement = np.array([[0.5, 0.0], [-0.5, 0.0]])
    nothing = Slopes(jnp.zeros((2, 3, 3)), jnp.zeros((2, 3)), jnp.ones(2))
    options = ReconstructOptions(position_refinement="points")
    found = corrected(Placement(displacement, np.ones(2)), nothing, np.zeros((2, 2)), options)
    np.testing.assert_allclose(found.displacement_px, 0)


def test_drifting_flux_is_found_to_half_a_percent(measured: Measured) -> None:
    scan, probe = measured
    rng = np.random.default_rng(2)
    flux = (1 + 0.1 * np.sin(np.linspace(0, 5, SIDE**2))) * rng.uniform(0.98, 1.02, SIDE**2)
    dim = replace(scan, counts=rng.binomial(scan.counts, (flux / flux.max())[:, None, None]).astype(np.uint32))
    state = reconstruct(dim, probe, 80, frame_flux=True)
    ratio = state.scale**2 / (flux / flux.mean())
    assert np.std(flux / flux.mean()) > 0.06
    assert np.std(ratio) < 0.005
    assert np.mean(state.scale**2) == pytest.approx(1)
    assert state.errors[-1] < 0.1 * reconstruct(dim, probe, 80).errors[-1]


def test_stopping_and_going_on_changes_nothing_with_moving_frames(measured: Measured) -> None:
    scan, probe = measured
    options = ReconstructOptions(cycles=24, position_refinement="points", frame_flux=True, refine_start=3)
    wrong, _ = displaced(scan, "points")
    canvas = plan_canvas(wrong.positions_m, wrong.pixel_size_m, N)
    whole = run(Reconstruction(wrong, canvas, init(canvas, probe, options), 24, options))
    parts = init(canvas, probe, options)
    for n_cycles in (2, 4, 16, 2):
        parts = run(Reconstruction(wrong, canvas, parts, n_cycles, options))
    np.testing.assert_array_equal(parts.object, whole.object)
    np.testing.assert_array_equal(parts.displacement_px, whole.displacement_px)


@pytest.mark.parametrize("subpixel", [True, False])
def test_slopes_are_those_of_the_misfit_and_the_same_in_a_batch(measured: Measured, subpixel: bool) -> None:
    scan, probe = measured
    scan = replace(scan, counts=scan.counts[20:30], positions_m=scan.positions_m[20:30])
    canvas = plan_canvas(scan.positions_m, scan.pixel_size_m, N)
    rng = np.random.default_rng(0)
    rough = ndimage.gaussian_filter(rng.normal(size=(2, *canvas.shape)), (0, 4, 4)) * 3
    object_, waves = jnp.asarray(np.exp(rough[0] * 0.1 + 1j * rough[1]), jnp.complex64), jnp.asarray(probe)

    frames = prepare(scan, canvas, subpixel)[0]
    at = misfit_slopes(object_, waves, frames)
    for axis in (0, 1) if subpixel else ():
        ahead, behind = (
            misfit_slopes(object_, waves, frames._replace(remainder=frames.remainder.at[:, axis].add(step)))
            for step in (0.02, -0.02)
        )
        numeric = -N * N * (ahead.misfit - behind.misfit) / 0.04 / 2
        np.testing.assert_allclose(at.vector[:, axis], numeric, rtol=0.02, atol=0.002 * np.abs(numeric).max())
    up, down = (misfit_slopes(object_, waves, frames._replace(gain=frames.gain * np.exp(step))).misfit for step in (-0.01, 0.01))
    toward_model = np.exp(0.01) ** 2 * up - np.exp(-0.01) ** 2 * down  # in units of the unscaled counts
    np.testing.assert_allclose(at.vector[:, 2], -N * N * toward_model / 0.02 / 2, rtol=0.02)
    stacked = jax.tree.map(lambda *arrays: jnp.stack(arrays), frames, frames)
    batch = jax.vmap(misfit_slopes)(jnp.stack([object_] * 2), jnp.stack([waves] * 2), stacked)
    for one, two in zip(at, batch, strict=True):
        np.testing.assert_allclose(one, two[1], rtol=1e-3, atol=1e-4 * float(np.abs(one).max()))


def test_no_frame_leaves_the_canvas(measured: Measured) -> None:
    scan, _ = measured
    canvas = plan_canvas(scan.positions_m, scan.pixel_size_m, N)
    far = Placement(np.full((SIDE**2, 2), 500.0), np.ones(SIDE**2))
    frames, _ = prepare(scan, canvas, True, far)
    assert (np.asarray(frames.corner) + N <= np.array(canvas.shape)).all()
    probe = np.ones((1, N, N), np.complex64)
    for displacement in (500.0, -500.0):
        positions_m = Placement(np.full((SIDE**2, 2), displacement), np.ones(SIDE**2)).positions_m(scan, canvas)
        assert illumination(canvas, positions_m, probe).sum() == pytest.approx(SIDE**2 * N**2)


def test_rounded_positions_are_not_refined() -> None:
    with pytest.raises(ValidationError, match="rounding would undo it"):
        ReconstructOptions(position_refinement="points", subpixel=False)
