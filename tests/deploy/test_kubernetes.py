import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from distributed.cli import dask_scheduler, dask_worker

from service.settings import Settings

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
VERSION = "1.33"
PASSWORD = "0a1b"


def built(folder: Path) -> list[Any]:
    """Objects of a kustomization as its resources have them, those of other kustomizations included."""
    found: list[Any] = []
    for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
        path = (folder / name).resolve()
        found += built(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    return found


@pytest.fixture(scope="module")
def objects() -> dict[tuple[str, str], Any]:
    return {(one["kind"], one["metadata"]["name"]): one for one in built(FOLDER / "gpu")}


def pods(objects: dict[tuple[str, str], Any]) -> dict[str, Any]:
    """The pod templates by the name of what makes them."""
    return {name: one["spec"]["template"] for (_, name), one in objects.items() if "template" in one["spec"]}


def containers(objects: dict[tuple[str, str], Any]) -> dict[str, Any]:
    """All containers as ``pods/container``."""
    return {f"{pod}/{one['name']}": one for pod, template in pods(objects).items() for one in template["spec"]["containers"]}


def test_every_file_belongs_to_a_kustomization() -> None:
    for folder in ("base", "gpu"):
        listed = yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text())["resources"]
        there = {path.name for path in (FOLDER / folder).glob("*.yaml")}
        assert there == {"kustomization.yaml", *(name for name in listed if not name.startswith(".."))}


def test_objects_follow_the_api(objects: dict[tuple[str, str], Any]) -> None:
    for one in objects.values():
        kubernetes_validate.validate(one, VERSION, strict=True)


def test_a_misplaced_field_would_be_found(objects: dict[tuple[str, str], Any]) -> None:
    worker = objects["Deployment", "ptyxas-worker"]
    wrong = {**worker, "spec": {**worker["spec"], "replica": 3}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed here; what it builds is read above")
def test_kustomize_builds_the_same_with_a_password_and_the_images_named(
    objects: dict[tuple[str, str], Any], tmp_path: Path
) -> None:
    copy = shutil.copytree(FOLDER, tmp_path / "kubernetes")
    (copy / "base" / "database.env").write_text(f"POSTGRES_PASSWORD={PASSWORD}\n")
    done = subprocess.run(["kubectl", "kustomize", copy / "gpu"], capture_output=True, text=True, timeout=60, check=True)
    made = list(yaml.safe_load_all(done.stdout))
    for one in made:
        kubernetes_validate.validate(one, VERSION, strict=True)
    (secret,) = [one for one in made if one["kind"] == "Secret"]
    assert {(one["kind"], one["metadata"]["name"]) for one in made if one is not secret} == set(objects)
    named = [line for line in done.stdout.splitlines() if f"name: {secret['metadata']['name']}" in line]
    assert len(named) == 3, "the secret itself, the service and the database"
    assert "image: ptyxas:0.1.0-gpu" in done.stdout


def test_selectors_find_their_pods(objects: dict[tuple[str, str], Any]) -> None:
    for (kind, name), one in objects.items():
        if "template" in one["spec"]:
            labels = one["spec"]["template"]["metadata"]["labels"].items()
            assert one["spec"]["selector"]["matchLabels"].items() <= labels, (kind, name)
            assert objects["NetworkPolicy", "ptyxas"]["spec"]["podSelector"]["matchLabels"].items() <= labels
    for service, expected in (("ptyxas-scheduler", "ptyxas"), ("ptyxas-database", "ptyxas-database")):
        served = objects["Service", service]["spec"]["selector"].items()
        assert [name for name, pod in pods(objects).items() if served <= pod["metadata"]["labels"].items()] == [expected]
    scaled = objects["HorizontalPodAutoscaler", "ptyxas-worker"]["spec"]["scaleTargetRef"]
    assert (scaled["kind"], scaled["name"]) in objects
    assert "replicas" not in objects[scaled["kind"], scaled["name"]]["spec"], "it would undo the scaling at every apply"


def test_pods_share_the_volume_and_have_no_rights(objects: dict[tuple[str, str], Any]) -> None:
    assert objects["PersistentVolumeClaim", "ptyxas-data"]["spec"]["accessModes"] == ["ReadWriteMany"]
    for name, template in pods(objects).items():
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        if name != "ptyxas-database":
            assert {"name": "data", "persistentVolumeClaim": {"claimName": "ptyxas-data"}} in pod["volumes"]
    for container in containers(objects).values():
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert "memory" in container["resources"]["limits"]


def test_the_service_listens_on_loopback_and_its_settings_are_valid(objects: dict[tuple[str, str], Any]) -> None:
    service = containers(objects)["ptyxas/service"]
    values = {one["name"]: one.get("value", PASSWORD).replace("$(PTYXAS_DATABASE_PASSWORD)", PASSWORD) for one in service["env"]}
    assert list(values).index("PTYXAS_DATABASE_PASSWORD") < list(values).index("PTYXAS_DATABASE_URL"), "else it is not expanded"
    given = {name.removeprefix("PTYXAS_").lower(): value for name, value in values.items() if "PASSWORD" not in name}
    settings = Settings(**given)
    assert settings.host == "127.0.0.1"
    assert settings.database_url == f"postgresql+psycopg://ptyxas:{PASSWORD}@ptyxas-database/ptyxas"
    assert "ports" not in service


@pytest.mark.parametrize("pod", ["ptyxas-worker", "ptyxas-gpu-worker"])
def test_dask_understands_the_command_lines_of_workers(objects: dict[tuple[str, str], Any], pod: str) -> None:
    worker = dask_worker.main.make_context("dask worker", containers(objects)[f"{pod}/worker"]["args"]).params
    assert worker["scheduler"] == "tcp://ptyxas-scheduler:8786"
    assert worker["nthreads"] == 1
    assert float(worker["death_timeout"].rstrip("s")) > 0
    assert worker["resources"] == ("GPU=1" if "gpu" in pod else None)


def test_dask_understands_the_command_line_of_the_scheduler(objects: dict[tuple[str, str], Any]) -> None:
    arguments = containers(objects)["ptyxas/scheduler"]["args"]
    assert dask_scheduler.main.make_context("dask scheduler", arguments).params["port"] == "8786"
