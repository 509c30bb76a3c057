"""Fixtures of the end-to-end tests: one service and its runs, shared by all tests here.

A test that stops or damages a service starts one of its own with ``own_lab``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import (
    BRIEF_OPTIONS,
    OPTIONS,
    Array,
    Job,
    Lab,
    Measure,
    OpenLab,
    Writer,
    as_cxi,
    as_hdf5,
    as_npz,
    brief_specimen,
    open_lab,
    small_specimen,
)


@pytest.fixture(scope="session")
def register_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the service that tests share may register measurements."""
    return tmp_path_factory.mktemp("registered")


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, register_root: Path) -> Iterator[Lab]:
    """The service that tests share."""
    with open_lab(tmp_path_factory.mktemp("shared") / "data", "--register-roots", str(register_root)) as lab:
        yield lab


@pytest.fixture(scope="session")
def own_lab() -> OpenLab:
    """Starts a service of the test's own on a folder."""
    return open_lab


@pytest.fixture(scope="session")
def specimen() -> Measure:
    """A simulated measurement, by its seed."""
    return small_specimen


@pytest.fixture(scope="session")
def options() -> dict[str, Any]:
    """Options of the runs that tests share."""
    return OPTIONS


@pytest.fixture(scope="session")
def writers() -> dict[str, Writer]:
    """Functions that write a scan, by format."""
    return {"cxi": as_cxi, "npz": as_npz, "hdf5": as_hdf5}


@pytest.fixture(scope="session")
def pristine(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset uploaded as CXI files."""
    return lab.upload(small_specimen(0), tmp_path_factory.mktemp("files"), [as_cxi], "as prepared")


@pytest.fixture(scope="session")
def charged(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset of another group, uploaded half as NPZ and half as plain HDF5."""
    return lab.upload(small_specimen(1), tmp_path_factory.mktemp("files"), [as_npz, as_hdf5], "delithiated")


@pytest.fixture(scope="session")
def main_job(lab: Lab, pristine: str) -> Job:
    """A run on one dataset, from its first scan to its results."""
    return lab.run([pristine], OPTIONS, "main job")


@pytest.fixture(scope="session")
def joint_job(lab: Lab, main_job: Job, pristine: str, charged: str) -> Job:
    """A run on both datasets, after the first has been analysed alone."""
    return lab.run([pristine, charged], OPTIONS, "both", is_drawn=False)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Array]:
    """Arrays of a run on `brief_specimen` in whose middle nothing was killed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with open_lab(folder / "data") as lab:
        dataset = lab.upload(brief_specimen(), folder, [as_cxi])
        job = lab.run([dataset], BRIEF_OPTIONS, is_drawn=False)
        assert job.view["state"] == "succeeded", job.view["error"]
        return lab.arrays(job.id, dataset)
