"""How long work may take: limits that grow with the length of its audio. Seconds throughout.

a job     soft_seconds + soft_factor * audio   then it fails
a unit    unit_seconds + unit_factor * audio   then its lease is no longer renewed
          twice that                           then its process is said to hang
"""

from __future__ import annotations

from hansard.config import QueueSettings
from hansard.jobs.rows import Unit
from hansard.model import SAMPLE_RATE, Job

UNKNOWN = 24 * 3600.0
"""Seconds that audio of unknown length is taken for: a limit must not be too short."""


def allowance(settings: QueueSettings, seconds: float | None) -> float:
    """Seconds that a job may run from when it is first taken up."""
    return settings.soft_seconds + settings.soft_factor * (UNKNOWN if seconds is None else seconds)


def unit_limit(settings: QueueSettings, unit: Unit) -> float:
    """Seconds that a unit may be in one worker's hands."""
    return settings.unit_seconds + settings.unit_factor * _audio(unit)


def _audio(unit: Unit) -> float:
    """Seconds of audio that a unit goes through."""
    if unit.parts:
        return sum(part.window.seconds for part in unit.parts)
    return _length(unit.job)


def _length(job: Job) -> float:
    if job.prepared is not None:
        return job.prepared.samples / SAMPLE_RATE
    return UNKNOWN if job.seconds is None else job.seconds
