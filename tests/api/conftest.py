"""A service without a cluster, the interface of ``service.bootstrap.Service``, behind a real server on loopback."""

import atexit
import hashlib
import io
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from published import write_published

from api.app import create_app
from api.server.http_server import HttpServer
from service.api_keys import Key
from service.bootstrap import Service, lock_folder
from service.errors import (
    ConflictError,
    DigestMismatchError,
    FieldError,
    IdempotencyError,
    InvalidInputError,
    NotFoundError,
    ResultsNotReadyError,
    TooLargeError,
)
from service.execution.metrics import Metrics, Snapshot
from service.records.views import (
    DatasetFilter,
    DatasetView,
    EventView,
    FigureView,
    Page,
    PageKey,
    RunFilter,
    RunState,
    RunView,
    ScanView,
    StageView,
)
from service.references import References
from service.results.area_spectra import Area, AreaSpectrum, read_area_spectrum
from service.results.energy_table import EnergyRow, make_row
from service.results.exports import Exported, write_export
from service.settings import Settings
from storage.catalogue.datasets import EVERY_DATASET
from storage.catalogue.runs import EVERY_RUN
from storage.references import ReferenceStore
from storage.results import ResultsStore
from tasks.errors import FormulaError
from tasks.options.run import RunOptions

MAX_UPLOAD_BYTES = 1 << 22
STAGE_NAMES = ("reconstruct", "couple", "spectra", "fit", "maps", "domains", "results", "figures")
ASSUMED = "neither the file nor the dataset describes the probe; assumed: KB mirrors, 300 nm, in focus"
START = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)


def page_of(views: Iterable[Any], limit: int, after: PageKey | None) -> Page[Any]:
    """Part of a list, newest first."""
    keys = {PageKey(view.created.timestamp(), view.id): view for view in views}
    order = sorted(keys, key=lambda key: (key.created, key.id), reverse=True)
    rest = [key for key in order if after is None or (key.created, key.id) < (after.created, after.id)]
    return Page(tuple(keys[key] for key in rest[:limit]), rest[limit - 1] if len(rest) > limit else None)


