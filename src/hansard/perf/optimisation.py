"""All of ``hansard optimise``: each part in turn, what fits the memory, and the profile."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hansard import tuned
from hansard.config import Settings
from hansard.errors import UsageError
from hansard.model import SAMPLE_RATE, Value
from hansard.perf.benchmark_material import material
from hansard.perf.fitting import Fit, fit
from hansard.perf.optimise import Outcome, Part, given, optimise
from hansard.tuned import Profile

if TYPE_CHECKING:
    from hansard.perf.optimise_speech import Samples
    from hansard.speech.catalog import Choice

COMPONENTS = ("stt", "vad", "store", "upload", "memory")
"""What can be optimised; ``memory`` is what follows from how much of it there is."""

_SAMPLE_SECONDS = 75.0
"""Of the sample meeting, where no recording is named: a window or two for each lane."""
_PAUSE = np.zeros(SAMPLE_RATE, np.int16)


class Report(Value, frozen=True, omit_defaults=False):
    """What was found, and what was done about it."""

    model: str
    outcomes: tuple[Outcome, ...]
    fits: tuple[Fit, ...]
    left_out: dict[str, str]
    """Component → why it was not looked at."""
    values: dict[str, Any]
    """Of the profile as it should be."""
    before: dict[str, Any]
    """Of the profile as it was."""
    written: str | None = None
    """Where it was written to."""

    @property
    def changed(self) -> bool:
        """Whether the profile should be another one."""
        return self.values != self.before


def run(
    plain: Settings,
    recordings: Sequence[Path] = (),
    *,
    minutes: float = 10.0,
    components: Collection[str] = COMPONENTS,
    model: str | None = None,
    say: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Report:
    """Measure, and say what the profile should be. Nothing is written but scratch.

    Args:
        plain: settings as they are without a profile.
        recordings: what to measure with; the sample meeting where none is named. A text file of
            the same name beside one says what is said in it.
        minutes: of measuring, in all; loading models and filling stores comes on top.
        components: which of :data:`COMPONENTS`.
        model: as ``--model``; as the settings say where it is not given.
        say: told how it goes.
        clock: seconds that never go back.

    Raises:
        UsageError: there is no such component.
        OptimiseBusy: somebody else measures here.
        HansardError: a recording cannot be read, or the model cannot be loaded.
    """
    from hansard.perf.optimise_store import alone
    from hansard.speech import catalog
    from hansard.store.opening import opened

    _see_that_they_exist(components)
    plain.data.mkdir(parents=True, exist_ok=True)
    samples, reference = heard(recordings)
    seconds, name = len(samples) / SAMPLE_RATE, model or plain.model
    chosen = catalog.resolve(name, seconds=seconds, prefer=plain.prefer, settings=plain)
    profile = tuned.read(plain.data) if tuned.holds(plain.data) else None
    before = {} if profile is None else dict(profile.values)
    mine = given(plain, chosen.model if chosen.engine == "whisper" else None)
    with ExitStack() as stack:
        stack.enter_context(alone(plain))
        database = opened(plain.data, plain.database, sqlite=plain.sqlite)
        stack.callback(database.close)
        ready = _ready(plain, chosen, samples, reference, stack)
        ready = {name: one for name, one in ready.items() if name in components}
        left = {name: one for name, one in ready.items() if isinstance(one, str)}
        parts = [one() for one in ready.values() if not isinstance(one, str)]
        race = partial(optimise, before=before, given=mine, clock=clock, say=say)
        outcomes = list(_shared(parts, 60.0 * minutes, race, say))
        loads = [took for part in parts for took in getattr(part, "loading", ())]
        fits = fit(plain, database, max(loads, default=0.0)) if "memory" in components else []
    fits = [one for one in fits if not mine.intersection(one.values)]
    values = _merged(before, outcomes, fits, refit="memory" in components)
    return Report(
        f"{chosen.engine}/{chosen.model}", tuple(outcomes), tuple(fits), left, values, before
    )


def _shared(
    parts: Sequence[Part], seconds: float, race: Callable[..., Outcome], say: Callable[[str], None]
) -> Iterator[Outcome]:
    """The parts one after the other, each with the share of the time that its weight gives it."""
    whole = sum(part.weight for part in parts)
    for part in parts:
        outcome = race(part, budget=seconds * part.weight / whole)
        say(outcome.sentence())
        yield outcome


def _see_that_they_exist(components: Collection[str]) -> None:
    for name in components:
        if name not in COMPONENTS:
            raise UsageError(
                f"Nothing called {name} can be optimised.",
                hint=f"There are {', '.join(COMPONENTS)}.",
            )


_FITTED = ("caches.transcripts", "caches.rendered", "caches.vectors", "model_idle")


def _merged(
    before: dict[str, Any], outcomes: Sequence[Outcome], fits: Sequence[Fit], *, refit: bool
) -> dict[str, Any]:
    """The values of the new profile: the old ones, but for what was looked at."""
    values = dict(before)
    for outcome in outcomes:
        for name in outcome.before:
            values.pop(name, None)
        values |= outcome.after
    if refit:
        for name in _FITTED:
            values.pop(name, None)
        for one in fits:
            values |= one.values
    return values


def keep(plain: Settings, report: Report) -> Path | None:
    """Write the profile of a report, where it is another one; ``None`` where it is not.

    A profile that would say nothing is removed, so that what is built in holds again.

    Raises:
        CannotWrite: the data directory cannot be written.
    """
    stale = (plain.data / tuned.FILE).exists() and not report.before
    if not report.changed and not (stale and not report.values):
        return None
    if not report.values:
        tuned.remove(plain.data)
        return plain.data / tuned.FILE
    evidence = [one.sentence() for one in report.outcomes]
    evidence += [f"{', '.join(one.values)}: {one.why}" for one in report.fits]
    profile = Profile(tuned.here(), report.model, tuned.now(), tuple(evidence), report.values)
    return tuned.write(plain.data, profile)


def heard(recordings: Sequence[Path]) -> tuple[Samples, str | None]:
    """The recordings one after the other, and what is said in them, where that is known of all.

    Raises:
        BadInput: one cannot be read.
    """
    pieces: list[Samples] = []
    said: list[str | None] = []
    if not recordings:
        with material(seconds=_SAMPLE_SECONDS) as sample:
            return sample.samples, sample.reference
    for path in recordings:
        beside = path.with_suffix(".txt")
        with material(path, reference=beside if beside.is_file() else None) as one:
            pieces += [one.samples, _PAUSE]
            said.append(one.reference)
    known = [text for text in said if text is not None]
    return np.concatenate(pieces), " ".join(known) if len(known) == len(said) else None


def _ready(
    plain: Settings, choice: Choice, samples: Samples, reference: str | None, stack: ExitStack
) -> dict[str, Callable[[], Part] | str]:
    """How to get each part ready here; or why not."""
    from hansard.perf.optimise_speech import Detecting, Listening
    from hansard.perf.optimise_store import Storing, TakingIn

    def held(part: Part) -> Part:
        stack.callback(part.close)
        return part

    engine, model = choice.engine, choice.model
    found: dict[str, Callable[[], Part] | str] = {
        "stt": lambda: held(Listening(plain, engine, model, samples, reference)),
        "vad": lambda: held(Detecting(plain, samples)),
        "store": lambda: held(Storing(plain)),
        "upload": lambda: held(TakingIn(plain)),
    }
    if engine == "openai":
        found["stt"] = "the model runs on another machine"
    if plain.database is not None:
        found["store"] = "PostgreSQL has settings of its own: see --explain"
    return found
