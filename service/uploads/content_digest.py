"""Digests that clients announce with their uploads (RFC 9530)."""

import base64
import binascii
import re
from typing import Final

from service.errors import FieldError, InvalidInputError

DIGEST: Final = re.compile(r"\s*sha-256\s*=\s*:([A-Za-z0-9+/=]+):\s*")


def read_content_digest(header: str | None) -> str | None:
    """The SHA-256 [hex] that a ``Content-Digest`` header (RFC 9530) announces; None where it announces none.

    Raises
    ------
    InvalidInputError
        The header speaks of sha-256 but cannot be read.
    """
    if header is None or "sha-256" not in header:
        return None
    for part in header.split(","):
        match = DIGEST.fullmatch(part)
        if match:
            try:
                announced = base64.b64decode(match[1], validate=True)
            except binascii.Error:
                break
            if len(announced) == 32:
                return announced.hex()
    raise InvalidInputError.of(FieldError("Content-Digest", "Content-Digest must read sha-256=:<base64 of 32 bytes>:"))
