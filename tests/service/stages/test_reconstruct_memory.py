"""Memory of a worker while it reconstructs: a scan's counts once, their square roots once, and little besides."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.settings import DataPaths
from service.stages.context import StepRequest
from service.stages.pipeline import build_graph
from service.workflow.inputs import RunInput
from storage.datasets.store import DatasetStore
from tasks.options.run import OPTIONS

N, SIDE = 256, 22
EXTENT_M = 5e-7
"""Of the positions: the object takes as much memory with few frames as with many."""
ALLOWANCE = 60 * 2**20
"""A chunk being unpacked, what is compiled for more frames, what the allocator keeps: 48 MiB measured. One more copy of the
counts, as large as this, goes beyond it."""

PROGRAM = """
import pickle, sys
from pathlib import Path
from service.execution.worker import perform

def peak():  # its own, where getrusage knows the parent's as well
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

peaks = []
for path in sys.argv[1:]:
    result = perform(pickle.loads(Path(path).read_bytes()), lambda _: None)
    assert result.is_computed, result.message
    peaks.append(peak())
print(peaks[-1] - peaks[0])
"""


def add(folder: Path, side: int, read_input: Callable[[DatasetStore], RunInput]) -> tuple[Path, int]:
    """A dataset of ``side`` x ``side`` frames of noise; a file with its reconstruction, and the bytes of its counts."""
    folder.mkdir()
    counts = np.tile(np.random.default_rng(0).poisson(20, (N, N)).astype(np.uint16), (side**2, 1, 1))
    y, x = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    paths = DataPaths(folder / "datasets", folder / "units", folder / "runs")
    store = DatasetStore(paths.datasets)
    store.create(
        "ds_a",
        {
            "title": "noise", "sample": {"name": "", "formula": "LiVO2", "group": ""}, "orientation": 0,
            "absorber": {"element": "V", "edge": "K"}, "probe": {"kind": "gaussian", "fwhm_m": 3e-7},
            "distance_m": 0.5, "detector_pixel_size_m": 75e-6, "provenance": {"created": "2024-05-01T12:00:00+00:00"},
        },
    )  # fmt: skip
    positions_m = np.stack([y.ravel(), x.ravel()], axis=1) * EXTENT_M / (side - 1)
    np.savez(folder / "scan.npz", counts=counts, positions_m=positions_m, energy_ev=np.array(5420.0))
    store.add_scan("ds_a", "e", folder / "scan.npz")
    store.seal("ds_a")
    options = OPTIONS.validate_python({"reconstruct": {"cycles": 2}})
    step = next(iter(build_graph([read_input(store)], options, "run_1").steps.values()))
    (folder / "request").write_bytes(pickle.dumps(StepRequest("run_1", step, paths)))
    return folder / "request", counts.nbytes


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a process's peak of memory is read from /proc")
def test_a_reconstruction_holds_counts_and_roots_once(tmp_path: Path, read_input: Callable[[DatasetStore], RunInput]) -> None:
    """Measured in a child that has reconstructed a few frames before, so that imports and compilation are not counted."""
    few, _ = add(tmp_path / "few", 2, read_input)
    many, counts = add(tmp_path / "many", SIDE, read_input)
    roots = 2 * counts
    done = subprocess.run([sys.executable, "-c", PROGRAM, few, many], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert roots < int(done.stdout) < counts + roots + ALLOWANCE
