"""ZIP archives of exported files, each built in a file of its own first, so that none is in memory whole."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

FAST: Final = 1
"""Level of compression."""


class ArchiveWriter:
    """Members are added one after the other.

    Parameters
    ----------
    file : zipfile.ZipFile
    scratch : Path
        File that the members are built in.
    """

    def __init__(self, file: zipfile.ZipFile, scratch: Path) -> None:
        self._file, self._scratch = file, scratch

    @contextmanager
    def member(self, name: str) -> Iterator[Path]:
        """Yield the path of a file to be written; when the block ends it becomes the member ``name``."""
        try:
            yield self._scratch
            self._file.write(self._scratch, name)
        finally:
            self._scratch.unlink(missing_ok=True)


@contextmanager
def new_archive(path: Path) -> Iterator[ArchiveWriter]:
    """Write a ZIP archive; members are built beside it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=FAST) as file:
        yield ArchiveWriter(file, path.with_name(f"{path.stem}-member.part"))
