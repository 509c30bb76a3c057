"""Results are opened over HTTP where only zarr, xarray, fsspec, aiohttp and their dependencies are installed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import zarr
from lab import Array, Job, Lab

FENCE = '''
"""Everything but four distributions and what they need is as if it were not installed."""
import importlib.metadata as metadata, re, sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
from packaging.requirements import Requirement

def plain(name):
    return re.sub("[-_.]+", "-", name).lower()

def needs(names, seen):
    for name in names:
        if plain(name) not in seen:
            seen.add(plain(name))
            wanted = map(Requirement, metadata.requires(name) or [])
            needs([w.name for w in wanted if w.marker is None or w.marker.evaluate({"extra": ""})], seen)
    return seen

wanted = needs(["zarr", "xarray", "fsspec", "aiohttp"], set())
inside = {top for top, names in metadata.packages_distributions().items() if wanted & set(map(plain, names))}

class Fence:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in inside or top.startswith("_sysconfigdata"):
            return PathFinder.find_spec(name, path, target)
        return None

    def find_distributions(self, context):
        return (found for found in PathFinder.find_distributions(context) if plain(found.name) in wanted)

already = {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names - inside
assert not already & {"api", "service", "tasks", "storage", "jax", "dask", "h5py"}, already
sys.meta_path[:] = [BuiltinImporter, FrozenImporter, Fence()]
'''

READER = (
    FENCE
    + """
import json, warnings
import numpy as np
import xarray as xr

url, folder = sys.argv[1:]
for name in ("dask", "h5py", "tasks", "storage", "scipy"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(f"{name} came through the fence")

tree = xr.open_datatree(url, engine="zarr")
arrays, labels = {}, {}
for group in tree.subtree:
    for name, array in group.variables.items():
        path = f"{group.path}/{name}".lstrip("/")
        values = array.values
        arrays[path] = np.array(values.tolist(), str) if values.dtype.kind in "OT" else values
        labels[path] = {"dims": array.dims, "attrs": dict(array.attrs), "is_coordinate": name in group.coords}
np.savez(f"{folder}/arrays.npz", **arrays)
with open(f"{folder}/labels.json", "w") as file:
    json.dump({"labels": labels, "attrs": dict(tree.attrs)}, file)
"""
)


def read_elsewhere(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", READER, url, str(folder)], capture_output=True, text=True, cwd=folder, timeout=120, check=False
    )


class Opened(NamedTuple):
    """What the reader found: arrays and their descriptions by path, and the attributes of the root."""

    arrays: dict[str, Array]
    labels: dict[str, Any]
    attrs: dict[str, Any]


@pytest.fixture(scope="module")
def url(lab: Lab, joint_job: Job) -> str:
    return f"{lab.client.url}/api/v1/runs/{joint_job.id}/results.zarr"


@pytest.fixture(scope="module")
def opened(url: str, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    folder = tmp_path_factory.mktemp("elsewhere")
    done = read_elsewhere(url, folder)
    assert done.returncode == 0, done.stderr
    told = json.loads((folder / "labels.json").read_text())
    with np.load(folder / "arrays.npz") as arrays:
        return Opened(dict(arrays), told["labels"], told["attrs"])


def test_every_array_is_equal_to_the_one_on_disk(opened: Opened, lab: Lab, joint_job: Job) -> None:
    arrays, _, _ = opened
    on_disk = zarr.open_group(lab.serving.data_dir / "runs" / joint_job.id / "results.zarr", mode="r")
    stored = {path: member for path, member in on_disk.members(max_depth=None) if isinstance(member, zarr.Array)}
    assert sorted(stored) == sorted(arrays)
    for path, member in stored.items():
        kept = np.asarray(member[...])
        kept = np.array(kept.tolist(), str) if kept.dtype.kind in "OT" else kept
        assert kept.dtype.kind == arrays[path].dtype.kind, path
        np.testing.assert_array_equal(arrays[path], kept, err_msg=path)


def test_groups_are_those_of_the_layout(opened: Opened, pristine: str, charged: str) -> None:
    groups = {path.rpartition("/")[0] for path in opened[0]}
    of_each = ("reconstruction", "spectra", "maps", "domains")
    assert groups >= {f"{name}/{group}" for name in (pristine, charged) for group in of_each} | {"domains"}


def test_arrays_have_dimensions_units_and_names(opened: Opened, pristine: str) -> None:
    _, labels, _ = opened
    for path, label in labels.items():
        assert label["attrs"].get("units"), path
        assert label["attrs"].get("long_name"), path
    expected = {
        "spectra/absorption": (["energy", "y", "x"], "1"),
        "spectra/phase": (["energy", "y", "x"], "rad"),
        "maps/edge_energy": (["y", "x"], "eV"),
        "maps/n_absorber": (["y", "x"], "m-2"),
        "reconstruction/probe": (["energy", "mode", "v", "u"], "1"),
        "domains/label": (["y", "x"], "1"),
    }
    for name, (dims, units) in expected.items():
        assert (labels[f"{pristine}/{name}"]["dims"], labels[f"{pristine}/{name}"]["attrs"]["units"]) == (dims, units)
    assert labels["domains/fraction"]["dims"] == ["dataset", "domain"]


def test_coordinates_are_those_of_the_measurement(opened: Opened, lab: Lab, pristine: str) -> None:
    arrays, labels, _ = opened
    np.testing.assert_allclose(arrays[f"{pristine}/spectra/energy"], lab.simulations[pristine].energies_ev)
    for axis in "yx":
        for group in ("spectra", "maps", "domains"):
            path = f"{pristine}/{group}/{axis}"
            assert labels[path]["is_coordinate"]
            assert labels[path]["attrs"]["units"] == "m"
            steps = np.diff(arrays[path])
            np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
            assert 13e-9 < steps[0] < 15.1e-9, "the finest of all energies' pixels"


def test_options_versions_and_digests_are_in_the_attributes(opened: Opened, joint_job: Job, options: dict[str, Any]) -> None:
    attrs = opened[2]
    assert attrs["options"]["reconstruct"]["cycles"] == options["reconstruct"]["cycles"]
    assert attrs["options"]["domains"]["standardise"] == "error", "options left at their defaults are there as well"
    assert {"ptyxas", "numpy", "jax"} <= set(attrs["versions"])
    assert attrs["timings_s"]["reconstruct"] > 0
    assert [about["id"] for about in attrs["datasets"]] == joint_job.view["datasets"]
    assert all(len(scan["sha256"]) == 64 for about in attrs["datasets"] for scan in about["scans"])


def test_what_is_not_there_is_an_error_and_not_an_empty_tree(lab: Lab, tmp_path: Path) -> None:
    done = read_elsewhere(f"{lab.client.url}/api/v1/runs/run_0123456789abcdef/results.zarr", tmp_path)
    assert done.returncode != 0
    assert not (tmp_path / "labels.json").exists()
