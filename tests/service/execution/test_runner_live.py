"""A live run whose energies are coupled in parts ends with the arrays of a run that had all of them from its start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from places import on_disk
from pydantic import TypeAdapter

from service.execution.dask.task import Work
from service.execution.worker import StepResult
from service.settings import DataPaths
from service.stages.context import IsCancelled, Report, StepRequest, never
from service.stages.couple import split
from service.stages.pipeline import build_graph
from service.workflow.inputs import RunInput, ScanInput
from storage.artifacts import ArtifactStore
from tasks.options.run import RunOptions
from tasks.ptycho.scan import Canvas

if TYPE_CHECKING:
    from tests.service.execution.conftest import MakeBench

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

SIDE = 64
ENERGIES = (5420.0, 5450.0, 5464.0, 5470.0, 5476.0, 5482.0, 5488.0, 5494.0, 5500.0, 5540.0)
OPTIONS: dict[str, Any] = {
    "reconstruct": {"cycles": 30, "start_from": "optics"},
    "kkr": {"start": 10, "every": 20, "gamma": 0.7},
}
"""Two rounds, and a coupling after each."""


def measured(energies: tuple[float, ...], *, is_open: bool) -> RunInput:
    """A dataset of some energies, whose pixel grows with the wavelength."""
    scans = []
    for energy in sorted(energies):
        pixel = 15e-9 * ENERGIES[-1] / energy
        canvas = Canvas((SIDE, SIDE), pixel, (-pixel * (SIDE - 1) / 2, -pixel * (SIDE - 1) / 2))
        scans.append(ScanInput(f"e{energy:.0f}", energy, 4, 32, f"{energy:064.0f}", canvas))
    return RunInput("a", "a", "g", "LiVO2", {"element": "V", "edge": "K"}, {"probe": None}, tuple(scans), is_open)


def coupling_work() -> Work:
    """Performs the steps that couple energies; a reconstruction is a made-up particle, and other steps are a number."""

    def reconstruction(energy_ev: float, pixel_size_m: float) -> dict[str, Any]:
        import numpy as np
        from scipy import ndimage
        from scipy.special import erf

        from tasks.gauge import Gauge

        rng = np.random.default_rng(int(energy_ev * 10))
        y, x = (np.indices((SIDE, SIDE)) - (SIDE - 1) / 2) * pixel_size_m / 15e-9
        down, right = rng.normal(0, 1.5, 2)
        disc = ndimage.gaussian_filter(np.clip(18 - np.hypot(y - down, x - right), 0, 4) / 4, 1)
        disc *= 1 + 0.2 * np.sin((y - down) / 4) * np.cos((x - right) / 5)
        noise = rng.normal(0, 1e-3, (2, SIDE, SIDE))
        gauge = Gauge(rng.normal(0, 0.05), rng.uniform(-3, 3), (rng.normal(0, 0.01), rng.normal(0, 0.01)))
        absorption = disc * 0.05 * (2 + erf((energy_ev - 5470) / 4)) + noise[0]
        seen = np.exp(-absorption + 1j * (noise[1] - disc * 0.7)) / gauge.factor((SIDE, SIDE))
        return {
            "object": seen.astype(np.complex64),
            "dose": np.pad(np.full((SIDE - 10, SIDE - 10), 1e4, np.float32), 5),
            "probe": np.ones((1, 32, 32), np.complex64),
            "errors": np.linspace(0.1, 0.01, 5, dtype=np.float32),
            "prtf": np.linspace(1, 0, 17, dtype=np.float32),
        }

    def work(request: StepRequest, report: Report, is_cancelled: IsCancelled) -> StepResult:
        import time

        import numpy as np

        from service.execution.worker import StepResult, perform
        from storage.artifacts import ArtifactStore

        step: Any = request.step
        if step.stage in ("couple", "spectra"):
            return perform(request, report, is_cancelled)
        is_image = step.stage == "reconstruct"
        arrays = reconstruction(step.energy_ev, step.scan.canvas.pixel_size_m) if is_image else {"x": np.ones(1)}
        ArtifactStore(request.paths.artifacts).write(step.key, arrays, {"warnings": [], "noise_error": 0.009})
        (on_disk(request.paths.runs) / f"{time.time_ns()} {step.key} {request.run_id} {step.stage}.log").touch()
        return StepResult("done", is_computed=True)

    return work


def test_a_live_run_that_is_coupled_in_parts_ends_as_a_sealed_one(
    make_bench: MakeBench, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SPLIT_PIXELS": 0, "GROUP_PIXELS": 3 * SIDE**2, "ROWS_OF_TILES": (24, 24)}.items():
        monkeypatch.setattr(split, name, value)
    bench = make_bench(coupling_work(), a=measured(ENERGIES[5:7], is_open=True))
    bench.submit("run_1", "a", **OPTIONS)
    bench.wait_for_steps(2)
    for n_energies, energies in ((5, ENERGIES[:3] + ENERGIES[5:7]), (10, ENERGIES)):
        bench.datasets["a"] = measured(energies, is_open=True)
        bench.runner.wake()
        bench.wait_for_steps(n_energies)
    bench.datasets["a"] = measured(ENERGIES, is_open=False)
    bench.runner.wake()
    view = bench.wait("run_1", "succeeded", "failed")
    assert view.state == "succeeded", view.error
    units = [event.data["unit"] for event in bench.records.events("run_1", 0) if event.kind == "unit"]
    assert len(units) == len(set(units))
    assert sum(name.startswith("couple-register") for name in units) == 8

    graph = build_graph([bench.datasets["a"]], TypeAdapter(RunOptions).validate_python(OPTIONS), "run_1")
    folder = tmp_path_factory.mktemp("sealed")
    paths = DataPaths(folder / "datasets", folder / "units", folder / "runs")
    work = coupling_work()
    paths.runs.mkdir()
    for step in graph.steps.values():
        result = work(StepRequest("run_1", step, paths), lambda _: None, never)
        assert isinstance(result, StepResult)
        assert result.fate == "done", result.message
    live, sealed = (ArtifactStore(where.artifacts).read(graph.steps["spectra"].key) for where in (bench.paths, paths))
    assert live.keys() == sealed.keys() > {"absorption", "phase", "shift_px"}
    for name, values in sealed.items():
        np.testing.assert_array_equal(live[name], values, err_msg=name)
