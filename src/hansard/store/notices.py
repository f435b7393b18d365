"""What processes that share a PostgreSQL tell each other: that something was committed."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Protocol

import psycopg
from psycopg.adapt import Buffer, Dumper

from hansard.store.address import Address

_log = logging.getLogger("hansard.store")

CHANNEL = "hansard"
RING, HUSH = "ring", "hush"
"""There is something to do; something was merely taken."""

TEND = "tend:"
"""Before a kind of work: whoever says this looks for it again in a moment."""

_STALE = 1.0
"""Seconds after which a message may have been lost: others may then have committed unheard."""

_SNAPSHOT = "SELECT CAST(pg_current_snapshot() AS text)"
"""A name of what can be seen: the same as before, and nobody has committed anything since."""

_BREATH = 0.008
"""Seconds between two messages of one process: one tells of all that was committed meanwhile."""

_PAUSE = 0.5
"""Seconds between two tries to reach a server that has gone."""


class Hearer(Protocol):
    """Whom the ears belong to."""

    def beaten(self) -> None:
        """Something was committed, or may have been."""
        ...

    def ring(self) -> None:
        """There is something to do."""
        ...

    def rung(self) -> None:
        """Another process says that there is something to do."""
        ...

    def left_to(self, name: str, what: str) -> None:
        """Another process says that it will look for such work again in a moment."""
        ...

    def told_by(self) -> str | None:
        """The name under which this process tells others."""
        ...


class Mouth:
    """Tells the other processes that something was committed: once for however much."""

    def __init__(self, address: Address) -> None:
        self.name = f"{id(self):x}{time.time_ns():x}"
        self._address = address
        self._wanted = threading.Condition()
        self._words: set[str] = set()
        self._closing = False
        self._connection: psycopg.Connection[Any] | None = None
        self._thread = threading.Thread(target=self._speak, name="hansard-notify", daemon=True)
        self._thread.start()

    def say(self, word: str) -> None:
        """Tell the others this, soon. Returns at once."""
        with self._wanted:
            self._words.add(word)
            self._wanted.notify()

    def close(self) -> None:
        """Say what is still to be said, and end."""
        with self._wanted:
            self._closing = True
            self._wanted.notify()
        self._thread.join(10)

    def _speak(self) -> None:
        while True:
            with self._wanted:
                self._wanted.wait_for(lambda: self._words or self._closing)
                words, self._words = self._words, set()
                if not words:
                    break
            tended = sorted(word for word in words if word.startswith(TEND))
            self._tell(" ".join([RING if RING in words else HUSH, self.name, *tended]))
            with self._wanted:
                self._wanted.wait_for(lambda: self._closing, _BREATH)
        self._hang_up()

    def _tell(self, message: str) -> None:
        fresh = self._connection is None
        try:
            if self._connection is None:
                self._connection = connect(self._address)
            self._connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, message))
        except psycopg.Error as error:
            self._hang_up()
            if fresh:
                _log.info("others were not told of a change, and will look for it: %s", error)
            else:  # it may have been cut long ago
                self._tell(message)

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class Ears:
    """Hears what other processes have committed."""

    def __init__(self, address: Address, hearer: Hearer) -> None:
        self._address = address
        self._hearer = hearer
        self._closing = threading.Event()
        self._looked = 0.0
        self._seen = ""
        self.deaf = True
        """Nobody can be heard: anything may have been committed."""
        self._thread = threading.Thread(target=self._stay, name="hansard-bell", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._closing.set()
        self._thread.join(10)

    def _stay(self) -> None:
        said = False
        while not self._closing.is_set():
            try:
                with connect(self._address) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    said = False
                    self._hear(connection)
            except psycopg.Error as error:
                if not said and not self._closing.is_set():
                    _log.warning("the store cannot be listened to, looking instead: %s", error)
                    said = True
            finally:
                self.deaf = True
            self._closing.wait(_PAUSE)

    def _hear(self, connection: psycopg.Connection[Any]) -> None:
        self._seen = ""
        self._look(connection)
        self._hearer.ring()
        self.deaf = False
        while not self._closing.is_set():
            for notice in connection.notifies(timeout=_STALE / 4):
                word, name, *tended = notice.payload.split(" ")
                if name == self._hearer.told_by():
                    continue
                self._hearer.beaten()
                for what in tended:
                    self._hearer.left_to(name, what.removeprefix(TEND))
                if word == RING:
                    self._hearer.rung()
                if self._closing.is_set():
                    return
            if time.monotonic() - self._looked >= _STALE:
                self._look(connection)

    def _look(self, connection: psycopg.Connection[Any]) -> None:
        """A message may have been lost with its sender: was anything committed since the last look?

        What is kept ready was read since then, so it is still good where nothing was.
        """
        self._looked = time.monotonic()
        row = connection.execute(_SNAPSHOT).fetchone()
        seen = str(row[0]) if row is not None else ""
        if seen != self._seen:
            self._seen = seen
            self._hearer.beaten()


def connect(address: Address) -> psycopg.Connection[Any]:
    """A connection of its own, each statement a transaction of its own.

    Raises:
        psycopg.OperationalError: the server cannot be reached.
    """
    settings = "-c synchronous_commit=off -c idle_session_timeout=0"
    connection = psycopg.connect(autocommit=True, **address.arguments(settings))
    address.settle(connection, settings)
    return connection


class Text(Dumper):
    """Text for PostgreSQL, which takes no zero bytes: they become U+FFFD, as browsers do it."""

    def dump(self, obj: str) -> Buffer | None:
        """The text as it is sent."""
        return (obj.replace("\0", "\ufffd") if "\0" in obj else obj).encode()
