"""Any media file → 16 kHz PCM, streamed, on the recording's own timeline.

A chain of generators: packets → frames (broken ones skipped) → frames without gaps → resampled
chunks → enhanced chunks → blocks. Only the chunk in hand is in memory, whatever the length.

**Resampling** is libswresample with its defaults (a 32-tap polyphase filter, Kaiser window, cutoff
at 0.97 of Nyquist; mixing down with coefficients that sum to 1, so nothing clips). That is what
``ffmpeg -ar 16000 -ac 1`` does, and so what the speech models' own training and evaluation
pipelines hear. A 16-tap filter saves a tenth of the time and lets frequencies above 8 kHz fold
back; soxr is slower.

**Speed.** Decoders spend most of the time; the rest is kept small by handing libswresample long
chunks out of an ``AudioFifo`` instead of one frame of 20 ms at a time, chunks that still fit a
core's cache. One thread: audio decoders gain nothing from more, and the caller has other work.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hansard.audio.container import audio_stream, opened
from hansard.model import SAMPLE_RATE, Channels
from hansard.telemetry import count, span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from numpy.typing import NDArray

    from hansard.audio.levels import Enhancement

_log = logging.getLogger(__name__)

BLOCK: Final = 20 * SAMPLE_RATE
"""Samples of a block. All but the last are exactly this long."""

TOLERANCE: Final = 0.1
"""Seconds that timestamps may stray from the samples before silence is added or sound is cut."""

MOST_FILLER: Final = 3600.0
"""Seconds of silence added to one recording at most; a later gap is taken for a clock reset."""

CLOCK_RESET: Final = 10.0
"""Seconds; a longer step back is a new clock (joined files), not sound that is there twice."""

_CHUNK: Final = 32 * 1024
"""Samples at the source's rate that are resampled at once."""
_NAMED: Final = 8
"""Channels up to which FFmpeg knows how to mix down every layout it has a name for."""
_UNTIMED: Final = frozenset(
    ("aac", "ac3", "amr", "amrnb", "amrwb", "dts", "dtshd", "eac3", "loas", "mlp", "mp3", "truehd")
)
"""Bare streams of frames: FFmpeg makes up their timestamps, from the first frame's rate."""
_PATIENCE: Final = 1000
"""Read errors in a row after which a file is taken to end."""


def blocks(
    path: Path,
    *,
    track: int = 0,
    channels: Channels = "mix",
    enhance: Enhancement | None = None,
) -> Iterator[NDArray[np.int16]]:
    """Decode a track to 16 kHz, block by block.

    Sample ``n`` is what is heard ``n / 16000`` seconds after the recording's start (the earliest
    timestamp of any of its tracks): gaps in the timestamps longer than :data:`TOLERANCE` become
    silence, overlaps are cut. Packets that do not decode are skipped and counted as
    ``decode.bad_packets``. The same file gives the same samples each time.

    Args:
        path: a local file.
        track: which audio track, from 0.
        channels: ``mix`` for one row, ``separate`` for a row for each channel of the source.
        enhance: lift quiet audio; see ``levels.enhancement``.

    Yields:
        Arrays of shape ``(rows, n)``, 20 s each, the last shorter. Nothing, for a track
        without samples.

    Raises:
        NotFound, Unreadable, EmptyFile, NotMedia, NoAudio, NoSuchTrack: before the first block.
    """
    source = _blocks(path, track, channels, enhance)
    while True:
        with span("prepare.decode"):
            block = next(source, None)
        if block is None:
            return
        yield block


def excerpts(
    path: Path, starts: Sequence[float], seconds: float, *, track: int = 0
) -> Iterator[NDArray[np.int16]]:
    """Decode stretches of a long file, one after the other, without what lies between.

    Each begins at the nearest place before ``starts[i]`` (seconds) where decoding can begin, is
    about ``seconds`` long, and has a row for each channel. A place that cannot be reached gives
    an array with no samples.

    Raises:
        NotFound, Unreadable, EmptyFile, NotMedia, NoAudio, NoSuchTrack: before the first.
    """
    import av

    with opened(path, fast_seek=True) as container:
        stream = audio_stream(container, path, track)
        stream.codec_context.thread_count = 1
        begin = container.start_time or 0
        for start in starts:
            try:
                container.seek(begin + int(start * av.time_base))
            except av.FFmpegError:
                count("decode.bad_seeks")
                yield np.empty((1, 0), dtype=np.int16)
                continue
            sounds = _shortened(_frames(container, stream), seconds)
            chunks = list(_resampled(sounds, "separate", "s16"))
            yield np.concatenate(chunks, axis=1) if chunks else np.empty((1, 0), dtype=np.int16)


