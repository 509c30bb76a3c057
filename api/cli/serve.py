"""The command serve, and the server that the demonstrations start."""

import resource
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import typer

from api.cli.flags import with_flags
from api.cli.terminal import console, plain_errors
from service.settings import Settings

if TYPE_CHECKING:
    from api.server import HttpServer

MOST_FILES: Final = 1 << 16

commands = typer.Typer()


@commands.command()
@with_flags(Settings.model_fields)
def serve(**given: Any) -> None:
    """Serve HTTP, with Dask, the catalogue and the stores in one process tree.

    Every flag may also be set as PTYXAS_<NAME> in the environment.
    """
    from service.logging_setup import write_logs

    with plain_errors():
        settings = Settings(**given)
        raise_file_limit()
        write_logs(settings.log_level, settings.log_format)
        server = open_server(settings, lambda url: console.print(f"ptyxas serves [bold]{url}[/]  (Ctrl-C to stop)"))
        server.run()
        if not server.started:
            raise typer.Exit(1)


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
    from api.server import HttpServer
    from service.bootstrap import build

    tls = {"ssl_certfile": settings.tls_certificate, "ssl_keyfile": settings.tls_key} if settings.tls_key else {}
    app = create_app(build(settings))
    return HttpServer(app, on_start, host=settings.host, port=settings.port, log_level="warning", log_config=None, **tls)
