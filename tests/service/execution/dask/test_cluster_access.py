"""Who may use a cluster: certificates, equal versions, workers at all, and the dashboard's token."""

from __future__ import annotations

import http.cookiejar
import queue
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dask_processes import External
from distributed import Client, Security

from service.errors import SchedulerUnavailableError
from service.execution.dask import cluster as module
from service.execution.dask.certificates import AUTHORITY, CERTIFICATE, KEY, write_certificates
from service.execution.dask.cluster import Cluster
from service.execution.dask.dashboard import reachable
from service.execution.dask.plugins import scheduler_difference
from service.execution.dask.task import Outcome, TaskSpec, Work
from service.execution.worker import StepResult
from service.settings import Settings
from service.stages.context import IsCancelled, Report
from service.versions import software_versions

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

WAIT_S = 300
"""A process starts in seconds, but in a minute or two on a machine that is busy with others."""


def make_work() -> Work:
    """Returns its successor; a function of a function goes to the worker by value."""

    def work(request: int, report: Report, is_cancelled: IsCancelled) -> StepResult:
        from service.execution.worker import StepResult

        return StepResult("done", attributes={"found": request + 1})

    return work


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def connects(cluster: Cluster) -> bool:
    try:
        cluster.connect()
    except SchedulerUnavailableError:
        return False
    return True


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(Settings(data_dir=tmp_path_factory.mktemp("dask"), workers=1, dashboard_port=0), lambda report: None)
    cluster.start()
    yield cluster
    cluster.stop()


def test_the_embedded_scheduler_talks_to_no_stranger(embedded: Cluster) -> None:
    client = embedded._client
    assert client is not None
    address = client.scheduler_info()["address"]
    assert address.startswith("tls://127.0.0.1:")
    for url, security in ((address, Security.temporary()), (address.replace("tls://", "tcp://"), None)):
        with pytest.raises((OSError, ValueError)):
            Client(url, timeout=2, set_as_default=False, security=security)


