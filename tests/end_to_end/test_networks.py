"""A cluster over TLS, its scheduler and workers on machines of their own as far as their network can tell.

Each has a network namespace with an address of its own, joined by a bridge to the service's. What a supervisor such as
systemd does, a loop of the shell does here: workers that leave are started again.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from lab import PRELOAD, UNDRAWN, Job, Lab, Measure, OpenLab, Writer

from service.execution.dask.certificates import AUTHORITY, CERTIFICATE, KEY, write_certificates

PREFIX: Final = f"10.{70 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
BRIDGE: Final = f"ptx{os.getpid()}"
TIMEOUT_S: Final = 12
"""How long peers of a connection wait for an answer; the cut lasts longer, so that it breaks every connection."""
CUT_S: Final = 20
COMMUNICATION: Final = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": f"{TIMEOUT_S}s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": f"{TIMEOUT_S}s",
}
SUPERVISED: Final = 'while :; do "$@"; sleep 1; done'


def ip(*words: str) -> None:
    """Run ``ip``."""
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


class Network:
    """Namespaces joined by a bridge, and the processes in them.

    Parameters
    ----------
    folder : Path
        For logs and certificates.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"tls://{PREFIX}.2:8786"
        self.machines: list[str] = []
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        write_certificates(folder / "tls", (f"{PREFIX}.2",), 1)
        self.files = [str(folder / "tls" / name) for name in (AUTHORITY, CERTIFICATE, KEY)]
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("addr", "add", f"{PREFIX}.1/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")

    def add_machine(self, name: str) -> None:
        """A namespace with an address of its own: the first is .2."""
        self.machines.append(name)
        space, link = f"{BRIDGE}-{name}", f"{BRIDGE}{len(self.machines)}"
        ip("netns", "add", space)
        ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
        ip("link", "set", link, "master", BRIDGE, "up")
        ip("-n", space, "addr", "add", f"{PREFIX}.{len(self.machines) + 1}/24", "dev", "eth0")
        ip("-n", space, "link", "set", "lo", "up")
        ip("-n", space, "link", "set", "eth0", "up")

    def switch(self, name: str, state: str) -> None:
        """Cut the cable of a machine (``down``), or mend it (``up``)."""
        ip("link", "set", f"{BRIDGE}{self.machines.index(name) + 1}", state)

    def launch(self, name: str, command: Sequence[str]) -> None:
        """Start a supervised program on a machine."""
        tls = [word for pair in zip(("--tls-ca-file", "--tls-cert", "--tls-key"), self.files, strict=True) for word in pair]
        inside = ["ip", "netns", "exec", f"{BRIDGE}-{name}", "bash", "-c", SUPERVISED, "supervisor"]
        words = [*inside, sys.executable, "-m", *command, "--protocol", "tls", *tls]
        with (self.folder / f"{name}.log").open("a") as log:
            environment = {PRELOAD: UNDRAWN} | os.environ | COMMUNICATION
            self.processes[name] = subprocess.Popen(words, stdout=log, stderr=log, env=environment, start_new_session=True)

    def start_scheduler(self) -> None:
        """Start the scheduler on its machine."""
        command = ["distributed.cli.dask_scheduler", "--host", f"{PREFIX}.2", "--port", "8786"]
        self.launch("scheduler", [*command, "--dashboard-address", "127.0.0.1:0"])

    def start_worker(self, name: str) -> None:
        """Start a worker on a machine, as the files of deploy/ do."""
        command = ["distributed.cli.dask_worker", self.address, "--nthreads", "1", "--no-dashboard", "--death-timeout", "20"]
        self.launch(name, [*command, "--local-directory", str(self.folder / name)])

    def kill(self, name: str) -> None:
        """End what runs on a machine, as a power cut would."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)

    def restarts(self, name: str) -> int:
        """How often a worker of a machine has begun."""
        return (self.folder / f"{name}.log").read_text().count("Start worker at")

    def close(self) -> None:
        """Remove processes, namespaces and the bridge."""
        for name in list(self.processes):
            self.kill(name)
        for name in self.machines:
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "del", f"{BRIDGE}-{name}")
        ip("link", "del", BRIDGE)


def has_namespaces() -> bool:
    """Whether network namespaces can be made here."""
    try:
        ip("netns", "add", f"{BRIDGE}-try")
        ip("netns", "del", f"{BRIDGE}-try")
    except (OSError, subprocess.CalledProcessError):
        return False
    return os.geteuid() == 0


pytestmark = pytest.mark.skipif(not has_namespaces(), reason="network namespaces need root and the program ip")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A scheduler and two workers, each on a machine of its own."""
    network = Network(tmp_path_factory.mktemp("network"))
    try:
        for name in ("scheduler", "first", "second", "third"):
            network.add_machine(name)
        network.start_scheduler()
        network.start_worker("first")
        network.start_worker("second")
        yield network
    finally:
        network.close()


