"""The command ``ptyxas``, called in the process of the test."""

from typer.testing import CliRunner

from api.cli.main import app


def run(*arguments: object, typed: str = "", **environment: str) -> tuple[int, str]:
    """Exit code of ``ptyxas`` and what it prints, on a wide terminal without colours; an error it does not expect is raised."""
    wide = {"COLUMNS": "200", "TERM": "dumb"} | environment
    done = CliRunner().invoke(app, [str(word) for word in arguments], env=wide, input=typed)
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return done.exit_code, done.output
