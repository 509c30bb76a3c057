"""API keys."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.app import create_app
from api.keys import key_of
from service.keys import digest_of, make_key
from service.settings import Settings


@pytest.fixture
def locked(tmp_path: Path, fake_service, serve) -> Iterator[tuple[str, str]]:
    """Address of a service that needs a key, and the key."""
    key, digest = make_key()
    keys = tmp_path / "keys"
    keys.write_text(f"# who may ask\n\n{digest_of('another')} someone else\n{digest}  beamline\n")
    service = fake_service(tmp_path)
    service.settings = Settings(data_dir=tmp_path, api_keys_file=keys)
    with serve(create_app(service)) as url:
        yield url, key


def test_nothing_is_told_without_a_key(locked: tuple[str, str]) -> None:
    url, key = locked
    for path in ("/", "/api/v1/runs", "/metrics", "/assets/style.css", "/api/v1/runs/x/results.zarr/zarr.json"):
        refused = httpx.get(url + path)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorised"), path
        assert refused.headers["www-authenticate"].startswith("Basic")
    assert httpx.get(f"{url}/api/v1/runs", headers={"Authorization": f"Bearer {key}x"}).status_code == 401
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_a_key_opens_as_bearer_or_password(locked: tuple[str, str]) -> None:
    url, key = locked
    assert httpx.get(f"{url}/api/v1/runs", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    assert httpx.get(f"{url}/", auth=("anyone", key)).status_code == 200


@pytest.mark.parametrize("header", ["", "Bearer", "Basic !!!", "Basic /w==", "Digest a=b", "Basic YQ=="])
def test_headers_without_a_key(header: str) -> None:
    assert key_of(header) == ""
