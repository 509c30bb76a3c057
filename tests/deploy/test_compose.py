import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from distributed.cli import dask_scheduler, dask_worker

from service.settings import Settings

COMPOSE = Path(__file__).resolve().parents[2] / "deploy" / "compose.yaml"


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
    assert services.keys() == {"service", "scheduler", "workers"}
    assert {tuple(one["volumes"]) for one in services.values()} == {("data:/data",)}


def test_everything_listens_on_loopback_only(services: dict[str, Any]) -> None:
    for one in services.values():
        assert one["network_mode"] == "host"
        assert "ports" not in one
    assert services["service"]["environment"]["PTYXAS_HOST"] == "127.0.0.1"
    words = " ".join(services["scheduler"]["command"] + services["workers"]["command"])
    addresses = re.findall(r"\d+\.\d+\.\d+\.\d+", words)
    assert addresses
    assert set(addresses) == {"127.0.0.1"}
    assert "--host 127.0.0.1" in words
    assert "--host=127.0.0.1" in words


def test_containers_have_no_more_rights_than_they_need(services: dict[str, Any]) -> None:
    for one in services.values():
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]


def test_dask_understands_its_command_lines(services: dict[str, Any]) -> None:
    workers = [word.replace("${PTYXAS_WORKERS:--1}", "-1") for word in services["workers"]["command"]]
    parsed = dask_worker.main.make_context("dask worker", workers)
    assert parsed.params["n_workers"] == "-1"
    assert parsed.params["nthreads"] == 1
    assert dask_scheduler.main.make_context("dask scheduler", services["scheduler"]["command"]).params["port"] == "8786"


def test_settings_exist_and_are_valid(services: dict[str, Any]) -> None:
    environment = services["service"]["environment"]
    names = {name.removeprefix("PTYXAS_").lower() for name in environment}
    assert names <= Settings.model_fields.keys()
    settings = Settings(**{name.removeprefix("PTYXAS_").lower(): value for name, value in environment.items()})
    assert settings.scheduler == "tcp://127.0.0.1:8786"
