"""Energies brought together: drift, gauge and scale undone on simulated objects, corrections that go back."""

import pickle
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from imaged import PIXEL_M, SIDE_PX, imaged
from numpy.typing import NDArray
from scipy import ndimage

from tasks.chemistry import electron_density
from tasks.coupling.correction import Correction
from tasks.coupling.outliers import phase_warnings
from tasks.coupling.spectra import Aligned, Spectra, align, impose
from tasks.errors import BlankFixedImageError, EnergyGridError, RegistrationError, VacuumError
from tasks.gauge import Gauge
from tasks.options.coupling import AlignOptions, KKROptions
from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.scan import Canvas
from tasks.ptycho.solver import init
from tasks.scattering import Absorber
from tasks.simulation.chemical_states import electrons_per_formula
from tasks.simulation.energies import energy_grid
from tasks.simulation.specimen import SimulationOptions, grow_specimen, transmission_at
from tasks.units import object_pixel_size_m

V = Absorber("V", "K")
Array = NDArray[np.float64]
Objects = tuple[list[NDArray[np.complex64]], list[NDArray[np.float32]], list[Canvas]]
ENERGY = energy_grid(14, V.edge_energy_ev)
SPECIMEN = grow_specimen(SimulationOptions(seed=4, radius_m=0.45e-6, thickness_m=1.2e-6, n_states=3, n_grains=6))


class Measured:
    """Objects as a reconstruction would leave them: own pixel, own gauge, own place, some noise."""

    def __init__(self, seed: int, noise: float = 0.001) -> None:
        rng = np.random.default_rng(seed)
        electrons = electrons_per_formula(SPECIMEN.states, ENERGY, V)
        self.drift_m = rng.normal(0, 30e-9, (len(ENERGY), 2))
        self.canvases: list[Canvas] = []
        self.objects: list[NDArray[np.complex64]] = []
        self.doses: list[NDArray[np.float32]] = []
        for e, energy in enumerate(ENERGY):
            pixel = object_pixel_size_m(energy, 0.4721, 96, 75e-6)
            y, x = -64 * pixel + rng.uniform(-0.5, 0.5, 2) * pixel
            canvas = Canvas((128, 128), pixel, (float(y), float(x)))
            y_m, x_m = (canvas.origin_m[k] + np.arange(128) * pixel - self.drift_m[e, k] for k in (0, 1))
            clean = transmission_at(SPECIMEN, electrons[e], y_m, x_m, energy)
            slope_y, slope_x = rng.normal(0, 0.003, 2)
            gauge = Gauge(rng.normal(0, 0.05), rng.uniform(-3, 3), (slope_y, slope_x))
            white = noise * (rng.normal(size=(128, 128)) + 1j * rng.normal(size=(128, 128)))
            dose = np.zeros((128, 128), np.float32)
            dose[6:-6, 6:-6] = 1e6
            self.canvases.append(canvas)
            self.objects.append((clean * np.exp(white) / gauge.factor((128, 128))).astype(np.complex64))
            self.doses.append(dose)

    def truth(self, grid_y: Array, grid_x: Array) -> NDArray[np.complex64]:
        electrons = electrons_per_formula(SPECIMEN.states, ENERGY, V)
        offset = self.drift_m.mean(axis=0)
        return np.stack(
            [
                transmission_at(SPECIMEN, electrons[e], grid_y - offset[0], grid_x - offset[1], ENERGY[e])
                for e in range(len(ENERGY))
            ]
        )

    def aligned(self) -> Aligned:
        return align(self.objects, self.doses, self.canvases, ENERGY, AlignOptions())

    def coupled(self, options: KKROptions) -> tuple[Spectra, list[Correction]]:
        return impose(self.aligned(), self.canvases, V, "LiVO2", options)


@pytest.fixture(scope="module")
def measured() -> Measured:
    return Measured(0)


