"""``hansard serve``: the service, as one command; and the API's process, which it starts."""

from __future__ import annotations

import ipaddress
import os
import secrets
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hansard.cli.options import DataOption, settings
from hansard.errors import WouldBeOpen

if TYPE_CHECKING:
    import socket

    from hansard.config import Settings
    from hansard.jobs.supervisor import Role


def serve(
    *,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0 is any. [default: 8420]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Worker processes. [default: 1]")
    ] = None,
    no_worker: Annotated[
        bool, typer.Option("--no-worker", help="Only take work in; workers run elsewhere.")
    ] = False,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Let everybody in, also from the network.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the model hub.")] = False,
    data: DataOption = None,
) -> None:
    """Run the service: the API and the workers, until it is told to stop.

    SIGTERM and Ctrl-C end it in order: requests are answered, windows in hand are finished, the
    rest is given back. A second one ends it at once; nothing is lost then either.
    """
    from hansard import logs
    from hansard.jobs import presence
    from hansard.store.files import room

    configured = settings(data, offline=offline)
    given = {
        "host": host,
        "port": port,
        "workers": 0 if no_worker else workers,
        "keys": "off" if without_keys else None,
    }
    configured = _with(configured, given)
    logs.as_json("serve")
    with room(configured.data):
        configured.data.mkdir(parents=True, exist_ok=True)
        owned = presence.owning(configured.data)
    with owned as after_a_kill:
        _run(configured, after_a_kill=after_a_kill, meant_open=without_keys)


def _run(configured: Settings, *, after_a_kill: bool, meant_open: bool) -> None:
    from hansard.jobs import presence, supervisor

    serving = configured.serve
    with supervisor.listen(serving.host, serving.port, patient=after_a_kill) as listening:
        open_to_all = _check_the_door(configured, listening, meant=meant_open)
        notice = presence.Notice(
            secrets.token_hex(8),
            supervisor.address(listening),
            os.getpid(),
            time.time(),
            serving.workers,
        )

        def ready() -> None:
            presence.announce(configured.data, notice)
            _say(configured, notice.url, keys=not open_to_all)

        supervisor.Supervisor(
            _roles(configured, notice.id, listening),
            environment=_environment(configured, listening),
            patience=serving.patience,
            ready=ready,
        ).run(listening.close)


def _with(configured: Settings, given: dict[str, Any]) -> Settings:
    chosen = {name: value for name, value in given.items() if value is not None}
    return configured.model_copy(update={"serve": configured.serve.model_copy(update=chosen)})


def _check_the_door(configured: Settings, listening: socket.socket, *, meant: bool) -> bool:
    """Whether everybody is let in; refused where that is hardly meant."""
    keys = configured.serve.keys
    host = str(listening.getsockname()[0]).partition("%")[0]
    loopback = ipaddress.ip_address(host).is_loopback
    if keys == "off" and not loopback:
        if not meant:
            raise WouldBeOpen(
                f"Keys are off, and {host} can be reached from the network.",
                hint="Leave serve.keys at auto, or say that it is meant: --without-keys.",
            )
        print(
            f"WARNING: everybody who can reach {host} can read, add and delete recordings here: "
            "no key is asked for.",
            file=sys.stderr,
        )
    return keys == "off" or (keys == "auto" and loopback)


def _roles(configured: Settings, service: str, listening: socket.socket) -> list[Role]:
    from hansard.jobs.supervisor import Role

    fd = listening.fileno()
    api = Role("api", ("api", "--socket", str(fd), "--under", service), (fd,))
    worker = Role("worker", ("worker", "--under", service))
    return [api, *[worker] * configured.serve.workers]


def _environment(configured: Settings, listening: socket.socket) -> dict[str, str]:
    """Children read the same settings, and what the command line said on top."""
    serving = configured.serve
    return os.environ | {
        "HANSARD_DATA": str(configured.data.absolute()),
        "HANSARD_OFFLINE": str(configured.offline).lower(),
        "HANSARD_SERVE__HOST": serving.host,
        "HANSARD_SERVE__PORT": str(listening.getsockname()[1]),
        "HANSARD_SERVE__WORKERS": str(serving.workers),
        "HANSARD_SERVE__KEYS": serving.keys,
    }


def _say(configured: Settings, url: str, *, keys: bool) -> None:
    count = configured.serve.workers
    crew = "no worker" if not count else f"{count} worker{'s' if count > 1 else ''}"
    asked = "keys are required (`hansard keys create`)" if keys else "no key is asked for"
    print(f"Hansard serves at {url}; data in {configured.data}; {crew}; {asked}.", flush=True)


def api(
    *,
    listening: Annotated[int, typer.Option("--socket", help="File descriptor to listen on.")],
    under: Annotated[str, typer.Option(help="The service that this is a part of.")],
) -> None:
    """The API's process. `hansard serve` starts it."""
    from hansard import logs
    from hansard.jobs.supervisor import Line

    logs.as_json("api")
    line = Line()
    with line.opening():
        import socket

        from hansard.api.process import run
        from hansard.perf.observing import observed, sender
        from hansard.wiring import House

        configured = settings()
        sending = sender(configured, "api")
        house = House.opened(configured, service=under)
    with house, observed(house, sending), socket.socket(fileno=listening) as taken:
        run(house, taken, ready=line.say_ready, parent=line.messages())
