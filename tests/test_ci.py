"""The scripts and workflows of continuous integration, and the hooks that run before a commit."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = [ROOT / ".ci" / "run", ROOT / ".ci" / "lowest", *sorted((ROOT / "deploy").rglob("*.slurm"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def run(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    run(Path(sys.executable).with_name("shellcheck"), script)


@pytest.mark.parametrize("workflow", sorted((ROOT / ".github" / "workflows").iterdir()), ids=lambda path: path.name)
def test_workflows_follow_their_schema(workflow: Path) -> None:
    run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", workflow)


def test_the_workflow_tests_every_python_that_is_allowed() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    tested = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    allowed = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert [f"3.{minor}" for minor in range(30) if Version(f"3.{minor}") in allowed] == tested
    assert {f"Programming Language :: Python :: {version}" for version in tested} <= set(PROJECT["classifiers"])


def test_every_target_that_the_workflow_makes_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    made = re.findall(r"run: make (\w+)", (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert made
    assert set(made) <= targets


def test_hooks_run_the_tools_of_the_environment() -> None:
    run(sys.executable, "-m", "pre_commit", "validate-config")
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert local["repo"] == "local"
    assert {hook["id"] for hook in local["hooks"]} >= {"ruff-check", "ruff-format", "mypy"}
    for hook in local["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")


@pytest.mark.parametrize("text", PROJECT["dependencies"])
def test_every_dependency_has_a_lower_bound(text: str) -> None:
    assert [one.operator for one in Requirement(text).specifier] == [">="]
