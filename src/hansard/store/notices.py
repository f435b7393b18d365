"""What processes that share a PostgreSQL tell each other: that something was committed."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Protocol

import psycopg
import sqlalchemy as sa

_log = logging.getLogger("hansard.store")

CHANNEL = "hansard"
RING, HUSH = "ring", "hush"
"""There is something to do; something was merely taken."""

_STALE = 1.0
"""Seconds after which a message may have been lost: others may then have committed unheard."""

_PAUSE = 0.5
"""Seconds between two tries to reach a server that has gone."""

ALIVE = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""Of every connection: a server that vanished is noticed."""


class Hearer(Protocol):
    """Whom the ears belong to."""

    def beaten(self) -> None:
        """Something was committed, or may have been."""
        ...

    def ring(self) -> None:
        """There is something to do."""
        ...

    def told_by(self) -> str | None:
        """The name under which this process tells others."""
        ...


class Mouth:
    """Tells the other processes that something was committed: once for however much."""

    def __init__(self, url: sa.URL) -> None:
        self.name = f"{id(self):x}{time.time_ns():x}"
        self._url = url
        self._wanted = threading.Condition()
        self._words: set[str] = set()
        self._closing = False
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
        connection: psycopg.Connection[Any] | None = None
        while True:
            with self._wanted:
                self._wanted.wait_for(lambda: self._words or self._closing)
                words, self._words = self._words, set()
                if not words:
                    break
            word = RING if RING in words else HUSH
            try:
                connection = connection or connect(self._url)
                connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, f"{word} {self.name}"))
            except psycopg.Error as error:
                _log.info("others were not told of a change, and will look for it: %s", error)
                _close(connection)
                connection = None
        _close(connection)


class Ears:
    """Hears what other processes have committed."""

    def __init__(self, url: sa.URL, hearer: Hearer) -> None:
        self._url = url
        self._hearer = hearer
        self._closing = threading.Event()
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
                with connect(self._url) as connection:
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
        hearer = self._hearer
        hearer.beaten()
        self.deaf = False
        hearer.ring()
        while not self._closing.is_set():
            heard = False
            for notice in connection.notifies(timeout=_STALE / 4, stop_after=1):
                heard = True
                word, _, name = notice.payload.partition(" ")
                if name == hearer.told_by():
                    continue
                hearer.beaten()
                if word == RING:
                    hearer.ring()
            if not heard:
                self._see_to_it()

    _silent = 0

    def _see_to_it(self) -> None:
        """A message may have been lost with its sender: now and then it is as if one came."""
        self._silent = (self._silent + 1) % 4
        if self._silent == 0:
            self._hearer.beaten()


def connect(url: sa.URL) -> psycopg.Connection[Any]:
    """A connection of its own, each statement a transaction of its own.

    Raises:
        psycopg.OperationalError: the server cannot be reached.
    """
    said: dict[str, Any] = {
        **ALIVE,
        "application_name": "hansard",
        "options": "-c synchronous_commit=off",
    }
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(plain, autocommit=True, **said)


def _close(connection: psycopg.Connection[Any] | None) -> None:
    if connection is not None:
        connection.close()
