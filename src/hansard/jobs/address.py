"""Where a broker is, and whom it is believed by: RabbitMQ or Redis, with TLS or without.

    amqps://user:password@broker//?ssl_ca_certs=/etc/ssl/own.pem

kombu takes the certificate of a ``rediss://`` address for granted, and of an ``amqps://`` one any
host's, as long as its authority is known: whoever stood in between would be told the password. So
certificates are verified here, their names too, and there is no way to leave that out: a broker
that vouches for itself is its own authority. What libraries of Redis say in an address
(``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile``) is said in the same words for both.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from hansard.errors import BadSettings

KINDS = ("amqp", "amqps", "redis", "rediss")

_SECURE = ("amqps", "rediss")
_FILES = {
    "ssl_ca_certs": "certificates of the authorities that are believed",
    "ssl_certfile": "a certificate of our own",
    "ssl_keyfile": "its key",
}
_HINT = "HANSARD_BROKER looks like amqp://user:password@host// or redis://host:6379/0."


@dataclass(frozen=True, repr=False)
class Address:
    """An address that was read."""

    kind: str
    """One of :data:`KINDS`."""
    url: str
    """For Celery: without what is said of TLS. Several hosts, one after the other, as Celery has
    them: with semicolons."""
    _files: dict[str, str] = field(default_factory=dict)

    @property
    def is_rabbit(self) -> bool:
        """RabbitMQ, and not Redis."""
        return self.kind.startswith("amqp")

    def tls(self) -> dict[str, Any] | None:
        """What Celery is to be told as ``broker_use_ssl``; ``None`` without TLS.

        Without files the authorities of the system are believed, or those of ``SSL_CERT_FILE``.
        """
        if self.kind not in _SECURE:
            return None
        if not self.is_rabbit:
            return {"ssl_cert_reqs": "required", "ssl_check_hostname": True, **self._files}
        # The name of the host is put in for each connection: see ``delivery``.
        told: dict[str, Any] = {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}
        return told | {name.removeprefix("ssl_"): path for name, path in self._files.items()}


def parsed(address: str | None) -> Address:
    """Read an address.

    Raises:
        BadSettings: there is none, or it is not of a RabbitMQ or a Redis, or says something of TLS
            that is not to be had.
    """
    if not address:
        raise BadSettings("No broker is named.", hint=_HINT)
    kinds, urls = [], []
    files: dict[str, str] = {}
    for one in address.split(";"):
        try:
            parts = urlsplit(one)
        except ValueError:
            # Not chained: what the parser says may hold the password.
            raise BadSettings("The broker's address cannot be read.", hint=_HINT) from None
        kinds.append(parts.scheme)
        asked = parse_qsl(parts.query, keep_blank_values=True)
        files |= {name: value for name, value in asked if name.startswith("ssl_")}
        rest = urlencode([(name, value) for name, value in asked if name not in files])
        plain = one.partition("?")[0]
        urls.append(f"{plain}?{rest}" if rest else plain)
    (kind, *others) = dict.fromkeys(kinds)
    if kind not in KINDS:
        said = f"There is no broker of the kind {kind}." if kind else "No broker is named."
        raise BadSettings(said, hint=_HINT)
    if others:
        raise BadSettings("The hosts of a broker are of one kind.", hint=_HINT)
    _see_to_files(kind, files)
    return Address(kind, ";".join(urls), files)


def _see_to_files(kind: str, files: dict[str, str]) -> None:
    if files and kind not in _SECURE:
        raise BadSettings(
            f"The broker's address says {next(iter(files))}, and is without TLS.",
            hint="With TLS it begins with amqps:// or rediss://.",
        )
    for name, path in files.items():
        if name not in _FILES:
            raise BadSettings(
                f"A broker's address may not say {name}: its certificate is always verified.",
                hint="A broker that vouches for itself: ?ssl_ca_certs=/path/of/its/certificate.pem",
            )
        if not Path(path).is_file():
            raise BadSettings(
                f"There is no file {path}, of which the broker's address says that it is "
                f"{_FILES[name]}.",
                hint=f"Look at {name} in HANSARD_BROKER.",
            )
    _see_what_they_hold(files)


def _see_what_they_hold(files: dict[str, str]) -> None:
    """Each connection will read them; what is wrong with them is said before there is one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if "ssl_ca_certs" in files:
            context.load_verify_locations(files["ssl_ca_certs"])
        if "ssl_certfile" in files or "ssl_keyfile" in files:
            # Without a password nobody is asked for one: a service has no terminal.
            own = files.get("ssl_certfile", ""), files.get("ssl_keyfile")
            context.load_cert_chain(*own, password="")
    except (OSError, ValueError) as error:
        raise BadSettings(
            f"The certificates that the broker's address names cannot be used: {error}.",
            hint="They are PEM files; a key is not encrypted, and comes with its certificate.",
        ) from error
