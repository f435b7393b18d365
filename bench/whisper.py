"""Ten minutes of speech with 30 % silence, from a compressed file to text: us and faster-whisper.

    python bench/whisper.py [--rounds 5] [--beam 1] [--seconds 600] [--batches 4,8,16]

A whisper-tiny with random weights (``random_whisper.py``), int8, 100 tokens a window on every
side: no window ends earlier, nobody decodes again. Each alternative lives in a process of its own,
with its model loaded, and they take turns; a run is a path in, all text out. Peers run as their
users run them, on all cores; ``+ pages`` is the same peer with the allocator setting that our
engine makes (``tuning.keep_pages``), to show what that alone is worth.

``ours`` is the whole durable path: the recording is hashed and examined, a job is submitted, every
window is a row, every answer a commit.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import random_whisper
import rig
from numpy.typing import NDArray

RATE = 16_000
TOKENS = 100
SILENCE = 0.3
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "speech"

Run = Callable[[], dict[str, Any]]


# ── what is heard ────────────────────────────────────────────────────────────────────────────


def recording(path: Path, seconds: float) -> None:
    """An mp3 of read speech with pauses of room noise, or of noise in the rhythm of speech."""
    import av

    generator = np.random.default_rng(5)
    samples = int(seconds * RATE)
    audio = np.concatenate(list(_stretches(generator, samples)))[:samples]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mp3", rate=RATE, layout="mono", bit_rate=64_000)
        for first in range(0, samples, RATE):
            frame = av.AudioFrame.from_ndarray(audio[None, first : first + RATE], "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, first, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _stretches(generator: np.random.Generator, samples: int) -> Iterator[NDArray[np.int16]]:
    """Speech and pauses in turn, as long as wanted; pauses are ``SILENCE`` of the whole."""
    spoken = _speech()
    said = paused = 0
    while said + paused < samples:
        for piece in generator.permutation(len(spoken)):
            yield spoken[piece]
            said += len(spoken[piece])
            due = int(said * SILENCE / (1 - SILENCE)) - paused
            yield (generator.standard_normal(due) * 20).astype(np.int16)
            paused += due


def _speech() -> list[NDArray[np.int16]]:
    from faster_whisper import decode_audio

    files = sorted(DATA.glob("*.flac"))
    if files:
        return [(decode_audio(str(file)) * 32767).astype(np.int16) for file in files]
    print("No recordings beside the checkout: tones in the rhythm of speech are used.")
    time_axis = np.arange(8 * RATE) / RATE
    voices = [
        sum(np.sin(2 * np.pi * pitch * n * time_axis) / n for n in range(1, 25))
        for pitch in (110, 140, 180, 210)
    ]
    rhythm = np.clip(np.sin(2 * np.pi * 2 * time_axis), 0, 1)
    return [(3000 * voice * rhythm).astype(np.int16) for voice in voices]


# ── who listens ──────────────────────────────────────────────────────────────────────────────

EQUAL: dict[str, Any] = {
    "language": "en",
    "temperature": 0.0,
    "compression_ratio_threshold": None,
    "log_prob_threshold": None,
    "no_speech_threshold": None,
    "condition_on_previous_text": False,
}


def faster_whisper(
    model: Path, audio: Path, beam: int, *, batch: int = 0, vad: bool = False, pages: bool = False
) -> Run:
    """faster-whisper's sequential mode, or its batched one; on all cores."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    from hansard.speech import tuning

    if pages:
        tuning.keep_pages()
    loaded = WhisperModel(str(model), compute_type="int8", cpu_threads=tuning.cores())
    arguments = {**EQUAL, "beam_size": beam}
    # CTranslate2 stops at half of prompt + max_new_tokens; batched mode has one token more before.
    if batch:
        arguments |= {"batch_size": batch, "max_new_tokens": 2 * TOKENS - 4}
    else:
        arguments |= {"vad_filter": vad, "max_new_tokens": 2 * TOKENS - 3}
    listener = BatchedInferencePipeline(loaded) if batch else loaded

    def run() -> dict[str, Any]:
        segments, _ = listener.transcribe(str(audio), **arguments)
        tokens = [len(segment.tokens) for segment in segments]
        return {"windows": len(tokens), "tokens": sum(tokens)}

    return run


