"""``hansard worker``: a process that does what the queue holds, and nothing else."""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from hansard.cli.options import DataOption, settings
from hansard.errors import UsageError
from hansard.model import POOL_NAMES, Pool

if TYPE_CHECKING:
    from hansard.jobs.rows import Unit
    from hansard.jobs.supervisor import Line
    from hansard.wiring import House

_log = logging.getLogger("hansard.worker")

HUNG = 70
"""Exit code where a unit hangs in a native call: only the end of the process helps."""
BROKEN = 71
"""Exit code where a working thread has ended by a fault of ours."""

_ORPHANED = 5.0
"""Seconds that work in hand has where the supervisor died: a new service may be starting."""


def worker(
    *,
    pools: Annotated[
        str, typer.Option(help="Kinds of work: speech, insight, video, maintenance.")
    ] = ",".join(POOL_NAMES),
    under: Annotated[
        str | None, typer.Option(hidden=True, help="The service that watches over this.")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Address to answer Prometheus at: host:port.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the model hub.")] = False,
    data: DataOption = None,
) -> None:
    """Work on what the queue of a data directory holds, until told to stop.

    Any number may work on one directory. `hansard serve` starts its own. Where the settings name
    a broker, permits for these pools are received from it, and Celery's own tools see this worker.
    """
    from hansard import logs
    from hansard.jobs.supervisor import Line
    from hansard.perf.observing import observed, sender
    from hansard.perf.profile_crew import taking_part
    from hansard.wiring import House

    logs.as_json("worker")
    line = Line() if under else None
    with line.opening() if line is not None else nullcontext():
        chosen = _pools(pools)
        configured = settings(data, offline=offline)
        sending = sender(configured, "worker")
        house = House.opened(configured, service=under)
    with (
        house,
        observed(house, sending),
        taking_part(configured.data, "worker"),
    ):
        if metrics is not None:
            from hansard.api import exposition

            exposition.listen(metrics, house)
        _work(house, line, chosen, configured.serve.patience)


def _pools(given: str) -> list[Pool]:
    names = [name.strip() for name in given.split(",") if name.strip()]
    chosen = [pool for pool in POOL_NAMES if pool in names]
    if not names or len(chosen) != len(set(names)):
        raise UsageError(
            f"There is no such pool in {given!r}.", hint=f"There are {', '.join(POOL_NAMES)}."
        )
    return chosen


def _work(house: House, line: Line | None, pools: list[Pool], patience: float) -> None:
    orders: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def stop(number: int, _frame: object) -> None:
        orders.put(signal.Signals(number).name)
        if line is None:  # nobody else would end it at once
            signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, stop)
    # The terminal tells everybody of Ctrl-C; under a supervisor, it is the one to say what follows.
    signal.signal(signal.SIGINT, stop if line is None else signal.SIG_IGN)
    house.start(pools=pools, hung=_hung, broken=_broken)
    house.attend(ended=lambda: orders.put("the broker's tools"))
    if (spot := house.settings.delivery.spot_url) is not None:
        from hansard.jobs.spot import watch

        # A service that is taken away ends as a whole: it would only start this worker again.
        watch(
            spot,
            lambda: (
                orders.put("spot notice") if line is None else os.kill(os.getppid(), signal.SIGTERM)
            ),
        )
    if line is not None:
        threading.Thread(
            target=_obey, args=(line, orders), name="hansard-line", daemon=True
        ).start()
        line.say_ready()
    while (order := orders.get()) == "tidy":
        house.tidy()
    if order is None:
        _log.warning("the service is gone: stopping")
        patience = min(patience, _ORPHANED)
    if not house.stop(patience):
        _log.warning("work in hand did not end within %g seconds: giving it back", patience)
        house.abandon()
        logging.shutdown()
        os._exit(0)


def _obey(line: Line, orders: queue.SimpleQueue[str | None]) -> None:
    for order in line.messages():
        orders.put(order)
    orders.put(None)


def _hung(unit: Unit) -> None:
    _log.critical("%s of job %s hangs: ending this process", unit.step, unit.job.id)
    logging.shutdown()
    os._exit(HUNG)


def _broken() -> None:
    _log.critical("ending this process: another goes on with what it had in hand")
    logging.shutdown()
    os._exit(BROKEN)
