"""Who makes what a meeting is found to be: the rooms below, called in one place.

Everything heavy (audio, numerics, models) is imported here, when it is used.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from hansard.errors import CostTooHigh, LanguageModelError
from hansard.insight.findings import Kind, Occasion, Source
from hansard.insight.templates import BUILT_IN, Template, load
from hansard.meetings.requests import Speakers
from hansard.meetings.turns import Turn
from hansard.model import Job, Segment, Value
from hansard.store.meetings import Heard
from hansard.store.voices import Remembered

if TYPE_CHECKING:
    from hansard.config import Settings
    from hansard.insight.inquiry import Purse
    from hansard.insight.language_model import LanguageModel
    from hansard.meetings.parts import Parts
    from hansard.speakers.diarizer import Voice

_ASKED: Final[tuple[Kind, ...]] = ("summary", "chapters", "items")
"""What a language model is asked for, where there is one. The rest is computed."""


# ── who spoke ────────────────────────────────────────────────────────────────────────────────


class Voices(Value, frozen=True):
    """What a diarizer found: turns under labels of its own, and a voice for each label."""

    turns: tuple[Turn, ...]
    heard: tuple[Heard, ...] = ()
    source: Source = Source("embedded", "none")


def diarize(parts: Parts, job: Job, wanted: Speakers) -> Voices:
    """Who speaks when in a recording, which is decoded as it is heard, channels mixed.

    Raises:
        MediaGone: the recording is not kept any more.
        HansardError: it cannot be decoded, or the diarizer fails.
    """
    from hansard.speakers import choice
    from hansard.speakers.diarizer import SpeakerHints

    diarizer = choice.chosen(parts.settings.speakers, offline=parts.settings.offline)
    hints = SpeakerHints(wanted.min_speakers, wanted.max_speakers)
    with parts.files.open_recording(job.recording) as recording:
        found = diarizer.diarize(
            parts.media.blocks(
                recording,
                track=job.options.track,
                channels="mix",
                enhance=None,
                limits=parts.settings.limits,
                seconds=job.seconds,
            ),
            hints=hints,
        )
    heard = tuple(
        Heard(voice.label, voice.seconds, _bytes(voice.vector), voice.kind)
        for voice in found.voices
    )
    turns = tuple(Turn(turn.start, turn.end, turn.speaker) for turn in found.turns)
    return Voices(turns, heard, Source("embedded", found.engine))


def assign(segments: Iterable[Segment], turns: Sequence[Turn]) -> Iterator[Segment]:
    """Give words their speakers by time; segments are split where the speaker changes."""
    from hansard.speakers.assign import assigned
    from hansard.speakers.diarizer import Turn as Spoken

    return assigned(segments, [Spoken(turn.start, turn.end, turn.speaker) for turn in turns])


def recognise(heard: Sequence[Heard], known: Sequence[Remembered]) -> Sequence[Heard]:
    """Speakers with the names that remembered voices suggest; nothing where that is not sure."""
    from hansard.speakers import voices

    ids = {voice.name: voice.id for voice in known}
    remembered = [
        voices.KnownVoice(one.name, _numbers(one.vector), one.seconds, one.method) for one in known
    ]
    found = [_voice(one) for one in heard if one.vector is not None]
    proposed = {one.label: one for one in voices.proposals(found, remembered)}
    return [
        replace(one, proposed=likely.name, confidence=likely.confidence, voice=ids[likely.name])
        if (likely := proposed.get(one.label)) is not None
        else one
        for one in heard
    ]


def learnt(heard: Heard, name: str, before: Remembered | None) -> Remembered | None:
    """What is remembered of a voice from now on; ``None``: it says too little."""
    from hansard.speakers import voices

    known = None
    if before is not None:
        known = voices.KnownVoice(name, _numbers(before.vector), before.seconds, before.method)
    made = voices.remembered(name, _voice(heard), known)
    if made is None:
        return None
    return Remembered("", name, _bytes(made.vector), made.kind, made.seconds)


def _voice(heard: Heard) -> Voice:
    from hansard.speakers.diarizer import Voice

    return Voice(heard.label, _numbers(heard.vector or b""), heard.seconds, heard.method or "")


def _numbers(vector: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(vector) // 4}f", vector)


def _bytes(vector: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(vector)}f", *vector)


# ── what it meant ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Tools:
    """What the findings of one meeting are made with."""

    templates: Mapping[str, Template]
    model: LanguageModel | None = None
    purse: Purse | None = None

    def template(self, kind: str) -> Template:
        """The template of a kind of meeting; of one that is not there any more, the plain one."""
        return self.templates.get(kind, BUILT_IN["meeting"])


def tools(settings: Settings) -> Tools:
    """What the settings say.

    Raises:
        BadSettings: a template, or the address of the language model, does not make sense.
    """
    templates = templates_in(settings.data)
    if settings.language_model.model is None:
        return Tools(templates)
    from hansard.insight.inquiry import Purse
    from hansard.insight.openai_model import OpenAIModel

    chosen = settings.language_model
    return Tools(templates, OpenAIModel(chosen), Purse(chosen.max_cost))


def templates_in(data: Path) -> dict[str, Template]:
    """Kinds of meetings: those built in, and the user's own in the data directory.

    Raises:
        BadSettings: a file does not make sense.
    """
    return load(data / "templates")


def find(
    kind: Kind,
    segments: Sequence[Segment],
    occasion: Occasion,
    turns: Sequence[Turn],
    made_with: Tools,
) -> tuple[Value | None, Source]:
    """One finding: by the language model where there is one, else embedded.

    Where the model fails, the finding is extracted, and its source says so. ``None``: there is no
    answer in this language.
    """
    from hansard.insight import embedded

    template = made_with.template(occasion.kind)
    if made_with.model is None or kind not in _ASKED:
        return embedded.find(kind, segments, occasion, template, turns)
    from hansard.insight import generated

    before = 0.0 if made_with.purse is None else made_with.purse.spent
    try:
        return generated.find(
            kind,
            segments,
            occasion,
            made_with.model,
            purse=made_with.purse,
            short=template.short,
            sentences=template.long,
            item_kinds=template.items,
        )
    except (LanguageModelError, CostTooHigh) as error:
        value, source = embedded.find(kind, segments, occasion, template, turns)
        spent = 0.0 if made_with.purse is None else made_with.purse.spent - before
        said = (
            f"Extracted without a language model, because {made_with.model.name} did not do it: "
            f"{error.message} [{error.code}]"
        )
        return value, replace(source, cost=spent, notes=(said, *source.notes))