def ours(model: Path, audio: Path, beam: int, *, batch: int | None = None) -> Run:
    """Hansard as it is: take in, preflight, a durable job, and every answer in the store."""
    from hansard import transcription
    from hansard.config import Settings
    from hansard.jobs import progress
    from hansard.machine import WhisperSettings
    from hansard.wiring import House

    settings = Settings(
        data=model.parent / "data",
        model_idle=3600,
        whisper=WhisperSettings(beam_size=beam, batch=batch),
    )
    house = House(settings)
    with house.models.lease("whisper", str(model)) as engine:
        able = engine.capabilities
    house.start()
    request = transcription.Request(
        model=f"whisper:{model}",
        language="en",
        word_times=False,
        max_tokens=TOKENS,
        guards=False,
        again=True,
    )

    def run() -> dict[str, Any]:
        with audio.open("rb") as file:
            submitted = house.submit(audio.name, iter(lambda: file.read(1 << 20), b""), request)
        job = house.wait(submitted.job.id)
        assert job.state == "completed", job.failure
        found = house.transcript(job.id)
        assert found is not None
        tokens = sum(len(segment.tokens) for segment in found[1]())
        heard = progress.progress(house.database, job.id).windows
        return {"windows": heard, "tokens": tokens, "batch": able.batch, "lanes": able.lanes}

    return run


# ── taking turns ─────────────────────────────────────────────────────────────────────────────


class Listener:
    """An alternative in a process of its own: nothing it sets or leaves behind touches another."""

    def __init__(self, make: Callable[..., Run], *args: Any, **options: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, args, options))
        self._process.start()
        self._pipe.recv()
        self.said: dict[str, Any] = {}
        self._busy: list[float] = []

    def __call__(self) -> None:
        """One run, start to end."""
        self._pipe.send("run")
        self.said, busy = self._pipe.recv()
        self._busy.append(busy)

    def busy(self) -> float:
        """Processor seconds of a run, all threads together; the first run is a warm-up.

        On a machine that others use too, this is the steadier measure.
        """
        return statistics.median(self._busy[1:])

    def end(self) -> None:
        """Let the process go."""
        self._pipe.send("end")
        self._process.join()


def _serve(
    pipe: Connection, make: Callable[..., Run], args: tuple[Any, ...], options: dict[str, Any]
) -> None:
    run = make(*args, **options)
    pipe.send("ready")
    while pipe.recv() == "run":
        begun = time.process_time()
        said = run()
        pipe.send((said, time.process_time() - begun))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--batches", default="4,8,16", help="the batch sizes batched mode tries")
    parser.add_argument("--batch", type=int, help="our batch; the engine chooses when left out")
    parser.add_argument("--pages", action="store_true", help="peers with our allocator setting too")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = random_whisper.write(Path(scratch) / "tiny")
        audio = Path(scratch) / "speech.mp3"
        recording(audio, asked.seconds)
        common = (model, audio, asked.beam)
        listeners = {"sequential": Listener(faster_whisper, *common)}
        listeners["sequential, VAD"] = Listener(faster_whisper, *common, vad=True)
        for size in asked.batches.split(","):
            listeners[f"batched {size}"] = Listener(faster_whisper, *common, batch=int(size))
        if asked.pages:
            listeners["sequential + pages"] = Listener(faster_whisper, *common, pages=True)
            for size in asked.batches.split(","):
                listeners[f"batched {size} + pages"] = Listener(
                    faster_whisper, *common, batch=int(size), pages=True
                )
        listeners["ours"] = Listener(ours, *common, batch=asked.batch)
        seconds = rig.side_by_side(listeners, rounds=asked.rounds)
        for listener in listeners.values():
            listener.end()
    _show(listeners, seconds, asked)


def _show(
    listeners: dict[str, Listener], seconds: dict[str, list[float]], asked: argparse.Namespace
) -> None:
    medians = {name: float(np.median(taken)) for name, taken in seconds.items()}
    ratios = {
        name: round(rig.speedup(seconds, peer=name, ours="ours"), 2)
        for name in seconds
        if name != "ours"
    }
    for name, listener in listeners.items():
        said = listener.said
        print(
            f"{name:<24} {medians[name]:7.2f} s wall  {listener.busy():7.2f} s of processor"
            f"  {asked.seconds / medians[name]:5.0f} x real time  {said['windows']} windows"
            f"  {said['tokens']} tokens  {ratios.get(name, '')}"
        )
    batched = [name for name in medians if name.startswith("batched") and "+" not in name]
    best = min(batched, key=medians.__getitem__)
    rig.report(
        "whisper",
        {
            "beam": asked.beam,
            "seconds": {name: round(value, 3) for name, value in medians.items()},
            "processor_seconds": {name: round(one.busy(), 3) for name, one in listeners.items()},
            "ratios": ratios,
            "against_sequential": ratios["sequential"],
            "against_batched": ratios[best],
            "best_batched": best,
            "heard": {name: listener.said for name, listener in listeners.items()},
        },
    )


if __name__ == "__main__":
    main()
