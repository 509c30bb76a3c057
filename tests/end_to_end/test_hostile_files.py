"""The whole corpus of hostile files sent to a service that works: each refused, and its memory stays small throughout."""

import importlib.util
import threading
from pathlib import Path
from typing import Any, Self

import psutil
import pytest
from lab import Lab

STORAGE_TESTS = Path(__file__).resolve().parents[1] / "storage"
GIBIBYTE = 2**30


def load(name: str) -> Any:
    """A file of the tests of storage as a module."""
    spec = importlib.util.spec_from_file_location(f"hostile_{name}", STORAGE_TESTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def corpus() -> dict[str, Any]:
    found: dict[str, Any] = load("datasets/test_store_hostile").CORPUS
    return found


class Files:
    """What the corpus builds its files with."""

    def __init__(self) -> None:
        writers = load("conftest")
        self.measurement, self.npz, self.plain = writers.measurement, writers.write_npz, writers.write_plain
        self.cxi, self.zip, self.zarr_metadata = writers.write_cxi, writers.write_zip, writers.zarr_metadata


class Watch:
    """The most memory that the service and what parses its files have taken, Dask's workers left out."""

    def __init__(self, pid: int) -> None:
        self.service = psutil.Process(pid)
        self.most, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._done.wait(0.02):
            self.most = max(self.most, sum(map(resident, [self.service, *self._parsers()])))

    def _parsers(self) -> list[psutil.Process]:
        return [child for child in self.service.children(recursive=True) if "forkserver" in " ".join(words(child))]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()


def words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def test_all_are_refused_and_the_service_stays_small(lab: Lab, corpus: dict[str, Any], tmp_path: Path) -> None:
    assert len(corpus) >= 25
    dataset = lab.create(title="besieged")
    accepted = {}
    with Watch(lab.serving.process.pid) as watch:
        for name, (build, _) in corpus.items():
            build(tmp_path / name, Files())
            answer = lab.put(dataset, name, tmp_path / name)
            if answer.status_code != 422 or not answer.json()["errors"]:
                accepted[name] = answer.text
    assert accepted == {}
    assert 0 < watch.most < GIBIBYTE
    assert lab.client.call("GET", f"/datasets/{dataset}")["scans"] == []
    assert lab.http.get(f"/datasets/{dataset}").status_code == 200
