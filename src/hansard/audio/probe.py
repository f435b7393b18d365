"""What is in a media file, and whether it is fit to be transcribed.

``inspect`` reads the headers. ``preflight`` refuses, before any work is done, everything that
can be refused: it looks at the end of the file, listens at evenly spread places, and costs about
the same for ten minutes as for ten hours. The same file always gets the same answer, which
matters because the answer decides whether audio is enhanced, and a resumed job must hear the
same samples.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import numpy as np

from hansard.audio import decode
from hansard.audio.container import audio_stream, can_decode, not_media, opened
from hansard.audio.levels import FLOOR, Meter, enhancement
from hansard.audio.truncation import ending
from hansard.errors import (
    NoAudio,
    NotMedia,
    SilentAudio,
    TooLarge,
    TooLong,
    TooManyTracks,
    Truncated,
    ZeroLength,
)
from hansard.model import Levels, Media, Track, Value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.container import InputContainer
    from numpy.typing import NDArray

    from hansard.config import LimitSettings

_log = logging.getLogger(__name__)

READ_WHOLE: Final = 200.0
"""Seconds up to which a recording is listened to from end to end."""
SPOTS: Final = 20
SPOT_SECONDS: Final = 5.0
"""A longer one is listened to at so many places for so long each."""

SILENCE: Final = 65
"""Steps of 16 bits from the lowest to the highest sample: a swing of -60 dBFS is silence."""

NOISY: Final = 10.0
"""dB between speech and noise below which a warning is given."""
CLIPPED: Final = 0.001
"""Share of samples at full scale above which a warning is given."""
CANCELLED: Final = 15.0
"""dB that two channels lose when mixed, above which a warning is given."""

_NAME: Final = 300
"""Characters of a title that are kept."""

_MEASURED: Final = frozenset(
    ("aac", "ac3", "amr", "amrnb", "amrwb", "dts", "eac3", "loas", "mp3", "mpeg", "mpegts", "ogg")
)
"""Formats whose duration FFmpeg measures or estimates: there is no promise to hold them to."""
_GUESSED: Final = frozenset(("aac", "amr", "amrnb", "amrwb", "loas"))
"""Formats whose duration FFmpeg guesses from a first bit rate; their packets are counted."""
_SIZED: Final = frozenset(("aiff", "asf", "avi", "mov,mp4,m4a,3gp,3g2,mj2", "wav"))
"""Formats that promise their size in bytes, which ``truncation`` has compared already."""


class Preflight(Value, frozen=True):
    """A recording that may be transcribed, and what is to be known about it."""

    media: Media
    track: Track
    seconds: float
    """Length of the recording; counted where the file does not say."""
    levels: Levels
    enhance: bool
    """Too quiet: ``levels.enhancement`` says how it is lifted."""
    silent: bool
    """No sound at all. Only ever true with ``allow_silence``; it is refused otherwise."""
    warnings: tuple[str, ...] = ()


def inspect(path: Path) -> Media:
    """The container and its tracks, from the headers alone.

    Raises:
        NotFound, Unreadable, EmptyFile, NotMedia: see ``container.opened``.
    """
    with opened(path) as container:
        return _media(container, path.stat().st_size)


def preflight(
    path: Path,
    *,
    track: int = 0,
    limits: LimitSettings,
    full: bool = False,
    allow_silence: bool = False,
) -> Preflight:
    """Judge a recording before any work is done on it.

    Args:
        path: a local file.
        track: which audio track, from 0.
        limits: longest and largest recording.
        full: listen to all of it, for exact levels; else long recordings are sampled.
        allow_silence: answer with ``silent=True`` instead of refusing.

    Raises:
        BadInput: NotFound, Unreadable, EmptyFile, NotMedia, NoAudio, NoSuchTrack, ZeroLength,
            Truncated, TooLong, TooLarge or SilentAudio, each with a hint.
    """
    media, seconds = _whole(path, track, limits)
    if seconds > limits.seconds:
        raise TooLong(
            f"{path.name} lasts {seconds:.0f} s; the limit is {limits.seconds:.0f} s.",
            hint="Split the recording, or raise the setting limits.seconds.",
        )
    meter, mixed = Meter(), Meter()
    silent = True
    for block in _samples(path, track, seconds, full=full):
        silent = silent and _is_silent(block)
        meter.feed(block)
        mixed.feed(np.rint(block.mean(axis=0)).astype(np.int16))
    levels = meter.levels()
    if not levels.measured:
        raise _nothing_decoded(path, seconds)
    if silent and levels.measured < seconds - 1:
        silent = _is_silent_throughout(path, track)
    if silent and not allow_silence:
        raise SilentAudio(
            f"{path.name} has no sound in it: nothing in {seconds:.0f} s rises above -60 dBFS.",
            hint="Was the microphone muted, or is the voice on another track (--track)?",
        )
    return Preflight(
        media=media,
        track=media.tracks[track],
        seconds=seconds,
        levels=levels,
        enhance=not silent and enhancement(levels) is not None,
        silent=silent,
        warnings=tuple(_warnings(path, levels, mixed.levels(), media.tracks[track])),
    )


# ── is it whole ──────────────────────────────────────────────────────────────────────────────


def _whole(path: Path, track: int, limits: LimitSettings) -> tuple[Media, float]:
    """What the file holds and how long it lasts, once nothing is missing from it."""
    try:
        with opened(path) as container:
            _refuse_large(path, limits)
            media = _media(container, path.stat().st_size)
            _refuse_many(path, media, limits)
            audio_stream(container, path, track)
    except (NotMedia, NoAudio) as error:
        # A file cut before its index does not open at all; say what is really wrong.
        _refuse_cut(path, error)
        raise
    _refuse_cut(path, None)
    seconds = media.seconds
    if seconds is None or media.container in _GUESSED:
        seconds = _last_second(path, 0.0)
    elif media.container not in _MEASURED | _SIZED:
        _refuse_early_end(path, seconds)
    if seconds <= 0:
        raise _zero_length(path)
    return media, seconds


def _refuse_large(path: Path, limits: LimitSettings) -> None:
    size = path.stat().st_size
    if size > limits.bytes:
        raise TooLarge(
            f"{path.name} has {size} bytes; the limit is {limits.bytes}.",
            hint="Compress or split the recording, or raise the setting limits.bytes.",
        )


def _refuse_many(path: Path, media: Media, limits: LimitSettings) -> None:
    channels = max((track.channels for track in media.tracks), default=0)
    if max(len(media.tracks), channels) > limits.tracks:
        raise TooManyTracks(
            f"{path.name} has {len(media.tracks)} audio tracks, and up to {channels} channels in "
            f"one; the limit is {limits.tracks}.",
            hint="Take out what you need, or raise the setting limits.tracks.",
        )


def _refuse_cut(path: Path, cause: Exception | None) -> None:
    end = ending(path)
    if end.unfinished:
        raise Truncated(
            f"{path.name} has no index: its recording or copy was stopped before the end.",
            hint="Copy it again; if the recorder crashed, its maker may have a repair tool.",
        ) from cause
    if end.missing:
        raise Truncated(
            f"{path.name} is cut short: {end.missing} bytes are missing at its end.",
            hint="Copy or download it again, or convert what is there to a new file first.",
        ) from cause


def _refuse_early_end(path: Path, declared: float) -> None:
    """Compare the clock of the last packets with the length that the header gives."""
    last = _last_second(path, declared)
    short = declared - last
    if short > max(1.0, min(0.02 * declared, 10.0)):
        raise Truncated(
            f"{path.name} is cut short: it should last {declared:.1f} s but ends after "
            f"{last:.1f} s.",
            hint="Copy or download it again, or convert what is there to a new file first.",
        )


def _last_second(path: Path, declared: float) -> float:
    """When the last packet of any track ends, in seconds; reads only the end where it can.

    A file that lacks its end may also lack what seeking needs, so seeking tries ever earlier
    places, and at last the whole file is read (without decoding).
    """
    import av

    for share in (1.0, 0.9, 0.5):
        target = max(0.0, declared * share - 5.0)
        if target <= 0:
            break
        with opened(path) as container:
            begin = (container.start_time or 0) / av.time_base
            try:
                container.seek(int((begin + target) * av.time_base))
                last = _read_to_end(container) - begin
            except av.FFmpegError:
                continue
            if last > 0:
                return last
    with opened(path) as container:
        return _read_to_end(container) - (container.start_time or 0) / av.time_base


def _read_to_end(container: InputContainer) -> float:
    import av

    last = 0.0
    try:
        for packet in container.demux():
            if packet.pts is not None:
                end = (packet.pts + (packet.duration or 0)) * packet.time_base
                last = max(last, float(end))
    except (av.FFmpegError, IndexError):  # IndexError: see decode._frames
        _log.info("packets cannot be read beyond %.1f s", last)
    return last


# ── what it sounds like ──────────────────────────────────────────────────────────────────────


def _samples(path: Path, track: int, seconds: float, *, full: bool) -> Iterator[NDArray[np.int16]]:
    """All of a short recording, twenty places of a long one; a row for each channel."""
    if not full and seconds > READ_WHOLE:
        step = seconds / SPOTS
        starts = [step * (i + 0.5) - SPOT_SECONDS / 2 for i in range(SPOTS)]
        rows = 0
        for spot in decode.excerpts(path, starts, SPOT_SECONDS, track=track):
            if spot.size and spot.shape[0] == (rows or spot.shape[0]):
                rows = spot.shape[0]
                yield spot
        if rows:
            return
        _log.warning("%s cannot be sampled; reading all of it", path.name)
    yield from decode.blocks(path, track=track, channels="separate")


def _is_silent(block: NDArray[np.int16]) -> bool:
    """Whether nothing moves, on any channel; a constant offset is not sound."""
    swing = block.max(axis=1).astype(np.int32) - block.min(axis=1)
    return bool((swing <= SILENCE).all())


def _is_silent_throughout(path: Path, track: int) -> bool:
    """Listen until the first sound."""
    return all(_is_silent(b) for b in decode.blocks(path, track=track, channels="separate"))


def _warnings(path: Path, levels: Levels, mixed: Levels, track: Track) -> Iterator[str]:
    if ending(path).open_ended:
        yield "The recording has no end mark; it may have been cut short."
    if levels.clipped > CLIPPED:
        yield f"{levels.clipped:.1%} of the samples are clipped; words may be distorted."
    if abs(levels.dc_offset) > 0.01:
        yield f"The signal is off centre by {levels.dc_offset:+.1%} of full scale."
    if levels.noise > FLOOR and levels.dynamic_range < NOISY:
        yield f"Speech stands only {levels.dynamic_range:.0f} dB above the noise."
    if track.channels > 1 and levels.rms - mixed.rms > CANCELLED:
        yield "The channels cancel each other when mixed; use --channels separate."


# ── what it says of itself ───────────────────────────────────────────────────────────────────


def _media(container: InputContainer, size: int) -> Media:
    import av
    from av.stream import Disposition

    tracks = []
    for index, stream in enumerate(container.streams.audio):
        known = can_decode(stream)
        context = stream.codec_context
        seconds = None
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        language = stream.language
        tracks.append(
            Track(
                index=index,
                codec=context.codec.canonical_name if known else "unknown",
                sample_rate=context.sample_rate if known else 0,
                channels=context.layout.nb_channels if known else 0,
                seconds=seconds,
                language=None if language == "und" else _short(language),
                title=_short(stream.metadata.get("title")),
            )
        )
    return Media(
        container=container.format.name,
        seconds=None if container.duration is None else container.duration / av.time_base,
        size=size,
        tracks=tuple(tracks),
        has_video=any(
            not stream.disposition & Disposition.attached_pic for stream in container.streams.video
        ),
        title=_short(container.metadata.get("title")),
    )


def _short(text: str | None) -> str | None:
    """Names as they are, megabytes of them cut; ``None`` for nothing."""
    return text[:_NAME] or None if text else None


def _zero_length(path: Path) -> ZeroLength:
    return ZeroLength(
        f"The audio of {path.name} lasts no time at all.", hint="Was the recording ever started?"
    )


def _nothing_decoded(path: Path, seconds: float) -> ZeroLength | NotMedia:
    """No sample came out: of an empty track, or of bytes that only look like audio."""
    if seconds < 0.1:
        return _zero_length(path)
    return not_media(path, "holds nothing that can be decoded")
