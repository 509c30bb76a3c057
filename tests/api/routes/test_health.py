"""For those who watch over the service."""

import re

import httpx


def test_health_readiness_and_version(client: httpx.Client, service) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    assert client.get("/version").json()["ptyxas"]
    service.is_running = False
    refused = client.get("/readyz")
    assert (refused.status_code, refused.json()["detail"]) == (503, "not started")
    assert client.get("/healthz").status_code == 200


def test_the_dashboard_is_found(client: httpx.Client, service) -> None:
    answer = client.get("/dask")
    assert (answer.status_code, answer.headers["location"]) == (307, service.dashboard_url)
    service.dashboard_url = None
    assert client.get("/dask").status_code == 503


def test_metrics_count_runs_and_requests_by_route(client: httpx.Client, run: dict) -> None:
    client.get(f"/api/v1/runs/{run['id']}")
    client.get("/somewhere/else")
    text = client.get("/metrics").text
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert samples['ptyxas_runs{state="queued"}'] == "1"
    assert samples["ptyxas_datasets"] == "1"
    assert samples['ptyxas_units_total{stage="fit",fate="computed"}'] == "1"
    assert samples['ptyxas_stage_seconds_total{stage="fit"}'] == "1.500000"
    assert samples["ptyxas_scheduler_up"] == "1"
    assert float(samples["ptyxas_free_bytes"]) > 0
    assert samples['ptyxas_http_requests_total{method="GET",route="get_run",status="200"}'] == "1"
    assert samples['ptyxas_http_requests_total{method="GET",route="none",status="404"}'] == "1"
    assert run["id"] not in text
    assert all(re.fullmatch(r"[a-z_]+(\{[^{}]*\})?", name) for name in samples)
