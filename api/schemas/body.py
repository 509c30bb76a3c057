"""What all request bodies have in common: how they are read, and that ``true`` is no number, though Python takes it for 1."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

Place = tuple[str | int, ...]
"""Names and indices that lead to a value."""


class Body(BaseModel):
    """A request body. Unknown names are refused, every number is finite, and none is a boolean."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _booleans_are_no_numbers(cls, given: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        found = read(given)
        refuse_booleans_as_numbers(cls.__name__, given, found)
        return found


def refuse_booleans_as_numbers(title: str, given: Any, found: Any) -> None:
    """See that no boolean of a body was read as a number.

    Parameters
    ----------
    title : str
        What was read, for the error.
    given : object
        The body as JSON has it.
    found : object
        The model that was made of it.

    Raises
    ------
    ValidationError
        It names each such place.
    """
    details = [
        InitErrorDetails(
            type=PydanticCustomError("number_type", "Input should be a number, not a boolean"),
            loc=place,
            input=value,
        )
        for place, value in booleans_read_as_numbers(given, found)
    ]
    if details:
        raise ValidationError.from_exception_data(title, details)


def booleans_read_as_numbers(given: Any, found: Any, place: Place = ()) -> Iterator[tuple[Place, bool]]:
    """Places of the booleans of ``given`` where ``found`` has a number, and the booleans."""
    if isinstance(given, bool):
        if isinstance(found, int | float) and not isinstance(found, bool):
            yield place, given
    elif isinstance(given, Mapping):
        for name, value in given.items():
            yield from booleans_read_as_numbers(value, part_of(found, name), (*place, name))
    elif isinstance(given, Sequence) and not isinstance(given, str) and isinstance(found, Sequence):
        for index, (value, read) in enumerate(zip(given, found, strict=False)):
            yield from booleans_read_as_numbers(value, read, (*place, index))


def part_of(found: Any, name: Any) -> Any:
    """What a model, or a mapping, has under a name; None where nothing."""
    return found.get(name) if isinstance(found, Mapping) else getattr(found, str(name), None)
