"""Exports over HTTP: the file, or why there is none."""

from io import BytesIO
from typing import Any

import h5py
import httpx
import pytest

from service.results.exports import TITLES


def ask(client: httpx.Client, run: str, **query: str) -> httpx.Response:
    return client.get(f"/api/v1/runs/{run}/export", params=query)


def test_a_file_comes_whole_with_a_name_and_leaves_nothing_behind(
    client: httpx.Client, service: Any, finished: dict[str, Any]
) -> None:
    answer = ask(client, finished["id"], format="nexus").raise_for_status()
    assert answer.headers["content-type"] == "application/x-hdf5"
    assert answer.headers["content-disposition"] == f'attachment; filename="{finished["id"]}-nexus.nxs"'
    assert int(answer.headers["content-length"]) == len(answer.content)
    with h5py.File(BytesIO(answer.content)) as file:
        assert f"{finished['datasets'][0]}/maps/edge_energy" in file
    assert list(service.runs.folder.glob("*.part")) == []


def test_a_dataset_may_be_named(client: httpx.Client, finished: dict[str, Any]) -> None:
    dataset = finished["datasets"][0]
    answer = ask(client, finished["id"], format="nxstxm", dataset=dataset).raise_for_status()
    assert f"{finished['id']}-{dataset}-nxstxm.nxs" in answer.headers["content-disposition"]
    assert ask(client, finished["id"], format="nxstxm", dataset="ds_other").status_code == 404


@pytest.mark.parametrize("query", [{}, {"format": "spe"}, {"format": ""}, {"format": "../nexus"}, {"format": "n" * 50}])
def test_what_is_no_format_is_refused_by_field(client: httpx.Client, finished: dict[str, Any], query: dict[str, str]) -> None:
    answer = ask(client, finished["id"], **query)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, ["format"])


def test_a_run_without_results_has_no_exports(client: httpx.Client, run: dict[str, Any]) -> None:
    answer = ask(client, run["id"], format="csv")
    assert (answer.status_code, answer.json()["code"]) == (409, "results-not-ready")
    assert ask(client, "run_none", format="csv").status_code == 404


def test_the_page_links_to_every_format(client: httpx.Client, finished: dict[str, Any]) -> None:
    page = client.get("/", params={"run": finished["id"]}).text
    assert [name for name in TITLES if f"/runs/{finished['id']}/export?format={name}" not in page] == []
