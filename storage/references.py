"""Reference spectra kept for a project: one XDI text each, below the digest of it, in a folder of the project."""

import hashlib
from collections.abc import Mapping
from typing import Final

from storage.atomic import write_file
from storage.datasets.scans import check_name, folders_in
from storage.errors import ReferenceDamagedError
from storage.location import Location

SUFFIX: Final = ".xdi"
DIGEST: Final = b"sha256 "
"""How the first line begins; a file that was put here by hand begins as XDI does, and is taken as it is."""


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
        ReferenceDamagedError
            It is not what was kept.
        """
        try:
            content = self._path(project, name).read_bytes()
        except FileNotFoundError:
            return None
        first, _, rest = content.partition(b"\n")
        if first == DIGEST + hashlib.sha256(rest).hexdigest().encode():
            return rest.decode("utf-8")
        try:
            if content.startswith(b"#XDI"):
                return content.decode("utf-8")
        except UnicodeDecodeError:
            pass
        raise ReferenceDamagedError(f"the reference {name!r} is no longer what was kept: PUT it again, or DELETE it")

    def damage(self) -> dict[str, str]:
        """What is wrong with the damaged texts of all projects, by ``project/name``."""
        found = {}
        for project in folders_in(self._root) if self._root.is_dir() else []:
            for name in self.names(project):
                try:
                    self.read(project, name)
                except ReferenceDamagedError as error:
                    found[f"{project}/{name}"] = str(error)
        return found

    def keep(self, project: str, texts: Mapping[str, str]) -> None:
        """Keep texts by their names; one of the same name is replaced whole.

        Raises
        ------
        InvalidNameError
        """
        paths = {self._path(project, name): text for name, text in texts.items()}
        for path, text in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            content = text.encode()
            write_file(path, DIGEST + hashlib.sha256(content).hexdigest().encode() + b"\n" + content)

    def remove(self, project: str, name: str) -> bool:
        """Remove a text; False where there is none of that name."""
        try:
            self._path(project, name).unlink()
        except FileNotFoundError:
            return False
        return True

    def _path(self, project: str, name: str) -> Location:
        return self._root / check_name(project) / f"{check_name(name)}{SUFFIX}"
