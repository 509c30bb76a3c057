"""Stacks of images as TIFF in a ZIP, with the energies as text: images in one file or in one each, in the order of the energies.

The text has a line an energy: the energy [eV] and, where the images are counts, I0; lines that begin with # are comments. What
the numbers are is in the name of the images' file or folder (``transmission.tif``, ``optical_density/0001.tif``), or in a comment
``# quantity: transmission``; the words are those of the plain formats. Files follow each other by the numbers in their names. The
pixel is that of the resolution tags, in centimetres, inches or ImageJ's unit; a resolution of a printer is none. Images are
turned as their orientation tag says. Those whose zero is called white are refused: some programs keep inverted numbers then,
others mean how to show them.

Sources: TIFF 6.0 (Adobe, 1992), "XResolution", "ResolutionUnit", "Orientation", "PhotometricInterpretation";
ImageJ, "TIFF description" (``unit``).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from io import BytesIO
from typing import Any, Final

import numpy as np
import tifffile
from numpy.typing import NDArray

from storage.readers.containers.archive import Archive
from storage.readers.containers.limits import expands_too_far
from storage.readers.fields import Fields
from storage.readers.images import MAX_IMAGES, ImageQuantity, ImageSource, split_stack
from storage.readers.reconstructions.plain import NAMES
from storage.readers.record import DAMAGE
from storage.readers.units import LENGTHS_M, UnitError, decoded, factor_of, quoted

IMAGES: Final = (".tif", ".tiff")
TEXTS: Final = (".txt", ".csv", ".dat")
MAX_TEXT_BYTES: Final = 2**22
MAX_TIFF_BYTES: Final = 2**31
"""A file of images is decoded in memory."""
MAX_IMAGE_EXPANSION: Final = 300
"""Largest ratio of the images to their bytes in the files, where they are not small; deflate alone reaches 1000."""
QUANTITY: Final = re.compile(r"#.*?\bquantity\s*[:=]\s*(\w+)", re.IGNORECASE)
DECIMAL_COMMA: Final = re.compile(r"\d+,\d+")
"""A line that may be one number or two."""
UNITS_M: Final = {2: 0.0254, 3: 0.01}
"""``ResolutionUnit``: inch and centimetre [m]."""
TURNS: Final[Mapping[int, Callable[[NDArray[Any]], NDArray[Any]]]] = {
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).T,
    8: np.rot90,
}
"""What turns a stored image (Y, X) upright, by its tag ``Orientation``."""
LEAST_PER_INCH: Final = 2500
"""No printer or screen has as many dots an inch; a program that knows no pixel size writes fewer."""


def is_tiff_stack(archive: Archive) -> bool:
    """Whether an archive holds TIFF images and one text."""
    return bool(_names(archive, IMAGES)) and len(_names(archive, TEXTS)) == 1


def _names(archive: Archive, suffixes: tuple[str, ...]) -> list[str]:
    """Members by the numbers in their names, so that 10 follows 9."""
    found = [name for name in archive.members if name.lower().endswith(suffixes)]
    return sorted(found, key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)])


def read_tiff_stack(archive: Archive) -> list[ImageSource]:
    """Read the stack, leaving the images in the archive."""
    (text,) = _names(archive, TEXTS)
    names = _names(archive, IMAGES)
    columns: dict[str, NDArray[Any]] = {}
    fields = Fields(columns.get)
    try:
        table, quantity = _read_text(decoded(_content(archive, text, MAX_TEXT_BYTES)).removeprefix("\ufeff"))
        columns["energy"] = table[:, 0]
        columns |= {"i0": table[:, 1]} if table.shape[1] == 2 else {}
        stack = TiffStack(archive, names)
    except DAMAGE as error:
        fields.fault("file", str(error))
        return split_stack(fields, "stack", "absorption", None, None, None)
    kind = _quantity(fields, quantity, names)
    if "i0" in columns and kind != "intensity":
        fields.fault("i0", f"a second column is I0 of images of intensity; these are {kind}")
    return split_stack(
        fields, "stack", kind, stack, fields.energies_ev("energy"), _pixel_size_m(fields, stack), i0=columns.get("i0")
    )


def _content(archive: Archive, name: str, most_bytes: int) -> bytes:
    member = archive.members[name]
    if member.file_size > most_bytes:
        raise ValueError(f"{name} is {member.file_size} bytes, more than {most_bytes}")
    return archive.file.read(member)


def _read_text(text: str) -> tuple[NDArray[np.float64], str | None]:
    """Rows of one or two numbers, and the quantity where a comment names it."""
    found = QUANTITY.search(text)
    lines = [(number, line.split("#")[0].strip()) for number, line in enumerate(text.splitlines(), 1)]
    rows = []
    for number, line in lines:
        try:
            rows.append([float(word) for word in re.split(r"[,;\s]+", line) if word])
        except ValueError as error:
            raise ValueError(
                f"line {number} of the energies must be numbers, got {quoted(line)}; comments begin with #"
            ) from error
    rows = [row for row in rows if row]
    if lines and all(DECIMAL_COMMA.fullmatch(line) for _, line in lines if line):
        raise ValueError(
            "energies like 709,5 may have a decimal comma or a column of I0: write a point, or a blank between columns"
        )
    if not rows or len(rows) > MAX_IMAGES or {len(row) for row in rows} - {len(rows[0])} or len(rows[0]) > 2:
        raise ValueError("the energies must be a line each: the energy [eV] and, for counts, I0")
    return np.array(rows), found[1].lower() if found else None


def _quantity(fields: Fields, stated: str | None, names: Sequence[str]) -> ImageQuantity:
    words = (
        [stated] if stated else [word for name in names for word in NAMES if word in re.split(r"[^a-z_]+|_(?=\d)", name.lower())]
    )
    kinds = {NAMES[word] for word in words if word in NAMES}
    if len(kinds) == 1 and "object" not in kinds:
        return kinds.pop()
    wanted = ", ".join(word for word in NAMES if word != "object")
    fields.fault("image", f"say what the numbers are, by the file's name or a comment '# quantity: ...': one of {wanted}")
    return "absorption"


class TiffStack:
    """Pages of TIFF files in an archive, one after the other, as a stack (E, Y, X).

    Raises
    ------
    ValueError
        Pages of different sizes or types, of colours, whose zero is white, or that expand beyond all proportion.
    """

    def __init__(self, archive: Archive, names: Sequence[str]) -> None:
        self._open = lru_cache(maxsize=1)(partial(_opened, archive))
        self._pages = [(name, page) for name in names for page in range(len(self._open(name).pages))]
        pages = [self.page(index) for index in range(len(self._pages))]
        kinds = {(_upright_shape(page), page.dtype) for page in pages}
        if len(self._pages) > MAX_IMAGES or len(kinds) != 1:
            raise ValueError(f"images must be of one size and type, got {sorted(map(str, kinds))[:3]} in {len(self._pages)}")
        ((frame, dtype),) = kinds
        if len(frame) != 2 or dtype is None:
            raise ValueError(f"images must be grey, (Y, X), got {frame}")
        if any(page.photometric == tifffile.PHOTOMETRIC.MINISWHITE for page in pages):
            raise ValueError(
                "images say that zero is white (PhotometricInterpretation 0), and not whether their numbers are inverted: save "
                "them with zero as black, and the numbers as they were measured"
            )
        self.shape, self.dtype = (len(self._pages), *frame), np.dtype(dtype)
        expanded = float(np.prod(self.shape, dtype=np.float64)) * self.dtype.itemsize
        stored = sum(sum(self.page(index).databytecounts) for index in range(len(self._pages)))
        if expands_too_far(expanded, stored, MAX_IMAGE_EXPANSION):
            raise ValueError(f"images expand from {stored} bytes to {expanded / 2**20:.0f} MiB, over {MAX_IMAGE_EXPANSION} to 1")

    def page(self, index: int) -> Any:
        """Page ``index`` of all files."""
        name, page = self._pages[index]
        return self._open(name).pages[page]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read a slice of images."""
        pages = [self.page(index) for index in range(*key.indices(self.shape[0]))]
        return np.stack([TURNS[_orientation(page)](page.asarray()) for page in pages])

    @property
    def description(self) -> str:
        """Text that ImageJ writes with the first image; "" of other programs."""
        first = self.page(0)
        return str(first.description) if first.is_imagej else ""