class FakeDatasets:
    def __init__(self) -> None:
        self.views: dict[str, DatasetView] = {}
        self.bodies: dict[tuple[str, str], bytes] = {}

    def create(self, spec: Mapping[str, Any]) -> DatasetView:
        if spec["sample"]["formula"] == "Xx2":
            raise FormulaError("a formula must be element symbols and amounts, such as LiVO2, got 'Xx2'")
        dataset_id = f"ds_{len(self.views):016x}"
        plain = {name: spec[name] for name in ("title", "sample", "absorber", "distance_m", "detector_pixel_size_m")}
        created = START + timedelta(minutes=len(self.views))
        view = DatasetView(
            id=dataset_id,
            state="open",
            probe=spec["probe"],
            orientation=spec["orientation"],
            scans=(),
            created=created,
            **plain,
        )
        self.views[dataset_id] = view
        return view

    def register(self, path: str, spec: Mapping[str, Any]) -> DatasetView:
        return replace(self.create(spec), state="sealed")

    async def put_scan(
        self, dataset_id: str, name: str, stream: AsyncIterator[bytes], content_digest: str | None = None
    ) -> tuple[ScanView, bool]:
        view = self.get(dataset_id)
        body = b""
        async for block in stream:
            body += block
            if len(body) > MAX_UPLOAD_BYTES:
                raise TooLargeError(f"a scan may have at most {MAX_UPLOAD_BYTES} bytes")
        if content_digest == "sha-256=:AAAA:":
            raise DigestMismatchError("the bytes that came are not those of Content-Digest")
        if not body.startswith(b"\x89HDF"):
            faults = [FieldError("format", "neither HDF5, NPZ nor zipped Zarr"), FieldError("positions_m", "missing")]
            raise InvalidInputError("the file is not a scan", faults)
        known = self.bodies.get((dataset_id, name))
        if known not in (None, body):
            raise ConflictError(f"scan {name} is there with other bytes")
        self.bodies[dataset_id, name] = body
        told = (ASSUMED,) if view.probe is None else ()
        scan = ScanView(name, 5420.0 + 3 * len(view.scans), 144, 96, hashlib.sha256(body).hexdigest(), len(body), warnings=told)
        if known is None:
            self.views[dataset_id] = replace(view, scans=(*view.scans, scan))
        return scan, known is None

    def seal(self, dataset_id: str) -> DatasetView:
        if self.get(dataset_id).state == "sealed":
            raise ConflictError(f"dataset {dataset_id} is sealed already")
        self.views[dataset_id] = replace(self.views[dataset_id], state="sealed")
        return self.views[dataset_id]

    def page(self, limit: int = 50, after: PageKey | None = None, matching: DatasetFilter = EVERY_DATASET) -> Page[DatasetView]:
        self.asked = matching
        return page_of([view for view in self.views.values() if (matching.text or "") in view.title], limit, after)

    def get(self, dataset_id: str) -> DatasetView:
        if dataset_id not in self.views:
            raise NotFoundError(f"no dataset {dataset_id}")
        return self.views[dataset_id]

    def change(self, dataset_id: str, changes: Mapping[str, Any]) -> DatasetView:
        sample = {**self.get(dataset_id).sample, **changes.get("sample", {})}
        self.views[dataset_id] = replace(self.views[dataset_id], **{**changes, "sample": sample})
        return self.views[dataset_id]

    def overview(self, dataset_id: str, scan: str, is_dark: bool = False) -> bytes:
        if scan not in [one.name for one in self.get(dataset_id).scans]:
            raise NotFoundError(f"no scan {scan!r}")
        return picture(f"scan {scan}", 900)

    def delete(self, dataset_id: str) -> None:
        self.get(dataset_id)
        del self.views[dataset_id]


