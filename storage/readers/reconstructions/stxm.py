"""STXM stacks of the ALS and of beamlines that use its software: a ``.hdr`` header and one ``.xim`` text image an energy.

The header is nested ``{ Name = value; }`` blocks, in which ``(n, a, b, ...)`` is a list of n; ``ScanDefinition`` gives the
axes of the image (PAxis along a row, QAxis along a column) and of the stack, each with its unit and its points. Counts are
not normalised: I0 comes from an empty area.

Source: the files themselves, as the beamlines 5.3.2 and 11.0.2 of the ALS write them.
"""

import re
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.errors import FieldError
from storage.readers.containers.archive import Archive
from storage.readers.images import DerivedImage, ImageSource
from storage.readers.record import DAMAGE
from storage.readers.units import ENERGIES_EV, LENGTHS_M, decoded, factor_of, quoted

MAX_HEADER_BYTES: Final = 2**22
MAX_IMAGE_BYTES: Final = 2**28
MAX_DEPTH: Final = 20
TOKEN: Final = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([{}()=;,])|([^\s{}()=;,"][^{}()=;,"]*))')
EVEN_STEPS: Final = 0.01
"""Most that the steps of an axis may differ from each other, as a share."""

Block = dict[str, Any]


@dataclass(frozen=True)
class Axis:
    """One axis of an image: its points, and their step."""

    n: int
    step_m: float


def is_stxm(archive: Archive) -> bool:
    """Whether an archive holds a header and images of a STXM stack."""
    return bool(header_names(archive)) and any(name.lower().endswith(".xim") for name in archive.members)


def header_names(archive: Archive) -> list[str]:
    """Names of the archive's headers."""
    return sorted(name for name in archive.members if name.lower().endswith(".hdr"))


def read_stxm(archive: Archive) -> list[ImageSource]:
    """Read every stack of an archive, leaving the images in it."""
    return [source for name in header_names(archive) for source in _read_stack(archive, name)]


def _read_stack(archive: Archive, name: str) -> list[ImageSource]:
    try:
        definition = parse_header(_text(archive, name, MAX_HEADER_BYTES))["ScanDefinition"]
        regions = [region for region in definition["Regions"] if isinstance(region, dict)]
        if len(regions) != 1:
            raise ValueError(f"holds {len(regions)} regions; send each as a stack of its own")
        (rows, columns), energies_ev = _image_axes(regions[0]), _energies_ev(definition)
    except (*DAMAGE, AttributeError) as error:
        return [ImageSource(name, faults=(FieldError("header", f"{name} cannot be understood: {error}"),))]
    images = _image_names(archive, name)
    if len(images) != len(energies_ev):
        message = f"{len(images)} images (.xim) for the {len(energies_ev)} energies of {name}"
        return [ImageSource(name, faults=(FieldError("image", message),))]
    shape = (rows.n, columns.n)
    return [
        ImageSource(
            image,
            "intensity",
            DerivedImage(shape, np.dtype(np.float64), partial(_read_image, archive, image, shape)),
            float(energy_ev),
            rows.step_m,
        )
        for image, energy_ev in zip(images, energies_ev, strict=True)
    ]


def _image_axes(region: Block) -> tuple[Axis, Axis]:
    """Axes of the rows and of the columns; their steps must be alike."""
    columns, rows = (_axis(region[name], name) for name in ("PAxis", "QAxis"))
    if abs(rows.step_m - columns.step_m) > EVEN_STEPS * rows.step_m:
        raise ValueError(f"pixels must be square, got {rows.step_m:g} by {columns.step_m:g} m")
    return rows, columns


def _axis(axis: Block, name: str) -> Axis:
    points = _points(axis, name) * factor_of(str(axis.get("Unit", "um")), LENGTHS_M, "length")
    steps = np.abs(np.diff(points))
    if len(points) < 2 or steps.min() <= 0 or np.ptp(steps) > EVEN_STEPS * steps.mean():
        raise ValueError(f"the points of {name} must be two or more in even steps")
    return Axis(len(points), float(np.abs(points[-1] - points[0]) / (len(points) - 1)))


def _energies_ev(definition: Block) -> NDArray[np.float64]:
    axis = definition["StackAxis"]
    if str(axis.get("Name", "Energy")).lower() != "energy":
        raise ValueError(f"the stack is over {quoted(str(axis['Name']))}, not over energy")
    return _points(axis, "StackAxis") * factor_of(str(axis.get("Unit", "eV")), ENERGIES_EV, "energy")


def _points(axis: Block, name: str) -> NDArray[np.float64]:
    points = np.array([float(value) for value in axis["Points"]])
    if not np.isfinite(points).all():
        raise ValueError(f"the points of {name} must be finite numbers")
    return points


def _image_names(archive: Archive, header: str) -> list[str]:
    """Images that belong to a header, in the order of their numbers; only the first channel, ``a``, where there are several."""
    stem = header[: -len(".hdr")]
    images = sorted(name for name in archive.members if name.startswith(f"{stem}_") and name.lower().endswith(".xim"))
    first = [name for name in images if name[len(stem) + 1 :].startswith("a")]
    return first or images


def _read_image(archive: Archive, name: str, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Counts (Y, X) of one image.

    Raises
    ------
    ValueError
        They are not numbers, or not as many as the header says.
    """
    values = np.array(_text(archive, name, MAX_IMAGE_BYTES).split(), np.float64)
    if values.size != shape[0] * shape[1]:
        raise ValueError(f"{name} holds {values.size} numbers; the header says {shape[0]} by {shape[1]}")
    return values.reshape(shape)


def _text(archive: Archive, name: str, most_bytes: int) -> str:
    member = archive.members[name]
    if member.file_size > most_bytes:
        raise ValueError(f"{name} is {member.file_size} bytes, more than {most_bytes}")
    return decoded(archive.file.read(member))


def parse_header(text: str) -> Block:
    """The blocks of a header as nested dictionaries and lists.

    Raises
    ------
    ValueError
        A bracket that is not closed, a list that is not as long as it says, or blocks nested too deeply.
    """
    tokens = [(match[1], match[2] or "", match[3]) for match in TOKEN.finditer(text)][::-1]
    return _block(tokens, "", 0)


def _block(tokens: list[tuple[Any, str, Any]], end: str, depth: int) -> Block:
    found: Block = {}
    while tokens:
        _, sign, word = tokens.pop()
        if sign and sign == end:
            return found
        if word is not None and tokens and tokens[-1][1] == "=":
            tokens.pop()
            found[word.strip()] = _value(tokens, depth + 1)
        elif sign not in (";", ","):
            raise ValueError(f"expected a name, got {quoted(str(word or sign))}")
    if end:
        raise ValueError(f"a bracket is not closed by {end}")
    return found


def _value(tokens: list[tuple[Any, str, Any]], depth: int) -> Any:
    if depth > MAX_DEPTH or not tokens:
        raise ValueError("blocks are nested too deeply, or the header ends early")
    text, sign, word = tokens.pop()
    if text is not None:
        return text
    if sign == "{":
        return _block(tokens, "}", depth)
    if sign != "(":
        return (word or "").strip()
    items: list[Any] = []
    while tokens and tokens[-1][1] != ")":
        if tokens[-1][1] in (",", ";"):
            tokens.pop()
        else:
            items.append(_value(tokens, depth + 1))
    if not tokens:
        raise ValueError("a list is not closed by )")
    tokens.pop()
    if not items or int(items[0]) != len(items) - 1:
        raise ValueError(f"a list says it holds {items[:1]} and holds {max(0, len(items) - 1)}")
    return items[1:]
