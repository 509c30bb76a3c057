"""Stored files as answers: validators, conditional requests and byte ranges (RFC 9110, sections 13 and 14)."""

import re
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Final

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from api.problems import RangeError

BLOCK_BYTES: Final = 1 << 18
RANGE = re.compile(r"bytes=(\d*)-(\d*)\s*", re.ASCII)


def send_file(request: Request, path: Path, media_type: str, headers: dict[str, str] | None = None) -> Response:
    """``path`` whole, as a part, or 304 where the reader has it; HEAD answers without the bytes.

    Only a single range is answered with a part, anything else with the whole, as the standard allows.

    Raises
    ------
    RangeError
        The range begins beyond the end of the file.
    """
    status = path.stat()
    etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
    common = {
        "ETag": etag,
        "Last-Modified": formatdate(status.st_mtime, usegmt=True),
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-cache",
    } | (headers or {})
    if is_known(request, etag):
        return Response(status_code=304, headers=common)
    begin, end, is_part = 0, status.st_size, False
    wanted = request.headers.get("range")
    if wanted and request.headers.get("if-range", etag) == etag:
        begin, end, is_part = range_of(wanted, status.st_size)
    common["Content-Length"] = str(end - begin)
    if is_part:
        common["Content-Range"] = f"bytes {begin}-{end - 1}/{status.st_size}"
    code = 206 if is_part else 200
    if request.method == "HEAD":
        return Response(status_code=code, headers=common, media_type=media_type)
    return StreamingResponse(blocks(path, begin, end), code, common, media_type)


def send_bytes(request: Request, content: bytes, etag: str, media_type: str) -> Response:
    """``content``, or 304 where the reader has it."""
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if is_known(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


def is_known(request: Request, etag: str) -> bool:
    """Whether ``If-None-Match`` lists ``etag`` (weak comparison)."""
    listed = request.headers.get("if-none-match", "")
    return any(tag.strip().removeprefix("W/") in (etag, "*") for tag in listed.split(","))


def range_of(header: str, n_bytes: int) -> tuple[int, int, bool]:
    """First byte, one past the last, and whether that is a part; a header that cannot be read asks for all."""
    match = RANGE.fullmatch(header)
    if match is None or match.groups() == ("", ""):
        return 0, n_bytes, False
    first, last = match.groups()
    if not first:
        begin, end = max(n_bytes - int(last), 0), n_bytes
    else:
        begin, end = int(first), min(int(last) + 1, n_bytes) if last else n_bytes
        if last and int(last) < begin:
            return 0, n_bytes, False
    if begin >= n_bytes:
        raise RangeError(n_bytes)
    return begin, end, True


def blocks(path: Path, begin: int, end: int) -> Iterator[bytes]:
    """Bytes ``begin`` to ``end`` of ``path``."""
    with path.open("rb") as file:
        file.seek(begin)
        while begin < end and (block := file.read(min(BLOCK_BYTES, end - begin))):
            begin += len(block)
            yield block
