"""Commands of whoever gives out API keys: keys add, list, revoke."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from api.cli.terminal import console, plain_words
from service.api_keys import DEFAULT_PROJECT, PROJECT, Key, Scope, make_key, read_keys, write_keys

commands = typer.Typer(help="API keys: made, listed, revoked; a running service takes note at once.", no_args_is_help=True)

File = Annotated[Path, typer.Option(envvar="PTYXAS_API_KEYS_FILE", help="The service's api_keys_file.")]


@commands.command()
def add(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    file: File,
    project: Annotated[str, typer.Option(help="Datasets and runs it sees: this project's.")] = DEFAULT_PROJECT,
    scope: Annotated[
        Scope, typer.Option(help="read: look; write: also create, run and delete; admin: also the service's own state.")
    ] = "write",
    days: Annotated[int | None, typer.Option(min=1, help="For how long it opens; for good if not given.")] = None,
) -> None:
    """Make a key: its digest goes into the file, the key is shown once."""
    with plain_words():
        if not PROJECT.fullmatch(project):
            raise ValueError(f"a project is named by letters, digits, dot, dash and underscore, got {project!r}")
        secret, digest = make_key()
        last_day = None if days is None else datetime.now(UTC).date() + timedelta(days=days)
        kept = read_keys(file) if file.exists() else []
        write_keys(file, [*kept, Key(digest, " ".join(name.split()) or "unnamed", project, scope, last_day)])
    print(secret)


@commands.command("list")
def show(file: File) -> None:
    """Every key there is; the secrets are nowhere."""
    with plain_words():
        keys = read_keys(file)
    table = Table("key", "scope", "project", "last day", "name", box=None, header_style="bold", pad_edge=False)
    for key in keys:
        last_day = "never" if key.last_day is None else f"{key.last_day}{'' if key.is_valid() else ' (over)'}"
        table.add_row(key.id, key.scope, key.project, last_day, key.name)
    console.print(table)


@commands.command()
def revoke(key: Annotated[str, typer.Argument(help="The key as the list calls it, or its name.")], file: File) -> None:
    """Make a key open nothing any more."""
    with plain_words():
        keys = read_keys(file)
        doomed = [one for one in keys if key in (one.id, one.name)]
        if len(doomed) != 1:
            raise ValueError(f"{len(doomed)} keys are called {key!r}: name one as `ptyxas keys list` does")
        write_keys(file, [one for one in keys if one not in doomed])
    console.print(f"revoked {doomed[0].id}, {doomed[0].name}", highlight=False)
