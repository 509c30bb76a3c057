"""Lists, searches, the page, metrics, an upload and a submission with thousands of datasets and runs.

    python tests/benchmarks/bench_catalogue.py [--datasets 5000] [--runs 20000] [--folder /dev/shm]

Prints the median time of each, and the processor time of this process [ms]; requests are made within it, without a cluster.
The datasets are one simulated measurement of 40 small scans, linked again and again; one more has 400 energies.
"""

import argparse
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import httpx
import numpy as np
from fastapi.testclient import TestClient

from api.app import create_app
from service.bootstrap import Service
from service.records.run_repository import OPTIONS
from service.settings import Settings
from storage.catalogue.catalogue import Catalogue
from storage.datasets.store import DatasetStore
from tasks.options.run import RunOptions

N_ENERGIES: Final = 40
API: Final = "/api/v1"
SPEC: Final = {
    "title": "bench",
    "sample": {"name": "p1", "formula": "LiVO2", "group": "pristine"},
    "absorber": {"element": "V", "edge": "K"},
    "distance_m": 0.5,
    "detector_pixel_size_m": 75e-6,
    "probe": {"kind": "gaussian", "fwhm_m": 3e-7},
}


def scan(energy_ev: float) -> bytes:
    """A small measurement as NPZ."""
    rng = np.random.default_rng(int(energy_ev * 10))
    y, x = np.meshgrid(np.arange(4), np.arange(4), indexing="ij")
    positions_m = np.stack([y.ravel(), x.ravel()], axis=1) * 100e-9
    file = io.BytesIO()
    np.savez(file, counts=rng.poisson(50, (16, 32, 32)).astype(np.uint16), positions_m=positions_m, energy_ev=np.array(energy_ev))
    return file.getvalue()


def link_tree(source: Path, target: Path) -> None:
    """The same files again: folders are made, files are linked."""
    for folder, _, files in os.walk(source):
        inside = target / Path(folder).relative_to(source)
        inside.mkdir()
        for name in files:
            os.link(Path(folder, name), inside / name)


def fill_datasets(client: TestClient, service: Service, n_datasets: int) -> str:
    """Store ``n_datasets`` of 40 energies and one of 400; the last one's id."""
    first = client.post(f"{API}/datasets", json=SPEC).raise_for_status().json()["id"]
    folder = service.settings.datasets_dir
    file = service.settings.uploads_dir / "scan.npz"
    for energy_ev in np.linspace(5420, 5540, N_ENERGIES):
        file.write_bytes(scan(energy_ev))
        DatasetStore(folder).add_scan(first, f"e{energy_ev:.0f}", file)
    client.post(f"{API}/datasets/{first}/seal").raise_for_status()
    catalogue = Catalogue(service.settings.catalogue_url)
    row, scans = catalogue.datasets.get(first), catalogue.datasets.scans([first])[first]
    assert row is not None
    about = {name: value for name, value in row.items() if name not in ("n_scans", "n_bytes")}
    for number in range(1, n_datasets):  # linked files have the times and sizes that the rows were written with
        link_tree(folder / first, folder / f"ds_copy{number:06d}")
        catalogue.datasets.put({**about, "id": f"ds_copy{number:06d}", "created": row["created"] - number}, scans)
    catalogue.close()
    large = folder / "ds_large"
    link_tree(folder / first, large)
    template = next(path for path in sorted((large / "scans").iterdir()) if path.is_dir())
    text = (template / "zarr.json").read_text()
    energy_ev = client.get(f"{API}/datasets/{first}").json()["scans"][0]["energy_ev"]
    for number in range(360):
        link_tree(template, large / "scans" / f"x{number}")
        described = large / "scans" / f"x{number}" / "zarr.json"
        described.unlink()
        described.write_text(text.replace(f'"energy_ev": {energy_ev}', f'"energy_ev": {5420.5 + number / 3.03}'))
    return large.name


def fill_runs(url: str, n_runs: int, datasets: list[str]) -> None:
    """Write ``n_runs`` runs down, all but ten of which have ended."""
    catalogue, options = Catalogue(url), OPTIONS.dump_python(RunOptions(), mode="json")
    for number in range(n_runs):
        run_id = f"run_{number:08d}"
        used = datasets[number % len(datasets)]
        catalogue.runs.create(run_id, f"run {number}", "running" if number < 10 else "succeeded", [used], options)
    catalogue.close()


def median_ms(action: Callable[[], httpx.Response], n: int = 7) -> tuple[float, float]:
    """Median time and processor time of a request that must succeed [ms]; the first, which reads what changed, is left out."""
    times, processor = [], []
    for _ in range(n + 1):
        began, used = time.perf_counter(), time.process_time()
        response = action()
        times.append(1e3 * (time.perf_counter() - began))
        processor.append(1e3 * (time.process_time() - used))
        response.raise_for_status()
    return statistics.median(times[1:]), statistics.median(processor[1:])


def main() -> None:
    """Fill a service's folder, and time what its users do."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--datasets", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=20000)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        service = Service(Settings(data_dir=Path(folder) / "data", port=8000))
        client = TestClient(create_app(service), base_url="http://127.0.0.1:8000")
        large = fill_datasets(client, service, given.datasets)
        began = time.perf_counter()
        service.datasets.start()
        print(f"a start with {given.datasets} datasets: {time.perf_counter() - began:.2f} s")
        ids = [view.id for view in service.datasets.page(200).items]
        fill_runs(service.settings.catalogue_url, given.runs, [name for name in ids if name != large])
        opened = client.post(f"{API}/datasets", json=SPEC).raise_for_status().json()["id"]
        energies_ev = iter(np.arange(5400.0, 5600.0, 0.7))

        def upload() -> httpx.Response:
            energy_ev = next(energies_ev)
            return cast(httpx.Response, client.put(f"{API}/datasets/{opened}/scans/e{energy_ev:.1f}", content=scan(energy_ev)))

        requests: dict[str, Callable[[], httpx.Response]] = {
            "GET /datasets": lambda: client.get(f"{API}/datasets"),
            "GET /datasets?q=copy0000": lambda: client.get(f"{API}/datasets", params={"q": "copy0000"}),
            "GET /datasets?q= of none": lambda: client.get(f"{API}/datasets", params={"q": "nothing like it"}),
            "GET /datasets/{id} of 400 energies": lambda: client.get(f"{API}/datasets/{large}"),
            "GET /runs": lambda: client.get(f"{API}/runs"),
            "GET /runs?q=run 4": lambda: client.get(f"{API}/runs", params={"q": "run 4"}),
            "GET /runs?dataset=": lambda: client.get(f"{API}/runs", params={"dataset": ids[1]}),
            "GET / (page)": lambda: client.get("/"),
            "GET /metrics": lambda: client.get("/metrics"),
            "PUT a scan (a process of its own parses it)": upload,
            "POST /runs on 40 energies": lambda: client.post(f"{API}/runs", json={"datasets": [ids[0]]}),
            "POST /runs on 400 energies": lambda: client.post(f"{API}/runs", json={"datasets": [large]}),
        }
        for name, request in requests.items():
            elapsed, processor = median_ms(request)
            print(f"{name:45s} {elapsed:8.1f} ms, {processor:8.1f} ms of the processor", flush=True)


if __name__ == "__main__":
    del sys.modules["__main__"].__file__  # else every process that parses a file imports this script first
    main()
