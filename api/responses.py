"""Stored files as answers, with entity tags, conditional requests and byte ranges (RFC 9110, sections 13 and 14)."""

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from fastapi import Request
from fastapi.responses import FileResponse, Response, StreamingResponse
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from api.problems import GoneError, RangeError
from service.results.exports import Exported

RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\s*", re.ASCII)
"""A single byte range; more digits than a file can have bytes are no range."""


class StoredFile(FileResponse):
    """A file, or the one byte range of it that is asked for; any other ``Range`` is ignored, as the standard allows."""

    chunk_size = 1 << 18

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_single_range(Headers(scope=scope).get("range", "")):
            scope = {**scope, "headers": [header for header in scope["headers"] if header[0] != b"range"]}
        await super().__call__(scope, receive, send)


def send_answer(answer: BaseModel) -> Response:
    """An answer as JSON, for what is asked for often: FastAPI validates what a route returns once more, in another thread."""
    return Response(answer.model_dump_json(by_alias=True), media_type="application/json")


def send_file(request: Request, file: Path | bytes, media_type: str) -> Response:
    """A file, by its path or its content, whole or in part, or 304 if the client has it; HEAD is answered without the bytes.

    Raises
    ------
    RangeError
        The range begins beyond the end of the file.
    GoneError
        The file has been removed.
    """
    if isinstance(file, bytes):
        return send_content(request, file, media_type)
    try:
        status = file.stat()
    except FileNotFoundError as error:
        raise GoneError(f"{file.name} is missing from the store, which is damaged or was deleted") from error
    response = StoredFile(file, media_type=media_type, headers={"Cache-Control": "no-cache"}, stat_result=status)
    etag, modified = response.headers["etag"], response.headers["last-modified"]
    if is_known(request, etag):
        headers = {"ETag": etag, "Last-Modified": modified, "Cache-Control": "no-cache"}
        return Response(status_code=304, headers=headers)
    if request.headers.get("if-range", etag) in (etag, modified):
        part_asked_for(request, status.st_size)
    return response


def send_content(request: Request, content: bytes, media_type: str) -> Response:
    """``content`` whole or in part, or 304 if the client has it.

    Raises
    ------
    RangeError
        The range begins beyond its end.
    """
    etag = tag_of(content)
    response = send_bytes(request, content, etag, media_type)
    response.headers["Accept-Ranges"] = "bytes"
    if response.status_code == 304 or request.headers.get("if-range", etag) != etag:
        return response
    part = part_asked_for(request, len(content))
    if part is None:
        return response
    headers = {"Content-Range": f"bytes {part.start}-{part.stop - 1}/{len(content)}", "ETag": etag, "Cache-Control": "no-cache"}
    return Response(content[part.start : part.stop], 206, headers | {"Accept-Ranges": "bytes"}, media_type)


def send_bytes(request: Request, content: bytes, etag: str, media_type: str) -> Response:
    """``content``, or 304 if the client has it."""
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if is_known(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


async def send_drawing(request: Request, draw: Callable[[], bytes], media_type: str = "image/png") -> Response:
    """The image that ``draw`` returns; few are drawn at the same time.

    Raises
    ------
    BusyError
        Too many wait already.
    """
    content = await request.app.state.drawing.run(draw)
    return send_bytes(request, content, tag_of(content), media_type)


async def send_export(request: Request, write: Callable[[], Exported]) -> Response:
    """The file that ``write`` returns, block by block; few are written at the same time.

    Raises
    ------
    BusyError
        Too many wait already.
    """
    found = await request.app.state.exporting.run(write)
    headers = {
        "Content-Length": str(found.n_bytes),
        "Content-Disposition": f'attachment; filename="{found.filename}"',
        "Cache-Control": "no-store",
    }
    return StreamingResponse(read_blocks(found.file), media_type=found.media_type, headers=headers)


def read_blocks(file: BinaryIO) -> Iterator[bytes]:
    """All blocks of a file, which is closed after the last or when nobody wants more."""
    with file:
        file.seek(0)
        while block := file.read(StoredFile.chunk_size):
            yield block


def tag_of(content: bytes) -> str:
    """The entity tag of what is sent."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def is_known(request: Request, etag: str) -> bool:
    """Whether ``If-None-Match`` lists ``etag`` (weak comparison)."""
    listed = request.headers.get("if-none-match", "")
    return any(tag.strip().removeprefix("W/") in (etag, "*") for tag in listed.split(","))


def is_single_range(header: str) -> bool:
    """Whether a ``Range`` header is one range of bytes, in ascending order."""
    match = RANGE.fullmatch(header)
    if match is None or match.groups() == ("", ""):
        return False
    first, last = match.groups()
    return not (first and last and int(last) < int(first))


def part_asked_for(request: Request, n_bytes: int) -> range | None:
    """Places of the bytes that a request asks for of a file of ``n_bytes``; None where it asks for no single range.

    Raises
    ------
    RangeError
        The range begins beyond the end of the file.
    """
    header = request.headers.get("range", "")
    if not is_single_range(header):
        return None
    first, last = header.strip().removeprefix("bytes=").split("-")
    start = int(first) if first else n_bytes - int(last)
    if start >= n_bytes:
        raise RangeError(n_bytes)
    return range(max(0, start), min(int(last) + 1, n_bytes) if first and last else n_bytes)
