"""How well the embedded extractors find what was planted in written meetings, and how fast.

    python bench/insight.py [--rounds 5] [--show NAME]

Meetings are those of ``samples/minutes``, the English ones as they were written and as the embedded
engine would have heard them. ``HELD_OUT`` was not looked at while rules were made: told apart.

* Items: precision and recall by kind, and of the tasks found how many have the right owner, day.
* Chapters: Pk (Beeferman et al. 1999) and WindowDiff (Pevzner & Hearst 2002), both errors, beside
  cuts of equal length that are told the true number; also on patchworks of parts of the topics of
  all meetings, of unequal length, as Choi (2000) made them.
* Summaries: ROUGE-1 and -2 over stems (Lin 2004) against a summary that was written by hand,
  beside the first sentences and those nearest to the centroid, as many each.
* Speed: a meeting of an hour, some 9 000 words, in a fresh process each time, its imports included,
  and once more when it is warm.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec
from rig import ROOT, report

sys.path.insert(0, str(ROOT / "samples"))

import minutes
from script import improvise

from hansard.insight import chapters, embedded, items, summary, templates, vectors
from hansard.insight.findings import ITEM_KINDS, KINDS, Item, Kind, Occasion, Statement
from hansard.insight.languages import Stems, words
from hansard.insight.sentences import split
from hansard.model import Segment

STYLES: tuple[minutes.Style, ...] = ("written", "heard")
TARGETS: dict[Kind, float] = {"summary": 3.0, "chapters": 2.0, "items": 1.0, "sentiment": 1.0}
HOUR_WORDS = 9000
SHORT = 3
"""Sentences of the summaries that are compared."""

UNITS = {"USD": "dollars", "EUR": "euros", "GBP": "pounds", "%": "%"}


class Tally(Counter[str]):
    """Counts of found, wrong and missed."""

    def rates(self) -> dict[str, float]:
        found, wrong, missed = self["found"], self["wrong"], self["missed"]
        rates = {
            "precision": round(found / (found + wrong), 3) if found + wrong else 1.0,
            "recall": round(found / (found + missed), 3) if found + missed else 1.0,
            "planted": found + missed,
        }
        for what in ("owner", "due", "value"):
            if self[f"{what}s"]:
                rates[what] = round(self[f"{what} right"] / self[f"{what}s"], 3)
        return rates


def tally(meeting: minutes.Minutes, style: minutes.Style, *, show: bool) -> dict[str, Tally]:
    """What was found of each kind, against what was planted."""
    segments, of = minutes.segments(meeting, style)
    found, _ = items.find(segments, meeting.occasion)
    names = {person.label: person.name.split()[-1] for person in meeting.occasion.people}
    tallies: dict[str, Tally] = {kind: Tally() for kind in ITEM_KINDS}
    left = list(meeting.planted)
    for item in found.items:
        count = tallies[item.kind]
        at = {of[segment] for segment in item.segments}
        planted = _match(item, at, left)
        if planted is None:
            # Where people may differ, a second item of the same sentence is no error either.
            if not any(
                p.sentence in at and p.kind == item.kind and not p.sure for p in meeting.planted
            ):
                count["wrong"] += 1
                if show:
                    print(f"    wrong  {item.kind:<9}{item.text}  {item.value or item.owner or ''}")
            continue
        left.remove(planted)
        if planted.sure:
            count["found"] += 1
            _judge(count, item, planted, names)
    for planted in left:
        if planted.sure:
            tallies[planted.kind]["missed"] += 1
            if show:
                print(f"    missed {planted.kind:<9}{meeting.sentences[planted.sentence].text}")
    return tallies


def _match(item: Item, at: set[int], left: Sequence[minutes.Planted]) -> minutes.Planted | None:
    """The planted thing that this is: in a cited sentence, and of the same value if it can be."""
    likely = [one for one in left if one.kind == item.kind and one.sentence in at]
    likely.sort(key=lambda one: (not _same(item.value, one.value), not one.sure))
    return likely[0] if likely else None


def _same(found: str | None, planted: str | None) -> bool:
    if found is None or planted is None:
        return found == planted
    number, _, unit = planted.partition(" ")
    if unit:
        return found == f"{number} {UNITS[unit]}"
    return found.partition(" ")[0] == number  # what is counted may be said in other words


def _judge(
    count: Tally, item: Item, planted: minutes.Planted, names: dict[str | None, str]
) -> None:
    if item.kind == "action":
        owner = names.get(item.owner) or (item.owner or "").split(" ")[-1] or None
        count["owners"] += 1
        count["owner right"] += owner == planted.owner
        count["dues"] += 1
        count["due right"] += item.due == planted.due
    elif planted.value:
        count["values"] += 1
        count["value right"] += _same(item.value, planted.value)


def found_items(
    names: Sequence[str], styles: Sequence[minutes.Style], *, show: str | None
) -> dict[str, dict[str, dict[str, float]]]:
    """Rates by style and kind, over all meetings."""
    rates: dict[str, dict[str, dict[str, float]]] = {}
    for style in styles:
        total: dict[str, Tally] = defaultdict(Tally)
        for name in names:
            if show == name:
                print(f"  {name}, {style}")
            for kind, count in tally(minutes.read(name), style, show=show == name).items():
                total[kind].update(count)
        rates[style] = {kind: count.rates() for kind, count in total.items()}
        for kind, rate in rates[style].items():
            print(f"  {style:<8} {kind:<9} {rate}")
    return rates


# ── chapters ─────────────────────────────────────────────────────────────────────────────────


def errors(truth: Sequence[int], found: Sequence[int]) -> tuple[float, float]:
    """Pk and WindowDiff, with windows of half the mean true length."""
    width = max(2, len(truth) // (2 * len(set(truth))))
    places = range(len(truth) - width)
    pk = windiff = 0
    for at in places:
        pk += (truth[at] == truth[at + width]) != (found[at] == found[at + width])
        inside = [
            sum(a != b for a, b in pairwise(ids[at : at + width + 1])) for ids in (truth, found)
        ]
        windiff += inside[0] != inside[1]
    return pk / max(len(places), 1), windiff / max(len(places), 1)


def _topics(segments: Sequence[Segment], occasion: Occasion) -> list[int]:
    found = chapters.find(segments, occasion).chapters
    return [at for at, chapter in enumerate(found) for _ in range(chapter.first, chapter.last + 1)]


def _patchwork(names: Sequence[str], seed: int) -> tuple[list[Segment], list[int]]:
    """Parts of topics of all meetings, five to twenty-five sentences each, one after the other."""
    rng = random.Random(seed)
    topics: list[list[minutes.Sentence]] = []
    for name in names:
        meeting = minutes.read(name)
        topics += [
            [one for one in meeting.sentences if one.topic == number]
            for number in range(len(meeting.topics))
        ]
    segments: list[Segment] = []
    truth: list[int] = []
    for number, topic in enumerate(rng.sample(topics, 8)):
        length = rng.randint(5, 25)
        begin = rng.randint(0, max(len(topic) - length, 0))
        for one in topic[begin : begin + length]:
            at = len(segments) * 4.0
            segments.append(Segment(at, at + 3.5, one.text, speaker=one.speaker))
            truth.append(number)
    return segments, truth


def found_chapters(names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Errors of ours and of cuts of equal length, on whole meetings and on patchworks."""
    cases: dict[str, list[tuple[list[Segment], list[int]]]] = {"meetings": [], "patchwork": []}
    for name in names:
        meeting = minutes.read(name)
        for style in STYLES:
            segments, of = minutes.segments(meeting, style)
            cases["meetings"].append((segments, [meeting.sentences[at].topic for at in of]))
    if len(names) > 2:
        cases["patchwork"] = [_patchwork(names, seed) for seed in range(20)]
    figures = {}
    for case, made in cases.items():
        if not made:
            continue
        ours, equal = [], []
        for segments, truth in made:
            ours.append(errors(truth, _topics(segments, Occasion(language="en"))))
            count = len(set(truth))
            equal.append(errors(truth, [at * count // len(truth) for at in range(len(truth))]))
        figures[case] = {
            "pk": round(statistics.mean(pk for pk, _ in ours), 3),
            "windowdiff": round(statistics.mean(wd for _, wd in ours), 3),
            "equal_pk": round(statistics.mean(pk for pk, _ in equal), 3),
            "equal_windowdiff": round(statistics.mean(wd for _, wd in equal), 3),
        }
        figures[case]["ratio"] = round(figures[case]["pk"] / figures[case]["equal_pk"], 2)
        print(f"  {case:<10} {figures[case]}")
    return figures


# ── summaries ────────────────────────────────────────────────────────────────────────────────


def rouge(reference: str, said: str, size: int) -> float:
    """F1 over runs of ``size`` stems."""
    stems = Stems("en")
    theirs, ours = (
        Counter(zip(*(stems.of(words(text))[at:] for at in range(size)), strict=False))
        for text in (reference, said)
    )
    both = (theirs & ours).total()
    return 2 * both / (theirs.total() + ours.total()) if both else 0.0


def _first(segments: Sequence[Segment], _: Occasion) -> list[str]:
    return [sentence.text for sentence in split(segments)[:SHORT]]


def _nearest(segments: Sequence[Segment], _: Occasion) -> list[str]:
    """The sentences nearest to the mean of all."""
    sentences = split(segments)
    stems = Stems("en")
    rows = vectors.tf_idf([stems.of(sentence.words) for sentence in sentences]).toarray()
    near = rows @ rows.mean(axis=0)
    best = sorted(range(len(near)), key=lambda at: (-near[at], at))[:SHORT]
    return [sentences[at].text for at in sorted(best)]


def _ours(segments: Sequence[Segment], occasion: Occasion) -> list[str]:
    said: Sequence[Statement] = summary.find(segments, occasion, short=SHORT).short
    return [statement.text for statement in said]


def found_summaries(names: Sequence[str]) -> dict[str, dict[str, float]]:
    """ROUGE of each way to summarise, over both styles."""
    ways: dict[str, Callable[[Sequence[Segment], Occasion], list[str]]] = {
        "ours": _ours,
        "first": _first,
        "centroid": _nearest,
    }
    figures = {}
    for way, summarise in ways.items():
        scores = []
        for name in names:
            meeting = minutes.read(name)
            for style in STYLES:
                segments, _ = minutes.segments(meeting, style)
                said = " ".join(summarise(segments, meeting.occasion))
                scores.append([rouge(meeting.summary, said, size) for size in (1, 2)])
        figures[way] = {
            f"rouge{size}": round(statistics.mean(score[size - 1] for score in scores), 3)
            for size in (1, 2)
        }
        print(f"  {way:<10} {figures[way]}")
    return figures


# ── speed ────────────────────────────────────────────────────────────────────────────────────


def hour() -> list[Segment]:
    """A meeting of an hour: the written ones, and as much improvised talk as is missing."""
    said: list[tuple[str, str]] = []
    for name in minutes.names():
        meeting = minutes.read(name)
        if meeting.occasion.language == "en":
            said += [(one.speaker, one.text) for one in meeting.sentences]
    missing = HOUR_WORDS - sum(len(text.split()) for _, text in said)
    for turn in improvise(5):
        said += [(turn.speaker, text) for text in turn.sentences]
        missing -= sum(len(text.split()) for text in turn.sentences)
        if missing <= 0:
            break
    segments, at = [], 0.0
    for speaker, text in said:
        end = at + 0.38 * len(text.split())
        segments.append(Segment(at, end, text, speaker=speaker))
        at = end + 0.2
    return segments


OCCASION = Occasion(held=1_800_000_000.0, language="en")


def once(kind: Kind) -> None:
    """In a process of its own: seconds of the first find, imports included, and of the next."""
    segments = hour()
    taken = []
    for _ in range(2):
        begun = time.perf_counter()
        embedded.find(kind, segments, OCCASION, templates.BUILT_IN["meeting"])
        taken.append(time.perf_counter() - begun)
    print(*taken)


class Speed(NamedTuple):
    """Seconds, medians."""

    cold: float
    warm: float


def speeds(rounds: int) -> dict[str, Speed]:
    """Every kind in turn, in fresh processes."""
    taken: dict[Kind, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    for _ in range(rounds):
        for kind in KINDS:
            done = subprocess.run(
                [sys.executable, str(Path(__file__)), "--once", kind],
                env=surroundings,
                check=True,
                capture_output=True,
                text=True,
            )
            cold, warm = map(float, done.stdout.split())
            taken[kind].append((cold, warm))
    found = {
        kind: Speed(*(round(statistics.median(each), 3) for each in zip(*runs, strict=True)))
        for kind, runs in taken.items()
    }
    for kind, speed in found.items():
        print(f"  {kind:<10} cold {speed.cold:.3f} s  warm {speed.warm:.3f} s")
    return {str(kind): speed for kind, speed in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--show", help="a meeting whose errors are printed")
    parser.add_argument("--once", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        once(options.once)
        return
    read = {name: minutes.read(name) for name in minutes.names()}
    english = [name for name, one in read.items() if one.occasion.language == "en"]
    known = [name for name in english if name not in minutes.HELD_OUT]
    others = [name for name in read if name not in english]
    figures: dict[str, object] = {}
    for group, names in (
        ("known", known),
        *((f"held out: {name}", [name]) for name in minutes.HELD_OUT),
        ("de, fr, es", others),
    ):
        print(f"\n{group}: {', '.join(names)}")
        # The embedded engine hears English only.
        styles = STYLES if names is not others else STYLES[:1]
        one: dict[str, object] = {"items": found_items(names, styles, show=options.show)}
        if names is not others:
            one["chapters"] = found_chapters(names)
            one["summaries"] = found_summaries(names)
        figures[group] = one
    print("\nan hour")
    fast = speeds(options.rounds)
    figures["seconds"] = msgspec.to_builtins(fast)
    figures["within_targets"] = {kind: fast[kind].cold < target for kind, target in TARGETS.items()}
    report("insight", figures)


if __name__ == "__main__":
    main()