def flowing(container: InputContainer, name: Path, chunk: int) -> Iterator[NDArray[np.int16]]:
    """Decode the first track of a container that is still growing, mixed down to 16 kHz.

    Like :func:`blocks`, but what comes out is not kept until a block is full.

    Args:
        container: what comes in; reading from it may wait.
        name: what to call it in errors.
        chunk: samples at the source's rate that are resampled at once.

    Raises:
        NoAudio, NotMedia: before the first.
    """
    stream = audio_stream(container, name, 0)
    stream.codec_context.thread_count = 1
    yield from _resampled(
        _aligned(_frames(container, stream), container, stream), "mix", "s16", chunk
    )


def resampled(frames: Iterable[AudioFrame], chunk: int) -> Iterator[NDArray[np.int16]]:
    """Frames that follow one another → 16 kHz, mixed down, shape ``(1, n)``; see ``flowing``."""
    yield from _resampled(((0.0, frame) for frame in frames), "mix", "s16", chunk)


def packets(source: Iterable[Packet[Any]], codec: str, head: bytes) -> Iterator[AudioFrame]:
    """Decode bare packets, without a container; what does not decode is skipped and counted.

    Args:
        source: the packets, in order.
        codec: FFmpeg's name of their codec.
        head: what a container would have said of it.
    """
    import av

    context: Any = av.AudioCodecContext.create(codec, "r")
    context.extradata = head
    context.thread_count = 1
    for packet in source:
        try:
            yield from context.decode(packet)
        except av.FFmpegError:
            count("decode.bad_packets")


def _blocks(
    path: Path, track: int, channels: Channels, enhance: Enhancement | None
) -> Iterator[NDArray[np.int16]]:
    with opened(path) as container:
        stream = audio_stream(container, path, track)
        stream.codec_context.thread_count = 1
        sounds = _aligned(_frames(container, stream), container, stream)
        if enhance is None:
            yield from _joined(_resampled(sounds, channels, "s16"))
        else:
            # Floats up to the limiter: quiet speech in 16 bits is a few hundred steps high.
            yield from _joined(_enhanced(_resampled(sounds, channels, "flt"), enhance))


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """The decoded frames of a stream; what does not decode is skipped and counted."""
    import av

    decode = stream.codec_context.decode
    errors = 0
    while True:
        try:
            for packet in container.demux(stream):
                try:
                    frames = decode(packet)
                except av.EOFError:
                    return
                except av.FFmpegError:
                    count("decode.bad_packets")
                    continue
                errors = 0
                yield from frames
        except IndexError:
            # PyAV 18 stumbles at the end over streams that appeared after the start (MPEG-TS);
            # ours, which is older, has been flushed by then.
            return
        except av.FFmpegError:
            # The container itself is damaged here; demuxers find the next packet by themselves.
            count("decode.bad_packets")
            errors += 1
            if errors >= _PATIENCE:
                return
        else:
            return


