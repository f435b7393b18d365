"""Transcripts as server-sent events, while they are being made: ``stream=true``.

``data:`` lines with the JSON of ``openai.types.audio.TranscriptionStreamEvent``: deltas as soon as
nothing can change them any more (``openai_settled``), exactly one ``transcript.text.done`` with
the whole text, then ``[DONE]``. All deltas joined are that text. Where words had to be heard again
what follows them comes at the end. An error in between is an event that the client raises.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import Any, Final

import msgspec

from hansard.api import followed, openai_error, openai_wait
from hansard.api import openai_answer as bodies
from hansard.api.desk import Desk
from hansard.api.openai_request import Asked
from hansard.api.openai_settled import Row, Settled
from hansard.errors import HansardError
from hansard.formats.layout import Segments
from hansard.model import Job, Segment
from hansard.store import windows

_log = logging.getLogger("hansard.api")

KEEP_ALIVE: Final = 15.0
"""Seconds of silence on the line after which a comment is sent: proxies hang up on quiet ones."""

MOST_EARLY: Final = 64
"""Streams at a time that are given words early, each with a thread; others wait for the whole."""

_places = threading.BoundedSemaphore(MOST_EARLY)

_PIECE: Final = 100
"""Segments that are read at once."""


async def events(desk: Desk, job: Job, asked: Asked) -> AsyncIterator[bytes]:
    """The events of one job, from its first words to ``[DONE]``."""
    told = _Told(asked)
    yield b": the transcript follows\n\n"  # the headers leave with it
    last = job
    try:
        async with _followed(desk, job) as inbox:
            async for item in _arriving(inbox):
                if isinstance(item, Segment):
                    if asked.form != "diarized_json":  # who speaks is known at the end
                        yield told.more(item)
                elif isinstance(item, Job):
                    last = openai_wait.see_that_it_is_whole(item)
                else:
                    yield b": still listening\n\n"
        if asked.form == "diarized_json":
            async for quiet in _until_speakers_are_known(desk, last):
                yield quiet
        async for event in _rest(desk, last, told):
            yield event
    except HansardError as error:
        _log.info("stream of job %s ends with %s", job.id, error.code)
        yield b"event: error\n" + _event({"type": "error", "error": openai_error.said(error)})
        return
    yield b"data: [DONE]\n\n"


async def _until_speakers_are_known(desk: Desk, job: Job) -> AsyncIterator[bytes]:
    """Comments on a line that must not fall silent; where speakers stay unknown, one says why."""
    if openai_wait.is_silent(job):
        return
    waiting = asyncio.create_task(followed.speakers(desk, job))
    try:
        while not (await asyncio.wait((waiting,), timeout=KEEP_ALIVE))[0]:
            yield b": still telling speakers apart\n\n"
        unknown = waiting.result()
    finally:
        waiting.cancel()
    if unknown is not None:
        yield f": speakers are not known: {unknown}\n\n".encode()


def empty(asked: Asked, seconds: float) -> Iterator[bytes]:
    """The events of a recording without any sound, of which no job was made."""
    yield from _Told(asked).done(lambda: iter(()), seconds)
    yield b"data: [DONE]\n\n"


class _Told:
    """What was sent so far."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._speakers = bodies.Speakers()
        self.texts: list[str] = []
        """Of the segments sent: as long as the answer's own text, a megabyte for a long day."""

    def more(self, segment: Segment) -> bytes:
        """The events of the next segment."""
        number = len(self.texts)
        self.texts.append(segment.text)
        delta: dict[str, Any] = {
            "type": "transcript.text.delta",
            "delta": bodies.text(number, segment),
        }
        if self._asked.logprobs:
            delta["logprobs"] = list(bodies.logprobs_of(number, segment))
        if self._asked.form != "diarized_json":
            return _event(delta)
        turn = self._speakers.turn(number, segment)
        return _event({**delta, "segment_id": turn["id"]}) + _event(turn)

    def done(self, segments: Segments, seconds: float) -> Iterator[bytes]:
        """The last event, in pieces. ``duration`` is ours: OpenAI's type counts tokens only."""
        yield b'data: {"type":"transcript.text.done","text":"'
        for piece in bodies.texts(segments()):
            yield bodies.quoted(piece)
        yield b'"'
        if self._asked.logprobs:
            yield b',"logprobs":['
            for number, item in enumerate(bodies.logprobs(segments())):
                yield (b"," if number else b"") + msgspec.json.encode(item)
            yield b"]"
        yield b',"duration":' + msgspec.json.encode(float(seconds)) + b"}\n\n"


