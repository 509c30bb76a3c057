"""What the commands share: where they print, and how they say that something went wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer
from pydantic import ValidationError
from rich.console import Console

from service.errors import ServiceError
from storage.errors import StorageError
from tasks.errors import TaskError

console: Final = Console()


@contextmanager
def plain_words() -> Iterator[None]:
    """Say what went wrong and leave, instead of a traceback."""
    try:
        yield
    except ValidationError as error:
        for item in error.errors():
            console.print(f"[red]{'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}[/]")
        raise typer.Exit(2) from None
    except (ServiceError, StorageError, TaskError, OSError, ValueError) as error:
        console.print(f"[red]{error}[/]", highlight=False)
        raise typer.Exit(1) from None


def in_words(n_bytes: float) -> str:
    """A number of bytes for people: ``3.2 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"
