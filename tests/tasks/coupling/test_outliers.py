"""One energy that went wrong is named, with its figure; energies that are merely noisy are not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.coupling.outliers import coupling_warnings, neighbours, noisiest, phase_warnings, relation_warnings

ENERGY_EV = np.linspace(5420, 5540, 40)


def figures(seed: int) -> dict[str, NDArray[np.float64]]:
    """R that doubles over the edge, residuals and drift with a tenth of scatter."""
    rng = np.random.default_rng(seed)
    r_factor = 1e-5 * (1.5 + np.tanh((ENERGY_EV - 5480) / 10) / 2) * np.exp(rng.normal(0, 0.1, 40))
    noise_error = r_factor / 1.3
    return {
        "r_factor": r_factor,
        "noise_error": noise_error,
        "kk_residual": np.exp(rng.normal(0, 0.1, 40)),
        "shift_px": rng.normal(0, 1.3, (40, 2)),
    }


@pytest.mark.parametrize("seed", range(20))
def test_ordinary_scatter_is_no_warning(seed: int) -> None:
    assert coupling_warnings(ENERGY_EV, **figures(seed)) == []


@pytest.mark.parametrize(
    ("name", "spoil", "says"),
    [
        ("r_factor", lambda v: 3 * v, "R "),
        ("kk_residual", lambda v: 4 * v, "Kramers-Kronig residual"),
        ("shift_px", lambda v: v + np.array([0, 14]), "px from its place"),
    ],
)
@pytest.mark.parametrize("at", [0, 17, 39])
def test_the_energy_that_went_wrong_is_named(name: str, spoil: Callable[[Any], Any], says: str, at: int) -> None:
    values = figures(1)
    values[name][at] = spoil(values[name][at])
    (text,) = coupling_warnings(ENERGY_EV, **values)
    assert text.startswith(f"{ENERGY_EV[at]:.1f} eV: ")
    assert says in text


def test_an_unexplained_misfit_is_one_warning() -> None:
    values = figures(2)
    values["noise_error"] = values["r_factor"] / np.exp(np.random.default_rng(0).normal(np.log(8), 0.2, 40))
    (text,) = coupling_warnings(ENERGY_EV, **values)
    times = float(text.removeprefix("R is ").split()[0])
    assert times == pytest.approx(8, rel=0.1)
    assert "position_refinement" in text


def test_a_diverged_energy_is_named_and_spoils_no_other_figure() -> None:
    values = figures(4)
    values["r_factor"][7] = values["noise_error"][7] = np.nan
    (text,) = coupling_warnings(ENERGY_EV, **values)
    assert text.startswith(f"{ENERGY_EV[7]:.1f} eV: the reconstruction diverged")


def test_few_energies_have_no_neighbours_to_stand_out_from() -> None:
    few = {name: values[:3] * np.array([1, 1, 50]).reshape(-1, *[1] * (values.ndim - 1)) for name, values in figures(0).items()}
    assert coupling_warnings(ENERGY_EV[:3], **few) == []
    np.testing.assert_allclose(neighbours(np.array([1.0, 5.0, 3.0])), [4.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("phase_rad", "says"),
    [(-0.5, ""), (-3.0, ""), (0.0, "next to no phase"), (1.3, "or a positive one"), (-2.9 + np.pi, "or a pos")],
)
def test_absorption_without_a_phase_is_told(phase_rad: float, says: str) -> None:
    """A phase that is off by just two pi has no steep step of its own, but matter there has no phase."""
    rng = np.random.default_rng(0)
    y, x = np.indices((40, 40)) - 19.5
    matter = 1 / (1 + np.exp((np.hypot(y, x) - 10) / 2))
    vacuum = np.hypot(y, x) > 18
    noise = rng.normal(0, 0.003, (2, 3, 40, 40))
    images = [(value * matter + one).astype(np.float32) for value, one in zip((0.05, phase_rad), noise, strict=True)]
    for image in images:
        image[:, :2] = np.nan
    warnings = phase_warnings(ENERGY_EV[:3], images[0], images[1], vacuum & np.isfinite(images[0][0]))
    assert len(warnings) == bool(says)
    assert says in "".join(warnings)


@pytest.mark.parametrize(
    ("absorption", "phase_rad"), [(-0.05, -3.0), (-0.02, -0.4)], ids=["conjugate", "a wedge taken for empty"]
)
def test_matter_that_absorbs_less_than_the_vacuum_is_told(absorption: float, phase_rad: float) -> None:
    rng = np.random.default_rng(1)
    y, x = np.indices((40, 40)) - 19.5
    matter = 1 / (1 + np.exp((np.hypot(y, x) - 10) / 2))
    noise = rng.normal(0, 0.003, (2, 3, 40, 40))
    images = [(value * matter + one).astype(np.float32) for value, one in zip((absorption, phase_rad), noise, strict=True)]
    (text,) = phase_warnings(ENERGY_EV[:3], images[0], images[1], np.hypot(y, x) > 18)
    assert "less than in the area taken for empty" in text


@pytest.mark.parametrize("slope", [0.5, 2.0, -1.0])
def test_a_phase_by_another_factor_than_the_relation_has_is_told(slope: float) -> None:
    predicted = -2 * np.exp(-(((ENERGY_EV - 5470) / 15) ** 2))
    rough = predicted + np.random.default_rng(0).normal(0, 0.1, 40)
    assert relation_warnings(rough, predicted) == []
    (text,) = relation_warnings(slope * rough, predicted)
    assert f"{slope:.1f}"[:3] in text or f"{slope:.0f}" in text
    assert relation_warnings(np.random.default_rng(1).normal(0, 1, 40), predicted) == []
    assert relation_warnings(slope * rough[:3], predicted[:3]) == []
    assert relation_warnings(np.zeros(40), predicted) == []


def test_far_noisier_energies_are_named_and_a_lower_dose_is_not() -> None:
    sigma = np.full(40, 0.01)
    sigma[:20] = 0.03
    assert noisiest(ENERGY_EV, sigma) == ""
    sigma[[3, 20]] = 2.0, 0.5
    told = noisiest(ENERGY_EV, sigma)
    assert f"{ENERGY_EV[3]:.1f} eV (2 rad), {ENERGY_EV[20]:.1f} eV (0.5 rad)" in told
    assert "of the others" in told
