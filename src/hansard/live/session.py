"""A live session: what is on the tape is decoded, cut into windows while it is spoken, and kept.

:func:`record` is the whole of it. Where somebody speaks it runs beside the connection, following
the tape as it grows; where whoever received it is gone a worker runs it over what is there. The
same tape gives the same windows, so what was heard before a kill stays heard.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from hansard import transcription
from hansard.audio import growing
from hansard.audio.growing import Sound
from hansard.audio.levels import Meter
from hansard.errors import (
    BadInput,
    DiskFull,
    EmptyFile,
    HansardError,
    LeaseLost,
    NotSupported,
    TooLarge,
    TooLong,
)
from hansard.jobs import sessions
from hansard.jobs.rows import Unit
from hansard.live import media, tape
from hansard.live.ear import Ear
from hansard.live.tape import Tape
from hansard.model import SAMPLE_RATE, Client, Prepared, Recording, Window
from hansard.store import lives
from hansard.store.files import PcmWriter
from hansard.store.lives import PLACEHOLDER, Live
from hansard.transcription import Parts, Request

_log = logging.getLogger("hansard.live")

_GUESS = SAMPLE_RATE
"""Samples between two guesses at what is being said."""

_BEHIND = 256 * 1024
"""Bytes that wait to be decoded above which nobody wants to know what was just being said."""

_CHECK = 10 * SAMPLE_RATE
"""Samples between two looks at the disk."""


def begin(parts: Parts, request: Request, sound: Sound, *, name: str, client: Client) -> Unit:
    """A job, in our hands, for what is about to come in.

    Raises:
        DiskFull: there is no room for anything to come in.
        EngineError, UsageError: no model for it.
    """
    from hansard.speech import catalog

    _see_that_there_is_room(parts)
    choice = catalog.resolve(
        request.model,
        language=request.language,
        prefer=request.prefer,
        settings=parts.settings,
    )
    if (request.prompt or request.hotwords) and not choice.prompts:
        raise NotSupported(
            f"The engine {choice.engine} takes neither a prompt nor hotwords.",
            hint="Choose a Whisper model; GET /api/v1/models lists them.",
        )
    options = transcription.options_for(request, choice, parts.settings)
    live = Live("", sound.codec, sound.rate, sound.channels, 0, 0.0)
    return sessions.begin(parts.queue, name, options, live, client=client, webhook=request.webhook)


def open_tape(parts: Parts, job: str, sound: Sound) -> Tape:
    """The tape of a session."""
    return Tape(tape.path(parts.files.root, job), sound)


def sound_of(live: Live) -> Sound:
    """What a session sends."""
    return msgspec.convert(
        {"codec": live.codec, "rate": live.rate, "channels": live.channels}, Sound
    )


class Recorder:
    """One session, from the tape to the recording. Run once, in a thread."""

    def __init__(
        self,
        parts: Parts,
        unit: Unit,
        tape_: Tape,
        sound: Sound,
        *,
        guesses: bool = False,
    ) -> None:
        """``guesses``: have what is just being said heard as far as it goes."""
        self.unit = unit
        self.tape = tape_
        self.sound = sound
        self.guesses = guesses
        self.guessing = False
        """A guess was asked for and may be answered."""
        self.trouble: HansardError | None = None
        """Why it ended before its owner said so."""
        self.over = False
        self.removed = False
        """Nothing is left of it."""
        self._parts = parts
        self._ear = Ear(unit.job.options)
        self._meter = Meter()
        self._speech = 0
        self._samples = 0
        self._next_guess = _GUESS
        self._asked = 0.0
        self._took = 0.0

    def run(self) -> None:
        """Until the tape ends, or is let go of. Errors end in :attr:`trouble`."""
        try:
            self._record()
        except tape.LetGo:
            _log.info("%s: let go of", self.unit.job.id)
        except HansardError as error:
            self.trouble = self.trouble or error
            _log.warning("%s: %s", self.unit.job.id, error.message)
        except Exception as error:  # noqa: BLE001 it is logged and told to whoever speaks
            self.trouble = HansardError(
                f"Something unexpected happened: {type(error).__name__}: {error}.",
                hint="What was received is kept. The log has the details; please report it.",
            )
            _log.exception("unexpected error in live session %s", self.unit.job.id)
        finally:
            self.over = True

    def _record(self) -> None:
        parts, unit = self._parts, self.unit
        try:
            with parts.files.write_pcm(unit.job.id, 1) as pcm:
                for block in self._blocks():
                    pcm.write(block)
                    self._samples = pcm.samples
                    self._take(block, pcm)
                self._add(self._ear.end(), pcm)
        except LeaseLost:
            self._put_away()
            return
        self._keep()

    def _blocks(self) -> Iterator[NDArray[np.int16]]:
        """What is decoded; where it can go on no further, :attr:`trouble` says why."""
        limits, checked = self._parts.settings.limits, 0
        try:
            for block in growing.blocks(self.tape.follow(), self.sound, self._parts.settings.cage):
                yield block
                if self._samples > limits.seconds * SAMPLE_RATE:
                    raise TooLong(
                        f"A session lasts {limits.seconds:.0f} s at most.",
                        hint="Begin another; what was received is kept.",
                    )
                if self.tape.received > limits.bytes:
                    raise TooLarge(
                        f"A session has {limits.bytes} bytes at most.",
                        hint="Begin another; what was received is kept.",
                    )
                if self._samples - checked > _CHECK:
                    checked = self._samples
                    _see_that_there_is_room(self._parts)
        except (BadInput, DiskFull) as error:
            self.trouble = error

    def _take(self, block: NDArray[np.int16], pcm: PcmWriter) -> None:
        self._meter.feed(block)
        planned = self._ear.hear(block[0])
        if planned:
            self._add(planned, pcm)
        elif self.guesses and self._samples >= self._next_guess:
            self._next_guess = self._samples + _GUESS // 4
            self._guess(pcm)

    def _add(self, planned: list[Window], pcm: PcmWriter) -> None:
        pcm.flush()
        self.guessing = False
        self._speech += sum(window.samples - window.overlap for window in planned)
        sessions.add(self._parts.queue, self.unit, planned, position=self._samples)

    def _guess(self, pcm: PcmWriter) -> None:
        now = time.monotonic()
        # A busy engine has better things to do: half of the time at most goes into guesses.
        if self.tape.size - self.tape.read > _BEHIND or now < self._asked + 2 * self._took:
            return
        window = self._ear.guess()
        if window is None:
            return
        pcm.flush()
        if sessions.guess(self._parts.queue, self.unit, window, position=self._samples):
            self.guessing = True
            self._next_guess = self._samples + _GUESS
            self._asked, self._took = now, 0.0
        else:
            self._took = now - self._asked

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    def _keep(self) -> None:
        if not self._samples:
            self._forget()
            return
        parts = self._parts
        prepared = Prepared(
            self._samples, 1, self._meter.levels(), enhanced=False, speech=self._speech
        )
        recording = self._recording()
        try:
            sessions.keep(parts.queue, self.unit, recording, prepared, received=self.tape.received)
        except LeaseLost:
            self._put_away()
            return
        self.tape.remove()

    def _put_away(self) -> None:
        """The job ended, or was removed, or is another's by now."""
        self.removed = not put_away(self._parts, self.unit.job.id, self.tape, self.sound)
        if self.tape.path.exists():
            self.trouble = LeaseLost(
                "Another process has taken this session up.", hint='Come back with "resume".'
            )

    def _recording(self) -> Recording:
        job = self.unit.job
        return media.keep(
            self._parts.files,
            self.tape.path,
            self.sound,
            job.name,
            created=job.created,
            samples=self._samples,
        )

    def _forget(self) -> None:
        """Nothing that anybody could hear has come in: nothing of it stays."""
        self.removed = True
        if self.trouble is None:
            self.trouble = EmptyFile(
                "Nothing was received.", hint="Was the microphone allowed, and was it on?"
            )
        sessions.forget(self._parts.queue, self.unit.job.id)
        self.tape.remove()
        self._parts.files.drop_pcm(self.unit.job.id)


