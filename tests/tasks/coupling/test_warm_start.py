"""One energy as the start of another: in its place and contrast, as good as many cycles, and without a memory of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from tasks.coupling.warm_start import QUICK_CYCLES, StartingEnergy, band_limited, fourier_matrix, moved
from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.driver import run
from tasks.ptycho.probe import ProbeSpec, initial_probe
from tasks.ptycho.reconstruction import Reconstruction
from tasks.ptycho.scan import Canvas, Scan, illumination, plan_canvas
from tasks.ptycho.solver import init
from tasks.ptycho.state import State
from tasks.units import object_pixel_size_m

N, SIDE, PHOTONS, DISTANCE_M, DETECTOR_PIXEL_M = 48, 8, 1e8, 0.31, 75e-6
OPTICS = ProbeSpec("gaussian", fwhm_m=240e-9, defocus_m=300e-6)
GUESS = replace(OPTICS, defocus_m=150e-6)
COLD, LOW, HIGH = ReconstructOptions(cycles=150), 5420.0, 5490.0

Thickness = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.complex128]]


@dataclass(frozen=True)
class Energy:
    """One energy's scan, the true object on its canvas, and the first guess of the probe."""

    scan: Scan
    canvas: Canvas
    truth: NDArray[np.complex128]
    guess: NDArray[np.complex64]


