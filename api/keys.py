"""API keys: who may ask, where the service listens beyond this machine.

The file holds one key a line, as the SHA-256 of the key and a name; the key itself is nowhere. A key is a random
256-bit word, so a plain digest is as good as a slow one.
"""

import base64
import hashlib
import hmac
import re
import secrets
from pathlib import Path
from typing import Final

from fastapi import Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import answer_http_error

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""What load balancers ask, who hold no keys."""
LINE = re.compile(r"([0-9a-f]{64})\s+(\S.*)")


def make_key() -> tuple[str, str]:
    """A new key, and its digest as the file holds it."""
    key = f"ptyxas_{secrets.token_urlsafe(32)}"
    return key, digest_of(key)


def digest_of(key: str) -> str:
    """SHA-256 of ``key``, in hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_digests(path: Path) -> list[str]:
    """Digests of the keys in the file at ``path``; empty lines and ``#`` comments are passed over.

    Raises
    ------
    ValueError
        A line that is no key, or a file without keys: it would lock everyone out, or nobody.
    """
    digests = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = LINE.fullmatch(line.strip())
        if match is None:
            raise ValueError(f"{path}, line {number}: expected the SHA-256 of a key and a name")
        digests.append(match[1])
    if not digests:
        raise ValueError(f"{path} holds no keys")
    return digests


class KeyCheck:
    """ASGI middleware: a request needs ``Authorization: Bearer <key>``, or Basic with the key as password."""

    def __init__(self, app: ASGIApp, digests: list[str]) -> None:
        self.app = app
        self.digests = digests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._may_pass(scope):
            # A browser asks its user for the key: the page then works as any other client.
            headers = {"WWW-Authenticate": 'Basic realm="ptyxas: any name, the key as password", charset="UTF-8"'}
            refusal = HTTPException(401, "this service needs an API key", headers)
            await answer_http_error(Request(scope), refusal)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _may_pass(self, scope: Scope) -> bool:
        if scope["method"] == "OPTIONS" or scope["path"] in OPEN_PATHS:
            return True
        given = digest_of(key_of(Headers(scope=scope).get("authorization", "")))
        # Every digest is compared, in constant time: how long it takes tells nothing.
        return any([hmac.compare_digest(given, digest) for digest in self.digests])


def key_of(authorization: str) -> str:
    """The key in an ``Authorization`` header, empty where there is none."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except ValueError:
            return ""
    return ""
