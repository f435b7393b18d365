"""Signatures of webhooks, as the Standard Webhooks specification has them (standardwebhooks.com).

HMAC-SHA256 over ``id.timestamp.body``. Each tenant has a secret of its own, made from one key that
never leaves the data directory: whoever can check what he is sent cannot forge what others are.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from filelock import FileLock

from hansard.model import LOCAL

_PREFIX = "whsec_"
_HOUSE = ("", LOCAL)
"""Who goes by the secret in the settings, where there is one: the owner of the machine."""


def sign(secret: str, number: str, timestamp: int, body: bytes) -> str:
    """The header ``webhook-signature``: one signature for each of the secrets, blanks between."""
    said = f"{number}.{timestamp}.".encode() + body
    marks = []
    for one in secret.split():
        key = base64.b64decode(one.removeprefix(_PREFIX))
        digest = hmac.new(key, said, hashlib.sha256).digest()
        marks.append(f"v1,{base64.b64encode(digest).decode()}")
    return " ".join(marks)


class Secrets:
    """What deliveries are signed with, by tenant."""

    def __init__(self, data: Path, given: str | None) -> None:
        """``given`` is the setting; ``data`` keeps the key that the others are made from."""
        self._given = given
        self._path = data / "webhook.key"
        self._key: bytes | None = None

    def of(self, tenant: str) -> str:
        """``whsec_…``; the setting may hold several with blanks between, to go from one to another.

        Raises:
            OSError: the key cannot be read or kept.
        """
        if self._given and tenant in _HOUSE:
            return self._given
        if self._key is None:
            self._key = _kept(self._path)
        name = LOCAL if tenant in _HOUSE else tenant
        mark = hmac.new(self._key, f"hansard webhooks\0{name}".encode(), hashlib.sha256).digest()
        return _PREFIX + base64.b64encode(mark).decode()


def _kept(path: Path) -> bytes:
    """The key in a file that only its owner reads; made where there is none, once for all."""
    with FileLock(f"{path}.lock"):
        if path.exists():
            return path.read_bytes()
        key = secrets.token_bytes(32)
        part = path.with_name(f"{path.name}.part")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        return key
