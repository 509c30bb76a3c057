"""The command ``ptyxas``: every command with the module it is in, which is imported when the command is called."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

COMMANDS: Final = {
    "serve": ("api.cli.serve", "Serve HTTP, with Dask, the catalogue and the stores in one process tree."),
    "submit": ("api.cli.submit", "Send scan files as one dataset and start a run."),
    "follow": ("api.cli.follow", "Send the files of a folder as they are complete, while a live run grows beside it."),
    "watch": ("api.cli.submit", "Follow a run to its end; exits with 0 if it succeeds."),
    "run": ("api.cli.runs", "Start a run on datasets that the service has; what an earlier run finished is not computed again."),
    "datasets": ("api.cli.runs", "List the datasets of the service, newest first."),
    "runs": ("api.cli.runs", "List the runs of the service, newest first."),
    "show": ("api.cli.runs", "Show one run or one dataset."),
    "cancel": ("api.cli.runs", "Stop a run; what is finished is kept."),
    "retry": ("api.cli.runs", "Go on with a failed or cancelled run from its finished steps."),
    "delete": ("api.cli.runs", "Delete runs with their results, or datasets with their scans."),
    "open": ("api.cli.runs", "Open the page of a run in the web browser, and print its address."),
    "results": ("api.cli.download", "List the arrays of a run's results, or copy them to a file."),
    "figures": ("api.cli.download", "Copy a run's figures to a folder."),
    "simulate": ("api.cli.simulate", "Simulate a measurement of a specimen of known chemistry."),
    "plan": ("api.cli.simulate", "Choose the energies to measure, and estimate the errors to expect."),
    "options": ("api.cli.options", "List every option of a run with its default and meaning."),
    "demo": ("api.cli.demo", "Measure, submit and analyse a simulated specimen, and compare the maps with the truth."),
    "study": ("api.cli.study", "Analyse six simulated particles in two groups together."),
    "keys": ("api.cli.administration.keys", "Add, list and revoke API keys."),
    "certs": ("api.cli.administration.certs", "Make certificates for a Dask cluster on several machines."),
    "gc": ("api.cli.administration.maintenance", "Find work that nothing refers to, and remove it on request."),
    "verify": ("api.cli.administration.maintenance", "Compare stored results with the digests they were sealed with."),
    "backup": ("api.cli.administration.maintenance", "Copy the catalogue, also while the service runs."),
}
"""Module and one line of help of every command, in the order of the help page."""


class LazyGroup(TyperGroup):
    """A group that knows its commands' names and help, and imports a command's module when the command is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {name: TyperCommand(name, help=text, rich_help_panel=None) for name, (_, text) in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Name, command and remaining arguments of a call; the command is loaded."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if command is None else load(str(command.name)), rest


def load(name: str) -> Any:
    """The command called ``name``, from its module: a command of the module's ``commands``, or the whole group."""
    group = typer.main.get_group(import_module(COMMANDS[name][0]).commands)
    return group.commands.get(name, group)


app = typer.Typer(
    cls=LazyGroup,
    help="X-ray spectroscopic ptychography: diffraction patterns in, maps of chemical state out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda token: token.replace("_", "-"),
    },
)


def show_version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        try:
            print(f"ptyxas {version('ptyxas')}")
        except PackageNotFoundError:  # run from its source
            print("ptyxas unknown")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """X-ray spectroscopic ptychography: diffraction patterns in, maps of chemical state out."""