def _orientation(page: Any) -> int:
    """Orientation of a page, 1 to 8; 1, upright, where it states none that TIFF knows."""
    stated = page.tags["Orientation"].value if "Orientation" in page.tags else 1
    return int(stated) if stated in TURNS else 1


def _upright_shape(page: Any) -> tuple[int, ...]:
    shape = tuple(page.shape)
    return shape[::-1] if len(shape) == 2 and _orientation(page) >= 5 else shape


def _opened(archive: Archive, name: str) -> tifffile.TiffFile:
    return tifffile.TiffFile(BytesIO(_content(archive, name, MAX_TIFF_BYTES)))


def _pixel_size_m(fields: Fields, stack: TiffStack) -> float | None:
    """Side of a pixel [m]; None where the tags do not state it."""
    tags = stack.page(0).tags
    try:
        per_unit = [tags[f"{axis}Resolution"].value[0] / tags[f"{axis}Resolution"].value[1] for axis in "XY"]
        unit_m = _unit_m(stack.description, int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 1)
    except (*DAMAGE, UnitError):
        return None
    if unit_m is None or min(per_unit) <= 0 or 0.0254 * min(per_unit) / unit_m < LEAST_PER_INCH:
        return None
    if abs(per_unit[0] - per_unit[1]) > 1e-3 * per_unit[0]:
        fields.fault("pixel_size_m", f"pixels must be square, got {unit_m / per_unit[1]:g} by {unit_m / per_unit[0]:g} m")
        return None
    return float(unit_m / per_unit[0])


def _unit_m(description: str, unit: int) -> float | None:
    if unit in UNITS_M:
        return UNITS_M[unit]
    stated = re.search(r"^unit=(.+)$", description, re.MULTILINE)
    return None if stated is None else factor_of(stated[1].strip().replace("\\u00B5", "u"), LENGTHS_M, "length")
