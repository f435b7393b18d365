"""``hansard transcribe``: recordings in, transcripts out."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from hansard.cli.complaint import complain
from hansard.cli.options import DataOption, settings
from hansard.errors import Cancelled, HansardError, Interrupted, from_failure

if TYPE_CHECKING:
    from hansard.audio.source import Source
    from hansard.cli.display import Display
    from hansard.cli.output import Output
    from hansard.jobs.progress import Progress
    from hansard.meetings.requests import Speakers
    from hansard.model import Job
    from hansard.transcription import Request
    from hansard.wiring import House


def transcribe(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="Files, directories, URLs; - is standard input."),
    ],
    *,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="auto, sphinx, openai, or a Whisper model: small …"),
    ] = None,
    prefer: Annotated[
        Literal["speed", "balanced", "accuracy"] | None,
        typer.Option(help="What --model auto leans to."),
    ] = None,
    language: Annotated[
        str | None, typer.Option("--language", "-l", help="Spoken language, like en; else found.")
    ] = None,
    translate: Annotated[bool, typer.Option("--translate", help="Into English.")] = False,
    channels: Annotated[
        Literal["mix", "separate"], typer.Option(help="separate: one speaker in each channel.")
    ] = "mix",
    diarize: Annotated[
        bool, typer.Option("--diarize", help="Wait until it is known who speaks.")
    ] = False,
    min_speakers: Annotated[
        int | None, typer.Option(min=1, max=50, help="With --diarize: at least so many speak.")
    ] = None,
    max_speakers: Annotated[
        int | None, typer.Option(min=1, max=50, help="With --diarize: at most so many speak.")
    ] = None,
    track: Annotated[int, typer.Option(min=0, help="Audio track of a file with several.")] = 0,
    enhance: Annotated[
        Literal["auto", "on", "off"], typer.Option(help="Lift audio that is too quiet.")
    ] = "auto",
    prompt: Annotated[
        str | None, typer.Option(help="Text that sets style and spelling, where supported.")
    ] = None,
    hotwords: Annotated[
        str | None, typer.Option(help="Names and terms to expect, where supported.")
    ] = None,
    language_per_window: Annotated[
        bool, typer.Option("--language-per-window", help="For recordings that switch language.")
    ] = False,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", help="Output format; may be given several times."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File or directory. [default: standard output]"),
    ] = None,
    priority: Annotated[int, typer.Option(min=0, max=9, help="9 is the most urgent.")] = 5,
    again: Annotated[
        bool, typer.Option("--again", help="Do the work even where the store has the answer.")
    ] = False,
    max_cost: Annotated[
        float | None, typer.Option(min=0, help="Refuse remote work estimated above this.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the model hub.")] = False,
    events: Annotated[
        bool, typer.Option("--events", help="JSON lines on standard output, not the transcript.")
    ] = False,
    timings: Annotated[
        bool, typer.Option("--timings", help="Say where the time went, on standard error.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only errors.")] = False,
    data: DataOption = None,
) -> None:
    """Transcribe recordings.

    Interrupted, and started again with the same words, it goes on where it stopped. A recording
    that was transcribed before with the same options is answered from the store.
    """
    from hansard.cli.naming import distinct, expanded
    from hansard.cli.output import Output
    from hansard.transcription import Request
    from hansard.wiring import House

    configured = settings(data, offline=offline)
    sources, missing = expanded(inputs)
    names = distinct(sources)
    written = Output(formats or [], output, recordings=names, silent=events)
    request = Request(
        model=model or configured.model,
        prefer=prefer or configured.prefer,
        language=language,
        task="translate" if translate else "transcribe",
        channels=channels,
        track=track,
        enhance=enhance,
        prompt=prompt,
        hotwords=hotwords,
        language_per_window=language_per_window,
        max_cost=max_cost,
        priority=priority,
        again=again,
        speakers=_speakers(diarize, min_speakers, max_speakers),
    )
    display = _display(events=events, quiet=quiet)
    with House(configured) as house, _terminable():
        try:
            with display.running():
                run = _Run(house, display, written, diarize=diarize)
                for name, error in missing:
                    run.fail(name, error)
                worst = run.all(list(zip(names, sources, strict=True)), request)
        except KeyboardInterrupt:
            _leave(house)
        finally:
            if timings:
                from hansard.cli.timings import show

                if house.entrusted:
                    display.notice("The service did the work; its own times are not among these.")
                show()
    if worst is not None:
        raise typer.Exit(worst.exit_code)


class _Run:
    """One call of the command: submit everything, follow each to its end, write what comes."""

    def __init__(
        self, house: House, display: Display, output: Output, *, diarize: bool = False
    ) -> None:
        self._house = house
        self._diarize = diarize
        self._display = display
        self._output = output
        self._heard_before: dict[str, int] = {}
        """Windows of a job that were done before this call: their words are not news."""
        self._said: set[str] = set()
        self._worst: HansardError | None = None

    def all(self, sources: Sequence[tuple[str, Source]], request: Request) -> HansardError | None:
        """Returns the first error there was; every other recording is transcribed all the same."""
        accepted: list[tuple[str, str]] = []
        for name, source in sources:
            job = self._submit(name, source, request)
            if job is not None:
                accepted.append((name, job))
        for name, job in accepted:
            self._follow(name, job)
        return self._worst

    def _submit(self, name: str, source: Source, request: Request) -> str | None:
        from hansard.audio.source import stream

        limits = self._house.settings.limits
        try:
            with stream(source, limits) as incoming:
                submitted = self._house.submit(incoming.name, incoming.chunks, request)
        except HansardError as error:
            self.fail(name, error)
            return None
        for note in submitted.notes:
            if note not in self._said:
                self._said.add(note)
                self._display.notice(note)
        self._heard_before[submitted.job.id] = submitted.job.heard
        self._display.submitted(name, submitted.job.id, submitted.preflight.seconds)
        if submitted.open or self._diarize:
            from hansard.wiring import AFTER, SPEECH

            pools = (*SPEECH, *AFTER) if self._diarize else SPEECH
            self._house.entrust(self._display.notice, pools)
        return submitted.job.id

    def _follow(self, name: str, job: str) -> None:
        try:
            last = self._watch(name, job)
        except HansardError as error:  # the store is in trouble: the job is not lost
            self.fail(name, error, job)
            return
        if self._diarize and last.job.state == "completed":
            self._tell_apart(name, job)
        found = self._house.transcript(job)
        if last.job.state != "completed" or found is None:
            self.fail(name, _ending(last.job), job)
            return
        try:
            self._display.completed(name, last, self._output.write(name, *found))
        except HansardError as error:  # the transcript is safe in the store
            self.fail(name, error, job)

    def _tell_apart(self, name: str, job: str) -> None:
        """Wait until it is known who speaks; the words are written all the same if it is not."""
        ended = self._house.speakers(job)
        if ended is not None and ended.state != "completed":
            why = ended.failure.message if ended.failure is not None else f"it was {ended.state}"
            self._display.notice(f"{name}: who speaks is not known: {why}")

    def _watch(self, name: str, job: str) -> Progress:
        """Show a job until its end, and return how it was then."""
        from hansard.jobs import progress

        since = self._heard_before.get(job, 0)
        last: Progress | None = None
        for now in self._house.follow(job):
            while heard := progress.heard_since(self._house.database, job, since):
                for window in heard:
                    since = window.number
                    self._display.heard(name, window)
            self._display.progress(name, now)
            last = now
        assert last is not None
        return last

    def fail(self, name: str, error: HansardError, job: str | None = None) -> None:
        """Say that a recording will not be transcribed; the others will."""
        self._worst = self._worst or error
        self._display.failed(name, error, job)


def _speakers(diarize: bool, least: int | None, most: int | None) -> Speakers:
    from hansard.errors import UsageError
    from hansard.meetings.requests import Speakers

    if not diarize and (least is not None or most is not None):
        raise UsageError("Speakers are only counted with --diarize.", hint="Add --diarize.")
    if least is not None and most is not None and least > most:
        raise UsageError(
            f"There cannot be at least {least} speakers and at most {most}.",
            hint="Give --min-speakers and --max-speakers, or neither.",
        )
    return Speakers(True if diarize else None, least, most)


def _ending(job: Job) -> HansardError:
    if job.failure is not None:
        return from_failure(job.failure)
    return Cancelled("The job was cancelled.", hint=f"`hansard jobs retry {job.id}` goes on.")


def _display(*, events: bool, quiet: bool) -> Display:
    from hansard.cli import display

    if events:
        return display.Events()
    if quiet:
        return display.Silent()
    return display.Live() if sys.stderr.isatty() else display.Plain()


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the command as Ctrl-C does: in order, with nothing lost."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(house: House) -> NoReturn:
    """Give back what is in hand and go. A second Ctrl-C does not wait for anything."""

    def now(*_: object) -> None:
        os._exit(Interrupted.exit_code)

    signal.signal(signal.SIGINT, now)
    stopped = Interrupted(
        "Stopped. What was finished is kept.", hint="The same command goes on from here."
    )
    if house.entrusted:
        stopped = Interrupted(
            "Stopped following. The service goes on with the work.",
            hint="The same command follows again, or fetches the result.",
        )
    ended = house.stop(patience=3.0)
    complain(stopped)
    sys.stdout.flush()
    sys.stderr.flush()
    if not ended:
        house.abandon()
        os._exit(Interrupted.exit_code)
    raise typer.Exit(Interrupted.exit_code)
