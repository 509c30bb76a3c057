"""API keys: made once, kept as digests.

The file holds one key a line, as the SHA-256 of the key and a name; the key itself is nowhere. A key is a random
256-bit word, so a plain digest is as good as a slow one.
"""

import hashlib
import re
import secrets
from pathlib import Path

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
