"""Remembering voices: who of those known by name might the speakers of a recording be? Pure.

What comes out are proposals. A name is proposed when its voice is confidently alike, nobody else's
is, and no other speaker of the recording is more like it; everything else is left open.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hansard.model import Value
from hansard.speakers.diarizer import Voice

CONFIDENT = 0.5
"""Confidence from which a name is proposed, and from which a second one speaks against it."""

LEAST_SECONDS = 5.0
"""Seconds of speech without which a voice is neither recognised nor remembered."""

_REMEMBERED_SECONDS = 600.0
"""Most that earlier speech counts for: voices and microphones change, and memory must follow."""


class KnownVoice(Value, frozen=True):
    """A voice remembered by name. ``seconds``: how much speech its vector was taken from."""

    name: str
    vector: tuple[float, ...]
    seconds: float
    kind: str = "embedded-1"


class Likeness(Value, frozen=True):
    """How sure it is that a voice is somebody's, from 0 to 1."""

    name: str
    confidence: float


class Proposal(Value, frozen=True):
    """That a speaker of a recording (``S1``, …) is somebody known."""

    label: str
    name: str
    confidence: float


class _Scale(NamedTuple):
    """Confidence is ``1 / (1 + exp((distance - even) / width))``."""

    cosine: bool
    even: float
    width: float


_SCALES = {
    # Made meetings, other noise and rooms (bench/diarize.py): the same voice 1.6 to 3.7, another
    # voice 3.9 at least and 5.6 in the middle.
    "embedded-1": _Scale(cosine=False, even=3.3, width=0.2),
    # The embedding model of pyannote's pipelines: not measured here. Its authors' systems cluster
    # at a cosine distance of 0.6 to 0.7 within a recording; across recordings we ask for more.
    "pyannote-1": _Scale(cosine=True, even=0.5, width=0.05),
}


def likenesses(voice: Voice, known: Iterable[KnownVoice]) -> tuple[Likeness, ...]:
    """Everybody whose vector can be compared, most alike first; several of one name count once."""
    best: dict[str, float] = {}
    for other in known:
        confidence = _confidence(voice, other)
        if confidence is not None:
            best[other.name] = max(confidence, best.get(other.name, 0.0))
    ranked = sorted(best.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Likeness(name, round(confidence, 4)) for name, confidence in ranked)


def proposals(voices: Sequence[Voice], known: Sequence[KnownVoice]) -> tuple[Proposal, ...]:
    """Names for the speakers of one recording, in the order of its voices.

    A voice that is confidently like two names gets neither. A name goes to whoever is most like it.
    """
    found: dict[str, Proposal] = {}
    for voice in voices:
        sure = [like for like in likenesses(voice, known) if like.confidence >= CONFIDENT]
        if len(sure) != 1 or voice.seconds < LEAST_SECONDS:
            continue
        before = found.get(sure[0].name)
        if before is None or sure[0].confidence > before.confidence:
            found[sure[0].name] = Proposal(voice.label, sure[0].name, sure[0].confidence)
    by_label = {proposal.label: proposal for proposal in found.values()}
    return tuple(by_label[voice.label] for voice in voices if voice.label in by_label)


def remembered(name: str, voice: Voice, before: KnownVoice | None = None) -> KnownVoice | None:
    """What is kept of a voice under a name, with what was kept before.

    Vectors are averaged by seconds, those before counting for ten minutes at most. A vector of
    another kind replaces the one before. ``before`` as it was, or nothing, where the voice says too
    little to be remembered by.
    """
    if voice.seconds < LEAST_SECONDS or not voice.vector:
        return before
    if before is None or before.kind != voice.kind or len(before.vector) != len(voice.vector):
        return KnownVoice(name, voice.vector, voice.seconds, voice.kind)
    past = min(before.seconds, _REMEMBERED_SECONDS)
    total = past + voice.seconds
    vector = tuple(
        round((old * past + new * voice.seconds) / total, 4)
        for old, new in zip(before.vector, voice.vector, strict=True)
    )
    return KnownVoice(name, vector, before.seconds + voice.seconds, voice.kind)


def _confidence(voice: Voice, known: KnownVoice) -> float | None:
    """How sure it is that both are one voice; nothing for vectors of different kinds."""
    scale = _SCALES.get(voice.kind)
    comparable = voice.kind == known.kind and len(voice.vector) == len(known.vector)
    if scale is None or not comparable or not voice.vector:
        return None
    if scale.cosine:
        length = math.hypot(*voice.vector) * math.hypot(*known.vector)
        inner = sum(a * b for a, b in zip(voice.vector, known.vector, strict=True))
        distance = 1 - inner / length if length else 1.0
    else:
        distance = math.dist(voice.vector, known.vector)
    return 1 / (1 + math.exp(min(50.0, (distance - scale.even) / scale.width)))
