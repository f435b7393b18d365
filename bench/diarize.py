"""Who spoke when: error rate, overlap, speakers, speed and memory, beside the simplest answer.

    python bench/diarize.py [--folder DIR] [--seed 0] [--hours 10] [--only sample three …]

The simplest answer is one speaker wherever our own speech detection hears somebody. Recordings: AMI
extracts (``HANSARD_TEST_DATA`` or ``../shared/data``; left out where there are none), the sample
meeting, and the three made by ``samples/make_voices.py`` (kept in ``--folder`` and made there
where they are missing; a temporary one by default). pyannote runs beside where it is installed.

Overlap is where several speak: precision and recall of the marked stretches, by time.
Speed is processor time of this process over the length of the audio, decoding left out. Memory is
the peak of a process of its own that hears ten minutes, and of one that hears ``--hours``.
At last, every made voice is looked for in the other made meetings by what is remembered of it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rig import report
from speech import SAMPLE, minutes
from vad import decoded

from hansard.audio.vad import find_speech
from hansard.config import SpeakerSettings, VadSettings
from hansard.model import SAMPLE_RATE
from hansard.speakers import pyannote, voices
from hansard.speakers.diarizer import Diarization, Diarizer, Turn, overlaps
from hansard.speakers.embedded import Embedded
from hansard.speakers.error_rate import Faults, assignment, faults
from hansard.speakers.rttm import read

ROOT = Path(__file__).resolve().parents[1]
BLOCK = 20 * SAMPLE_RATE
MADE = ("three", "five", "eight")


class Case(NamedTuple):
    """A recording and who speaks when in it."""

    name: str
    kind: str
    audio: NDArray[np.int16]
    truth: list[Turn]


def blocks(audio: NDArray[np.int16]) -> Iterator[NDArray[np.int16]]:
    for start in range(0, len(audio), BLOCK):
        yield audio[start : start + BLOCK]


def simplest(audio: NDArray[np.int16]) -> list[Turn]:
    spans = find_speech(blocks(audio), VadSettings.model_validate({}))
    return [Turn(span.start / SAMPLE_RATE, span.end / SAMPLE_RATE, "S1") for span in spans]


def cases(folder: Path, seed: int) -> Iterator[Case]:
    given = os.environ.get("HANSARD_TEST_DATA")
    meetings = (Path(given) if given else ROOT.parent / "shared" / "data") / "meetings"
    for labels in sorted(meetings.glob("*.rttm")):
        sound = labels.with_suffix(".flac")
        yield Case(labels.stem, "ami", decoded(sound), read(labels.read_text().splitlines()))
    sys.path.insert(0, str(ROOT / "samples"))
    import voices as speaking

    said = speaking.read(SAMPLE.with_suffix(".json")).sentences
    truth = [Turn(one.start, one.end, one.speaker) for one in said]
    yield Case("sample", "sample", decoded(SAMPLE), truth)
    if not all((folder / f"{name}.rttm").exists() for name in MADE):
        script = str(ROOT / "samples" / "make_voices.py")
        subprocess.run([sys.executable, script, "--seed", str(seed), "-o", str(folder)], check=True)
    for name in MADE:
        lines = (folder / f"{name}.rttm").read_text().splitlines()
        yield Case(name, "made", decoded(folder / f"{name}.flac"), read(lines))


def judged(case: Case, turns: Any) -> dict[str, float]:
    return {
        "der": round(100 * faults(case.truth, turns).rate, 1),
        "der_collar": round(100 * faults(case.truth, turns, collar=0.25).rate, 1),
    }


def overlap_found(truth: list[Turn], answer: Diarization) -> dict[str, float | None]:
    """Of what is marked as overlap, how much is; of what is, how much is marked; in time."""
    there, marked = overlaps(truth), answer.overlap
    both = sum(
        max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
        for a in there for b in marked
    )  # fmt: skip
    length, found = (sum(end - start for start, end in one) for one in (there, marked))
    return {
        "seconds": round(length, 1),
        "marked": round(found, 1),
        "precision": round(both / found, 2) if found else None,
        "recall": round(both / length, 2) if length else None,
    }


def timed(diarizer: Diarizer, audio: NDArray[np.int16]) -> tuple[Diarization, float]:
    begun = time.process_time()
    answer = diarizer.diarize(blocks(audio))
    return answer, (time.process_time() - begun) / (len(audio) / SAMPLE_RATE)


def heard_for(hours: float) -> dict[str, float]:
    """Peak memory, speakers and speed of a process that hears the sample meeting for so long."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import diarize; "
        "diarize.hear(float(sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "bench"), str(hours)],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def hear(hours: float) -> None:
    """Hear the sample meeting again and again, at levels that change; print what it took."""
    once = minutes(10)
    rounds = round(hours * 6)
    begun = time.process_time()
    answer = Embedded().diarize(
        block for turn in range(rounds) for block in blocks(once // (1 + turn % 2))
    )
    taken = (time.process_time() - begun) / (hours * 3600)
    # Not ru_maxrss: that begins with the peak of the process that started this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    found = {
        "mb": round(int(status["VmHWM"].split()[0]) / 1024),
        "speakers": len(answer.voices),
        "real_time": round(taken, 4),
    }
    print(json.dumps(found))


