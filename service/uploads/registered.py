"""Files that already lie where the service may read: those below allow-listed roots, and no others."""

import os
import re
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from service.errors import ConflictError, FieldError, ForbiddenPathError, InvalidInputError
from service.uploads.open_files import OpenFile, OpenFolder
from service.uploads.sandbox import belong_together
from storage.location import Location
from storage.readers.containers.archive import is_clutter

MOST_TOGETHER: Final = 200
"""Files that are open for one reading: the process that reads gets no more than 250 from another."""
MOST_FAULTS: Final = 20
"""Once so much is wrong with files of a folder, no more of them are read."""

TakeIn: TypeAlias = Callable[[str, OpenFile | OpenFolder], object]
"""Reads an open file, or a folder of them, into a dataset under a name."""


@dataclass(frozen=True)
class RegisteredFiles:
    """Files that are read where they lie, as `registered_files` finds them for a project below the ``roots``."""

    files: Sequence[Path]
    roots: Sequence[Path]
    project: str

    def belong_together(self, datasets: Location, memory_bytes: int, timeout_s: float) -> bool:
        """Whether they are read as one, as a ZIP of them is: one of them is part of a measurement in several."""
        if len(self.files) == 1:
            return False
        for first in range(0, len(self.files), MOST_TOGETHER):
            with self._opened(self.files[first : first + MOST_TOGETHER]) as folder:
                if belong_together(folder, datasets, memory_bytes, timeout_s):
                    return True
        return False

    def take_in_together(self, name: str, take_in: TakeIn) -> None:
        """Read all of them as one.

        Raises
        ------
        InvalidInputError
            They are too many, or what ``take_in`` raises.
        """
        if len(self.files) > MOST_TOGETHER:
            message = f"holds {len(self.files)} files, of which some need others: register folders of up to {MOST_TOGETHER} files"
            raise InvalidInputError(f"the folder {message}", [FieldError("path", message)])
        with self._opened(self.files) as folder:
            take_in(name, folder)

    def take_in_each(self, take_in: TakeIn) -> None:
        """Read one after the other.

        Raises
        ------
        InvalidInputError
            With what ``take_in`` finds wrong with each file, by its name; or two files would get the same name.
        """
        faults: list[FieldError] = []
        for name, file in names_of(self.files).items():
            try:
                with opened(file, self.roots, self.project) as descriptor:
                    take_in(name, OpenFile(descriptor))
            except InvalidInputError as error:
                found = error.faults or (FieldError("file", str(error)),)
                faults += [FieldError(fault.field, f"{file.name}: {fault.message}") for fault in found]
            except ConflictError as error:
                faults.append(FieldError("file", f"{file.name}: {error}"))
            if len(faults) >= MOST_FAULTS:
                break
        if faults:
            raise InvalidInputError.of(*faults)

    @contextmanager
    def _opened(self, files: Sequence[Path]) -> Iterator[OpenFolder]:
        """Some of the files, open by their names."""
        with ExitStack() as stack:
            handles = [OpenFile(stack.enter_context(opened(file, self.roots, self.project))) for file in files]
            yield OpenFolder(tuple((file.name, handle) for file, handle in zip(files, handles, strict=True)))


def registered_files(path: str, roots: Sequence[Path], project: str) -> RegisteredFiles:
    """The file at ``path``, or all files of the folder there, links resolved: names that lead outside are refused.

    Files that desktops leave in folders, such as ``.DS_Store``, are left out.

    Parameters
    ----------
    path : str
    roots : sequence of Path
        Folders that may be read; ``{project}`` in one stands for the project's name.
    project : str

    Raises
    ------
    ForbiddenPathError
        The path, its links resolved, is not below one of the roots.
    InvalidInputError
        It holds no files, or can be no path.
    """
    allowed = allowed_folders(roots, project)
    try:
        asked = Path(path).resolve()
        inside = sorted(file for file in asked.glob("*") if file.is_file() and not is_clutter(file.name))
        found = [asked] if asked.is_file() else inside
        resolved = [file.resolve() for file in found]
    except ValueError as error:
        raise InvalidInputError(f"path cannot be read: {error}", [FieldError("path", f"cannot be read: {error}")]) from error
    except OSError as error:  # refused like any other path: the answer tells nothing of what lies elsewhere
        raise forbidden(path) from error
    for file in (asked, *resolved):
        if not any(file.is_relative_to(root) for root in allowed):
            raise forbidden(path)
    if not resolved:
        raise InvalidInputError(f"{path} holds no files", [FieldError("path", "holds no files")])
    return RegisteredFiles(resolved, roots, project)


def allowed_folders(roots: Sequence[Path], project: str) -> list[Path]:
    """Folders that a project may read."""
    return [Path(str(root).replace("{project}", project)).resolve() for root in roots]


def forbidden(path: object) -> ForbiddenPathError:
    """The refusal of a path, in the same words for whatever may lie there."""
    return ForbiddenPathError(f"{path} is not below one of the folders this service may read")


@contextmanager
def opened(file: Path, roots: Sequence[Path], project: str) -> Iterator[int]:
    """A descriptor of one of the `registered_files`, from which it can be read whatever its path leads to later.

    Raises
    ------
    ForbiddenPathError
        The file, or a folder above it, was replaced by a link since it was found.
    """
    root = next(root for root in allowed_folders(roots, project) if file.is_relative_to(root))
    try:
        descriptor = open_below(root, file.relative_to(root))
    except OSError as error:
        raise forbidden(file) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise forbidden(file)
        yield descriptor
    finally:
        os.close(descriptor)


def open_below(root: Path, relative: Path) -> int:
    """Open a file below a folder for reading, following no link on the way; the descriptor."""
    folder = os.open(root, os.O_RDONLY | os.O_NOFOLLOW)
    for number, part in enumerate(relative.parts, start=1):
        kind = os.O_NONBLOCK if number == len(relative.parts) else os.O_DIRECTORY
        try:
            inner = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | kind, dir_fd=folder)
        finally:
            os.close(folder)
        folder = inner
    return folder


def names_of(files: Sequence[Path]) -> Mapping[str, Path]:
    """Registered files by the names that their scans get.

    Raises
    ------
    InvalidInputError
        Two files would get the same name.
    """
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for file in files:
        found[safe_name(file.stem)].append(file)
    faults = [
        FieldError("path", f"{' and '.join(file.name for file in same)} would both be scan {name!r}: rename all but one")
        for name, same in found.items()
        if len(same) > 1
    ]
    if faults:
        raise InvalidInputError.of(*faults)
    return {name: same[0] for name, same in found.items()}


def safe_name(stem: str) -> str:
    """A file's name, reduced to what the store accepts."""
    cleaned = re.sub(r"[^A-Za-z0-9._+-]+", "-", stem).lstrip("._+-")
    return cleaned[:100] or "scan"
