"""A client of ptyxas over HTTP, for notebooks, scripts and the command line: ``ptyxas.connect()``."""

from __future__ import annotations

import base64
import glob
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx

if TYPE_CHECKING:
    import xarray as xr

PREFIX: Final = "/api/v1"
LOCAL: Final = "http://127.0.0.1:8000"
HINT: Final = "is it started (ptyxas serve), and is this its address (--url, PTYXAS_URL)?"
LOOPBACK_HOSTS: Final = ("127.0.0.1", "::1", "localhost")
BLOCK_BYTES: Final = 1 << 20
RECONNECT_S: Final = 1.0
STREAM_TIMEOUT_S: Final = 60.0
"""The service sends something at least every 15 s [s]."""
PASSING: Final = (429, 502, 503, 504, 507)
"""Statuses of refusals that may be over later: the service's, or those of a proxy before it."""


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field of a request."""

    field: str
    message: str


class PtyxasError(Exception):
    """Root of this module's errors."""


class RefusedError(PtyxasError, RuntimeError):
    """The service answered with a problem; ``faults`` names the fields at fault, ``may_pass`` says if it may be over later."""

    def __init__(self, code: str, detail: str, faults: tuple[FieldError, ...] = (), may_pass: bool = False) -> None:
        super().__init__(detail)
        self.code, self.faults, self.may_pass = code, faults, may_pass


class UnreachableError(PtyxasError, ConnectionError):
    """No service answers at the address."""


class RunEndedError(PtyxasError, RuntimeError):
    """A run ended without results: it failed or was cancelled."""