def test_the_service_reaches_its_scheduler_within_the_process_and_workers_reach_it_by_tls(embedded: Cluster) -> None:
    client = embedded._client
    assert client is not None
    assert client.scheduler.address.startswith("inproc://")
    (worker,) = client.scheduler_info()["workers"]
    assert worker.startswith("tls://127.0.0.1:")
    elsewhere = "import sys, distributed; distributed.Client(sys.argv[1], timeout=2)"
    done = subprocess.run(
        [sys.executable, "-c", elsewhere, client.scheduler.address], capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert done.returncode != 0
    assert "does not match" in done.stderr


def test_embedded_workers_say_that_they_live_every_other_second(embedded: Cluster) -> None:
    client = embedded._client
    assert client is not None
    seen: set[float] = set()
    began = time.monotonic()
    while len(seen) < 5:
        (about,) = client.scheduler_info()["workers"].values()
        seen.add(about["last_seen"])
        assert time.monotonic() - began < WAIT_S
        time.sleep(0.1)
    first, *_, last = moments = sorted(seen)[1:]  # Dask decides of the first pause
    assert (last - first) / (len(moments) - 1) > 1.5, "on average: one that was late is followed by a short pause"


def test_the_embedded_dashboard_asks_for_its_token(embedded: Cluster) -> None:
    link = embedded.dashboard_url
    assert link is not None
    plain, _, token = link.partition("?token=")
    for path in (plain, plain.removesuffix("/status"), f"{plain}/ws", f"{plain}?token=x", plain.replace("status", "metrics")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(path)
        assert (refused.value.code, token in str(refused.value.headers)) == (403, False)
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    with browser.open(link) as shown:
        assert (shown.status, shown.url) == (200, plain)
    with browser.open(plain.replace("status", "json/counts.json")) as counts:
        assert counts.status == 200
    [cookie] = jar
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "Strict"


def test_certificates_join_a_scheduler_a_worker_and_the_service(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    write_certificates(folder, ("localhost", "127.0.0.1"), days=2)
    authority, certificate, key = folder / AUTHORITY, folder / CERTIFICATE, folder / KEY
    assert key.stat().st_mode & 0o077 == 0
    with pytest.raises(FileExistsError, match=AUTHORITY):
        write_certificates(folder, ("localhost",), days=2)
    external = External(tmp_path, ("--tls-ca-file", str(authority), "--tls-cert", str(certificate), "--tls-key", str(key)))
    settings = Settings(
        data_dir=tmp_path, scheduler=external.address, tls_ca=authority,
        scheduler_tls_certificate=certificate, scheduler_tls_key=key,
    )  # fmt: skip
    cluster = Cluster(settings, lambda report: None)
    ended: queue.SimpleQueue[tuple[str, Outcome]] = queue.SimpleQueue()
    try:
        external.start_scheduler()
        external.start_worker()
        wait_until(lambda: connects(cluster))
        cluster.submit([TaskSpec("one", make_work(), 1)], lambda key, outcome: ended.put((key, outcome)))
        assert ended.get(timeout=WAIT_S)[1].results[0].attributes["found"] == 2
        link = cluster.dashboard_url
        assert link is not None
        assert link.startswith("http://127.0.0.1")
    finally:
        cluster.stop()
        external.stop()


def test_a_worker_of_other_versions_gets_no_work_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NO_WORKERS_S", 1.0)
    monkeypatch.setattr(module, "software_versions", lambda: software_versions() | {"numpy": "1.0", "source of ptyxas": "0" * 16})
    external = External(tmp_path)
    cluster = Cluster(Settings(data_dir=tmp_path, scheduler=external.address), lambda report: None)
    ended: queue.SimpleQueue[tuple[str, Outcome]] = queue.SimpleQueue()
    try:
        external.start_scheduler()
        wait_until(lambda: connects(cluster))
        cluster.submit([TaskSpec("one", make_work(), 1)], lambda key, outcome: ended.put((key, outcome)))
        wait_until(lambda: cluster.problem is not None)
        assert "has no workers: start some" in str(cluster.problem)
        process = external.start_worker()
        process.wait(timeout=WAIT_S)
        wait_until(lambda: "instead of the service's 1.0" in str(cluster.problem))
        assert "source of ptyxas" in str(cluster.problem)
        with pytest.raises(SchedulerUnavailableError, match="numpy"):
            cluster.connect()
        assert ended.empty()
    finally:
        cluster.stop()
        external.stop()


def test_a_scheduler_with_a_worker_that_has_no_ptyxas_is_not_used_until_it_has_left(tmp_path: Path) -> None:
    external = External(tmp_path)
    cluster = Cluster(Settings(data_dir=tmp_path, scheduler=external.address), lambda report: None)
    plain = "import sys; sys.modules['service'] = None; from distributed.cli.dask_worker import main; main()"
    ended: queue.SimpleQueue[tuple[str, Outcome]] = queue.SimpleQueue()
    try:
        external.start_scheduler()
        stranger = external.start("-c", plain, external.address, "--nthreads", "1", "--no-dashboard", "--no-nanny")
        with Client(external.address, timeout=WAIT_S, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=WAIT_S)
        cluster.start()
        for _ in range(2):
            with pytest.raises(SchedulerUnavailableError, match="do all of them have ptyxas"):
                cluster.connect()
            assert not cluster.is_connected
        stranger.terminate()
        stranger.wait(timeout=WAIT_S)
        external.start_worker()
        wait_until(lambda: connects(cluster))
        cluster.submit([TaskSpec("one", make_work(), 1)], lambda key, outcome: ended.put((key, outcome)))
        assert ended.get(timeout=WAIT_S)[1].results[0].attributes["found"] == 2
    finally:
        cluster.stop()
        external.stop()


def test_versions_of_a_scheduler_are_compared() -> None:
    mine = software_versions()
    theirs: dict[str, Any] = {"packages": {"dask": mine["dask"], "distributed": mine["distributed"], "numpy": None}}
    assert scheduler_difference(mine, theirs) is None
    theirs["packages"]["distributed"] = "2020.1"
    assert "distributed 2020.1 instead of the service's" in str(scheduler_difference(mine, theirs))


def test_a_dashboard_that_listens_nowhere_is_no_link() -> None:
    assert reachable("http://127.0.0.1:9/status") is None
