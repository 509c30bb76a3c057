"""One file by every route into the service: what is stored is the same, and is what was measured."""

import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from command_line import run
from lab import Lab
from specimen_files import FORMS, truth

from storage.datasets.store import DatasetStore

ORIENTATION: Final = 5
ABOUT: Final[dict[str, Any]] = {
    "sample": {"name": "star", "formula": "FeO"}, "absorber": {"element": "Fe", "edge": "K"}, "orientation": ORIENTATION,
}  # fmt: skip
FLAGS: Final = ("--formula", "FeO", "--absorber", "Fe", "--orientation", ORIENTATION)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A measurement whose detector is flipped and transposed, with its beam off the middle."""
    return FORMS["cxi"].write(tmp_path_factory.mktemp("measured"), ORIENTATION)


def by_http(lab: Lab, file: Path, root: Path) -> str:
    """Sent as the body of a request."""
    dataset = lab.create(**ABOUT)
    lab.put(dataset, "scan", file).raise_for_status()
    return dataset


def by_client(lab: Lab, file: Path, root: Path) -> str:
    """Sent by the Python client."""
    dataset = str(lab.client.create_dataset({"title": "by the client", **ABOUT})["id"])
    lab.client.upload(dataset, str(file))
    return dataset


def in_place(lab: Lab, file: Path, root: Path) -> str:
    """Read where it lies."""
    path = shutil.copy(file, root / f"in-place{file.suffix}")
    return str(lab.client.call("POST", "/datasets/register", json={"title": "in place", **ABOUT, "path": str(path)})["id"])


def by_submit(lab: Lab, file: Path, root: Path) -> str:
    """Sent by ``ptyxas submit``, whose run is not waited for."""
    code, told = run("submit", file, *FLAGS, "--title", "submitted", "--url", lab.serving.url)
    assert code == 0, told
    newest = lab.client.call("GET", "/datasets", params={"q": "submitted"})["items"][0]["id"]
    (of_it,) = lab.client.call("GET", "/runs", params={"dataset": newest})["items"]
    lab.client.call("POST", f"/runs/{of_it['id']}/cancel")
    return str(newest)


def by_follow(lab: Lab, file: Path, root: Path) -> str:
    """Found in a folder by ``ptyxas follow``."""
    flags = ("--energies", 1, "--rest-s", 0, "--no-run", "--title", "followed", "--url", lab.serving.url)
    code, told = run("follow", file.parent, *FLAGS, *flags)
    assert code == 0, told
    return str(lab.client.call("GET", "/datasets", params={"q": "followed"})["items"][0]["id"])


ROUTES: Final = (by_http, by_client, in_place, by_submit, by_follow)


@pytest.fixture(scope="module")
def stored(lab: Lab, file: Path, register_root: Path) -> dict[str, dict[str, Any]]:
    """The scan as the service keeps it, by the name of the route."""
    store = DatasetStore(lab.serving.data_dir / "datasets")
    datasets = {route.__name__: route(lab, file, register_root) for route in ROUTES}
    return {name: store.read_scan(dataset, store.scan_names(dataset)[0]) for name, dataset in datasets.items()}


@pytest.mark.parametrize("route", [route.__name__ for route in ROUTES])
def test_one_file_is_stored_alike_by_every_route(stored: dict[str, dict[str, Any]], route: str) -> None:
    scan, right = stored[route], truth()
    np.testing.assert_array_equal(scan["counts"], right.counts)
    np.testing.assert_array_equal(scan["mask"], right.mask)
    np.testing.assert_allclose(scan["positions_m"], right.positions_m, rtol=0, atol=1e-15)
    np.testing.assert_allclose(scan["probe"], right.probe[None], atol=1e-4 * abs(right.probe).max())
