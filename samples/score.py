"""Say how wrong a transcript is: the word error rate against what was really said.

    python samples/score.py samples/meeting.json transcript.json

The first file is a reference as ``make_meeting.py`` writes it, the second a transcript in
Hansard's own JSON. ``hansard.speech.accuracy`` says how words are compared.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hansard.speech.accuracy import word_errors


def main(arguments: list[str] | None = None) -> int:
    """Print one line; the exit code is 0 whatever the rate is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("reference", type=Path, help="JSON with `sentences`")
    parser.add_argument("transcript", type=Path, help="JSON with `segments`")
    chosen = parser.parse_args(arguments)
    said = json.loads(chosen.reference.read_text("utf-8"))["sentences"]
    heard = json.loads(chosen.transcript.read_text("utf-8"))["segments"]
    errors = word_errors(
        " ".join(sentence["text"] for sentence in said),
        " ".join(segment["text"] for segment in heard),
    )
    print(
        f"Word error rate {errors.rate:.1%}: of {errors.reference} words said, "
        f"{errors.substitutions} were heard as others and {errors.deletions} not at all; "
        f"{errors.insertions} were heard that nobody said."
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
