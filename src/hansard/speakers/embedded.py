"""The diarizer that is always there: cepstra, clusters of Gaussians, the best path; no torch.

In one pass over the audio its cepstra go to a file that is gone with the process, and Silero hears
it. Then: where is speech (``activity``), where may the speaker change (``changes``), which pieces
are one voice (``gaussians``), who speaks in each twentieth of a second (``paths``), where do two
(``overlap``), and what does each sound like (``voiceprint``).

Memory does not grow with the audio but for a few numbers: 12 bytes a frame and 4 bytes a speaker
for each 50 ms. Pieces are clustered in groups of :data:`_GROUP` first, and what is left of them, at
most :data:`_LEFT` summaries, all together. The same audio gives the same answer, however it is cut.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hansard import telemetry
from hansard.model import SAMPLE_RATE
from hansard.speakers import (
    activity,
    changes,
    features,
    gaussians,
    overlap,
    paths,
    voiceprint,
)
from hansard.speakers.activity import Bounds
from hansard.speakers.diarizer import (
    NO_HINTS,
    Diarization,
    SpeakerHints,
    Stretch,
    Turn,
    Voice,
    in_order,
    labels,
    overlaps,
)
from hansard.speakers.features import COEFFICIENTS, Frames

if TYPE_CHECKING:
    from hansard.speakers.diarizer import Block

_SPECTRAL = slice(1, COEFFICIENTS)
"""Cepstra that tell voices apart: all but the level, which changes with every turn of a head."""

_IN_MEMORY = 32 * 2**20
"""Bytes of cepstra, 2.3 hours of audio, that stay in memory before they go to a file."""
_AT_ONCE = 60 * features.RATE
"""Frames read at once."""

_GROUP = 400
"""Pieces that are clustered with each other first: about ten minutes of speech."""
_LEFT = 1_500
"""Summaries that are clustered all together at most."""
_FIRST = 0.8
"""Nats a frame that a voice may stray in a group: what is joined there is joined for good."""

_NEAR = 30 * features.RATE
"""Frames: those who speak no further from each other than this may speak at once."""

_ROUNDS = 3
"""Models and path, made from each other; few recordings change after the second."""
_LEAST = 4 * features.RATE
"""Frames without which a cluster is no speaker, unless so many were asked for."""
_SHARE = 0.005
"""Share of all speech without which a cluster is none either: in hours of it chance finds more."""

_LATE = 0.5 * (features.FRAME - features.HOP) / SAMPLE_RATE
"""Seconds from the start of a frame to the middle of what it hears, less half a hop."""


class Embedded:
    """See the module; a ``Diarizer``. It keeps nothing from one recording to the next."""

    name = "embedded"

    def diarize(
        self,
        blocks: Iterable[Block],
        *,
        hints: SpeakerHints = NO_HINTS,
        speech: Sequence[Stretch] | None = None,
    ) -> Diarization:
        """See ``Diarizer.diarize``."""
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
            tape = _Tape(spool)
            with telemetry.span("speakers.hear"):
                odds = _heard(blocks, tape, listen=speech is None)
            with telemetry.span("speakers.cluster"):
                if speech is None:
                    stretches = activity.spoken(odds, tape.blocks)
                else:
                    stretches = _given(speech, tape.length)
                return _told_apart(tape, stretches, hints)


class _Tape:
    """The cepstra of a recording, 40 bytes a frame, on disk where they are many."""

    def __init__(self, spool: IO[bytes]) -> None:
        self._spool = spool
        self.length = 0
        """Frames."""
        self.seconds = 0.0

    def write(self, frames: Frames) -> None:
        self._spool.write(frames.astype(np.float16).tobytes())
        self.length += len(frames)

    def read(self, first: int, last: int) -> Frames:
        width = 2 * COEFFICIENTS
        self._spool.seek(first * width)
        raw = self._spool.read(max(0, last - first) * width)
        return np.frombuffer(raw, np.float16).reshape(-1, COEFFICIENTS).astype(np.float32)

    def blocks(self) -> Iterator[Frames]:
        for first in range(0, self.length, _AT_ONCE):
            yield self.read(first, min(self.length, first + _AT_ONCE))

    def parts(self, stretches: Iterable[Bounds]) -> Iterator[Frames]:
        """All cepstra, stretch by stretch."""
        for first, last in stretches:
            yield self.read(first, last)

    def spectra(self, stretches: Iterable[Bounds]) -> Iterator[Frames]:
        """The cepstra that tell voices apart, stretch by stretch."""
        for frames in self.parts(stretches):
            yield np.ascontiguousarray(frames[:, _SPECTRAL])


def _heard(blocks: Iterable[Block], tape: _Tape, *, listen: bool) -> NDArray[np.float32]:
    """Stream the recording onto the tape; Silero's log odds where it is to listen."""
    cepstra, ear = features.Cepstra(), activity.Ear()
    samples = 0
    for block in blocks:
        flat = block.reshape(-1)
        whole: NDArray[np.int16]
        if flat.dtype == np.int16:
            whole = flat.astype(np.int16, copy=False)
        else:
            whole = np.clip(np.rint(flat * 32767), -32768, 32767).astype(np.int16)
        samples += len(whole)
        tape.write(cepstra.feed(whole))
        if listen:
            ear.feed(whole)
    tape.seconds = samples / SAMPLE_RATE
    return ear.finish() if listen else np.empty(0, np.float32)


