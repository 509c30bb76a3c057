"""Options of a run, as the commands take them: from a file, from the command line, and from spectra of known compounds."""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tasks.scattering import Absorber

OptionList = Annotated[list[str] | None, typer.Option("--option", "-o", help="e.g. reconstruct.cycles=300; repeatable.")]
References = Annotated[
    list[Path] | None, typer.Option("--reference", help="Spectrum of a compound: XDI, Athena, or columns.", exists=True)
]
Foil = Annotated[Path | None, typer.Option(help="Spectrum of a metal foil, which calibrates the energies.", exists=True)]
OptionsFile = Annotated[Path | None, typer.Option("--options", help="TOML file of options, a table a stage.", exists=True)]


def read_options(file: Path | None, given: Sequence[str]) -> dict[str, Any]:
    """Options from a TOML file, with those of the command line in place of the file's.

    Raises
    ------
    ValueError
        The file is no TOML of tables, or a text is not ``stage.name=value``.
    """
    options: dict[str, Any] = {}
    if file is not None:
        try:
            options = tomllib.loads(file.read_text(encoding="utf-8-sig"))
        except ValueError as error:
            raise ValueError(f"{file} is no TOML: {error}") from error
        loose = [name for name, value in options.items() if not isinstance(value, dict) and name != "preset"]
        if loose:
            raise ValueError(
                f"{file} must hold a table for each stage, such as [reconstruct], got {', '.join(loose)} outside one"
            )
    for stage, values in options_of(given).items():
        options[stage] = {**options.get(stage, {}), **values} if isinstance(values, dict) else values
    return options


def check_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options, if a run can have them.

    Raises
    ------
    pydantic.ValidationError
        An option that is not there, or a value that it cannot have.
    """
    from tasks.options.run import OPTIONS

    OPTIONS.validate_python(options)
    return options


def options_of(given: Sequence[str]) -> dict[str, Any]:
    """``["reconstruct.cycles=300"]`` as ``{"reconstruct": {"cycles": 300}}``, ``["preset=paper"]`` as ``{"preset": "paper"}``.

    Values are JSON, or else text.

    Raises
    ------
    ValueError
        A text is neither ``stage.name=value`` nor ``preset=value``.
    """
    options: dict[str, Any] = {}
    for text in given:
        path, equals, value = text.partition("=")
        stage, dot, name = path.partition(".")
        if path == "preset" and equals:
            options["preset"] = value
            continue
        if not (equals and dot and name) or stage == "preset":
            raise ValueError(f"an option is stage.name=value, such as reconstruct.cycles=300, or preset=paper, got {text[:80]!r}")
        options.setdefault(stage, {})[name] = read_value(value)
    return options


def read_value(text: str) -> Any:
    """The value that a text of the command line stands for: JSON, or else the text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def reference_texts(path: Path) -> list[str]:
    """Texts of XDI of the spectra of a file; an XDI file as it is, for the service to judge.

    Raises
    ------
    ReferenceFormatError
        In another format than XDI, and damaged or none that is known.
    """
    from tasks.xanes.references.files import is_xdi, read_spectra, xdi_text

    content = path.read_bytes()
    if is_xdi(content):
        return [content.decode("utf-8", errors="replace")]
    return [xdi_text(one) for one in read_spectra(content, path.stem)]


def with_compounds(
    options: dict[str, Any], absorber: "Absorber", references: Sequence[Path], foil: Path | None
) -> dict[str, Any]:
    """``options`` with the spectra of known compounds and, for another edge than the paper's, the tables' constants."""
    from tasks.scattering import Absorber

    if absorber != Absorber():
        options.setdefault("chemistry", {}).setdefault("preset", "chantler")
    if references:
        options.setdefault("references", {})["xdi"] = [text for path in references for text in reference_texts(path)]
    if foil is not None:
        # Numerics that other commands do not need.
        from tasks.xanes.references.foil import calibrate

        options.setdefault("align", {})["energy_offset_ev"] = calibrate(foil.read_bytes(), absorber).offset_ev
    return options
