"""The command serve, and the server that the demonstrations start."""

import os
import resource
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from api.cli.flags import with_flags
from api.cli.terminal import console, plain_errors
from service.api_keys import local_token
from service.settings import Settings

if TYPE_CHECKING:
    from api.server.http_server import HttpServer

MOST_FILES: Final = 1 << 16

commands = typer.Typer()


@commands.command()
@with_flags(Settings.model_fields)
def serve(
    file: Annotated[Path | None, typer.Option("--settings", help="TOML file of settings, by their names.")] = None, **given: Any
) -> None:
    """Serve HTTP, with Dask, the catalogue and the stores in one process tree.

    Every flag may also be set as PTYXAS_<NAME> in the environment, or in a file. A flag goes before the environment, and the
    environment before the file.
    """
    from service.logging_setup import write_logs

    with plain_errors():
        settings = Settings(**(read_settings(file) if file else {}) | given)
        raise_file_limit()
        write_logs(settings.log_level, settings.log_format)
        # scripts read the address from stdout
        typer.echo(f"ptyxas starts on the data in {settings.data_dir.resolve()}", err=True)
        server = open_server(settings, partial(show_start, settings))
        server.run()
        if not server.started:
            raise typer.Exit(1)


def read_settings(file: Path) -> dict[str, Any]:
    """Settings of a TOML file, but for those that the environment has.

    Raises
    ------
    ValueError, OSError
        The file cannot be read, or is no TOML.
    """
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{file} is no TOML file of settings: {error}") from error
    return {name: value for name, value in found.items() if f"PTYXAS_{name.upper()}" not in map(str.upper, os.environ)}


def show_start(settings: Settings, url: str) -> None:
    """Print the address, and the token that other users of this machine need."""
    console.print(f"ptyxas serves [bold]{url}[/]  (Ctrl-C to stop)")
    if needs_token(settings):
        whom = "other users" if settings.local_access == "own-user" else "all users"
        console.print(
            f"{whom} of this machine need the token {local_token(settings.token_file)}", highlight=False, soft_wrap=True
        )


def needs_token(settings: Settings) -> bool:
    """Whether anybody has to show the service's token."""
    return settings.api_keys_file is None and settings.local_access != "everyone"


def raise_file_limit() -> None:
    """Allow this process as many open files as the system lets it, up to ``MOST_FILES``: each connection is one."""
    allowed, ceiling = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if ceiling == resource.RLIM_INFINITY else min(MOST_FILES, ceiling)
    if allowed < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, ceiling))


def open_server(settings: Settings, on_start: Callable[[str], None]) -> "HttpServer":
    """The whole service behind HTTP, ready to run."""
    # Half a second of imports that commands which only talk to a service do not need.
    from api.app import create_app
    from api.middleware.local_users import LocalUserCheck
    from api.server.http_server import HttpServer
    from service.bootstrap import Service

    tls = {"ssl_certfile": settings.tls_certificate, "ssl_keyfile": settings.tls_key} if settings.tls_key else {}
    app = create_app(Service(settings))
    has_keys = settings.api_keys_file is not None
    if needs_token(settings):
        token = local_token(settings.token_file)
        app.add_middleware(LocalUserCheck, token=token, accepts_own_user=settings.local_access == "own-user")
    return HttpServer(
        app, on_start, host=settings.host, port=settings.port, log_level="warning", log_config=None,
        proxy_headers=has_keys, **tls,
    )  # fmt: skip
