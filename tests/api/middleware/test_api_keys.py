"""API keys."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.access.credentials import secret_of
from api.app import create_app
from api.middleware.api_keys import scope_needed
from service.api_keys import Key, Scope, make_key, read_keys, write_keys
from service.settings import Settings

LOOKS = ("/", "/api/v1/runs", "/assets/page.js")
WHOLE = ("/metrics", "/dask")


def make_keys(path: Path, **scopes: Scope) -> dict[str, str]:
    """A file of one key a scope, and the secrets."""
    made = {name: (*make_key(), scope) for name, scope in scopes.items()}
    days = {"over": date(2020, 1, 1)}
    write_keys(path, [Key(digest, name, "p", scope, days.get(name)) for name, (_, digest, scope) in made.items()])
    return {name: secret for name, (secret, _, _) in made.items()}


@pytest.fixture
def locked(
    tmp_path: Path, fake_service: Any, serve: Callable[[Any], AbstractContextManager[str]]
) -> Iterator[tuple[str, dict[str, str], Path]]:
    """Address of a service that needs a key, the keys, and their file."""
    path = tmp_path / "keys"
    secrets = make_keys(path, reader="read", writer="write", admin="admin", over="admin")
    service = fake_service(tmp_path)
    service.settings = Settings(data_dir=tmp_path, api_keys_file=path, cors_origins=("https://portal.example",))
    with serve(create_app(service)) as url:
        yield url, secrets, path


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_nothing_is_told_without_a_key(locked: tuple[str, dict[str, str], Path], caplog: pytest.LogCaptureFixture) -> None:
    url, secrets, _ = locked
    caplog.set_level(logging.DEBUG)
    for path in (*LOOKS, *WHOLE, "/api/v1/runs/x/results.zarr/zarr.json", "/no/such/path"):
        refused = httpx.get(url + path)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorised"), path
        assert refused.headers["www-authenticate"].startswith("Basic")
    for secret in (secrets["admin"] + "x", secrets["over"], "Basic"):
        assert httpx.get(f"{url}/api/v1/runs", headers=bearer(secret)).status_code == 401
    assert httpx.get(f"{url}/healthz").status_code == 200
    assert not any(secret in caplog.text for secret in secrets.values())


def test_a_key_opens_as_bearer_or_password(locked: tuple[str, dict[str, str], Path]) -> None:
    url, secrets, _ = locked
    for path in LOOKS:
        assert httpx.get(url + path, headers=bearer(secrets["reader"])).status_code == 200
    assert httpx.get(f"{url}/", auth=("anyone", secrets["reader"])).status_code == 200


def test_a_key_opens_as_far_as_its_scope(locked: tuple[str, dict[str, str], Path]) -> None:
    url, secrets, _ = locked
    body = {"title": "t", "sample": {"formula": "LiVO2"}, "absorber": {"element": "V", "edge": "K"}}
    codes = {name: httpx.post(f"{url}/api/v1/datasets", json=body, headers=bearer(secrets[name])).status_code for name in secrets}
    assert codes == {"reader": 403, "writer": 201, "admin": 201, "over": 401}
    for path in WHOLE:
        codes = {name: httpx.get(url + path, headers=bearer(secrets[name])).status_code for name in secrets}
        assert codes == {"reader": 403, "writer": 403, "admin": 200 if path == "/metrics" else 307, "over": 401}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "ANYTHING"])
def test_whatever_is_no_reading_needs_write(method: str) -> None:
    assert scope_needed(method, "/api/v1/runs") == "write"


def test_a_revoked_key_opens_nothing_any_more(locked: tuple[str, dict[str, str], Path]) -> None:
    url, secrets, path = locked
    write_keys(path, [key for key in read_keys(path) if key.name != "reader"])
    assert httpx.get(f"{url}/api/v1/runs", headers=bearer(secrets["reader"])).status_code == 401
    assert httpx.get(f"{url}/api/v1/runs", headers=bearer(secrets["writer"])).status_code == 200
    path.write_text("damaged\n")
    assert httpx.get(f"{url}/api/v1/runs", headers=bearer(secrets["writer"])).status_code == 401


def test_a_page_of_an_allowed_site_may_ask_before_it_has_a_key(locked: tuple[str, dict[str, str], Path]) -> None:
    url, _, _ = locked
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    allowed = httpx.options(f"{url}/api/v1/runs", headers={"Origin": "https://portal.example", **asked})
    assert allowed.status_code == 200
    assert "Authorization" in allowed.headers["access-control-allow-headers"]
    refused = httpx.get(f"{url}/api/v1/runs", headers={"Origin": "https://portal.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://portal.example"


@pytest.mark.parametrize("header", ["", "Bearer", "Basic !!!", "Basic /w==", "Digest a=b", "Basic YQ=="])
def test_headers_without_a_key(header: str) -> None:
    assert secret_of(header) == ""


PAGE = {"Accept": "text/html"}


def test_a_browser_signs_in_with_a_key_and_goes_where_it_wanted(locked: tuple[str, dict[str, str], Path]) -> None:
    url, secrets, path = locked
    with httpx.Client(base_url=url, headers=PAGE, follow_redirects=True) as browser:
        form = browser.get("/?run=run_1")
        assert (form.status_code, form.url.path, form.url.params["next"]) == (200, "/sign-in", "/?run=run_1")
        assert browser.get("/assets/style.css").status_code == 200
        refused = browser.post("/sign-in", data={"key": secrets["over"], "next": "/"})
        assert (refused.status_code, "unknown, revoked or expired" in refused.text, dict(browser.cookies)) == (401, True, {})
        entered = browser.post("/sign-in", data={"key": secrets["writer"], "next": "/api/v1/runs"})
        assert (entered.status_code, entered.url.path) == (200, "/api/v1/runs")
        cookie = entered.history[0].headers["set-cookie"].lower()
        assert all(word in cookie for word in ("httponly", "samesite=lax", "path=/"))
        write_keys(path, [key for key in read_keys(path) if key.name != "writer"])
        assert browser.get("/api/v1/runs").url.path == "/sign-in"
        browser.post("/sign-in")
        assert dict(browser.cookies) == {}


def test_a_cookie_writes_only_for_pages_of_this_host(locked: tuple[str, dict[str, str], Path]) -> None:
    url, secrets, _ = locked
    body = {"title": "t", "sample": {"formula": "LiVO2"}, "absorber": {"element": "V", "edge": "K"}}

    def status(origin: dict[str, str]) -> int:
        cookie = {"Cookie": f"ptyxas-key={secrets['writer']}"}
        return httpx.post(f"{url}/api/v1/datasets", json=body, headers=cookie | origin).status_code

    assert status({"Origin": url}) == 201
    assert status({}) == 403
    assert status({"Origin": "https://elsewhere.example"}) == 403
    assert status({"Origin": "null"}) == 403
    assert status({"Origin": url, "Authorization": "Bearer wrong"}) == 401


@pytest.mark.parametrize(
    "address", ["//elsewhere.example", "https://elsewhere.example", "/\\\\elsewhere.example", "javascript:x", ""]
)
def test_a_sign_in_leads_nowhere_else(locked: tuple[str, dict[str, str], Path], address: str) -> None:
    url, secrets, _ = locked
    entered = httpx.post(f"{url}/sign-in", data={"key": secrets["reader"], "next": address})
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