def test_drift_is_found_to_a_twentieth_of_a_pixel(measured: Measured) -> None:
    found = measured.aligned()
    true = (measured.drift_m - measured.drift_m.mean(axis=0)) / found.grid.pixel_size_m
    assert np.sqrt(np.mean((found.shift_px - true) ** 2)) < 0.05
    assert np.abs(found.shift_px - true).max() < 0.1


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.study)])
def test_objects_come_to_one_grid_one_gauge_one_place(seed: int) -> None:
    measured = Measured(seed)
    found = measured.aligned()
    error = np.log(found.images / measured.truth(found.grid.y_m, found.grid.x_m))
    inside = found.sample & found.field
    assert np.abs(error[:, inside].mean(axis=1)).max() < 1e-3
    assert np.sqrt(np.mean(np.abs(error[:, found.vacuum]) ** 2)) < 0.002
    assert not (found.vacuum & found.sample).any()
    assert inside.sum() * found.grid.pixel_size_m**2 == pytest.approx(np.pi * 0.45e-6**2, rel=0.2)


def test_pixel_is_the_finest_and_fields_are_nan_outside(measured: Measured) -> None:
    spectra, _ = measured.coupled(KKROptions())
    assert spectra.y_m[1] - spectra.y_m[0] == pytest.approx(min(c.pixel_size_m for c in measured.canvases))
    assert spectra.absorption.dtype == np.float32
    assert np.isfinite(spectra.absorption[:, spectra.sample_mask]).all()
    assert spectra.kk_slope == pytest.approx(1.0, abs=0.05)
    assert np.ptp(spectra.kk_predicted) > 2
    assert np.corrcoef(spectra.kk_measured, spectra.kk_predicted)[0, 1] > 0.98
    assert np.ptp(spectra.kk_measured) == pytest.approx(np.ptp(spectra.kk_predicted), rel=0.1)
    assert spectra.kk_residual.max() < 1e-6 < spectra.kk_residual_before.min()
    assert spectra.sigma_absorption == pytest.approx(0.001, rel=0.3)


def test_off_leaves_spectra_as_measured_and_joint_brings_them_nearer_the_truth(measured: Measured) -> None:
    errors = {}
    modes: tuple[Literal["off", "joint"], ...] = ("off", "joint")
    for mode in modes:
        spectra, _ = measured.coupled(KKROptions(mode=mode))
        true = -np.log(np.abs(measured.truth(spectra.y_m, spectra.x_m)))
        errors[mode] = np.sqrt(np.mean((spectra.absorption - true)[:, spectra.sample_mask] ** 2))
    assert errors["joint"] < 0.97 * errors["off"]


@pytest.mark.parametrize("mode", ["off", "joint"])
def test_two_thirds_of_the_electron_densities_are_true_to_their_standard_error(mode: Literal["off", "joint"]) -> None:
    """Of the lowest energy, as maps have them, under noise that is large beside what resampling makes of borders."""
    noisy = Measured(0, noise=0.02)
    spectra, _ = noisy.coupled(KKROptions(mode=mode))
    true = electron_density(np.angle(noisy.truth(spectra.y_m, spectra.x_m)[0]), 0.0, ENERGY[0])
    found = electron_density(spectra.phase[0], spectra.sigma_phase[0], ENERGY[0])
    off = ((found.value - true.value) / found.sigma)[spectra.sample_mask]
    assert off.size > 2000
    assert 0.60 < np.mean(np.abs(off) < 1) < 0.76
    assert abs(off.mean()) < 0.25


def test_corrections_fix_gauge_and_take_back_the_other_energies_word(measured: Measured) -> None:
    _, corrections = measured.coupled(KKROptions(gamma=1.0))
    probe = np.ones((1, 96, 96), np.complex64)
    state = init(measured.canvases[3], probe, ReconstructOptions())
    state = replace(state, object=measured.objects[3])
    corrected = corrections[3].apply(state)
    vacuum = corrected.object[10:20, 10:110]
    assert np.abs(np.mean(vacuum) - 1) < 1e-3
    # object times probe, and with it every diffraction pattern, changes only where the specimen is
    frame = slice(8, 104)
    before = np.abs(np.fft.fft2(state.object[frame, frame] * state.probe[0]))
    after = np.abs(np.fft.fft2(corrected.object[frame, frame] * corrected.probe[0]))
    assert np.linalg.norm(after - before) < 5e-3 * np.linalg.norm(before)


