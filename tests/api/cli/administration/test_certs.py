"""certs init."""

from pathlib import Path

from typer.testing import CliRunner

from api.cli.main import app


def test_certificates_are_made_once_and_explained(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    done = CliRunner().invoke(app, ["certs", "init", str(folder), "--host", "node17"])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in folder.iterdir()) == ["ptyxas-ca.pem", "ptyxas-certificate.pem", "ptyxas-key.pem"]
    assert f"ptyxas serve --scheduler tls://node17:8786 --tls-ca {folder.resolve()}/ptyxas-ca.pem" in done.output
    again = CliRunner().invoke(app, ["certs", "init", str(folder)])
    assert again.exit_code == 1
    assert "already" in again.output
