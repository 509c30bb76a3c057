"""How energies converged, side by side: where each stopped, its positions, flux and modes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from service.settings import DataPaths
from service.stages.context import StageContext, StepRequest
from service.stages.dataset_results import convergence
from service.stages.reconstruct import ReconstructStep
from service.workflow.step import Step, StepAttributes, StepRef

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class ReaderStep(Step):
    stage: ClassVar[str] = "reader"
    version: ClassVar[int] = 1

    def run(self, context: StageContext) -> StepAttributes:
        return {}


def state(n_cycles: int, n_positions: int, *, corrected: bool, n_modes: int = 2) -> Arrays:
    """What a round leaves, as far as it is read here."""
    probe = np.zeros((n_modes, 4, 4), np.complex64)
    for k, amplitude in enumerate((3, 1j)[:n_modes]):
        probe[k, k, k] = amplitude
    return {
        "errors": np.linspace(1, 0.1, n_cycles, dtype=np.float32),
        "frame_px": np.full(n_cycles, 4, np.int16),
        "positions_m": np.arange(2.0 * n_positions).reshape(-1, 2),
        "displacement_px": np.tile([3.0, 4.0], (n_positions, 1)) if corrected else np.empty((0, 2)),
        "scale": np.full(n_positions, 1.1) if corrected else np.empty(0),
        "probe": probe,
    }


def convergence_of(paths: DataPaths, *states: Arrays) -> Arrays:
    """Convergence of energies whose last rounds left ``states``."""
    context = StageContext(StepRequest("run_1", ReaderStep(), paths), lambda _: None)
    steps: list[StepRef[ReconstructStep]] = []
    for number, arrays in enumerate(states):
        steps.append(StepRef(f"reconstruct-{number}", f"key{number}-reconstruct"))
        context.artifacts.write(steps[-1].key, arrays, {"noise_error": 0.25 * len(arrays["errors"])})
    return convergence(context, steps)


def test_energies_of_unlike_length_stand_side_by_side(paths: DataPaths) -> None:
    found = convergence_of(paths, state(5, 3, corrected=True), state(3, 4, corrected=True))
    np.testing.assert_array_equal(found["cycles"], [5, 3])
    assert found["error"].shape == (2, 5)
    assert np.isnan(found["error"][1, 3:]).all()
    assert np.isfinite(found["error"][0]).all()
    np.testing.assert_array_equal(found["frame_px"], [[4] * 5, [4, 4, 4, 0, 0]])
    assert np.isnan(found["positions"][0, 3]).all()
    np.testing.assert_allclose(found["mode_power"], [[0.9, 0.1]] * 2)
    np.testing.assert_allclose(found["displacement_rms"], 5)
    np.testing.assert_allclose(found["frame_flux"][0], [1.21, 1.21, 1.21, np.nan], rtol=1e-6)


def test_an_energy_with_fewer_modes_has_none_of_their_power(paths: DataPaths) -> None:
    found = convergence_of(paths, state(5, 3, corrected=False), state(3, 3, corrected=False, n_modes=1))
    np.testing.assert_allclose(found["mode_power"], np.array([[0.9, 0.1], [1, 0]]))
    np.testing.assert_allclose(found["noise_error"], [1.25, 0.75])


def test_uncorrected_positions_and_flux_are_not_given_as_corrected(paths: DataPaths) -> None:
    found = convergence_of(paths, state(5, 3, corrected=False))
    assert {"displacement_rms", "frame_flux"}.isdisjoint(found)
