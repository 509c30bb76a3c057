"""SIGKILL at every step of a writer: what is visible is whole, and the next writer goes on."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.artifacts import ArtifactStore
from storage.atomic import abandoned, unmarked
from storage.datasets.store import DatasetStore
from storage.errors import ArtifactMissingError
from storage.location import ObjectPath
from storage.results import Group, ResultsStore, write_results

DIE = """
import os, signal, sys
from pathlib import Path
import numpy as np
import storage.datasets.kinds, storage.datasets.store, storage.results, storage.atomic, storage.artifacts

root, module, function, calls = Path(sys.argv[1]), sys.modules[sys.argv[2]], sys.argv[3], int(sys.argv[4])
real = getattr(module, function)

def dying(*arguments):
    global calls
    calls -= 1
    if calls == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)

setattr(module, function, dying)
"""
ADD = DIE + "storage.datasets.store.DatasetStore(root / 'datasets').add_scan('ds_1', 'pair', root / 'pair.cxi')"
UNIT = DIE + "storage.artifacts.ArtifactStore(root).write('abc', {'a': np.arange(5)}, {'n': 1})"
RESULTS = DIE + (
    "storage.results.write_results(root / 'results.zarr', {'domains': storage.results.Group("
    "{'k': np.arange(1, 3)}, {'inertia': np.ones(2)})}, {})"
)


OBJECTS = """
import os, pickle, signal, sys, threading
import numpy as np
import storage.artifacts, storage.location, storage.results

root, calls = pickle.loads(bytes.fromhex(sys.argv[1])), int(sys.argv[2])
put, one_at_a_time = storage.location.ObjectPath.put, threading.Lock()

def dying(*arguments, **options):
    global calls
    with one_at_a_time:
        calls -= 1
        if calls == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return put(*arguments, **options)

storage.location.ObjectPath.put = dying
if sys.argv[3] == "step":
    storage.artifacts.ArtifactStore(root).write('abc', {'a': np.arange(5)}, {'n': 1})
else:
    storage.results.write_results(root / 'results.zarr', {'domains': storage.results.Group(
        {'k': np.arange(1, 3)}, {'inertia': np.ones(2)})}, {})
"""


def run_until_killed(code: str, *arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, timeout=60, cwd=Path(__file__).resolve().parents[2], check=False,
    )  # fmt: skip
    assert done.returncode == -9, done.stderr


@pytest.mark.parametrize(
    ("step", "calls", "visible"),
    [("kinds.write_scan", 2, 0), ("upload.flush_tree", 1, 0), ("upload.move_into_place", 1, 0), ("upload.move_into_place", 2, 1)],
)
def test_a_killed_ingest_leaves_whole_scans_only_and_can_be_repeated(
    store: DatasetStore, files: Any, tmp_path: Path, step: str, calls: int, visible: int
) -> None:
    path = files.cxi(tmp_path / "pair.cxi", {"energy_ev": 5420.0}, {"energy_ev": 5465.0})
    module, function = step.split(".")
    run_until_killed(ADD, tmp_path, f"storage.datasets.{module}", function, calls)
    scans = store.scans("ds_1")
    assert len(scans) == visible
    for info in scans:
        np.testing.assert_array_equal(store.read_scan("ds_1", info.name)["counts"], files.measurement()["counts"])
    assert len(abandoned(tmp_path, older_than_s=-1)) == 1
    assert store.add_scan("ds_1", "pair", path).created
    assert [info.name for info in store.scans("ds_1")] == ["pair.1", "pair.2"]
    assert not store.add_scan("ds_1", "pair", path).created


@pytest.mark.parametrize("step", ["artifacts._write_arrays", "artifacts._sealed", "atomic.let_appear"])
def test_a_killed_writer_leaves_no_unit(tmp_path: Path, step: str) -> None:
    module, function = step.split(".")
    run_until_killed(UNIT, tmp_path, f"storage.{module}", function, 1)
    units = ArtifactStore(tmp_path)
    assert not units.has("abc")
    assert units.keys() == []
    units.write("abc", {"a": np.arange(5)}, {})
    assert units.has("abc")


@pytest.mark.parametrize("step", ["results._write_array", "results.write_file", "atomic.flush_tree", "atomic.move_into_place"])
def test_a_killed_writer_leaves_no_results(tmp_path: Path, step: str) -> None:
    module, function = step.split(".")
    run_until_killed(RESULTS, tmp_path, f"storage.{module}", function, 1)
    assert not (tmp_path / "results.zarr").exists()
    assert not ResultsStore(tmp_path / "results.zarr").is_sealed()


@pytest.mark.parametrize("calls", [1, 2])
def test_a_writer_killed_between_objects_leaves_no_unit(object_folder: ObjectPath, calls: int) -> None:
    run_until_killed(OBJECTS, pickle.dumps(object_folder).hex(), calls, "step")
    units = ArtifactStore(object_folder)
    assert len(list(object_folder.rglob("*"))) == calls - 1
    assert not units.has("abc")
    with pytest.raises(ArtifactMissingError):
        units.read("abc")
    assert unmarked(object_folder, "*/*", -3600) == list(object_folder.glob("*/*"))
    units.write("abc", {"a": np.arange(5)}, {})
    np.testing.assert_array_equal(units.read("abc")["a"], np.arange(5))
    assert units.verify("abc") == []


def test_a_writer_killed_between_objects_leaves_no_results(object_folder: ObjectPath) -> None:
    run_until_killed(OBJECTS, pickle.dumps(object_folder).hex(), 4, "results")
    path = object_folder / "results.zarr"
    assert path.is_dir()
    assert not ResultsStore(path).is_sealed()
    write_results(path, {"domains": Group({"k": np.arange(1, 3)}, {"inertia": np.ones(2)})}, {})
    assert ResultsStore(path).verify() == []
