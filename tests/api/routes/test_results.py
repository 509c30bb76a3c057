"""The results store over HTTP: what Zarr's readers rely on."""

from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
import xarray as xr
import zarr
from obstore.store import HTTPStore

RUNS = "/api/v1/runs"
KEY = "domains/inertia/c/0"


@pytest.fixture
def url(finished: dict[str, Any]) -> str:
    return f"{RUNS}/{finished['id']}/results.zarr"


def test_xarray_opens_the_store_and_reads_what_is_on_disk(
    client: httpx.Client, service: Any, finished: dict[str, Any], url: str
) -> None:
    tree = xr.open_datatree(f"{str(client.base_url).rstrip('/')}{url}", engine="zarr")
    disk = xr.open_datatree(service.runs.folder / finished["id"] / "results.zarr", engine="zarr")
    assert tree.equals(disk)
    edge = tree[finished["datasets"][0]]["maps"]["edge_energy"]
    assert (edge.dims, edge.attrs["units"], edge.x.attrs["units"]) == (("y", "x"), "eV", "m")
    assert np.isfinite(edge.to_numpy()[4:-4, 4:-4]).all()  # within the rim of vacuum
    tree.close()
    disk.close()


def by_obstore(address: str, dataset: str) -> Any:
    http = HTTPStore.from_url(f"{address}/{dataset}/maps", client_options={"allow_http": True})
    with xr.open_zarr(zarr.storage.ObjectStore(http, read_only=True)) as maps:
        return maps["edge_energy"].load()


OPENERS: dict[str, Callable[[str, str], Any]] = {
    "tree": lambda url, dataset: xr.open_datatree(url, engine="zarr")[f"{dataset}/maps/edge_energy"],
    "tree of a dataset": lambda url, dataset: xr.open_datatree(f"{url}/{dataset}", engine="zarr")["maps/edge_energy"],
    "group of the store": lambda url, dataset: xr.open_dataset(url, engine="zarr", group=f"{dataset}/maps")["edge_energy"],
    "group of a dataset": lambda url, dataset: xr.open_zarr(f"{url}/{dataset}", group="maps", chunks=None)["edge_energy"],
    "group by its own URL": lambda url, dataset: xr.open_zarr(f"{url}/{dataset}/maps")["edge_energy"],
    "zarr": lambda url, dataset: zarr.open_group(url, mode="r")[f"{dataset}/maps/edge_energy"],
    "zarr, a group": lambda url, dataset: zarr.open_group(f"{url}/{dataset}/maps", mode="r")["edge_energy"],
    "zarr, walking": lambda url, dataset: dict(zarr.open_group(f"{url}/{dataset}", mode="r").members(None))["maps/edge_energy"],
    "obstore": by_obstore,
    "zarr, the array": lambda url, dataset: zarr.open_array(f"{url}/{dataset}/maps/edge_energy", mode="r"),
}


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS.keys())
def test_every_way_to_open_results_finds_the_same(
    client: httpx.Client, service: Any, finished: dict[str, Any], url: str, opener: Callable[[str, str], Any]
) -> None:
    dataset = finished["datasets"][0]
    found = opener(f"{str(client.base_url).rstrip('/')}{url}", dataset)
    disk = zarr.open_array(service.runs.folder / finished["id"] / "results.zarr" / dataset / "maps" / "edge_energy", mode="r")
    np.testing.assert_array_equal(np.asarray(found), disk[...])
    assert found.attrs["units"] == "eV"


def test_ranges_validators_and_head(client: httpx.Client, url: str) -> None:
    whole = client.get(f"{url}/{KEY}")
    n_bytes = len(whole.content)
    assert (whole.status_code, whole.headers["accept-ranges"]) == (200, "bytes")
    head = client.head(f"{url}/{KEY}")
    assert (head.content, head.headers["content-length"]) == (b"", str(n_bytes))
    assert head.headers["etag"] == whole.headers["etag"]
    part = client.get(f"{url}/{KEY}", headers={"Range": "bytes=3-9"})
    assert (part.status_code, part.content) == (206, whole.content[3:10])
    assert part.headers["content-range"] == f"bytes 3-9/{n_bytes}"
    tail = client.get(f"{url}/{KEY}", headers={"Range": "bytes=-4"})
    assert tail.content == whole.content[-4:]
    known = client.get(f"{url}/{KEY}", headers={"If-None-Match": whole.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    changed = client.get(f"{url}/{KEY}", headers={"Range": "bytes=3-9", "If-Range": '"other"'})
    assert (changed.status_code, changed.content) == (200, whole.content)


def test_a_range_beyond_the_end_is_416(client: httpx.Client, url: str) -> None:
    refused = client.get(f"{url}/{KEY}", headers={"Range": "bytes=99999-"})
    assert (refused.status_code, refused.json()["code"]) == (416, "range-not-satisfiable")
    assert refused.headers["content-range"].startswith("bytes */")


def test_pages_of_other_sites_may_not_read_results(client: httpx.Client, url: str) -> None:
    headers = {"Origin": "https://viewer.example", "Access-Control-Request-Method": "GET"}
    for key in (KEY, "zarr.json", "nothing"):
        for answer in (
            client.options(f"{url}/{key}", headers=headers),
            client.get(f"{url}/{key}", headers={"Origin": "https://viewer.example"}),
            client.head(f"{url}/{key}", headers={"Origin": "null"}),
        ):
            assert "access-control-allow-origin" not in answer.headers
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_a_whole_store_says_404_of_what_it_does_not_hold(client: httpx.Client, url: str) -> None:
    for key in ("domains/inertia/c/9", "domains", "", "nothing/zarr.json"):
        assert client.get(f"{url}/{key}").status_code == 404, key


@pytest.mark.parametrize("key", ["../../../conftest.py", "%2e%2e/%2e%2e/x", "..%2f..%2fetc/passwd", "//etc/passwd"])
def test_nothing_outside_the_store_is_read(client: httpx.Client, url: str, key: str) -> None:
    assert client.get(f"{url}/{key}").status_code == 404


def test_an_unfinished_store_never_says_404(client: httpx.Client, run: dict[str, Any]) -> None:
    for key in (KEY, "zarr.json", "nothing/at/all"):
        refused = client.get(f"{RUNS}/{run['id']}/results.zarr/{key}")
        assert (refused.status_code, refused.json()["code"]) == (409, "results-not-ready"), key


def test_a_deleted_run_does_not_read_as_zeros(client: httpx.Client, finished: dict[str, Any], url: str) -> None:
    client.delete(f"{RUNS}/{finished['id']}")
    assert client.get(f"{url}/{KEY}").json()["code"] == "gone"
    assert client.get(f"{url}/zarr.json").status_code == 404
