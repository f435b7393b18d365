"""Formats for phoneticians and scorers: NIST's CTM and RTTM, and Praat's TextGrid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import BinaryIO, NamedTuple

from hansard.formats import pieces, wording
from hansard.formats.layout import STANDARD, Layout, Segments, channels_of
from hansard.formats.wording import milliseconds
from hansard.model import Segment, Transcript


def ctm(head: Transcript, segments: Segments, out: BinaryIO, layout: Layout = STANDARD) -> None:
    """NIST's time-marked conversation (the SCTK manual's ``ctm``), for ``sclite`` and its kin.

    A word a line: recording, channel (from 1), start, duration in seconds, word, and confidence
    where it is known; sorted by channel, then start. Words whose times the engine did not give
    get their share of the segment. Words are as heard, punctuation and case included. One walk
    to find the channels, one for each.
    """
    del layout
    recording = "_".join(PurePath(wording.clean(head.name)).stem.split()) or "recording"
    if recording.startswith(";;"):  # a comment, to readers of CTM
        recording = f"_{recording}"
    for channel in channels_of(segments):
        for segment in segments():
            if segment.channel != channel:
                continue
            for word in pieces.words(segment):
                start = milliseconds(word.start)
                length = milliseconds(word.end) - start
                sure = "" if word.confidence is None else f" {word.confidence:.4f}"
                out.write(
                    f"{recording} {channel + 1} {_decimal(start)} {_decimal(length)} "
                    f"{word.text}{sure}\n".encode()
                )


_ONE_TURN = 0.3
"""Seconds of silence of one speaker that do not end a turn: what NIST smooths its references by."""


def rttm(head: Transcript, segments: Segments, out: BinaryIO, layout: Layout = STANDARD) -> None:
    """NIST's RTTM (*Rich Transcription 2009*, appendix A): who spoke when, a turn a line.

    Segments whose speaker is not known are left out. One walk; turns may overlap, and come in the
    order of their start. Times are to the millisecond.
    """
    del layout
    recording = "_".join(PurePath(wording.clean(head.name)).stem.split()) or "recording"
    open_: dict[tuple[int, str], tuple[float, float]] = {}

    def told(before: float) -> None:
        over = [who for who, (_, end) in open_.items() if end + _ONE_TURN < before]
        for channel, speaker in sorted(over, key=lambda who: (open_[who], who)):
            start, end = open_.pop((channel, speaker))
            onset, length = milliseconds(start), milliseconds(end) - milliseconds(start)
            out.write(
                f"SPEAKER {recording} {channel + 1} {_decimal(onset)} {_decimal(length)} "
                f"<NA> <NA> {speaker} <NA> <NA>\n".encode()
            )

    for segment in segments():
        speaker = "_".join(wording.clean(segment.speaker or "").split())
        if not speaker:
            continue
        told(segment.start)
        who = (segment.channel, speaker)
        start, end = open_.get(who, (segment.start, segment.end))
        open_[who] = (min(start, segment.start), max(end, segment.end))
    told(float("inf"))


def _decimal(ms: int) -> str:
    return f"{ms // 1000}.{ms % 1000:03d}"


class _Tier(NamedTuple):
    """One tier of a TextGrid: the segments or the words of one speaker on one channel."""

    channel: int
    speaker: str
    words: bool


class _Interval(NamedTuple):
    start_ms: int
    end_ms: int
    text: str


def textgrid(
    head: Transcript, segments: Segments, out: BinaryIO, layout: Layout = STANDARD
) -> None:
    """Praat's TextGrid, long text format, UTF-8.

    Each speaker (where not known: each channel) has a tier of segments and a tier of words.
    Intervals fill a tier without a gap, as Praat wants: silence is an empty interval. Two
    segments of one tier that overlap are laid one after the other. The format states how many
    intervals follow, so this counts first: one walk to count, one for each tier.
    """
    del layout
    counts: dict[_Tier, int] = {}
    ends: dict[_Tier, int] = {}
    for segment in segments():
        for tier in _tiers(segment):
            now = ends.get(tier, 0)
            for interval in _intervals(segment, tier, now):
                counts[tier] = counts.get(tier, 0) + 1 + (interval.start_ms > now)
                now = interval.end_ms
            ends[tier] = now
    last = max([milliseconds(head.seconds), 1, *ends.values()])
    tiers = sorted(counts)
    out.write(
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'
        f"xmin = 0 \nxmax = {_decimal(last)} \n"
        f"tiers? <exists> \nsize = {len(tiers)} \nitem []: \n".encode()
    )
    for number, tier in enumerate(tiers, start=1):
        size = counts[tier] + (ends[tier] < last)
        out.write(
            f"    item [{number}]:\n"
            '        class = "IntervalTier" \n'
            f"        name = {_quoted(_name(tier))} \n"
            f"        xmin = 0 \n        xmax = {_decimal(last)} \n"
            f"        intervals: size = {size} \n".encode()
        )
        mine = (segment for segment in segments() if tier in _tiers(segment))
        for i, interval in enumerate(_filled(mine, tier, last), start=1):
            out.write(
                f"        intervals [{i}]:\n"
                f"            xmin = {_decimal(interval.start_ms)} \n"
                f"            xmax = {_decimal(interval.end_ms)} \n"
                f"            text = {_quoted(interval.text)} \n".encode()
            )


def _tiers(segment: Segment) -> tuple[_Tier, _Tier]:
    speaker = wording.clean(segment.speaker or "")
    return _Tier(segment.channel, speaker, words=False), _Tier(segment.channel, speaker, words=True)


def _name(tier: _Tier) -> str:
    who = tier.speaker or f"channel {tier.channel + 1}"
    return f"{who} - words" if tier.words else who


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _intervals(segment: Segment, tier: _Tier, now: int) -> Iterator[_Interval]:
    """The segment's text in this tier, from ``now`` on, each part at least a millisecond long."""
    parts = (
        ((word.start, word.end, word.text) for word in pieces.words(segment))
        if tier.words
        else ((segment.start, segment.end, wording.clean(segment.text)),)
    )
    for start, end, text in parts:
        if not text:
            continue
        start_ms = max(now, milliseconds(start))
        now = max(start_ms + 1, milliseconds(end))
        yield _Interval(start_ms, now, text)


def _filled(segments: Iterable[Segment], tier: _Tier, last: int) -> Iterator[_Interval]:
    now = 0
    for segment in segments:
        for interval in _intervals(segment, tier, now):
            if interval.start_ms > now:
                yield _Interval(now, interval.start_ms, "")
            yield interval
            now = interval.end_ms
    if now < last:
        yield _Interval(now, last, "")
