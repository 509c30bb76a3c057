"""Text for people, as requests may hold it."""

import unicodedata
from typing import Annotated, Final

from pydantic import AfterValidator, Field


def printable(text: str) -> str:
    """``text`` if it has no control characters: they would forge lines of logs and of tables, and do nothing in a title.

    Raises
    ------
    ValueError
        There is a control character, a line separator, or a change of the direction of writing.
    """
    for place, character in enumerate(text):
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in DIRECTIONS:
            raise ValueError(f"must not hold control characters, found U+{ord(character):04X} at character {place + 1}")
    return text


DIRECTIONS: Final = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction of writing, so that text looks like another."""


def visible(text: str) -> str:
    """``text`` if it shows anything: blanks and signs without width are no title.

    Raises
    ------
    ValueError
        Nothing of it is seen.
    """
    if all(unicodedata.category(character)[0] in "ZC" for character in text):
        raise ValueError("must hold a character that is seen")
    return text


Line = Annotated[str, Field(max_length=200), AfterValidator(printable)]
"""One line of text for people."""
Title = Annotated[Line, Field(min_length=1), AfterValidator(visible)]
"""One line that is not blank."""
DatasetName = Annotated[str, Field(min_length=1, max_length=100)]
"""Id of a dataset."""
