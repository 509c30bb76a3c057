"""Logging: one line an event, searchable by the run, dataset and step that it is about."""

import json
import logging
import sys
import unicodedata
from datetime import UTC, datetime
from typing import Any, Final, Literal

SUBJECTS: Final = ("run", "dataset", "project", "step", "stage", "route", "status", "seconds")
"""What a line may be about: given as ``extra`` where it is logged."""

PACKAGES: Final = ("api", "service", "storage", "tasks")
"""Packages whose lines are logged from the chosen level on; those of libraries are logged from warnings on."""

MOST_REPEATS: Final = 10
REPEAT_WINDOW_S: Final = 60.0
"""A library may log the same message so many times in so many seconds."""


class TextLines(logging.Formatter):
    """One line for people: time, level, message, then ``run=...`` and the like."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record; a traceback follows it, indented."""
        about = "".join(f" {name}={escape_controls(str(value))}" for name, value in subjects_of(record).items())
        text = f"{time_of(record)} {record.levelname.lower():7} {escape_controls(record.getMessage())}{about}"
        if not record.exc_info:
            return text
        # Indented, a message in the traceback cannot pass for a line of the log.
        traceback = self.formatException(record.exc_info).splitlines()
        return "\n".join([text, *(f"    {escape_controls(line)}" for line in traceback)])


class JsonLines(logging.Formatter):
    """One JSON object a line, for programs that collect logs."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        line: dict[str, Any] = {
            "time": time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **subjects_of(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


FORMATS: Final = {"text": TextLines, "json": JsonLines}


class RepeatFilter(logging.Filter):
    """Drops messages that a library repeats too often, and says later how many it dropped."""

    def __init__(self, most: int = MOST_REPEATS, window_s: float = REPEAT_WINDOW_S) -> None:
        super().__init__()
        self.most, self.window_s = most, window_s
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log a record."""
        if is_ours(record):
            return True
        key = (record.name, record.levelno, str(record.msg)[:200])
        begun, count = self._seen.get(key, (record.created, 0))
        if record.created - begun >= self.window_s:
            if count > self.most:
                record.msg, record.args = f"{record.getMessage()} ({count - self.most} times more, not logged)", ()
            begun, count = record.created, 0
        if len(self._seen) > 1000:
            self._seen.clear()
        self._seen[key] = (begun, count + 1)
        return count < self.most


def write_logs(level: str, form: Literal["text", "json"]) -> None:
    """Write this process's log to standard error from now on, in place of whatever was set up before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FORMATS[form]())
    handler.addFilter(lambda record: record.levelno >= logging.WARNING or is_ours(record))
    handler.addFilter(RepeatFilter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for package in PACKAGES:
        logging.getLogger(package).setLevel(level.upper())


def is_ours(record: logging.LogRecord) -> bool:
    """Whether a record is of one of our own packages."""
    return record.name.partition(".")[0] in PACKAGES


def escape_controls(text: str) -> str:
    r"""``text`` on one line, safe to print: line breaks, terminal escapes and lone surrogates as ``\x0a`` or ``\ud800``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(escaped(c) if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in text)


def escaped(character: str) -> str:
    """A character by its code."""
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def subjects_of(record: logging.LogRecord) -> dict[str, Any]:
    """What a record is about, by name."""
    return {name: vars(record)[name] for name in SUBJECTS if vars(record).get(name) is not None}


def time_of(record: logging.LogRecord) -> str:
    """Time of a record, UTC, to the millisecond."""
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