def _given(speech: Sequence[Stretch], length: int) -> list[Bounds]:
    """Stretches in seconds → in frames, inside the recording, none touching another."""
    found: list[Bounds] = []
    for start, end in sorted(speech):
        first = max(0, round(start * features.RATE))
        last = min(length, round(end * features.RATE))
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        elif last > first:
            found.append((first, last))
    return found


def _told_apart(tape: _Tape, stretches: list[Bounds], hints: SpeakerHints) -> Diarization:
    if not stretches:
        return Diarization((), (), tape.seconds)
    path = _followed(tape, stretches, _clustered(tape, stretches, hints), hints)
    turns = [
        *_turns(stretches, path, tape.seconds),
        *_turns(stretches, _seconded(tape, stretches, path), tape.seconds),
    ]
    names = labels(turns)
    voices = [
        Voice(
            names[str(speaker)],
            voiceprint.of(_frames_of(tape, stretches, path, speaker)),
            spoke,
            voiceprint.KIND,
        )
        for speaker, spoke in _seconds(turns).items()
    ]
    ordered = in_order(turns)
    voices.sort(key=lambda voice: int(voice.label[1:]))
    return Diarization(ordered, tuple(voices), tape.seconds, overlaps(ordered))


def _seconds(turns: Iterable[Turn]) -> dict[int, float]:
    spoke: dict[int, float] = {}
    for turn in turns:
        spoke[int(turn.speaker)] = spoke.get(int(turn.speaker), 0.0) + turn.end - turn.start
    return {speaker: round(seconds, 3) for speaker, seconds in spoke.items()}


def _clustered(
    tape: _Tape, stretches: list[Bounds], hints: SpeakerHints
) -> list[tuple[Bounds, int]]:
    """Pieces of the stretches, each with the cluster it belongs to."""
    fewest, most = hints.bounds
    pieces = [
        piece
        for stretch, frames in zip(stretches, tape.spectra(stretches), strict=True)
        for piece in changes.pieces(frames, stretch)
    ]
    shared = gaussians.room(gaussians.total(tape.spectra(stretches)))
    own, left = _grouped_first(tape, pieces, shared)
    final = gaussians.grouped(left, shared, fewest=fewest, most=most)
    return [(piece, int(final[label])) for piece, label in zip(pieces, own, strict=True)]


