import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
from distributed.cli import dask_scheduler, dask_worker

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
UNIT = DEPLOY / "ptyxas.service"
HARDENING = (
    "NoNewPrivileges",
    "ProtectHome",
    "PrivateTmp",
    "ProtectKernelTunables",
    "ProtectKernelModules",
    "ProtectControlGroups",
    "RestrictSUIDSGID",
    "LockPersonality",
)


def read(path: Path) -> configparser.RawConfigParser:
    """The sections of a unit; of a directive that is repeated, the last value."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(path.read_text().replace("\\\n", " "))
    return parser


@pytest.fixture
def unit() -> configparser.RawConfigParser:
    return read(UNIT)


def test_the_unit_starts_the_service_and_keeps_its_data(unit: configparser.RawConfigParser) -> None:
    assert unit.sections() == ["Unit", "Service", "Install"]
    assert unit["Service"]["ExecStart"] == "/opt/ptyxas/bin/ptyxas serve"
    assert unit["Service"]["StateDirectory"] == "ptyxas"
    assert unit["Service"]["Restart"] == "on-failure"
    assert "Environment=PTYXAS_DATA_DIR=/var/lib/ptyxas\n" in UNIT.read_text()
    assert unit["Install"]["WantedBy"] == "multi-user.target"


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_the_units_give_up_rights(path: Path) -> None:
    service = read(path)["Service"]
    assert [directive for directive in HARDENING if service.get(directive) != "yes"] == []
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    assert service.get("DynamicUser") == "yes" or service["User"] == "ptyxas"


def test_dask_understands_the_command_lines(tmp_path: Path) -> None:
    for name in ("ca", "certificate", "key"):
        (tmp_path / f"ptyxas-{name}.pem").touch()

    def parsed(command: click.Command, name: str) -> dict[str, Any]:
        line = read(DEPLOY / name)["Service"]["ExecStart"].replace("%i", "16").replace("/etc/ptyxas", str(tmp_path))
        return command.make_context(name, shlex.split(line.replace("${PTYXAS_SCHEDULER}", "tls://a:1"))[2:]).params

    worker = parsed(dask_worker.main, "ptyxas-worker@.service")
    assert (worker["n_workers"], worker["nthreads"], worker["scheduler"]) == ("16", 1, "tls://a:1")
    assert worker["tls_key"] == parsed(dask_scheduler.main, "ptyxas-scheduler.service")["tls_key"]


def test_workers_that_leave_are_started_again_for_ever() -> None:
    unit = read(DEPLOY / "ptyxas-worker@.service")
    assert (unit["Service"]["Restart"], unit["Unit"]["StartLimitIntervalSec"]) == ("always", "0")
    assert "--death-timeout" in unit["Service"]["ExecStart"], "else a worker without its scheduler waits for ever"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_understands_every_line(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / path.name.replace("@", "@16")
    # the program is installed nowhere here, and systemd insists on one
    copy.write_text(re.sub(r"/opt/ptyxas/bin/\w+", "/bin/true", path.read_text()))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=60, check=False)
    complaints = [line for line in done.stderr.splitlines() if copy.name in line]
    assert complaints == []
