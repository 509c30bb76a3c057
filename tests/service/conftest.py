"""A small scan file, a dataset's description, and datasets over a folder without a cluster."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.datasets import Datasets
from service.records.dataset_repository import DatasetRepository
from service.records.views import ScanView
from service.settings import Settings
from storage.catalogue.catalogue import Catalogue
from storage.datasets.store import DatasetStore


def small_scan_bytes(energy_ev: float = 5420.0, **changes: Any) -> bytes:
    """An NPZ of a 4 x 4 raster with nothing wrong with it; ``changes`` replace its arrays."""
    rng = np.random.default_rng(int(energy_ev))
    y, x = np.meshgrid(np.arange(4), np.arange(4), indexing="ij")
    arrays: dict[str, Any] = {
        "counts": rng.poisson(50, (16, 32, 32)).astype(np.uint16),
        "positions_m": np.stack([y.ravel(), x.ravel()], axis=1) * 100e-9,
        "energy_ev": np.array(energy_ev),
        "detector_pixel_size_m": np.array(75e-6),
        **changes,
    }
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


class DatasetBench:
    """Datasets over a folder and a catalogue, and how often they told of a change."""

    spec: dict[str, Any] = {  # noqa: RUF012
        "title": "particle 1",
        "sample": {"name": "p1", "formula": "LiVO2", "group": "pristine"},
        "absorber": {"element": "V", "edge": "K"},
        "distance_m": 0.5,
    }

    def __init__(self, folder: Path, users: Sequence[str] = (), **changes: Any) -> None:
        self.settings = Settings(data_dir=folder / "data", **{"min_free_bytes": 0, **changes})
        self.settings.data_dir.mkdir(exist_ok=True)
        self.changes: list[bool] = []
        self.users = list(users)
        self.catalogue = Catalogue(self.settings.catalogue_url)
        self.store = DatasetStore(self.settings.location("datasets"))
        self.repository = DatasetRepository(self.catalogue, self.store)
        self.datasets = Datasets(
            self.settings,
            self.repository,
            on_change=lambda: self.changes.append(True),
            users_of=lambda _: self.users,
        )
        self.datasets.start()

    def put(self, dataset_id: str, name: str, body: bytes, digest: str | None = None, part: int = 7000) -> tuple[ScanView, bool]:
        """Send a body in parts."""

        async def stream() -> AsyncIterator[bytes]:
            for first in range(0, len(body), part):
                yield body[first : first + part]

        return asyncio.run(self.datasets.put_scan(dataset_id, name, stream(), digest))

    def fill(self, n_scans: int = 2, **changes: Any) -> str:
        """A dataset with scans called ``e0``, ``e1`` and so on; its id."""
        dataset_id = self.datasets.create({**self.spec, **changes}).id
        for number in range(n_scans):
            self.put(dataset_id, f"e{number}", small_scan_bytes(5420.0 + 10 * number))
        return dataset_id

    def uploads(self) -> list[Path]:
        """Files that uploads left behind."""
        return list(self.settings.uploads_dir.iterdir())

    def close(self) -> None:
        """Let go of everything."""
        self.datasets.stop()
        self.catalogue.close()


@pytest.fixture(scope="session")
def scan_bytes() -> Callable[..., bytes]:
    """Makes the bytes of a small scan file."""
    return small_scan_bytes


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., DatasetBench]]:
    """Makes datasets over the test's folder, with settings and with runs that use every dataset."""
    made: list[DatasetBench] = []

    def make(users: Sequence[str] = (), **changes: Any) -> DatasetBench:
        made.append(DatasetBench(tmp_path, users, **changes))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def bench(make_bench: Callable[..., DatasetBench]) -> DatasetBench:
    """Datasets over the test's folder."""
    return make_bench()
