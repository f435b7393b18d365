"""Keys of the API: who they act for and what they may. Only a hash of the secret is kept.

A token is ``hsd_<id>_<secret>``. The id finds the row; the secret, 256 bits from the system's
generator, is compared as SHA-256. A slow hash would protect nothing more: nobody guesses 256 bits.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import time
from collections.abc import Collection
from typing import Any, Literal

import sqlalchemy as sa

from hansard.errors import UnknownKey
from hansard.model import Value
from hansard.store.tables import keys

Scope = Literal["read", "write", "admin"]
"""``read`` looks, ``write`` changes, ``admin`` does both and sees what is not one key's alone."""

SCOPES: tuple[Scope, ...] = ("read", "write", "admin")

_PREFIX = "hsd"
_ALPHABET = string.ascii_letters + string.digits
_SECRET = 43
"""Characters of a secret: 62 to the power of 43 is a little more than 2 to the power of 256."""

_LONGEST = 128
"""Characters of a token that is looked at."""

_NOBODY = "0" * 64
"""The hash that a secret is compared with where no key has the id: the same work either way."""


class Key(Value, frozen=True):
    """A key as its owner may see it. Times are seconds since the epoch."""

    id: str
    name: str
    tenant: str
    scopes: tuple[Scope, ...]
    created: float
    rate: float | None = None
    """Requests a minute; ``None`` is the setting."""
    burst: int | None = None
    quota: float | None = None
    """Seconds of audio a day; ``None`` is no limit."""
    expires: float | None = None
    revoked: float | None = None

    def lives(self, moment: float) -> bool:
        """Whether it opens anything at this moment."""
        return self.revoked is None and (self.expires is None or moment < self.expires)

    def may(self, scope: Scope) -> bool:
        """Whether it is enough for this."""
        return scope in self.scopes or "admin" in self.scopes


def create(
    connection: sa.Connection,
    name: str,
    scopes: Collection[Scope] = ("read", "write"),
    *,
    tenant: str | None = None,
    rate: float | None = None,
    burst: int | None = None,
    quota: float | None = None,
    expires: float | None = None,
    now: float | None = None,
) -> tuple[Key, str]:
    """A new key and its token, which is never to be had again.

    ``tenant`` is whose recordings it sees: without one, a new tenant of its own.
    """
    key_id = secrets.token_hex(8)
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET))
    key = Key(
        id=key_id,
        name=name,
        tenant=tenant or key_id,
        scopes=tuple(scope for scope in SCOPES if scope in scopes),
        created=time.time() if now is None else now,
        rate=rate,
        burst=burst,
        quota=quota,
        expires=expires,
    )
    connection.execute(
        keys.insert().values(
            id=key.id,
            name=key.name,
            tenant=key.tenant,
            hash=_hash(secret),
            scopes=" ".join(key.scopes),
            rate=key.rate,
            burst=key.burst,
            quota=key.quota,
            created=key.created,
            expires=key.expires,
        )
    )
    return key, f"{_PREFIX}_{key.id}_{secret}"


def listing(connection: sa.Connection) -> list[Key]:
    """Every key there ever was, the newest first."""
    found = connection.execute(sa.select(keys).order_by(keys.c.created.desc(), keys.c.id))
    return [_key(row) for row in found]


def revoke(connection: sa.Connection, key_id: str, now: float | None = None) -> Key:
    """Let a key open nothing any more. One that is revoked already keeps its moment.

    Raises:
        UnknownKey: no key has this id.
    """
    moment = time.time() if now is None else now
    connection.execute(
        keys.update().where(keys.c.id == key_id, keys.c.revoked.is_(None)).values(revoked=moment)
    )
    found = find(connection, key_id)
    if found is None:
        raise UnknownKey(f"No key has the id {key_id}.", hint="`hansard keys list` shows them.")
    return found[0]


def find(connection: sa.Connection, key_id: str) -> tuple[Key, str] | None:
    """A key and the hash of its secret."""
    row = connection.execute(sa.select(keys).where(keys.c.id == key_id)).first()
    return None if row is None else (_key(row), row.hash)


def split(token: str) -> tuple[str, str] | None:
    """Id and secret of a token; ``None`` where it cannot be one of ours."""
    prefix, _, rest = token.partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix != _PREFIX or not key_id or not secret or len(token) > _LONGEST:
        return None
    return key_id, secret


def fits(secret: str, kept: str | None) -> bool:
    """Whether a secret is the one whose hash was kept; takes as long whether or not it is."""
    same = hmac.compare_digest(_hash(secret), kept or _NOBODY)
    return same and kept is not None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _key(row: sa.Row[Any]) -> Key:
    known = set(row.scopes.split())
    return Key(
        id=row.id,
        name=row.name,
        tenant=row.tenant,
        scopes=tuple(scope for scope in SCOPES if scope in known),
        created=row.created,
        rate=row.rate,
        burst=row.burst,
        quota=row.quota,
        expires=row.expires,
        revoked=row.revoked,
    )
