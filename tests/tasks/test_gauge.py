"""The gauge: what is put on an object is found again, vacuum is found on its own, too little of it is an error."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage.restoration import unwrap_phase

from tasks import gauge as module
from tasks.errors import RegistrationError, VacuumError
from tasks.gauge import (
    Gauge,
    absorption_and_phase,
    field_box,
    field_of_view,
    find_vacuum,
    fit_quadratic_surface,
    measure_gauge,
    quadratic_surface,
    smooth_phase,
)


def particle(
    shape: tuple[int, int] = (120, 110), radius: float = 30, depth: float = 0.9, absorption: float = 0.06
) -> tuple[NDArray[Any], NDArray[Any]]:
    y, x = np.indices(shape)
    dome = np.sqrt(np.clip(1 - ((y - 60) ** 2 + (x - 50) ** 2) / radius**2, 0, None))
    return np.exp((-absorption - 1j * depth) * dome), dome > 0


def noisy(image: NDArray[Any], seed: int, sigma: float = 0.002) -> NDArray[np.complex64]:
    rng = np.random.default_rng(seed)
    ripple = rng.normal(size=image.shape) + 1j * rng.normal(size=image.shape)
    return np.asarray(image * np.exp(sigma * ripple), dtype=np.complex64)


def slopes(rng: np.random.Generator, spread: float) -> tuple[float, float]:
    y, x = rng.normal(0, spread, 2)
    return float(y), float(x)


FIELD = np.zeros((120, 110), bool)
FIELD[8:-8, 8:-8] = True


@pytest.mark.parametrize("seed", range(4))
def test_vacuum_is_found_under_any_gauge(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clean, matter = particle()
    hidden = Gauge(rng.normal(0, 0.1), rng.uniform(-3, 3), slopes(rng, 0.004))
    vacuum = find_vacuum(noisy(clean * hidden.factor(clean.shape), seed), FIELD, 0.02)
    assert not (vacuum & matter).any()
    assert vacuum.sum() > 0.7 * (FIELD & ~ndimage.binary_dilation(matter, iterations=3)).sum() * 0.8


@pytest.mark.parametrize("seed", range(4))
def test_measured_gauge_undoes_the_hidden_one(seed: int) -> None:
    rng = np.random.default_rng([seed, 9])
    clean, _ = particle()
    hidden = Gauge(rng.normal(0, 0.1), rng.uniform(-3, 3), slopes(rng, 0.01))
    image = noisy(clean * hidden.factor(clean.shape), seed)
    found = measure_gauge(image, find_vacuum(image, FIELD, 0.02))
    flat = image * found.factor(image.shape)
    error = np.log(flat / clean)[FIELD]
    assert abs(error.real.mean()) < 3e-4
    assert np.abs(ndimage.uniform_filter(np.angle(flat / clean), 9)[FIELD]).max() < 3e-3


def test_gauge_on_the_probe_leaves_every_pattern_unchanged() -> None:
    rng = np.random.default_rng(3)
    image, probe = (rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n)) for n in (80, 32))
    gauge = Gauge(0.07, 0.4, (0.02, -0.03))
    moved, counter = image * gauge.factor((80, 80)), gauge.onto_probe(probe[None].astype(np.complex64))[0]
    for row, column in ((0, 0), (17, 40)):
        before = np.abs(np.fft.fft2(image[row : row + 32, column : column + 32] * probe))
        after = np.abs(np.fft.fft2(moved[row : row + 32, column : column + 32] * counter))
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("radius", [60, 70, 90])
def test_no_vacuum_says_so_and_what_to_do(radius: float) -> None:
    clean, _ = particle(radius=radius)
    with pytest.raises(VacuumError, match=r"empty and flat.*vacuum_box"):
        find_vacuum(noisy(clean, 0), FIELD, 0.02)


@pytest.mark.parametrize(("quantile", "is_found"), [(module.ENVELOPE_QUANTILE, True), (0.8, False)])
def test_a_vacuum_of_a_sixth_of_the_field_is_found_from_a_plane_with_a_twentieth_above_it(
    quantile: float, is_found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean, matter = particle(radius=52)
    assert (FIELD & ~matter).sum() / FIELD.sum() == pytest.approx(0.17, abs=0.01)
    monkeypatch.setattr(module, "ENVELOPE_QUANTILE", quantile)
    image = noisy(clean, 0, sigma=0.03)
    if is_found:
        assert not (find_vacuum(image, FIELD, 0.01) & matter).any()
    else:
        with pytest.raises(VacuumError):
            find_vacuum(image, FIELD, 0.01)


def worst_gauge_error(n_cases: int = 5) -> float:
    """Largest rms error [rad] of the phase over the field, where 1 % of it lies 0.1 or 0.3 rad above the vacuum by mistake."""
    inner = ndimage.binary_erosion(FIELD, iterations=3)
    clean, _ = particle(radius=40)
    errors = []
    for seed in range(n_cases):
        rough = ndimage.gaussian_filter(np.random.default_rng([seed, 40, 7]).normal(size=FIELD.shape), 3)
        for lift in (0.1, 0.3):
            image = clean * np.exp(1j * lift * (rough > np.quantile(rough[inner], 0.99)))
            seen = noisy(image, seed, sigma=0.004)
            flat = seen * measure_gauge(seen, find_vacuum(seen, FIELD, 0.02)).factor(FIELD.shape)
            off = ndimage.uniform_filter(np.angle(flat / image), 5)[FIELD]
            errors.append(float(np.sqrt(np.mean(off**2))))
    return max(errors)


def test_what_lies_above_the_vacuum_by_mistake_does_not_carry_the_envelope(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worst_gauge_error() < 0.02
    monkeypatch.setattr(module, "ENVELOPE_QUANTILE", 0.99)
    assert worst_gauge_error() > 0.04


def test_too_little_vacuum_says_how_much_there_is() -> None:
    clean, _ = particle(radius=45)
    with pytest.raises(VacuumError, match=r"30\.0% of the scanned field.*found \d.*vacuum_box"):
        find_vacuum(noisy(clean, 0), FIELD, 0.3)


def test_thick_matter_is_unwrapped() -> None:
    clean, _ = particle(depth=5.5, radius=45)
    phase = smooth_phase(noisy(clean, 1), FIELD)
    assert phase[60, 50] - phase[12, 12] == pytest.approx(-5.5, abs=0.02)


@pytest.mark.parametrize("depth", [0.7, 5.5])
@pytest.mark.parametrize("turn", [0.0, 1.2, -3.0])
@pytest.mark.parametrize("ramp", [0.0, 0.3])
def test_outside_its_field_a_phase_is_zero_whether_it_was_unwrapped_or_not(depth: float, turn: float, ramp: float) -> None:
    clean, _ = particle(depth=depth, radius=45)
    tilted = clean * np.exp(1j * (turn + ramp * np.indices(clean.shape)[0]))
    np.testing.assert_allclose(smooth_phase(noisy(tilted, 1), FIELD)[~FIELD], 0, atol=1e-6)


@pytest.mark.parametrize("depth", [3.5, 2 * np.pi, 7.0, 9.0])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_strip_whose_edges_jump_over_half_a_turn_is_unwrapped(depth: float, axis: int) -> None:
    """No pixel of a straight edge along the rows need have a phase near half a turn, and yet both sides are a turn apart."""
    across = np.indices((80, 80))[axis] - 39.5
    strip = 1 / (1 + np.exp((np.abs(across) - 12) / 0.8))
    image = np.exp(-1j * depth * strip).astype(np.complex64)
    phase = smooth_phase(image)
    np.testing.assert_allclose(phase - phase[0, 0], -depth * strip, atol=1e-4)
    np.testing.assert_array_equal(phase, smooth_phase(image, np.ones((80, 80), bool)))


@pytest.mark.parametrize("depth", [0.7, 5.5])
def test_a_ramp_of_many_turns_is_followed_as_skimage_does(depth: float) -> None:
    clean, _ = particle(depth=depth, radius=30)
    y, x = np.indices(clean.shape)
    image = (noisy(clean, 1) * np.exp(1j * (0.31 * y - 0.22 * x + 2))).astype(np.complex64)
    phase = smooth_phase(image, FIELD)
    expected = unwrap_phase(np.ma.array(np.angle(image), mask=~FIELD)).filled(0.0)
    off = (phase - expected)[FIELD]
    assert np.ptp(phase[FIELD]) > 6 * np.pi
    np.testing.assert_allclose(off, np.round(off[0] / (2 * np.pi)) * 2 * np.pi, atol=1e-5)


@pytest.mark.parametrize("turn", [-3.0, 0.5, 3.1])
def test_absorption_and_phase_of_thick_matter_are_whole_and_not_a_number_outside_the_field(turn: float) -> None:
    clean, _ = particle(depth=9.0, radius=45)
    absorption, phase = absorption_and_phase(noisy(clean * np.exp(1j * turn), 2), FIELD)
    assert phase[60, 50] - phase[12, 12] == pytest.approx(-9.0, abs=0.02)
    assert abs(phase[12, 12]) <= np.pi + 0.02
    assert absorption[60, 50] == pytest.approx(0.06, abs=0.01)
    assert np.isnan(absorption[~FIELD]).all()
    assert np.isnan(phase[~FIELD]).all()


def test_a_ramp_over_vacuum_in_two_places_is_measured_across_the_matter_between() -> None:
    clean, _ = particle()
    hidden = Gauge(0.02, 1.0, (0.11, -0.13))
    apart = np.zeros_like(FIELD)
    apart[10:20, 10:25] = apart[95:110, 85:100] = True
    image = noisy(clean * hidden.factor(clean.shape), 5)
    flat = image * measure_gauge(image, apart).factor(image.shape)
    assert np.abs(np.log(flat / clean)[FIELD]).max() < 0.03


def test_no_vacuum_or_a_field_without_an_inside_is_a_sentence() -> None:
    clean, _ = particle()
    with pytest.raises(VacuumError, match="must be empty"):
        measure_gauge(noisy(clean, 0), np.zeros_like(FIELD))
    sliver = np.zeros_like(FIELD)
    sliver[20:24] = True
    with pytest.raises(VacuumError, match="must be empty"):
        find_vacuum(noisy(clean, 0), sliver, 0.02)


def test_an_empty_area_through_which_no_light_passes_is_a_sentence() -> None:
    dead = np.zeros((120, 110), np.complex64)
    with pytest.raises(VacuumError, match=r"zero at \d+ of its"):
        measure_gauge(dead, find_vacuum(dead, FIELD, 0.02))


def test_field_of_view_follows_the_dose() -> None:
    dose = np.zeros((50, 60), np.float32)
    dose[10:40, 15:50] = 1000
    dose[5:10, 15:50] = 50
    field = field_of_view(dose)
    assert field[10:40, 15:50].all()
    assert field.sum() == 30 * 35
    assert field_box(field) == (10, 39, 15, 49)


def test_a_hole_that_got_little_light_is_part_of_the_field_and_one_without_any_is_not() -> None:
    dose = np.full((40, 40), 1000, np.float32)
    dose[5:10, 5:10], dose[20:30, 20:30] = 1, 0
    field = field_of_view(dose)
    assert field[5:10, 5:10].all()
    assert not field[20:30, 20:30].any()
    assert field.sum() == 40 * 40 - 10 * 10


def test_an_empty_field_has_no_box() -> None:
    with pytest.raises(RegistrationError, match="one of them is empty"):
        field_box(np.zeros((5, 6), bool))


def test_the_quadratic_surface_of_the_vacuum_is_measured_beside_matter() -> None:
    clean, matter = particle()
    y, x = np.indices(clean.shape) - (np.array(clean.shape).reshape(2, 1, 1) - 1) / 2
    hidden = np.array([0.05, 1e-3, -2e-3, 3e-5, -1e-5, 2e-5])
    image = noisy(clean * np.exp(quadratic_surface(hidden, y, x)), 0)
    found = fit_quadratic_surface(image, FIELD & ~ndimage.binary_dilation(matter, iterations=3), np.ones(clean.shape))
    np.testing.assert_allclose(quadratic_surface(found - hidden, y, x)[FIELD], 0, atol=4e-4)


def test_a_pixel_apart_from_the_field_is_no_part_of_it_and_a_second_region_is() -> None:
    dose = np.zeros((60, 60))
    dose[5:40, 5:40] = 100
    dose[40, 40] = dose[2, 50] = 100  # touches the field by a corner; stands alone
    dose[45:55, 10:30] = 100
    field = field_of_view(dose.astype(np.float32))
    assert not field[40, 40]
    assert not field[2, 50]
    assert field.sum() == 35 * 35 + 10 * 20