def wait_for_steps(lab: Lab, stage: str, n: int, timeout_s: float = 240) -> None:
    """Until so many steps of a stage are finished."""
    until = time.monotonic() + timeout_s
    while len(list(lab.serving.data_dir.glob(f"units/*/*-{stage}/manifest.json"))) < n:
        assert time.monotonic() < until, f"the run did not come to {n} steps of {stage}"
        time.sleep(0.05)


def disturb(network: Network, lab: Lab, n_energies: int) -> None:
    """What can happen to a cluster while a run is on it."""
    wait_for_steps(lab, "reconstruct", 2)
    network.kill("first")
    network.start_worker("third")
    wait_for_steps(lab, "reconstruct", n_energies // 2)
    network.switch("second", "down")
    time.sleep(CUT_S)
    network.switch("second", "up")
    wait_for_steps(lab, "reconstruct", n_energies + 2)
    network.kill("scheduler")
    network.start_scheduler()


Disturbed = tuple[Lab, str, Job]
"""The service, the dataset and the run that was disturbed."""


@pytest.fixture(scope="module")
def disturbed(
    network: Network,
    own_lab: OpenLab,
    specimen: Measure,
    writers: dict[str, Writer],
    options: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Disturbed]:
    """The main job, on the cluster, while machines come, go and are cut off."""
    folder = tmp_path_factory.mktemp("disturbed")
    authority, certificate, key = network.files
    flags = ["--scheduler", network.address, "--tls-ca", authority]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PTYXAS_KEEP_ROUNDS", "1")
        for name, value in COMMUNICATION.items():
            patch.setenv(name, value)
        with own_lab(folder / "data", *flags, "--scheduler-tls-certificate", certificate, "--scheduler-tls-key", key) as lab:
            dataset = lab.upload(specimen(0), folder, [writers["cxi"]])
            run = lab.submit([dataset], options, is_drawn=False)
            disturb(network, lab, len(specimen(0).scans))
            yield lab, dataset, lab.job(run, list(lab.client.follow(run)))


def test_the_run_succeeds_whatever_happens_to_its_machines(disturbed: Disturbed) -> None:
    assert disturbed[2].view["state"] == "succeeded", disturbed[2].view["error"]


def test_results_are_those_of_a_run_that_nobody_disturbed(disturbed: Disturbed, lab: Lab, main_job: Job, pristine: str) -> None:
    other, dataset, job = disturbed
    found, expected = other.arrays(job.id, dataset), lab.arrays(main_job.id, pristine)
    assert found.keys() == expected.keys()
    for name, values in found.items():
        floor = 1e-6 * np.abs(expected[name][np.isfinite(expected[name])]).max(initial=0.0) if values.dtype.kind == "f" else 0.0
        np.testing.assert_allclose(values, expected[name], rtol=1e-6, atol=floor, err_msg=name)


def test_nothing_finished_is_computed_twice(disturbed: Disturbed) -> None:
    computed = Counter(event["unit"] for event in disturbed[2].events if event["kind"] == "unit" and event["computed"])
    assert [step for step, times in computed.items() if times > 1] == []


def test_the_worker_that_was_cut_off_came_back(disturbed: Disturbed, network: Network) -> None:
    until = time.monotonic() + 120  # the run may have ended without it
    while network.restarts("second") < 2:
        assert time.monotonic() < until
        time.sleep(0.1)


def test_nobody_without_a_certificate_is_let_in(network: Network) -> None:
    from distributed import Client

    with pytest.raises((OSError, TimeoutError)):
        Client(network.address.replace("tls://", "tcp://"), timeout=3, set_as_default=False)
