"""Bodies of requests on their way to a file: whole, counted, hashed, and gone afterwards."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.errors import DigestMismatchError, InvalidInputError, QuotaError, StorageFullError, TooLargeError
from service.settings import Settings
from service.uploads.receive import BLOCK_BYTES, Received, UploadReceiver, write_block
from service.workflow.quotas import Limits


async def parts(*bodies: bytes) -> AsyncIterator[bytes]:
    for body in bodies:
        yield body


async def broken() -> AsyncIterator[bytes]:
    yield b"x" * 5000
    raise ConnectionResetError


def receive(settings: Settings, stream: AsyncIterator[bytes], announced: str | None = None) -> tuple[Received, bytes]:
    """What was received, and what its file held."""

    async def run() -> tuple[Received, bytes]:
        receiver = UploadReceiver(settings)
        with Limits(settings).arrival("p", 0) as arrival:
            async with receiver.received(stream, arrival, announced) as found:
                return found, found.path.read_bytes()

    return asyncio.run(run())


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(data_dir=tmp_path, min_free_bytes=0, max_upload_bytes=3 * BLOCK_BYTES, max_project_bytes=2 * BLOCK_BYTES)
    UploadReceiver(settings).start()
    return settings


def test_a_body_is_there_whole_while_it_is_needed(settings: Settings) -> None:
    body = bytes(range(256)) * 6000
    assert len(body) > BLOCK_BYTES
    found, held = receive(settings, parts(body[:1000], body[1000:]))
    assert held == body
    assert found.sha256 == hashlib.sha256(body).hexdigest()
    assert list(settings.uploads_dir.iterdir()) == []


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (parts(), InvalidInputError),
        (broken(), ConnectionResetError),
        (parts(b"x" * BLOCK_BYTES, b"x" * BLOCK_BYTES, b"x"), QuotaError),
    ],
)
def test_a_body_that_cannot_be_taken_leaves_nothing(
    settings: Settings, stream: AsyncIterator[bytes], error: type[Exception]
) -> None:
    with pytest.raises(error):
        receive(settings, stream)
    assert list(settings.uploads_dir.iterdir()) == []


def test_too_large_a_body_and_other_bytes_than_announced_are_refused(settings: Settings) -> None:
    small = settings.model_copy(update={"max_upload_bytes": 10})
    with pytest.raises(TooLargeError, match="at most 10 bytes"):
        receive(small, parts(b"x" * 11))
    with pytest.raises(DigestMismatchError, match="announced was 0000"):
        receive(settings, parts(b"x"), "0" * 64)
    assert list(settings.uploads_dir.iterdir()) == []


def test_the_folder_of_uploads_may_be_a_link_to_another_disk(settings: Settings, tmp_path: Path) -> None:
    elsewhere = tmp_path / "scratch"
    (elsewhere / "built").mkdir(parents=True)
    (elsewhere / "built" / "half").write_bytes(b"half")
    kept = tmp_path / "kept"
    kept.write_bytes(b"kept")
    (elsewhere / "link").symlink_to(kept)
    settings.uploads_dir.rmdir()
    settings.uploads_dir.symlink_to(elsewhere)
    UploadReceiver(settings).start()
    assert settings.uploads_dir.is_symlink()
    assert list(elsewhere.iterdir()) == []
    assert kept.read_bytes() == b"kept", "of a link the link goes, and not what it leads to"


def test_what_an_earlier_service_left_is_thrown_away(settings: Settings) -> None:
    (settings.uploads_dir / "half.part").write_bytes(b"half")
    UploadReceiver(settings).start()
    assert list(settings.uploads_dir.iterdir()) == []


def test_a_disk_that_gets_full_is_told_as_that() -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(StorageFullError, match="filled up"):  # noqa: PTH123
        write_block(full, hashlib.sha256(), b"block")
