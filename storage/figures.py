"""Figures of a run: PNG files in a folder, and the list of them, written last."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from storage.atomic import write_file
from storage.errors import DamagedError, ResultsDamagedError, ResultsError
from storage.location import Location
from storage.manifest import check, digest_of_bytes, from_json

LIST: Final = "figures.json"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
"""Names that are safe as file names."""


class FigureStore:
    """The figures in a folder.

    Parameters
    ----------
    folder : Path or ObjectPath
    """

    def __init__(self, folder: Location) -> None:
        self._folder = folder

    def write(self, pngs: Mapping[str, bytes], listed: Sequence[Mapping[str, Any]]) -> None:
        """Write figures, and then their list.

        Parameters
        ----------
        pngs : mapping of str to bytes
            Content of each file, by the figure's name.
        listed : sequence of mappings
            What is said of each figure, in order: its ``name``, and anything JSON can hold.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, content in pngs.items():
            write_file(self._folder / f"{name}.png", content)
        files = {name: digest_of_bytes(content) for name, content in pngs.items()}
        said = [{**item, "size": files[item["name"]].size, "sha256": files[item["name"]].sha256} for item in listed]
        write_file(self._folder / LIST, json.dumps(said).encode())

    def listed(self) -> list[dict[str, Any]]:
        """What was said of each figure, in order.

        Raises
        ------
        ResultsError
            The figures are not written yet.
        ResultsDamagedError
            The list is no longer what was written.
        """
        path = self._folder / LIST
        try:
            items = json.loads(path.read_bytes())
            if all(isinstance(item, dict) and NAME.fullmatch(item["name"]) for item in items):
                return list(items)
        except FileNotFoundError as error:
            raise ResultsError("the figures are not written") from error
        except (OSError, ValueError, TypeError, KeyError):
            pass
        raise ResultsDamagedError(f"the figures are damaged: {LIST} cannot be read; the run can draw them again")

    def path(self, name: str) -> Location | None:
        """The PNG file of a figure; None where no figure of that name is listed.

        Raises
        ------
        ResultsError
            The figures are not written yet.
        ResultsDamagedError
            The file is no longer what was written.
        """
        item = next((item for item in self.listed() if item["name"] == name), None)
        if item is None:
            return None
        path = self._folder / f"{name}.png"
        try:
            if "sha256" in item:
                check(self._folder, path.name, from_json({path.name: (item.get("size", -1), item["sha256"])})[path.name])
            elif not path.is_file() or not path.stat().st_size:
                raise DamagedError(f"{path.name} is missing or empty")
        except (DamagedError, TypeError, ValueError) as error:
            raise ResultsDamagedError(f"the figures are damaged: {error}; the run can draw them again") from error
        return path

    def damage(self) -> list[str]:
        """What is wrong with the figures, file by file; empty where all are what was written.

        Raises
        ------
        ResultsError
            The figures are not written yet.
        """
        found = []
        for item in self.listed():
            try:
                self.path(item["name"])
            except ResultsDamagedError as error:
                found.append(str(error))
        return found
