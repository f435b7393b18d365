"""Make the longer meetings of several voices. Needs flite, and espeakng-loader from PyPI.

python samples/make_voices.py -o DIR              # DIR/{three,five,eight}.{flac,rttm}
python samples/make_voices.py three -o DIR
python samples/make_voices.py --seed 7 -o DIR     # the same people say other things
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import speakers
import voices


def main(arguments: list[str] | None = None) -> int:
    """Write recordings and who speaks when; the exit code is 0, or 5 without a voice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    names = [plan.name for plan in speakers.PLANS]
    parser.add_argument("names", nargs="*", help=f"which of {', '.join(names)}; all if none")
    parser.add_argument("--seed", type=int, default=0, help="added to the seeds of the meetings")
    parser.add_argument("-o", "--output", type=Path, required=True, help="directory")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.names) - set(names):
        parser.error(f"there is no meeting {min(unknown)}")
    chosen.output.mkdir(parents=True, exist_ok=True)
    for plan in speakers.PLANS:
        if chosen.names and plan.name not in chosen.names:
            continue
        try:
            pcm, meeting = speakers.made(plan._replace(seed=plan.seed + chosen.seed))
        except (voices.FliteMissing, speakers.EspeakMissing) as missing:
            print(missing, file=sys.stderr)
            return 5
        voices.write(pcm, chosen.output / f"{plan.name}.flac")
        (chosen.output / f"{plan.name}.rttm").write_text(
            "".join(
                f"SPEAKER {plan.name} 1 {one.start:.3f} {one.end - one.start:.3f} "
                f"<NA> <NA> {one.speaker} <NA> <NA>\n"
                for one in meeting.sentences
            )
        )
        print(f"{chosen.output / plan.name}.flac: {meeting.seconds:.1f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