def connect(url: str | None = None, key: str | None = None) -> Client:
    """A client of the service at ``url``.

    Parameters
    ----------
    url : str, optional
        Its own, its API's or its page's; by default the environment's ``PTYXAS_URL``, else a service on this machine.
    key : str, optional
        API key, by default the environment's ``PTYXAS_API_KEY``; ``ValueError`` where no header can hold it.
    """
    return Client(url or os.environ.get("PTYXAS_URL", LOCAL), key or os.environ.get("PTYXAS_API_KEY"))


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
        self.url = re.split("[?#]", url)[0].rstrip("/").removesuffix(PREFIX)
        if key and not re.fullmatch("[!-~]+", key):
            raise ValueError("an API key holds ASCII letters, digits and punctuation only: was it copied whole, and alone?")
        secret = key or found_token(self.url)
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=httpx.Timeout(30.0, read=660.0))

    def __enter__(self) -> Client:
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
        with self._stream(method, path, **sent) as response:
            content = response.read()
        return dict(json.loads(content)) if content else {}

    def read(self, path: str) -> bytes:
        """The bytes of a file that the service serves; errors are those of `call`."""
        with self._stream("GET", path) as response:
            return response.read()

    def save(self, path: str, file: Path, **sent: Any) -> int:
        """Write to ``file`` what the service sends, as it comes; returns the number of bytes. Errors are those of `call`."""
        with self._stream("GET", path, **sent) as response, file.open("wb") as target:
            return sum(target.write(block) for block in response.iter_bytes(BLOCK_BYTES))

    def items(self, path: str, limit: int, **query: str | None) -> list[dict[str, Any]]:
        """The newest items of a list, at most ``limit``, to which ``query`` (q, element, group, state, ...) applies."""
        given = {name: value for name, value in query.items() if value is not None}
        found: list[dict[str, Any]] = self.call("GET", path, params={"limit": limit, **given})["items"]
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

    @contextmanager
    def _stream(self, method: str, path: str, **sent: Any) -> Iterator[httpx.Response]:
        """The answer to a request, which is still to be read; errors are those of `call`."""
        try:
            with self._http.stream(method, PREFIX + path, **sent) as response:
                if response.is_error:
                    response.read()
                    raise refusal(response)
                yield response
        except httpx.TransportError as error:
            raise UnreachableError(f"no service answers at {self.url} ({error}): {HINT}") from error

    def create_dataset(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Create an open dataset."""
        return self.call("POST", "/datasets", json=dict(spec))

    def put_scan(
        self, dataset_id: str, path: Path, name: str | None = None, on_bytes: Callable[[int], None] = lambda n: None
    ) -> dict[str, Any]:
        """Send a file as a scan, by its own name (`scan_name`) or another; ``on_bytes`` is told the size of each block sent."""
        with path.open("rb") as file:
            digest = base64.b64encode(hashlib.file_digest(file, "sha256").digest()).decode()
        headers = {"Content-Digest": f"sha-256=:{digest}:", "Content-Length": str(path.stat().st_size)}
        url = f"/datasets/{dataset_id}/scans/{name or scan_name(path.name)}"
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

    def create(
        self,
        title: str,
        *,
        formula: str,
        element: str,
        edge: str = "K",
        name: str | None = None,
        group: str = "",
        probe: Mapping[str, Any] | None = None,
        **described: Any,
    ) -> str:
        """Create an open dataset and return its id.

        Parameters
        ----------
        title, formula, element, edge : str
            What it is called, the specimen's formula, and the absorption edge that was measured.
        name : str, optional
            Name of the sample; the title where not given.
        group : str
            Samples of one group are compared with those of others.
        probe : mapping, optional
            ``{"kind": "kb", "fwhm_m": 3e-7}`` and the like; a default probe where not given.
        **described
            Anything else that ``POST /datasets`` takes: ``distance_m``, ``detector_pixel_size_m``, ``orientation``, ``kind`` ...
        """
        sample = {"name": name or title, "formula": formula, "group": group}
        spec = {"title": title, "sample": sample, "absorber": {"element": element, "edge": edge}, **described}
        return str(self.create_dataset(spec | ({"probe": dict(probe)} if probe else {}))["id"])

    def upload(self, dataset_id: str, files: str | Iterable[str | Path], *, seal: bool = True) -> dict[str, Any]:
        """Send scan files, one per energy, seal the dataset, and return its state.

        Parameters
        ----------
        dataset_id : str
        files : str or iterable of paths
            A text is a pattern such as ``scans/*.cxi``.
        seal : bool
            False leaves the dataset open for more scans; a run on it is live.

        Raises
        ------
        FileNotFoundError
            No file is meant.
        RefusedError, UnreachableError
        """
        paths = [Path(file) for file in (sorted(glob.glob(files)) if isinstance(files, str) else files)]
        if not paths:
            raise FileNotFoundError(f"there are no files to upload: {files!r} means none")
        for path in paths:
            self.put_scan(dataset_id, path)
        return self.seal(dataset_id) if seal else self.dataset(dataset_id)

    def register(self, path: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Create a dataset of a file or folder that the service reads in place; ``spec`` as `create_dataset` takes it."""
        return self.call("POST", "/datasets/register", json={**spec, "path": path})

    def keep_reference(self, name: str, file: str | Path) -> list[dict[str, Any]]:
        """Keep the spectra of a file (XDI, Athena, columns) for the project; runs name them in ``references.names``."""
        return list(self.call("PUT", f"/references/{name}", content=Path(file).read_bytes())["items"])

    def watch(self, run_id: str, show: Callable[[str], object] = print) -> dict[str, Any]:
        """Follow a run to its end, telling of each tenth of its way by ``show``, and return it.

        Raises
        ------
        RunEndedError
            It failed or was cancelled.
        """
        shown = -1
        for event in self.follow(run_id):
            tenth = int(10 * (event.get("progress") or 0))
            if tenth > shown:
                shown = tenth
                show(f"{run_id}: {10 * tenth} %")
        run = self.run(run_id)
        if run["state"] != "succeeded":
            raise RunEndedError(f"run {run_id} has {run['state']}: {run.get('error') or 'it was cancelled'}")
        return run

    def results(self, run_id: str) -> xr.DataTree:
        """The published results of a run, which are read over HTTP as they are used; `load` reads all of a part."""
        import xarray as xr

        store = f"/runs/{run_id}/results.zarr"
        self.read(f"{store}/zarr.json")  # says why there are none; xarray would find no file
        secret = self._http.headers.get("authorization")
        options: dict[str, Any] = {"storage_options": {"client_kwargs": {"headers": {"Authorization": secret}}}} if secret else {}
        return xr.open_datatree(f"{self.url}{PREFIX}{store}", engine="zarr", **options)

    def figures(self, run_id: str, folder: str | Path, file_format: str = "png") -> list[Path]:
        """Copy the figures of a run, as ``png``, ``pdf`` or ``svg`` files, into a folder; returns their paths."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        files = []
        for figure in self.call("GET", f"/runs/{run_id}/figures")["items"]:
            files.append(target / f"{Path(figure['name']).name}.{file_format}")
            files[-1].write_bytes(self.read(f"/runs/{run_id}/figures/{figure['name']}.{file_format}"))
        return files

    def delete(self, item_id: str) -> None:
        """Delete a dataset or a run, by its id."""
        self.call("DELETE", f"/{'runs' if item_id.startswith('run_') else 'datasets'}/{item_id}")

    def follow(self, run_id: str) -> Iterator[dict[str, Any]]:
        """Yield the events of a run until it ends, across interruptions and restarts of the service; the last is ``end``.

        While no service answers, or it refuses for the time being, an event ``interrupted`` is yielded each second.
        """
        last = "0"
        while True:
            try:
                for event in self._events(run_id, last):
                    last = event.get("id", last)
                    yield event["data"] | {"kind": event["event"]}
                    if event["event"] == "end":
                        return
            except (UnreachableError, RefusedError) as error:
                if isinstance(error, RefusedError) and not error.may_pass:
                    raise
                yield {"kind": "interrupted", "text": str(error)}
                time.sleep(RECONNECT_S)

    def _events(self, run_id: str, last: str) -> Iterator[dict[str, Any]]:
        sent = {"headers": {"Last-Event-ID": last}, "timeout": STREAM_TIMEOUT_S}
        with self._stream("GET", f"/runs/{run_id}/events", **sent) as response:
            fields: dict[str, Any] = {}
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if line and name:
                    fields[name] = json.loads(value) if name == "data" else value
                elif not line and "data" in fields:
                    yield fields
                fields = fields if line else {}


def scan_name(path: str) -> str:
    """Name of a file as a scan: its path, or the last 128 characters of that, with "_" for what no scan's name may hold.

    A name begins with a letter or a digit, so what comes before the first is left out.
    """
    return re.sub(r"[^A-Za-z0-9._-]", "_", path)[-128:].lstrip("._-") or "scan"


def blocks(path: Path, on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    """Yield the file at ``path`` in blocks."""
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block
            on_bytes(len(block))


def refusal(response: httpx.Response) -> RefusedError:
    """The problem in an answer, as an error."""
    may_pass = response.status_code in PASSING
    try:
        problem = response.json()
        faults = tuple(FieldError(**fault) for fault in problem["errors"])
        return RefusedError(problem["code"], problem["detail"], faults, may_pass)
    except (ValueError, KeyError, TypeError):
        return RefusedError("unknown", f"{response.status_code} {response.reason_phrase} from {response.url}", (), may_pass)
