"""Live: audio in over a WebSocket as it is spoken, words out as they are heard.

Nothing waits in memory for a slow reader: words are read from the store when they can be sent, of
guesses and receipts only the last one counts. Nor for a slow decoder: bytes go to the tape, and
no more are taken than it can follow.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, cast

from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from hansard.api import live_messages as messages
from hansard.api.desk import Desk, client, desk
from hansard.api.limits import see_that_quota_is_left
from hansard.api.live_lobby import Lobby, Session
from hansard.api.live_messages import End, Start
from hansard.api.watch import Feed
from hansard.errors import (
    BadRequest,
    Cancelled,
    HansardError,
    Superseded,
    TimedOut,
    TooLarge,
    UnknownJob,
    from_failure,
)
from hansard.jobs import sessions
from hansard.jobs.sessions import Heard
from hansard.model import Job

router = APIRouter(prefix="/api/v1", tags=["live"])

PROTOCOL = "hansard-live"
"""What a browser names beside its key: it expects one of its protocols to be chosen."""

MOST = 1024 * 1024
"""Bytes of one message."""

_START_SECONDS = 10.0
_SEND_SECONDS = 30.0
_BEHIND = 4 * 1024 * 1024
"""Bytes on the tape that were not decoded yet above which no more are taken."""
_BREATH = 0.05
_RECEIPTS = 1.0
_LOOK = 0.1
_NORMAL, _LEAVING, _REFUSED, _TOO_BIG, _BROKEN = 1000, 1012, 1008, 1009, 1011


def lobby(socket: WebSocket) -> Lobby:
    """The sessions of the service that a connection came to."""
    return cast("Lobby", socket.app.state.live)


@router.websocket("/live")
async def live(socket: WebSocket) -> None:
    """Speak, and read along."""
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(PROTOCOL if PROTOCOL in offered else None)
    talk = Talk(socket)
    try:
        await talk.hold()
    except WebSocketDisconnect:
        return
    except HansardError as error:
        await talk.refuse(error)
    finally:
        talk.leave()


class Talk:
    """One connection, from its first message to its last."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._desk: Desk = desk(socket)
        self._lobby = lobby(socket)
        self._client = client(socket)
        self._session: Session | None = None
        self._job: str | None = None
        self._sent = 0
        self._speaking = asyncio.Lock()
        self._unwanted = asyncio.Event()
        self._left = asyncio.Event()

    async def hold(self) -> None:
        """The whole conversation.

        Raises:
            HansardError: what ends it; the other side is still to be told.
            WebSocketDisconnect: it is gone.
        """
        start = await self._first()
        received = await self._join(start)
        self._sent = start.after
        await self._say(
            "started",
            id=self._job,
            received=received,
            resumed=start.resume is not None,
            ended=self._session is None or self._session.ended,
        )
        await _first_of(self._listen(), self._tell(), self._receipts(), self._until_unwanted())

    async def refuse(self, error: HansardError) -> None:
        """Say what went wrong, and end."""
        code = _BROKEN if error.status >= 500 else _REFUSED
        if isinstance(error, TooLarge):
            code = _TOO_BIG
        if self._lobby.leaving:
            code = _LEAVING
        with suppress(WebSocketDisconnect, TimeoutError, RuntimeError):
            await self._send(messages.error_of(error, self._job))
            await self._socket.close(code, error.code)

    def leave(self) -> None:
        """The session goes on without this connection, for a while."""
        self._left.set()
        if self._session is not None:
            self._session.evict = None
            self._session.touched = time.time()

    # ── begin ────────────────────────────────────────────────────────────────────────────────

    async def _first(self) -> Start:
        start = messages.start_of(self._socket.query_params)
        if start is not None:
            return start
        try:
            async with asyncio.timeout(_START_SECONDS):
                given = await self._receive()
        except TimeoutError:
            raise TimedOut(
                f"No start message came within {_START_SECONDS:.0f} seconds.",
                hint='Begin with {"type": "start", "format": "pcm_s16le", "rate": 16000}.',
            ) from None
        message = messages.read(given) if isinstance(given, str) else None
        if not isinstance(message, Start):
            raise BadRequest(
                "The first message must be a start message.",
                hint='Begin with {"type": "start", "format": "pcm_s16le", "rate": 16000}.',
            )
        return message

    async def _join(self, start: Start) -> int:
        """Be the one connection of a session; how many bytes it has."""
        if start.resume is None:
            await see_that_quota_is_left(self._socket)
            self._desk.house.pressure.see_that_there_is_room()
            await self._desk.work(self._desk.house.queue.see_that_there_is_room)
            session = await self._lobby.begin(start, self._client)
        else:
            row, found = await self._lobby.find(start.resume, self._client.tenant)
            if found is None:
                self._job = row.job
                return row.received
            session = found
            while session.evict is not None:
                await session.evict()
        self._session, self._job = session, session.id
        session.evict = self._evict
        return session.recorder.tape.received

    async def _evict(self) -> None:
        """The other side came back by another connection, before it was noticed to be gone."""
        self._unwanted.set()
        await self._left.wait()

    async def _until_unwanted(self) -> None:
        await self._unwanted.wait()
        raise Superseded(
            "This session goes on by another connection.", hint="Only the latest one counts."
        )

    # ── in ───────────────────────────────────────────────────────────────────────────────────

    async def _listen(self) -> None:
        """Take what comes until all words are sent, whoever notices first."""
        while True:
            try:
                async with asyncio.timeout(self._desk.settings.serve.live_seconds):
                    given = await self._receive()
            except TimeoutError:
                if self._session is None or self._session.ended:
                    continue  # it has said all, and waits for our words
                raise TimedOut(
                    "Nothing was received for too long.",
                    hint='Send {"type": "ping"} in a pause, or come back with "resume".',
                ) from None
            if isinstance(given, bytes):
                await self._take(given)
                continue
            message = messages.read(given)
            if isinstance(message, Start):
                raise BadRequest("This session has begun already.", hint="Send audio, or end it.")
            if isinstance(message, End) and self._session is not None:
                await self._desk.work(self._session.recorder.tape.sync)
                self._session.end()
            elif not isinstance(message, End):
                await self._say("pong")

    async def _receive(self) -> str | bytes:
        event = await self._socket.receive()
        if event["type"] != "websocket.receive":
            raise WebSocketDisconnect(event.get("code", 1005))
        text, data = event.get("text"), event.get("bytes")
        given: str | bytes = text if text is not None else data or b""
        if len(given) > MOST:
            raise TooLarge(
                f"A message may have {MOST} bytes.", hint="Send audio in smaller pieces."
            )
        return given

    async def _take(self, data: bytes) -> None:
        session = self._session
        if session is not None and (session.stopped or session.recorder.over):
            return  # why will be said in a moment
        if session is None or session.ended:
            raise BadRequest("This session has ended: it takes no more.", hint="Begin a new one.")
        tape = session.recorder.tape
        if data:
            writing = asyncio.ensure_future(self._desk.work(tape.append, data))
            try:
                await asyncio.shield(writing)
            finally:
                await writing  # whoever comes next must know how much there is
            session.touched = time.time()
        while tape.size - tape.read > _BEHIND and not session.recorder.over:  # noqa: ASYNC110 whoever reads the tape is a thread
            await asyncio.sleep(_BREATH)

    async def _receipts(self) -> None:
        """Each second, how much lies on the disk: so much need not be sent again."""
        if self._session is None:
            await asyncio.Event().wait()
            return
        tape, told = self._session.recorder.tape, -1
        while True:
            await asyncio.sleep(_RECEIPTS)
            if tape.received != told and not self._session.recorder.over:
                told = await self._desk.work(tape.sync)
                await self._say("received", bytes=told)

    # ── out ──────────────────────────────────────────────────────────────────────────────────

    async def _tell(self) -> None:
        """Words as they come, until the transcript is there."""
        assert self._job is not None
        async with self._desk.watch.follow(self._client.tenant, self._job) as feed:
            shown, version = "", -1
            while True:
                if feed.leaving:
                    await self._socket.close(_LEAVING)
                    return
                version, moved = feed.version, feed.version != version
                self._see_trouble()
                recorder = self._session.recorder if self._session is not None else None
                if moved or (recorder is not None and recorder.guessing):
                    job, finals, guess = await self._desk.read(self._look)
                    for done in finals:
                        await self._send(messages.words_of("final", done))
                        self._sent = done.number
                    if not finals and guess is not None and guess.number > self._sent:
                        text = messages.words_of("partial", guess)
                        if text and text != shown:
                            await self._send(text)
                            shown = text
                    if not finals and job is not None and job.finished is not None:
                        await self._finish(job)
                        return
                    if finals:
                        version = -1  # there may be more
                        continue
                    if job is None and (recorder is None or recorder.over):
                        self._see_trouble()
                        self._see_that_it_is_there(feed)
                await feed.changed(version, _LOOK)

    def _look(self) -> tuple[Job | None, list[Heard], Heard | None]:
        assert self._job is not None
        with self._desk.reader.read() as connection:
            return (
                sessions.state(connection, self._job),
                sessions.finals(connection, self._job, self._sent),
                sessions.guessed(connection, self._job),
            )

    def _see_trouble(self) -> None:
        recorder = self._session.recorder if self._session is not None else None
        if recorder is not None and recorder.over and recorder.trouble is not None:
            raise recorder.trouble

    def _see_that_it_is_there(self, feed: Feed) -> None:
        if feed.gone:
            raise UnknownJob("This session was removed.", hint="Begin a new one.")

    async def _finish(self, job: Job) -> None:
        self._lobby.stop(job.id)
        if job.state == "cancelled":
            raise Cancelled(
                "The session was cancelled.", hint="What was received is kept as a recording."
            )
        if job.failure is not None and job.state == "failed":
            raise from_failure(job.failure)
        await self._say("done", id=job.id, transcription=f"/api/v1/transcriptions/{job.id}")
        await self._socket.close(_NORMAL)

    async def _say(self, kind: str, **fields: Any) -> None:
        await self._send(messages.said(kind, **fields))

    async def _send(self, text: str) -> None:
        """One message; who does not read for too long is taken to be gone."""
        async with self._speaking, asyncio.timeout(_SEND_SECONDS):
            if self._socket.application_state is not WebSocketState.CONNECTED:
                raise WebSocketDisconnect
            await self._socket.send_text(text)


async def _first_of(*doing: Coroutine[Any, Any, None]) -> None:
    """Do several things at a time until one of them ends; the others are stopped."""
    tasks = [asyncio.create_task(one) for one in doing]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
