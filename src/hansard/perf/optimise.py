"""Finds the settings that are the best on this machine, and says how sure that is.

For each part of the work: what may be varied becomes candidates, successive halving
(:mod:`hansard.perf.halving`) finds the most promising of them, and a duel of fresh, interleaved
runs against what is in force now decides. Only what is faster beyond doubt (a permutation test
of the pairs at one percent, and at least three percent gained) is taken. A candidate whose words
differ from those of the built-in settings, by more than a point of word error rate or, without a
reference, by more than one word in a hundred, is out.

Parts are values of the protocol :class:`Part`: real ones do real work
(:mod:`hansard.perf.optimise_speech`, :mod:`hansard.perf.optimise_store`); tests have some whose
cost is counted.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec.structs import replace

from hansard.config import Settings
from hansard.model import Value
from hansard.perf import halving
from hansard.perf.intervals import contrast
from hansard.tuned import MODELS, TUNABLE

Values = Mapping[str, Any]
"""Dotted names of settings → values; what is not named is as it is built in."""

Space = Sequence["Knob"]

MOST = 27
"""Candidates at the most: three rounds."""
_LEAST = 4

LEAST = 0.03
"""Share of the time that must be gained: less is not worth a setting."""

_DUELS = 4
"""Rivals that are tried at the most, should those before them turn out to change the words."""

_SEARCHING = 0.55
"""Share of the time that goes to searching; the rest is for the duel."""

TOLERANCE = 0.01
"""Of word error rate, or of words that differ, in all."""
_LOOSE = 0.3
"""Of words that may differ in a part of the work, where all of it has a reference that decides."""


class Knob(Value, frozen=True):
    """Settings that are varied together, and what they may be."""

    names: tuple[str, ...]
    options: tuple[tuple[Any, ...], ...]
    """Values in the order of the names."""

    def set(self, option: int) -> dict[str, Any]:
        """The values of one of the options."""
        return dict(zip(self.names, self.options[option], strict=True))


class Output(Value, frozen=True):
    """What came of the work: equal texts are equal results."""

    text: str
    error: float | None = None
    """Word error rate, where there is a reference."""


class Part(Protocol):
    """One part of the work, ready to be done again and again."""

    name: str
    """A component: ``stt``, ``vad``, ``store``, ``upload``."""
    weight: float
    """Its share of the time, among the parts that there are."""
    fixed: float
    """Seconds that getting ready for other values takes, beside the work: loading a model."""

    def space(self) -> Space:
        """What may be varied."""
        ...

    def run(self, values: Values, share: float) -> tuple[float, Output]:
        """Do a share of the work, 0 to 1, with these values: its cost, and what came of it."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class Outcome(Value, frozen=True, omit_defaults=False):
    """What was found out about one part."""

    part: str
    before: dict[str, Any]
    """What was in force and differs from what is built in."""
    after: dict[str, Any]
    """What is best; the same as ``before`` where nothing beats it."""
    rival: dict[str, Any]
    """What the duel was against: ``after``, or the most promising of those that were not better."""
    faster: float
    """How many times as fast the rival is as what was in force: the median of pairs."""
    low: float
    high: float
    """Bounds that hold it with 95 % confidence."""
    p: float
    pairs: int
    candidates: int
    spoilt: int
    """Candidates that were out for their words."""
    words: str
    """How the words of the rival compare."""

    @property
    def changed(self) -> bool:
        """Whether something is better than what was in force."""
        return self.after != self.before

    def sentence(self) -> str:
        """All of it in one line."""
        sure = f"{self.low:.2f} to {self.high:.2f}, {self.pairs} pairs"
        if self.changed:
            return f"{self.part}: {self.faster:.2f} times as fast ({sure}); {self.words}"
        now = "what is in force" if self.before else "what is built in"
        if not self.pairs:
            return f"{self.part}: {now} stays: {self.words}"
        best = f"{now} is best" if self.high < 1 + LEAST else f"nothing is surely better than {now}"
        return (
            f"{self.part}: {best}; of {self.candidates} others the most promising is "
            f"{self.faster:.2f} times as fast ({sure})"
        )


