"""The whole service in one process tree: a small measurement goes in, pictures come out."""

import asyncio
import errno
import io
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from service import bootstrap
from service.bootstrap import Service, lock_folder, sweep
from service.errors import ConflictError, DataFolderError, StorageFullError
from service.records.views import RunView
from service.retention import Retention
from service.settings import Settings
from tasks.options.run import OPTIONS, RunOptions

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def small_scan(energy_ev: float = 5420.0) -> bytes:
    rng = np.random.default_rng(1)
    y, x = np.meshgrid(np.arange(5), np.arange(5), indexing="ij")
    r2 = ((np.indices((32, 32)) - 16) ** 2).sum(axis=0)
    file = io.BytesIO()
    np.savez(
        file,
        counts=rng.poisson(200 * np.exp(-r2 / 30), (25, 32, 32)).astype(np.uint16),
        positions_m=np.stack([y.ravel(), x.ravel()], axis=1) * 100e-9,
        energy_ev=np.array(energy_ev),
    )
    return file.getvalue()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("service"), workers=1, dashboard_port=0, min_free_bytes=0)
    service = Service(settings)
    service.start()
    yield service
    service.stop()


def fill(service: Service, n_energies: int = 1) -> str:
    spec = {
        "title": "a specimen", "sample": {"formula": "LiVO2"}, "absorber": {"element": "V", "edge": "K"},
        "probe": {"kind": "gaussian", "fwhm_m": 3e-7}, "distance_m": 0.5, "detector_pixel_size_m": 75e-6,
    }  # fmt: skip
    dataset_id = service.datasets.create(spec).id
    for number in range(n_energies):
        body = small_scan(5420.0 + number)

        async def stream(body: bytes = body) -> AsyncIterator[bytes]:
            yield body

        asyncio.run(service.datasets.put_scan(dataset_id, f"e{number}", stream()))
    return dataset_id


def options(**stages: Any) -> RunOptions:
    return OPTIONS.validate_python(stages)


def wait(service: Service, run_id: str, *states: str, timeout: float = 300) -> RunView:
    until = time.monotonic() + timeout
    while (view := service.runs.get(run_id)).state not in states and time.monotonic() < until:
        time.sleep(0.05)
    assert view.state in states, (view.state, view.error)
    return view


def test_a_measurement_goes_in_and_pictures_come_out(service: Service) -> None:
    assert service.unready_reason() is None
    assert str(service.dashboard_url).startswith("http://127.0.0.1")
    assert service.versions()["numpy"] == np.__version__
    dataset_id = fill(service)
    service.datasets.seal(dataset_id)
    run_id = service.runs.submit([dataset_id], options(reconstruct={"cycles": 5})).id
    view = wait(service, run_id, "succeeded", "failed")
    assert view.state == "succeeded", view.error
    stages = {stage.name: stage for stage in view.stages}
    assert stages["reconstruct"].state == "done"
    assert "one energy" in str(stages["fit"].note)
    assert service.runs.results.image(run_id, dataset_id, "phase").startswith(b"\x89PNG")
    snapshot = service.snapshot()
    assert snapshot.n_runs == {"succeeded": 1}
    assert snapshot.metrics.steps["reconstruct", "computed"] == 1
    assert snapshot.metrics.seconds["reconstruct"] > 0
    assert snapshot.n_dataset_bytes == service.datasets.get(dataset_id).n_bytes
    assert f"images-{dataset_id}" in [figure.name for figure in service.runs.results.figures(run_id)]


def test_two_services_do_not_share_a_folder(service: Service) -> None:
    with pytest.raises(ConflictError, match="another ptyxas service"):
        Service(service.settings).start()


def patience(service: Service, run_id: str) -> float:
    """Time [s] within which a run must be cancelled: two seconds, or more where the machine takes long to begin one."""
    began = time.monotonic()
    wait(service, run_id, "running")
    return max(2.0, 4 * (time.monotonic() - began))


def test_a_live_run_shows_what_it_has_and_is_cancelled_within_two_seconds(service: Service) -> None:
    dataset_id = fill(service, n_energies=2)
    run_id = service.runs.submit(
        [dataset_id], options(reconstruct={"cycles": 20, "start_from": "optics"}, kkr={"start": 10, "every": 10})
    ).id
    limit_s = patience(service, run_id)
    until = time.monotonic() + 240
    while sum(event.kind == "unit" for event in service.runs.follow(run_id)[1]) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert service.runs.results.image(run_id, dataset_id, "absorption", 5420.0).startswith(b"\x89PNG")
    assert service.runs.get(run_id).state == "running"
    service.runs.cancel(run_id)
    wait(service, run_id, "cancelled", timeout=limit_s)


def test_a_long_reconstruction_lets_go_of_its_worker_within_two_seconds(service: Service) -> None:
    dataset_id = fill(service)
    service.datasets.seal(dataset_id)
    run_id = service.runs.submit([dataset_id], options(reconstruct={"cycles": 100_000}, kkr={"mode": "off"})).id
    limit_s = patience(service, run_id)
    until = time.monotonic() + 240
    while service.runs.get(run_id).progress == 0 and time.monotonic() < until:
        time.sleep(0.05)
    service.runs.cancel(run_id)
    wait(service, run_id, "cancelled")
    began = time.monotonic()
    assert service._cluster._client is not None
    busy = service._cluster._client.processing
    while any(busy().values()):
        assert time.monotonic() - began < limit_s
        time.sleep(0.05)


