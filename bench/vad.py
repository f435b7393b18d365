"""Speech detection: ours against faster-whisper's own ``get_speech_timestamps``.

    python bench/vad.py AUDIO [AUDIO …] [--minutes 10] [--rounds 7]

The files are joined with half a second of room tone between them and repeated to the length asked
for. Both sides find speech in the same prepared audio (16 kHz, mono, 16 bit) with the same
settings on one thread; the peer is given its floats ready-made, ours converts as it goes. A second
pair repeats it on the same speech with a third of the time muted (digital silence). Printed
besides: how far the spans of the first pair agree.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rig import report, side_by_side, speedup
from speech import SAMPLE

from hansard.audio.vad import find_speech
from hansard.config import VadSettings
from hansard.model import SAMPLE_RATE, Span

BLOCK = 1 << 16
"""Samples fed at once: what a decoder hands over."""


def decoded(path: Path) -> NDArray[np.int16]:
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    with av.open(str(path)) as container:
        parts = [
            part.to_ndarray().reshape(-1)
            for frame in (*container.decode(audio=0), None)
            for part in resampler.resample(frame)
        ]
    return np.concatenate(parts).astype(np.int16)


def recording(paths: list[Path], minutes: float) -> NDArray[np.int16]:
    tone = np.random.default_rng(1).normal(0, 12, SAMPLE_RATE // 2).round().astype(np.int16)
    once = np.concatenate([part for path in paths for part in (decoded(path), tone)])
    return np.resize(once, round(minutes * 60 * SAMPLE_RATE))


def muted(audio: NDArray[np.int16]) -> NDArray[np.int16]:
    """Ten seconds of zeros in each half minute."""
    out = audio.copy()
    for start in range(0, len(out), 30 * SAMPLE_RATE):
        out[start : start + 10 * SAMPLE_RATE] = 0
    return out


def ours(audio: NDArray[np.int16], settings: VadSettings) -> list[Span]:
    blocks = (audio[at : at + BLOCK] for at in range(0, len(audio), BLOCK))
    return list(find_speech(blocks, settings))


def samples_marked(spans: list[Span], length: int) -> NDArray[np.bool_]:
    marks = np.zeros(length, np.bool_)
    for span in spans:
        marks[span.start : span.end] = True
    return marks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("audio", nargs="*", type=Path, default=[SAMPLE])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()

    settings = VadSettings.model_validate({})
    peer = importlib.import_module("faster_whisper.vad")
    options = peer.VadOptions(
        threshold=settings.threshold,
        min_silence_duration_ms=round(settings.min_silence * 1000),
        min_speech_duration_ms=round(settings.min_speech * 1000),
        speech_pad_ms=round(settings.pad * 1000),
        max_speech_duration_s=28.0,
    )

    def theirs(floats: NDArray[np.float32]) -> list[Span]:
        return [Span(s["start"], s["end"]) for s in peer.get_speech_timestamps(floats, options)]

    speech = recording(asked.audio, asked.minutes)
    gated = muted(speech)
    floats = np.divide(speech, 32768, dtype=np.float32)
    gated_floats = np.divide(gated, 32768, dtype=np.float32)
    seconds = side_by_side(
        {
            "faster-whisper": lambda: theirs(floats),
            "hansard": lambda: ours(speech, settings),
            "faster-whisper, a third mute": lambda: theirs(gated_floats),
            "hansard, a third mute": lambda: ours(gated, settings),
        },
        rounds=asked.rounds,
    )
    length = len(speech)
    agree = samples_marked(ours(speech, settings), length) == samples_marked(theirs(floats), length)
    report(
        "vad",
        {
            "audio_seconds": length / SAMPLE_RATE,
            "times_real_time": {
                name: round(length / SAMPLE_RATE / statistics.median(taken))
                for name, taken in seconds.items()
            },
            "speedup": round(speedup(seconds, peer="faster-whisper", ours="hansard"), 2),
            "speedup_third_mute": round(
                speedup(seconds, peer="faster-whisper, a third mute", ours="hansard, a third mute"),
                2,
            ),
            "samples_agreed": round(float(agree.mean()), 5),
        },
    )


if __name__ == "__main__":
    main()
