"""Units that a file states, and their factors to the units of ptyxas: metres, electronvolts, pixels, counts."""

import math
import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from storage.readers.record import DAMAGE

JOULE_EV: Final = 1.602176634e-19
"""One electronvolt [J]."""

MAX_QUOTED: Final = 40
"""Characters of a file's own words that a message repeats."""

_PREFIXES: Final = {
    "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "c": 1e-2, "d": 1e-1, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9,
    "T": 1e12,
}  # fmt: skip
_PREFIX_WORDS: Final = {
    "femto": 1e-15, "pico": 1e-12, "nano": 1e-9, "micro": 1e-6, "milli": 1e-3, "centi": 1e-2, "deci": 1e-1, "": 1.0, "kilo": 1e3,
    "mega": 1e6, "giga": 1e9, "tera": 1e12,
}  # fmt: skip


def _scaled(symbols: Mapping[str, float], words: Mapping[str, float], largest: float = math.inf) -> dict[str, float]:
    tables = ((symbols, _PREFIXES), (words, _PREFIX_WORDS))
    return {
        prefix + unit: factor * scale
        for units, prefixes in tables
        for unit, scale in units.items()
        for prefix, factor in prefixes.items()
        if factor <= largest
    }


_ANGSTROM: Final = dict.fromkeys(("Å", "A", "Ang", "ang", "angstrom", "angstroms", "ångström", "Angstrom"), 1e-10)
_MICRON: Final = dict.fromkeys(("micron", "microns"), 1e-6)

LENGTHS_M: Final[Mapping[str, float]] = MappingProxyType(
    {**_scaled({"m": 1.0}, dict.fromkeys(("meter", "metre", "meters", "metres"), 1.0), 1e3), **_ANGSTROM, **_MICRON}
)
"""Lengths a ``units`` attribute may name [m]."""

ENERGIES_EV: Final[Mapping[str, float]] = MappingProxyType(
    _scaled(
        {"eV": 1.0, "J": 1 / JOULE_EV},
        {**dict.fromkeys(("electronvolt", "electronvolts", "electron volt", "electron volts"), 1.0), "joule": 1 / JOULE_EV,
         "joules": 1 / JOULE_EV},
    )
)  # fmt: skip
"""Energies a ``units`` attribute may name [eV]."""

PIXELS: Final[Mapping[str, float]] = MappingProxyType(dict.fromkeys(("pixel", "pixels", "px", "pix", "1"), 1.0))
"""Names of the pixel as a unit."""

COUNTS: Final[Mapping[str, float]] = MappingProxyType(
    dict.fromkeys(("count", "counts", "cts", "photon", "photons", "ph", "1", "dimensionless", "unitless", "none"), 1.0)
)
"""Names of the count as a unit."""


class UnitError(ValueError):
    """A unit that is none of the kind that the number must have."""


def unit_of(node: Any) -> str:
    """Return the ``units`` attribute of an array as text; "" where it is missing, empty or blank.

    Bytes are decoded as UTF-8, else as Latin-1, in which older programs write "µm".
    """
    attributes = getattr(node, "attrs", None)
    if attributes is None:
        return ""
    for name in ("units", "unit"):
        text = _text(_attribute(attributes, name))
        if text:
            return text
    return ""


def _attribute(attributes: Any, name: str) -> Any:
    try:
        return attributes.get(name)
    except UnicodeDecodeError as error:
        # h5py decodes variable-length text as UTF-8; the error carries the bytes that are none.
        return error.object
    except DAMAGE:
        return None


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        texts = {_text(item) for item in value.flat[:100]}
        return texts.pop() if len(texts) == 1 else ", ".join(sorted(texts))
    if isinstance(value, int | float | np.number):
        return f"{value:g}"
    if isinstance(value, str):
        # h5py represents bytes that are not UTF-8 as surrogates.
        value = value.encode("utf-8", "surrogateescape")
    return decoded(value).strip(" \t\r\n\0") if isinstance(value, bytes) else ""


def decoded(text: bytes) -> str:
    """Return text of a file: UTF-8, else Latin-1, which older programs write."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")


def factor_of(unit: str, known: Mapping[str, float], what: str) -> float:
    """Return what a number in ``unit`` is multiplied by to be in the base unit of ``known``; 1 where ``unit`` is "".

    Symbols are case-sensitive (MeV, meV); words and symbols that no case makes ambiguous are not. A power of ten in
    front ("1e-6 m", "10^-6 m") counts.

    Parameters
    ----------
    unit : str
    known : mapping
        One of the tables above.
    what : str
        The quantity, for the message: "length".

    Raises
    ------
    UnitError
        It is none of these.
    """
    power, name = _split_power(_plain(unit))
    if not name:
        return power
    if name in known:
        return power * known[name]
    alike = {factor for word, factor in known.items() if word.casefold() == name.casefold()}
    if len(alike) == 1:
        return power * alike.pop()
    names = ", ".join(_examples(known))
    raise UnitError(f"unit {quoted(unit)} is no unit of {what}; write {names}")


def _plain(unit: str) -> str:
    # NFKC makes the micro sign a mu and the angstrom sign a ring-A; then mu stands for the prefix u.
    text = unicodedata.normalize("NFKC", unit).replace("\u03bc", "u").replace("\u2212", "-")
    return " ".join(text.strip("[]() \t").split())


def _split_power(text: str) -> tuple[float, str]:
    match = re.fullmatch(r"(?:1?[x*×]?\s*10\s*(?:\^|\*\*)\s*([+-]?\d{1,2})|1(?:\.0*)?e([+-]?\d{1,2}))\s*[*·]?\s*(.*)", text)
    if match is None:
        return 1.0, text
    return 10.0 ** int(match[1] or match[2]), match[3]


def _examples(known: Mapping[str, float]) -> list[str]:
    common = ("m", "mm", "um", "nm", "eV", "keV", "J", "pixel", "counts")
    return [name for name in common if name in known]


def quoted(text: str) -> str:
    """Return a file's own words in quotes, cut to `MAX_QUOTED` characters."""
    return repr(text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 1] + "…")
