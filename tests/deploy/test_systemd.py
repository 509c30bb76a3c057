import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parents[2] / "deploy" / "ptyxas.service"
HARDENING = (
    "DynamicUser",
    "NoNewPrivileges",
    "ProtectHome",
    "PrivateTmp",
    "PrivateDevices",
    "ProtectKernelTunables",
    "ProtectKernelModules",
    "ProtectControlGroups",
    "RestrictSUIDSGID",
    "LockPersonality",
)


@pytest.fixture
def unit() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT)
    return parser


def test_the_unit_starts_the_service_and_keeps_its_data(unit: configparser.RawConfigParser) -> None:
    assert unit.sections() == ["Unit", "Service", "Install"]
    assert unit["Service"]["ExecStart"] == "/opt/ptyxas/bin/ptyxas serve"
    assert unit["Service"]["StateDirectory"] == "ptyxas"
    assert unit["Service"]["Restart"] == "on-failure"
    assert "Environment=PTYXAS_DATA_DIR=/var/lib/ptyxas\n" in UNIT.read_text()
    assert unit["Install"]["WantedBy"] == "multi-user.target"


@pytest.mark.parametrize("directive", HARDENING)
def test_the_unit_gives_up_rights(unit: configparser.RawConfigParser, directive: str) -> None:
    assert unit["Service"][directive] == "yes"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    copy = tmp_path / "ptyxas.service"
    # the program is installed nowhere here, and systemd insists on one
    copy.write_text(UNIT.read_text().replace("/opt/ptyxas/bin/ptyxas serve", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=60, check=False)
    complaints = [line for line in done.stderr.splitlines() if "ptyxas.service" in line]
    assert complaints == []