def test_a_vacuum_box_that_is_too_small_is_an_error(measured: Measured) -> None:
    with pytest.raises(VacuumError, match="vacuum_box"):
        align(measured.objects, measured.doses, measured.canvases, ENERGY, AlignOptions(vacuum_box=(0, 3, 0, 3)))


def test_energies_out_of_order_are_an_error(measured: Measured) -> None:
    with pytest.raises(EnergyGridError, match="ascend"):
        align(measured.objects[:2], measured.doses[:2], measured.canvases[:2], ENERGY[[1, 0]], AlignOptions())


N = 72
RADIUS = np.hypot(*(np.indices((N, N)) - (N - 1) / 2))
THREE = np.array([5420.0, 5470.0, 5540.0])
STILL = ((0.0, 0.0),) * 3


def disc(
    depth: float,
    radius: float = 16.0,
    side: int = N,
    blur: float = 2.0,
    shifts: tuple[tuple[float, float], ...] = STILL,
    turns: tuple[float, ...] = (0.0, 0.0, 0.0),
) -> Objects:
    """A disc of a phase of ``-depth`` rad at three energies, as a reconstruction would leave it."""
    rng = np.random.default_rng(0)
    dose = np.pad(np.full((side - 8, side - 8), 1e4, np.float32), 4)
    objects, doses, canvases = [], [], []
    for (down, right), turn in zip(shifts, turns, strict=True):
        noise = rng.normal(0, 0.01, (2, side, side))
        y, x = np.indices((side, side)) - (side - 1) / 2
        matter = 1 / (1 + np.exp((np.hypot(y - down, x - right) - radius) / blur))
        objects.append(np.exp(-0.05 * matter + noise[0] - 1j * (depth * matter + noise[1] + turn)).astype(np.complex64))
        doses.append(dose)
        canvases.append(Canvas((side, side), 15e-9, (0.0, 0.0)))
    return objects, doses, canvases


@pytest.mark.parametrize("depth", [2.5, 5.0, 6.28, 7.0, 9.5])
def test_thick_specimens_have_their_whole_phase_and_the_vacuum_none(depth: float) -> None:
    found = align(*disc(depth), THREE, AlignOptions())
    phase = found.phase
    middle = tuple(side // 2 for side in phase.shape[1:])
    np.testing.assert_allclose(phase[:, middle[0], middle[1]], -depth, atol=0.1)
    assert np.abs(phase[:, found.vacuum].mean(axis=1)).max() < 0.01
    assert found.sample[middle]
    # the disc's edge is blurred over some 8 px; all of the disc and no more than that
    assert 0.9 < found.sample.sum() / (np.pi * 16.0**2) < 1.5
    assert not (found.sample & found.vacuum).any()


DOWN, RIGHT = np.indices((N, N)) - (N - 1) / 2


def soft(distance: Array, radius: float) -> Array:
    return np.asarray(1 / (1 + np.exp((distance - radius) / 0.8)))


FIELDS_OF_MATTER = {
    "ring": soft(RADIUS, 26) - soft(RADIUS, 12),
    "at the border": soft(np.hypot(DOWN - 20, RIGHT - 34), 20),
    "two, one thicker": np.maximum(soft(np.hypot(DOWN - 16, RIGHT - 14), 11), 1.3 * soft(np.hypot(DOWN + 16, RIGHT + 14), 11)),
    "strip across": soft(np.abs(DOWN), 9),
}


@pytest.mark.parametrize("matter", FIELDS_OF_MATTER.values(), ids=FIELDS_OF_MATTER)
@pytest.mark.parametrize("depth", [2 * np.pi, 7.5])
def test_thick_specimens_of_any_shape_have_their_whole_phase(matter: Array, depth: float) -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.01, (3, N, N))
    objects = [np.exp((-0.05 - 1j * depth) * matter + 1j * (n + turn)) for n, turn in zip(noise, (0.0, 3.0, -2.5), strict=True)]
    _, doses, canvases = disc(1.0)
    found = align([one.astype(np.complex64) for one in objects], doses, canvases, THREE, AlignOptions(drift="none"))
    first = [round(float(axis[0]) / 15e-9) for axis in (found.grid.y_m, found.grid.x_m)]
    there = matter[first[0] : first[0] + found.phase.shape[1], first[1] : first[1] + found.phase.shape[2]]
    assert np.abs(found.phase + depth * there)[:, found.field].max() < 0.1
    assert not (found.vacuum & (there > 0.1)).any()
    assert (found.sample | ~found.field | (there < 0.6)).mean() > 0.99


