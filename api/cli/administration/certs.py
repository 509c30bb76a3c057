"""The command certs init: certificates for a Dask scheduler and workers on other machines."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli.terminal import plain_errors

commands = typer.Typer(
    help="Make the certificates with which service, scheduler and workers know each other.", no_args_is_help=True
)


@commands.callback()
def certs() -> None:
    """Make the certificates with which service, scheduler and workers know each other."""


@commands.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where the files are written; all machines of the cluster need them.")],
    host: Annotated[
        list[str], typer.Option(help="Name or address of the scheduler's machine, once for each; Dask itself checks none.")
    ] = ["localhost", "127.0.0.1"],  # noqa: B006 - typer takes a list
    days: Annotated[int, typer.Option(min=1, help="Days that the certificates are valid.")] = 825,
) -> None:
    """Write a private authority's certificate, and a certificate with its key, and print how each party uses them."""
    from service.execution.dask.certificates import AUTHORITY, CERTIFICATE, KEY, write_certificates

    with plain_errors():
        write_certificates(folder, tuple(host), days)
    authority, certificate, key = (folder.resolve() / name for name in (AUTHORITY, CERTIFICATE, KEY))
    dask = f"--tls-ca-file {authority} --tls-cert {certificate} --tls-key {key}"
    serve = f"--tls-ca {authority} --scheduler-tls-certificate {certificate} --scheduler-tls-key {key}"
    address = f"tls://{host[0]}:8786"
    print(f"dask scheduler --protocol tls {dask}")
    print(f"dask worker {address} --nthreads 1 {dask}")
    print(f"ptyxas serve --scheduler {address} {serve}")
