"""Settings: where they come from, and what is refused."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import DataPaths, Settings


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PTYXAS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PTYXAS_WORKERS", "3")
    settings = Settings()
    assert DataPaths.of(settings).artifacts == tmp_path / "units"
    assert settings.workers == 3
    assert settings.catalogue_url == f"sqlite:///{tmp_path}/catalogue.sqlite"


def test_beyond_loopback_only_with_keys(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="api_keys_file"):
        Settings(host="0.0.0.0")
    assert Settings(host="0.0.0.0", api_keys_file=tmp_path / "keys").host == "0.0.0.0"


def test_half_of_a_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="tls_key"):
        Settings(tls_certificate=tmp_path / "cert.pem")


@pytest.mark.parametrize("address", ["tcp://10.0.0.1:8786", "tcp://node17:8786", "tcp://[fd00::1]:8786"])
def test_plain_tcp_beyond_this_machine_only_where_it_is_said(address: str) -> None:
    with pytest.raises(ValidationError, match=r"without TLS.*allow_plain_tcp"):
        Settings(scheduler=address)
    assert Settings(scheduler=address, allow_plain_tcp=True).scheduler == address


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:8786", "tcp://[::1]:8786", "tcp://localhost:8786"])
def test_plain_tcp_on_loopback_is_accepted(address: str) -> None:
    assert Settings(scheduler=address).scheduler == address


@pytest.mark.parametrize(
    "address", ["", "10.0.0.1:8786", "http://10.0.0.1:8786", "tls://", "tls://host", "tls://host:99999", "tls://[::1:8786"]
)
def test_a_malformed_address_is_named(address: str) -> None:
    with pytest.raises(ValidationError, match="tls://host:port"):
        Settings(scheduler=address)


def test_tls_needs_certificates(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="needs certificates: tls_ca and scheduler_tls_certificate"):
        Settings(scheduler="tls://node17:8786")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    tls = Settings(scheduler="tls://node17:8786", tls_certificate=certificate, tls_key=key, tls_ca=tmp_path / "ca.pem")
    assert tls.scheduler_certificate == (certificate, key)
