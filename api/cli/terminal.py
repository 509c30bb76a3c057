"""What the commands share: the console, the options that name a service, and errors in plain words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape

from service.errors import ServiceError
from storage.errors import StorageError
from tasks.errors import TaskError

console: Final = Console()

Url = Annotated[str, typer.Option(envvar="PTYXAS_URL", help="Address of the service.")]
Key = Annotated[str | None, typer.Option(envvar="PTYXAS_API_KEY", help="API key, where the service needs one.")]
LOCAL: Final = "http://127.0.0.1:8000"


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
    except (ServiceError, StorageError, TaskError, OSError, ValueError) as error:
        show_error(str(error))
        raise typer.Exit(1) from None


def show_error(message: str) -> None:
    """Print an error's message in red."""
    console.print(f"[red]{escape(message)}[/]", highlight=False)


def format_bytes(n_bytes: float) -> str:
    """A number of bytes with its unit: ``3.2 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"