Say = Callable[[str], None]


def optimise(
    part: Part,
    before: Values,
    *,
    given: frozenset[str],
    budget: float,
    clock: Callable[[], float] = time.monotonic,
    say: Say = lambda _: None,
) -> Outcome:
    """Find the best values for one part.

    Args:
        part: what is measured.
        before: the values in force, of a profile.
        given: settings that the user has set: they are not varied.
        budget: seconds.
        clock: seconds that never go back.
        say: told how it goes.
    """
    begun = clock()
    space = [knob for knob in part.space() if not given.intersection(knob.names)]
    names = {name for knob in space for name in knob.names}
    before = {name: value for name, value in before.items() if name in names}
    judge = _Judge(part)
    judge.expect(1.0)
    took = max(clock() - begun, 1e-9)
    judge.expect(halving.shares(MOST)[0])
    small = max(clock() - begun - took, 1e-9)
    # A profile that spoils the words is no measure of speed, and does not stay.
    now = dict(before) if not before or judge.cost(before, 1.0) is not None else {}
    # Each candidate does the least, a third of them about half, a ninth of them all of it.
    each = small + part.fixed + (small + took) / 6 + took / 9
    most = int(max(_LEAST, min(MOST, budget * _SEARCHING / each)))
    least = took + _LEAST * each + 2 * halving.LEAST_PAIRS * small
    if least > budget:
        say(f"{part.name}: this takes {least / 60:.0f} minutes at the least, more than its share")
    candidates = variants(space, now, most)
    say(f"{part.name}: {len(candidates)} candidates")
    found = halving.search(
        now, candidates, judge.cost, budget=begun + budget * _SEARCHING - clock(), clock=clock
    )
    spoilt = found.spoilt
    for standing in found.standings[:_DUELS]:
        say(f"{part.name}: {told(standing.candidate)} against {told(now)}")
        left = begun + budget - clock()
        sides = halving.duel(now, standing.candidate, judge.cost, budget=left, clock=clock)
        if sides is None:
            spoilt += 1  # by all of the work, which the search did not have it do
            continue
        words = judge.words(standing.candidate)
        outcome = _decided(part.name, now, standing.candidate, sides, words)
        return replace(outcome, before=dict(before), candidates=len(candidates), spoilt=spoilt)
    return _unrivalled(part.name, before, now, len(candidates), spoilt)


def _decided(
    part: str, now: Values, rival: Values, sides: tuple[list[float], list[float]], words: str
) -> Outcome:
    """What the pairs of a duel say."""
    seen = contrast(*sides, paired=True, least=LEAST)
    return Outcome(
        part,
        before=dict(now),
        after=dict(rival) if seen.verdict == "faster" else dict(now),
        rival=dict(rival),
        faster=1 / seen.ratio,
        low=1 / seen.high,
        high=1 / seen.low,
        p=seen.p,
        pairs=len(sides[0]),
        candidates=1,
        spoilt=0,
        words=words,
    )


def _unrivalled(part: str, before: Values, now: Values, candidates: int, spoilt: int) -> Outcome:
    return Outcome(
        part,
        before=dict(before),
        after=dict(now),
        rival={},
        faster=1.0,
        low=1.0,
        high=1.0,
        p=1.0,
        pairs=0,
        candidates=candidates,
        spoilt=spoilt,
        words="no other result was the same",
    )


