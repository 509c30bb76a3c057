"""Files of images: which format they are found to be in, what is refused, and readers of installed packages."""

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage.errors import HostileFileError, UnknownFormatError
from storage.readers import image_format
from storage.readers.image_format import ENTRY_POINTS, ImageReader, OpenedFile, open_images
from storage.readers.images import ImageSource


def refused(path: Path) -> str:
    with pytest.raises(UnknownFormatError) as caught, open_images(path):
        pass
    return str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"PK\x05\x06" + b"\0" * 18, b"\x89HDF\r\n\x1a\n" + b"\0" * 100])
def test_what_holds_no_images_is_refused_with_what_is_known(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f").write_bytes(content)
    assert refused(tmp_path / "f").startswith("file: ")


def test_diffraction_patterns_are_no_images(files: Any, tmp_path: Path) -> None:
    assert "optical_density" in refused(files.npz(tmp_path / "f.npz"))


def test_files_that_reach_outside_themselves_are_refused(files: Any, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f", "w") as file:
        file["object"] = h5py.ExternalLink("/etc/passwd", "x")
    with pytest.raises(HostileFileError, match="external link"), open_images(tmp_path / "f"):
        pass
    with pytest.raises(HostileFileError, match="leaves"), open_images(files.zip(tmp_path / "z", {"../s.hdr": b"", "a.xim": b""})):
        pass


def of_numbers(opened: OpenedFile) -> list[ImageSource]:
    values = np.array(opened.path.read_text().split()[1:], float).reshape(16, 16)
    return [ImageSource("numbers", "absorption", values, 700.0, 1e-8)]


THEIRS = ImageReader("numbers", lambda opened: opened.path.read_bytes()[:8] == b"numbers:", of_numbers)


class Installed:
    """The entry points of a package that brings a reader of its own."""

    def __call__(self, group: str) -> list[EntryPoint]:
        assert group == ENTRY_POINTS
        return [EntryPoint("numbers", f"{__name__}:THEIRS", group)]


def test_a_package_can_bring_a_reader_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EntryPoint, "load", lambda _: THEIRS)
    monkeypatch.setattr(image_format, "entry_points", Installed())
    (tmp_path / "f").write_text("numbers: " + " ".join(map(str, range(256))))
    with open_images(tmp_path / "f") as (source,):
        assert (source.energy_ev, source.quantity) == (700.0, "absorption")
    (tmp_path / "f").write_text("numbers: 1 2 3")
    assert "is damaged" in refused(tmp_path / "f")
