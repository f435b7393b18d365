"""The only place that builds the parts from settings."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import msgspec

from hansard import transcription
from hansard.audio.cage import Cage, Uncaged
from hansard.config import Settings, load
from hansard.errors import (
    Cancelled,
    FilesGone,
    HansardError,
    StoreGone,
    UsageError,
    from_failure,
)
from hansard.jobs import attendance, follow_ups, progress, retention
from hansard.jobs.absence import Absence
from hansard.jobs.presence import Notice, Presence, serving
from hansard.jobs.queue import Queue
from hansard.jobs.reach import Reach
from hansard.jobs.roll import Roll
from hansard.jobs.unit import StepHandler
from hansard.jobs.worker import Crew, Listener
from hansard.live import session
from hansard.meetings import follow_up
from hansard.meetings.requests import INSIGHT, SPEAKERS
from hansard.model import Client, Job, Pool, Segment, Step, Transcript
from hansard.pressure import Pressure, Stage
from hansard.search.meaning import Meaning
from hansard.store import opening, transcripts
from hansard.store.files import room
from hansard.store.partitions import Months
from hansard.store.rollup import RollUp
from hansard.store.statistics import Statistics

if TYPE_CHECKING:
    from hansard.jobs.deliveries import Deliveries
    from hansard.jobs.rows import Unit
    from hansard.search.lookup import Nearest
    from hansard.speech.lease import Models
    from hansard.store.archive import Archive
    from hansard.store.database import Database

_log = logging.getLogger("hansard.store")

_LOCAL = Client()

SPEECH: tuple[Pool, ...] = ("speech",)
AFTER: tuple[Pool, ...] = ("insight",)
"""The pool of the work that makes transcripts, and that of what follows them."""

_SOON, _LATER = 0.25, 5.0
"""Seconds between two tries to reach a store that is not there yet: at first, and at the most."""

_BREATH = 0.02
"""Seconds between two looks at a job at the least."""

_WATCH = 1.0
"""Seconds between two looks whether the service that does the work still lives."""


class House:
    """One data directory, open: the store, the queue, the models, and the crew that works.

    A context manager. Cheap to open: models are loaded, and threads started, when work asks.
    """

    def __init__(
        self, settings: Settings, *, service: str | None = None, cage: Cage | None = None
    ) -> None:
        """Open the data directory, making it where it is not there yet.

        ``service`` is the id of the service that this process is a part of, if it is. A service
        opens media in a ``cage``: one that is given, and is its owner's to close, or its own.

        Raises:
            MachineError: it cannot be made, written or read.
        """
        self.settings = settings
        with room(settings.data):
            settings.data.mkdir(parents=True, exist_ok=True)
            self.presence = Presence(settings.data / "workers", service)
        self.database = self._opened_store()
        self.files = opening.files(settings, self.presence.worker)
        many = self.database.dialect == "postgresql"  # hosts, that is
        self._permits = attendance.opened(settings, self.database, rounds=service is not None)
        self.queue = self._opened_queue(Reach(self.files) if many else None)
        self._roll = Roll(self.database, self.presence.worker, settings.lease_seconds)
        if many:
            self.presence.roll = self._roll
            if service is not None:
                self._roll.begin()
        self._cage = Cage(settings.cage) if service is not None and cage is None else None
        if self._cage is not None:
            self._cage.warm()
        media = cage or self._cage or Uncaged()
        self.parts = transcription.Parts(settings, self.queue, self.files, media)
        self.pressure = Pressure(settings.memory)  # looked at by whoever works or serves
        self.pressure.on(Stage.CACHES, self._drop_caches)
        self.pressure.on(Stage.MODELS, self._unload_idle)
        self._models: Models | None = None
        self.meaning = Meaning(self.database, settings)
        self._crew: Crew | None = None
        self._attendance: attendance.Attendance | None = None
        self._deliveries: Deliveries | None = None
        self.in_service = service is not None
        self._retention = retention.Retention(settings, self.database, self.files)
        self._months = Months(self.database)
        self._statistics = Statistics(self.database)
        self._figures = RollUp(self.database, settings.performance, begun=self.in_service)
        self._trusted: Notice | None = None
        self._look_again = 0.0
        self._next_listing = 0.0
        self._absence = Absence(self.queue)
        self._say: Callable[[str], None] = _log.warning
        self._own: Collection[Pool] | None = None  # what is done here of what is entrusted
        self.tidy()

    def _opened_store(self) -> Database:
        try:
            return opening.opened(
                self.settings.data,
                self.settings.database,
                connections=self.settings.postgres.connections,
                sqlite=self.settings.sqlite,
            )
        except HansardError:
            self.presence.close()
            raise

    def _opened_queue(self, reach: Reach | None) -> Queue:
        made = Queue if self._permits is None else self._permits.queue
        return made(
            self.database,
            self.presence.worker,
            lease_seconds=self.settings.lease_seconds,
            attempts=self.settings.attempts,
            settings=self.settings.queue,
            reach=reach,
        )

    @classmethod
    def opened(cls, settings: Settings, *, service: str | None = None) -> House:
        """Open it as soon as its store can be reached, however long that takes: for a service.

        A process whose parent ends meanwhile ends as well.

        Raises:
            HansardError: waiting would not help.
        """
        parent, pause = os.getppid(), _SOON
        while True:
            try:
                return cls(settings, service=service)
            except (StoreGone, FilesGone) as error:
                if pause == _SOON:
                    _log.warning("%s %s", error.message, error.hint or "")
                time.sleep(pause)
                pause = min(_LATER, 2 * pause)
                if os.getppid() != parent:
                    raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def archive(self) -> Archive:
        """Where old meetings go."""
        return self._retention.archive

    @property
    def models(self) -> Models:
        """Lends engines; made when first asked for."""
        if self._models is None:
            from hansard.speech.lease import Models, open_engine

            load = partial(open_engine, database=self.database)
            self._models = Models(self.settings, load=load)
        return self._models

    def nearest(self, tenant: str) -> Nearest:
        """What finds passages by their meaning among a tenant's.

        Comparing all vectors takes some milliseconds: call it where that holds nobody up.
        """
        return partial(self.meaning.near, tenant)

    # ── work ─────────────────────────────────────────────────────────────────────────────────

    def start(
        self,
        *,
        pools: Collection[Pool] | None = None,
        hung: Callable[[Unit], None] | None = None,
        broken: Callable[[], None] = lambda: None,
        waits: bool = True,
    ) -> None:
        """Begin to work on whatever the queue holds, in threads of this process.

        Args:
            pools: kinds of work; all where it is not said.
            hung: told of what only the end of the process can end; see ``Crew``.
            broken: likewise.
            waits: whether nothing is begun while memory is short: no help to who waits for it.
        """
        self._figures.begin()
        if self._crew is None:
            steps: dict[Step, StepHandler] = {
                "prepare": partial(session.prepare, self.parts),
                "finish": partial(transcription.finish, self.parts),
            }
            crew = partial(Crew, broken=broken)
            crew = crew if hung is None else partial(crew, hung=hung)
            after: dict[str, dict[Step, StepHandler]] = {
                SPEAKERS: {"run": partial(follow_up.speakers, self.parts)},
                INSIGHT: {"run": partial(follow_up.insight, self.parts, embed=self.meaning.embed)},
            }
            self._crew = crew(
                self.queue,
                {"transcribe": steps, "live": steps, **after},
                self._listener,
                tidy=self._keep_house,
                pools=pools,
                hands=self.settings.delivery.concurrency,
                pressure=self.pressure,
                waits=waits,
            )
            if self.presence.roll is not None:
                self._roll.begin(self._crew.pools)
            self._crew.start()
            if self.in_service:
                self.deliver()

    def attend(self, ended: Callable[[], None]) -> None:
        """Receive what the broker has for those who work here, if the settings name one.

        ``ended`` is called where the broker's own tools told this worker to end.
        """
        if self._permits is not None and self._crew is not None and self._attendance is None:
            self._attendance = attendance.Attendance(
                self.settings, self.presence.worker, self._crew, self._permits, ended
            )

    def deliver(self) -> None:
        """Begin to send webhooks: what a service does besides, and no single command."""
        if self._deliveries is None:
            from hansard.jobs.deliveries import Deliveries

            self._deliveries = Deliveries(self.database, self.settings)
            self._deliveries.start()

    def entrust(self, say: Callable[[str], None], pools: Collection[Pool] = SPEECH) -> None:
        """See that the work is done: by the service that owns the directory, else in here.

        A service that goes away while a job is followed is replaced by this process. ``say`` is
        told who does the work, where it is not simply this process. Only work of some ``pools`` is
        done in here: nobody waits for what follows transcripts, and it keeps until there is a
        service.
        """
        self._say = say
        self._own = pools
        if self._trusted is not None or self._crew is not None:
            return
        found = serving(self.settings.data)
        if found is None or not found.workers:
            self.start(pools=self._own, waits=False)
            return
        self._trusted = found
        self._look_again = time.monotonic() + _WATCH
        say(f"The service at {found.url} does the work.")

    @property
    def entrusted(self) -> bool:
        """Whether a service does the work."""
        return self._trusted is not None

    def _watch_over(self) -> None:
        if self._trusted is None or time.monotonic() < self._look_again:
            return
        self._look_again = time.monotonic() + _WATCH
        if serving(self.settings.data) is None:
            self._say(f"The service at {self._trusted.url} is gone: going on here.")
            self._trusted = None
            self.start(pools=self._own, waits=False)

    def stop(self, patience: float = 5.0) -> bool:
        """Take no more work and give back what is not finished within ``patience`` seconds.

        Returns:
            Whether all threads have ended; a native call of an engine cannot be interrupted.
        """
        crew, self._crew = self._crew, None
        receiving, self._attendance = self._attendance, None
        if receiving is not None:
            receiving.end()
        ended = crew.stop(patience) if crew is not None else True
        if receiving is not None:
            receiving.close()
        sender, self._deliveries = self._deliveries, None
        if sender is not None:  # last: it tells of what has just ended
            sender.stop(patience)
        return ended

    @property
    def works(self) -> bool:
        """Whether threads of this process work."""
        return self._crew is not None

    def submit(
        self,
        name: str,
        chunks: Iterable[bytes],
        request: transcription.Request,
        client: Client = _LOCAL,
    ) -> transcription.Submitted:
        """Accept a recording; see ``transcription.submit``."""
        return transcription.submit(self.parts, name, chunks, request, client)

    def follow(self, job: str, pause: float = 0.25) -> Iterator[progress.Progress]:
        """How far a job is, whenever that changes and at least each ``pause`` seconds.

        Works as well when other processes do the work.

        Raises:
            MachineError: the store cannot be written any more; the job stays as it is.
        """
        while True:
            self._watch_over()
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

    def speakers(self, job: str) -> Job | None:
        """The job that finds the speakers of a transcript, at its end; ``None``: there is none."""
        child = follow_ups.latest(self.database, job, SPEAKERS)
        return None if child is None else self.wait(child.id)

    # ── results ──────────────────────────────────────────────────────────────────────────────

    def transcript(self, job: str) -> tuple[Transcript, Callable[[], Iterator[Segment]]] | None:
        """A transcript's head, and its segments as often as they are asked for, streamed."""
        head = transcripts.head(self.database, job)
        segments = partial(transcripts.stream, self.database, job)
        return None if head is None else (head, segments)

    # ── inside ───────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _listener(self, engine: str, model: str) -> Iterator[Listener]:
        with self.models.lease(engine, model) as loaded:
            able = loaded.capabilities
            yield Listener(
                able.lanes, able.batch, partial(transcription.listen, self.parts, loaded)
            )

    def _drop_caches(self) -> None:
        """Let go of what can be made again."""
        from hansard.speech import tuning

        self.meaning.forget()
        tuning.release_pages()

    def _unload_idle(self) -> None:
        if self._models is not None:
            self._models.sweep(every=True)

    def tidy(self) -> None:
        """Free what dead workers held, and remove what they left and nobody needs."""
        lost = retention.bury(self.queue, self.files, self.presence)
        now = time.monotonic()
        if now < self._next_listing:
            return
        self._next_listing = now + self.files.listing_pause
        try:
            retention.drop_prepared(self.database, self.files)
            if lost:
                retention.drop_orphans(self.database, self.files)
        except FilesGone as error:
            _log.warning("%s What nobody needs stays for now.", error.message)

    def _keep_house(self) -> None:
        self.tidy()
        self._absence.keep_up()
        session.recover(self.parts)
        self._retention.keep_up()
        self._months.keep_up()
        self._statistics.keep_up()

    def close(self) -> None:
        """Stop working and let go of everything. Calling it twice is harmless."""
        try:
            self.stop()
            self.tidy()
        except HansardError as error:
            _log.warning("%s", error.message)  # leases run out by themselves
        self._let_go()
        self.meaning.close()
        if self._cage is not None:
            self._cage.close()
        self.archive.close()
        self.files.close()
        self._roll.leave()
        self.database.close()
        self.presence.close()

    def abandon(self) -> None:
        """Let go of what outlives a process, where :meth:`stop` left a thread in a native call.

        The database stays open: the thread may come back to it before the process ends.
        """
        self._let_go()
        self.files.close()
        self._roll.leave()
        self.presence.close()

    def _let_go(self) -> None:
        if self._permits is not None:
            self._permits.close()
        if self._models is not None:
            self._models.close()  # ends engine processes
        self._figures.end()


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
    named = expand([str(source)])
    if len(named) != 1:
        raise UsageError(f"{source} holds {len(named)} recordings.", hint="Name one of them.")
    with House(settings or load()) as house:
        with stream(named[0], house.settings.limits) as incoming:
            submitted = house.submit(incoming.name, incoming.chunks, asked)
        for note in submitted.notes:
            logging.getLogger("hansard").warning("%s", note)
        apart = bool(asked.speakers.diarize)
        if submitted.open or apart:
            pools = (*SPEECH, *AFTER) if apart else SPEECH
            house.entrust(logging.getLogger("hansard").warning, pools)
        job = submitted.job
        for now in house.follow(job.id):
            job = now.job
            if on_progress is not None:
                on_progress(now)
        if job.failure is not None:
            raise from_failure(job.failure)
        found = house.speakers(job.id) if apart else None
        if found is not None and found.failure is not None:
            logging.getLogger("hansard").warning("Who speaks: %s", found.failure.message)
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
