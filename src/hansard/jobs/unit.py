"""One unit of work: do it, and record how it went."""

from __future__ import annotations

import logging
from collections.abc import Callable

from hansard import telemetry
from hansard.errors import EngineError, HansardError, LeaseLost
from hansard.jobs.queue import Queue
from hansard.jobs.rows import Unit
from hansard.jobs.steps import Write

_log = logging.getLogger("hansard.worker")

StepHandler = Callable[[Unit], Write | None]
"""Does a step. Of a job that is done at a stroke it may return what is to be written at its end;
then the crew ends it well, together with others. All others end their step themselves."""


def work_once(
    queue: Queue,
    unit: Unit | None,
    handler: StepHandler,
    ended: Callable[[Unit, Write], None] | None = None,
) -> bool:
    """Do one unit and record how it went; ``False`` where there was none.

    Should the handler return what is to be written at its end, ``ended`` is told; where nobody is,
    it is written at once.

    Every error becomes a state of the job. One that Hansard does not know is a bug: it is logged
    with its traceback and the job fails with its name.

    Raises:
        HansardError: the store cannot be written, so nobody will read it there.
    """
    if unit is None:
        return False
    try:
        write = handler(unit)
        if write is not None:
            (ended or queue.complete)(unit, write)
    except LeaseLost as lost:
        _log.info("%s: %s", unit.job.id, lost.message)
    except HansardError as error:
        _report(queue, unit, error)
    except Exception as error:  # noqa: BLE001 it is logged and becomes the job's failure
        if not queue.holds(unit):  # its rows and files may be gone; that is no bug
            _log.info("%s: cancelled, deleted or taken over: %r", unit.job.id, error)
            return True
        _log.exception("unexpected error in %s of job %s", unit.step, unit.job.id)
        _report(queue, unit, unexpected(error))
    return True


def _report(queue: Queue, unit: Unit, error: HansardError) -> None:
    telemetry.failed(f"unit.{unit.step}", error.code)
    try:
        queue.fail(unit, error)
    except HansardError as second:
        # The store itself is in trouble. The lease runs out and somebody tries again.
        _log.error("job %s: %s; not recorded: %s", unit.job.id, error.message, second.message)
        raise


def unexpected(error: Exception) -> HansardError:
    """What an error that nobody foresaw is told as."""
    return EngineError(
        f"Something unexpected happened: {type(error).__name__}: {error}.",
        hint="The log has the details; please report it.",
    )


def traces_of_others(unit: Unit) -> list[telemetry.Trace]:
    """Of the other jobs whose windows are in a batch: it is a part of their traces, too."""
    others = {part.job.id: part.job for part in unit.parts if part.job.id != unit.job.id}
    found = (telemetry.parsed(job.trace, job.id) for job in others.values())
    return [trace for trace in found if trace is not None]
