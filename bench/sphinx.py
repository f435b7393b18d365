"""Ten minutes of a meeting, from file to text: the engine ``sphinx`` against plain PocketSphinx.

    python bench/sphinx.py [--minutes 10] [--rounds 1] [--processes 2]

The peer is PocketSphinx as its documentation shows it: one ``Decoder`` with its defaults, fed the
whole recording. Ours is the whole durable path, with as many processes as asked for. Both have
their model loaded when the clock starts, and both are judged by their words. Two meetings are
heard, one with natural pauses and one in which nobody speaks 30 % of the time; they are improvised
with flite (``samples/make_meeting.py``), or, where there is none, the sample meeting's sentences in
turn. Where real recordings with references lie in ``HANSARD_TEST_DATA`` (or in ``shared/data``
beside the checkout), the words both get wrong in them are counted too.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import rig
from numpy.typing import NDArray

from hansard.audio.decode import blocks
from hansard.machine import SphinxSettings
from hansard.model import SAMPLE_RATE
from hansard.speech.accuracy import Errors, word_errors
from hansard.speech.engine import SpeechOptions

sys.path.insert(0, str(rig.ROOT / "samples"))
import script
import voices

Samples = NDArray[np.int16]


# ── what is heard ────────────────────────────────────────────────────────────────────────────


def meeting(minutes: float, silence: float | None) -> tuple[Samples, str]:
    """A recording of about ``minutes`` and what is said in it."""
    seconds = minutes * 60
    if voices.available():
        pcm, said = voices.record(script.improvise(7), seed=7, seconds=seconds, silence=silence)
        return pcm, said.text
    print("There is no flite here: the sample meeting is repeated.")
    return repeated(seconds, silence or 0.1)


def repeated(seconds: float, silence: float) -> tuple[Samples, str]:
    """The sample's sentences again and again, each followed by room noise."""
    reference = voices.read(rig.ROOT / "samples" / "meeting.json")
    pcm = prepared(rig.ROOT / "samples" / "meeting.ogg")
    parts: list[Samples] = []
    texts: list[str] = []
    samples = 0
    while samples < seconds * SAMPLE_RATE:
        for sentence in reference.sentences:
            spoken = pcm[round(sentence.start * SAMPLE_RATE) : round(sentence.end * SAMPLE_RATE)]
            pause = round(len(spoken) * silence / (1 - silence))
            quiet = (voices.room(pause, len(texts)) * 32767).astype(np.int16)
            parts += [spoken, quiet]
            texts.append(sentence.text)
            samples += len(spoken) + pause
    return np.concatenate(parts), " ".join(texts)


def prepared(path: Path) -> Samples:
    """A whole file as 16 kHz mono."""
    return np.concatenate([block[0] for block in blocks(path)])


# ── the two ──────────────────────────────────────────────────────────────────────────────────


class Peer:
    """PocketSphinx over the whole file, in this process; a fresh decoder for each recording.

    A decoder carries its estimate of the channel from one recording to the next: a used one
    hears these worse. Making it is not timed.
    """

    def __init__(self) -> None:
        self._decoder = self._made()

    @staticmethod
    def _made() -> Any:
        from pocketsphinx import Decoder

        return Decoder(loglevel="FATAL")

    def __call__(self, path: Path) -> str:
        """What it heard, without its marks for silence and noise."""
        pcm = prepared(path)
        self._decoder.start_utt()
        self._decoder.process_raw(pcm.tobytes(), full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        words = hypothesis.hypstr.split() if hypothesis else []
        return " ".join(word.partition("(")[0] for word in words if word[0] not in "<[+")

    def renew(self) -> None:
        """A decoder that has heard nothing."""
        self._decoder = self._made()


class Ours:
    """Hansard as it is: take in, preflight, a durable job, windows, joining; models loaded."""

    def __init__(self, processes: int, data: Path) -> None:
        from hansard.config import Settings
        from hansard.wiring import House

        self._house = House(
            Settings(data=data, model_idle=3600, sphinx=SphinxSettings(processes=processes))
        )
        noise = np.random.default_rng(1).normal(0, 300, SAMPLE_RATE).astype(np.int16)
        with (
            self._house.models.lease("sphinx", "en-us") as engine,
            ThreadPoolExecutor(processes) as pool,  # loads the model in each process
        ):
            options = SpeechOptions()
            list(pool.map(lambda w: engine.transcribe([w], options), [noise] * processes))
        self._house.start()

    def close(self) -> None:
        """End the processes."""
        self._house.close()

    def __call__(self, path: Path) -> str:
        """The text of all segments."""
        from hansard.transcription import Request

        with path.open("rb") as file:
            chunks = iter(lambda: file.read(1 << 20), b"")
            submitted = self._house.submit(path.name, chunks, Request(model="sphinx", again=True))
        job = self._house.wait(submitted.job.id)
        found = self._house.transcript(job.id)
        assert found is not None, job.failure
        return " ".join(segment.text for segment in found[1]())


# ── the measure ──────────────────────────────────────────────────────────────────────────────


def race(path: Path, said: str, peer: Peer, ours: Ours, rounds: int) -> dict[str, Any]:
    """Both over one recording: words wrong and how many times faster we are."""
    words: dict[str, str] = {}
    peer.renew()
    seconds = rig.side_by_side(
        {
            "pocketsphinx": lambda: words.update(peer=peer(path)),
            "ours": lambda: words.update(ours=ours(path)),
        },
        rounds=rounds,
        warmup=0,
    )
    return {
        "wer_peer": round(word_errors(said, words["peer"]).rate, 4),
        "wer_ours": round(word_errors(said, words["ours"]).rate, 4),
        "seconds_peer": [round(s, 2) for s in seconds["pocketsphinx"]],
        "seconds_ours": [round(s, 2) for s in seconds["ours"]],
        "speedup": round(rig.speedup(seconds, peer="pocketsphinx", ours="ours"), 3),
    }


def real(peer: Peer, ours: Ours) -> dict[str, Any]:
    """Words wrong in real recordings, each heard by itself; empty where there are none."""
    given = os.environ.get("HANSARD_TEST_DATA")
    place = (Path(given) if given else rig.ROOT.parent / "shared" / "data") / "speech"
    if not (place / "references.tsv").is_file():
        return {}
    theirs = mine = Errors(0, 0, 0, 0)
    for line in (place / "references.tsv").read_text().splitlines():
        name, said = line.split("\t")
        peer.renew()
        theirs += word_errors(said, peer(place / name))
        mine += word_errors(said, ours(place / name))
    return {
        "words": theirs.reference,
        "wer_peer": round(theirs.rate, 4),
        "wer_ours": round(mine.rate, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    figures: dict[str, Any] = {"minutes": chosen.minutes, "processes": chosen.processes}
    peer = Peer()
    with tempfile.TemporaryDirectory() as directory:
        ours = Ours(chosen.processes, Path(directory) / "data")
        try:
            for name, silence in (("natural pauses", None), ("30 % silence", 0.3)):
                pcm, said = meeting(chosen.minutes, silence)
                path = Path(directory) / "meeting.flac"
                voices.write(pcm, path)
                print(f"{name}: {len(pcm) / SAMPLE_RATE:.0f} s, {len(said.split())} words")
                figures[name] = race(path, said, peer, ours, chosen.rounds)
                print(f"  {figures[name]}")
            figures["real speech"] = real(peer, ours)
        finally:
            ours.close()
    rig.report("sphinx", figures)


if __name__ == "__main__":
    main()
