"""The only place that builds the parts from settings."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import msgspec

from hansard import transcription
from hansard.config import Settings, load
from hansard.errors import Cancelled, HansardError, UsageError, from_failure
from hansard.jobs import progress
from hansard.jobs.presence import Presence
from hansard.jobs.queue import Queue
from hansard.jobs.worker import Crew, Listener
from hansard.model import Job, Segment, Transcript
from hansard.store import recordings, transcripts
from hansard.store.database import Database
from hansard.store.files import Files, room

if TYPE_CHECKING:
    from hansard.speech.lease import Models

_log = logging.getLogger("hansard.store")

_ORPHAN_AGE = 60.0
"""Seconds. A recording gets its row milliseconds after it is kept: one without a row that is older
was left by a process that died between the two."""

_BREATH = 0.02
"""Seconds between two looks at a job at the least."""


class House:
    """One data directory, open: the store, the queue, the models, and the crew that works.

    A context manager. Cheap to open: models are loaded, and threads started, when work asks.
    """

    def __init__(self, settings: Settings) -> None:
        """Open the data directory, making it where it is not there yet.

        Raises:
            MachineError: it cannot be made, written or read.
        """
        self.settings = settings
        with room(settings.data):
            settings.data.mkdir(parents=True, exist_ok=True)
            self.presence = Presence(settings.data / "workers")
        try:
            self.database = Database(settings.data / "hansard.db")
        except HansardError:
            self.presence.close()
            raise
        self.queue = Queue(
            self.database,
            self.presence.worker,
            lease_seconds=settings.lease_seconds,
            attempts=settings.attempts,
        )
        self.files = Files(settings.data, self.presence.worker)
        self.parts = transcription.Parts(settings, self.queue, self.files)
        self._models: Models | None = None
        self._crew: Crew | None = None
        self._tidy()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def models(self) -> Models:
        """Lends engines; made when first asked for."""
        if self._models is None:
            from hansard.speech.lease import Models

            self._models = Models(self.settings)
        return self._models

    # ── work ─────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Begin to work on whatever the queue holds, in threads of this process."""
        if self._crew is None:
            self._crew = Crew(
                self.queue,
                {
                    "prepare": partial(transcription.prepare, self.parts),
                    "finish": partial(transcription.finish, self.parts),
                },
                self._listener,
                tidy=self._tidy,
            )
            self._crew.start()

    def stop(self, patience: float = 5.0) -> bool:
        """Take no more work and give back what is not finished within ``patience`` seconds.

        Returns:
            Whether all threads have ended; a native call of an engine cannot be interrupted.
        """
        crew, self._crew = self._crew, None
        return crew.stop(patience) if crew is not None else True

    def submit(
        self, name: str, chunks: Iterable[bytes], request: transcription.Request
    ) -> transcription.Submitted:
        """Accept a recording; see ``transcription.submit``."""
        return transcription.submit(self.parts, name, chunks, request)

    def follow(self, job: str, pause: float = 0.25) -> Iterator[progress.Progress]:
        """How far a job is, whenever that changes and at least each ``pause`` seconds.

        Works as well when other processes do the work.

        Raises:
            MachineError: the store cannot be written any more; the job stays as it is.
        """
        while True:
            if self._crew is not None and self._crew.trouble is not None:
                raise self._crew.trouble
            seen = self.database.rings()
            now = progress.progress(self.database, job)
            yield now
            if now.job.finished is not None:
                return
            time.sleep(_BREATH)  # every recorded window rings: looking at each would cost more
            self.database.wait(seen, pause)

    def wait(self, job: str) -> Job:
        """The job, once it is at its end."""
        *_, last = self.follow(job)
        return last.job

    # ── results ──────────────────────────────────────────────────────────────────────────────

    def transcript(self, job: str) -> tuple[Transcript, Callable[[], Iterator[Segment]]] | None:
        """A transcript's head, and its segments as often as they are asked for, streamed."""
        head = transcripts.head(self.database, job)
        if head is None:
            return None
        return head, partial(transcripts.stream, self.database, job)

    # ── inside ───────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _listener(self, engine: str, model: str) -> Iterator[Listener]:
        with self.models.lease(engine, model) as loaded:
            able = loaded.capabilities
            yield Listener(
                able.lanes, able.batch, partial(transcription.listen, self.parts, loaded)
            )

    def _tidy(self) -> None:
        """Free what dead workers held, and remove what they left and nobody needs."""
        # In this order: what is prepared from now on belongs to a job that is open by then.
        for key in self.files.pcm_keys():
            if key not in progress.open_jobs(self.database):
                _log.info("removing prepared audio of job %s, which has ended", key)
                self.files.drop_pcm(key)
        left = {*self.queue.owners(), *self.presence.known(), *self.files.scratch_workers()}
        gone = self.presence.gone(left)
        if not gone:
            return
        self.queue.free(gone)
        self.files.sweep(gone)
        old = time.time() - _ORPHAN_AGE
        with self.database.read() as connection:
            lost = [
                sha256
                for sha256, since in self.files.recordings()
                if since < old and not recordings.known(connection, sha256)
            ]
        for sha256 in lost:
            _log.info("removing recording %s, which was never submitted", sha256)
            self.files.forget_recording(sha256)
        self.presence.forget(gone)

    def close(self) -> None:
        """Stop working and let go of everything. Calling it twice is harmless."""
        try:
            self.stop()
            self._tidy()
        except HansardError as error:
            _log.warning("%s", error.message)  # leases run out by themselves
        if self._models is not None:
            self._models.close()
        self.files.close()
        self.database.close()
        self.presence.close()


def transcribe_one(
    source: str | PathLike[str],
    settings: Settings | None,
    on_progress: Callable[[progress.Progress], None] | None,
    request: Mapping[str, Any],
) -> Transcript:
    """``hansard.transcribe``: one recording, one transcript, everything in this process.

    Raises:
        UsageError: an unknown option, or a directory instead of one recording.
        HansardError: see ``transcription.submit``; and what a failed job failed of.
    """
    from hansard.audio.source import expand, stream

    asked = _request(request)
    found = expand([str(source)])
    if len(found) != 1:
        raise UsageError(f"{source} holds {len(found)} recordings.", hint="Name one of them.")
    with House(settings or load()) as house:
        with stream(found[0], house.settings.limits) as incoming:
            submitted = house.submit(incoming.name, incoming.chunks, asked)
        for note in submitted.notes:
            logging.getLogger("hansard").warning("%s", note)
        if submitted.open:
            house.start()
        job = submitted.job
        for now in house.follow(job.id):
            job = now.job
            if on_progress is not None:
                on_progress(now)
        if job.failure is not None:
            raise from_failure(job.failure)
        transcript = house.transcript(job.id)
        if transcript is None:
            raise Cancelled("The job was cancelled.", hint="Call again to go on.")
        head, segments = transcript
        return msgspec.structs.replace(head, segments=tuple(segments()))


def _request(given: Mapping[str, Any]) -> transcription.Request:
    try:
        return msgspec.convert(dict(given), transcription.Request)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"This cannot be asked for: {error}.",
            hint="The fields of hansard.transcription.Request are the options there are.",
        ) from error
