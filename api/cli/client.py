"""A client of the service over HTTP, for the command line and for scripts."""

import base64
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from service.errors import FieldError, ServiceError
from service.settings import LOOPBACK_HOSTS

PREFIX: Final = "/api/v1"
BLOCK_BYTES: Final = 1 << 20
RECONNECT_S: Final = 1.0
STREAM_TIMEOUT_S: Final = 60.0
"""The service sends something at least every 15 s [s]."""


class RefusedError(ServiceError, RuntimeError):
    """The service answered with a problem; ``faults`` names the fields at fault."""

    def __init__(self, code: str, detail: str, faults: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail)
        self.code = code
        self.faults = faults


class UnreachableError(ServiceError, ConnectionError):
    """No service answers at the address."""


def found_token(url: str) -> str | None:
    """The token of a service on this machine, from its data folder, where this user may read it."""
    if urlsplit(url).hostname not in LOOPBACK_HOSTS:
        return None
    try:
        return (Path(os.environ.get("PTYXAS_DATA_DIR", "ptyxas-data")) / "token").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None


class Client:
    """A client of the service at ``url``, which sends an API key if one is given, or the token of a service on this machine."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = url.rstrip("/")
        secret = key or found_token(self.url)
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=httpx.Timeout(30.0, read=660.0))

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.close()

    def call(self, method: str, path: str, **sent: Any) -> dict[str, Any]:
        """Send one request and return its JSON answer, empty if there is none; ``sent`` are arguments of `httpx.Client.request`.

        Raises
        ------
        RefusedError
            The service answered with a problem.
        UnreachableError
            No service answered.
        """
        response = self._send(method, path, **sent)
        answer: dict[str, Any] = response.json() if response.content else {}
        return answer

    def read(self, path: str) -> bytes:
        """The bytes of a file that the service serves.

        Raises
        ------
        RefusedError, UnreachableError
        """
        return self._send("GET", path).content

    def save(self, path: str, file: Path, **sent: Any) -> int:
        """Write to ``file`` what the service sends, as it comes; returns the number of bytes.

        Raises
        ------
        RefusedError, UnreachableError
        """
        try:
            with self._http.stream("GET", PREFIX + path, **sent) as response, file.open("wb") as target:
                if response.is_error:
                    response.read()
                    raise refusal(response)
                return sum(target.write(block) for block in response.iter_bytes(BLOCK_BYTES))
        except httpx.TransportError as error:
            raise UnreachableError(f"no service answers at {self.url}: {error}") from error

    def items(self, path: str, limit: int) -> list[dict[str, Any]]:
        """The newest items of a list, at most ``limit``."""
        found: list[dict[str, Any]] = self.call("GET", path, params={"limit": limit})["items"]
        return found

    def every(self, path: str) -> Iterator[dict[str, Any]]:
        """All items of a list, newest first, page by page."""
        sent: dict[str, Any] = {"limit": 100}
        while True:
            page = self.call("GET", path, params=sent)
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            sent["cursor"] = page["next_cursor"]

    def dataset(self, dataset_id: str) -> dict[str, Any]:
        """The present state of a dataset."""
        return self.call("GET", f"/datasets/{dataset_id}")

    def _send(self, method: str, path: str, **sent: Any) -> httpx.Response:
        try:
            response = self._http.request(method, PREFIX + path, **sent)
        except httpx.TransportError as error:
            raise UnreachableError(f"no service answers at {self.url}: {error}") from error
        if response.is_error:
            raise refusal(response)
        return response

    def create_dataset(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Create an open dataset."""
        return self.call("POST", "/datasets", json=dict(spec))

    def put_scan(
        self, dataset_id: str, path: Path, name: str | None = None, on_bytes: Callable[[int], None] = lambda n: None
    ) -> dict[str, Any]:
        """Send a file with its digest; ``on_bytes`` is called with the size of each block sent."""
        with path.open("rb") as file:
            digest = base64.b64encode(hashlib.file_digest(file, "sha256").digest()).decode()
        headers = {"Content-Digest": f"sha-256=:{digest}:", "Content-Length": str(path.stat().st_size)}
        url = f"/datasets/{dataset_id}/scans/{name or path.name}"
        return self.call("PUT", url, content=blocks(path, on_bytes), headers=headers)

    def seal(self, dataset_id: str) -> dict[str, Any]:
        """Seal a dataset, which then takes no more scans."""
        return self.call("POST", f"/datasets/{dataset_id}/seal")

    def submit(self, dataset_ids: list[str], options: Mapping[str, Any], name: str = "") -> dict[str, Any]:
        """Start a run."""
        return self.call("POST", "/runs", json={"datasets": dataset_ids, "options": dict(options), "name": name})

    def run(self, run_id: str) -> dict[str, Any]:
        """The present state of a run."""
        return self.call("GET", f"/runs/{run_id}")

    def follow(self, run_id: str) -> Iterator[dict[str, Any]]:
        """Yield the events of a run until it ends, across interruptions and restarts of the service; the last is ``end``.

        While no service answers, an event ``interrupted`` is yielded each second.
        """
        last = "0"
        while True:
            try:
                for event in self._events(run_id, last):
                    last = event.get("id", last)
                    yield event["data"] | {"kind": event["event"]}
                    if event["event"] == "end":
                        return
            except httpx.TransportError as error:
                yield {"kind": "interrupted", "text": str(error)}
                time.sleep(RECONNECT_S)

    def _events(self, run_id: str, last: str) -> Iterator[dict[str, Any]]:
        headers = {"Last-Event-ID": last}
        path = f"{PREFIX}/runs/{run_id}/events"
        with self._http.stream("GET", path, headers=headers, timeout=STREAM_TIMEOUT_S) as response:
            if response.is_error:
                response.read()
                raise refusal(response)
            fields: dict[str, Any] = {}
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if line and name:
                    fields[name] = json.loads(value) if name == "data" else value
                elif not line and "data" in fields:
                    yield fields
                fields = fields if line else {}


def blocks(path: Path, on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    """Yield the file at ``path`` in blocks."""
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block
            on_bytes(len(block))


def refusal(response: httpx.Response) -> ServiceError:
    """The problem in an answer, as an error."""
    try:
        problem = response.json()
        faults = tuple(FieldError(**fault) for fault in problem["errors"])
        return RefusedError(problem["code"], problem["detail"], faults)
    except (ValueError, KeyError, TypeError):
        return RefusedError("unknown", f"{response.status_code} {response.reason_phrase} from {response.url}")
