"""Commands that manage API keys: keys add, keys list, keys revoke."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from api.cli.terminal import console, plain_errors, print_table, safe
from service.api_keys import DEFAULT_PROJECT, PROJECT, Key, Scope, change_keys, make_key, read_keys

commands = typer.Typer(
    help="Add, list and revoke API keys. A running service reads the changed file at once.", no_args_is_help=True
)

File = Annotated[Path, typer.Option(envvar="PTYXAS_API_KEYS_FILE", help="The service's api_keys_file.")]


@commands.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the key's owner.")],
    file: File,
    project: Annotated[str, typer.Option(help="Project whose datasets and runs the key opens.")] = DEFAULT_PROJECT,
    scope: Annotated[
        Scope, typer.Option(help="read: look; write: also create, run and delete; admin: also the service's own state.")
    ] = "write",
    days: Annotated[int | None, typer.Option(min=1, help="Days that the key is valid; without an end by default.")] = None,
) -> None:
    """Make a key. Its digest is written to the file; the key itself is printed once."""
    with plain_errors():
        if not PROJECT.fullmatch(project):
            raise ValueError(f"a project is named by letters, digits, dot, dash and underscore, got {project!r}")
        secret, digest = make_key()
        last_day = None if days is None else datetime.now(UTC).date() + timedelta(days=days)
        key = Key(digest, " ".join(name.split()) or "unnamed", project, scope, last_day)
        change_keys(file, lambda keys: [*keys, key])
    print(secret)


@commands.command("list")
def show(file: File) -> None:
    """List the keys of the file, without their secrets, which are not stored."""
    with plain_errors():
        keys = read_keys(file)
    rows = []
    for key in keys:
        last_day = "never" if key.last_day is None else f"{key.last_day}{'' if key.is_valid() else ' (over)'}"
        rows.append((key.id, key.scope, key.project, last_day, key.name))
    print_table(("key", "scope", "project", "last day", "name"), rows)


@commands.command()
def revoke(key: Annotated[str, typer.Argument(help="Id of the key as listed, or its name.")], file: File) -> None:
    """Revoke a key: from now on it opens nothing."""
    revoked: list[Key] = []

    def without_key(keys: list[Key]) -> list[Key]:
        revoked[:] = [one for one in keys if key in (one.id, one.name)]
        if len(revoked) != 1:
            raise ValueError(f"{len(revoked)} keys are called {key!r}: give the id that `ptyxas keys list` shows")
        return [one for one in keys if one not in revoked]

    with plain_errors():
        read_keys(file)  # a file that is not there is an error, and is not made
        change_keys(file, without_key)
    console.print(f"revoked {revoked[0].id}, {safe(revoked[0].name)}", highlight=False)
