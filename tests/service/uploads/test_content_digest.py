"""Digests that clients announce."""

import base64
import hashlib

import pytest

from service.errors import InvalidInputError
from service.uploads.content_digest import read_content_digest

BODY = hashlib.sha256(b"body").digest()


@pytest.mark.parametrize("before", ["", "md5=:abc=:, "])
def test_a_digest_is_read(before: str) -> None:
    assert read_content_digest(f"{before}sha-256=:{base64.b64encode(BODY).decode()}:") == BODY.hex()


@pytest.mark.parametrize("header", [None, "md5=:abc=:"])
def test_a_header_without_one_announces_nothing(header: str | None) -> None:
    assert read_content_digest(header) is None


@pytest.mark.parametrize("header", ["sha-256=nonsense", "sha-256=:AAAA:", "sha-256=:====:"])
def test_one_that_cannot_be_read_is_refused(header: str) -> None:
    with pytest.raises(InvalidInputError, match="Content-Digest"):
        read_content_digest(header)
