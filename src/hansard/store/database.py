"""The store's tables behind one door: transactions, and a bell that rings when work was committed.

One schema, two databases: SQLite (``store.sqlite``), one file that needs nothing else, and
PostgreSQL (``store.postgres``), which many machines share. What differs between them is in those
two files, and where SQL itself differs, in ``store.dialects``.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import ClassVar, Literal, Protocol

import sqlalchemy as sa

from hansard.model import Value

Dialect = Literal["sqlite", "postgresql"]


FEW = 16
"""So many processes look at once where somebody has committed something, however many wait."""


TENDED = 0.025
"""Seconds for which others leave to one process what it said it would look at again."""


class Pulse(Protocol):
    """Whether anybody has committed anything, cheap enough to ask before each answer."""

    def beat(self) -> int:
        """The same number as before only if nobody has committed anything meanwhile.

        PostgreSQL is told of others' commits by a message: their work may be as much older as
        that takes, milliseconds, and a second where the message was lost with its sender.
        """
        ...

    def close(self) -> None:
        """Let go of what it needs."""
        ...


class Connections(Value, frozen=True):
    """Of a process to its database."""

    used: int
    idle: int
    most: int


class Database(ABC):
    """The store's tables. Thread-safe."""

    dialect: ClassVar[Dialect]
    readers: ClassVar[int]
    """Threads that may usefully read at the same time in one process."""

    def __init__(self, place: str) -> None:
        """``place`` is what to call it in messages: a path, or an address without its password."""
        self.place = place
        self.crowd = 1
        """Processes that look for work in it, about: ``jobs.roll`` counts them. Where there are
        many, not all of them need to look at every ring."""
        self._bell = threading.Condition()
        self._rings = 0

    # ── transactions ─────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def read(self, *, single: bool = False) -> AbstractContextManager[sa.Connection]:
        """A transaction that only reads: one consistent view. Inside one that writes, a part of it.

        Args:
            single: a view for each statement is enough: PostgreSQL then needs one way there and
                back and not three.

        Raises:
            StoreBusy, StoreGone: it cannot be reached now; asking again later may help.
            StoreBroken: it cannot be used.
        """

    @abstractmethod
    def write(
        self,
        *,
        lasting: bool = True,
        silent: bool = False,
        unseen: bool = False,
        single: bool = False,
    ) -> AbstractContextManager[sa.Connection]:
        """A transaction that writes: whole or not at all. Rings the bell if it changed a row.

        A claim that found nothing must not ring: it would wake the next one to look, for ever.

        SQLite lets one writer in at a time. PostgreSQL does not: whoever decides by what it has
        read must lock the rows that decide first (``jobs.states.lock``), jobs before windows and
        in the order of their ids.

        Args:
            lasting: it survives a power cut. What would only be done again after one (a claim, a
                plan) does not wait for the disk. It survives the end of any process all the same,
                and is on the disk with the next transaction that lasts.
            silent: it only takes work, and gives nobody any; who is asleep may sleep on.
            unseen: it changes nothing that anybody is shown, so that what others keep ready stays
                good: as far as the database can tell such a commit apart from others.
            single: it is one statement, and it lasts: PostgreSQL makes it a transaction by itself,
                which is one way there and back.

        Raises:
            StoreBusy, StoreGone: nothing was written; asking again later may help. After a
                connection broke at the very end it may have been written all the same: what is
                done twice must be the same as done once.
            DiskFull: no room.
        """

    # ── the bell ─────────────────────────────────────────────────────────────────────────────

    def ring(self) -> None:
        """Wake everybody in this process who waits for a change."""
        with self._bell:
            self._rings += 1
            self._bell.notify_all()

    def rings(self) -> int:
        """How often the bell rang: take it before looking, pass it to :meth:`wait`."""
        with self._bell:
            return self._rings

    def wait(self, seen: int, seconds: float) -> None:
        """Sleep until the bell rang after ``seen``, or for ``seconds``."""
        with self._bell:
            self._bell.wait_for(lambda: self._rings != seen, seconds)

    @abstractmethod
    def watch(self) -> None:
        """From now on, ring when another process has committed something, too."""

    @property
    @abstractmethod
    def hears(self) -> bool:
        """Whether the bell rings here, just now, when another process has committed something."""

    @abstractmethod
    def tend(self, what: str) -> None:
        """Tell other processes that this one will look for such work again in a moment.

        While work comes in piece by piece, one process takes it by the armful, and the others need
        not look at each piece. Whoever says so and does not come delays them by :data:`TENDED`.
        """

    @abstractmethod
    def tended(self, what: str) -> float:
        """Seconds for which such work may be left to another process; 0 where it may not."""

    @abstractmethod
    def pulse(self) -> Pulse:
        """What tells of commits, of this process and others. For one thread."""

    @abstractmethod
    def mark(self, connection: sa.Connection) -> int:
        """Like :meth:`Pulse.beat`, as of the transaction ``connection`` is in.

        Another number than before if anybody else has committed since; taken before reading.
        """

    # ── the rest ─────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def reader(self) -> Database:
        """One that is never held up by who writes through this one; its asker's to close."""

    def connections(self) -> Connections | None:
        """How many there are, where they are pooled."""
        return None

    @abstractmethod
    def version(self) -> str:
        """The name and version of the database in use."""

    @abstractmethod
    def close(self) -> None:
        """Let go of every connection. Calling it twice is harmless."""
