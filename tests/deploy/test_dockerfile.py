import subprocess
import sys
from pathlib import Path

import pytest
from image_file import DOCKERFILE, instructions

from service.execution.dask.embedded import SCHEDULER_SETTINGS
from service.execution.dask.task import WORKER_ENVIRONMENT

ROOT = DOCKERFILE.parents[1]


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_would_have_something_to_say(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text(DOCKERFILE.read_text().replace("FROM python:3.13-slim-bookworm\n", "FROM python:latest\n"))
    hadolint = Path(sys.executable).with_name("hadolint")
    assert subprocess.run([hadolint, bad], capture_output=True, timeout=60, check=False).returncode != 0


def test_the_image_is_small_unprivileged_and_watched() -> None:
    names = [name for name, _ in instructions()]
    assert names.count("FROM") == 2
    last_stage = instructions()[len(names) - 1 - names[::-1].index("FROM") :]
    users = [value for name, value in last_stage if name == "USER"]
    assert users
    assert users[-1].split(":")[0] not in {"root", "0"}
    assert [name for name, _ in last_stage].count("HEALTHCHECK") == 1
    assert not any("pip install" in value for name, value in last_stage if name == "RUN")


def test_what_is_copied_exists_and_is_let_through() -> None:
    let_through = {line[1:] for line in (ROOT / "deploy/Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    for name, value in instructions():
        if name == "COPY" and "--from" not in value:
            for source in value.split()[:-1]:
                assert source in let_through
                assert (ROOT / source).exists(), source


def test_versions_are_those_that_were_tested() -> None:
    (install,) = [value for name, value in instructions() if name == "RUN" and "pip install" in value]
    assert "-c constraints.txt" in install


@pytest.mark.parametrize("name", ["Dockerfile", "ptyxas.slurm"])
def test_workers_compute_in_one_thread(name: str) -> None:
    text = DOCKERFILE.with_name(name).read_text().replace('"', "")
    assert [f"{key}={value}" for key, value in WORKER_ENVIRONMENT.items() if f"{key}={value}" not in text] == []


@pytest.mark.parametrize("name", ["Dockerfile", "ptyxas.slurm"])
def test_ready_tasks_wait_with_the_scheduler_as_they_do_in_the_embedded_one(name: str) -> None:
    text = DOCKERFILE.with_name(name).read_text()
    for setting, value in SCHEDULER_SETTINGS.items():
        if "rootish" in setting:
            variable = f"DASK_{setting.upper().replace('.', '__').replace('-', '_')}"
            assert f"{variable}={value:.0f}" in text
