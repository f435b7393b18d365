"""Live jobs: a session is a job from its first moment, so that any worker hears its windows.

    record ─▶ listen ─▶ finish        while its owner speaks, and when he has ended
    record ─▶ prepare ─▶ listen …     when whoever received it is gone: a worker goes on

While a job is in the step ``record`` its audio still comes in and its recording is a placeholder.
What is just being said is heard as a *provisional* window: at most one a job, in no sum, removed
as soon as the window that holds it all is planned.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from hansard import telemetry
from hansard.errors import LeaseLost, SilentAudio
from hansard.jobs import rows, shares, states
from hansard.jobs.queue import Queue
from hansard.jobs.rows import Unit
from hansard.model import (
    POOLS,
    SAMPLE_RATE,
    Client,
    Job,
    Levels,
    Media,
    Options,
    Prepared,
    Recording,
    Value,
    Window,
    WindowResult,
)
from hansard.store import lives, locks, recordings, usage
from hansard.store.lives import PLACEHOLDER, Live
from hansard.store.tables import IS_OPEN, jobs, windows
from hansard.store.tables import lives as lives_table
from hansard.store.tables import recordings as recordings_table

PRIORITY = 9
"""Somebody is listening: nothing is more urgent."""

_IS_GUESS = windows.c["pass"] == states.PROVISIONAL

_UNHEARD = Levels(0.0, -100.0, -100.0, -100.0, 0.0, 0.0, 0.0)
"""Nobody can say beforehand how loud a session will be."""


class Heard(Value, frozen=True):
    """A window that is done. ``number`` counts a session's windows in the order of speech."""

    number: int
    window: Window
    result: WindowResult


# ── begin, go on, end ────────────────────────────────────────────────────────────────────────


def begin(
    queue: Queue,
    name: str,
    options: Options,
    sound: Live,
    *,
    client: Client,
    webhook: str | None = None,
) -> Unit:
    """A job for audio that is about to come in, already in our hands.

    ``sound`` says what comes; its other fields are filled in.
    """
    now = time.time()
    token = secrets.token_hex(16)
    job = rows.new_id(now)
    media = Media("live", None, 0, ())
    with queue.database.write() as connection:
        recordings.add(connection, Recording(f"{PLACEHOLDER}{job}", name, media, now))
        shares.arrive(connection, client.tenant, "short")
        connection.execute(
            jobs.insert().values(
                id=job,
                kind="live",
                state="running",
                step="record",
                priority=PRIORITY,
                recording=f"{PLACEHOLDER}{job}",
                options=rows.json(options),
                identity=rows.digest("live", job),
                answers=rows.digest("live", job),  # no other is the same work
                batch_key=rows.batch_key(options),
                engine=options.engine,
                model=options.model,
                language=options.language,
                levels=rows.json(_UNHEARD),
                created=now,
                started=now,
                attempt=1,
                owner=queue.owner,
                token=token,
                lease_until=now + queue.lease_seconds,
                tenant=client.tenant,
                key=client.key,
                name=name,
                pool=POOLS["live"],
                lane="short",
                webhook=webhook,
                trace=telemetry.traceparent(),
            )
        )
        lives.add(connection, msgspec.structs.replace(sound, job=job, touched=now))
        usage.add(connection, now, client.tenant, client.key, options.engine, calls=1)
        return Unit(token, "record", rows.job(states.row(connection, job)))


def take_up(queue: Queue, job: str) -> Unit | None:
    """A session whose owner may come back, into our hands; ``None`` where it is not to be had.

    That is so, too, where its tape lies on another host.
    """
    if queue.reach is not None and not queue.reach.has_tape(job):
        return None
    now = time.time()
    token = secrets.token_hex(16)
    with queue.database.write() as connection:
        done = connection.execute(
            jobs.update()
            .where(
                jobs.c.id == job,
                jobs.c.step == "record",
                IS_OPEN,
                sa.or_(jobs.c.token.is_(None), jobs.c.lease_until < now),
            )
            .values(
                token=token, owner=queue.owner, lease_until=now + queue.lease_seconds, attempt=1
            )
        )
        if not done.rowcount:
            return None
        return Unit(token, "record", rows.job(states.row(connection, job)))


