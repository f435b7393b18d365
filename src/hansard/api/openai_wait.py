"""Waiting for a job until it has ended, however long that is, by the watch that all share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from starlette.requests import Request

from hansard.api.desk import Desk
from hansard.errors import (
    Cancelled,
    HansardError,
    SilentAudio,
    StoreBusy,
    TimedOut,
    UnknownJob,
    from_failure,
)
from hansard.model import Job

_LOOK: Final = 15.0
"""Seconds after which a job is looked at though nothing seems to have changed."""

_AGAIN: Final = "The same request again goes on where this one was: nothing is done twice."


async def changes(desk: Desk, job: Job) -> AsyncIterator[Job]:
    """A job whenever it has changed, the last time when it has ended.

    Raises:
        UnknownJob: it was removed.
        StoreBusy: the service stops, or cannot read its store.
    """
    async with desk.watch.follow(job.tenant, job.id) as feed:
        while True:
            seen = feed.version
            if feed.gone:
                raise UnknownJob("The transcription was removed.", hint="Send the recording again.")
            if feed.job is not None:
                yield feed.job
                if feed.job.finished is not None:
                    return
            if feed.leaving:
                raise StoreBusy("The service is about to stop.", hint=_AGAIN)
            await feed.changed(seen, _LOOK)


async def ended(desk: Desk, request: Request, job: Job) -> Job | None:
    """The job at its end; ``None`` where its client went away, which ends the waiting only.

    Raises:
        HansardError: what the job failed of; it was cancelled; or as :func:`changes`.
        TimedOut: ``serve.answer_seconds`` are over.
    """
    limit = desk.settings.serve.answer_seconds
    waiting = asyncio.create_task(_last(desk, job))
    leaving = asyncio.create_task(_gone(request))
    try:
        done, _ = await asyncio.wait(
            (waiting, leaving), timeout=limit, return_when=asyncio.FIRST_COMPLETED
        )
        if waiting in done:
            return see_that_it_is_whole(waiting.result())
        if leaving in done:
            return None
        raise TimedOut(f"The transcription is not done within {limit:g} s.", hint=_AGAIN)
    finally:
        for task in (waiting, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, HansardError):
                await task


def see_that_it_is_whole(job: Job) -> Job:
    """A job that ended well. One that found no speech did: its answer is empty.

    Raises:
        HansardError: what it failed of.
        Cancelled: somebody cancelled it.
    """
    if job.state == "cancelled":
        raise Cancelled("The transcription was cancelled.", hint="Send it again to go on.")
    if job.failure is not None and job.state == "failed" and not is_silent(job):
        raise from_failure(job.failure)
    return job


def is_silent(job: Job) -> bool:
    """Whether the job ended because nobody speaks in the recording."""
    return job.failure is not None and job.failure.code == SilentAudio.code


async def _last(desk: Desk, job: Job) -> Job:
    found = job
    async for now in changes(desk, job):
        found = now
    return found


async def _gone(request: Request) -> None:
    """Wait until the client has gone away; its request was read to the end before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
