"""What the commands share: the console, the options that name a service, and errors in plain words."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from api.client.ptyxas import PtyxasError
from service.errors import ServiceError
from storage.errors import StorageError
from tasks.errors import TaskError

console: Final = Console()
messages: Final = Console(stderr=True)
"""For errors, warnings and progress, so that a pipe reads the answer alone."""
LONGEST_NAME: Final = 34
"""Longest text of a table's first column that is never broken; an id has 20 characters, the name of an option up to 34."""

Url = Annotated[str, typer.Option(envvar="PTYXAS_URL", help="Address of the service.")]
Key = Annotated[str | None, typer.Option(envvar="PTYXAS_API_KEY", help="API key, where the service needs one.")]
Run = Annotated[str, typer.Argument(help="Id of a run.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, as the service answers.")]


@contextmanager
def plain_errors() -> Iterator[None]:
    """Print the message of an expected error and exit, in place of a traceback.

    The exit code is 2 for a value that a setting or an option cannot have, else 1.
    """
    from pydantic import ValidationError  # slow to import

    try:
        yield
    except ValidationError as error:
        for item in error.errors():
            show_error(f"{'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}")
        raise typer.Exit(2) from None
    except BrokenPipeError:  # `api.cli.__main__` ends quietly
        raise
    except (PtyxasError, ServiceError, StorageError, TaskError, OSError, ValueError) as error:
        show_error(str(error))
        raise typer.Exit(1) from None


def show_error(message: str, to: Console = messages) -> None:
    """Print an error's message in red."""
    to.print(f"[red]{safe(message)}[/]", highlight=False, soft_wrap=True)


def show_warning(message: str, to: Console = messages) -> None:
    """Print a warning in yellow."""
    to.print(f"[yellow]{safe(message)}[/]", highlight=False, soft_wrap=True)


def safe(text: object) -> str:
    """Text from elsewhere as a terminal may show it: no markup, and control characters by their escapes."""
    return escape(plain(text))


def plain(text: object) -> str:
    """Text with its control characters written as escapes, so that it neither moves the cursor nor poses as other text."""
    return "".join(one if one.isprintable() or one in "\n\xa0" else ascii(one)[1:-1] for one in str(text))


def print_json(answer: object) -> None:
    """Print an answer of the service as JSON, in ASCII."""
    print(json.dumps(answer, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table: laid out for a terminal, and as lines of tab-separated values for a pipe."""
    if not console.is_terminal:
        for row in (columns, *rows):
            print("\t".join(" ".join(plain(cell).split()) for cell in row))
        return
    is_short = all(len(str(row[0])) <= LONGEST_NAME for row in rows)
    first, *others = (Column(name, overflow="fold") for name in columns)
    first.no_wrap = is_short
    table = Table(first, *others, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(safe(cell) for cell in row))
    console.print(table)


def print_facts(facts: Mapping[str, object], to: Console = console) -> None:
    """Print a line for each fact, its name before it; lines are not broken, so that they can be copied."""
    width = max(map(len, facts))
    for name, text in facts.items():
        to.print(f"{name:<{width}}  {safe(text)}", highlight=False, soft_wrap=True)


def format_time(text: str) -> str:
    """A time of the service's answers to the second, in UTC."""
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def format_bytes(n_bytes: float) -> str:
    """A number of bytes with its unit: ``3.2 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"
