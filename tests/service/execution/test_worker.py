"""What a worker loads when it performs its first step."""

import io
import pickle
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from service.execution.worker import perform
from service.records.dataset_repository import DatasetRepository
from service.records.run_inputs import RunInputReader
from service.settings import DataPaths
from service.stages.context import StageContext, StepRequest
from service.stages.pipeline import build_graph
from service.workflow.step import Step, StepAttributes
from storage.catalogue.catalogue import Catalogue
from storage.datasets.store import DatasetStore
from tasks.errors import TaskError
from tasks.options.run import OPTIONS

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, kw_only=True)
class BrokenStep(Step):
    """A step that fails, in a way that no stage foresees or in one that this one does."""

    stage: ClassVar[str] = "results"
    version: ClassVar[int] = 1

    error: str = ""
    at_ev: float | None = None
    blamed_ev: float | None = None

    @property
    def energy_ev(self) -> float | None:
        return self.at_ev

    def run(self, context: StageContext) -> StepAttributes:
        if self.error:
            error = TaskError(self.error)
            error.energy_ev = self.blamed_ev
            raise error
        raise FileNotFoundError("could not find zarr.json")


FIRST_STEP = """
import pickle, sys
from pathlib import Path
from service.execution.worker import perform
result = perform(pickle.loads(Path(sys.argv[1]).read_bytes()), lambda _: None)
assert result.is_computed, result.message
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def first_request(folder: Path) -> StepRequest:
    """The reconstruction of a dataset of one energy: a 5 x 5 raster over nothing."""
    y, x = np.meshgrid(np.arange(5), np.arange(5), indexing="ij")
    r2 = ((np.indices((32, 32)) - 16) ** 2).sum(axis=0)
    counts = np.random.default_rng(1).poisson(200 * np.exp(-r2 / 30), (25, 32, 32)).astype(np.uint16)
    store = DatasetStore(folder / "datasets")
    about = {"title": "t", "sample": {"name": "", "formula": "LiVO2", "group": ""}, "absorber": {"element": "V", "edge": "K"}}
    lengths = {"distance_m": 0.5, "detector_pixel_size_m": 75e-6, "provenance": {"created": "2024-05-01T12:00:00+00:00"}}
    store.create("ds_a", {**about, **lengths, "orientation": 0, "probe": {"kind": "gaussian", "fwhm_m": 3e-7}})
    file = io.BytesIO()
    np.savez(file, counts=counts, positions_m=np.stack([y.ravel(), x.ravel()], axis=1) * 1e-7, energy_ev=np.array(5420.0))
    (folder / "scan.npz").write_bytes(file.getvalue())
    store.add_scan("ds_a", "e", folder / "scan.npz")
    store.seal("ds_a")
    with closing(Catalogue(f"sqlite:///{folder}/catalogue.sqlite")) as catalogue:
        datasets = RunInputReader(DatasetRepository(catalogue, store)).read(["ds_a"])
    options = OPTIONS.validate_python({"reconstruct": {"cycles": 2}})
    step = next(iter(build_graph(datasets, options, "run_1").steps.values()))
    return StepRequest("run_1", step, DataPaths(store.root, folder / "units", folder / "runs"))


def test_the_first_reconstruction_waits_for_nothing_that_only_later_stages_need(tmp_path: Path) -> None:
    sent = pickle.dumps(first_request(tmp_path))
    assert len(sent) < 4096, "a step is cheap to send"
    (tmp_path / "request").write_bytes(sent)
    command = [sys.executable, "-c", FIRST_STEP, str(tmp_path / "request")]
    loaded = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300).stdout.split()
    assert "jax" in loaded
    assert {"matplotlib", "numba", "skimage", "sklearn", "xraydb"}.isdisjoint(loaded)


def test_an_error_of_a_step_that_was_given_up_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    request = StepRequest("run_1", BrokenStep(), DataPaths(tmp_path, tmp_path, tmp_path))
    heard = iter((False, False, False))  # before the step begins, and twice once it has failed
    result = perform(request, lambda _: None, lambda: next(heard, True))
    assert (result.fate, caplog.text) == ("cancelled", "")
    assert "no longer wanted" in result.message
    result = perform(request, lambda _: None)
    assert (result.fate, "Traceback" in caplog.text) == ("failed", True)
    assert "FileNotFoundError: could not find zarr.json" in result.message


@pytest.mark.parametrize(
    ("at_ev", "blamed_ev", "told"),
    [
        (5470.03, None, "no photon (align.leave_out_ev lets a run do without 5470.0 eV.)"),
        (None, 5480.0, "no photon (align.leave_out_ev lets a run do without 5480.0 eV.)"),
        (5470.03, 5480.0, "no photon (align.leave_out_ev lets a run do without 5480.0 eV.)"),
        (None, None, "no photon"),
    ],
)
def test_a_step_that_fails_for_one_energy_says_how_to_do_without_it(
    tmp_path: Path, at_ev: float | None, blamed_ev: float | None, told: str
) -> None:
    step = BrokenStep(error="no photon", at_ev=at_ev, blamed_ev=blamed_ev)
    request = StepRequest("run_1", step, DataPaths(tmp_path, tmp_path, tmp_path))
    result = perform(request, lambda _: None)
    assert (result.fate, result.message) == ("failed", told)