def test_what_dead_writers_left_is_gone_at_the_start(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, workers=1)
    service = Service(settings)
    dead, alive = settings.data_dir / "units" / "ab" / ".staging-dead", settings.location("datasets") / ".staging-alive"
    for path in (dead, alive):
        path.mkdir(parents=True)
    os.utime(dead, (1, 1))
    sweep(Retention(settings, service._catalogue))
    service._catalogue.close()
    assert not dead.exists()
    assert alive.exists()


def test_a_leftover_that_cannot_be_removed_is_not_called_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(data_dir=tmp_path, workers=1)
    service = Service(settings)
    dead = settings.data_dir / "datasets" / ".staging-dead"
    dead.mkdir()
    os.utime(dead, (1, 1))

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with caplog.at_level("INFO"):
        sweep(Retention(settings, service._catalogue))
    service._catalogue.close()
    assert dead.exists()
    assert ".staging-dead could not be removed" in caplog.text
    assert "which a dead writer left" not in caplog.text


def test_leftovers_of_a_service_that_goes_on_for_long_are_removed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = service.settings.data_dir / "units" / "ab" / ".staging-dead"
    dead.mkdir(parents=True)
    os.utime(dead, (1, 1))
    monkeypatch.setattr(bootstrap, "SWEEP_S", 0.05)
    thread = threading.Thread(target=service._sweep_now_and_then)
    thread.start()
    until = time.monotonic() + 30
    while dead.exists() and time.monotonic() < until:
        time.sleep(0.05)
    service._stopping.set()
    thread.join()
    service._stopping.clear()
    assert not dead.exists()


@pytest.mark.parametrize("name", ["", "datasets", "runs", "units", "uploads"])
def test_a_file_where_a_folder_has_to_be_is_named(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "data"
    if name:
        folder.mkdir()
    (folder / name).write_bytes(b"")
    with pytest.raises(DataFolderError, match=f"{folder / name} has to be a folder"):
        Service(Settings(data_dir=folder))


@pytest.mark.parametrize(
    ("number", "expected", "told"),
    [
        (errno.EROFS, DataFolderError, "cannot be written .*chown"),
        (errno.EACCES, DataFolderError, "cannot be written .*chown"),
        (errno.ENOSPC, StorageFullError, "is full: make room"),
    ],
)
def test_a_data_folder_that_takes_no_file_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception], told: str
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(expected, match=told):
        Service(Settings(data_dir=tmp_path / "data"))


def test_a_lock_of_another_user_is_named(tmp_path: Path) -> None:
    (tmp_path / "service.lock").mkdir()
    with pytest.raises(DataFolderError, match=r"service\.lock cannot be written"):
        lock_folder(tmp_path)


@pytest.mark.parametrize("mode", [None, 0o755, 0o777])
def test_the_data_folder_and_all_in_it_are_its_owners_alone(tmp_path: Path, mode: int | None) -> None:
    folder = tmp_path / "data"
    if mode is not None:
        folder.mkdir()
        folder.chmod(mode)
    before = os.umask(0o022)
    try:
        service = Service(Settings(data_dir=folder, min_free_bytes=0))
        spec = {"title": "t", "sample": {"formula": "LiVO2"}, "absorber": {"element": "V", "edge": "K"}}
        service.datasets.create(spec)
        service.runs.submit([service.datasets.page().items[0].id], RunOptions())
        (folder / "uploads" / "arriving").touch()
        service._catalogue.close()
    finally:
        os.umask(before)
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
    assert len(found) > 8
    assert {str(path): oct(mode) for path, mode in found.items() if mode & 0o077} == {}


TRY_AS = """
import encodings.idna, http.client, os, socket, ssl, sys
user, folder, dashboard, scheduler = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if user:
    os.setgid(user); os.setuid(user)

def attempt(action):
    try:
        return action()
    except ssl.SSLError as error:
        return error.reason
    except PermissionError:
        return "refused"

def read():
    with open(folder + "/catalogue.sqlite", "rb") as file:
        return "read" if os.listdir(folder) and file.read(6) else "empty"

def look():
    connection = http.client.HTTPConnection("127.0.0.1", dashboard, timeout=30)
    connection.request("GET", "/status")
    return str(connection.getresponse().status)

def talk():
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", scheduler), timeout=30) as plain, anyone.wrap_socket(plain) as secure:
        return "answered" if secure.recv(1) else "closed"

print(attempt(read), attempt(look), attempt(talk))
"""
"""What a user of the machine finds of a service without its certificates and tokens: files, dashboard, scheduler."""


STRANGER = "403 TLSV13_ALERT_CERTIFICATE_REQUIRED"
"""Answers of the dashboard and of the scheduler to whoever has neither token nor certificate, the service's own user too."""


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
@pytest.mark.parametrize(("user", "found"), [(65534, f"refused {STRANGER}"), (0, f"read {STRANGER}")])
def test_another_user_reads_no_data_and_reaches_neither_dashboard_nor_scheduler(service: Service, user: int, found: str) -> None:
    client, link = service._cluster._client, service.dashboard_url
    assert client is not None
    assert link is not None
    ports = [str(urlsplit(address).port) for address in (link, client.scheduler_info()["address"])]
    folder = service.settings.data_dir  # reached from its parent, which is where the other user begins
    command = [sys.executable, "-I", "-c", TRY_AS, str(user), folder.name, *ports]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder.parent, timeout=120, check=True)
    assert done.stdout.strip() == found, done.stderr
