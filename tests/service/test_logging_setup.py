"""Log lines name what they are about."""

import json
import logging
import subprocess
import sys

import pytest

from service.logging_setup import JsonLines, RepeatFilter, TextLines, escape_controls


@pytest.fixture
def record() -> logging.LogRecord:
    about = {"run": "run_1", "step": None, "seconds": 1.5}
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
    assert TextLines().format(record).endswith("\n    ValueError: why")


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


def record_of(message: str, *arguments: object, name: str = "api.middleware.metrics", **about: object) -> logging.LogRecord:
    return logging.getLogger(name).makeRecord(name, logging.WARNING, "x.py", 1, message, arguments, None, extra=about)


FORGED = "/x\n2026-01-01T00:00:00.000+00:00 error   the service was broken into"


@pytest.mark.parametrize(
    "text", [FORGED, "\x1b[2J\x1b[31mred", "a\rb", "\x00", "\x9b31m", "line\u2028line", "\u2029", "\x7f", "\ud800", "a\x85b"]
)
def test_what_was_sent_cannot_forge_a_line_or_reach_the_terminal(text: str) -> None:
    for record in (record_of("GET %s", text), record_of("GET /", route=text), record_of(text.replace("%", "%%"))):
        line = TextLines().format(record)
        assert len(line.splitlines()) == 1
        assert line.isprintable()
        assert len(JsonLines().format(record).splitlines()) == 1


def test_a_message_in_a_traceback_cannot_forge_a_line() -> None:
    record = record_of("incident")
    try:
        raise ValueError(FORGED)
    except ValueError:
        record.exc_info = sys.exc_info()
    head, *rest = TextLines().format(record).splitlines()
    assert "incident" in head
    assert all(line.startswith("    ") for line in rest)


@pytest.mark.parametrize("text", ["粒子 3", "µm Å ß", "a b", "", "C:\\x"])
def test_ordinary_text_is_left_as_it_is(text: str) -> None:
    assert escape_controls(text) == text


def test_a_message_that_a_library_repeats_is_logged_a_few_times_and_then_counted() -> None:
    repeats = RepeatFilter(most=3, window_s=60)

    def logged(seconds: float) -> list[str]:
        found = []
        for _ in range(100):
            record = record_of("socket.accept() out of system resource", name="asyncio")
            record.created = seconds
            if repeats.filter(record):
                found.append(record.getMessage())
        return found

    assert len(logged(1000.0)) == 3
    assert logged(1030.0) == []
    assert logged(1061.0)[0].endswith("(197 times more, not logged)")


def test_other_messages_and_our_own_are_all_logged() -> None:
    repeats = RepeatFilter(most=1)
    assert all(repeats.filter(record_of(f"message {n}", name="uvicorn.error")) for n in range(10))
    assert all(repeats.filter(record_of("incident", name="api.problems")) for _ in range(10))
    assert [repeats.filter(record_of("Invalid HTTP request received.", name="uvicorn.error")) for _ in range(3)] == [
        True,
        False,
        False,
    ]