def let_go(queue: Queue, unit: Unit) -> None:
    """Give a session back as it is: somebody will take it up."""
    with queue.database.write() as connection:
        states.lock(connection, [unit.job.id])
        mine = jobs.c.token == unit.token
        states.let_go(connection, [unit.job.id], sa.false(), mine, worn=False)


def hand_over(queue: Queue, job: str) -> None:
    """Nobody comes back to a session: any worker makes of it what there is.

    Nothing is done where somebody has taken it up meanwhile.
    """
    now = time.time()
    with queue.database.write() as connection:
        done = connection.execute(
            jobs.update()
            .where(
                jobs.c.id == job,
                jobs.c.step == "record",
                IS_OPEN,
                sa.or_(jobs.c.token.is_(None), jobs.c.lease_until < now),
            )
            .values(
                step="prepare",
                attempt=0,
                token=None,
                owner=None,
                lease_until=None,
                state="queued",
                not_before=0,
            )
        )
        if done.rowcount:
            lives.close(connection, job, now)


def keep(
    queue: Queue, unit: Unit, recording: Recording, prepared: Prepared, *, received: int
) -> Job:
    """What came in is a recording now, and all its windows are planned.

    Without any speech there is nothing to hear, and the job fails with saying so.

    Raises:
        LeaseLost: the job ended meanwhile, or is another's; see :func:`put_away`.
    """
    seconds = prepared.samples / SAMPLE_RATE
    with queue.database.write() as connection:
        locks.recording(connection, recording.id)
        states.lock(connection, [unit.job.id])
        _hold(
            connection,
            unit,
            {
                "prepared": rows.json(prepared),
                "position": prepared.samples,
                "seconds": seconds,
                "deadline": None,  # counted from the first word on, it would have passed
                "levels": rows.json(prepared.levels),
                "step": "listen",
                "attempt": 0,
                "token": None,
                "owner": None,
                "lease_until": None,
            },
        )
        _replace_placeholder(connection, unit.job, recording, received)
        states.drop_provisional(connection, unit.job.id)
        if prepared.speech:
            states.advance(connection, unit.job.id)
        else:
            cause = SilentAudio(
                "No speech was found in what was recorded.",
                hint="Was the microphone muted? A lower HANSARD_VAD__THRESHOLD finds more.",
            )
            states.end(connection, unit.job.id, "failed", cause.failure(), now=time.time())
        return rows.job(states.row(connection, unit.job.id))


def put_away(queue: Queue, job: Job, recording: Recording, *, received: int) -> bool:
    """Keep what came in for a job that has ended already; ``False`` where it was removed."""
    with queue.database.write() as connection:
        locks.recording(connection, recording.id)
        there = states.lock(connection, [job.id])
        if there:
            connection.execute(jobs.update().where(jobs.c.id == job.id).values(step="prepare"))
            _replace_placeholder(connection, job, recording, received)
            states.drop_provisional(connection, job.id)
    return bool(there)


def forget(queue: Queue, job: str) -> None:
    """Remove a session in which nothing was recorded, as if it had never been."""
    with queue.database.write() as connection:
        states.lock(connection, [job])
        connection.execute(lives_table.delete().where(lives_table.c.job == job))
        connection.execute(windows.delete().where(windows.c.job == job))
        connection.execute(
            jobs.delete().where(jobs.c.id == job, jobs.c.recording == f"{PLACEHOLDER}{job}")
        )
        _drop_placeholder(connection, job)


def begin_anew(queue: Queue, unit: Unit) -> Job:
    """Forget how a session was cut: from now on it is a recording like any other.

    For a job that ended and is tried again when its prepared audio is gone.
    """
    with queue.database.write() as connection:
        states.lock(connection, [unit.job.id])
        values = {
            "kind": "transcribe",
            "planned": 0,
            "heard": 0,
            "planned_samples": 0,
            "heard_samples": 0,
            "position": 0,
            "prepared": None,
        }
        _hold(connection, unit, values)
        connection.execute(windows.delete().where(windows.c.job == unit.job.id))
        return rows.job(states.row(connection, unit.job.id))


def state(connection: sa.Connection, job: str) -> Job | None:
    """A job as it stands; ``None`` where it was removed."""
    row = connection.execute(sa.select(jobs).where(jobs.c.id == job)).first()
    return None if row is None else rows.job(row)


def is_open(connection: sa.Connection, job: str) -> bool:
    """Whether a session is still being recorded, in whosever hands."""
    open_ = sa.select(jobs.c.id).where(jobs.c.id == job, jobs.c.step == "record", IS_OPEN)
    return connection.execute(open_).first() is not None


