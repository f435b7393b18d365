"""Showing work as it goes: a live display, plain lines, or JSON lines.

A display is told what happened and decides how that looks. It measures nothing itself but speed.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import TaskID

    from hansard.errors import HansardError
    from hansard.jobs.progress import Heard, Progress

_RECENT = 10.0
"""Seconds over which the present speed is taken."""

_WIDE = 112
"""Columns of a terminal that has room for names, figures and a bar; what is more is for words."""

_STAGES = {"prepare": "listening for speech", "listen": "transcribing", "finish": "joining"}


class Pace:
    """Speed as a multiple of real time: of the whole run, and lately."""

    def __init__(self, clock: Any = time.monotonic) -> None:
        self._clock = clock
        self._begun: tuple[float, float] | None = None
        self._trail: deque[tuple[float, float]] = deque()

    def note(self, seconds_done: float) -> None:
        """How many seconds of audio are done now. What was done before this run does not count."""
        now = self._clock()
        if self._begun is None:
            self._begun = (now, seconds_done)
        self._trail.append((now, seconds_done))
        while len(self._trail) > 2 and self._trail[1][0] < now - _RECENT:
            self._trail.popleft()

    @property
    def overall(self) -> float:
        """Seconds of audio in a second, since the first note; 0 where nothing can be said."""
        return _slope(self._begun, self._trail[-1] if self._trail else None)

    @property
    def recent(self) -> float:
        """The same for the last ten seconds."""
        return _slope(self._trail[0], self._trail[-1]) if self._trail else 0.0

    @property
    def trend(self) -> str:
        """``↑`` getting faster, ``↓`` slower, ``→`` neither."""
        if not self.overall or not self.recent:
            return " "
        ratio = self.recent / self.overall
        return "↑" if ratio > 1.1 else "↓" if ratio < 0.9 else "→"


def _slope(first: tuple[float, float] | None, last: tuple[float, float] | None) -> float:
    if first is None or last is None or last[0] - first[0] <= 0:
        return 0.0
    return max(0.0, (last[1] - first[1]) / (last[0] - first[0]))


def estimate(progress: Progress, length: float | None) -> float:
    """Seconds of speech there will be in all: known once prepared, projected before."""
    if progress.job.prepared is not None or not length or not progress.prepared_seconds:
        return progress.seconds
    return progress.seconds * max(1.0, length / progress.prepared_seconds)


def clock(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Display(Protocol):
    """What the command tells whoever shows it. ``name`` is the recording's."""

    def running(self) -> Any:
        """A context manager around all of the work."""

    def notice(self, text: str) -> None:
        """Something the user should know."""

    def submitted(self, name: str, job: str, length: float | None) -> None:
        """A recording was accepted; ``length`` in seconds, where known."""

    def progress(self, name: str, now: Progress) -> None:
        """How far it is."""

    def heard(self, name: str, heard: Heard) -> None:
        """A window is done."""

    def completed(self, name: str, now: Progress, files: list[str]) -> None:
        """A transcript is there, and written to these files."""

    def failed(self, name: str, error: HansardError, job: str | None) -> None:
        """It will not be."""


class _Paced:
    """Lengths and paces by recording, shared by the displays below."""

    def __init__(self) -> None:
        self.lengths: dict[str, float | None] = {}
        self.paces: dict[str, Pace] = {}

    def submitted(self, name: str, job: str, length: float | None) -> None:
        del job
        self.lengths[name] = length
        self.paces[name] = Pace()

    def line(self, name: str, now: Progress) -> dict[str, Any]:
        """The figures of one moment."""
        pace = self.paces[name]
        pace.note(now.seconds_done)
        total = estimate(now, self.lengths[name])
        left = (total - now.seconds_done) / pace.recent if pace.recent else None
        return {
            "stage": now.job.step,
            "state": now.job.state,
            "windows": now.windows,
            "windows_done": now.windows_done,
            "share": round(min(1.0, now.seconds_done / total), 4) if total else 0.0,
            "speed": round(pace.overall, 2),
            "recent_speed": round(pace.recent, 2),
            "trend": pace.trend,
            "seconds_left": None if left is None else round(left, 1),
        }


