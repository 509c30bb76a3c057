"""The server: its address, and why it cannot start."""

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from api.server.http_server import HttpServer
from service.errors import ConflictError, ServiceError
from service.settings import Settings


def log_of_start(service: Any, caplog: pytest.LogCaptureFixture) -> str:
    """What is logged when a service cannot start."""
    server = HttpServer(create_app(service), host="127.0.0.1", port=0, log_level="warning")
    thread = threading.Thread(target=server.run)
    with caplog.at_level(logging.ERROR):
        thread.start()
        thread.join(timeout=30)
    assert not thread.is_alive()
    assert not server.started
    return caplog.text


@pytest.mark.parametrize(
    "error",
    [
        ConflictError("another ptyxas service works in data: stop it, or choose another data_dir"),
        ServiceError("the Dask scheduler cannot be reached"),
        PermissionError(13, "Permission denied", "data/service.lock"),
        OSError(98, "Address already in use"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_expected_reason_is_a_sentence(
    tmp_path: Path, fake_service: Any, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def refuse() -> None:
        raise error

    service = fake_service(tmp_path)
    service.start = refuse
    logged = log_of_start(service, caplog)
    assert f"the service cannot start: {error}" in logged
    assert "Traceback" not in logged


def test_an_unexpected_reason_has_its_traceback(tmp_path: Path, fake_service: Any, caplog: pytest.LogCaptureFixture) -> None:
    service = fake_service(tmp_path)
    service.start = lambda: 1 / 0
    logged = log_of_start(service, caplog)
    assert logged.count("ZeroDivisionError") == 1


def test_a_second_service_on_a_folder_is_refused_as_a_sentence(
    tmp_path: Path,
    locking_service: Callable[[Settings], Any],
    serve: Callable[[Any], AbstractContextManager[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    with serve(create_app(locking_service(settings))):
        logged = log_of_start(locking_service(settings), caplog)
    assert "another ptyxas service works in" in logged
    assert "Traceback" not in logged
