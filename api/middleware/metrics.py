"""Counters of the service in the text format of Prometheus."""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.execution.metrics import Snapshot
from service.records.views import RUN_STATES

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})

log = logging.getLogger(__name__)


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
            seconds = time.perf_counter() - start
            self.counts.add(method, route, status, seconds)
            is_quiet = status < 400 and method in ("GET", "HEAD")
            about = {"route": route, "status": status, "seconds": round(seconds, 4)}
            log.log(logging.DEBUG if is_quiet else logging.INFO, "%s %s", method, scope["path"], extra=about)


def measure_lines(measures: Snapshot) -> Iterable[str]:
    """Lines on what the service holds and does."""
    yield from head("ptyxas_runs", "gauge", "Runs by state.")
    for state in RUN_STATES:
        yield f'ptyxas_runs{{state="{state}"}} {measures.n_runs.get(state, 0)}'
    meter = measures.meter
    yield from head("ptyxas_units_total", "counter", "Units of work that came back, by stage and what became of them.")
    for (stage, fate), count in sorted(meter.units.copy().items()):
        yield f'ptyxas_units_total{{stage="{stage}",fate="{fate}"}} {count}'
    yield from head("ptyxas_stage_seconds_total", "counter", "Seconds workers spent computing, by stage.")
    for stage, seconds in sorted(meter.seconds.copy().items()):
        yield f'ptyxas_stage_seconds_total{{stage="{stage}"}} {seconds:.6f}'
    for name, value, text in (
        ("units_ready", meter.n_ready, "Units that wait for a slot."),
        ("units_in_flight", meter.n_in_flight, "Units handed to the cluster."),
        ("slots", measures.n_slots, "Units that can be computed at the same time."),
        ("scheduler_up", int(measures.is_connected), "Whether the Dask scheduler can be reached."),
        ("datasets", measures.n_datasets, "Datasets."),
        ("dataset_bytes", measures.n_dataset_bytes, "Bytes of all scans."),
        ("free_bytes", measures.n_free_bytes, "Free disk below the data folder."),
    ):
        yield from head(f"ptyxas_{name}", "gauge", text)
        yield f"ptyxas_{name} {value}"


def head(name: str, kind: str, text: str) -> Iterable[str]:
    """The two comment lines that introduce a metric."""
    return (f"# HELP {name} {text}", f"# TYPE {name} {kind}")
