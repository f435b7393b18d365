"""``hansard keys``: who may use the API from elsewhere, and how much."""

from __future__ import annotations

import math
import time
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from hansard.cli.options import DataOption, JsonOption, settings
from hansard.errors import UsageError

if TYPE_CHECKING:
    from hansard.store.keys import Key

app = typer.Typer(
    help="Create, list and revoke keys of the API.", no_args_is_help=True, rich_markup_mode=None
)

_NAME = 100
_TENANT = 32
"""Characters."""


class ScopeName(Enum):
    """As Typer wants a choice that may be given several times."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is, for your eyes.")],
    *,
    scope: Annotated[
        list[ScopeName] | None,
        typer.Option(help="What it may; give it again for more. [default: read and write]"),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(
            help="Whose recordings it sees; `local` are those of the command line. "
            "[default: only what comes with this key]"
        ),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Requests a minute. [default: serve.rate]")
    ] = None,
    burst: Annotated[
        int | None, typer.Option(min=1, help="Requests at once. [default: serve.burst]")
    ] = None,
    quota_hours: Annotated[
        float | None, typer.Option(min=0, help="Hours of audio a day. [default: no limit]")
    ] = None,
    expires: Annotated[
        float | None,
        typer.Option(metavar="DAYS", min=0, help="Days until it ends. [default: never]"),
    ] = None,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Make a key and show it, once: only a hash of it is kept."""
    from hansard.store import keys
    from hansard.store.opening import opened

    _see_words(name, tenant)
    _see_numbers(rate, quota_hours, expires)
    chosen: list[keys.Scope] = [one.value for one in scope or (ScopeName.READ, ScopeName.WRITE)]
    now = time.time()
    configured = settings(data)
    database = opened(configured.data, configured.database)
    try:
        with database.write() as connection:
            key, token = keys.create(
                connection,
                name,
                chosen,
                tenant=tenant,
                rate=rate,
                burst=burst,
                quota=None if quota_hours is None else quota_hours * 3600,
                expires=None if expires is None else now + expires * 86_400,
                now=now,
            )
    finally:
        database.close()
    if json:
        import msgspec

        print(msgspec.json.encode({"token": token, **msgspec.to_builtins(key)}).decode())
        return
    print(token)
    typer.echo(
        f"This is the only time that it is shown. `hansard keys revoke {key.id}` ends it.", err=True
    )


@app.command("list")
def list_keys(*, json: JsonOption = False, data: DataOption = None) -> None:
    """List the keys, the newest first."""
    import msgspec

    from hansard.store import keys
    from hansard.store.opening import opened

    configured = settings(data)
    database = opened(configured.data, configured.database)
    try:
        with database.read() as connection:
            found = keys.listing(connection)
    finally:
        database.close()
    for key in found:
        print(msgspec.json.encode(key).decode() if json else _line(key))


@app.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="Its id, as `keys list` shows it.")],
    *,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Let a key open nothing any more, within a second."""
    from hansard.store import keys
    from hansard.store.opening import opened

    configured = settings(data)
    database = opened(configured.data, configured.database)
    try:
        with database.write() as connection:
            ended = keys.revoke(connection, key)
    finally:
        database.close()
    if json:
        import msgspec

        print(msgspec.json.encode(ended).decode())
        return
    print(f"{ended.id} ({ended.name}) is revoked")


def _see_words(name: str, tenant: str | None) -> None:
    if not name.strip() or len(name) > _NAME or not name.isprintable():
        raise UsageError(
            f"A key cannot be called {name!r}.", hint=f"A name is 1 to {_NAME} characters."
        )
    if tenant is None:
        return
    plain = tenant.replace("-", "").replace("_", "").replace(".", "")
    if not plain.isalnum() or not tenant.isascii() or len(tenant) > _TENANT:
        raise UsageError(
            f"A tenant cannot be called {tenant!r}.",
            hint=f"It is up to {_TENANT} letters, digits, dots, dashes and underscores.",
        )


def _see_numbers(*given: float | None) -> None:
    if not all(math.isfinite(number) for number in given if number is not None):
        raise UsageError("A limit must be a number.", hint="Leave the option out for no limit.")


def _line(key: Key) -> str:
    now = time.time()
    if key.revoked is not None:
        state = "revoked"
    elif key.expires is not None and key.expires <= now:
        state = "expired"
    elif key.expires is not None:
        state = f"until {_day(key.expires)}"
    else:
        state = "valid"
    quota = "" if key.quota is None else f"  {key.quota / 3600:g} h a day"
    rate = "" if key.rate is None else f"  {key.rate:g} a minute"
    tenant = "" if key.tenant == key.id else f"  tenant {key.tenant}"
    scopes = ",".join(key.scopes)
    return (
        f"{key.id}  {state:<16}  {_day(key.created)}  {scopes:<16}  {key.name}{tenant}{rate}{quota}"
    )


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(moment))
