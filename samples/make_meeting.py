"""Make the sample meeting again, or another one of any length. Needs flite.

python samples/make_meeting.py                              # samples/meeting.{ogg,json}
python samples/make_meeting.py --minutes 10 --seed 7 -o DIR # DIR/meeting.{flac,json}
python samples/make_meeting.py --minutes 10 --silence 0.3 -o DIR
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec
import voices
from script import MEETING, improvise

HERE = Path(__file__).resolve().parent


def main(arguments: list[str] | None = None) -> int:
    """Write a recording and its reference; the exit code is 0, or 5 without flite."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, help="improvise this long instead of the script")
    parser.add_argument("--seed", type=int, default=2, help="of words, pauses and noise (2)")
    parser.add_argument("--silence", type=float, help="share of the time nobody speaks, 0 to 1")
    parser.add_argument("-o", "--output", type=Path, default=HERE, help="directory (samples/)")
    parser.add_argument("--format", choices=("ogg", "flac"), help="ogg for the script, else flac")
    chosen = parser.parse_args(arguments)
    if chosen.silence is not None and not 0 < chosen.silence < 1:
        parser.error("--silence is a share between 0 and 1")
    turns = MEETING if chosen.minutes is None else improvise(chosen.seed)
    seconds = None if chosen.minutes is None else chosen.minutes * 60
    try:
        pcm, meeting = voices.record(
            turns, seed=chosen.seed, seconds=seconds, silence=chosen.silence
        )
    except voices.FliteMissing as missing:
        print(missing, file=sys.stderr)
        return 5
    suffix = chosen.format or ("ogg" if chosen.minutes is None else "flac")
    chosen.output.mkdir(parents=True, exist_ok=True)
    audio = chosen.output / f"meeting.{suffix}"
    voices.write(pcm, audio)
    reference = msgspec.json.format(msgspec.json.encode(meeting), indent=1)
    (chosen.output / "meeting.json").write_bytes(reference + b"\n")
    words = len(meeting.text.split())
    print(f"{audio}: {meeting.seconds:.1f} s, {words} words, {audio.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
