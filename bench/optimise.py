"""Whether `hansard optimise` repairs a bad profile, and what it finds beside what is built in.

    python bench/optimise.py [--minutes 1.5] [--engine sphinx|whisper] [FILE]

Twice over the same recording: from a profile that is bad on purpose (one process, or one lane of
one window), which it must repair; and from none, where it must either be faster or prove by the
interval that it is not. Whisper has random weights of the real size (`bench/random_whisper.py`).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import random_whisper
import rig

from hansard import tuned
from hansard.config import load
from hansard.perf import optimisation

BAD: dict[str, dict[str, Any]] = {
    "sphinx": {"sphinx.processes": 1},
    "whisper": {
        "whisper.models.tiny.lanes": 1,
        "whisper.models.tiny.threads": 1,
        "whisper.models.tiny.batch": 1,
    },
}


def once(data: Path, engine: str, minutes: float, files: list[Path]) -> optimisation.Report:
    plain = load(data=data, tuned=False, offline=True)
    return optimisation.run(
        plain,
        files,
        minutes=minutes,
        components=("stt",),
        model="sphinx" if engine == "sphinx" else "tiny",
        say=lambda line: print(f"  {line}", flush=True),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.5)
    parser.add_argument("--engine", choices=tuple(BAD), default="sphinx")
    parser.add_argument("file", nargs="*", type=Path)
    given = parser.parse_args()
    optimisation._SAMPLE_SECONDS = 45.0
    os.environ["HANSARD_WHISPER__BEAM_SIZE"] = "1"  # random words take long to search for
    figures: dict[str, Any] = {"engine": given.engine}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        if given.engine == "whisper":
            place = data / "models" / "whisper" / "tiny"
            place.parent.mkdir(parents=True)
            random_whisper.write(place, manner=random_whisper.TALKATIVE)
        for start in ("bad", "none"):
            print(f"from {start}")
            if start == "bad":
                wrong = BAD[given.engine]
                tuned.write(data, tuned.Profile(tuned.here(), given.engine, "", (), wrong))
            else:
                (data / tuned.FILE).unlink(missing_ok=True)
            report = once(data, given.engine, given.minutes, given.file)
            figures[start] = msgspec.to_builtins(report.outcomes[0])
    assert figures["bad"]["after"] != BAD[given.engine], "the bad profile was not repaired"
    rig.report("optimise", figures)


if __name__ == "__main__":
    main()
