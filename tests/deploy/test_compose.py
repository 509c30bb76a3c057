import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from distributed.cli import dask_scheduler, dask_worker

from service.settings import Settings

COMPOSE = Path(__file__).resolve().parents[2] / "deploy" / "compose.yaml"


OURS = ("certificates", "service", "scheduler", "workers")
TLS = {"--tls-ca-file": "ptyxas-ca.pem", "--tls-cert": "ptyxas-certificate.pem", "--tls-key": "ptyxas-key.pem"}


@pytest.fixture
def services() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE.read_text())["services"])


def validate(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_compose_file_follows_the_specification() -> None:
    done = validate(COMPOSE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_misspelt_key_would_be_found(tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text().replace("depends_on:", "depend_on:"))
    assert validate(wrong).returncode != 0


def test_service_scheduler_and_workers_share_one_volume(services: dict[str, Any]) -> None:
    assert services.keys() == {*OURS, "database", "prometheus", "grafana"}
    assert {tuple(services[name]["volumes"]) for name in OURS} == {("data:/data",)}
    assert {name for name, one in services.items() if one.get("profiles") == ["monitoring"]} == {"prometheus", "grafana"}


def test_everything_listens_on_loopback_only(services: dict[str, Any]) -> None:
    for one in services.values():
        assert one["network_mode"] == "host"
        assert "ports" not in one
    assert services["service"]["environment"]["PTYXAS_HOST"] == "127.0.0.1"
    for name in ("scheduler", "workers", "database", "prometheus"):
        words = " ".join(services[name]["command"])
        assert re.search(r"--host=127.0.0.1|listen_addresses=127.0.0.1|listen-address=127.0.0.1", words), name
        assert set(re.findall(r"\d+\.\d+\.\d+\.\d+", words)) == {"127.0.0.1"}
    assert services["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"


def test_containers_have_no_more_rights_than_they_need(services: dict[str, Any]) -> None:
    for one in (services[name] for name in OURS):
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]


def test_dask_understands_its_command_lines(services: dict[str, Any], tmp_path: Path) -> None:
    for file in TLS.values():
        (tmp_path / file).touch()

    def parsed(command: click.Command, name: str) -> dict[str, Any]:
        words = [word.replace("/data/tls", str(tmp_path)) for word in services[name]["command"]]
        return command.make_context(name, [word.replace("${PTYXAS_WORKERS:--1}", "-1") for word in words]).params

    worker, scheduler = parsed(dask_worker.main, "workers"), parsed(dask_scheduler.main, "scheduler")
    assert (worker["scheduler"], worker["n_workers"], worker["nthreads"]) == ("tls://127.0.0.1:8786", "-1", 1)
    assert scheduler["port"] == "8786"
    for one in (worker, scheduler):
        assert one["protocol"] == "tls"
        assert {one[option[2:].replace("-", "_")]: file for option, file in TLS.items()} == {
            str(tmp_path / file): file for file in TLS.values()
        }


def test_the_certificates_are_made_once_before_anything_needs_them(services: dict[str, Any], tmp_path: Path) -> None:
    (script,) = services["certificates"]["command"]
    local = script.replace("/data/tls", str(tmp_path / "tls")).replace("ptyxas certs", f"{sys.executable} -m api.cli certs")
    for _ in range(2):
        subprocess.run([*services["certificates"]["entrypoint"], local], check=True, timeout=60, capture_output=True)
    assert {path.name for path in (tmp_path / "tls").iterdir()} == set(TLS.values())
    assert services["scheduler"]["depends_on"]["certificates"]["condition"] == "service_completed_successfully"


def test_settings_exist_and_are_valid(services: dict[str, Any]) -> None:
    environment = services["service"]["environment"]
    given = {name.removeprefix("PTYXAS_").lower(): value for name, value in environment.items()}
    assert given.keys() <= Settings.model_fields.keys()
    password = services["database"]["environment"]["POSTGRES_PASSWORD"]
    settings = Settings(**{name: value.replace(password, "0a1b") for name, value in given.items()})
    assert settings.scheduler == "tls://127.0.0.1:8786"
    assert settings.database_url == "postgresql+psycopg://ptyxas:0a1b@127.0.0.1:5433/ptyxas"
    assert services["database"]["environment"]["PGPORT"] == "5433"


def test_what_is_mounted_is_there(services: dict[str, Any]) -> None:
    mounted = [volume.split(":")[0] for name in ("prometheus", "grafana") for volume in services[name]["volumes"]]
    files = [COMPOSE.parent / path for path in mounted if path.startswith("./")]
    assert len(files) == 4
    assert [path for path in files if not path.is_file()] == []