def told(objects: Objects) -> list[str]:
    found = align(*objects, THREE, AlignOptions())
    absorption, phase = (np.where(found.field, images, np.nan).astype(np.float32) for images in (found.absorption, found.phase))
    return phase_warnings(THREE, absorption, phase, found.vacuum)


@pytest.mark.parametrize("depth", [5.0, 7.5, 9.0])
def test_an_edge_beyond_half_a_turn_within_a_pixel_is_told(depth: float) -> None:
    assert told(disc(depth, blur=2.0)) == []
    assert told(disc(depth, blur=1.0)) == []
    warnings = told(disc(depth, blur=0.1))
    assert len(warnings) == 1
    assert "may be off by whole turns" in warnings[0]


def test_thick_specimens_are_registered_past_whole_turns() -> None:
    objects, doses, canvases = disc(7.0, shifts=((0, 0), (2.0, -1.5), (-1.0, 3.0)), turns=(0.0, 3.0, -2.5))
    found = align(objects, doses, canvases, THREE, AlignOptions())
    true = np.array([[0, 0], [2.0, -1.5], [-1.0, 3.0]])
    np.testing.assert_allclose(found.shift_px - found.shift_px.mean(axis=0), true - true.mean(axis=0), atol=0.05)


def test_a_thick_disc_over_half_the_field_is_all_specimen() -> None:
    side = 108
    objects, doses, canvases = disc(7.0, radius=40.0, side=side)
    found = align(objects, doses, canvases, THREE, AlignOptions())
    assert 0.9 < found.sample.sum() / (np.pi * 40.0**2) < 1.15
    phase = found.phase
    inside = ndimage.binary_erosion(found.sample, iterations=18)
    np.testing.assert_allclose(phase[:, inside], -7.0, atol=0.1)


def test_thin_places_of_a_thick_specimen_are_specimen() -> None:
    objects, doses, canvases = disc(7.0, radius=12.0)
    film = np.zeros((N, N))
    film[8:20, 8:20] = 0.15
    found = align([image * np.exp(-1j * film) for image in objects], doses, canvases, THREE, AlignOptions())
    offset = 8 - round(float(found.grid.y_m[0] / 15e-9))
    assert found.sample[offset + 2 : offset + 10, offset + 2 : offset + 10].all()


def test_objects_that_are_no_numbers_are_a_sentence() -> None:
    objects, doses, canvases = disc(2.0)
    objects[1] = np.where(RADIUS < 2, np.nan, objects[1]).astype(np.complex64)
    with pytest.raises(RegistrationError, match=r"5470\.0 eV.*diverge") as caught:
        align(objects, doses, canvases, THREE, AlignOptions())
    assert caught.value.energy_ev == 5470.0