def blobs(y_m: NDArray[np.float64], x_m: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Thickness of smooth grains in an empty field, in units of -ln O."""
    rng = np.random.default_rng(4)
    total = np.zeros(np.broadcast_shapes(y_m.shape, x_m.shape), complex)
    for _ in range(9):
        y, x, width = *rng.uniform(-0.22e-6, 0.22e-6, 2), rng.uniform(0.06e-6, 0.12e-6)
        total += rng.uniform(0.3, 1.0) * np.exp(-((y_m - y) ** 2 + (x_m - x) ** 2) / (2 * width**2))
    return total


def axes_m(canvas: Canvas, shift_m: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(Y, 1) and (1, X) pixel centres in the frame of a specimen displaced by ``shift_m``."""
    y, x = (np.asarray(canvas.origin_m[k] + np.arange(canvas.shape[k]) * canvas.pixel_size_m - shift_m[k]) for k in (0, 1))
    return y[:, None], x[None, :]


def measure(
    energy_ev: float, contrast: complex, shift_m: tuple[float, float] = (0, 0), seed: int = 0, thickness: Thickness = blobs
) -> Energy:
    """A jittered raster over exp(-contrast thickness), the specimen displaced by ``shift_m``, with photon noise."""
    rng = np.random.default_rng([seed, int(energy_ev)])
    axis = (np.arange(SIDE) - (SIDE - 1) / 2) * 120e-9
    positions = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    positions = positions + rng.uniform(-20e-9, 20e-9, positions.shape)
    pixel_m = object_pixel_size_m(energy_ev, DISTANCE_M, N, DETECTOR_PIXEL_M)
    canvas = plan_canvas(positions, pixel_m, N)
    truth = np.exp(-contrast * thickness(*axes_m(canvas, shift_m)))
    probe = initial_probe(OPTICS, energy_ev, pixel_m, N, PHOTONS)[0]
    counts = []
    for corner in canvas.corners_px(positions, N):
        row, column = np.rint(corner).astype(int)
        ramps = [np.exp(-2j * np.pi * f * np.fft.fftfreq(N)) for f in corner - (row, column)]
        displaced = np.fft.ifft2(np.fft.fft2(probe) * np.multiply.outer(*ramps))
        wave = np.fft.fft2(truth[row : row + N, column : column + N] * displaced, norm="ortho")
        counts.append(rng.poisson(np.fft.fftshift(np.abs(wave) ** 2)))
    scan = Scan(np.array(counts, np.uint32), positions, np.ones((N, N), bool), energy_ev, DISTANCE_M, DETECTOR_PIXEL_M)
    return Energy(scan, canvas, truth, initial_probe(GUESS, energy_ev, pixel_m, N, scan.mean_photons))


def cold(one: Energy, options: ReconstructOptions = COLD) -> State:
    return run(Reconstruction(one.scan, one.canvas, init(one.canvas, one.guess, options), options.max_cycles, options))


def as_start(one: Energy, state: State) -> StartingEnergy:
    dose = illumination(one.canvas, one.scan.positions_m, state.probe)
    return StartingEnergy(state.object, state.probe, one.canvas, dose, one.scan.mean_photons, len(one.scan.counts))


def warm(one: Energy, reference: StartingEnergy, cycles: int = 24) -> tuple[State, list[str]]:
    """The state after so many cycles from the reference, and the warnings."""
    options = ReconstructOptions(cycles=cycles)
    start = init(one.canvas, one.guess, options)
    reconstruction = Reconstruction(one.scan, one.canvas, start, cycles, options, warm_start=reference)
    return run(reconstruction), reconstruction.warnings


def logarithm_error(one: Energy, state: State) -> NDArray[np.complex128]:
    """(Y, X) error of ln O in the illuminated field, without a constant, a plane of the phase and a displacement."""
    dose = illumination(one.canvas, one.scan.positions_m, state.probe)
    field = ndimage.binary_erosion(dose > 0.5 * np.median(dose[dose > 0.5 * dose.max()]), iterations=2)
    error = np.log(np.where(field, state.object / one.truth, 1))
    turned = np.angle(np.sum(np.exp(1j * error[field].imag)))
    error = np.where(field, np.log(np.where(field, state.object / one.truth * np.exp(-1j * turned), 1)), 0)
    y, x = np.indices(field.shape) - np.reshape(field.shape, (2, 1, 1)) / 2
    terms = np.stack([np.ones(field.shape), 1j * np.ones(field.shape), 1j * y, 1j * x, *np.gradient(np.log(one.truth))])
    rows = np.concatenate([terms[:, field].real, terms[:, field].imag], axis=1)
    values = np.concatenate([error[field].real, error[field].imag])
    found = np.linalg.lstsq(rows.T, values, rcond=None)[0]
    return np.asarray(np.where(field, error - np.tensordot(found, terms, 1), 0))


def rms(error: NDArray[np.complex128]) -> float:
    return float(np.sqrt(np.mean(np.abs(error[error != 0]) ** 2)))


@pytest.fixture(scope="module")
def reference() -> StartingEnergy:
    """The energy that others start from, reconstructed from the optics."""
    one = measure(HIGH, 0.15 + 0.6j)
    return as_start(one, cold(one))


@pytest.fixture(scope="module")
def target() -> Energy:
    """An energy of a third of the absorption, another pixel, and a specimen that drifted by two pixels."""
    return measure(LOW, 0.05 + 0.7j, (40e-9, -33e-9))


@pytest.fixture(scope="module")
def target_cold(target: Energy) -> State:
    return cold(target)


def test_an_object_moves_to_another_canvas_in_one_interpolation() -> None:
    source, target = Canvas((64, 80), 20e-9, (-0.6e-6, -0.8e-6)), Canvas((70, 76), 19.5e-9, (-0.65e-6, -0.7e-6))
    shift = (31e-9, -17e-9)

    def at(canvas: Canvas, shift_m: tuple[float, float]) -> NDArray[np.complex128]:
        return np.asarray(np.exp(-(0.1 + 0.5j) * blobs(*axes_m(canvas, shift_m))))

    found = moved(at(source, (0, 0)).astype(np.complex64), source, target, np.array(shift))
    inner = np.s_[16:-16, 16:-16]
    np.testing.assert_allclose(found[inner], at(target, shift)[inner], atol=2e-3)


def test_a_start_has_no_frequencies_that_no_photon_corrects() -> None:
    noise = np.random.default_rng(2).normal(size=(2, 60, 70)) * 0.01
    rough = (1 + noise[0] + 1j * noise[1]).astype(np.complex64)
    before, after = (np.abs(np.fft.fft2(one - 1)) for one in (rough, band_limited(rough)))
    frequency = np.hypot(np.fft.fftfreq(60)[:, None], np.fft.fftfreq(70))
    np.testing.assert_allclose(after[frequency >= 0.55], 0, atol=1e-4 * before.max())
    np.testing.assert_allclose(after[frequency <= 0.45], before[frequency <= 0.45], atol=1e-4 * before.max())


def test_interpolation_is_exact_close_to_the_highest_frequency() -> None:
    points = np.array([-1.0, 0.0, 3.0, 12.3, 40.75, 63.2, 63.8])

    def wave(at_px: NDArray[np.float64]) -> NDArray[np.float64]:
        return 1 + np.cos(2 * np.pi * 31 / 64 * at_px + 0.4)

    matrix = fourier_matrix(points, 64)
    np.testing.assert_allclose(matrix[1:6] @ wave(np.arange(64.0)), wave(points[1:6]), atol=1e-9)
    assert not matrix[[0, 6]].any()


def test_two_dozen_cycles_from_another_energy_are_as_good_as_150(
    reference: StartingEnergy, target: Energy, target_cold: State
) -> None:
    state, warnings = warm(target, reference)
    assert warnings == []
    assert state.cycle == 24 + QUICK_CYCLES == len(state.errors)
    few = cold(target, ReconstructOptions(cycles=24 + QUICK_CYCLES))
    error, after_150, after_few = (rms(logarithm_error(target, one)) for one in (state, target_cold, few))
    assert error < 1.1 * after_150
    assert error < 0.7 * after_few


def test_auto_ends_a_warm_energy_after_a_few_dozen_cycles(reference: StartingEnergy, target: Energy, target_cold: State) -> None:
    options = ReconstructOptions(cycles="auto", start_from="reference")
    start = init(target.canvas, target.guess, options)
    state = run(Reconstruction(target.scan, target.canvas, start, options.max_cycles, options, warm_start=reference))
    assert 30 + QUICK_CYCLES <= state.cycle <= 60
    assert rms(logarithm_error(target, state)) < 1.15 * rms(logarithm_error(target, target_cold))


@pytest.mark.parametrize("shift_m", [(0.0, 0.0), (160e-9, -120e-9)])
def test_drift_of_many_pixels_is_found(reference: StartingEnergy, shift_m: tuple[float, float]) -> None:
    drifted = measure(LOW, 0.05 + 0.7j, shift_m)
    state, warnings = warm(drifted, reference)
    assert warnings == []
    assert rms(logarithm_error(drifted, state)) < 0.006


def test_fewer_positions_another_flux_and_another_mask_are_no_obstacle(reference: StartingEnergy, target: Energy) -> None:
    scan, kept = target.scan, np.arange(SIDE**2) % 7 != 3
    mask = np.random.default_rng(0).random((N, N)) > 0.03
    counts = np.random.default_rng(1).binomial(scan.counts[kept], 0.4).astype(np.uint32)
    other = replace(target, scan=replace(scan, counts=counts, positions_m=scan.positions_m[kept], mask=mask))
    state, warnings = warm(other, reference)
    assert warnings == []
    assert rms(logarithm_error(other, state)) < 1.1 * rms(logarithm_error(other, cold(other)))


@pytest.mark.parametrize("contrast", [0.0, 0.35])
def test_a_grain_at_one_energy_only_is_as_from_a_cold_start(contrast: float) -> None:
    """It is in the reference or at the target, but not in the other: nothing of it is taken over or lost."""

    def with_grain(y_m: NDArray[np.float64], x_m: NDArray[np.float64]) -> NDArray[np.complex128]:
        return blobs(y_m, x_m) + grain(y_m, x_m)

    def grain(y_m: NDArray[np.float64], x_m: NDArray[np.float64]) -> NDArray[np.complex128]:
        return (0.8 + 0.5j) * np.exp(-((y_m - 0.1e-6) ** 2 + (x_m + 0.15e-6) ** 2) / (2 * (0.04e-6) ** 2))

    its, ours = (blobs, with_grain) if contrast else (with_grain, blobs)
    first, second = measure(HIGH, 0.15 + 0.6j, thickness=its), measure(LOW, 0.15 + 0.6j, (20e-9, 0.0), thickness=ours)
    state, warnings = warm(second, as_start(first, cold(first)))
    assert warnings == []
    shape = (0.15 + 0.6j) * grain(*axes_m(second.canvas, (20e-9, 0.0)))

    def share(one: State) -> float:
        """How much of the grain is in the error of ln O, 1 being the whole."""
        error = -logarithm_error(second, one)
        return float(np.sum(error * shape.conj()).real / np.sum(np.abs(shape) ** 2))

    assert abs(share(state)) < 0.01
    assert abs(share(state) - share(cold(second))) < 0.01


def found_contrast(one: Energy, state: State, contrast: float) -> float:
    """Absorption found over the true one, from its slope on the thickness in the illuminated field."""
    error = -logarithm_error(one, state).real
    field = error != 0
    rows = np.stack([contrast * blobs(*axes_m(one.canvas, (20e-9, -10e-9))).real[field], np.ones(field.sum())], axis=1)
    return 1 + float(np.linalg.lstsq(rows, error[field], rcond=None)[0][0])


def auto(one: Energy, reference: StartingEnergy) -> State:
    """The final state of one energy as the defaults reconstruct it from a reference."""
    options = ReconstructOptions(cycles="auto", start_from="reference")
    start = init(one.canvas, one.guess, options)
    return run(Reconstruction(one.scan, one.canvas, start, options.max_cycles, options, warm_start=reference))


def test_an_edge_that_moves_while_energies_are_measured_is_not_drawn_to_the_reference(reference: StartingEnergy) -> None:
    """Absorption at the edge, a fifth to four thirds of the reference's, is found within 0.5 %, and so is the jump."""
    absorption = np.array([0.03, 0.08, 0.2])
    found = []
    for energy_ev, contrast in zip((5462.0, 5466.0, 5470.0), absorption, strict=True):
        one = measure(energy_ev, contrast + 0.65j, (20e-9, -10e-9))
        found.append(contrast * found_contrast(one, auto(one, reference), contrast))
    np.testing.assert_allclose(found, absorption, rtol=5e-3)
    np.testing.assert_allclose(np.diff(found), np.diff(absorption), rtol=5e-3)


def test_neighbouring_energies_differ_by_as_much_noise_as_from_cold_starts(reference: StartingEnergy) -> None:
    """Noise that both had from the reference would be missing in their difference, most of all where it is dim."""
    pair = [measure(energy_ev, 0.05 + 0.7j, (40e-9, -33e-9)) for energy_ev in (5430.0, 5431.0)]
    options = ReconstructOptions(cycles=200)
    from_reference = difference_noise(pair, [auto(one, reference) for one in pair])
    from_optics = difference_noise(pair, [cold(one, options) for one in pair])
    assert (from_reference > 0.87 * from_optics)[0]
    assert (from_reference > 0.9 * from_optics)[1:].all()
    assert (from_reference < 1.1 * from_optics).all()


def difference_noise(pair: list[Energy], states: list[State]) -> NDArray[np.float64]:
    """Standard deviation of the difference of A of two energies, whose canvases are alike, in the middle, rim and dim rim."""
    errors, doses = [], []
    for one, state in zip(pair, states, strict=True):
        dose = illumination(one.canvas, one.scan.positions_m, state.probe)
        errors.append(np.log(np.abs(state.object / one.truth)))
        doses.append(dose / np.median(dose[dose > 0.5 * dose.max()]))
    height, width = (min(error.shape[k] for error in errors) for k in (0, 1))
    difference = (errors[1][:height, :width] - errors[0][:height, :width]) / np.sqrt(2)
    dose = np.minimum(*(one[:height, :width] for one in doses))
    bands = [(dose > low) & (dose <= high) for low, high in ((0.5, np.inf), (0.3, 0.5), (0.15, 0.3))]
    return np.array([difference[band].std() for band in bands])


def test_another_specimen_is_no_start_and_the_energy_says_so(target: Energy, target_cold: State) -> None:
    def other(y_m: NDArray[np.float64], x_m: NDArray[np.float64]) -> NDArray[np.complex128]:
        return 3 * blobs(-x_m - 0.1e-6, 1.3 * y_m + 0.1e-6)

    wrong = measure(HIGH, 0.15 + 0.6j, thickness=other)
    state, warnings = warm(target, as_start(wrong, cold(wrong)), cycles=150)
    assert [one.startswith("started from the optics: ") for one in warnings] == [True]
    assert rms(logarithm_error(target, state)) < 1.05 * rms(logarithm_error(target, target_cold))


def test_a_diverged_reference_is_no_start(reference: StartingEnergy, target: Energy) -> None:
    spoilt = replace(reference, object=np.full_like(reference.object, np.nan))
    state, warnings = warm(target, spoilt, cycles=5)
    assert warnings == ["started from the optics: the reference has diverged"]
    np.testing.assert_array_equal(state.object, cold(target, ReconstructOptions(cycles=5)).object)


def test_frames_of_another_size_are_no_start(reference: StartingEnergy, target: Energy) -> None:
    smaller = replace(reference, probe=reference.probe[:, 4:-4, 4:-4])
    _, warnings = warm(target, smaller, cycles=2)
    assert warnings == ["started from the optics: the reference has frames of 40 px across, this energy of 48 px"]


def test_a_reference_of_another_field_is_no_start(reference: StartingEnergy, target: Energy) -> None:
    away = replace(reference, canvas=replace(reference.canvas, origin_m=(3e-6, 3e-6)))
    _, warnings = warm(target, away, cycles=2)
    assert len(warnings) == 1
    assert warnings[0].startswith("started from the optics: ")
