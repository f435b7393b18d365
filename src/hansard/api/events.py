"""A job as it goes: server-sent events (WHATWG HTML, section 9.2).

``state`` and ``progress`` say how things are; ``words`` come once each, numbered in the order in
which windows were done, and that number is the event's id. Who was cut off and comes back with
``Last-Event-ID`` goes on behind it: nothing is lost and nothing comes twice. ``end`` is the last
event; a browser that connects again after it is told to stay away.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Annotated, Final, cast

import msgspec
from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from hansard.api.answers import errors
from hansard.api.desk import Desk, client, desk
from hansard.errors import BadRequest, TooMuch, UnknownJob
from hansard.jobs import progress
from hansard.model import Failure, Job, JobState, Step, Value

if TYPE_CHECKING:
    from hansard.api.watch import Feed
    from hansard.jobs.progress import Heard
    from hansard.model import Client

router = APIRouter(prefix="/api/v1", tags=["events"])

KEEP_ALIVE: Final = 15.0
"""Seconds of silence after which a comment is sent: proxies end what is silent."""
_OFTEN: Final = 0.5
"""Seconds between two ``progress`` events at the least."""
_PIECE: Final = 50
"""Windows that are read at once for somebody who is behind."""
_MOST: Final = 500
"""Streams at the same time."""
_ID: Final = re.compile(r"(\d{1,9})(\.end)?", re.ASCII)


class State(Value, frozen=True):
    """Event ``state``: whenever it changes, and at the beginning."""

    state: JobState
    stage: Step
    attempt: int
    error: Failure | None
    """What went wrong the last time, while it is tried again."""


class Progress(Value, frozen=True):
    """Event ``progress``. Seconds are of speech but for ``left``, which is of your time."""

    stage: Step
    windows: int
    """Known so far; more may come while the stage is ``prepare``."""
    windows_done: int
    seconds: float
    seconds_done: float
    share: float
    speed: float | None
    """Times real time, over the last half minute; ``null`` until it can be told."""
    left: float | None
    """Seconds until all is heard if it goes on like this; ``null`` until it can be told."""


class Words(Value, frozen=True):
    """Event ``words``: what was heard in one window. Windows are done in any order."""

    window: int
    """1, 2, 3 … in the order in which they were done; also the event's id."""
    start: float
    """Seconds into the recording."""
    channel: int
    text: str


class End(Value, frozen=True):
    """Event ``end``: exactly one, the last."""

    state: JobState
    error: Failure | None


