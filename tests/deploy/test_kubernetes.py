import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from distributed.cli import dask_scheduler, dask_worker

from service.settings import Settings

MANIFEST = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes.yaml"
SCHEMA = Path(__file__).parent / "schemas" / "kubernetes-1.33.json"


@pytest.fixture
def objects() -> dict[tuple[str, str], Any]:
    found = list(yaml.safe_load_all(MANIFEST.read_text()))
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def validate(objects: list[Any], folder: Path) -> subprocess.CompletedProcess[str]:
    paths = []
    for i, one in enumerate(objects):
        paths.append(folder / f"{i}.yaml")
        paths[-1].write_text(yaml.safe_dump(one))
    command = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(SCHEMA), *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_objects_follow_the_api(objects: dict[tuple[str, str], Any], tmp_path: Path) -> None:
    done = validate(list(objects.values()), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_misplaced_field_would_be_found(objects: dict[tuple[str, str], Any], tmp_path: Path) -> None:
    worker = objects["Deployment", "ptyxas-worker"]
    worker["spec"]["template"]["spec"]["replicas"] = 3
    assert validate([worker], tmp_path).returncode != 0


def test_selectors_find_their_pods(objects: dict[tuple[str, str], Any]) -> None:
    pods = {name: one["spec"]["template"] for (kind, name), one in objects.items() if kind == "Deployment"}
    for name, template in pods.items():
        labels = template["metadata"]["labels"].items()
        assert objects["Deployment", name]["spec"]["selector"]["matchLabels"].items() <= labels
        assert objects["NetworkPolicy", "ptyxas"]["spec"]["podSelector"]["matchLabels"].items() <= labels
    served = objects["Service", "ptyxas-scheduler"]["spec"]["selector"].items()
    assert [name for name, template in pods.items() if served <= template["metadata"]["labels"].items()] == ["ptyxas"]


def test_pods_share_the_volume_and_have_no_rights(objects: dict[tuple[str, str], Any]) -> None:
    assert objects["PersistentVolumeClaim", "ptyxas-data"]["spec"]["accessModes"] == ["ReadWriteMany"]
    for (kind, _), one in objects.items():
        if kind != "Deployment":
            continue
        pod = one["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert {"name": "data", "persistentVolumeClaim": {"claimName": "ptyxas-data"}} in pod["volumes"]
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert "memory" in container["resources"]["limits"]


def test_the_service_listens_on_loopback_and_its_settings_are_valid(objects: dict[tuple[str, str], Any]) -> None:
    pod = objects["Deployment", "ptyxas"]["spec"]["template"]["spec"]
    service = next(container for container in pod["containers"] if container["name"] == "service")
    values = {entry["name"].removeprefix("PTYXAS_").lower(): entry["value"] for entry in service["env"]}
    settings = Settings(**values)
    assert settings.host == "127.0.0.1"
    assert "ports" not in service


def test_dask_understands_its_command_lines(objects: dict[tuple[str, str], Any]) -> None:
    containers = [
        container
        for (kind, _), one in objects.items()
        if kind == "Deployment"
        for container in one["spec"]["template"]["spec"]["containers"]
    ]
    arguments = {container["name"]: container["args"] for container in containers}
    worker = dask_worker.main.make_context("dask worker", arguments["worker"]).params
    assert worker["scheduler"] == "tcp://ptyxas-scheduler:8786"
    assert worker["nthreads"] == 1
    assert dask_scheduler.main.make_context("dask scheduler", arguments["scheduler"]).params["port"] == "8786"
