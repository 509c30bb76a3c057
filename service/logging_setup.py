"""Log lines that can be searched: each names the run, dataset and unit it is about."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, Literal

SUBJECTS: Final = ("run", "dataset", "project", "unit", "stage", "route", "status", "seconds")
"""What a line may be about: given as ``extra`` where it is logged."""


ROOMS: Final = ("api", "service", "storage", "tasks")
"""Whose lines are told from the level set on; those of libraries from warnings on, whatever they set for themselves."""


class TextLines(logging.Formatter):
    """One line for people: time, level, message, then ``run=...`` and the like."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        about = "".join(f" {name}={value}" for name, value in subjects_of(record).items())
        text = f"{moment_of(record)} {record.levelname.lower():7} {record.getMessage()}{about}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class JsonLines(logging.Formatter):
    """One JSON object a line, for programs that collect logs."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        line: dict[str, Any] = {
            "time": moment_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **subjects_of(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


FORMATS: Final = {"text": TextLines, "json": JsonLines}


def write_logs(level: str, form: Literal["text", "json"]) -> None:
    """Write this process's log to standard error from now on, in place of whatever was set up before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FORMATS[form]())
    handler.addFilter(lambda record: record.levelno >= logging.WARNING or record.name.partition(".")[0] in ROOMS)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for room in ROOMS:
        logging.getLogger(room).setLevel(level.upper())


def subjects_of(record: logging.LogRecord) -> dict[str, Any]:
    """What a record is about."""
    return {name: vars(record)[name] for name in SUBJECTS if vars(record).get(name) is not None}


def moment_of(record: logging.LogRecord) -> str:
    """When, to the millisecond, UTC."""
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
