"""Files that already lie where the service may read: those below allow-listed roots, and no others."""

import re
from collections.abc import Sequence
from pathlib import Path

from service.errors import FieldError, ForbiddenPathError, InvalidInputError


def registered_files(path: str, roots: Sequence[Path], project: str) -> Sequence[Path]:
    """The file at ``path``, or all files of the folder there, links resolved: names that lead outside are refused.

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
    allowed = [Path(str(root).replace("{project}", project)).resolve() for root in roots]
    try:
        asked = Path(path).resolve()
        found = [asked] if asked.is_file() else sorted(file for file in asked.glob("*") if file.is_file())
        resolved = [file.resolve() for file in found]
    except ValueError as error:
        raise InvalidInputError(f"path cannot be read: {error}", [FieldError("path", f"cannot be read: {error}")]) from error
    except OSError as error:  # refused like any other path: the answer tells nothing of what lies elsewhere
        raise ForbiddenPathError(f"{path} is not below one of the folders this service may read") from error
    for file in (asked, *resolved):
        if not any(file.is_relative_to(root) for root in allowed):
            raise ForbiddenPathError(f"{path} is not below one of the folders this service may read")
    if not resolved:
        raise InvalidInputError(f"{path} holds no files", [FieldError("path", "holds no files")])
    return resolved


def safe_name(stem: str) -> str:
    """A file's name, reduced to what the store accepts."""
    cleaned = re.sub(r"[^A-Za-z0-9._+-]+", "-", stem).lstrip("._+-")
    return cleaned[:100] or "scan"
