"""Peak memory above the loaded model, for recordings of 10 minutes, 1 hour and 10 hours.

    python bench/memory.py [--minutes 10,60,600] [--tokens 24]

Each length runs in a process of its own: load a random whisper-tiny, reset the kernel's high-water
mark, take the recording in, prepare, transcribe, join, and write it in every text format. Target:
the peak grows by less than 10 % from the shortest to the longest.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import random_whisper
import rig
import speech

FORMATS = ("txt", "md", "json", "verbose_json", "srt", "vtt", "tsv", "csv", "ttml", "ctm", "docx")


def status(field: str) -> int:
    """A figure of this process in bytes: ``VmRSS`` now, ``VmHWM`` the peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def child(path: Path, folder: Path, model: Path, tokens: int) -> None:
    """One length, in this process; prints its figures."""
    from hansard import formats, transcription
    from hansard.config import Settings
    from hansard.wiring import House

    request = transcription.Request(
        model=f"whisper:{model}", language="en", guards=False, max_tokens=tokens, word_times=False
    )
    with House(Settings(data=folder, model_idle=3600)) as house:
        with house.models.lease("whisper", str(model)):
            loaded = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        begun = time.perf_counter()
        with path.open("rb") as file:
            submitted = house.submit(path.name, iter(lambda: file.read(1 << 20), b""), request)
        assert submitted.job.options.model == str(model), submitted.job.options
        house.start()
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
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        path, data, model = map(Path, given.child)
        child(path, data, model, given.tokens)
        return
    figures: dict[str, Any] = {"target": 1.10}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = random_whisper.write(folder / "model")
        for length in map(float, given.minutes.split(",")):
            path = speech.long_mp3(folder, length)
            done = subprocess.run(
                [
                    *(sys.executable, __file__, "--tokens", str(given.tokens)),
                    *("--child", str(path), str(folder / f"data-{length:g}"), str(model)),
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise SystemExit(done.stderr)
            one = json.loads(done.stdout.splitlines()[-1])
            figures[f"{length:g} min"] = one
            print(
                f"  {length:>5g} min: {one['above'] / 1e6:7.1f} MB above {one['loaded'] / 1e6:.0f},"
                f" with formats {one['above_with_formats'] / 1e6:.1f} MB, {one['seconds']} s"
            )
    lengths = [value for key, value in figures.items() if key.endswith(" min")]
    figures["growth"] = round(lengths[-1]["above"] / lengths[0]["above"], 3)
    figures["growth_with_formats"] = round(
        lengths[-1]["above_with_formats"] / lengths[0]["above_with_formats"], 3
    )
    rig.report("memory", figures)


if __name__ == "__main__":
    main()
