"""Memory of a worker while it reconstructs: a scan's counts once, their square roots once, and little besides."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from storage.datasets.store import DatasetStore

N, SIDE = 256, 22
EXTENT_M = 5e-7
"""Of the positions: the object takes as much memory with few frames as with many."""
ALLOWANCE = 60 * 2**20
"""A chunk being unpacked, what is compiled for more frames, what the allocator keeps: 48 MiB measured. One more copy of the
counts, as large as this, goes beyond it."""

PROGRAM = """
import sys
from pathlib import Path
from pydantic import TypeAdapter
from service.stages.context import StepRequest, DataPaths
from service.records.run_inputs import RunInputReader
from service.stages.pipeline import build_graph
from service.execution.worker import perform
from storage.datasets.store import DatasetStore
from tasks.options import RunOptions

folder = Path(sys.argv[1])
paths = DataPaths(folder / "datasets", folder / "units", folder / "runs")
options = TypeAdapter(RunOptions).validate_python({"reconstruct": {"cycles": 2}})

def memory(name):  # its own, where getrusage knows the parent's as well
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))

def reconstruct(dataset):
    graph = build_graph(RunInputReader(DatasetStore(paths.datasets)).read([dataset]), options, "run_1")
    step = next(step for step in graph.steps.values() if step.stage == "reconstruct")
    result = perform(StepRequest("run_1", step, paths), lambda _: None)
    assert result.is_computed, result.message

reconstruct("ds_few")
held = memory("VmHWM")
reconstruct("ds_many")
print(memory("VmHWM") - held)
"""


def add(store: DatasetStore, tmp_path: Path, name: str, side: int) -> int:
    """A dataset of one energy, ``side`` x ``side`` frames of noise; returns the bytes of its counts."""
    counts = np.tile(np.random.default_rng(0).poisson(20, (N, N)).astype(np.uint16), (side**2, 1, 1))
    y, x = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    store.create(
        name,
        {
            "title": name, "sample": {"name": "", "formula": "LiVO2", "group": ""}, "orientation": 0,
            "absorber": {"element": "V", "edge": "K"}, "probe": {"kind": "gaussian", "fwhm_m": 3e-7},
            "distance_m": 0.5, "detector_pixel_size_m": 75e-6,
        },
    )  # fmt: skip
    positions_m = np.stack([y.ravel(), x.ravel()], axis=1) * EXTENT_M / (side - 1)
    np.savez(tmp_path / "scan.npz", counts=counts, positions_m=positions_m, energy_ev=np.array(5420.0))
    store.add_scan(name, "e", tmp_path / "scan.npz")
    store.seal(name)
    return counts.nbytes


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a process's peak of memory is read from /proc")
def test_a_reconstruction_holds_counts_and_roots_once(tmp_path: Path) -> None:
    """Measured in a child that has reconstructed a few frames before, so that imports and compilation are not counted."""
    store = DatasetStore(tmp_path / "datasets")
    add(store, tmp_path, "ds_few", 2)
    counts = add(store, tmp_path, "ds_many", SIDE)
    roots = 2 * counts
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert roots < int(done.stdout) < counts + roots + ALLOWANCE
