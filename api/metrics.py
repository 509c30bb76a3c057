"""Counters of the service in the text format of Prometheus."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
RUN_STATES: Final = ("queued", "running", "succeeded", "failed", "cancelled")


class HttpCounts:
    """Requests and seconds spent, by method, route and status; used from one event loop only."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.seconds: defaultdict[tuple[str, str], float] = defaultdict(float)

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """Record one answered request."""
        self.requests[method, route, status] += 1
        self.seconds[method, route] += seconds

    def lines(self) -> Iterable[str]:
        """Lines of the exposition."""
        yield from head("ptyxas_http_requests_total", "counter", "Requests answered.")
        for (method, route, status), count in sorted(self.requests.items()):
            yield f'ptyxas_http_requests_total{{method="{method}",route="{route}",status="{status}"}} {count}'
        yield from head("ptyxas_http_seconds_total", "counter", "Seconds spent answering.")
        for (method, route), seconds in sorted(self.seconds.items()):
            yield f'ptyxas_http_seconds_total{{method="{method}",route="{route}"}} {seconds:.6f}'


class HttpMeter:
    """ASGI middleware that counts answers; the route's name is the label, never the path asked for."""

    def __init__(self, app: ASGIApp, counts: HttpCounts) -> None:
        self.app = app
        self.counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 500

        async def send_metered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_metered)
        finally:
            method = scope["method"] if scope["method"] in METHODS else "other"
            route = getattr(scope.get("route"), "name", None) or "none"
            self.counts.add(method, route, status, time.perf_counter() - start)


def state_lines(n_runs: Mapping[Any, int], n_datasets: int, n_bytes: int) -> Iterable[str]:
    """Lines on what the service holds: runs by state, datasets, bytes of their scans."""
    yield from head("ptyxas_runs", "gauge", "Runs by state.")
    for state in RUN_STATES:
        yield f'ptyxas_runs{{state="{state}"}} {n_runs.get(state, 0)}'
    yield from head("ptyxas_datasets", "gauge", "Datasets.")
    yield f"ptyxas_datasets {n_datasets}"
    yield from head("ptyxas_dataset_bytes", "gauge", "Bytes of all scans as they were sent.")
    yield f"ptyxas_dataset_bytes {n_bytes}"


def head(name: str, kind: str, text: str) -> Iterable[str]:
    """The two comment lines that introduce a metric."""
    return (f"# HELP {name} {text}", f"# TYPE {name} {kind}")
