"""Where a PostgreSQL is, and how every connection to it is made."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hansard.errors import StoreBroken

if TYPE_CHECKING:
    import psycopg

_HINT = "HANSARD_DATABASE looks like postgresql://user:password@host:5432/hansard"

_ALIVE = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""A server that vanished is noticed. Seconds, the last in milliseconds."""

_MARK = "hansard.settled"
"""Only who connects to the server itself has this setting."""

_SETTINGS = (
    f"-c {_MARK}=on "
    "-c timezone=UTC -c jit=off -c lock_timeout=30s -c statement_timeout=120s "
    # Figures are read back as they were written, whatever the server is set to.
    "-c extra_float_digits=1 "
    # A machine that vanished must not hold rows: its transaction ends, its lease runs out.
    "-c idle_in_transaction_session_timeout=30s -c client_connection_check_interval=5s"
)


@dataclass(frozen=True, repr=False)
class Address:
    """An address that was read."""

    place: str
    """The same for messages: without the password, and without parameters."""
    _given: Mapping[str, Any]

    def arguments(self, settings: str) -> dict[str, Any]:
        """What psycopg connects with; what the address says itself comes first.

        Args:
            settings: of the server for this connection, besides those of all: ``-c name=value``.
        """
        always = {"application_name": "hansard", "client_encoding": "utf8"}
        return {**_ALIVE, **always, **self._given, "options": self._options(settings)}

    def settle(self, connection: psycopg.Connection[Any], settings: str) -> None:
        """Give a new connection its settings where a pooler in between kept them back.

        PgBouncer cannot pass ``options`` on; it can be told to ignore them. Whoever pools sessions
        resets them before the next one gets the connection. One that breaks meanwhile is closed.

        Args:
            connection: in no transaction, or in one that only begins.
            settings: as they were given to :meth:`arguments`.
        """
        try:
            mark = connection.execute("SELECT current_setting(%s, true)", [_MARK]).fetchone()
            if mark is None or mark[0] != "on":
                for name, value in self._wanted(settings).items():
                    connection.execute("SELECT set_config(%s, %s, false)", [name, value])
            if not connection.autocommit:
                connection.commit()
        except BaseException:
            connection.close()
            raise

    def _wanted(self, settings: str) -> dict[str, str]:
        """Options by name; the last word counts: an address may say otherwise than we do."""
        words = shlex.split(self._options(settings))
        pairs = [word.removeprefix("-c").removeprefix("--").partition("=") for word in words]
        return {name.replace("-", "_"): value for name, _, value in pairs if name}

    def _options(self, settings: str) -> str:
        return f"{_SETTINGS} {settings} {self._given.get('options', '')}".strip()


def parsed(address: str) -> Address:
    """Read an address.

    Besides the parameters of libpq it may have ``prepare_threshold``: after how many times a
    statement is prepared, or ``none`` for never, as some poolers in between need it.

    Raises:
        StoreBroken: it is none, or not of a PostgreSQL.
        ModuleNotFoundError: psycopg is not installed.
    """
    try:
        url = sa.make_url(address)
    except (sa.exc.ArgumentError, ValueError) as error:
        # Not chained: what the parser says may hold the password.
        del error
        raise StoreBroken("The address of the database cannot be read.", hint=f"{_HINT}.") from None
    if url.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise StoreBroken(
            f"There is no database of the kind {url.drivername}.",
            hint=f"{_HINT}; without it the store is an SQLite file in the data directory.",
        )
    query = dict(url.query)
    prepare = str(query.pop("prepare_threshold", "5"))
    if prepare != "none" and not prepare.isdecimal():
        raise StoreBroken(
            f"The database address has prepare_threshold={prepare}.", hint="A number, or none."
        )
    url = url.set(drivername="postgresql+psycopg", query=query)
    _, given = url.get_dialect()().create_connect_args(url)
    given["prepare_threshold"] = None if prepare == "none" else int(prepare)
    shown = sa.URL.create("postgresql", url.username, None, url.host, url.port, url.database)
    return Address(shown.render_as_string(), given)
