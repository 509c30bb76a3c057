"""A frame cut at whole pixels has its beam up to half a pixel off the middle: a phase ramp of the probe, and none of the object.

The pattern of a probe P whose beam is ``d`` pixels off the middle is that of ``P exp(2 pi i d r / N)``, whatever the object. So
the rounded centre of the beam needs no correction: the probe takes the fraction. What the object takes of it is the ramp that
the vacuum's gauge removes.
"""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from tasks.gauge import measure_gauge
from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.beam import tilt
from tasks.ptycho.driver import run
from tasks.ptycho.probe import ProbeSpec, initial_probe
from tasks.ptycho.reconstruction import Reconstruction
from tasks.ptycho.scan import Scan, plan_canvas
from tasks.ptycho.solver import init
from tasks.units import object_pixel_size_m

N, SIDE, ENERGY_EV, DISTANCE_M, DETECTOR_PIXEL_M = 48, 8, 5465.0, 0.25, 75e-6
PIXEL_M = object_pixel_size_m(ENERGY_EV, DISTANCE_M, N, DETECTOR_PIXEL_M)
POWER = 1e8
CYCLES = 30


def patterns(waves: NDArray[np.complex128], off_px: tuple[float, float]) -> NDArray[np.float64]:
    """|FT|^2 of waves (P, N, N) on pixels whose middle one is ``off_px`` from the beam, by the sum over all points."""
    axes = [np.exp(-2j * np.pi * np.outer(np.arange(N) - N // 2 - d, np.arange(N) - N // 2) / N) for d in off_px]
    return np.asarray(np.abs(np.einsum("kr,prs,ls->pkl", axes[0], waves, axes[1], optimize=True) / N) ** 2)


def particle(shape: tuple[int, int]) -> NDArray[np.complex128]:
    """A lens of matter in the middle, with grains; one in the vacuum."""
    y, x = (axis - side // 2 for axis, side in zip(np.indices(shape), shape, strict=True))
    grains = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=shape), 2)
    thickness = np.clip(1 - np.hypot(y, x) / 16, 0, None) ** 0.5 * (1 + grains)
    return np.asarray(np.exp(-(0.1 + 0.5j) * thickness))


def settled(off_px: tuple[float, float]) -> tuple[float, float]:
    """R, and how far ln of the object is from the truth, after cycles that begin at the truth and the tilted probe."""
    rng = np.random.default_rng(0)
    steps = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"), axis=-1).reshape(-1, 2) * 6
    positions_m = np.asarray((steps + rng.integers(-1, 2, steps.shape)) * PIXEL_M, np.float64)
    canvas = plan_canvas(positions_m, PIXEL_M, N)
    truth = particle(canvas.shape)
    probe = initial_probe(ProbeSpec("gaussian", 220e-9, defocus_m=2e-4), ENERGY_EV, PIXEL_M, N, POWER)
    corners = np.rint(canvas.corners_px(positions_m, N)).astype(int)
    waves = np.stack([probe[0] * truth[row : row + N, column : column + N] for row, column in corners])
    counts = rng.poisson(patterns(waves, off_px)).astype(np.uint32)
    scan = Scan(counts, positions_m, np.ones((N, N), bool), ENERGY_EV, DISTANCE_M, DETECTOR_PIXEL_M)
    options = ReconstructOptions(cycles=CYCLES)
    begun = replace(init(canvas, tilt(probe, np.array(off_px)), options), object=truth.astype(np.complex64))
    state = run(Reconstruction(scan, canvas, begun, CYCLES, options))
    matter = np.abs(np.log(truth)) > 0
    vacuum = ndimage.binary_dilation(matter, iterations=8) & ~ndimage.binary_dilation(matter, iterations=2)
    ratio = np.asarray(state.object / truth, np.complex64)
    error = np.log(ratio * measure_gauge(ratio, vacuum).factor(canvas.shape))[matter]
    return float(state.errors[-1]), float(np.sqrt(np.mean(np.abs(error) ** 2)))


@pytest.mark.parametrize("off_px", [(0.5, -0.4), (0.3, 0.5)])
def test_a_beam_off_the_middle_by_a_fraction_of_a_pixel_has_the_same_object(off_px: tuple[float, float]) -> None:
    (centred_r, centred), (found_r, found) = settled((0.0, 0.0)), settled(off_px)
    assert found_r == pytest.approx(centred_r, rel=0.03)  # what photon noise leaves
    assert found == pytest.approx(centred, rel=0.1)
    assert found < 2e-3


def test_the_probe_has_to_take_the_fraction() -> None:
    truth = particle((N, N))
    probe = initial_probe(ProbeSpec("gaussian", 220e-9, defocus_m=2e-4), ENERGY_EV, PIXEL_M, N, POWER)
    seen = patterns(probe * truth, (0.5, -0.4))
    ramp = tilt(probe, np.array([0.5, -0.4])).astype(np.complex128)
    np.testing.assert_allclose(patterns(ramp * truth, (0.0, 0.0)), seen, rtol=1e-4, atol=1e-4 * seen.max())
    assert np.abs(patterns(probe * truth, (0.0, 0.0)) - seen).max() > 0.05 * seen.max()
