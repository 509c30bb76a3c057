"""Lists, searches, the page, metrics, an upload and a submission with thousands of datasets and runs.

    python tests/benchmarks/bench_catalogue.py [--datasets 5000] [--runs 20000] [--folder /dev/shm] [--gc]

Prints the median time of each, and the processor time of this process [ms]; requests are made within it, without a cluster.
The datasets are one simulated measurement of 40 small scans again and again, as links to what the service looks at, the
descriptions; one more has 400 energies. Their rows, which are written in one transaction, are those that the service writes.

With ``--gc`` it prints, in place of requests, the time of ``ptyxas gc`` when the steps of no run are known, as after an upgrade,
and when they are (some minutes).
"""

import argparse
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, cast

import httpx
import numpy as np
from fastapi.testclient import TestClient
from sqlalchemy import insert

from api.app import create_app
from service.bootstrap import Service
from service.records.dataset_repository import DatasetRepository
from service.records.run_inputs import RunInputReader
from service.records.run_repository import RunRepository
from service.retention import Retention
from service.settings import DataPaths, Settings
from service.stages.pipeline import build_graph, past_rounds
from storage.artifacts import ArtifactStore
from storage.catalogue.catalogue import Catalogue
from storage.catalogue.database import Database
from storage.catalogue.datasets import DatasetTable, insert_scans
from storage.catalogue.schema import datasets, run_datasets, runs
from storage.datasets.store import DatasetStore
from tasks.options.run import OPTIONS, RunOptions

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


def link_descriptions(source: Path, target: Path) -> None:
    """The folder again with the descriptions in it, as links: they have the sizes and times that rows are compared with."""
    target.mkdir()
    os.link(source / "zarr.json", target / "zarr.json")
    for inside in (path for path in (source / "scans", source / "counts") if path.is_dir()):
        link_descriptions(inside, target / inside.name)
    for scan in (path for path in source.iterdir() if source.name == "scans" and path.is_dir()):
        link_descriptions(scan, target / scan.name)


def fill_datasets(client: TestClient, service: Service, n_datasets: int) -> tuple[str, str]:
    """Store ``n_datasets`` of 40 energies and one of 400; the ids of the first and of the large one."""
    first = str(client.post(f"{API}/datasets", json=SPEC).raise_for_status().json()["id"])
    folder = service.settings.data_dir.resolve() / "datasets"
    file = service.settings.uploads_dir / "scan.npz"
    for energy_ev in np.linspace(5420, 5540, N_ENERGIES):
        file.write_bytes(scan(energy_ev))
        DatasetStore(folder).add_scan(first, f"e{energy_ev:.0f}", file)
    client.post(f"{API}/datasets/{first}/seal").raise_for_status()
    copies = [f"ds_copy{number:06d}" for number in range(1, n_datasets)]
    for copy in copies:
        link_descriptions(folder / first, folder / copy)
    write_rows(service.settings.catalogue_url, first, copies)
    large = folder / "ds_large"
    link_descriptions(folder / first, large)
    template = next(path for path in sorted((large / "scans").iterdir()) if path.is_dir())
    text = (template / "zarr.json").read_text()
    energy_ev = client.get(f"{API}/datasets/{first}").json()["scans"][0]["energy_ev"]
    for number in range(360):
        link_descriptions(template, large / "scans" / f"x{number}")
        described = large / "scans" / f"x{number}" / "zarr.json"
        described.unlink()
        described.write_text(text.replace(f'"energy_ev": {energy_ev}', f'"energy_ev": {5420.5 + number / 3.03}'))
    return first, large.name


def write_rows(url: str, first: str, copies: list[str]) -> None:
    """Write the rows of datasets like the first one, each a second older than the one before."""
    with closing(Database(url)) as database:
        table = DatasetTable(database)
        row, scans = table.get(first), table.scans([first])[first]
        assert row is not None
        rows = [{**row, "id": copy, "created": row["created"] - number} for number, copy in enumerate(copies, 1)]
        with database.write() as connection:
            connection.execute(insert(datasets), rows)
            for copy in copies:
                insert_scans(connection, copy, scans)


def fill_runs(url: str, n_runs: int, used: list[str]) -> None:
    """Write ``n_runs`` runs down, all but ten of which have ended."""
    now, options = time.time(), OPTIONS.dump_python(RunOptions(), mode="json")
    links = [{"run_id": f"run_{number:08d}", "dataset_id": used[number % len(used)]} for number in range(n_runs)]
    rows: list[dict[str, Any]] = []
    for number, link in enumerate(links):
        state = "running" if number < 10 else "succeeded"
        about = {"project": "default", "name": f"run {number}", "state": state, "datasets": [link["dataset_id"]]}
        times = {"created": now - n_runs + number, "updated": now}
        rows.append({"id": link["run_id"], **about, "options": options, "stages": [], "progress": 1.0, **times})
    with closing(Database(url)) as database, database.write() as connection:
        connection.execute(insert(runs), rows)
        connection.execute(insert(run_datasets), links)


