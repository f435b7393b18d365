"""Peak memory above the loaded model, for recordings of 10 minutes, 1 hour and 10 hours.

    python bench/memory.py [--minutes 10,60,600] [--tokens 24] [--engines instant,whisper]

Each length runs in a process of its own: load the model, reset the kernel's high-water mark, take
the recording in, prepare, transcribe, join, and write it in every text format. Target: the peak
grows by less than 10 % from the shortest to the longest.

``instant`` is an engine that answers at once with four words a second: what it leaves is the
memory of Hansard itself. ``whisper`` is a random whisper-tiny, whose lanes take and free buffers
of some 50 MB in turn; its peak is that of the worst coincidence, which takes some minutes to come.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import random_whisper
import rig
import speech

from hansard.errors import NotSupported
from hansard.model import Utterance, WindowResult, Word
from hansard.speech.engine import Capabilities, Samples, SpeechOptions

FORMATS = ("txt", "md", "json", "verbose_json", "srt", "vtt", "tsv", "csv", "ttml", "ctm", "docx")


def status(field: str) -> int:
    """A figure of this process in bytes: ``VmRSS`` now, ``VmHWM`` the peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


class Instant:
    """Answers at once: four words a second of whatever it is given."""

    name, model = "sphinx", "en-us"
    capabilities = Capabilities(
        languages=("en",),
        detects_language=False,
        word_times=True,
        translation=False,
        prompts=False,
        hotwords=False,
        window_seconds=12.0,
        batch=1,
        lanes=2,
        device="cpu",
    )

    def transcribe(self, batch: Sequence[Samples], options: SpeechOptions) -> list[WindowResult]:
        return [self._hear(len(window) / speech.RATE) for window in batch]

    @staticmethod
    def _hear(seconds: float) -> WindowResult:
        words = tuple(Word(n / 4, n / 4 + 0.2, f"word{n}", 0.9) for n in range(int(seconds * 4)))
        text = " ".join(word.text for word in words)
        return WindowResult((Utterance(0.0, seconds, text, words),), language="en")

    def detect_language(self, window: Samples) -> tuple[str, float]:
        raise NotSupported("It has one language.")

    def close(self) -> None: ...


def child(path: Path, folder: Path, model: Path | None, tokens: int) -> None:
    """One length, in this process; prints its figures."""
    from hansard import formats, transcription
    from hansard.config import Settings
    from hansard.speech.lease import Models
    from hansard.wiring import House

    name = "sphinx" if model is None else f"whisper:{model}"
    request = transcription.Request(
        model=name,
        language="en",
        guards=False,
        max_tokens=None if model is None else tokens,
        word_times=model is None,
    )
    with House(Settings(data=folder, model_idle=3600)) as house:
        if model is None:
            house._models = Models(house.settings, load=lambda *_: Instant())
        with house.models.lease(
            *(("sphinx", "en-us") if model is None else ("whisper", str(model)))
        ):
            # What every run loads once, long or short, is not the recording's.
            house.submit("sample.ogg", iter([speech.SAMPLE.read_bytes()]), request)
            house.start()
            loaded = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        begun = time.perf_counter()
        with path.open("rb") as file:
            submitted = house.submit(path.name, iter(lambda: file.read(1 << 20), b""), request)
        job = house.wait(submitted.job.id)
        assert job.state == "completed", job.failure
        transcribed = status("VmHWM")
        found = house.transcript(job.id)
        assert found is not None
        for name in FORMATS:
            formats.save(folder / f"out{formats.get(name).extension}", name, *found)
        assert job.prepared is not None
        print(
            json.dumps(
                {
                    "audio": job.prepared.samples / 16_000,
                    "loaded": loaded,
                    "above": transcribed - loaded,
                    "above_with_formats": status("VmHWM") - loaded,
                    "seconds": round(time.perf_counter() - begun, 2),
                }
            )
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", default="10,60,600")
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--engines", default="instant,whisper")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        path, data, model = map(Path, given.child)
        child(path, data, None if model.name == "instant" else model, given.tokens)
        return
    figures: dict[str, Any] = {"target": 1.10}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        lengths = [float(length) for length in given.minutes.split(",")]
        for engine in given.engines.split(","):
            model = folder / engine
            if engine == "whisper":
                random_whisper.write(model)
            found = {}
            for length in lengths:
                path = speech.long_mp3(folder, length)
                data = folder / f"data-{engine}-{length:g}"
                one = found[f"{length:g} min"] = measured(path, data, model, given.tokens)
                print(
                    f"  {engine:<8} {length:>5g} min: {one['above'] / 1e6:6.1f} MB above "
                    f"{one['loaded'] / 1e6:.0f}, with all formats "
                    f"{one['above_with_formats'] / 1e6:.1f} MB, {one['seconds']} s",
                    flush=True,
                )
            growth = [one["loaded"] + one["above_with_formats"] for one in (*found.values(),)]
            above = [one["above_with_formats"] for one in found.values()]
            figures[engine] = {
                **found,
                "growth_above_the_model": round(above[-1] / above[0], 3),
                "growth_of_the_process": round(growth[-1] / growth[0], 3),
            }
    rig.report("memory", figures)


def measured(path: Path, data: Path, model: Path, tokens: int) -> dict[str, Any]:
    """The figures of one length, from a process of its own."""
    done = subprocess.run(
        [
            *(sys.executable, __file__, "--tokens", str(tokens)),
            *("--child", str(path), str(data), str(model)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


if __name__ == "__main__":
    main()
