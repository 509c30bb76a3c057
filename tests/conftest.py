"""Fixtures that tests of several packages share, and how tests are divided among the processes of ``pytest -n``."""

import atexit
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path

import pytest
from measurements import measurement
from oxides import OXYGEN_ATOMS, OxideMixture, measure_oxides
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from storage.location import Location, ObjectPath, bucket_of

os.environ["TTY_COMPATIBLE"] = "0"
"""The processes of ``pytest -n`` have FORCE_COLOR set, which makes rich take a pipe for a terminal of 80 columns."""


def share_compiled_code() -> None:
    """Let JAX keep what it compiles until the tests end, for all processes of ``pytest -n`` and all that tests start."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="ptyxas-compiled-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ |= {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"}


share_compiled_code()


def compute_in_one_thread() -> None:
    """Have a process of ``pytest -n`` compute in one thread, as workers do: more would only get in the way of the others'."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        import jax

        from service.execution.dask.task import WORKER_ENVIRONMENT

        with pytest.MonkeyPatch.context() as patch:  # what tests start finds the environment as it was
            for name, value in WORKER_ENVIRONMENT.items():
                patch.setenv(name, value)
            jax.devices()  # XLA reads it when it starts
        threadpool_limits(1)


compute_in_one_thread()

END_TO_END = "tests/end_to_end/"
DISTURBED = "killed", "object_store"
"""End-to-end tests of runs that something disturbs: they share one that nothing did."""


def process_group(nodeid: str) -> str:
    """Group of a test whose tests run in one process: its file, or all that share a service or a run of the end-to-end tests."""
    file = nodeid.partition("::")[0]
    if file.startswith(tuple(f"{END_TO_END}test_{name}" for name in DISTURBED)):
        return "disturbed"
    return END_TO_END if file.startswith(END_TO_END) and "siemens_star" not in file else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """What ``pytest -n`` divides the tests with."""
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = process_group
    return scheduler


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest in one process, the end-to-end tests and mypy: at the end all others would idle beside it."""
    items.sort(key=lambda item: not item.nodeid.startswith((END_TO_END, "tests/test_structure.py")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Reports whose captured output can be sent between the processes of ``pytest -n``, half surrogate pairs included."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def measured_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Path of a measurement by the name of its file: the real one where it is present, else one simulated in its place."""
    return partial(measurement, folder=tmp_path_factory.mktemp("measurements"))


@pytest.fixture(scope="session")
def oxide_mixture(measured_file: Callable[[str], Path]) -> Callable[..., OxideMixture]:
    """Measures the particle of two oxides as `SimulationOptions` say."""
    return partial(measure_oxides, tuple(measured_file(f"{name}.xdi").read_text(encoding="utf-8") for name in OXYGEN_ATOMS))


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """Address of a bucket of an S3 server on this machine, which the environment tells how to reach."""
    from object_store import object_store  # takes seconds to import, in each process that runs tests

    with object_store() as address:
        yield address


@pytest.fixture
def object_folder(bucket: str, tmp_path: Path) -> ObjectPath:
    """An empty place in the bucket."""
    return ObjectPath(bucket_of(bucket)[0], uuid.uuid4().hex, tmp_path)


@pytest.fixture(params=["folder", "objects"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """An empty place on a file system, and one in an object store."""
    if request.param == "folder":
        return tmp_path
    found: ObjectPath = request.getfixturevalue("object_folder")
    return found
