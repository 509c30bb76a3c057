"""ZIP archives from outside, audited before anything is unpacked."""

import os
import shutil
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from storage.errors import FieldError, HostileFileError, UnknownFormatError
from storage.readers.containers.limits import expands_too_far
from storage.readers.record import DAMAGE

MAX_MEMBERS: Final = 100_000
MAX_UNPACKED: Final = 20
"""Largest ratio of an archive's unpacked files to its own size, where they are unpacked to disk."""
METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

CLUTTER: Final = {
    ".ds_store", "__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", ".spotlight-v100", ".trashes", ".fseventsd", "icon\r",
}  # fmt: skip
"""Files and folders that desktops leave behind, in small letters; they are no part of a measurement."""


@dataclass(frozen=True)
class Archive:
    """An audited archive.

    Attributes
    ----------
    file : zipfile.ZipFile
    members : mapping
        Name of each file, parts separated by "/", to its entry: without `CLUTTER`, and without the folders that hold
        all files, where there are any.
    """

    file: zipfile.ZipFile
    members: Mapping[str, zipfile.ZipInfo]


def is_clutter(name: str) -> bool:
    """Whether a path of "/"-separated parts is a desktop's own file and no part of a measurement."""
    parts = PurePosixPath(name).parts
    return any(part.lower() in CLUTTER for part in parts) or bool(parts and parts[-1].startswith("._"))


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open and audit a ZIP archive.

    Raises
    ------
    UnknownFormatError
        Not a ZIP archive, or a damaged one.
    HostileFileError
        A member leaves the archive's folder, is a link, is encrypted, or expands beyond all proportion.
    """
    try:
        archive = zipfile.ZipFile(path)
    except DAMAGE as error:
        raise UnknownFormatError([FieldError("file", f"is a damaged ZIP archive: {error}")]) from error
    with archive:
        faults = list(_faults(archive))
        if faults:
            raise HostileFileError(faults)
        yield Archive(archive, _members(archive))


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    found = {_name(member): member for member in archive.infolist() if not _is_folder(member)}
    found = {name: member for name, member in found.items() if not is_clutter(name)}
    while found and all("/" in name for name in found) and len(tops := {name.split("/")[0] for name in found}) == 1:
        (top,) = tops
        found = {name.removeprefix(f"{top}/"): member for name, member in found.items()}
    return found


def _name(member: zipfile.ZipInfo) -> str:
    # Archives made on Windows may separate folders by backslashes.
    return member.filename.replace("\\", "/")


def _is_folder(member: zipfile.ZipInfo) -> bool:
    return _name(member).endswith("/")


def _faults(archive: zipfile.ZipFile) -> Iterator[FieldError]:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        yield FieldError("file", f"has {len(members)} members, more than {MAX_MEMBERS}")
        return
    names = [_name(member) for member in members]
    if len(set(names)) != len(names):
        yield FieldError("file", "has two members of one name")
    size = os.stat(str(archive.filename)).st_size
    if sum(member.compress_size for member in members) > size:
        yield FieldError("file", "has members that overlap")
    for member in members:
        message = _member_fault(member)
        if message:
            yield FieldError(member.filename[:200], message)


def _member_fault(member: zipfile.ZipInfo) -> str:
    name = PurePosixPath(_name(member))
    kind = stat.S_IFMT(member.external_attr >> 16)
    if name.is_absolute() or ".." in name.parts or any(":" in part for part in name.parts[:1]):
        return "leaves the archive's folder"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device, not a file"
    if member.flag_bits & 0x1:
        return "is encrypted"
    if member.compress_type not in METHODS:
        return f"is compressed by method {member.compress_type}; store or deflate it"
    if expands_too_far(member.file_size, member.compress_size):
        return f"expands from {member.compress_size} bytes to {member.file_size / 2**20:.0f} MiB"
    return ""


def unpack(archive: Archive, folder: Path) -> None:
    """Write an audited archive's files into ``folder``.

    Raises
    ------
    HostileFileError
        They would take far more room than the archive.
    """
    total = sum(member.file_size for member in archive.members.values())
    if expands_too_far(total, os.stat(str(archive.file.filename)).st_size, MAX_UNPACKED):
        raise HostileFileError([FieldError("file", f"unpacks to {total / 2**20:.0f} MiB, over {MAX_UNPACKED} to 1")])
    for name, member in archive.members.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.file.open(member) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy)


def starts_with(archive: Archive, name: str, signature: bytes) -> bool:
    """Whether a member's content begins with ``signature``.

    Raises
    ------
    zipfile.BadZipFile
        The member is damaged.
    """
    with archive.file.open(archive.members[name]) as file:
        return file.read(len(signature)) == signature
