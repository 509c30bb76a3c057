"""Health, readiness, versions and metrics."""

import re
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families


def test_health_readiness_and_version(client: httpx.Client, service: Any) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    assert client.get("/version").json()["ptyxas"]
    service.is_running = False
    refused = client.get("/readyz")
    assert (refused.status_code, refused.json()["detail"]) == (503, "not started")
    assert client.get("/healthz").status_code == 200


def test_the_dashboard_is_found(client: httpx.Client, service: Any) -> None:
    answer = client.get("/dask")
    assert (answer.status_code, answer.headers["location"]) == (307, service.dashboard_url)
    service.dashboard_url = None
    assert client.get("/dask").status_code == 503


def test_metrics_count_runs_and_requests_by_route(client: httpx.Client, run: dict[str, Any]) -> None:
    before = samples_of(client)
    client.get(f"/api/v1/runs/{run['id']}")
    client.get("/somewhere/else")
    samples = samples_of(client)
    assert samples['ptyxas_runs{state="queued"}'] == 1
    assert samples['ptyxas_runs{state="failed"}'] == 0
    assert samples["ptyxas_datasets"] == 1
    assert samples['ptyxas_units_total{fate="computed",stage="fit"}'] == 1
    assert samples['ptyxas_stage_seconds_total{stage="fit"}'] == 1.5
    assert samples["ptyxas_scheduler_up"] == 1
    assert samples["ptyxas_free_bytes"] > 0
    for route, status in (("get_run", 200), ("none", 404)):
        counter = f'ptyxas_http_requests_total{{method="GET",route="{route}",status="{status}"}}'
        assert samples[counter] == before.get(counter, 0) + 1
        seconds = f'ptyxas_http_seconds_total{{method="GET",route="{route}"}}'
        assert samples[seconds] > before.get(seconds, 0)
    assert not any(run["id"] in name or "_created" in name for name in samples)
    assert all(re.fullmatch(r"[a-z_]+(\{[^{}]*\})?", name) for name in samples)


def test_metrics_are_in_the_format_that_prometheus_reads(client: httpx.Client, run: dict[str, Any]) -> None:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert families["ptyxas_units"].type == "counter"
    assert families["ptyxas_runs"].type == "gauge"
    assert all(family.documentation for family in families.values())


def samples_of(client: httpx.Client) -> dict[str, float]:
    """Samples of the metrics, by name and labels."""
    lines = client.get("/metrics").text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}
