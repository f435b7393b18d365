"""Token buckets that all who share a store draw from: what a whole cluster may do in a time.

A bucket is a row. Taking is one statement that looks, decides and subtracts under the lock of that
row, so however many ask at once, no token is given twice. In PostgreSQL the server's clock counts,
so hosts whose clocks differ agree; what a process says is always how long, never when.

Rows that nobody has touched for a week are full, or might as well be: :func:`sweep` removes them.
"""

from __future__ import annotations

import time

import sqlalchemy as sa

from hansard.model import Value
from hansard.store.database import Database

UNUSED = 7 * 86_400.0
"""Seconds after which a bucket that nobody touched is forgotten."""

_CRUMB = 1e-6
"""Tokens that may be missing: who comes back after exactly the seconds he was told finds one."""


class Draw(Value, frozen=True):
    """What came of asking a bucket."""

    wait: float
    """Seconds until as much may be there; 0: it was taken."""
    left: float
    """Tokens in the bucket now."""


def _by_dialect(text: str) -> dict[str, sa.TextClause]:
    words = {
        "sqlite": {"least": "min", "greatest": "max", "now": ":now"},
        "postgresql": {
            "least": "least",
            "greatest": "greatest",
            "now": "extract(epoch FROM clock_timestamp())::float8",
        },
    }
    return {
        name: sa.text(text.format(filled=_FILLED, **said).format(**said))
        for name, said in words.items()
    }


# The clock is read once, before the row's lock is waited for, and is where the others find it. Who
# waited may so be behind the one before him: then no time has passed for the bucket. A clock that
# was set back by more than anybody waits is believed.
_FILLED = "{least}(:burst, b.tokens + :rate * {greatest}(0.0, excluded.touched - b.touched))"
_TAKE = _by_dialect("""
    INSERT INTO buckets AS b (name, tokens, touched, closed_until)
    VALUES (:name, :burst - :amount, {now}, 0)
    ON CONFLICT (name) DO UPDATE SET
        tokens = {filled} - :amount,
        touched = CASE WHEN b.touched - excluded.touched > 60 THEN excluded.touched
                       ELSE {greatest}(b.touched, excluded.touched) END
    WHERE b.closed_until <= excluded.touched AND {filled} >= :amount - :crumb
    RETURNING tokens
""")
_SEE = _by_dialect(
    "SELECT tokens, touched, closed_until, {now} AS now FROM buckets WHERE name = :name"
)
_GIVE_BACK = _by_dialect(
    "UPDATE buckets SET tokens = {least}(:burst, tokens + :amount) WHERE name = :name"
)
_CLOSE = _by_dialect("""
    INSERT INTO buckets AS b (name, tokens, touched, closed_until)
    VALUES (:name, :burst, {now}, {now} + :seconds)
    ON CONFLICT (name) DO UPDATE SET
        closed_until = {greatest}(b.closed_until, excluded.closed_until)
""")
_SWEEP = _by_dialect("DELETE FROM buckets WHERE touched < {now} - :unused AND closed_until < {now}")


def take(
    database: Database,
    name: str,
    amount: float,
    *,
    rate: float,
    burst: float,
    now: float | None = None,
) -> Draw:
    """Take ``amount`` tokens from a bucket that gains ``rate`` a second up to ``burst``, or none.

    A bucket that nobody has used yet is full. ``now`` is the time where the store has no clock of
    its own (SQLite), the system's where it is not given.

    Raises:
        StoreBusy, StoreGone: nothing was taken, as far as anybody knows.
    """
    assert 0 < amount <= burst, "no bucket ever holds that much"
    dialect = database.dialect
    asked = {
        "name": name,
        "amount": float(amount),
        "rate": float(rate),
        "burst": float(burst),
        "crumb": _CRUMB,
        "now": time.time() if now is None else now,
    }
    with database.write(lasting=False, unseen=True) as connection:
        left = connection.scalar(_TAKE[dialect], asked)
        if left is not None:
            return Draw(0.0, max(0.0, float(left)))
        # Its row is locked by having been looked at: this is what the statement above has seen.
        row = connection.execute(_SEE[dialect], asked).one()
    tokens = min(float(burst), row.tokens + rate * max(0.0, row.now - row.touched))
    wait = max(row.closed_until - row.now, (amount - tokens) / rate, _CRUMB)
    return Draw(wait, max(0.0, tokens))


def give_back(database: Database, name: str, amount: float, *, burst: float) -> None:
    """Put back what was taken and not used."""
    asked = {"name": name, "amount": float(amount), "burst": float(burst)}
    with database.write(lasting=False, unseen=True) as connection:
        connection.execute(_GIVE_BACK[database.dialect], asked)


def close(
    database: Database, name: str, seconds: float, *, burst: float, now: float | None = None
) -> None:
    """Give nobody anything for so many seconds from now, or for longer if that was said before."""
    asked = {
        "name": name,
        "seconds": float(seconds),
        "burst": float(burst),
        "now": time.time() if now is None else now,
    }
    with database.write(lasting=False, unseen=True) as connection:
        connection.execute(_CLOSE[database.dialect], asked)


def sweep(database: Database, *, unused: float = UNUSED, now: float | None = None) -> int:
    """Forget buckets that nobody has touched for so many seconds; how many there were."""
    asked = {"unused": float(unused), "now": time.time() if now is None else now}
    with database.write(lasting=False, unseen=True) as connection:
        done = connection.execute(_SWEEP[database.dialect], asked)
    return int(done.rowcount)