class FakeRuns:
    def __init__(self, datasets: FakeDatasets, folder: Path) -> None:
        self.datasets = datasets
        self.folder = folder
        self.views: dict[str, RunView] = {}
        self.happened: dict[str, list[EventView]] = {}
        self.keys: dict[str, tuple[Any, str]] = {}
        self.guard = threading.Lock()
        self.results = self

    def submit(self, dataset_ids: list[str], options: RunOptions, name: str = "", idempotency_key: str | None = None) -> RunView:
        for dataset_id in dataset_ids:
            self.datasets.get(dataset_id)
        body = (tuple(dataset_ids), options, name)
        if idempotency_key in self.keys:
            known, run_id = self.keys[idempotency_key]
            if known != body:
                raise IdempotencyError(f"key {idempotency_key} came before with another body")
            return self.views[run_id]
        run_id = f"run_{len(self.views):016x}"
        if idempotency_key:
            self.keys[idempotency_key] = (body, run_id)
        stages = tuple(StageView(stage, 0, 4, "waiting") for stage in STAGE_NAMES)
        created = START + timedelta(minutes=len(self.views))
        self.views[run_id] = RunView(
            run_id,
            name,
            "queued",
            stages,
            0.0,
            None,
            "http://127.0.0.1:8787/status",
            None,
            tuple(dataset_ids),
            asdict(options),
            created,
        )
        self.happened[run_id] = []
        self.tell(run_id, "state", state="queued")
        return self.views[run_id]

    def tell(self, run_id: str, kind: str, **data: Any) -> None:
        with self.guard:
            events = self.happened[run_id]
            events.append(EventView(len(events) + 1, datetime.now(UTC), kind, data))

    def advance(self, run_id: str, n_done: int) -> None:
        view = self.views[run_id]
        stages = []
        for i, stage in enumerate(view.stages):
            done = min(max(n_done - 4 * i, 0), 4)
            stages.append(replace(stage, done=done, state="done" if done == 4 else "running" if done else "waiting"))
        progress = n_done / (4 * len(stages))
        self.views[run_id] = replace(
            view, state="running", stages=tuple(stages), progress=progress, eta_s=75.0, started=view.created
        )
        self.tell(run_id, "stage", progress=progress)

    def finish(self, run_id: str, state: RunState = "succeeded", error: str | None = None) -> None:
        if state == "succeeded":
            self.advance(run_id, 4 * len(STAGE_NAMES))
            write_study(self.folder / run_id / "results.zarr", self.views[run_id].datasets)
            write_figures(self.folder / run_id / "figures")
        finished = self.views[run_id].created + timedelta(seconds=163)
        self.tell(run_id, "state", state=state)
        self.views[run_id] = replace(self.views[run_id], state=state, error=error, eta_s=None, finished=finished)

    def page(self, limit: int = 50, after: PageKey | None = None, matching: RunFilter = EVERY_RUN) -> Page[RunView]:
        self.asked = matching
        return page_of([view for view in self.views.values() if (matching.text or "") in view.name], limit, after)

    def get(self, run_id: str) -> RunView:
        if run_id not in self.views:
            raise NotFoundError(f"no run {run_id}")
        return self.views[run_id]

    def follow(self, run_id: str, after: int = 0) -> tuple[RunState, Sequence[EventView]]:
        with self.guard:
            return self.get(run_id).state, [event for event in self.happened[run_id] if event.id > after]

    def follow_in_memory(self, run_id: str, after: int) -> tuple[RunState, Sequence[EventView]] | None:
        return None

    def watching(self, run_id: str, on_change: Callable[[], None]) -> AbstractContextManager[None]:
        return nullcontext()

    def cancel(self, run_id: str) -> RunView:
        if self.get(run_id).state not in ("queued", "running"):
            raise ConflictError(f"run {run_id} has {self.get(run_id).state}: there is nothing to cancel")
        self.finish(run_id, "cancelled")
        return self.views[run_id]

    def retry(self, run_id: str) -> RunView:
        if self.get(run_id).state not in ("failed", "cancelled"):
            raise ConflictError(f"run {run_id} is {self.get(run_id).state}: only failed or cancelled runs can go on")
        self.views[run_id] = replace(self.views[run_id], state="queued", error=None)
        return self.views[run_id]

    def rename(self, run_id: str, name: str) -> RunView:
        self.views[run_id] = replace(self.get(run_id), name=name)
        return self.views[run_id]

    def delete(self, run_id: str) -> None:
        self.get(run_id)
        del self.views[run_id]

    def file(self, run_id: str, key: str) -> Path:
        if self.get(run_id).state != "succeeded":
            raise ResultsNotReadyError(f"run {run_id} is {self.get(run_id).state}: its results are not published")
        root = self.folder / run_id / "results.zarr"
        path = (root / key).resolve()
        if not path.is_relative_to(root.resolve()) or not path.is_file():
            raise NotFoundError(f"no key {key!r}")
        return path

    def figures(self, run_id: str) -> Sequence[FigureView]:
        if self.get(run_id).state != "succeeded":
            return []
        first = self.views[run_id].datasets[0]
        return [FigureView("edge_energy", "Edge energy", first), FigureView("elbow", "Elbow", None)]

    def figure(self, run_id: str, name: str) -> Path:
        path = self.folder / run_id / "figures" / f"{name}.png"
        if name not in [figure.name for figure in self.figures(run_id)]:
            raise NotFoundError(f"no figure {name!r}")
        return path

    def drawn_figure(self, run_id: str, name: str, form: str) -> bytes:
        self.figure(run_id, name)
        return {"pdf": b"%PDF-1.4", "svg": b"<svg/>", "dark": b"\x89PNG, dark"}[form]

    def energies(self, run_id: str) -> list[EnergyRow]:
        n_done = self.get(run_id).stages[0].done
        return [
            make_row(
                self.views[run_id].datasets[0], 5420.0 + 3 * i, np.geomspace(0.5, 0.05, 60) * (1 + 0.1 * i), noise=0.04,
                n_modes=1, resolution_m=(None, float("nan"))[i % 2], drift_px=None,
                warnings=["5420.0 eV: little overlap"] if i == 0 else [],
            )
            for i in range(n_done)
        ]  # fmt: skip

    def spectra(self, run_id: str, areas: Sequence[Area]) -> list[AreaSpectrum]:
        store = ResultsStore(self.file(run_id, "zarr.json").parent)
        return [read_area_spectrum(store, area, f"areas.{i}") for i, area in enumerate(areas)]

    def export(self, run_id: str, form: str, dataset: str | None = None) -> Exported:
        store = ResultsStore(self.file(run_id, "zarr.json").parent)
        return write_export(store, run_id, self.views[run_id].datasets, form, dataset, self.folder)

    def image(
        self,
        run_id: str,
        dataset: str,
        variable: str,
        energy_ev: float | None = None,
        cmap: str | None = None,
        vmin: float | None = None,
        vmax: float | None = None,
        width: int = 800,
        plain: bool = False,
    ) -> bytes:
        if self.get(run_id).stages[0].done == 0:  # else there is something to show, whatever became of the run
            self.file(run_id, "zarr.json")
        if variable not in ("edge_energy", "absorption", "phase", "label"):
            raise NotFoundError(f"no array {variable!r}")
        return picture(f"{variable} {energy_ev or ''} {cmap or ''}", width)


