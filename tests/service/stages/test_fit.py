"""Standard errors of the fits of a run are scaled by what the noise of its empty pixels does to each parameter."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.settings import DataPaths
from service.stages.pipeline import build_graph
from service.workflow.inputs import RunInput, ScanInput
from storage.artifacts import ArtifactStore
from tasks.options.run import RunOptions
from tasks.ptycho.scan import Canvas
from tasks.scattering import Absorber
from tasks.simulation.energies import energy_grid
from tasks.xanes.model import PARAMETERS, eq1

Array = NDArray[Any]

SIDE = 48
ABSORBER = Absorber()
ENERGY_EV = energy_grid(40, ABSORBER.edge_energy_ev)
FIT = np.array([0.012, 0.064, 5478.0, 3.2, 0.02, 5470.0, 1.1, 0.024, 5484.0, 4.0])
SAMPLE = np.hypot(*(np.mgrid[:SIDE, :SIDE] - SIDE / 2)) < 10


def images() -> dict[str, Array]:
    """Spectra of one state in a disc, whose noise is alike at neighbouring energies, in the disc as about it."""
    white = 4e-4 * np.random.default_rng(0).normal(size=(2, 41, SIDE, SIDE))
    noise = (white[:, 1:] + white[:, :-1]) / 2
    spectrum = eq1(ENERGY_EV, FIT) * (ABSORBER.edge_energy_ev / ENERGY_EV)
    return {
        "energy_ev": ENERGY_EV,
        "absorption": (spectrum[:, None, None] * SAMPLE + noise[0]).astype(np.float32),
        "phase": (-0.5 * SAMPLE + noise[1]).astype(np.float32),
        "sample_mask": SAMPLE,
        "sigma_absorption": np.full(40, 3e-4),
        "sigma_phase": np.full(40, 3e-4),
    }


@pytest.mark.parametrize(
    ("options", "scaled"),
    [
        ({}, {"edge_jump", "edge_energy", "edge_width", "pre_edge_height", "white_line_energy"}),
        ({"fit": {"model": "no_pre_edge"}}, {"edge_jump", "edge_energy", "edge_width", "white_line_energy"}),
        ({"fit": {"joint": True}, "kkr": {"mode": "off"}}, {"edge_jump"}),
        ({"fit": {"model": "none"}}, set()),
    ],
)
def test_errors_are_those_of_a_run_without_vacuum_times_the_scales(
    paths: DataPaths,
    options_of: Callable[..., RunOptions],
    compute: Callable[..., Any],
    options: dict[str, Any],
    scaled: set[str],
) -> None:
    found, scales = [], []
    for name, vacuum in (("ds_a", ~SAMPLE), ("ds_b", np.zeros_like(SAMPLE))):
        scans = tuple(
            ScanInput(f"s{i}", float(one), 9, 32, f"{name}{i}", Canvas(SAMPLE.shape, 2e-8, (0.0, 0.0)))
            for i, one in enumerate(ENERGY_EV)
        )
        dataset = RunInput(name, name, "", "LiVO2", {"element": "V", "edge": "K"}, {"distance_m": 1.0}, scans)
        graph = build_graph([dataset], options_of(**options), "run_1")
        key = next(step.key for step in graph.steps.values() if step.stage == "spectra")
        ArtifactStore(paths.artifacts).write(
            key, images() | {"vacuum_mask": vacuum}, {"stage": "spectra", "inputs": [], "seconds": 1.0}
        )
        (result,) = compute(paths, graph, "fit").values()
        found.append(ArtifactStore(paths.artifacts).read(next(step.key for step in graph.steps.values() if step.stage == "fit")))
        scales.append(result.attributes["error_scales"])
    assert scales[1] == {}, "without vacuum nothing is known"
    assert scaled <= scales[0].keys()
    assert (scales[0].keys() <= {"edge_jump"}) is ("edge_energy" not in scaled)
    for name, ours, alone in zip(PARAMETERS, found[0]["sigma"], found[1]["sigma"], strict=True):
        np.testing.assert_allclose(ours, alone * scales[0].get(name, 1.0), rtol=1e-9, err_msg=name)
    if scaled:
        assert 1.2 < scales[0]["edge_jump"] < 1.8, "noise that neighbouring energies share passes for an edge"