async def _rest(desk: Desk, job: Job, told: _Told) -> AsyncIterator[bytes]:
    """What was not sent yet, and the whole."""
    head, segments = await desk.read(bodies.found, desk, job)
    early = len(told.texts)
    same, number = True, 0
    async for segment in _walked(desk, segments()):
        if number < early:
            same = same and segment.text == told.texts[number]
        elif same:
            yield told.more(segment)
        number += 1
    if not same or number < early:
        # The last event is right all the same, and clients are told to go by it.
        _log.error("job %s: words were streamed that the transcript does not begin with", job.id)
    async for piece in _walked(desk, told.done(segments, head.seconds)):
        yield piece


async def _walked(desk: Desk, walk: Iterator[Any]) -> AsyncIterator[Any]:
    """A walk over the store, a piece at a time on the thread that reads it."""
    while piece := await desk.read(_taken, walk):
        for item in piece:
            yield item


def _taken(walk: Iterator[Any]) -> list[Any]:
    return list(islice(walk, _PIECE))


def _event(value: Any) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


# ── following ────────────────────────────────────────────────────────────────────────────────

_Inbox = asyncio.Queue[Segment | Job | Exception]
"""Segments as they are settled, then the job at its end, or what came in between."""


async def _arriving(inbox: _Inbox) -> AsyncIterator[Segment | Job | None]:
    """What comes, up to the job; ``None`` where nothing came for a while."""
    while True:
        try:
            async with asyncio.timeout(KEEP_ALIVE):
                item = await inbox.get()
        except TimeoutError:
            yield None
            continue
        if isinstance(item, Exception):
            raise item
        yield item
        if isinstance(item, Job):
            return


@asynccontextmanager
async def _followed(desk: Desk, job: Job) -> AsyncIterator[_Inbox]:
    """Follows a job for as long as the block lasts."""
    loop = asyncio.get_running_loop()
    inbox: _Inbox = asyncio.Queue()

    def tell(segment: Segment) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            loop.call_soon_threadsafe(inbox.put_nowait, segment)

    early = job.finished is None and _places.acquire(blocking=False)
    settled = Settled(job.options.detection.pad, tell) if early else None
    following = asyncio.create_task(_follow(desk, job, inbox, settled))
    try:
        yield inbox
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        if settled is not None:
            settled.close()
            _places.release()


async def _follow(desk: Desk, job: Job, inbox: _Inbox, settled: Settled | None) -> None:
    heard = 0
    try:
        async for now in openai_wait.changes(desk, job):
            if now.finished is not None:
                inbox.put_nowait(now)
            elif settled is not None and not settled.frozen and now.heard != heard:
                heard = now.heard
                settled.feed(await desk.read(_finished, desk, job, settled.index))
    except Exception as error:  # noqa: BLE001 it is raised where the events are made
        inbox.put_nowait(error)


def _finished(desk: Desk, job: Job, index: int) -> list[Row]:
    """The windows after ``index`` that are done, as far as none is missing before them."""
    found: list[Row] = []
    for window, result in windows.heard(desk.reader, job.id, 0, 0, after=index):
        if window.index != index + 1 + len(found):
            break
        found.append((window, result))
    return found
