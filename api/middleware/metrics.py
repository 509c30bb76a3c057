"""Metrics of the service in the text format of Prometheus."""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.execution.metrics import Snapshot
from service.records.views import RUN_STATES

METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})

Labels = TypeVar("Labels", bound=tuple[str, ...])

log = logging.getLogger(__name__)


class HttpMetrics(Collector):
    """Requests answered and seconds spent on them, by method, route and status; changed in one event loop only."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.seconds: defaultdict[tuple[str, str], float] = defaultdict(float)

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.requests[method, route, str(status)] += 1
        self.seconds[method, route] += seconds

    def collect(self) -> Iterable[Metric]:
        """The two counters."""
        yield counter("http_requests", "Requests answered.", ("method", "route", "status"), self.requests.copy())
        yield counter("http_seconds", "Seconds spent answering.", ("method", "route"), self.seconds.copy())


class HttpMetricsMiddleware:
    """ASGI middleware that counts and logs answers; the label is the route's name, never the path that was asked for."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 500

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_noting_status)
        finally:
            method = scope["method"] if scope["method"] in METHODS else "other"
            route = getattr(scope.get("route"), "name", None) or "none"
            seconds = time.perf_counter() - start
            self.metrics.add(method, route, status, seconds)
            is_quiet = status < 400 and method in ("GET", "HEAD")
            about = {"route": route, "status": status, "seconds": round(seconds, 4)}
            log.log(logging.DEBUG if is_quiet else logging.INFO, "%s %s", method, scope["path"], extra=about)


class SnapshotCollector(Collector):
    """The metrics of one `Snapshot` of the service."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        """Every metric of the snapshot."""
        snapshot, metrics = self._snapshot, self._snapshot.metrics
        runs = GaugeMetricFamily("ptyxas_runs", "Runs by state.", labels=("state",))
        for state in RUN_STATES:
            runs.add_metric((state,), snapshot.n_runs.get(state, 0))
        yield runs
        yield counter("units", "Steps of runs that ended, by stage and outcome.", ("stage", "fate"), metrics.steps.copy())
        seconds = {(stage,): n_seconds for stage, n_seconds in metrics.seconds.copy().items()}
        yield counter("stage_seconds", "Seconds workers spent computing, by stage.", ("stage",), seconds)
        for name, value, text in (
            ("units_ready", metrics.n_ready, "Steps that wait for a worker."),
            ("units_in_flight", metrics.n_running, "Steps that workers have begun."),
            ("slots", snapshot.n_slots, "Steps that can be computed at the same time."),
            ("scheduler_up", int(snapshot.is_connected), "Whether the Dask scheduler can be reached."),
            ("datasets", snapshot.n_datasets, "Datasets."),
            ("dataset_bytes", snapshot.n_dataset_bytes, "Bytes of all scans."),
            ("free_bytes", snapshot.n_free_bytes, "Free disk below the data folder."),
        ):
            yield GaugeMetricFamily(f"ptyxas_{name}", text, value=value)


def counter(name: str, text: str, labels: tuple[str, ...], values: Mapping[Labels, float]) -> CounterMetricFamily:
    """A counter with one sample for each combination of label values."""
    family = CounterMetricFamily(f"ptyxas_{name}", text, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def exposition(snapshot: Snapshot, http: HttpMetrics) -> bytes:
    """The metrics of the service and of its HTTP server in the text format of Prometheus."""
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(snapshot))
    registry.register(http)
    return generate_latest(registry)
