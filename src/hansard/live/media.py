"""A tape becomes a recording that any player opens: a header in front, or packets in a container.

What was sent is kept as it was sent: samples are not encoded, packets are not decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from hansard.audio.growing import Sound, packet_seconds
from hansard.live import tape
from hansard.model import SAMPLE_RATE, Media, Recording, Track
from hansard.store.files import Files

SUFFIX = {"pcm_s16le": "wav", "pcm_f32le": "wav", "opus": "ogg", "ogg": "ogg", "webm": "webm"}

_CONTAINER = {"wav": "wav", "ogg": "ogg", "webm": "matroska,webm"}

_SIP = 1024 * 1024
_MOST_RIFF = 0xFFFF_FFFF
_OPUS_RATE = 48_000


def keep(
    files: Files, where: Path, sound: Sound, name: str, *, created: float, samples: int
) -> Recording:
    """Make a recording of a tape; the tape stays.

    Args:
        files: where it is kept.
        where: the tape.
        sound: what is on it.
        name: what to call it.
        created: when it was begun, in seconds since the epoch.
        samples: how long it is, at 16 kHz.

    Raises:
        DiskFull: no room.
    """
    with files.intake(name) as intake:
        if sound.codec == "opus":
            _mux(where, intake.write)
        else:
            for chunk in _plain(where, sound):
                intake.write(chunk)
        with intake.draft() as draft:
            sha256, size = draft.sha256, draft.size
            draft.keep()
    seconds = samples / SAMPLE_RATE
    bare = sound.codec.startswith("pcm")
    track = Track(
        0,
        sound.codec if bare else "opus",
        sound.rate if bare else _OPUS_RATE,
        sound.channels,
        seconds,
    )
    container = _CONTAINER[SUFFIX[sound.codec]]
    return Recording(sha256, name, Media(container, seconds, size, (track,)), created)


def _plain(where: Path, sound: Sound) -> Iterator[bytes]:
    with where.open("rb") as source:
        if sound.codec.startswith("pcm"):
            left = where.stat().st_size // sound.frame * sound.frame
            yield _wav_header(sound, left)
        else:
            left = where.stat().st_size
        while left and (chunk := source.read(min(_SIP, left))):
            left -= len(chunk)
            yield chunk


def _wav_header(sound: Sound, size: int) -> bytes:
    """RIFF, or RF64 (EBU Tech 3306) where 32 bits cannot hold the size."""
    kind = 1 if sound.codec == "pcm_s16le" else 3
    bits = 8 * sound.frame // sound.channels
    form = struct.pack(
        "<4sIHHIIHH",
        b"fmt ",
        16,
        kind,
        sound.channels,
        sound.rate,
        sound.rate * sound.frame,
        sound.frame,
        bits,
    )
    if size + 36 <= _MOST_RIFF:
        return struct.pack("<4sI4s", b"RIFF", size + 36, b"WAVE") + form + _data(size)
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, size + 72, size, size // sound.frame, 0)
    return struct.pack("<4sI4s", b"RF64", _MOST_RIFF, b"WAVE") + sizes + form + _data(_MOST_RIFF)


def _data(size: int) -> bytes:
    return struct.pack("<4sI", b"data", size)


class _Sink:
    """A file that is only written to."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write

    def write(self, data: Any) -> int:
        """Pass it on."""
        self._write(bytes(data))
        return len(data)


def _mux(where: Path, write: Callable[[bytes], None]) -> None:
    """Packets of Opus into Ogg (RFC 7845), each at the time at which those before it end."""
    import av

    sink: Any = _Sink(write)
    with av.open(sink, "w", format="ogg") as container:
        # The encoder encodes nothing; it says what the header must say.
        stream = container.add_stream("libopus", rate=_OPUS_RATE, layout="stereo")
        scale = Fraction(1, _OPUS_RATE)
        at = 0
        for data in tape.packets(where):
            length = round(packet_seconds(data) * _OPUS_RATE)
            packet: Any = av.Packet(data)
            packet.stream = stream
            packet.time_base = scale
            packet.pts = packet.dts = at
            packet.duration = length
            container.mux(packet)
            at += length
