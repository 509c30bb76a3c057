"""What the image runs, performed without it: its environment, its health check and the command lines of compose.yaml.

The programs are those of this environment, in place of ``/opt/ptyxas``; ``/data`` and ``/tmp`` are folders of the test, ports
are free ones, and the catalogue is SQLite, as there is no database here.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from image_file import instructions
from lab import as_npz, small_specimen
from pydantic import TypeAdapter

from api.client.ptyxas import Client
from tasks.ptycho.probe import ProbeSpec

COMPOSE = Path(__file__).resolve().parents[2] / "deploy" / "compose.yaml"
SOONER = {"--death-timeout=120": "--death-timeout=15", "${PTYXAS_WORKERS:--1}": "1"}
"""Workers look for a scheduler that is gone for seconds instead of minutes; one is enough."""


def last_stage() -> dict[str, str]:
    """Instructions of the Dockerfile's last stage that occur once."""
    found = instructions()
    begin = max(i for i, (name, _) in enumerate(found) if name == "FROM")
    return dict(found[begin:])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Containers:
    """The services of compose.yaml as processes, each started by what compose would start it with."""

    def __init__(self, folder: Path) -> None:
        self._services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
        self._image = last_stage()
        self._folder = folder
        ports = {number: str(free_port()) for number in ("8000", "8786", "8787")}
        self._places = {"/opt/ptyxas": sys.prefix, "/data": f"{folder}/data", "/tmp": f"{folder}/tmp", **SOONER, **ports}
        self.url = f"http://127.0.0.1:{ports['8000']}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep)
        for name in ("data", "tmp"):
            (folder / name).mkdir()

    def here(self, text: str) -> str:
        """A word of the image or of compose.yaml with its folders and ports replaced by those of the test."""
        places = {re.escape(place): here for place, here in self._places.items()}
        return re.sub("|".join(places), lambda found: self._places[found[0]], text)

    @property
    def data(self) -> Path:
        return self._folder / "data"

    def environment(self, name: str) -> dict[str, str]:
        """That of the image and of one service; what tests share that is compiled, and where the code is, come with it."""
        pairs = re.findall(r'(\w+)=(?:"([^"]*)"|(\S+))', self._image["ENV"])
        given = {key: quoted or plain for key, quoted, plain in pairs}
        given |= {key: value for key, value in self._services[name].get("environment", {}).items() if "DATABASE" not in key}
        ours = {key: os.environ[key] for key in ("PYTHONPATH", "JAX_COMPILATION_CACHE_DIR") if key in os.environ}
        return {key: self.here(value).replace("$PATH", os.environ["PATH"]) for key, value in given.items()} | ours

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Start one service, or start it again."""
        service = self._services[name]
        words = [*service.get("entrypoint", json.loads(self._image["ENTRYPOINT"])), *service["command"]]
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [self.here(word) for word in words], env=self.environment(name), cwd=self.data, stdout=log, stderr=log
            )
        self.processes[name] = process
        return process

    def keep(self) -> None:
        """From now on start again what ends, as ``restart: unless-stopped`` says."""
        self._keeper.start()

    def _keep(self) -> None:
        while not self._closing.wait(0.2):
            for name, process in list(self.processes.items()):
                if process.poll() is not None and self._services[name]["restart"] == "unless-stopped":
                    self.start(name)

    def is_healthy(self, name: str) -> bool:
        """Whether the health check of a service, or of the image, succeeds."""
        words = self._services[name].get("healthcheck", {}).get("test")
        words = words or json.loads(self._image["HEALTHCHECK"].split("CMD ", 1)[1])
        words = [self.here(word) for word in words if word != "CMD"]
        return subprocess.run(words, env=self.environment(name), capture_output=True, timeout=120, check=False).returncode == 0

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()

    def stop(self, name: str) -> int:
        """End a service by the image's signal, within the time that compose gives it; its exit code."""
        process = self.processes.pop(name)
        process.send_signal(signal.Signals[self._image["STOPSIGNAL"]])
        return process.wait(timeout=int(self._services[name].get("stop_grace_period", "10s").rstrip("s")))

    def end(self) -> None:
        self._closing.set()
        if self._keeper.is_alive():
            self._keeper.join()
        for process in self.processes.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                started = psutil.Process(process.pid)
                for one in [*started.children(recursive=True), started]:
                    one.kill()
            process.wait(timeout=10)


def wait_until(is_so: Callable[[], bool], what: str, timeout_s: float = 300.0) -> None:
    until = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < until, f"not within {timeout_s} s: {what}"
        time.sleep(0.1)


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    """All of compose.yaml that is ours, up and healthy."""
    found = Containers(tmp_path)
    try:
        assert found.start("certificates").wait(timeout=60) == 0, found.log("certificates")
        for name in ("scheduler", "workers", "service"):
            found.start(name)
        found.keep()
        wait_until(lambda: found.is_healthy("scheduler"), "the scheduler is healthy")
        wait_until(lambda: found.is_healthy("service"), "the service is healthy")
        yield found
    finally:
        found.end()


def upload(client: Client, folder: Path, n_energies: int) -> str:
    """Send scans of some energies; their sealed dataset."""
    simulation = small_specimen(0)
    probe = TypeAdapter(ProbeSpec).dump_python(simulation.probe_guess, mode="json")
    absorber = {"element": "V", "edge": "K"}
    spec = {"title": "image", "sample": {"formula": "LiVO2"}, "absorber": absorber, "probe": probe}
    dataset = str(client.create_dataset(spec)["id"])
    for number, scan in enumerate(simulation.scans[:n_energies]):
        as_npz(folder / "scan.npz", scan)
        client.put_scan(dataset, folder / "scan.npz", f"e{number}")
    client.seal(dataset)
    return dataset


def is_running(run: dict[str, Any]) -> bool:
    """Whether a worker has begun a step of a run."""
    return any(stage["state"] == "running" for stage in run["stages"])


@pytest.mark.study
def test_a_job_runs_to_its_end_although_the_scheduler_dies(containers: Containers, tmp_path: Path) -> None:
    with Client(containers.url, (containers.data / "token").read_text().strip()) as client:
        dataset = upload(client, tmp_path, 1)
        run = client.submit([dataset], {"reconstruct": {"cycles": 1500}})["id"]
        wait_until(lambda: is_running(client.run(run)), "a worker reconstructs")
        containers.processes["scheduler"].kill()
        told = list(client.follow(run))
        assert client.run(run)["state"] == "succeeded", client.run(run)["error"]
    notes = [event["text"] for event in told if event["kind"] == "note"]
    assert any("was lost and is tried again: the connection to the scheduler was lost" in text for text in notes), notes
    assert containers.is_healthy("service")
    assert containers.stop("service") in (0, -signal.SIGTERM), containers.log("service")
