"""Log lines name what they are about."""

import json
import logging
import subprocess
import sys

import pytest

from service.logging_setup import JsonLines, TextLines


@pytest.fixture
def record() -> logging.LogRecord:
    about = {"run": "run_1", "unit": None, "seconds": 1.5}
    return logging.getLogger("service.runs").makeRecord(
        "service.runs", logging.INFO, "runs.py", 1, "submitted on %s", ("ds_1",), None, extra=about
    )


def test_a_line_for_programs_is_one_object(record: logging.LogRecord) -> None:
    line = json.loads(JsonLines().format(record))
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info", "logger": "service.runs", "message": "submitted on ds_1", "run": "run_1", "seconds": 1.5,
    }  # fmt: skip


def test_a_line_for_people_ends_with_what_it_is_about(record: logging.LogRecord) -> None:
    assert TextLines().format(record).endswith("info    submitted on ds_1 run=run_1 seconds=1.5")


def test_a_traceback_stays_in_its_object(record: logging.LogRecord) -> None:
    try:
        raise ValueError("why")
    except ValueError:
        record.exc_info = sys.exc_info()
    assert "ValueError: why" in json.loads(JsonLines().format(record))["traceback"]
    assert TextLines().format(record).endswith("ValueError: why")


def test_logs_go_to_standard_error_from_the_level_on() -> None:
    code = """if True:
        import logging
        from service.logging_setup import write_logs
        write_logs("info", "json")
        logging.getLogger("service.x").info("seen", extra={"run": "run_1"})
        logging.getLogger("service.x").debug("not seen")
        logging.getLogger("someone.else").setLevel("INFO")
        logging.getLogger("someone.else").info("not seen")"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    [line] = done.stderr.splitlines()
    assert json.loads(line)["run"] == "run_1"
    assert done.stdout == ""
