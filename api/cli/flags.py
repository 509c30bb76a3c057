"""Command-line flags made from the fields of a pydantic class, so that each is described once."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

PLAIN: Final = (str, int, float, bool)


def with_flags(fields: Mapping[str, FieldInfo]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an optional flag for each field; the command receives the flags that were set, as keyword arguments.

    Fields that no plain flag can hold, such as nested options, get none.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command).parameters.values() if p.kind is not p.VAR_KEYWORD]
        made = [flag_of(name, field) for name, field in fields.items() if kind_of(field.annotation) is not None]

        def wrapped(**given: Any) -> None:
            command(**{name: value for name, value in given.items() if value not in (None, []) or name in own_names})

        own_names = {parameter.name for parameter in own}
        parameters = [*own, *(flag for flag in made if flag.name not in own_names)]
        wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        wrapped.__doc__ = command.__doc__
        wrapped.__name__ = command.__name__
        return wrapped

    return decorate


def fields_of(options: type) -> Mapping[str, FieldInfo]:
    """Fields of a pydantic dataclass, by name."""
    fields: Mapping[str, FieldInfo] = vars(options)["__pydantic_fields__"]
    return fields


def flag_of(name: str, field: FieldInfo) -> inspect.Parameter:
    """The optional flag ``--name``, whose help is the field's description and default."""
    is_plain = not field.is_required() and field.default_factory is None and field.default not in (None, ())
    default = f" (default: {field.default})" if is_plain else ""
    text = " ".join((field.description or "").replace("``", "").split()) + default
    # Text in brackets is a unit here, and not the terminal's markup.
    text = text.replace("[", r"\[")
    option = typer.Option(f"--{name.replace('_', '-')}", help=text, show_default=False)
    kind = kind_of(field.annotation)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option])


def kind_of(annotation: Any) -> Any:
    """The type a flag of this annotation takes; None where no plain flag can hold it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind_of(arguments[0])
    if origin is Literal and all(isinstance(argument, str) for argument in arguments):
        return annotation
    if origin in (Union, UnionType):
        kinds = [kind_of(argument) for argument in arguments if argument is not type(None)]
        return kinds[0] if len(kinds) == 1 else None
    if origin is tuple and arguments[1:] == (Ellipsis,) and kind_of(arguments[0]) is Path:
        return list[Path]
    if origin is tuple and arguments[1:] == (Ellipsis,) and (kind_of(arguments[0]) is str or get_origin(arguments[0]) is Literal):
        return list[str]
    return annotation if annotation in (*PLAIN, Path) else None
