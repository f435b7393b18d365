"""The process that runs one PocketSphinx decoder for ``speech.sphinx``.

It reads requests from standard input and writes answers to what was its standard output, one at a
time, until standard input ends, which it also does when the parent is killed. It imports the
decoder, msgspec and the standard library, nothing else: it starts in a third of a second and
several of them share the model's memory-mapped pages.

A message is its length in four bytes, little-endian, and so many bytes. A request is one byte of
:data:`MODES` and the window's samples, s16le; an answer is an :class:`Answer` in MessagePack.
"""

from __future__ import annotations

import fcntl
import math
import os
import re
import signal
import struct
import sys
import time
from typing import IO, Any, Literal

import msgspec

FIRST, FALLBACK = b"1", b"2"
MODES = (FIRST, FALLBACK)
"""How a request wants its window decoded: with the usual settings, or with the wider ones."""

LENGTH = struct.Struct("<I")
LONGEST = 2**26
"""Bytes; a length above it is not a message but noise on the pipe (a window has 960 000)."""

FRAME_SECONDS = 0.01

FASTER = {"maxhmmpf": 6_000}
"""What the first decoding changes of PocketSphinx's defaults: at most so many hidden Markov models
live in a frame, not 30 000. A fifth less work; on read speech and the sample as many words wrong
(5 000 begins to cost words). What was tried beside it made more words wrong (``ds``, ``topn``, no
``bestpath``), changed nothing (``maxwpf``, ``compallsen``, ``fwdflatsfwin``, narrower lookahead),
or helped one voice and hurt another (no ``fwdflat``, other language weights)."""

WIDER: dict[str, float | int] = {
    "maxhmmpf": 30_000,
    "beam": 1e-60,
    "pbeam": 1e-60,
    "lpbeam": 1e-50,
    "wbeam": 1e-35,
    "lponlybeam": 1e-35,
    "fwdflatbeam": 1e-72,
    "fwdflatwbeam": 1e-35,
}
"""What the fallback sets: wide beams. On read speech 2.4 times the work of the defaults for a sixth
fewer wrong words."""


class Heard(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A word in window time (seconds) with its posterior probability."""

    start: float
    end: float
    text: str
    confidence: float


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What the child says to a request; exactly one of ``words`` and ``trouble`` tells."""

    words: list[Heard] = []
    loading: float = 0.0
    """Seconds spent on loading before this answer."""
    trouble: str | None = None
    """Why there are no words, where it is not that nobody spoke."""
    stage: Literal["load", "decode"] = "decode"
    """Where the trouble was."""


def send(stream: IO[bytes], payload: bytes) -> None:
    """Write one message.

    Raises:
        OSError: nobody reads any more.
    """
    stream.write(LENGTH.pack(len(payload)) + payload)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes | None:
    """Read one message; ``None`` when the other side is gone, also in mid-message."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    if length > LONGEST:
        return None
    payload = stream.read(length)
    return payload if len(payload) == length else None


class Ear:
    """One decoder with its two searches; the model is loaded once, by the first window."""

    def __init__(self) -> None:
        self._decoder: Any = None
        self._searches: dict[bytes, str] = {}

    def ready(self, mode: bytes) -> bool:
        """Load what ``mode`` needs; whether there was anything to load.

        Raises:
            RuntimeError, ValueError, ImportError: PocketSphinx or its model is broken.
        """
        if mode in self._searches:
            self._decoder.activate_search(self._searches[mode])
            return False
        if self._decoder is None:
            from pocketsphinx import Decoder

            self._decoder = Decoder(loglevel="FATAL", **FASTER)
            self._searches[FIRST] = self._decoder.current_search()
            self._prime()
        if mode == FALLBACK:
            # A second search beside the first: it takes its beams from the configuration of this
            # moment and shares the acoustic and the language model.
            for name, value in WIDER.items():
                self._decoder.config[name] = value
            self._decoder.add_lm("wider", self._decoder.get_lm())
            self._decoder.activate_search("wider")
            self._prime()
            self._searches[FALLBACK] = "wider"
        return True

    def _prime(self) -> None:
        """Decode a tenth of a second of nothing.

        The very first utterance of a search is scored otherwise than the same one later, by parts
        in ten thousand, and answers must not depend on what came before.
        """
        self._decode(bytes(3200))

    def hear(self, pcm: bytes, mode: bytes) -> list[Heard]:
        """The words of one window, the same whatever was heard before.

        Raises:
            RuntimeError: PocketSphinx refuses the audio.
        """
        self.ready(mode)
        return self._decode(pcm)

    def _decode(self, pcm: bytes) -> list[Heard]:
        decoder = self._decoder
        # Forgets the noise estimate of the utterances before. PocketSphinx calls it unnecessary,
        # but without it the same audio gets other times and confidences the second time.
        decoder.start_stream()
        decoder.start_utt()
        try:
            # The whole utterance at once: only then is the cepstral mean its own and not a
            # running one that remembers who spoke before.
            decoder.process_raw(pcm, full_utt=True)
        finally:
            decoder.end_utt()
        return [word for word in map(_word, decoder.seg() or ()) if word is not None]


_VARIANT = re.compile(r"\(\d+\)$")


def _word(segment: Any) -> Heard | None:
    """A segment as a word; ``None`` for silence and noise: ``<sil>``, ``[NOISE]``, ``++UM++``."""
    text = _VARIANT.sub("", segment.word)
    if not text or text[0] in "<[+":
        return None
    probability = segment.prob
    return Heard(
        round(segment.start_frame * FRAME_SECONDS, 2),
        round((segment.end_frame + 1) * FRAME_SECONDS, 2),  # PocketSphinx's ends are inclusive
        text,
        round(min(1.0, max(0.0, probability)), 4) if math.isfinite(probability) else 0.0,
    )


def answer(ear: Ear, request: bytes) -> Answer:
    """Serve one request; whatever goes wrong becomes the answer."""
    mode, pcm = request[:1], request[1:]
    begun = time.perf_counter()
    try:
        loaded = ear.ready(mode)
    except Exception as error:  # noqa: BLE001  # the parent raises it; this process goes on
        return Answer(trouble=f"{type(error).__name__}: {error}", stage="load")
    loading = time.perf_counter() - begun if loaded else 0.0
    try:
        return Answer(ear.hear(pcm, mode), loading)
    except Exception as error:  # noqa: BLE001  # the parent raises it; this process goes on
        return Answer(loading=loading, trouble=f"{type(error).__name__}: {error}")


def die_with(lifeline: int) -> None:
    """End this process the moment the other end of a pipe is closed, even in mid-window.

    While PocketSphinx decodes, for seconds and holding the GIL, no Python code runs that could
    notice that the parent is gone. The kernel can: it raises SIGIO, whose default action on Linux
    is to end the process. Where it is not (macOS), the end of standard input is seen after the
    window.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)


def main(lifeline: int) -> None:
    """Serve requests until standard input ends, or the pipe ``lifeline`` does."""
    die_with(lifeline)
    # Ctrl-C in a terminal reaches every process of the group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Anything that prints must not fall into the conversation: it goes to standard error.
    talk = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    import warnings

    warnings.filterwarnings("ignore", "start_stream", DeprecationWarning)
    ear = Ear()
    encoder = msgspec.msgpack.Encoder()
    while (request := receive(sys.stdin.buffer)) is not None:
        try:
            send(talk, encoder.encode(answer(ear, request)))
        except BrokenPipeError:
            os._exit(0)  # the parent is gone; a tidy exit would try to flush to it again
