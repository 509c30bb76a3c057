"""The web page, as it is sent."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx

from api.routes import web
from service.stages.pipeline import STAGE_NAMES


def test_an_empty_service_says_how_to_begin(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "Create a dataset" in page.text
    assert "None yet" in page.text


def test_a_run_shows_its_stages_and_how_to_stop_it(client: httpx.Client, service: Any, run: dict[str, Any]) -> None:
    service.runs.advance(run["id"], 6)
    page = client.get("/", params={"run": run["id"]}).text
    assert "Reconstruct every energy" in page
    assert 'data-act="cancel"' in page
    assert "results.zarr" not in page


def test_every_stage_has_a_name_for_people() -> None:
    assert list(web.STAGES) == list(STAGE_NAMES)


def test_a_finished_run_shows_figures_maps_and_the_lines_that_open_it(client: httpx.Client, finished: dict[str, Any]) -> None:
    page = client.get("/").text
    url = f"{str(client.base_url).rstrip('/')}/api/v1/runs/{finished['id']}/results.zarr"
    assert f'xr.open_datatree("{url}", engine="zarr")' in page
    for source in re.findall(r'<img src="([^"]+)"', page):
        assert client.get(source).status_code == 200, source
    assert "Edge energy" in page


def test_a_failed_run_says_why(client: httpx.Client, service: Any, run: dict[str, Any]) -> None:
    service.runs.finish(run["id"], "failed", "too little vacuum <at> 5466.5 eV")
    page = client.get("/").text
    assert "too little vacuum &lt;at&gt; 5466.5 eV" in page
    assert 'data-act="retry"' in page


def test_names_given_by_people_are_escaped(client: httpx.Client, dataset: dict[str, Any]) -> None:
    name = '"><script>alert(1)</script>'
    client.post("/api/v1/runs", json={"datasets": [dataset["id"]], "name": name})
    assert "<script>alert" not in client.get("/").text


def test_a_run_over_which_the_clock_was_put_back_shows_no_duration(
    client: httpx.Client, service: Any, finished: dict[str, Any]
) -> None:
    view = service.runs.views[finished["id"]]
    for seconds, is_shown in ((60.0, True), (-32400.0, False)):
        service.runs.views[finished["id"]] = replace(
            view, started=view.created, finished=view.created + timedelta(seconds=seconds)
        )
        assert ("· took" in client.get("/", params={"run": finished["id"]}).text) == is_shown


def test_nothing_comes_from_elsewhere(client: httpx.Client, finished: dict[str, Any]) -> None:
    page = client.get("/").text
    fetched = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert [link for link in fetched if not link.startswith(("/", "#"))] == []
    for asset in ("style.css", "page.js", "icon.svg"):
        text = client.get(f"/assets/{asset}").raise_for_status().text
        assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) == []
    assert "style=" not in page  # the content security policy would ignore it
    assert client.get("/", params={"run": "run_none"}).status_code == 404


def test_a_dataset_has_a_page(client: httpx.Client, dataset: dict[str, Any]) -> None:
    page = client.get(f"/datasets/{dataset['id']}").text
    assert "particle 1" in page
    assert "5420.0" in page
    for source in re.findall(r'<img src="([^"]+)"', page):
        assert client.get(source).status_code == 200, source


def test_an_unknown_address_is_a_page_for_browsers_and_a_problem_for_programs(client: httpx.Client) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    for path in ("/nowhere", "/datasets/ds_none", "/?run=run_none"):
        page = client.get(path, headers=browser)
        assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "Not found" in page.text
        assert client.get(path).json()["code"] == "not-found"
    assert client.get("/api/v1/runs/run_none", headers=browser).json()["code"] == "not-found"


def test_the_api_is_browsable_with_what_the_service_ships(client: httpx.Client) -> None:
    page = client.get("/docs").text
    assert 'class="brand"' in page, "the head of all pages"
    links = re.findall(r'(?:src|href|data-document)="([^"]+)"', page)
    assert len(links) >= 4
    for link in links:
        assert client.get(link).status_code == 200, link