@router.get(
    "/transcriptions/{job}/events",
    summary="Follow a transcription",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Events `state`, `progress`, `words` and, as the last, `end`; "
            "a comment at least every 15 seconds.",
            "content": {
                "text/event-stream": {
                    "schema": {"type": "string"},
                    "example": 'event: state\ndata: {"state":"running","stage":"listen",'
                    '"attempt":1,"error":null}\n\nid: 1\nevent: words\ndata: {"window":1,'
                    '"start":0.62,"channel":0,"text":"Good morning."}\n\nid: 1.end\nevent: end\n'
                    'data: {"state":"completed","error":null}\n\n',
                }
            },
        },
        204: {"description": "You have seen its end: do not connect again."},
        **errors(UnknownJob, BadRequest, TooMuch),
    },
)
async def follow(
    request: Request,
    job: str,
    after: Annotated[
        str | None, Query(max_length=20, description="As `Last-Event-ID`, which comes first.")
    ] = None,
    last_event_id: Annotated[
        str | None, Header(max_length=20, description="Go on behind this event.")
    ] = None,
) -> Response:
    """Everything that happens to a job from now on, and the words from the first one on."""
    at, who = desk(request), client(request)
    number, seen_end = _position(last_event_id or after or "0")
    known = _KNOWN.decode(await at.statuses.get(who.tenant, job))
    if seen_end and known.finished is not None:
        return Response(status_code=204)
    if at.watch.followers >= _MOST:
        raise TooMuch(
            f"{_MOST} streams of events are open, and that is all there is room for.",
            hint="GET /api/v1/jobs/{job} tells the state as well.",
            retry_after=30.0,
        )
    return _Stream(
        events(at, who, job, number),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


class _Stream(StreamingResponse):
    """Lets go of the feed at once when the reader is gone, wherever that was noticed."""

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        finally:
            await cast("AsyncGenerator[bytes]", self.body_iterator).aclose()


class _Known(Value, frozen=True):
    """What is looked at in a status."""

    finished: float | None


_KNOWN = msgspec.json.Decoder(_Known)
_DELETED = Failure("unknown_job", "The transcription was deleted.")


def _position(last: str) -> tuple[int, bool]:
    """The last event that was seen: its number, and whether it was the end."""
    match = _ID.fullmatch(last.strip())
    if match is None:
        raise BadRequest(
            "Last-Event-ID is none that was given out.", hint="Leave it out to begin anew."
        )
    return int(match[1]), match[2] is not None


async def events(at: Desk, who: Client, job: str, number: int) -> AsyncGenerator[bytes]:
    """The events of a job, the words behind the ``number``-th window; ends with the job.

    One event at a time is made when the reader has taken the last: a slow one holds nothing up.
    """
    teller = _Teller(number)
    async with at.watch.follow(who.tenant, job) as feed:
        while True:
            seen = feed.version
            async for said in teller.tell(at, feed):
                yield said
            if teller.ended or feed.leaving:
                return
            quiet = not await feed.changed(seen, teller.patience())
            if quiet and (said := teller.silence()):
                yield said


class _Teller:
    """What one reader was told so far."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ended = False
        self._state: State | None = None
        self._progress: Progress | None = None
        self._due = 0.0
        """When progress may be told again."""
        self._untold = False
        self._spoke = _now()

    async def tell(self, at: Desk, feed: Feed) -> AsyncIterator[bytes]:
        """All that is new."""
        job = feed.job
        if feed.gone:
            self.ended = True
            yield self._event("end", End("cancelled", _DELETED), f"{self.number}.end")
        if job is None:
            return
        state = State(job.state, job.step, job.attempt, job.failure)
        if state != self._state:
            self._state, self._due = state, 0.0
            yield self._event("state", state)
        while self.number < job.heard:
            heard = feed.recent(self.number)
            if heard is None:
                heard = await at.read(progress.heard_since, at.reader, feed.id, self.number, _PIECE)
            if not heard:
                break
            self.number = heard[-1].number
            yield b"".join(map(self._words, heard))
        now = _progress(job, feed)
        self._untold = now != self._progress
        if self._untold and (_now() >= self._due or job.finished is not None):
            self._progress, self._due, self._untold = now, _now() + _OFTEN, False
            yield self._event("progress", now)
        if job.finished is not None:
            self.ended = True
            yield self._event("end", End(job.state, job.failure), f"{self.number}.end")

    def patience(self) -> float:
        """Seconds until there is something to be said, whatever happens."""
        if self._untold:
            return max(0.01, self._due - _now())
        return max(0.01, self._spoke + KEEP_ALIVE - _now())

    def silence(self) -> bytes:
        """What is said when nothing happened: something, if only to be heard."""
        if _now() < self._spoke + KEEP_ALIVE:
            return b""
        self._spoke = _now()
        return b": still here\n\n"

    def _words(self, heard: Heard) -> bytes:
        words = Words(heard.number, round(heard.start, 3), heard.channel, heard.text)
        return self._event("words", words, str(heard.number))

    def _event(self, name: str, what: Value, identity: str | None = None) -> bytes:
        self._spoke = _now()
        head = f"id: {identity}\n" if identity is not None else ""
        return b"%sevent: %s\ndata: %s\n\n" % (
            head.encode(),
            name.encode(),
            msgspec.json.encode(what),  # one line: JSON escapes line ends
        )


def _progress(job: Job, feed: Feed) -> Progress:
    how, pace = progress.of(job), feed.pace()
    return Progress(
        job.step,
        how.windows,
        how.windows_done,
        round(how.seconds, 3),
        round(how.seconds_done, 3),
        round(how.share, 4),
        pace.speed,
        0.0 if job.finished is not None else pace.left,
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
