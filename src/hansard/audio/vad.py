"""Finds speech in prepared audio, streamed: Silero VAD 6 on onnxruntime, a bounded block at a time.

The model is the one inside faster-whisper (``assets/silero_vad_v6.onnx``, MIT licence). It hears
frames of 512 samples, each behind the last 64 samples of the frame before, and carries a recurrent
state from frame to frame. Frames go through it in blocks of :data:`BLOCK_FRAMES`, counted from
the start of the recording, so how a caller cuts the audio cannot change a probability.

Two things were measured and decide the shape of this file:

* Blocks of 64 to 512 frames are a quarter faster than the ten thousand that faster-whisper uses,
  because the encoder's intermediate values stay in the cache; the probabilities are bit for bit
  the same (``bench/vad.py``).
* The recurrent state goes on moving through digital silence for minutes and leaves the model
  hard of hearing: after seconds of zeros, as gated calls and muted channels have them, it missed
  up to 0.6 s of clear speech. So after :data:`DEAD_FRAMES` dead frames the rest of the silence is
  not heard at all, and what follows it is heard with a fresh state, as the start of a recording
  is. Without such silence the probabilities are those of the model run over the whole file.
"""

from __future__ import annotations

import functools
import importlib.util
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hansard import telemetry
from hansard.config import VadSettings
from hansard.errors import BadSettings, ModelMissing
from hansard.model import SAMPLE_RATE, Span

FRAME = 512
"""Samples that get one probability: 32 ms."""

CONTEXT = 64
"""Samples of the frame before that the model hears again."""

BLOCK_FRAMES = 256
"""Frames in one call of the model: 8.2 s of audio, about 0.6 MB of input."""

DEAD_LEVEL = 10
"""A frame is dead when no sample is further from zero: -70 dBFS. Speech with a peak of 30 already
gives no probability above 0.03, so nothing that the model could hear is dead."""

DEAD_FRAMES = 32
"""Dead frames (1.02 s) after which the silence is left out and the state is made new."""

MAX_SPAN_SECONDS = 28.0
"""Longest span: a window of 30 s less the 2 s that are heard twice where speech never pauses."""

_HYSTERESIS = 0.15
"""How far below the threshold speech ends, as in Silero's own ``get_speech_timestamps``."""
_LOWEST_END = 0.01
_CUT_FROM = 0.6
"""A stretch that must be cut is cut in its last 40 %: long pieces, and room to choose."""
_SHORT_PAUSE = 4
"""Frames; the shortest run of non-speech longer than 98 ms, Silero's limit for a forced cut."""
_BREATH = 10
"""Frames (0.32 s). A run this long is a pause between words, not the closure of a consonant
(those stay under 0.2 s), so a cut there needs no overlap."""
_SMOOTHING = 4
"""Frames whose mean says how speech-like the boundary in their middle is."""


def model_path() -> Path:
    """Where the model's file is, found without importing the package that carries it.

    Raises:
        ModelMissing: faster-whisper is not installed, or its file is not where it was.
    """
    found = importlib.util.find_spec("faster_whisper")
    for place in (found.submodule_search_locations or ()) if found else ():
        path = Path(place) / "assets" / "silero_vad_v6.onnx"
        if path.is_file():
            return path
    raise ModelMissing(
        "The speech detector's model is missing.",
        hint="Reinstall faster-whisper 1.2 or later; the model is a file in its package.",
    )