def test_a_blank_field_or_a_dose_of_nothing_is_a_sentence() -> None:
    with pytest.raises(VacuumError, match="must hold a specimen"):
        align(*disc(0.0), THREE, AlignOptions())
    flat = [np.full((N, N), np.exp(0.3j), np.complex64)] * 3
    for drift in ("find", "none"):
        with pytest.raises(VacuumError, match="must hold a specimen"):
            align(flat, *disc(0.0)[1:], THREE, AlignOptions(drift=drift))
    with pytest.raises(VacuumError, match="must let the light pass"):
        align([np.zeros((N, N), np.complex64), *flat[1:]], *disc(0.0)[1:], THREE, AlignOptions())
    objects, doses, canvases = disc(2.0)
    for spoilt in (np.zeros((N, N), np.float32), np.full((N, N), np.nan, np.float32)):
        with pytest.raises(VacuumError, match="must have received light"):
            align(objects, [spoilt, *doses[1:]], canvases, THREE, AlignOptions())


def test_an_energy_that_drowns_the_specimen_in_noise_is_named() -> None:
    objects, doses, canvases = disc(0.1)
    noise = np.random.default_rng(1).normal(0, 2.0, (N, N))
    with pytest.raises(
        VacuumError, match=r"must hold a specimen.* The noise is that of 5540\.0 eV \(.* rad\), of the others 0\.0"
    ):
        align([*objects[:2], np.exp(1j * noise).astype(np.complex64)], doses, canvases, THREE, AlignOptions(drift="none"))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_energy_without_light_is_named(place: int) -> None:
    objects, doses, canvases = disc(2.0)
    doses[place] = np.zeros((N, N), np.float32)
    with pytest.raises(VacuumError, match="must have received light") as caught:
        align(objects, doses, canvases, THREE + 2.5, AlignOptions(energy_offset_ev=2.5))
    assert pickle.loads(pickle.dumps(caught.value)).energy_ev == THREE[place], "as measured, which align.leave_out_ev takes"


def test_a_blank_energy_in_the_middle_is_blamed_for_what_no_other_can_be_registered_against() -> None:
    objects, doses, canvases = disc(2.0)
    noise = np.random.default_rng(1).normal(0, 0.2, (N, N))
    objects[1] = np.exp(1j * noise).astype(np.complex64)
    with pytest.raises(BlankFixedImageError, match=r"middle, 5470\.0 eV, against which all.*beam lost") as caught:
        align(objects, doses, canvases, THREE, AlignOptions())
    assert caught.value.energy_ev == 5470.0


def test_a_stated_vacuum_box_is_used_where_none_is_found() -> None:
    filled = disc(2.5, radius=31.0)
    with pytest.raises(VacuumError):
        align(*filled, THREE, AlignOptions())
    found = align(*filled, THREE, AlignOptions(vacuum_box=(0, 9, 0, 9), min_vacuum_fraction=0.01))
    assert found.vacuum.sum() == 81


def test_a_stated_vacuum_box_is_used_where_one_would_be_found() -> None:
    found = align(*disc(2.5), THREE, AlignOptions(vacuum_box=(0, 9, 0, 9), min_vacuum_fraction=0.01))
    assert np.argwhere(found.vacuum).max() == 8
    assert found.vacuum.sum() == 81


@pytest.mark.parametrize("options", [AlignOptions(drift="none"), AlignOptions(drift="none", vacuum_box=(0, 6, 0, 48))])
def test_conjugate_objects_are_told_from_a_field_that_is_full(options: AlignOptions) -> None:
    objects, energies_ev = imaged().objects, imaged().energies_ev
    canvases = [Canvas((SIDE_PX, SIDE_PX), PIXEL_M, (0.0, 0.0))] * len(objects)
    dose = [np.ones((SIDE_PX, SIDE_PX), np.float32)] * len(objects)
    align(list(objects), dose, canvases, energies_ev, options)
    with pytest.raises(VacuumError, match="complex conjugate"):
        align(list(objects.conj()), dose, canvases, energies_ev, options)