def _aligned(
    frames: Iterable[AudioFrame], container: InputContainer, stream: AudioStream
) -> Iterator[tuple[float, AudioFrame]]:
    """The frames, each with the seconds of silence that belong before it; overlaps are cut."""
    scale = float(stream.time_base or 0)
    begin = (container.start_time or 0) / 1_000_000
    filler = MOST_FILLER
    position = 0.0  # seconds of the recording handed on so far
    earliest = -TOLERANCE
    untimed = container.format.name in _UNTIMED
    first_rate = 0
    for frame in frames:
        rate = frame.sample_rate
        first_rate = first_rate or rate
        length = frame.samples / rate
        pts = None if untimed and rate != first_rate else frame.pts
        gap = 0.0
        if pts is not None:
            ahead = pts * scale - begin - position
            if earliest <= ahead <= TOLERANCE:
                earliest = -TOLERANCE
            elif -CLOCK_RESET < ahead < 0:
                earliest = -length / 2  # once cutting, cut until sound and clock meet
                count("decode.cut_seconds", length)
                continue
            elif 0 < ahead <= filler:
                gap = ahead
                filler -= gap
                position += gap
                count("decode.filled_seconds", gap)
            else:
                count("decode.clock_resets")
                _log.warning(
                    "the clock of the recording jumps by %.1f s at %.1f s; going on without a gap",
                    ahead,
                    position,
                )
                begin += ahead
        position += length
        yield gap, frame


def _resampled(
    sounds: Iterable[tuple[float, AudioFrame]], channels: Channels, form: str, chunk: int = _CHUNK
) -> Iterator[NDArray[Any]]:
    """16 kHz chunks of shape ``(rows, n)``, as 16-bit (``s16``) or floating samples (``flt``)."""
    resampler: _Resampler | None = None
    for gap, frame in sounds:
        if resampler is None:
            resampler = _Resampler(frame, channels, form, chunk)
        if gap:
            yield from resampler.silence(gap)
        if ready := resampler.feed(frame):
            yield from ready
    if resampler is not None:
        yield from resampler.drain()


class _Resampler:
    """Collects frames and resamples them a chunk at a time.

    Asks FFmpeg for packed samples and lets numpy sort the channels: PyAV 18 crashes on planar
    frames of eight channels and more.
    """

    def __init__(self, first: AudioFrame, channels: Channels, form: str, chunk: int) -> None:
        named = first.layout.nb_channels <= _NAMED and not first.layout.name.endswith(" channels")
        self._mean = channels == "mix" and first.layout.nb_channels > 2 and not named
        """Mix in numpy: without speaker positions FFmpeg would guess some, and drop an "LFE"."""
        self._form = form
        mono = channels == "mix" and not self._mean
        self._layout = "mono" if mono else first.layout.name
        self._columns = 1 if mono else first.layout.nb_channels
        self._source: tuple[str, int, int] | None = None
        self._pending = 0
        self._chunk = chunk

    def feed(self, frame: AudioFrame) -> list[NDArray[Any]]:
        """Take a frame; gives chunks when enough have come."""
        chunks: list[NDArray[Any]] = []
        source = (frame.format.name, frame.sample_rate, frame.layout.nb_channels)
        if source != self._source:
            chunks = self.drain()
            self._start(source)
        frame.pts = None  # the fifo would insist on timestamps without a tick of jitter
        self._fifo.write(frame)
        self._pending += frame.samples
        if self._pending >= self._chunk:
            self._pending = 0
            chunks += self._arrays(self._resampler.resample(self._fifo.read()))
        return chunks

    def silence(self, seconds: float) -> Iterator[NDArray[Any]]:
        """What is collected, then silence, in chunks of a block at most."""
        yield from self.drain()
        rows = 1 if self._mean else self._columns
        left = round(seconds * SAMPLE_RATE)
        while left > 0:
            length = min(left, BLOCK)
            left -= length
            yield np.zeros((rows, length), np.int16 if self._form == "s16" else np.float32)

    def drain(self) -> list[NDArray[Any]]:
        """What is collected and what the filter still holds; the next frame starts anew."""
        if self._source is None:
            return []
        self._source, self._pending = None, 0
        rest = self._fifo.read()
        frames = self._resampler.resample(rest) if rest is not None else []
        return self._arrays(frames + self._resampler.resample(None))

    def _start(self, source: tuple[str, int, int]) -> None:
        import av

        self._source = source
        self._fifo = av.AudioFifo()
        self._resampler = av.AudioResampler(
            format=self._form,
            layout=self._layout,
            rate=SAMPLE_RATE,
            # Floats would be mixed down without keeping the sum below full scale.
            options={"rematrix_maxval": "1.0"},
        )

    def _arrays(self, frames: Iterable[AudioFrame]) -> list[NDArray[Any]]:
        return [self._array(frame) for frame in frames if frame.samples]

    def _array(self, frame: AudioFrame) -> NDArray[Any]:
        packed: NDArray[Any] = frame.to_ndarray()
        if self._columns == 1:
            return packed
        rows = packed.reshape(-1, self._columns).T
        if not self._mean:
            return rows
        mixed: NDArray[np.float32] = rows.mean(axis=0, dtype=np.float32, keepdims=True)
        return np.rint(mixed).astype(np.int16) if self._form == "s16" else mixed