def recognised(heard: list[tuple[Case, Diarization]]) -> dict[str, int]:
    """Voices of each made meeting, looked for among those remembered from one other."""
    sys.path.insert(0, str(ROOT / "samples"))
    from speakers import PLANS

    who = {p.name: {person.name: person.voice for person in p.people} for p in PLANS}
    counts = {"right": 0, "missed": 0, "wrong": 0, "strangers_left_open": 0, "strangers_named": 0}
    for case, answer in heard:
        for other, remembered in heard:
            if other.name == case.name:
                continue
            names = {
                label: name for name, label in assignment(other.truth, remembered.turns).items()
            }
            known = [
                voices.KnownVoice(who[other.name][names[v.label]], v.vector, v.seconds, v.kind)
                for v in remembered.voices
                if v.label in names
            ]
            there = {voice.name for voice in known}
            said = {p.label: p.name for p in voices.proposals(answer.voices, known)}
            for name, label in assignment(case.truth, answer.turns).items():
                voice = who[case.name][name]
                if voice in there:
                    outcome = "missed" if label not in said else "wrong"
                    counts["right" if said.get(label) == voice else outcome] += 1
                else:
                    counts["strangers_named" if label in said else "strangers_left_open"] += 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, help="where made meetings are kept")
    parser.add_argument("--seed", type=int, default=0, help="of what is said in them")
    parser.add_argument("--hours", type=float, default=0.0, help="of the test of memory; 0: none")
    parser.add_argument("--only", nargs="*", default=(), help="names or kinds of recordings")
    asked = parser.parse_args()

    beside = pyannote.Pyannote(SpeakerSettings()) if pyannote.installed() else None
    results: dict[str, Any] = {}
    pooled = {"simplest": Faults(0, 0, 0, 0), "ours": Faults(0, 0, 0, 0)}
    heard: list[tuple[Case, Diarization]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for case in cases(asked.folder or Path(temporary), asked.seed):
            if asked.only and not {case.name, case.kind} & set(asked.only):
                continue
            answer, factor = timed(Embedded(), case.audio)
            alone = simplest(case.audio)
            row: dict[str, Any] = {
                "seconds": round(len(case.audio) / SAMPLE_RATE),
                "speakers": [len(answer.voices), len({turn.speaker for turn in case.truth})],
                "ours": judged(case, answer.turns),
                "simplest": judged(case, alone),
                "overlap": overlap_found(case.truth, answer),
                "real_time": round(factor, 4),
            }
            if beside is not None:
                theirs, slower = timed(beside, case.audio)
                row["pyannote"] = judged(case, theirs.turns) | {"real_time": round(slower, 4)}
            if case.kind == "ami":
                pooled["ours"] += faults(case.truth, answer.turns)
                pooled["simplest"] += faults(case.truth, alone)
            if case.kind == "made":
                heard.append((case, answer))
            print(case.name, row, flush=True)
            results[case.name] = row
    summary: dict[str, Any] = {"recordings": results, "pyannote": beside is not None}
    if pooled["ours"].speech:
        summary["ami_pooled"] = {name: round(100 * one.rate, 1) for name, one in pooled.items()}
    if len(heard) > 1:
        summary["voices"] = recognised(heard)
    if asked.hours:
        summary["long"] = {
            "ten_minutes": heard_for(1 / 6),
            f"{asked.hours:g}_hours": heard_for(asked.hours),
        }
    report("diarize", summary)


if __name__ == "__main__":
    main()
