"""Rows of the job tables as values, and the names and keys that rows are known by."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import msgspec
import sqlalchemy as sa

from hansard import telemetry
from hansard.model import (
    POOLS,
    Failure,
    Job,
    Lane,
    Levels,
    Options,
    Prepared,
    Recording,
    Step,
    Value,
    Window,
)
from hansard.store import ids, stored

SHORT_SECONDS = 600.0
"""A recording up to this long goes by the short lane."""

NOBODYS: dict[str, Any] = {"owner": None, "token": None, "lease_until": None}
"""Columns of a row that nobody holds."""


class Part(Value, frozen=True):
    """A window in somebody's hands. ``hearing`` is 0 at first, 1 for a second look."""

    id: int
    job: Job
    hearing: int
    window: Window


class Unit(Value, frozen=True):
    """A claimed piece of work: a step of one job, or windows of jobs that share a batch."""

    token: str
    step: Step
    job: Job
    parts: tuple[Part, ...] = ()


def job(row: sa.Row[Any]) -> Job:
    """A row of ``jobs``."""
    return Job(
        id=row.id,
        kind=row.kind,
        state=row.state,
        step=row.step,
        priority=row.priority,
        recording=row.recording,
        options=msgspec.json.decode(row.options, type=Options),
        created=row.created,
        started=row.started,
        finished=row.finished,
        attempt=row.attempt,
        language=row.language,
        failure=row.failure and msgspec.json.decode(row.failure, type=Failure),
        prepared=row.prepared and msgspec.json.decode(row.prepared, type=Prepared),
        identity=row.identity,
        levels=msgspec.json.decode(row.levels, type=Levels),
        tenant=row.tenant,
        key=row.key,
        name=row.name,
        pool=row.pool,
        lane=row.lane,
        seconds=row.seconds,
        deadline=row.deadline,
        webhook=row.webhook,
        position=row.position,
        planned=row.planned,
        heard=row.heard,
        planned_samples=row.planned_samples,
        heard_samples=row.heard_samples,
        parent=row.parent,
        request=row.request,
        trace=row.trace,
    )


_UNTOUCHED: dict[str, Any] = {
    **dict.fromkeys(("started", "finished", "failure", "prepared", "deadline", "parent")),
    **dict.fromkeys(
        ("attempt", "position", "planned", "heard", "planned_samples", "heard_samples"), 0
    ),
}


def untouched(columns: dict[str, Any]) -> Job:
    """A new row of ``jobs``, from what was written: nobody has had it in hand yet."""
    row: Any = SimpleNamespace(**_UNTOUCHED | columns)
    return job(row)


def fresh(kind: str, recording: Recording, options: Options) -> dict[str, Any]:
    """The columns of a new row of ``jobs`` that follow from what is to be done."""
    return {
        "kind": kind,
        "pool": POOLS[kind],
        "state": "queued",
        "recording": recording.id,
        "name": recording.name,
        "identity": identity(kind, recording.id, options),
        "options": json(options),
        "batch_key": batch_key(options),
        "engine": options.engine,
        "model": options.model,
        "language": options.language,
        "trace": telemetry.traceparent(),
    }


def window(row: sa.Row[Any]) -> Window:
    """The window of a row of ``windows``."""
    return msgspec.json.decode(row.window, type=Window)


def part(row: sa.Row[Any], of: Job) -> Part:
    """A row of ``windows``."""
    return Part(row.id, of, row._mapping["pass"], window(row))  # noqa: SLF001 its public name


def batch_key(options: Options) -> str:
    """Equal for jobs whose windows may be decoded in one call, once they share a language."""
    apart = (options.engine, options.model, options.task, options.prompt, options.hotwords)
    rest = (options.word_times, options.language_per_window, options.guards, options.max_tokens)
    return digest(repr(apart), repr(rest))


def identity(kind: str, recording: str, options: Options) -> str:
    """Equal for jobs that are the same work."""
    return digest(kind, recording, json(options))


def lane(seconds: float | None) -> Lane:
    """Where audio of this length queues; what is not known may be long."""
    return "short" if seconds is not None and seconds <= SHORT_SECONDS else "long"


def digest(*texts: str) -> str:
    """SHA-256 over texts, none of which can be mistaken for part of its neighbour."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


json = stored.as_json
"""A value as it is stored."""

new_id = ids.new_id
"""A job's name; here for those who make rows."""