def _enhanced(
    chunks: Iterable[NDArray[np.float32]], enhance: Enhancement
) -> Iterator[NDArray[np.int16]]:
    """Band-pass, gain, compressor and limiter; as many samples come out as went in.

    Each row goes its own way: a loud speaker on one channel must not press another down.
    """
    import av

    graphs: list[Any] = []
    for chunk in chunks:
        graphs = graphs or [_voice_filter(enhance) for _ in chunk]
        for graph, row in zip(graphs, chunk, strict=True):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(row).reshape(1, -1), "flt", "mono"
            )
            frame.sample_rate = SAMPLE_RATE
            graph.push(frame)
        yield np.concatenate([_pulled(graph) for graph in graphs])
    for graph in graphs:
        graph.push(None)
    if graphs:
        yield np.concatenate([_pulled(graph) for graph in graphs])


def _voice_filter(enhance: Enhancement) -> Any:
    """A libavfilter graph. ``latency`` has the limiter give back the delay of its look-ahead."""
    from av.filter import Graph

    graph = Graph()
    steps: list[tuple[str, dict[str, str]]] = [
        ("highpass", {"f": str(enhance.low)}),
        ("lowpass", {"f": str(enhance.high)}),
        ("volume", {"volume": f"{enhance.gain}dB", "precision": "float"}),
        ("acompressor", {"threshold": "0.0625", "ratio": "2", "attack": "20", "release": "250"}),
        ("volume", {"volume": f"{enhance.makeup}dB", "precision": "float"}),
        (
            "alimiter",
            {
                "limit": f"{10 ** (enhance.ceiling / 20):.6f}",
                "attack": "5",
                "release": "50",
                "level": "disabled",
                "latency": "1",
            },
        ),
        ("aformat", {"sample_fmts": "s16", "sample_rates": str(SAMPLE_RATE)}),
        ("abuffersink", {}),
    ]
    last = graph.add_abuffer(sample_rate=SAMPLE_RATE, format="flt", layout="mono")
    for name, arguments in steps:
        step = graph.add(name, **arguments)
        last.link_to(step)
        last = step
    graph.configure()
    return graph


def _pulled(graph: Any) -> NDArray[np.int16]:
    """What the graph has ready, in one row."""
    import av

    parts = [np.empty((1, 0), dtype=np.int16)]
    while True:
        try:
            parts.append(graph.pull().to_ndarray())
        except (av.BlockingIOError, av.EOFError):
            return np.concatenate(parts, axis=1)


def _joined(chunks: Iterable[NDArray[np.int16]]) -> Iterator[NDArray[np.int16]]:
    """Chunks of any length → blocks of :data:`BLOCK` samples, the last shorter."""
    kept: list[NDArray[np.int16]] = []
    length = 0
    for chunk in chunks:
        kept.append(chunk)
        length += chunk.shape[1]
        if length >= BLOCK:
            whole = np.concatenate(kept, axis=1)
            while length >= BLOCK:
                yield np.ascontiguousarray(whole[:, :BLOCK])
                whole = whole[:, BLOCK:]
                length -= BLOCK
            kept = [whole]
    if length:
        yield np.ascontiguousarray(np.concatenate(kept, axis=1))


def _shortened(frames: Iterable[AudioFrame], seconds: float) -> Iterator[tuple[float, AudioFrame]]:
    """As many frames as make ``seconds``, none with silence before it."""
    left = seconds
    for frame in frames:
        yield 0.0, frame
        left -= frame.samples / frame.sample_rate
        if left <= 0:
            return
