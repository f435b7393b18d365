"""The roll of those who work on one PostgreSQL: who gives signs of life, on whatever host.

A file lock (``jobs.presence``) tells at once that a process of this data directory has died; of
other hosts nothing tells but silence. So each process writes when it was last alive, by the clock
of the database, which is the same for all; who has been silent for a lease is taken for dead, and
what it holds is freed. It may live all the same, cut off: its tokens are gone by then, and it
writes nothing any more. Once it is heard again it is on the roll again.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Collection, Iterable

import msgspec
import sqlalchemy as sa

from hansard.errors import HansardError
from hansard.store.database import Database
from hansard.store.dialects import inserts
from hansard.store.tables import workers

_log = logging.getLogger("hansard.worker")

LACKING = 300.0
"""Seconds for which a worker that could not load a model is believed to be unable to."""

_SIGNS = 4
"""Signs of life in a lease."""

_NOW = sa.literal_column("extract(epoch FROM clock_timestamp())::double precision", sa.Double)
_INSERT = inserts(workers)["postgresql"].values(
    id=sa.bindparam("of"),
    host=sa.bindparam("at"),
    pools=sa.bindparam("does"),
    started=_NOW,
    seen=_NOW,
)
_SIGN = _INSERT.on_conflict_do_update(
    index_elements=[workers.c.id],
    set_={"seen": _INSERT.excluded.seen, "pools": _INSERT.excluded.pools},
)
_CROWD = sa.select(sa.func.count()).where(
    workers.c.pools != "", workers.c.seen >= _NOW - sa.bindparam("since", type_=sa.Double)
)


def is_left_to_others(
    connection: sa.Connection, worker: str, model: str, lease_seconds: float
) -> bool:
    """Note that a worker cannot load a model; whether another that lives may be able to.

    Whoever has not tried may be. Whoever is not on the roll has nobody to leave anything to.
    """
    own = workers.c.id == worker
    mine = connection.execute(
        sa.select(workers.c.lacks, _NOW.label("now")).where(own).with_for_update()
    ).first()
    if mine is None:
        return False
    lacks = _decoded(mine.lacks) | {model: mine.now}
    connection.execute(
        workers.update().where(own).values(lacks=msgspec.json.encode(lacks).decode())
    )
    others = connection.execute(
        sa.select(workers.c.pools, workers.c.lacks).where(
            workers.c.id != worker, workers.c.seen >= mine.now - lease_seconds
        )
    )
    return any(
        "speech" in row.pools.split(",")
        and _decoded(row.lacks).get(model, -LACKING) <= mine.now - LACKING
        for row in others
    )


def hosts(connection: sa.Connection, lease_seconds: float) -> list[str]:
    """The names of the hosts on which somebody works."""
    living = sa.select(workers.c.host).where(
        workers.c.pools != "", workers.c.seen >= _NOW - lease_seconds
    )
    return sorted(set(connection.scalars(living)))


def _decoded(lacks: str) -> dict[str, float]:
    return msgspec.json.decode(lacks, type=dict[str, float])


class Roll:
    """The roll, and this process's own place on it, from :meth:`begin` to :meth:`leave`."""

    def __init__(self, database: Database, worker: str, lease_seconds: float) -> None:
        """``worker`` is the name of this process, unlike any other on any host."""
        self._database = database
        self._worker = worker
        self._lease = lease_seconds
        self._pools = ""
        self._leaving = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, pools: Collection[str] = ()) -> None:
        """Be on the roll from now on, and give signs of life in a thread.

        Raises:
            HansardError: the store cannot be written.
        """
        self._pools = ",".join(sorted(pools))
        self.sign()
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep, name="hansard-roll", daemon=True)
            self._thread.start()

    def sign(self) -> None:
        """Write that this process lives, and see how many others look for work."""
        mine = {"of": self._worker, "at": socket.gethostname(), "does": self._pools}
        with self._database.write(lasting=False, unseen=True) as connection:
            connection.execute(_SIGN, mine)
            self._database.crowd = connection.scalar(_CROWD, {"since": self._lease}) or 1

    def known(self) -> list[str]:
        """Everybody on the roll, living or not."""
        with self._database.read() as connection:
            return list(connection.scalars(sa.select(workers.c.id).order_by(workers.c.id)))

    def silent(self, names: Iterable[str]) -> list[str]:
        """Those of the named that are not on the roll, or have been silent for a lease."""
        wanted = list(names)
        if not wanted:
            return []
        heard = sa.select(workers.c.id).where(
            workers.c.id.in_(wanted), workers.c.seen >= _NOW - self._lease
        )
        with self._database.read() as connection:
            alive = set(connection.scalars(heard))
        return [name for name in wanted if name not in alive]

    def strike(self, names: Iterable[str]) -> None:
        """Take off those that are gone. Who lives all the same is back with its next sign."""
        wanted = list(names)
        with self._database.write(lasting=False, unseen=True) as connection:
            connection.execute(workers.delete().where(workers.c.id.in_(wanted)))

    def leave(self) -> None:
        """In order; where the store is away, silence says the same."""
        self._leaving.set()
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        try:
            self.strike([self._worker])
        except HansardError as error:
            _log.info("not taken off the roll: %s", error.message)

    def _keep(self) -> None:
        troubled = False
        while not self._leaving.wait(self._lease / _SIGNS):
            try:
                self.sign()
                troubled = False
            except HansardError as error:
                if not troubled:
                    _log.warning("no sign of life can be given: %s", error.message)
                troubled = True