def put_away(parts: Parts, job_id: str, tape_: Tape, sound: Sound) -> bool:
    """Make a recording of a tape whose job ended while audio came in; it is kept all the same.

    Returns:
        Whether there still is such a job. Of one that was removed nothing stays.
    """
    with parts.queue.database.read() as connection:
        job = sessions.state(connection, job_id)
    if job is None:
        tape_.remove()
        parts.files.drop_pcm(job_id)
        return False
    if job.finished is not None:
        if job.recording.startswith(PLACEHOLDER) and tape_.size:
            recording = media.keep(
                parts.files,
                tape_.path,
                sound,
                job.name,
                created=job.created,
                samples=job.position,
            )
            sessions.put_away(parts.queue, job, recording, received=tape_.received)
        tape_.remove()
    return True  # where it is open, whoever has it by now has the tape as well


# ── for those that nobody comes back to ──────────────────────────────────────────────────────


def prepare(parts: Parts, unit: Unit) -> None:
    """Prepare any job: a recording as ever, a session that was left by making it one."""
    job = unit.job
    if job.kind != "live":
        transcription.prepare(parts, unit)
        return
    if not job.recording.startswith(PLACEHOLDER):
        if job.prepared is None or not parts.files.has_pcm(job.id, job.prepared.channels):
            job = sessions.begin_anew(parts.queue, unit)
        transcription.prepare(parts, msgspec.structs.replace(unit, job=job))
        return
    with parts.queue.database.read() as connection:
        live = lives.get(connection, job.id)
    assert live is not None, "a job that is live has its row"
    left = open_tape(parts, job.id, sound_of(live))
    left.end()
    try:
        recorder = Recorder(parts, unit, left, sound_of(live))
        recorder.run()
    finally:
        left.close()
    if recorder.trouble is not None and not recorder.removed:
        with parts.queue.database.read() as connection:
            now = sessions.state(connection, job.id)
        if now is not None and now.step == "prepare":
            raise recorder.trouble  # not kept yet: tried again, or failed with saying why


