"""Uploads on their way in: streamed to a file, counted and hashed, gone again when they have been read."""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from service.errors import DigestMismatchError, FieldError, InvalidInputError, StorageFullError, TooLargeError, is_disk_full
from service.settings import Settings
from service.workflow.quotas import Arrival, check_free_disk
from storage.atomic import discard

BLOCK_BYTES: Final = 1 << 20
"""Bytes gathered before they are hashed and written: a thread's work at a time, not a network packet's."""

log = logging.getLogger(__name__)


class Hash(Protocol):
    """A digest that grows."""

    def update(self, data: bytes, /) -> None:
        """Take in more bytes."""

    def hexdigest(self) -> str:
        """Digest of all bytes so far."""


@dataclass(frozen=True)
class Received:
    """A body that has arrived whole."""

    path: Path
    sha256: str


class UploadReceiver:
    """Writes the bodies of requests to files of the uploads folder.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def start(self) -> None:
        """Throw away uploads that an earlier service left half-way; their folder, which may be a link or a mount, stays."""
        self._settings.uploads_dir.mkdir(parents=True, exist_ok=True)
        for path in self._settings.uploads_dir.iterdir():
            try:
                discard(path)
            except OSError as error:
                log.warning("%s, left by an earlier service, could not be removed: %s", path, error)

    @asynccontextmanager
    async def received(self, stream: AsyncIterator[bytes], arrival: Arrival, announced: str | None) -> AsyncIterator[Received]:
        """A file that holds the whole body, for as long as the block lasts.

        Parameters
        ----------
        stream : asynchronous iterator of bytes
        arrival : Arrival
            Counts the bytes against the project's limit.
        announced : str, optional
            SHA-256 of the body [hex], as its sender says.

        Raises
        ------
        TooLargeError, QuotaError, StorageFullError, DigestMismatchError
        InvalidInputError
            The body is empty.
        """
        path = self._settings.uploads_dir / f"{secrets.token_hex(16)}.part"
        try:
            found = await self._write(stream, path, arrival)
            if announced is not None and announced != found.sha256:
                message = f"the bytes received have sha-256 {found.sha256}, announced was {announced}"
                raise DigestMismatchError.of(FieldError("Content-Digest", message))
            yield found
        finally:
            path.unlink(missing_ok=True)

    async def _write(self, stream: AsyncIterator[bytes], path: Path, arrival: Arrival) -> Received:
        """Write a stream to disk in blocks, counting and hashing; memory stays at one block."""
        check_free_disk(self._settings)
        digest, n_bytes, block = hashlib.sha256(), 0, bytearray()
        with path.open("xb") as file:
            async for part in stream:
                block += part
                n_bytes += len(part)
                arrival.take(len(part))
                if n_bytes > self._settings.max_upload_bytes:
                    raise TooLargeError(f"a scan may have at most {self._settings.max_upload_bytes} bytes")
                if len(block) >= BLOCK_BYTES:
                    await asyncio.to_thread(write_block, file, digest, bytes(block))
                    block.clear()
                    check_free_disk(self._settings)
            await asyncio.to_thread(write_block, file, digest, bytes(block))
        if n_bytes == 0:
            raise InvalidInputError.of(FieldError("body", "the body is empty"))
        return Received(path, digest.hexdigest())


def write_block(file: BinaryIO, digest: Hash, block: bytes) -> None:
    """Write and hash one block, in a thread.

    Raises
    ------
    StorageFullError
    """
    digest.update(block)
    try:
        file.write(block)
        file.flush()
    except OSError as error:
        if is_disk_full(error):
            raise StorageFullError("the disk filled up while the upload was written; nothing of it was kept") from error
        raise
