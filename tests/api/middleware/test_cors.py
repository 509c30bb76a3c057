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
def url(tmp_path: Path, fake_service: Any, serve: Any) -> Iterator[str]:
    service = fake_service(tmp_path)
    service.settings = Settings(data_dir=tmp_path, cors_origins=(PORTAL,))
    with serve(create_app(service)) as url:
        yield f"{url}/api/v1"


def test_pages_of_an_allowed_site_may_read_and_write(url: str) -> None:
    from_portal = {"headers": {"Origin": PORTAL}}
    for answer in (httpx.get(f"{url}/runs", **from_portal), httpx.post(f"{url}/datasets", json=BODY, **from_portal)):
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
