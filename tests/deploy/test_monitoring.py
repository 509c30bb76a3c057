"""The monitoring profile of compose: Prometheus reads what the service tells, and the dashboard shows nothing else."""

import json
import re
from pathlib import Path

import yaml

from api.middleware.metrics import HttpMetrics, exposition
from service.execution.metrics import Metrics, Snapshot

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "monitoring"


def told() -> set[str]:
    """Names of all metrics of a service."""
    metrics, http = Metrics(), HttpMetrics()
    metrics.note("fit", "computed", 1.0)
    http.add("GET", "list_runs", 200, 0.1)
    snapshot = Snapshot({"running": 1}, 3, 4, 5, 2, True, metrics)
    lines = exposition(snapshot, http).decode().splitlines()
    return {re.split(r"[{ ]", line)[0] for line in lines if not line.startswith("#")}


def test_the_dashboard_shows_metrics_that_the_service_has() -> None:
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    shown = {name for panel in panels for target in panel["targets"] for name in re.findall(r"ptyxas_\w+", target["expr"])}
    assert shown <= told()
    assert shown >= {name for name in told() if name.startswith("ptyxas_units") or name == "ptyxas_runs"}
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_the_dashboard_reads_the_source_that_is_provisioned() -> None:
    (source,) = yaml.safe_load((FOLDER / "grafana-datasource.yaml").read_text())["datasources"]
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    assert source["url"] == "http://127.0.0.1:9090"


def test_prometheus_reads_the_service_with_its_token() -> None:
    (job,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["authorization"]["credentials_file"] == "/data/token"
    assert job["static_configs"] == [{"targets": ["127.0.0.1:8000"]}]