def variants(space: Space, now: Values, most: int) -> list[dict[str, Any]]:
    """Candidates: what is built in, then each single change of it, then combinations, by lot.

    The same each time; never what is in force, and none twice.
    """
    plain: dict[str, Any] = {}
    single = [knob.set(option) for knob in space for option in range(len(knob.options))]
    chance = random.Random(0)  # noqa: S311 nothing is kept secret with it
    mixed: list[dict[str, Any]] = []
    for _ in range(4 * most if space else 0):
        mixed.append({})
        for knob in space:
            option = chance.randrange(-1, len(knob.options))  # -1: as it is built in
            mixed[-1] |= knob.set(option) if option >= 0 else {}
    chance.shuffle(single)
    # Half of them combinations: what is best together need not be so alone.
    ordered = [plain, *single[: max(1, most // 2)], *mixed, *single[most // 2 :]]
    found: list[dict[str, Any]] = []
    for one in ordered:
        if one != dict(now) and one not in found:
            found.append(one)
    return found[:most]


class _Judge:
    """Runs candidates, and holds what they give against what the built-in settings give."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._expected: dict[float, Output] = {}
        self._last: dict[str, tuple[float, Output]] = {}

    def expect(self, share: float) -> Output:
        """What should come of a share of the work: what the built-in settings make of it."""
        if share not in self._expected:
            _, self._expected[share] = self._part.run({}, share)
        return self._expected[share]

    def cost(self, values: Values, share: float) -> float | None:
        """Of one run; ``None`` where the words are not as they should be."""
        expected = self.expect(share)
        seconds, output = self._part.run(values, share)
        self._last[repr(sorted(values.items()))] = share, output
        decided = expected.error is not None or self.expect(1.0).error is None
        return seconds if distance(expected, output) <= (TOLERANCE if decided else _LOOSE) else None

    def words(self, values: Values) -> str:
        """How what came of the last run of a candidate compares, as a phrase."""
        share, output = self._last[repr(sorted(values.items()))]
        expected = self._expected[share]
        if output.text == expected.text:
            return "the same result"
        if output.error is not None and expected.error is not None:
            return f"word error rate {output.error:.1%}, before {expected.error:.1%}"
        return f"{distance(expected, output):.1%} of words differ"


def distance(expected: Output, output: Output) -> float:
    """By how much an output is worse than it should be: of word error rate, else of words."""
    if output.text == expected.text:
        return 0.0
    if expected.error is not None and output.error is not None:
        return max(0.0, output.error - expected.error)
    from hansard.speech.accuracy import word_errors

    return word_errors(expected.text, output.text).rate


def told(values: Values) -> str:
    """Values in a few words."""
    if not values:
        return "as built in"
    return ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in sorted(values.items()))


# ── settings ─────────────────────────────────────────────────────────────────────────────────


def given(plain: Settings, model: str | None) -> frozenset[str]:
    """Which tunable settings the user has set, by environment, file or command line.

    Args:
        plain: settings as they are without a profile.
        model: the Whisper model that is tuned, if it is one.
    """
    found = set()
    for name in TUNABLE:
        section, _, field = name.rpartition(".")
        owner = getattr(plain, section) if section else plain
        if field in owner.model_fields_set:
            found.add(name)
    if model is not None:
        own = plain.whisper.models.get(model)
        for field in ("compute_type", "lanes", "threads", "batch", "window_seconds"):
            here = field in plain.whisper.model_fields_set
            if here or (own is not None and field in own.model_fields_set):
                found.add(f"{MODELS}{model}.{field}")
        halves = {f"{MODELS}{model}.lanes", f"{MODELS}{model}.threads"}
        found |= halves if found & halves else set()
    return frozenset(found)


def applied(plain: Settings, values: Values) -> Settings:
    """Settings with these values, as a profile would have them."""
    from hansard.tuned import nested

    tree = nested(values)
    changes: dict[str, Any] = {}
    for section, table in tree.items():
        if not isinstance(table, dict):
            changes[section] = table
            continue
        owner = getattr(plain, section)
        wanted = owner.model_dump(exclude_unset=True) | table
        if section == "whisper":
            kept = {name: one.model_dump() for name, one in owner.models.items()}
            wanted["models"] = kept | table["models"]
        changes[section] = type(owner).model_validate(wanted)
    return plain.model_copy(update=changes)
