"""Audio that is still being recorded, decoded as it comes.

Plain samples are resampled here. Whatever has to be parsed first (Ogg, WebM, packets of Opus) is
a stranger's, so it goes through a process of its own (``growing_child``), whose memory and time
are bounded: what is hostile ends that process and nothing else.

The same bytes give the same samples, however they were cut on the way: a session that is taken up
again after a kill decodes its bytes from the start and plans the windows that it had.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np

from hansard.errors import BadInput, EngineError, HostileMedia, from_failure
from hansard.model import Failure, Value

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from numpy.typing import NDArray

    from hansard.config import CageSettings  # the child would wait for it for half a second

Codec = Literal["pcm_s16le", "pcm_f32le", "opus", "ogg", "webm"]
"""``opus``: bare packets, each behind its length in two bytes, the lower first."""

LENGTH = struct.Struct("<H")
"""What is written before a bare packet. Opus packets have at most 61 440 bytes (RFC 6716)."""

FRAME = struct.Struct("<I")
"""What the child writes before samples; 0 before an error."""

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from hansard.audio.growing_child import main; main()"
)


class Sound(Value, frozen=True):
    """What comes in: bare samples say their rate (Hz) and channels, the others bring theirs."""

    codec: Codec
    rate: int = 48_000
    channels: int = 1

    @property
    def frame(self) -> int:
        """Bytes of a sample on all channels; 1 where they cannot be told apart."""
        width = {"pcm_s16le": 2, "pcm_f32le": 4}.get(self.codec)
        return 1 if width is None else width * self.channels


def blocks(
    chunks: Iterable[bytes], sound: Sound, cage: CageSettings
) -> Iterator[NDArray[np.int16]]:
    """What comes in as 16 kHz, mixed down, in short blocks of shape ``(1, n)``.

    Args:
        chunks: the bytes, cut anywhere; waiting for the next is theirs to do.
        sound: what they are.
        cage: the bounds of the process that parses.

    Raises:
        BadInput: there is no audio in it.
        HostileMedia: parsing it ended the process.
    """
    if sound.codec.startswith("pcm"):
        yield from _samples(chunks, sound)
    else:
        yield from _parsed(chunks, sound, cage)


def _samples(chunks: Iterable[bytes], sound: Sound) -> Iterator[NDArray[np.int16]]:
    from hansard.audio import decode

    length = max(1, sound.rate // 20)  # a twentieth of a second
    yield from decode.resampled(_frames(_cut(chunks, length * sound.frame), sound), length)


def _cut(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Pieces of ``size`` bytes, the last shorter."""
    kept = bytearray()
    for chunk in chunks:
        kept += chunk
        while len(kept) >= size:
            yield bytes(kept[:size])
            del kept[:size]
    if kept:
        yield bytes(kept)


def _frames(pieces: Iterable[bytes], sound: Sound) -> Iterator[AudioFrame]:
    import av

    layout = "mono" if sound.channels == 1 else "stereo"
    form, kind = ("s16", "<i2") if sound.codec == "pcm_s16le" else ("flt", "<f4")
    for piece in pieces:
        whole = len(piece) // sound.frame * sound.frame
        if not whole:
            continue
        samples = np.frombuffer(piece[:whole], kind)
        if form == "flt":  # a resampler that once met infinity gives nothing else any more
            samples = np.clip(np.nan_to_num(samples, posinf=1.0, neginf=-1.0), -1.0, 1.0)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), form, layout)
        frame.sample_rate = sound.rate
        yield frame


# ── through a process of its own ─────────────────────────────────────────────────────────────


def _parsed(
    chunks: Iterable[bytes], sound: Sound, cage: CageSettings
) -> Iterator[NDArray[np.int16]]:
    child = _Child(sound, cage)
    feeder = threading.Thread(target=child.feed, args=(chunks,), name="hansard-feed", daemon=True)
    try:
        feeder.start()
        yield from child.blocks()
    finally:
        child.end()
        # The feeder may wait for more to come; it ends with its chunks, or with the next of them.
    if child.trouble is not None:
        raise child.trouble


class _Child:
    """The process that parses; one thread feeds it, another reads what it makes of it."""

    def __init__(self, sound: Sound, cage: CageSettings) -> None:
        bounds = {"codec": sound.codec, "memory": cage.memory, "seconds": cage.seconds}
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter, our own module
                [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path), json.dumps(bounds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise EngineError(
                f"A process for decoding cannot be started: {error}.",
                hint="The machine may be out of memory or of processes.",
            ) from error
        self.trouble: BaseException | None = None
        """What went wrong while it was fed."""

    def feed(self, chunks: Iterable[bytes]) -> None:
        """Write everything there is, and then the end."""
        assert self._process.stdin is not None
        try:
            with self._process.stdin as into:
                for chunk in chunks:
                    into.write(chunk)
                    into.flush()
        except (BrokenPipeError, ValueError):
            pass  # it has ended: whoever reads from it learns why
        except BaseException as error:  # noqa: BLE001 it is raised where somebody listens
            self.trouble = error
            self._process.kill()

    def blocks(self) -> Iterator[NDArray[np.int16]]:
        """What it decodes, until it ends.

        Raises:
            BadInput: it found no audio.
            HostileMedia: it was ended by its bounds, or by what it read.
        """
        assert self._process.stdout is not None
        out = self._process.stdout
        while head := out.read(FRAME.size):
            (size,) = FRAME.unpack(head)
            if not size:
                raise from_failure(Failure(**json.loads(out.read())))
            yield np.frombuffer(out.read(size), "<i2").reshape(1, -1)
        if self._process.wait() and self.trouble is None:
            raise HostileMedia(
                "Decoding what came in broke the limits of memory or time.",
                hint="Send it as it is recorded, by a browser or by a well-kept encoder.",
            )

    def end(self) -> None:
        """Stop it, whatever it is at."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except (BrokenPipeError, BadInput):
                    continue


def packet_seconds(packet: bytes) -> float:
    """How long a packet of Opus lasts, by its first bytes (RFC 6716, section 3.1); 0 for none."""
    if not packet:
        return 0.0
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        frame = (0.01, 0.02, 0.04, 0.06)[config & 3]
    elif config < 16:
        frame = (0.01, 0.02)[config & 1]
    else:
        frame = (0.0025, 0.005, 0.01, 0.02)[config & 3]
    count = (1, 2, 2, packet[1] & 63 if len(packet) > 1 else 0)[code]
    return frame * count
