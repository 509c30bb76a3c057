"""What a worker loads when it performs its first step."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from storage.datasets.store import DatasetStore

ROOT = Path(__file__).resolve().parents[3]
FIRST_STEP = """
import pickle, sys
from pathlib import Path
from service.execution.worker import perform
result = perform(pickle.loads(Path(sys.argv[1]).read_bytes()), lambda _: None)
assert result.is_computed, result.message
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
PICKLE = """
import pickle, sys
from pathlib import Path
from pydantic import TypeAdapter
from service.records.run_inputs import RunInputReader
from service.stages.context import DataPaths, StepRequest
from service.stages.pipeline import build_graph
from storage.datasets.store import DatasetStore
from tasks.options import RunOptions
folder = Path(sys.argv[1])
paths = DataPaths(folder / "datasets", folder / "units", folder / "runs")
options = TypeAdapter(RunOptions).validate_python({"reconstruct": {"cycles": 2}})
graph = build_graph(RunInputReader(DatasetStore(paths.datasets)).read(["ds_a"]), options, "run_1")
(folder / "request").write_bytes(pickle.dumps(StepRequest("run_1", next(iter(graph.steps.values())), paths)))
"""


def add_scan(folder: Path) -> None:
    """A dataset of one energy: a 5 x 5 raster over nothing."""
    y, x = np.meshgrid(np.arange(5), np.arange(5), indexing="ij")
    r2 = ((np.indices((32, 32)) - 16) ** 2).sum(axis=0)
    counts = np.random.default_rng(1).poisson(200 * np.exp(-r2 / 30), (25, 32, 32)).astype(np.uint16)
    store = DatasetStore(folder / "datasets")
    about = {"title": "t", "sample": {"name": "", "formula": "LiVO2", "group": ""}, "absorber": {"element": "V", "edge": "K"}}
    lengths = {"distance_m": 0.5, "detector_pixel_size_m": 75e-6}
    store.create("ds_a", {**about, **lengths, "orientation": 0, "probe": {"kind": "gaussian", "fwhm_m": 3e-7}})
    file = io.BytesIO()
    np.savez(file, counts=counts, positions_m=np.stack([y.ravel(), x.ravel()], axis=1) * 1e-7, energy_ev=np.array(5420.0))
    (folder / "scan.npz").write_bytes(file.getvalue())
    store.add_scan("ds_a", "e", folder / "scan.npz")
    store.seal("ds_a")


def run_program(program: str, *arguments: object) -> list[str]:
    """Words that a program prints in a process of its own."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300).stdout.split()


def test_the_first_reconstruction_waits_for_nothing_that_only_later_stages_need(tmp_path: Path) -> None:
    add_scan(tmp_path)
    run_program(PICKLE, tmp_path)
    loaded = run_program(FIRST_STEP, tmp_path / "request")
    assert "jax" in loaded
    assert {"matplotlib", "numba", "skimage", "sklearn", "xraydb"}.isdisjoint(loaded)
    assert (tmp_path / "request").stat().st_size < 4096, "a step is cheap to send"
