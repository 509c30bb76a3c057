"""Settings: where they come from, and what is refused."""

import pytest
from pydantic import ValidationError

from service.settings import Settings


def test_the_environment_is_read(monkeypatch, tmp_path):
    monkeypatch.setenv("PTYXAS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PTYXAS_WORKERS", "3")
    settings = Settings()
    assert settings.units_dir == tmp_path / "units"
    assert settings.workers == 3
    assert settings.catalogue_url == f"sqlite:///{tmp_path}/catalogue.sqlite"


def test_beyond_loopback_only_with_keys(tmp_path):
    with pytest.raises(ValidationError, match="api_keys_file"):
        Settings(host="0.0.0.0")
    assert Settings(host="0.0.0.0", api_keys_file=tmp_path / "keys").host == "0.0.0.0"


def test_half_of_a_certificate_is_refused(tmp_path):
    with pytest.raises(ValidationError, match="tls_key"):
        Settings(tls_certificate=tmp_path / "cert.pem")