def is_free(connection: sa.Connection, job: str) -> bool:
    """Whether a session is in nobody's hands."""
    free = sa.select(jobs.c.id).where(
        jobs.c.id == job,
        jobs.c.step == "record",
        IS_OPEN,
        sa.or_(jobs.c.token.is_(None), jobs.c.lease_until < time.time()),
    )
    return connection.execute(free).first() is not None


# ── windows ──────────────────────────────────────────────────────────────────────────────────


def add(queue: Queue, unit: Unit, planned: Sequence[Window], *, position: int) -> None:
    """Write windows that are ready; what was guessed of them is not wanted any more.

    Raises:
        LeaseLost: the job is not ours any more, or was cancelled.
    """
    with queue.database.write() as connection:
        states.lock(connection, [unit.job.id])
        _hold(connection, unit, {"position": position})
        states.plan(connection, unit.job.id, planned, 0)
        if planned:
            states.drop_provisional(connection, unit.job.id)


def guess(queue: Queue, unit: Unit, window: Window, *, position: int) -> bool:
    """Have what is being said heard as far as it goes; ``False`` while the last is not done.

    Raises:
        LeaseLost: the job is not ours any more, or was cancelled.
    """
    with queue.database.write() as connection:
        states.lock(connection, [unit.job.id])
        under_way = sa.select(windows.c.id).where(
            windows.c.job == unit.job.id, _IS_GUESS, windows.c.state != sa.literal_column("'done'")
        )
        if connection.execute(under_way).first() is not None:
            return False
        _hold(connection, unit, {"position": position})
        states.drop_provisional(connection, unit.job.id)
        connection.execute(
            windows.insert().values(
                {
                    "job": unit.job.id,
                    "pass": states.PROVISIONAL,
                    "channel": window.channel,
                    "position": window.index,
                    "window": rows.json(window),
                    "samples": window.samples,
                }
            )
        )
    return True


def guessed(connection: sa.Connection, job: str) -> Heard | None:
    """What the last provisional window gave, if it is done."""
    row = connection.execute(
        sa.select(windows).where(
            windows.c.job == job, _IS_GUESS, windows.c.state == sa.literal_column("'done'")
        )
    ).first()
    return None if row is None else _heard(row)


def finals(connection: sa.Connection, job: str, after: int, limit: int = 50) -> list[Heard]:
    """Windows behind the ``after``-th, as far as they are done without a hole between."""
    found = connection.execute(
        sa.select(windows)
        .where(
            windows.c.job == job,
            windows.c["pass"] == 0,
            windows.c.channel == 0,
            windows.c.position >= after,
        )
        .order_by(windows.c.position)
        .limit(limit)
    ).all()
    done: list[Heard] = []
    for row in found:
        if row.state != "done" or row.position != after + len(done):
            break
        done.append(_heard(row))
    return done


def _heard(row: sa.Row[Any]) -> Heard:
    result = msgspec.json.decode(row.result, type=WindowResult)
    return Heard(row.position + 1, rows.window(row), result)


# ── inside a transaction ─────────────────────────────────────────────────────────────────────


def _hold(connection: sa.Connection, unit: Unit, values: dict[str, Any]) -> None:
    """Write to a job that is in our hands, or nothing at all where it is not."""
    done = connection.execute(
        jobs.update()
        .where(jobs.c.id == unit.job.id, jobs.c.token == unit.token, IS_OPEN)
        .values(values)
    )
    if done.rowcount != 1:
        raise LeaseLost(f"Job {unit.job.id} was cancelled or taken over.")


def _replace_placeholder(
    connection: sa.Connection, job: Job, recording: Recording, received: int
) -> None:
    recordings.add(connection, recording)
    connection.execute(
        jobs.update()
        .where(jobs.c.id == job.id)
        .values(
            recording=recording.id,
            identity=rows.identity("live", recording.id, job.options),
        )
    )
    now = time.time()
    lives.touch(connection, job.id, received, now)
    lives.close(connection, job.id, now)
    _drop_placeholder(connection, job.id)


def _drop_placeholder(connection: sa.Connection, job: str) -> None:
    connection.execute(
        recordings_table.delete().where(recordings_table.c.id == f"{PLACEHOLDER}{job}")
    )
