"""What goes over the wire to an OpenAI-compatible endpoint: windows out, answers in.

Answers have the shapes of ``openai.types.audio`` (``TranscriptionVerbose``, ``Transcription``).
Compatible servers leave fields out, add others, nest words in segments or name languages in
their own way, so only ``text`` is required here and everything else is taken where it is.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Literal

import msgspec
import numpy as np

from hansard import telemetry
from hansard.errors import EngineError
from hansard.model import SAMPLE_RATE, Utterance, WindowResult, Word
from hansard.speech.engine import Samples

Upload = Literal["flac", "opus"]

SHORTEST_UPLOAD = SAMPLE_RATE // 10
"""Samples: OpenAI refuses audio of less than 0.1 s, so shorter windows are padded with silence."""

_NAMES = """
afrikaans af albanian sq amharic am arabic ar armenian hy assamese as azerbaijani az bashkir ba
basque eu belarusian be bengali bn bosnian bs breton br bulgarian bg burmese my cantonese yue
castilian es catalan ca chinese zh croatian hr czech cs danish da dutch nl english en estonian et
faroese fo finnish fi flemish nl french fr galician gl georgian ka german de greek el gujarati gu
haitian ht hausa ha hawaiian haw hebrew he hindi hi hungarian hu icelandic is indonesian id
italian it japanese ja javanese jw kannada kn kazakh kk khmer km korean ko lao lo latin la
latvian lv letzeburgesch lb lingala ln lithuanian lt luxembourgish lb macedonian mk malagasy mg
malay ms malayalam ml maltese mt mandarin zh maori mi marathi mr moldavian ro moldovan ro
mongolian mn myanmar my nepali ne norwegian no nynorsk nn occitan oc panjabi pa pashto ps
persian fa polish pl portuguese pt punjabi pa pushto ps romanian ro russian ru sanskrit sa
serbian sr shona sn sindhi sd sinhala si sinhalese si slovak sk slovenian sl somali so spanish es
sundanese su swahili sw swedish sv tagalog tl tajik tg tamil ta tatar tt telugu te thai th
tibetan bo turkish tr turkmen tk ukrainian uk urdu ur uzbek uz valencian ca vietnamese vi welsh cy
yiddish yi yoruba yo
""".split()  # noqa: SIM905 - two hundred quoted strings would be four pages
LANGUAGES = dict(zip(_NAMES[::2], _NAMES[1::2], strict=True))
"""English names of languages, as ``verbose_json`` gives them, to the codes Hansard uses: the
languages of Whisper and its own aliases for them."""


def encode(window: Samples, upload: Upload) -> tuple[str, bytes, str]:
    """The window as a file in memory: name, bytes and media type.

    FLAC loses nothing (a 30 s window of speech is about half a megabyte); Opus at 32 kbit/s is a
    tenth of it and transparent for speech (Opus, RFC 6716, section 2.1.1).
    """
    import av

    if len(window) < SHORTEST_UPLOAD:
        window = np.pad(window, (0, SHORTEST_UPLOAD - len(window)))
    codec, container, suffix = (
        ("flac", "flac", "flac") if upload == "flac" else ("libopus", "ogg", "ogg")
    )
    held = io.BytesIO()
    with telemetry.span("engine.upload_encode"), av.open(held, "w", format=container) as file:
        stream = file.add_stream(codec, rate=SAMPLE_RATE, layout="mono")
        assert isinstance(stream, av.AudioStream)
        if upload == "opus":
            stream.bit_rate = 32_000
        frame = av.AudioFrame.from_ndarray(window[np.newaxis, :], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return f"window.{suffix}", held.getvalue(), f"audio/{suffix}"


class _Word(msgspec.Struct):
    word: str
    start: float
    end: float
    probability: float | None = None


class _Segment(msgspec.Struct):
    text: str
    start: float
    end: float
    tokens: list[int] | None = None
    temperature: float | None = None
    avg_logprob: float | None = None
    compression_ratio: float | None = None
    no_speech_prob: float | None = None
    words: list[_Word] | None = None


class _Usage(msgspec.Struct):
    type: str = ""
    seconds: float | None = None


class Answer(msgspec.Struct):
    """The JSON object of one call."""

    text: str
    language: str | None = None
    segments: list[_Segment] | None = None
    words: list[_Word] | None = None
    usage: _Usage | None = None

    @property
    def billed_seconds(self) -> float | None:
        """Seconds of audio the far side charges for, where it says so."""
        return self.usage.seconds if self.usage and self.usage.type == "duration" else None


_decoder = msgspec.json.Decoder(Answer, strict=False)


def read(body: bytes) -> Answer:
    """Read the body of a successful call.

    Raises:
        EngineError: the body is not a transcription.
    """
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        kind = "is no JSON object with a text"
        if isinstance(problem, msgspec.ValidationError):
            kind = f"has the wrong form ({problem})"
        raise EngineError(
            f"The remote engine answered, but what it sent {kind}.",
            hint="Is the address that of an OpenAI-compatible audio API? "
            "It usually ends in /v1 (setting openai.base_url).",
        ) from None


def language_code(name: str | None) -> str | None:
    """``english``, ``English``, ``en`` and ``en-US`` are all ``en``; unknown names are ``None``."""
    if not name:
        return None
    plain = name.strip().lower()
    if plain in LANGUAGES:
        return LANGUAGES[plain]
    code = plain.replace("_", "-").partition("-")[0]
    return code if code in _CODES else None


_CODES = frozenset(LANGUAGES.values())


def to_result(
    answer: Answer, seconds: float, *, word_times: bool, language: str | None, cost: float
) -> WindowResult:
    """The answer in window time.

    Times are held inside the window, ``[0, seconds]``: servers answer past its end now and then.
    Words go to the segment that holds their middle. An answer without segments is one utterance:
    from the first word to the last, or over the whole window where there are no words either.
    """
    words = _clamped_words(answer, seconds) if word_times else []
    segments = sorted(
        (segment for segment in answer.segments or () if segment.text.strip()),
        key=lambda segment: segment.start,
    )
    if not segments:
        utterances = _one_utterance(answer.text, words, seconds)
    else:
        shares = _share_out(words, [_hold(s.start, s.end, seconds) for s in segments])
        utterances = tuple(
            Utterance(
                *_hold(segment.start, segment.end, seconds),
                segment.text.strip(),
                words=tuple(share),
                tokens=tuple(segment.tokens or ()),
                temperature=segment.temperature,
                avg_logprob=segment.avg_logprob,
                compression_ratio=segment.compression_ratio,
                no_speech_prob=segment.no_speech_prob,
            )
            for segment, share in zip(segments, shares, strict=True)
        )
    return WindowResult(utterances, language=language or language_code(answer.language), cost=cost)


def _one_utterance(text: str, words: list[Word], seconds: float) -> tuple[Utterance, ...]:
    if not text.strip():
        return ()
    start, end = (words[0].start, max(w.end for w in words)) if words else (0.0, seconds)
    return (Utterance(start, end, text.strip(), words=tuple(words)),)


def _hold(start: float, end: float, seconds: float) -> tuple[float, float]:
    """The times moved into the window, the end never before the start."""
    held = min(max(start, 0.0), seconds)
    return held, min(max(end, held), seconds)


def _clamped_words(answer: Answer, seconds: float) -> list[Word]:
    """All words in order of time, whether they came at the top level or inside the segments."""
    spoken = answer.words
    if spoken is None:
        spoken = [word for segment in answer.segments or () for word in segment.words or ()]
    words = [
        Word(*_hold(word.start, word.end, seconds), word.word.strip(), word.probability)
        for word in spoken
        if word.word.strip()
    ]
    return sorted(words, key=lambda word: word.start)


def _share_out(words: list[Word], spans: list[tuple[float, float]]) -> list[list[Word]]:
    """Each word to the last span that begins at or before its middle; none is lost."""
    shares: list[list[Word]] = [[] for _ in spans]
    at = 0
    for word in words:
        middle = (word.start + word.end) / 2
        while at + 1 < len(spans) and spans[at + 1][0] <= middle:
            at += 1
        shares[at].append(word)
    return shares


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by ``retry-after-ms`` or ``retry-after`` (RFC 9110, section 10.2.3)."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        seconds = _seconds(text, unit)
        if seconds is not None and math.isfinite(seconds):
            return max(0.0, seconds)
    return None


def _seconds(text: str, unit: float) -> float | None:
    """A number of units, or a date from now; ``None`` for neither."""
    try:
        return float(text) * unit
    except ValueError:
        pass  # not a number, so it should be a date
    try:
        return parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
