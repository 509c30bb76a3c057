"""Reference spectra kept for a project: one XDI text each, in a folder of the project."""

from collections.abc import Mapping
from typing import Final

from storage.atomic import write_file
from storage.datasets.scans import check_name
from storage.location import Location

SUFFIX: Final = ".xdi"


class ReferenceStore:
    """Texts by project and name.

    Parameters
    ----------
    root : Path or ObjectPath
        Folder of all projects; made when the first text is kept.
    """

    def __init__(self, root: Location) -> None:
        self._root = root

    def names(self, project: str) -> list[str]:
        """Names of a project's texts, sorted."""
        folder = self._root / check_name(project)
        return sorted(path.name.removesuffix(SUFFIX) for path in folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []

    def read(self, project: str, name: str) -> str | None:
        """A text; None where there is none of that name.

        Raises
        ------
        InvalidNameError
        """
        try:
            return self._path(project, name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def keep(self, project: str, texts: Mapping[str, str]) -> None:
        """Keep texts by their names; one of the same name is replaced whole.

        Raises
        ------
        InvalidNameError
        """
        paths = {self._path(project, name): text for name, text in texts.items()}
        for path, text in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, text.encode())

    def remove(self, project: str, name: str) -> bool:
        """Remove a text; False where there is none of that name."""
        try:
            self._path(project, name).unlink()
        except FileNotFoundError:
            return False
        return True

    def _path(self, project: str, name: str) -> Location:
        return self._root / check_name(project) / f"{check_name(name)}{SUFFIX}"
