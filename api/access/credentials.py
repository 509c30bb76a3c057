"""What a request shows of who sends it, and the answer that asks for it."""

import base64
from typing import Final, Literal

from starlette.exceptions import HTTPException

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Paths for load balancers, which have neither key nor token."""
COOKIE: Final = "ptyxas-key"
"""Cookie of a browser whose user has signed in with a key."""
SIGN_IN: Final = "/sign-in"
SIGN_IN_PATHS: Final = frozenset({SIGN_IN, "/assets/style.css", "/assets/icon.svg"})
"""What a browser may load before its user has signed in."""


def secret_of(authorization: str) -> str:
    """The key or token in an ``Authorization`` header; empty if there is none."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except ValueError:
            return ""
    return ""


def unauthorised(text: str, what: Literal["key", "token"]) -> HTTPException:
    """Error 401; a browser then asks its user for the key or the token, so that the page works like any other client."""
    challenge = f'Basic realm="ptyxas: any name, the {what} as password", charset="UTF-8"'
    return HTTPException(401, text, {"WWW-Authenticate": challenge})