class Live(_Paced):
    """A Rich display for a terminal, on standard error: a line each, and the last words below."""

    def __init__(self) -> None:
        from rich.console import Console, Group
        from rich.live import Live as Screen
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
        from rich.text import Text

        super().__init__()
        self._console = Console(stderr=True, highlight=False)
        wide = self._console.width >= _WIDE
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[label]}"),
            *([BarColumn(bar_width=20)] if wide else []),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
        )
        self._words = Text("", style="dim", no_wrap=True, overflow="ellipsis")
        self._screen = Screen(
            Group(self._bars, self._words),
            console=self._console,
            transient=True,
            refresh_per_second=8,
        )
        self._tasks: dict[str, TaskID] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        with self._screen:
            yield

    def notice(self, text: str) -> None:
        self._console.print(text, style="yellow", markup=False)

    def submitted(self, name: str, job: str, length: float | None) -> None:
        super().submitted(name, job, length)
        room = max(9, min(28, self._console.width - 64))
        short = name[: room // 3 + 3] + "…" + name[room // 3 + 4 - room :]
        label = name if len(name) <= room else short
        self._tasks[name] = self._bars.add_task("", total=1.0, label=_plain(label), figures="")

    def progress(self, name: str, now: Progress) -> None:
        at = self.line(name, now)
        left = at["seconds_left"]
        figures = (
            f"{_stage(now)} · {now.windows_done}/{now.windows} windows"
            f" · {at['speed']:.1f}x {at['trend']}"
            + (f" · {clock(left)} left" if left is not None else "")
        )
        self._bars.update(self._tasks[name], completed=at["share"], figures=figures)

    def heard(self, name: str, heard: Heard) -> None:
        del name
        if heard.text:
            room = max(8, self._console.width - 4)
            self._words.plain = "  " + (
                heard.text if len(heard.text) <= room else "…" + heard.text[1 - room :]
            )

    def completed(self, name: str, now: Progress, files: list[str]) -> None:
        self._close(name)
        self._console.print(_summary(name, now, self.paces.get(name), files), markup=False)

    def failed(self, name: str, error: HansardError, job: str | None) -> None:
        self._close(name)
        self._console.print(_refusal(name, error, job), style="red", markup=False)

    def _close(self, name: str) -> None:
        """Take a recording's line away, once it was seen as it ended."""
        if name in self._tasks:
            self._screen.refresh()
            self._bars.remove_task(self._tasks.pop(name))
            self._words.plain = ""


class Plain(_Paced):
    """Lines on standard error, for logs and pipes: words as they come, figures now and then."""

    def __init__(self, out: TextIO | None = None, every: float = 5.0) -> None:
        super().__init__()
        self._out = out or sys.stderr
        self._every = every
        self._due = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        yield

    def notice(self, text: str) -> None:
        self._print(text)

    def submitted(self, name: str, job: str, length: float | None) -> None:
        super().submitted(name, job, length)
        self._print(f"{name}: job {job}" + (f", {clock(length)} long" if length else ""))
        self._due = time.monotonic() + self._every

    def progress(self, name: str, now: Progress) -> None:
        at = self.line(name, now)
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._every
        left = at["seconds_left"]
        self._print(
            f"{name}: {_stage(now)}, {now.windows_done}/{now.windows} windows, "
            f"{at['share']:.0%}, {at['speed']:.1f}x real time {at['trend']}"
            + (f", {clock(left)} left" if left is not None else "")
        )

    def heard(self, name: str, heard: Heard) -> None:
        if heard.text:
            self._print(f"[{clock(heard.start)}] {heard.text}")

    def completed(self, name: str, now: Progress, files: list[str]) -> None:
        self._print(_summary(name, now, self.paces.get(name), files))

    def failed(self, name: str, error: HansardError, job: str | None) -> None:
        self._print(_refusal(name, error, job))

    def _print(self, text: str) -> None:
        print(text, file=self._out, flush=True)


class Silent(Plain):
    """Only what went wrong."""

    def notice(self, text: str) -> None:
        del text

    def submitted(self, name: str, job: str, length: float | None) -> None:
        _Paced.submitted(self, name, job, length)

    def progress(self, name: str, now: Progress) -> None:
        del name, now

    def heard(self, name: str, heard: Heard) -> None:
        del name, heard

    def completed(self, name: str, now: Progress, files: list[str]) -> None:
        del name, now, files


class Events(_Paced):
    """JSON lines on standard output, one an event; ``docs/events.md`` describes them."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, dict[str, Any]] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        yield

    def notice(self, text: str) -> None:
        self._say("notice", None, text=text)

    def submitted(self, name: str, job: str, length: float | None) -> None:
        super().submitted(name, job, length)
        self._say("submitted", name, job=job, seconds=length)

    def progress(self, name: str, now: Progress) -> None:
        at = self.line(name, now)
        seen = {key: at[key] for key in ("stage", "state", "windows", "windows_done")}
        if self._last.get(name) != seen:
            self._last[name] = seen
            self._say("progress", name, **at)

    def heard(self, name: str, heard: Heard) -> None:
        self._say("heard", name, start=heard.start, channel=heard.channel, text=heard.text)

    def completed(self, name: str, now: Progress, files: list[str]) -> None:
        self._say("completed", name, job=now.job.id, files=files)

    def failed(self, name: str, error: HansardError, job: str | None) -> None:
        self._say("failed", name, job=job, code=error.code, message=error.message, hint=error.hint)

    @staticmethod
    def _say(event: str, name: str | None, **fields: Any) -> None:
        print(json.dumps({"event": event, "recording": name, **fields}), flush=True)


def _stage(now: Progress) -> str:
    if now.job.state == "retrying":
        why = now.job.failure.message if now.job.failure else "something went wrong"
        return f"waiting to try again ({why})"
    return _STAGES[now.job.step]


def _summary(name: str, now: Progress, pace: Pace | None, files: list[str]) -> str:
    where = f" → {', '.join(files)}" if files else ""
    prepared = now.job.prepared
    length = clock(prepared.samples / 16_000) if prepared else "?"
    speed = f", {pace.overall:.1f}x real time" if pace is not None and pace.overall else ""
    return f"{name}: done, {length} of audio{speed}{where}"


def _refusal(name: str, error: HansardError, job: str | None) -> str:
    lines = [f"{name}: error: {error.message} [{error.code}]"]
    if error.hint:
        lines.append(f"  hint: {error.hint}")
    if job:
        lines.append(f"  `hansard jobs show {job}` has the history.")
    return "\n".join(lines)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