def fill_steps(service: Service, n_runs: int) -> int:
    """Store what each of the last runs needs; the number of steps."""
    paths = DataPaths.of(service.settings)
    artifacts, options = ArtifactStore(paths.artifacts), RunOptions()
    with closing(Catalogue(service.settings.catalogue_url)) as catalogue:
        inputs = RunInputReader(DatasetRepository(catalogue, DatasetStore(paths.datasets)))
        for run in catalogue.runs.page(limit=n_runs):
            graph = build_graph(inputs.read(run["datasets"]), options, run["id"])
            for key in {step.key for step in graph.steps.values()} - past_rounds(graph):
                artifacts.write(key, {"x": np.ones(3)}, {})
    return len(artifacts.keys())


def measure_gc(service: Service) -> None:
    """Print how long it takes to find garbage, first and again: of each run but those that go on the steps are then known."""
    print(f"{fill_steps(service, 400)} finished steps")
    with closing(Catalogue(service.settings.catalogue_url)) as catalogue:
        for when in ("no run's steps known", "steps known"):
            used = time.process_time()
            elapsed = seconds(lambda: Retention(service.settings, catalogue).find(0.0))
            print(f"ptyxas gc, {when}: {elapsed:.1f} s, {time.process_time() - used:.1f} s of the processor", flush=True)
    size = Path(service.settings.data_dir, "catalogue.sqlite").stat().st_size
    print(f"the catalogue has {size / 2**20:.0f} MiB")


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


def seconds(action: Callable[[], object]) -> float:
    """Time that something takes [s]."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def main() -> None:
    """Fill a service's folder, and time what its users do."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--datasets", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=20000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--gc", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        service = Service(Settings(data_dir=Path(folder) / "data", port=8000))
        client = TestClient(create_app(service), base_url="http://127.0.0.1:8000")
        began = time.perf_counter()
        first, large = fill_datasets(client, service, given.datasets)
        service.datasets.start()
        ids = [view.id for view in service.datasets.page(200).items]
        fill_runs(service.settings.catalogue_url, given.runs, [name for name in ids if name != large])
        print(f"prepared in {time.perf_counter() - began:.1f} s")
        catalogue = Catalogue(service.settings.catalogue_url)
        print(f"a start, datasets compared with the catalogue: {seconds(service.datasets.start):.2f} s")
        print(f"a start, leftovers of dead writers: {seconds(Retention(service.settings, catalogue).leftovers):.2f} s")
        print(f"a look of the run loop, every 2 s: {1e3 * seconds(RunRepository(catalogue).unfinished_runs):.1f} ms")
        catalogue.close()
        if given.gc:
            measure_gc(service)
            return
        measure(client, first, large, ids)


def measure(client: TestClient, first: str, large: str, ids: list[str]) -> None:
    """Print the times of requests, once there are a ``first`` dataset, a ``large`` one and those of ``ids``."""
    opened = client.post(f"{API}/datasets", json=SPEC).raise_for_status().json()["id"]
    energies_ev = iter(np.arange(5400.0, 5600.0, 0.7))

    def upload() -> httpx.Response:
        energy_ev = next(energies_ev)
        return cast(httpx.Response, client.put(f"{API}/datasets/{opened}/scans/e{energy_ev:.1f}", content=scan(energy_ev)))

    def get(path: str, **query: str) -> Callable[[], httpx.Response]:
        return lambda: cast(httpx.Response, client.get(path, params=query))

    def submit(dataset: str) -> Callable[[], httpx.Response]:
        return lambda: cast(httpx.Response, client.post(f"{API}/runs", json={"datasets": [dataset]}))

    cursors = [""]

    def turn_page() -> httpx.Response:
        page = client.get(f"{API}/datasets", params={"cursor": cursors[-1]} if cursors[-1] else {})
        cursors.append(page.json()["next_cursor"] or "")
        return cast(httpx.Response, page)

    later = client.get(f"{API}/runs", params={"limit": "500"}).raise_for_status().json()["next_cursor"]
    requests = {
        "GET /datasets": get(f"{API}/datasets"),
        "GET /datasets?cursor=, a page never seen": turn_page,
        "GET /datasets?q=copy0000": get(f"{API}/datasets", q="copy0000"),
        "GET /datasets?q= of none": get(f"{API}/datasets", q="nothing like it"),
        "GET /datasets/{id} of 400 energies": get(f"{API}/datasets/{large}"),
        "GET /runs": get(f"{API}/runs"),
        "GET /runs?cursor= after 500": get(f"{API}/runs", **({"cursor": later} if later else {})),
        "GET /runs?q=run 4": get(f"{API}/runs", q="run 4"),
        "GET /runs?q= of none": get(f"{API}/runs", q="nothing like it"),
        "GET /runs?state=running": get(f"{API}/runs", state="running"),
        "GET /runs?dataset=": get(f"{API}/runs", dataset=ids[1]),
        "GET /runs/{id}": get(f"{API}/runs/run_00000004"),
        "GET / (page)": get("/"),
        "GET /?q= of none (page)": get("/", q="nothing like it"),
        "GET /metrics": get("/metrics"),
        "PUT a scan (a process of its own parses it)": upload,
        "POST /runs on 40 energies": submit(first),
        "POST /runs on 400 energies": submit(large),
    }
    for name, request in requests.items():
        elapsed, processor = median_ms(request)
        print(f"{name:45s} {elapsed:8.1f} ms, {processor:8.1f} ms of the processor", flush=True)


if __name__ == "__main__":
    del sys.modules["__main__"].__file__  # else every process that parses a file imports this script first
    main()
