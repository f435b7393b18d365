"""What the errors of a PostgreSQL mean to those who use the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from hansard.errors import DiskFull, HansardError, StoreBroken, StoreBusy, StoreGone


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Database errors in Hansard's words."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise _translated(error, place) from error
    except sa.exc.TimeoutError as error:
        raise StoreBusy(
            f"All connections to the store {place} are in use.", hint="Try again in a moment."
        ) from error


_BUSY = ("40001", "40P01", "55P03", "57014", "53300", "23505", "23503")
"""Serialization failure, deadlock, lock and statement timeout, too many connections; and two that
added the same thing at once, or one what the other removed: whoever tries again finds it so."""

READ_ONLY = "25006"
_GONE = ("08", "57P", "25P03", READ_ONLY)
_REFUSED = ("28", "3D000", "42501")
_FULL = ("53100", "53200")


def _translated(error: sa.exc.DBAPIError, place: str) -> HansardError:
    code = getattr(error.orig, "sqlstate", None) or ""
    said = str(error.orig).strip().partition("\n")[0]
    if code.startswith(_FULL):
        return DiskFull(
            f"There is no room left for the store {place}: {said}.",
            hint="Free some space on the database server.",
        )
    if code in _BUSY or (code in _WORDS_SAY and any(words in said for words in _CROWDED)):
        return StoreBusy(f"The store {place} is busy: {said}.", hint="Try again in a moment.")
    if code.startswith(_REFUSED):
        return _refusal(place, said, _LOCKED_OUT)
    for words in () if code else (_NOT_BELIEVED, _LOCKED_OUT, _BEHIND_A_POOLER):
        if any(word in said for word in words):
            return _refusal(place, said, words)
    if error.connection_invalidated or code.startswith(_GONE) or _is_broken(error):
        return StoreGone(
            f"The store {place} cannot be reached: {said}.",
            hint="It is tried again; is the server running?",
        )
    return StoreBroken(
        f"The store {place} cannot be used: {said}.", hint="`hansard doctor` says more."
    )


def _refusal(place: str, said: str, words: tuple[str, ...]) -> StoreBroken:
    what, hint = _REFUSALS[words]
    return StoreBroken(f"The store {place} {what}: {said}.", hint=hint)


# While connecting libpq gives no code, only words.
_NOT_BELIEVED = (
    "certificate verify failed",
    "does not match host name",
    "root certificate file",
)
_LOCKED_OUT = (
    "authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
    "no password supplied",
    "permission denied for database",
)
_BEHIND_A_POOLER = ("unsupported startup parameter",)
_REFUSALS = {
    _NOT_BELIEVED: (
        "is not known to be what it should be",
        "sslrootcert=FILE in HANSARD_DATABASE names an authority of your own.",
    ),
    _LOCKED_OUT: (
        "does not let us in",
        "Is HANSARD_DATABASE right, is the database there, and may the user use it?",
    ),
    _BEHIND_A_POOLER: (
        "is behind something that refuses our settings",
        "PgBouncer: pool_mode = session, and ignore_startup_parameters = options.",
    ),
}
_WORDS_SAY = ("", "08P01")
"""Nor does PgBouncer tell one trouble from another."""
_CROWDED = (
    "too many clients",
    "too many connections",
    "remaining connection slots",
    "no more connections allowed",
    "query_wait_timeout",
)


def _is_broken(error: sa.exc.DBAPIError) -> bool:
    code = getattr(error.orig, "sqlstate", None)
    return isinstance(error, sa.exc.OperationalError) and code is None