class FakeService:
    def __init__(self, folder: Path) -> None:
        self.datasets = FakeDatasets()
        self.runs = FakeRuns(self.datasets, folder)
        self.settings = Settings(data_dir=folder)
        self.references = References(ReferenceStore(folder / "references"))
        self.dashboard_url: str | None = "http://127.0.0.1:8787/status"
        self.is_running = False

    def start(self) -> None:
        self.is_running = True

    def stop(self) -> None:
        self.is_running = False

    def within(self, key: Key) -> "FakeService":
        return self

    def snapshot(self) -> Snapshot:
        metrics = Metrics()
        metrics.note("fit", "computed", 1.5)
        n_runs = Counter[str](view.state for view in self.runs.views.values())
        datasets = list(self.datasets.views.values())
        return Snapshot(n_runs, len(datasets), sum(view.n_bytes for view in datasets), 10**9, 2, True, metrics)

    def unready_reason(self) -> str | None:
        return None if self.is_running else "not started"

    def versions(self) -> dict[str, str]:
        return {"ptyxas": "0.1.0", "zarr": "3.1.6"}


def write_study(path: Path, dataset_ids: tuple[str, ...]) -> None:
    """A small results store, as ``storage`` lays it out."""
    shutil.copytree(made_study(dataset_ids), path)


@lru_cache
def made_study(dataset_ids: tuple[str, ...]) -> Path:
    path = Path(tempfile.mkdtemp()) / "results.zarr"
    atexit.register(shutil.rmtree, path.parent)
    write_published(path, dataset_ids)
    return path


def write_figures(folder: Path) -> None:
    """Two pictures."""
    folder.mkdir(parents=True)
    for name in ("edge_energy", "elbow"):
        (folder / f"{name}.png").write_bytes(picture(name, 640))


@lru_cache
def picture(title: str, width: int) -> bytes:
    """A PNG that says its title."""
    figure = Figure(figsize=(width / 100, width / 133), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    y, x = np.mgrid[-1:1:200j, -1.3:1.3:260j]
    axes.imshow(np.where(x**2 + y**2 < 0.8, np.sin(4 * x) * np.cos(3 * y), np.nan), cmap="viridis")
    axes.set_title(title)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


class Server:
    """``app`` served on loopback from a thread."""

    def __init__(self, app: Any, **options: Any) -> None:
        self.app = app
        self._server = HttpServer(app, **{"host": "127.0.0.1", "port": 0, "log_level": "warning", **options})
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            time.sleep(0.005)
        self.url = self._server.url

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=60)
        assert not self._thread.is_alive(), "the server did not stop"


