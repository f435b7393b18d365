"""The longer meetings of several voices are what they say, as far as that takes no speaking."""

from __future__ import annotations

import random
import subprocess
import sys
from itertools import islice, pairwise
from pathlib import Path

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
sys.path.insert(0, str(SAMPLES))

import speakers  # noqa: E402  # a script's neighbour, not a package


def test_there_are_three_five_and_eight_people_in_ten_to_thirty_minutes() -> None:
    assert [len(set(plan.people)) for plan in speakers.PLANS] == [3, 5, 8]
    assert all(10 <= plan.minutes <= 30 for plan in speakers.PLANS)
    for plan in speakers.PLANS:
        assert len({person.voice for person in plan.people}) == len(plan.people)


def test_everybody_speaks_and_nobody_twice_in_a_row() -> None:
    people = speakers.PLANS[-1].people
    said = list(islice(speakers.turns(people, random.Random(3)), 60))
    assert [person for person, _ in said[: len(people)]] == list(people)
    assert all(before != after for (before, _), (after, _) in pairwise(said))
    assert all(1 <= len(texts) <= 5 for _, texts in said)


def test_people_talk_over_each_other_where_the_truth_says_so() -> None:
    people = (speakers.FIONA, speakers.BORIS)
    plan = speakers.Plan("short", people, 0.3, 2, -55, -70, 0.2, 3.0, 1.0, 0.5)
    pcm, meeting = speakers.made(plan)
    assert meeting.seconds == round(len(pcm) / 16_000, 3)
    assert {one.speaker for one in meeting.sentences} == {"Fiona", "Boris"}
    over = [(a, b) for a, b in pairwise(meeting.sentences) if b.start < a.end]
    assert over
    assert all(a.speaker != b.speaker for a, b in over)


def test_without_a_voice_it_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SAMPLES / "make_voices.py"), "three", "-o", str(tmp_path / "out")],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5
    assert "apt install flite" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []
