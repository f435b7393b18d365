"""Meetings spoken by Debian's flite: true words, true speakers, true times, any length.

``flite`` (``apt install flite``) is needed only to make recordings, never to run Hansard or its
tests. Its four voices are free of licences that bind the audio, run without weights of their own
to download, and PocketSphinx understands them; espeak-ng's it does not.
"""

from __future__ import annotations

import io
import random
import shutil
import subprocess
import wave
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from script import VOICES, Turn

RATE = 16_000
SPEECH_DBFS = -22.0
"""RMS of every voice: nobody sits nearer to the microphone."""
NOISE_DBFS = -62.0
"""RMS of the room: air conditioning in a quiet office, 40 dB below the voices."""

Samples = NDArray[np.int16]
Signal = NDArray[np.float32]


class FliteMissing(RuntimeError):
    """The program that speaks is not on this machine."""


class Sentence(msgspec.Struct, frozen=True):
    """A sentence of the reference; times in seconds from the start of the recording."""

    start: float
    end: float
    speaker: str
    text: str


class Meeting(msgspec.Struct, frozen=True):
    """What was said in a recording, in order of start."""

    seconds: float
    seed: int
    voices: dict[str, str]
    sentences: list[Sentence]

    @property
    def text(self) -> str:
        """All words, in order."""
        return " ".join(sentence.text for sentence in self.sentences)


class _Placed(NamedTuple):
    at: int
    audio: Signal
    speaker: str
    text: str


def available() -> bool:
    """Whether flite is on this machine."""
    return shutil.which("flite") is not None


def speak(voice: str, text: str) -> Signal:
    """One sentence by one voice at the common level, without flite's pauses around it.

    Raises:
        FliteMissing: there is no ``flite`` program.
    """
    program = shutil.which("flite")
    if program is None:
        raise FliteMissing(
            "flite is not installed, and only flite can speak the sample. On Debian or Ubuntu: "
            "apt install flite. The recording that is in the repository does not need it."
        )
    done = subprocess.run(
        [program, "-voice", voice, "-t", text, "-o", "/dev/stdout"], capture_output=True, check=True
    )
    with wave.open(io.BytesIO(done.stdout)) as spoken:
        if spoken.getframerate() != RATE:
            raise ValueError(f"voice {voice} speaks at {spoken.getframerate()} Hz, not at {RATE}")
        # Flite cannot seek back on a pipe, so the header's length is not to be trusted.
        audio = np.frombuffer(spoken.readframes(2**30), np.int16).astype(np.float32)
    return levelled(audio / np.float32(32768))


def levelled(audio: Signal) -> Signal:
    """What was spoken at the common level, without the silence around it."""
    loud = np.flatnonzero(np.abs(audio) > 0.01 * np.abs(audio).max())
    margin = RATE // 50
    audio = audio[max(0, loud[0] - margin) : loud[-1] + margin]
    rms = float(np.sqrt(np.mean(np.square(audio))))
    return (audio * (10 ** (SPEECH_DBFS / 20) / rms)).astype(np.float32)


def room(samples: int, seed: int) -> Signal:
    """Noise of a quiet room: pink (3 dB an octave), at :data:`NOISE_DBFS`."""
    rng = np.random.default_rng(seed)
    block = 2**18
    parts: list[Signal] = []
    frequencies = np.fft.rfftfreq(block, 1 / RATE)
    shape = 1 / np.sqrt(np.maximum(frequencies, 20.0))
    for _ in range(0, samples, block):
        spectrum = np.fft.rfft(rng.standard_normal(block)) * shape
        noise = np.fft.irfft(spectrum, block)
        parts.append((noise / np.sqrt(np.mean(noise**2))).astype(np.float32))
    loudness = np.float32(10 ** (NOISE_DBFS / 20))
    return np.concatenate(parts)[:samples] * loudness


def record(
    turns: Iterable[Turn],
    *,
    seed: int,
    seconds: float | None = None,
    silence: float | None = None,
) -> tuple[Samples, Meeting]:
    """Speak turns into one recording.

    Args:
        turns: who says what; may be endless when ``seconds`` is given.
        seed: of pauses and room noise.
        seconds: take whole turns until the recording is about this long.
        silence: share of the recording in which nobody speaks, 0 to 1; ``None``: natural pauses.

    Returns:
        Mono audio at 16 kHz and what is said in it.

    Raises:
        FliteMissing: there is no ``flite`` program.
    """
    rng = random.Random(seed)
    spoken: list[tuple[Signal, str, str, float]] = []  # audio, speaker, text, pause before
    total = 0.0
    for turn in turns:
        for index, text in enumerate(turn.sentences):
            pause = rng.uniform(0.35, 0.8) if index else rng.uniform(0.5, 1.1)
            if turn.overlap and not index:
                pause = -turn.overlap
            audio = speak(VOICES[turn.speaker], text)
            spoken.append((audio, turn.speaker, text, pause))
            total += len(audio) / RATE / (1 - silence) if silence else len(audio) / RATE + pause
        if seconds is not None and total >= seconds:
            break
    if silence:
        speech = sum(len(audio) for audio, *_ in spoken) / RATE
        paused = sum(max(0.0, pause) for *_, pause in spoken)
        stretch = speech * silence / (1 - silence) / paused
        spoken = [
            (audio, speaker, text, pause * stretch if pause > 0 else pause)
            for audio, speaker, text, pause in spoken
        ]
    placed: list[_Placed] = []
    at = 0
    for audio, speaker, text, pause in spoken:
        at += round(pause * RATE)
        placed.append(_Placed(at, audio, speaker, text))
        at += len(audio)
    return _mix(placed, at + RATE // 2, seed)


def _mix(placed: list[_Placed], samples: int, seed: int) -> tuple[Samples, Meeting]:
    mix = room(samples, seed)
    sentences: list[Sentence] = []
    for at, audio, speaker, text in placed:
        mix[at : at + len(audio)] += audio
        end = (at + len(audio)) / RATE
        sentences.append(Sentence(round(at / RATE, 3), round(end, 3), speaker, text))
    pcm = np.clip(np.rint(mix * 32767), -32768, 32767).astype(np.int16)
    voices = {
        name: voice for name, voice in VOICES.items() if any(p.speaker == name for p in placed)
    }
    return pcm, Meeting(round(samples / RATE, 3), seed, voices, sentences)


def write(pcm: Samples, path: Path, *, bit_rate: int = 32_000) -> None:
    """Encode as FLAC, or as Ogg/Opus for ``.ogg``; the same samples give the same bytes."""
    import av

    opus = path.suffix == ".ogg"
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream: Any = container.add_stream("libopus" if opus else "flac", rate=RATE, layout="mono")
        if opus:
            stream.bit_rate = bit_rate
        stream.codec_context.flags |= 1 << 23  # AV_CODEC_FLAG_BITEXACT: no encoder version in tags
        for at in range(0, len(pcm), RATE):
            frame = av.AudioFrame.from_ndarray(
                pcm[None, at : at + RATE], format="s16", layout="mono"
            )
            frame.sample_rate = RATE
            frame.pts = at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def read(path: Path) -> Meeting:
    """The reference that lies beside a recording."""
    return msgspec.json.decode(path.read_bytes(), type=Meeting)