@contextmanager
def started(app: Any, **options: Any) -> Iterator[Server]:
    server = Server(app, **options)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def served(app: Any) -> Iterator[str]:
    with started(app) as server:
        yield server.url


@pytest.fixture(scope="session")
def start_server() -> Callable[..., AbstractContextManager[Server]]:
    """Serves an application with options of uvicorn, as a context whose value is the server."""
    return started


@pytest.fixture(scope="session")
def serve() -> Callable[[Any], AbstractContextManager[str]]:
    """Serves an application, as a context whose value is its address."""
    return served


@pytest.fixture
def fake_service() -> type[FakeService]:
    return FakeService


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(create_app(cast(Service, FakeService(tmp_path_factory.mktemp("service")))))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_client(shared_server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shared_server.url, timeout=60) as client:
        yield client


@pytest.fixture
def service(shared_server: Server, tmp_path: Path) -> FakeService:
    """A fresh service behind the server that all tests share."""
    service = FakeService(tmp_path)
    service.start()
    shared_server.app.state.service = service
    return service


@pytest.fixture
def client(service: FakeService, shared_client: httpx.Client) -> httpx.Client:
    return shared_client


@pytest.fixture
def fake_app(tmp_path: Path) -> FastAPI:
    """An application over a service of the test's own."""
    return create_app(cast(Service, FakeService(tmp_path)))


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, which it may stop."""
    server = Server(create_app(cast(Service, FakeService(tmp_path))))
    yield server
    server.stop()


@pytest.fixture
def dataset(client: httpx.Client) -> dict[str, Any]:
    """A dataset with one scan."""
    body = {
        "title": "particle 1",
        "sample": {"name": "p1", "formula": "LiVO2", "group": "as prepared"},
        "absorber": {"element": "V", "edge": "K"},
    }
    made = client.post("/api/v1/datasets", json=body).raise_for_status().json()
    client.put(f"/api/v1/datasets/{made['id']}/scans/a.cxi", content=b"\x89HDF scan a").raise_for_status()
    found: dict[str, Any] = client.get(f"/api/v1/datasets/{made['id']}").raise_for_status().json()
    return found


@pytest.fixture
def run(client: httpx.Client, dataset: dict[str, Any]) -> dict[str, Any]:
    """A queued run of ``dataset``."""
    made: dict[str, Any] = client.post("/api/v1/runs", json={"datasets": [dataset["id"]]}).raise_for_status().json()
    return made


@pytest.fixture
def finished(service: FakeService, run: dict[str, Any]) -> dict[str, Any]:
    """A run that has published its results."""
    service.runs.finish(run["id"])
    return run


class Quiet(Service):
    """The real service without a cluster: runs stay queued."""

    def start(self) -> None:
        self.datasets.start()

    def stop(self) -> None:
        self.datasets.stop()
        self._catalogue.close()

    def unready_reason(self) -> str | None:
        return None


class Locking(Quiet):
    """One that takes its data folder for itself, as the real one does."""

    def start(self) -> None:
        self._lock = lock_folder(self.settings.data_dir)
        super().start()

    def stop(self) -> None:
        super().stop()
        if self._lock is not None:
            self._lock.close()


@pytest.fixture(scope="session")
def locking_service() -> Callable[[Settings], Service]:
    """Makes a service without a cluster that locks its folder."""
    return Locking


@pytest.fixture(scope="session")
def quiet_service() -> Callable[[Settings], Service]:
    """Makes a real service without a cluster from its settings."""
    return Quiet