def recover(parts: Parts) -> None:
    """Hand sessions that nobody came back to over to the workers; sweep what the removed left.

    Cheap where there is nothing to do. Safe to call at any time, in any process.
    """
    now = time.time()
    place = parts.files.root / "live"
    tapes = {path.stem: path for path in place.glob("*.raw")} if place.exists() else {}
    with parts.queue.database.read() as connection:
        open_ = lives.unclosed(connection)
        held = {live.job: sessions.state(connection, live.job) for live in open_}
        free = {live.job for live in open_ if sessions.is_free(connection, live.job)}
        known = {name for name in tapes if lives.get(connection, name) is not None}
    for live in open_:
        job = held[live.job]
        path = tapes.get(live.job)
        touched = max(live.touched, path.stat().st_mtime if path and path.exists() else 0.0)
        if job is None or now - touched < parts.settings.serve.live_seconds:
            continue
        if parts.queue.reach is not None and path is None:
            continue  # its tape lies on another host, which knows how much has come
        if job.finished is not None:
            sound = sound_of(live)
            put_away(parts, job.id, open_tape(parts, job.id, sound), sound)
        elif job.id in free:
            _log.info("%s: nobody came back; what was received is kept", job.id)
            sessions.hand_over(parts.queue, job.id)
    for name in tapes.keys() - known:
        if tapes[name].exists() and now - tapes[name].stat().st_mtime > _ORPHAN_AGE:
            tapes[name].unlink(missing_ok=True)


_ORPHAN_AGE = 60.0
"""Seconds after which a tape without a session is nobody's."""


def _see_that_there_is_room(parts: Parts) -> None:
    if parts.files.free_bytes() < parts.settings.limits.disk_reserve:
        raise DiskFull(
            f"There is no room left on the disk of {parts.files.root}.",
            hint="Free some space, or choose another directory with --data.",
        )
