"""Flags made from fields."""

from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from pydantic import BaseModel, Field
from typer.testing import CliRunner

from api.cli.flags import kind_of, with_flags


class Choice(BaseModel):
    data_dir: Path = Field(Path("here"), description="Where.")
    n_workers: int = Field(2, description="How many.")
    roots: tuple[Path, ...] = ()
    nested: dict[str, int] = Field(default_factory=dict)


@pytest.fixture
def told() -> dict[str, Any]:
    return {}


@pytest.fixture
def app(told: dict[str, Any]) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @with_flags(Choice.model_fields)
    def run(place: Annotated[str, typer.Argument()], **given: Any) -> None:
        """Run it."""
        told.update(given, place=place)

    return app


def test_only_what_was_given_is_passed_on(app: typer.Typer, told: dict[str, Any]) -> None:
    assert CliRunner().invoke(app, ["x", "--n-workers", "3"]).exit_code == 0
    assert told == {"place": "x", "n_workers": 3}


def test_lists_and_zero_are_given_too(app: typer.Typer, told: dict[str, Any]) -> None:
    arguments = ["x", "--n-workers", "0", "--roots", "/a", "--roots", "/b", "--data-dir", "d"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert told == {"place": "x", "n_workers": 0, "roots": [Path("/a"), Path("/b")], "data_dir": Path("d")}


def test_help_has_descriptions_and_defaults_and_no_nested_fields(app: typer.Typer) -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    assert "How many. (default: 2)" in " ".join(shown.split())
    assert "--nested" not in shown


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [(int, int), (int | None, int), (Annotated[float, "x"] | None, float), (tuple[Path, ...], list[Path]),
     (dict[str, int], None), (int | str, None), (tuple[float, ...] | None, None)],
)  # fmt: skip
def test_kinds(annotation: Any, kind: Any) -> None:
    assert kind_of(annotation) == kind
