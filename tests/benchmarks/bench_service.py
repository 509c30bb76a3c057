"""Status calls; clients that upload and poll while a run computes; one large upload against a plain copy with its SHA-256.

    python tests/benchmarks/bench_service.py [--calls 4000] [--clients 20] [--seconds 20] [--mebibytes 1024]

Prints the processor time of a status call in the service's process, the 95th percentile of status calls, errors and lost uploads,
and rates with the service's growth of memory.
"""

import argparse
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil

BLOCK = 1 << 20
SPEC = {
    "title": "bench",
    "sample": {"formula": "LiVO2"},
    "absorber": {"element": "V", "edge": "K"},
    "distance_m": 0.5,
    "detector_pixel_size_m": 75e-6,
    "probe": {"kind": "gaussian", "fwhm_m": 3e-7},
}


def scan(energy_ev: float, n_side: int = 6, n_pixels: int = 48) -> bytes:
    """A small measurement as NPZ."""
    rng = np.random.default_rng(int(energy_ev * 10))
    y, x = np.meshgrid(np.arange(n_side), np.arange(n_side), indexing="ij")
    r2 = ((np.indices((n_pixels, n_pixels)) - n_pixels // 2) ** 2).sum(axis=0)
    file = io.BytesIO()
    np.savez(
        file,
        counts=rng.poisson(200 * np.exp(-r2 / 30), (n_side**2, n_pixels, n_pixels)).astype(np.uint16),
        positions_m=np.stack([y.ravel(), x.ravel()], axis=1) * 100e-9,
        energy_ev=np.array(energy_ev),
    )
    return file.getvalue()


@contextmanager
def serving(folder: Path, n_workers: int | None = None) -> Iterator[tuple[str, int]]:
    """A service in a process of its own, with a worker a core where not given: its address and process number."""
    ptyxas = str(Path(sys.executable).with_name("ptyxas"))
    command = [ptyxas, "serve", "--data-dir", str(folder), "--port", "0", "--dashboard-port", "0"]
    command += [] if n_workers is None else ["--workers", str(n_workers)]
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield next(word for word in line.split() if word.startswith("http")), process.pid
        finally:
            process.terminate()


def start_run(client: httpx.Client) -> str:
    """A run of 12 energies that keeps all workers busy for longer than the benchmark."""
    dataset = client.post("/api/v1/datasets", json=SPEC).raise_for_status().json()["id"]
    for number in range(12):
        client.put(f"/api/v1/datasets/{dataset}/scans/e{number}", content=scan(5440.0 + 5 * number)).raise_for_status()
    client.post(f"/api/v1/datasets/{dataset}/seal").raise_for_status()
    options = {"reconstruct": {"cycles": 100_000}, "kkr": {"mode": "off"}}
    return str(client.post("/api/v1/runs", json={"datasets": [dataset], "options": options}).raise_for_status().json()["id"])


def one_client(url: str, run_id: str, bodies: list[bytes], until: float, waits: list[float], faults: list[str]) -> None:
    """Upload a scan every other second, ask for the run's state four times a second."""
    with httpx.Client(base_url=url, timeout=60) as client:
        dataset = client.post("/api/v1/datasets", json=SPEC).json()["id"]
        sent = 0
        while time.monotonic() < until:
            answer = client.put(f"/api/v1/datasets/{dataset}/scans/e{sent}", content=bodies[sent % len(bodies)])
            faults += [] if answer.status_code == 201 else [answer.text]
            sent += answer.status_code == 201
            for _ in range(8):
                began = time.perf_counter()
                status = client.get(f"/api/v1/runs/{run_id}").status_code
                waits.append(time.perf_counter() - began)
                faults += [] if status == 200 else [f"status call: {status}"]
                time.sleep(0.25)
        kept = len(client.get(f"/api/v1/datasets/{dataset}").json()["scans"])
        faults += [] if kept == sent else [f"{sent} scans sent, {kept} kept"]


def memory_bytes(pid: int, what: str) -> int:
    """``VmRSS`` or ``VmHWM`` of a process [bytes]."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) * 1024
    raise LookupError(what)


def copy_with_digest(source: Path, target: Path) -> float:
    """Seconds of a plain copy that computes the SHA-256 on its way."""
    began, digest = time.perf_counter(), hashlib.sha256()
    with source.open("rb") as given, target.open("wb") as made:
        while block := given.read(BLOCK):
            digest.update(block)
            made.write(block)
    return time.perf_counter() - began


def send(client: httpx.Client, dataset: str, source: Path) -> float:
    """Seconds until the service has all bytes of a file (which is no scan, and refused once it has been read)."""
    began = time.perf_counter()
    with source.open("rb") as file:
        answer = client.put(
            f"/api/v1/datasets/{dataset}/scans/big",
            content=iter(lambda: file.read(BLOCK), b""),
            headers={"Content-Length": str(source.stat().st_size)},
        )
    assert answer.status_code == 422, answer.text
    return time.perf_counter() - began


def bench_clients(url: str, n_clients: int, seconds: float) -> list[str]:
    """Many clients at once, while a run computes; their faults."""
    with httpx.Client(base_url=url, timeout=120) as client:
        run_id = start_run(client)
        waits: list[float] = []
        faults: list[str] = []
        bodies = [scan(5400.0 + 0.5 * number) for number in range(int(seconds) // 2 + 1)]
        until = time.monotonic() + seconds
        threads = [
            threading.Thread(target=one_client, args=(url, run_id, bodies, until, waits, faults)) for _ in range(n_clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        run = client.get(f"/api/v1/runs/{run_id}").json()
        state = f"{run['state']} {run['error'] or ''}".strip()
        client.post(f"/api/v1/runs/{run_id}/cancel")
    p50, p95 = np.percentile(np.array(waits) * 1e3, [50, 95])
    print(f"{n_clients} clients, {seconds:g} s, run {state}: {len(waits)} status calls, p50 {p50:.0f} ms, p95 {p95:.0f} ms")
    print(f"errors and lost uploads: {len(faults)} {faults[:3] if faults else ''}")
    return faults


def bench_status(url: str, pid: int, n_calls: int) -> None:
    """Processor time of the service's process and wall-clock time of status calls of a run that was cancelled."""
    service = psutil.Process(pid)
    with httpx.Client(base_url=url, timeout=60) as client:
        run_id = start_run(client)
        client.post(f"/api/v1/runs/{run_id}/cancel").raise_for_status()
        while client.get(f"/api/v1/runs/{run_id}").json()["state"] != "cancelled":
            time.sleep(0.25)
        found = []
        for _ in range(5):
            used, began = sum(service.cpu_times()[:2]), time.perf_counter()
            for _ in range(n_calls // 5):
                client.get(f"/api/v1/runs/{run_id}").raise_for_status()
            spent = sum(service.cpu_times()[:2]) - used, time.perf_counter() - began
            found.append([1e3 * seconds / (n_calls // 5) for seconds in spent])
    processor, elapsed = np.median(found, axis=0)
    print(f"a status call: {processor:.2f} ms of the service's processor time, {elapsed:.2f} ms until the answer")


def bench_upload(url: str, pid: int, folder: Path, mebibytes: int) -> None:
    """One large upload against a plain copy with SHA-256."""
    source, block = folder / "source", os.urandom(BLOCK)
    with source.open("wb") as file:
        for _ in range(mebibytes):
            file.write(block)
    with httpx.Client(base_url=url, timeout=600) as client:
        dataset = client.post("/api/v1/datasets", json=SPEC).json()["id"]
        before = memory_bytes(pid, "VmRSS")
        copied = copy_with_digest(source, folder / "copy")
        sent = send(client, dataset, source)
        growth = memory_bytes(pid, "VmHWM") - before
    print(f"copy with sha256 {mebibytes / copied:.0f} MiB/s, PUT {mebibytes / sent:.0f} MiB/s ({sent / copied:.2f} x its time)")
    print(f"the service's memory grew by at most {growth / BLOCK:.0f} MiB")


def main() -> None:
    """Run both and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--mebibytes", type=int, default=1024)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, serving(Path(name) / "data") as (url, pid):
        bench_status(url, pid, given.calls)
        faults = bench_clients(url, given.clients, given.seconds)
        bench_upload(url, pid, Path(name), given.mebibytes)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
