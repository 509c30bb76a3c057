"""Files that are open, handed to another process with their names."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class OpenFile:
    """A file that is open in this process; sent to a child, it is open there too, whatever has become of its path."""

    descriptor: int

    def __reduce__(self) -> tuple[Callable[[Any], "OpenFile"], tuple[Any]]:
        return receive_file, (DupFd(self.descriptor),)

    @property
    def path(self) -> str:
        """Path under which this process can open it again."""
        return f"/dev/fd/{self.descriptor}"


def receive_file(duplicate: Any) -> OpenFile:
    """The file that the parent has sent."""
    return OpenFile(duplicate.detach())


@dataclass(frozen=True)
class OpenFolder:
    """Files that belong together, open in this process; sent to a child, they are open there too."""

    files: tuple[tuple[str, OpenFile], ...]
    """By their names, which differ."""

    @contextmanager
    def assembled(self) -> Iterator[Path]:
        """A temporary folder in which each file has its name."""
        with tempfile.TemporaryDirectory(prefix=".staging-") as folder:
            for name, file in self.files:
                (Path(folder) / name).symlink_to(file.path)
            yield Path(folder)