@functools.cache
def _session() -> Any:
    """The loaded model; one for the whole process, safe to run from several threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # One thread: a second gains nothing on matrices this small, and cores belong to the engine.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # The arena would keep its high-water mark for ever; it was no faster.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(model_path()), providers=["CPUExecutionProvider"], sess_options=options
    )


class Probabilities:
    """How likely each frame is speech, streamed. State: samples not yet heard, and the model's own.

    The result does not depend on how the audio is cut. It equals that of the model run over the
    whole recording at once, or, where there is dead silence, over each part between.

    Args:
        frames: in one call of the model; few where somebody waits for the answer.
    """

    def __init__(self, frames: int = BLOCK_FRAMES) -> None:
        self._waiting = np.empty(frames * FRAME, np.int16)
        self._filled = 0
        self._frames = np.zeros((frames, CONTEXT + FRAME), np.float32)
        self._tail = np.zeros(CONTEXT, np.float32)
        self._dead = 0  # dead frames in a row up to here
        self._renew()

    def _renew(self) -> None:
        """The state at the start of a recording."""
        self._h = np.zeros((1, 1, 128), np.float32)
        self._c = np.zeros((1, 1, 128), np.float32)

    def feed(self, samples: NDArray[np.int16]) -> Iterator[NDArray[np.float32]]:
        """Take samples, shape ``(n,)``; give the probabilities of whole blocks, in order."""
        taken = 0
        while taken < len(samples):
            more = min(len(samples) - taken, len(self._waiting) - self._filled)
            self._waiting[self._filled : self._filled + more] = samples[taken : taken + more]
            self._filled += more
            taken += more
            if self._filled == len(self._waiting):
                self._filled = 0
                yield self._run(len(self._frames))

    def finish(self) -> NDArray[np.float32]:
        """The probabilities of what is left; the last frame is filled up with silence."""
        frames = -(-self._filled // FRAME)
        self._waiting[self._filled : frames * FRAME] = 0
        self._filled = 0
        return self._run(frames) if frames else np.empty(0, np.float32)

    def _run(self, count: int) -> NDArray[np.float32]:
        """Probabilities of the first ``count`` frames that wait; 0 where they are left out."""
        waiting = self._waiting[: count * FRAME].reshape(count, FRAME)
        frames = self._frames[:count]
        np.multiply(waiting, np.float32(1 / 32768), out=frames[:, CONTEXT:])
        frames[0, :CONTEXT] = self._tail
        frames[1:, :CONTEXT] = frames[:-1, -CONTEXT:]
        self._tail = frames[-1, -CONTEXT:].copy()
        heard = np.zeros(count, np.float32)
        for first, last, anew in self._live(waiting):
            if anew:
                self._renew()
            heard[first:last], self._h, self._c = _session().run(
                None, {"input": frames[first:last], "h": self._h, "c": self._c}
            )
        return heard

    def _live(self, frames: NDArray[np.int16]) -> Iterator[tuple[int, int, bool]]:
        """The runs of frames to hear: first, last + 1, and whether left-out ones lie before."""
        dead = (frames.max(axis=1) <= DEAD_LEVEL) & (frames.min(axis=1) >= -DEAD_LEVEL)
        first: int | None = 0 if self._dead <= DEAD_FRAMES else None
        anew = False
        for index in range(len(frames)):
            self._dead = self._dead + 1 if dead[index] else 0
            if self._dead > DEAD_FRAMES:
                if first is not None and first < index:
                    yield first, index, anew
                first = None
            elif first is None:
                first, anew = index, True
        if first is not None:
            yield first, len(frames), anew


class _Stretch(NamedTuple):
    """Speech without its pads. ``cut_before`` / ``cut_after``: that side is inside speech."""

    start: int
    end: int
    cut_before: bool
    cut_after: bool


class Detector:
    """Spans of speech, streamed. State: the open stretch (bounded) and the model's.

    A span starts where the probability reaches ``threshold`` and ends where it stayed below
    ``threshold - 0.15`` for ``min_silence``; stretches shorter than ``min_speech`` are dropped;
    each keeps ``pad`` on both sides, but never touches its neighbour. This is the rule of Silero's
    ``get_speech_timestamps``, except that the last span ends with its speech, not with the file.

    No span is longer than ``max_span`` seconds. Speech that goes on is cut in the last 40 % of
    that length: at its longest pause where that is at least 0.32 s (two spans as any others),
    otherwise in the middle of its longest pause above 98 ms or, where it has none, at the least
    speech-like instant. The spans then **touch** (``next.start == previous.end``), which means
    "cut inside speech": the planner makes the next window start earlier.

    Raises:
        BadSettings: ``max_span`` leaves no room beside the pads and the silence that ends a span.
    """

    def __init__(
        self,
        settings: VadSettings,
        *,
        max_span: float = MAX_SPAN_SECONDS,
        frames: int = BLOCK_FRAMES,
    ) -> None:
        """``frames``: see :class:`Probabilities`."""
        self._threshold = settings.threshold
        self._low = max(settings.threshold - _HYSTERESIS, _LOWEST_END)
        self._min_silence = round(settings.min_silence * SAMPLE_RATE)
        self._min_speech = round(settings.min_speech * SAMPLE_RATE)
        self._pad = round(settings.pad * SAMPLE_RATE)
        self._limit = round(max_span * SAMPLE_RATE) - 2 * self._pad
        # A cut is chosen only where it is known whether the silence around it ends the stretch.
        self._unsure = -(-self._min_silence // FRAME) + 1
        if self._limit // FRAME < 3 * self._unsure:
            raise BadSettings(
                f"Spans of {max_span:g} s are too short for pads of {settings.pad:g} s and "
                f"silences of {settings.min_silence:g} s.",
                hint="Lower vad.min_silence or vad.pad.",
            )
        self._probabilities = Probabilities(frames)
        self._samples = 0
        self._heard = 0  # samples that have a probability
        self._start: int | None = None
        self._cut_before = False
        self._quiet: int | None = None  # where the silence began that may end the open stretch
        self._trace: list[float] = []  # probabilities of the open stretch
        self._closed: deque[_Stretch] = deque()  # stretches whose pads are not settled
        self._behind: _Stretch | None = None  # the last one settled

    @property
    def open(self) -> int | None:
        """Where the speech begins that has not ended yet, pad included; ``None`` in silence."""
        if self._start is None or self._cut_before:
            return self._start
        return max(0, self._start - self._pad)

    def feed(self, block: NDArray[np.int16]) -> list[Span]:
        """Take the next samples, shape ``(n,)``, any ``n``; give the spans that are now certain."""
        with telemetry.span("prepare.vad"):
            self._samples += len(block)
            for probabilities in self._probabilities.feed(block):
                self._follow(probabilities)
            return self._settle(self._heard if self._start is None else self._start)

    def finish(self) -> list[Span]:
        """The spans that are left at the end of the audio. The detector is spent."""
        with telemetry.span("prepare.vad"):
            self._follow(self._probabilities.finish())
            if self._start is not None:
                self._close(self._samples if self._quiet is None else self._quiet)
            return self._settle(None)

    def _follow(self, probabilities: NDArray[np.float32]) -> None:
        for probability in probabilities.tolist():
            at = self._heard
            self._heard += FRAME
            if self._start is None:
                if probability >= self._threshold:
                    self._start, self._cut_before = at, False
                    self._trace = [probability]
                continue
            self._trace.append(probability)
            if probability >= self._threshold:
                self._quiet = None
            elif probability < self._low:
                if self._quiet is None:
                    self._quiet = at
                if at - self._quiet >= self._min_silence:
                    self._close(self._quiet)
                    continue
            if self._heard - self._start > self._limit - FRAME:
                self._cut()

    def _close(self, end: int, *, cut_after: bool = False) -> None:
        """End the open stretch; keep it if it is long enough or part of a longer one."""
        assert self._start is not None
        done = _Stretch(self._start, end, self._cut_before, cut_after)
        self._start, self._cut_before, self._quiet = None, False, None
        if done.end - done.start >= self._min_speech or done.cut_before or done.cut_after:
            self._closed.append(done)

    def _cut(self) -> None:
        """Cut the open stretch, which has reached the longest span, and go on after the cut."""
        assert self._start is not None
        start, quiet, trace = self._start, self._quiet, self._trace
        before, after = _best_cut(trace, self._low, self._unsure)
        end, resume = start + before * FRAME, start + after * FRAME
        if quiet is not None and quiet <= resume:
            # Nothing since the cut was speech: the stretch has ended by itself.
            self._close(quiet)
            return
        touching = end == resume
        self._close(end, cut_after=touching)
        self._start, self._cut_before, self._quiet = resume, touching, quiet
        self._trace = trace[after:]

    def _settle(self, frontier: int | None) -> list[Span]:
        """Pad the closed stretches whose next neighbour, or its distance, is known.

        ``frontier``: no later stretch starts before this sample; ``None`` at the end.
        """
        spans: list[Span] = []
        while self._closed:
            stretch = self._closed[0]
            start, end = stretch.start, stretch.end
            if not stretch.cut_before:
                room = self._pad
                if self._behind is not None:
                    room = min(room, (start - self._behind.end - 1) // 2)
                start = max(0, start - room)
            if not stretch.cut_after:
                room = self._pad
                behind = self._next()
                if behind is not None:
                    room = min(room, (behind - end - 1) // 2)
                elif frontier is not None and frontier < end + 2 * self._pad + 1:
                    break
                end = min(self._samples, end + room)
            spans.append(Span(start, end))
            self._behind = self._closed.popleft()
        telemetry.count("vad.spans", len(spans))
        return spans

    def _next(self) -> int | None:
        """Where the second of the closed stretches begins, or the open one if it will be kept."""
        if len(self._closed) > 1:
            return self._closed[1].start
        if self._start is None:
            return None
        said = (self._heard if self._quiet is None else self._quiet) - self._start
        return self._start if said >= self._min_speech else None


def _best_cut(trace: list[float], low: float, unsure: int) -> tuple[int, int]:
    """Where to cut a stretch: the frames before which the left part ends and the right begins.

    They are the same frame unless the cut falls in a pause long enough to be left out. The last
    ``unsure`` frames are not considered.
    """
    first, last = int(_CUT_FROM * len(trace)), len(trace) - unsure
    longest, pause_end, run = 0, 0, 0
    for index in range(first, last):
        run = run + 1 if trace[index] < low else 0
        if run and run >= longest:
            longest, pause_end = run, index + 1
    if longest >= _BREATH:
        return pause_end - longest, pause_end
    if longest >= _SHORT_PAUSE:
        middle = pause_end - (longest + 1) // 2
        return middle, middle
    half = _SMOOTHING // 2
    around = np.convolve(trace[first - half : last + half - 1], np.ones(_SMOOTHING), "valid")
    middle = last - 1 - int(np.argmin(around[::-1]))
    return middle, middle


def find_speech(
    blocks: Iterable[NDArray[np.int16]],
    settings: VadSettings,
    *,
    max_span: float = MAX_SPAN_SECONDS,
) -> Iterator[Span]:
    """Spans of speech in a stream of blocks of any size; see :class:`Detector`."""
    detector = Detector(settings, max_span=max_span)
    for block in blocks:
        yield from detector.feed(block)
    yield from detector.finish()
