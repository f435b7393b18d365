"""The live sessions of this process: those that somebody speaks in, and those he may come back to.

A session outlives its connection. Whoever was cut off has ``serve.live_seconds`` to come back;
after that, what was received becomes a recording as if he had said that this is all. Sessions
that an earlier process had are taken up when this one starts.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial

from hansard.api.desk import Desk
from hansard.api.live_messages import Start
from hansard.api.submission import see_that_model_is_known, unpulling
from hansard.api.turns import Turns
from hansard.errors import HansardError, LeaseLost, TooManyConnections, UnknownJob
from hansard.jobs import sessions
from hansard.jobs.rows import Unit
from hansard.live import session as live
from hansard.live.media import SUFFIX
from hansard.live.session import Recorder
from hansard.model import Client
from hansard.store import lives
from hansard.store.lives import Live

_log = logging.getLogger("hansard.live")

_ROUND = 1.0
"""Seconds between two looks at who has not come back."""

_PATIENCE = 10.0
"""Seconds for which somebody who comes back waits for a session that another process still has:
one that died a moment ago, until that is noticed."""

_AGAIN = 0.2
"""Seconds between two looks at that."""

_REMOTE = "openai"
"""The engine that is paid by the call: what is just being said is not asked for there."""


class Session:
    """A session, and whoever is connected to it."""

    def __init__(self, recorder: Recorder, touched: float) -> None:
        self.recorder = recorder
        self.id = recorder.unit.job.id
        self.tenant = recorder.unit.job.tenant
        self.touched = touched
        """When something last came, or somebody: seconds since the epoch."""
        self.ended = False
        """Its owner said that this is all, or did not come back."""
        self.stopped = False
        """It was cancelled or removed: what still comes is dropped, and why is said."""
        self.evict: Callable[[], Awaitable[None]] | None = None
        """Sends home whoever is connected, and waits until he has left."""
        self.thread = threading.Thread(target=recorder.run, name=f"live-{self.id}", daemon=True)

    def end(self) -> None:
        """This is all."""
        self.ended = True
        self.recorder.tape.end()


class Lobby:
    """All sessions of one process. For one event loop."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._parts = desk.house.parts
        self._sessions: dict[str, Session] = {}
        self._beginning = 0
        self._turns = Turns()
        self._rounds: asyncio.Task[None] | None = None
        self.leaving = False
        """The service stops: sessions are left as they are."""

    # ── begin and go on ──────────────────────────────────────────────────────────────────────

    async def begin(self, start: Start, client: Client) -> Session:
        """A new session.

        Raises:
            TooManyConnections: there are as many as may be.
            HansardError: any refusal there is.
        """
        most = self._desk.settings.serve.lives
        if len(self._sessions) + self._beginning >= most:
            raise TooManyConnections(
                f"{most} live sessions are open, and that is all there is room for.",
                hint="Try again in a moment.",
                retry_after=5.0,
            )
        self._beginning += 1
        try:
            see_that_model_is_known(start.model, self._desk.settings)
            unit = await self._desk.work(
                partial(
                    live.begin,
                    unpulling(self._desk),
                    start.request,
                    start.sound,
                    name=start.name or _name(start),
                    client=client,
                )
            )
            return await self._open(unit, _row(unit, start), guesses=start.partials)
        finally:
            self._beginning -= 1

    async def find(self, job: str, tenant: str) -> tuple[Live, Session | None]:
        """A session to go on with; without one where it is closed and only its words are left.

        Raises:
            UnknownJob: there is none, or it is another's, which looks the same.
            LeaseLost: another process has it, and does not let go.
        """
        last = time.monotonic() + _PATIENCE
        while True:
            found, held = await self._desk.read(self._look, job, tenant)
            if found is None:
                raise UnknownJob(f"There is no live session {job}.", hint="Begin a new one.")
            session = self._sessions.get(job)
            if session is None and found.closed is None and not self.leaving:
                session = await self._take_up(found)
            if session is not None or not held or self.leaving:
                return found, session
            if time.monotonic() > last:
                raise LeaseLost(
                    f"Another process has the live session {job}.",
                    hint='Come back with "resume" in a moment; what was received is kept.',
                )
            await asyncio.sleep(_AGAIN)

    def _look(self, job: str, tenant: str) -> tuple[Live | None, bool]:
        """A session, and whether it is still being recorded, here or elsewhere."""
        with self._desk.reader.read() as connection:
            row = lives.of_tenant(connection, job, tenant)
            return row, row is not None and sessions.is_open(connection, job)

    async def _take_up(self, row: Live) -> Session | None:
        """Go on with a session that an earlier process had.

        One at a time: who comes while it is being taken up gets the very same session, and not
        the answer that there is none.
        """
        async with self._turns.of(row.job):
            if (session := self._sessions.get(row.job)) is not None:
                return session
            unit = await self._desk.write(sessions.take_up, self._parts.queue, row.job)
            if unit is None:  # another process was quicker, or it has ended
                return None
            return await self._open(unit, row, guesses=True)

    async def _open(self, unit: Unit, row: Live, *, guesses: bool) -> Session:
        sound = live.sound_of(row)
        tape = await self._desk.work(live.open_tape, self._parts, unit.job.id, sound)
        recorder = Recorder(
            self._parts,
            unit,
            tape,
            sound,
            guesses=guesses and unit.job.options.engine != _REMOTE,
        )
        session = Session(recorder, max(row.touched, tape.touched))
        self._sessions[session.id] = session
        session.thread.start()
        return session

    # ── what goes on meanwhile ───────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Take up what an earlier process had, and keep watch from now on."""
        self._rounds = asyncio.create_task(self._keep_watch())

    async def _keep_watch(self) -> None:
        lease = self._parts.queue.lease_seconds / 3
        renewed = time.monotonic()
        while True:
            try:
                await self._adopt()
                for job in await self._desk.read(self._stopped, list(self._sessions)):
                    self.stop(job)
                self._dismiss()
                if time.monotonic() - renewed >= lease and self._sessions:
                    renewed = time.monotonic()
                    held = [s.recorder.unit for s in self._sessions.values()]
                    await self._desk.write(self._parts.queue.renew, held)
            except HansardError as error:  # a store in trouble is asked again
                _log.warning("%s", error.message)
            await asyncio.sleep(_ROUND)

    async def _adopt(self) -> None:
        """Sessions without an owner: taken up while he may come back, handed over after that."""
        await self._desk.work(live.recover, self._parts)
        for row in await self._desk.read(self._orphans):
            if row.job not in self._sessions:
                await self._take_up(row)

    def _orphans(self) -> list[Live]:
        with self._desk.reader.read() as connection:
            return [
                row for row in lives.unclosed(connection) if sessions.is_free(connection, row.job)
            ]

    def _stopped(self, mine: list[str]) -> list[str]:
        """Sessions whose job was cancelled or removed meanwhile."""
        with self._desk.reader.read() as connection:
            jobs = {job: sessions.state(connection, job) for job in mine}
        return [name for name, job in jobs.items() if job is None or job.finished is not None]

    def stop(self, job: str) -> None:
        """The job has ended: what was received is put away, and no more is taken."""
        session = self._sessions.get(job)
        if session is not None and not session.stopped:
            session.stopped = True
            session.end()

    def _dismiss(self) -> None:
        """End sessions that nobody came back to; forget those that are over."""
        late = time.time() - self._desk.settings.serve.live_seconds
        for session in list(self._sessions.values()):
            if session.recorder.over and session.evict is None:
                session.recorder.tape.close()
                del self._sessions[session.id]
            elif session.evict is None and not session.ended and session.touched < late:
                _log.info("%s: nobody came back; what was received is kept", session.id)
                session.end()

    async def close(self) -> None:
        """Stop, and leave every session so that it can be taken up again."""
        self.leaving = True
        if self._rounds is not None:
            self._rounds.cancel()
            await asyncio.gather(self._rounds, return_exceptions=True)
        await self._desk.work(self._let_go)

    def _let_go(self) -> None:
        for session in self._sessions.values():
            session.recorder.tape.let_go()
        for session in self._sessions.values():
            session.thread.join()
            if not session.recorder.removed:
                sessions.let_go(self._parts.queue, session.recorder.unit)
            session.recorder.tape.close()


def _name(start: Start) -> str:
    moment = time.strftime("%Y-%m-%d %H.%M.%S", time.gmtime())
    return f"Live {moment}.{SUFFIX[start.format]}"


def _row(unit: Unit, start: Start) -> Live:
    sound = start.sound
    return Live(unit.job.id, sound.codec, sound.rate, sound.channels, 0, time.time())
