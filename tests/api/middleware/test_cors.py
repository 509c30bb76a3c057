"""Pages of other sites: the allowed ones may read and write, the others neither."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from service.settings import Settings

PORTAL, STRANGER = "https://portal.example", "https://elsewhere.example"
BODY = {"title": "t", "sample": {"formula": "LiVO2"}, "absorber": {"element": "V", "edge": "K"}}


@pytest.fixture
def service(tmp_path: Path, fake_service: Any) -> Any:
    service = fake_service(tmp_path)
    service.settings = Settings(data_dir=tmp_path, cors_origins=(PORTAL,))
    return service


@pytest.fixture
def url(service: Any, serve: Any) -> Iterator[str]:
    with serve(create_app(service)) as url:
        yield f"{url}/api/v1"


def test_pages_of_an_allowed_site_may_read_and_write(url: str) -> None:
    portal = {"Origin": PORTAL}
    for answer in (httpx.get(f"{url}/runs", headers=portal), httpx.post(f"{url}/datasets", json=BODY, headers=portal)):
        assert answer.status_code in (200, 201)
        assert answer.headers["access-control-allow-origin"] == PORTAL
        assert "Origin" in answer.headers["vary"]


def test_pages_of_other_sites_are_told_nothing(url: str) -> None:
    assert "access-control-allow-origin" not in httpx.get(f"{url}/runs", headers={"Origin": STRANGER}).headers
    assert httpx.post(f"{url}/datasets", json=BODY, headers={"Origin": STRANGER}).status_code == 403
    preflight = httpx.options(f"{url}/runs", headers={"Origin": STRANGER, "Access-Control-Request-Method": "POST"})
    assert "access-control-allow-origin" not in preflight.headers


def test_pages_outside_the_api_are_for_nobody_else(url: str) -> None:
    answer = httpx.get(url.removesuffix("/api/v1") + "/", headers={"Origin": PORTAL})
    assert "access-control-allow-origin" not in answer.headers


def test_results_are_read_by_pages_of_an_allowed_site_alone(url: str, service: Any) -> None:
    dataset = httpx.post(f"{url}/datasets", json=BODY).json()["id"]
    run = httpx.post(f"{url}/runs", json={"datasets": [dataset]}).json()["id"]
    service.runs.finish(run)
    key = f"{url}/runs/{run}/results.zarr/zarr.json"
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "range"}
    preflight = httpx.options(key, headers={"Origin": PORTAL, **asked})
    assert preflight.headers["access-control-allow-origin"] == PORTAL
    assert "range" in preflight.headers["access-control-allow-headers"].lower()
    read = httpx.get(key, headers={"Origin": PORTAL, "Range": "bytes=0-3"})
    assert (read.status_code, read.headers["access-control-allow-origin"]) == (206, PORTAL)
    assert {"ETag", "Content-Range"} <= set(read.headers["access-control-expose-headers"].split(", "))
    assert "access-control-allow-origin" not in httpx.get(key, headers={"Origin": STRANGER}).headers


def test_every_site_may_read_where_the_setting_says_so(tmp_path: Path, fake_service: Any, serve: Any) -> None:
    service = fake_service(tmp_path)
    service.settings = Settings(data_dir=tmp_path, cors_origins=("*",))
    with serve(create_app(service)) as url:
        assert httpx.get(f"{url}/api/v1/runs", headers={"Origin": STRANGER}).headers["access-control-allow-origin"] == "*"
        assert httpx.post(f"{url}/api/v1/datasets", json=BODY, headers={"Origin": STRANGER}).status_code == 403