def _grouped_first(
    tape: _Tape, pieces: list[Bounds], shared: NDArray[np.float64]
) -> tuple[NDArray[np.intp], gaussians.Summaries]:
    """Neighbours among themselves: label of each piece, and the summaries of the labels.

    Copies share a label and count once. Where there are several groups, each is clustered; of one
    group at a time there are summaries in memory, 3 KB a piece.
    """
    groups = -(-len(pieces) // _GROUP)
    labelled: list[NDArray[np.intp]] = []
    kept: list[gaussians.Summaries] = []
    count = 0
    for group in range(groups):
        first, last = (len(pieces) * at // groups for at in (group, group + 1))
        part = gaussians.summaries(tape.spectra(pieces[first:last]))
        firsts, own = np.unique(gaussians.distinct(part, shared), return_inverse=True)
        part = gaussians.chosen(part, firsts)
        if groups > 1:
            voices = gaussians.grouped(part, shared, strays=_FIRST, most=_LEFT // groups)
            part, own = gaussians.added(part, voices), voices[own]
        kept.append(part)
        labelled.append(own + count)
        count += len(part.counts)
    return np.concatenate(labelled), gaussians.joined(kept)


def _followed(
    tape: _Tape,
    stretches: list[Bounds],
    clustered: list[tuple[Bounds, int]],
    hints: SpeakerHints,
) -> list[NDArray[np.intp]]:
    """The speaker of each step of each stretch."""
    path = _first_path(stretches, clustered)
    fewest, _ = hints.bounds
    for _ in range(_ROUNDS):
        frames = _held(path)
        least = max(_LEAST, _SHARE * sum(frames.values()))
        ranked = sorted(frames, key=lambda speaker: (-frames[speaker], speaker))
        kept = [
            speaker
            for rank, speaker in enumerate(ranked)
            if rank < fewest or frames[speaker] >= least
        ]
        models = [
            paths.model(_frames_of(tape, stretches, path, speaker)[:, _SPECTRAL])
            for speaker in kept
        ]
        worths = [
            np.stack([paths.worth(model, frames) for model in models], axis=1)
            for frames in tape.spectra(stretches)
        ]
        whole = np.array(kept, np.intp)[paths.best(np.concatenate(worths))]
        ends = np.cumsum([len(part) for part in worths])[:-1]
        fresh = paths.settled(np.split(whole, ends), fewest=fewest)
        if all(np.array_equal(a, b) for a, b in zip(path, fresh, strict=True)):
            break
        path = fresh
    return path


def _seconded(
    tape: _Tape, stretches: list[Bounds], path: list[NDArray[np.intp]]
) -> list[NDArray[np.intp]]:
    """Who else speaks in each step of each stretch."""
    held = _held(path)
    loudest = sorted(held, key=lambda speaker: (-held[speaker], speaker))[: overlap.MOST_VOICES]
    pairs = sorted(pair for pair in _near(stretches, path) if set(pair) <= set(loudest))
    if not pairs:
        return [np.full(len(own), overlap.NOBODY, np.intp) for own in path]
    voices = {speaker: _frames_of(tape, stretches, path, speaker) for speaker in loudest}
    known = overlap.models(voices, pairs)
    return [
        overlap.second(known, frames, own)
        for frames, own in zip(tape.parts(stretches), path, strict=True)
    ]


def _near(stretches: list[Bounds], path: list[NDArray[np.intp]]) -> set[tuple[int, int]]:
    """Pairs of speakers who speak near to each other somewhere, the lower number first."""
    pairs: set[tuple[int, int]] = set()
    last: dict[int, int] = {}
    for (begin, _), own in zip(stretches, path, strict=True):
        edges = [0, *(np.flatnonzero(np.diff(own)) + 1).tolist(), len(own)]
        for start, end in pairwise(edges):
            now, speaker = begin + start * paths.STEP, int(own[start])
            pairs.update(
                (min(speaker, other), max(speaker, other))
                for other, at in last.items()
                if other != speaker and now - at <= _NEAR
            )
            last[speaker] = begin + end * paths.STEP
    return pairs


def _first_path(
    stretches: list[Bounds], clustered: list[tuple[Bounds, int]]
) -> list[NDArray[np.intp]]:
    starts = np.array([first for (first, _), _ in clustered])
    who = np.array([speaker for _, speaker in clustered], np.intp)
    return [
        who[np.searchsorted(starts, np.arange(first, last, paths.STEP), side="right") - 1]
        for first, last in stretches
    ]


def _held(path: list[NDArray[np.intp]]) -> dict[int, int]:
    """Frames of each speaker."""
    speakers, steps = np.unique(np.concatenate(path), return_counts=True)
    return {int(s): int(n) * paths.STEP for s, n in zip(speakers, steps, strict=True)}


def _frames_of(
    tape: _Tape, stretches: list[Bounds], path: list[NDArray[np.intp]], speaker: int
) -> Frames:
    """What a speaker says, thinned out to some :data:`paths.MOST` frames.

    By chance, which is the same each time: at even steps, what repeats would give the same few
    frames again and again.
    """
    share = paths.MOST / _held(path)[speaker]
    chance = np.random.default_rng(0)
    parts = []
    for frames, own in zip(tape.parts(stretches), path, strict=True):
        mine = np.repeat(own == speaker, paths.STEP)[: len(frames)]
        if mine.any():
            taken = frames[mine]
            parts.append(taken if share >= 1 else taken[chance.random(len(taken)) < share])
    return np.concatenate(parts)


def _turns(stretches: list[Bounds], path: list[NDArray[np.intp]], seconds: float) -> Iterator[Turn]:
    for (first, last), own in zip(stretches, path, strict=True):
        cuts = [0, *(np.flatnonzero(np.diff(own)) + 1).tolist(), len(own)]
        for start, end in pairwise(cuts):
            if own[start] == overlap.NOBODY:
                continue
            begin = (first + start * paths.STEP) / features.RATE + _LATE
            stop = min(last, first + end * paths.STEP) / features.RATE + _LATE
            yield Turn(round(begin, 3), round(min(stop, seconds), 3), str(int(own[start])))
