"""Waiting for what follows a transcript: who spoke."""

from __future__ import annotations

import asyncio
from typing import Final

from hansard.api import openai_wait
from hansard.api.desk import Desk
from hansard.errors import HansardError
from hansard.jobs import follow_ups
from hansard.meetings.requests import SPEAKERS
from hansard.model import Job

_PATIENCE: Final = 60.0
"""Seconds to wait besides the length of the recording: far longer than it takes."""


async def speakers(desk: Desk, job: Job) -> str | None:
    """Wait until the speakers of a completed job are known; else why they are not.

    The words are there all the same: nothing is raised for want of speakers.
    """
    child = await desk.read(follow_ups.latest, desk.reader, job.id, SPEAKERS)
    if child is None:
        return "not asked for"
    limit = desk.settings.serve.answer_seconds or _PATIENCE + (job.seconds or 0.0)
    last = child
    try:
        async with asyncio.timeout(limit):
            async for now in openai_wait.changes(desk, child):
                last = now
    except TimeoutError:
        return "not found in time"
    except HansardError as error:
        return error.code
    if last.state == "completed":
        return None
    return last.failure.code if last.failure is not None else last.state
