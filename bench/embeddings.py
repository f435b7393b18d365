"""Vectors of meetings by the embedded embedder, beside scikit-learn's as it comes.

    python bench/embeddings.py [--meetings 100] [--passages 100000] [--rounds 5]

A library of made-up one-hour meetings (9 000 words each, from a Zipf-like vocabulary of 40 000
words and one of 40 subjects each) is fitted and embedded; so is one more meeting. The peer is
``TfidfVectorizer`` and ``TruncatedSVD`` with their defaults and as many components: the same
method without stemming, without words that are new, and without being kept. Both are asked the
same: of the ten nearest passages to twelve words of a passage, how many are about its subject.

Then the whole way through an SQLite store (cut, embed, keep; fit and make all vectors anew), and
the nearest of many passages, in memory, read from the store, and streamed from it.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rig import report, side_by_side, speedup

from hansard.config import EmbeddingSettings
from hansard.model import Segment, Transcript
from hansard.search import lsa, passages, stems
from hansard.search.fitting import Embedders
from hansard.search.passages import Passage
from hansard.search.vectors import Vectors, keep
from hansard.store import transcripts
from hansard.store.ids import first_id
from hansard.store.sqlite import Sqlite
from hansard.store.tables import embedders, jobs, meetings, recordings

WORDS_AN_HOUR = 9_000
SUBJECTS = 40
ENDINGS = ("", "", "", "s", "ing", "ed", "er", "ly", "ment", "ation")


def vocabulary(size: int) -> list[str]:
    """Words that look like English enough for its stemmer to have work."""
    chance = random.Random(1)
    made: set[str] = set()
    while len(made) < size:
        stem = "".join(
            chance.choice("bcdfghjklmnprstvw") + chance.choice("aeiou")
            for _ in range(chance.randint(2, 4))
        )
        made.add(stem + chance.choice(ENDINGS))
    return sorted(made, key=lambda word: (len(word) + chance.random() * 6, word))


class Talk:
    """Meetings of a subject each: a third of their words is from its own few hundred."""

    def __init__(self) -> None:
        self.words = vocabulary(40_000)
        ranks = np.arange(1, len(self.words) + 1)
        self.common = (1 / (ranks + 2.7)) / (1 / (ranks + 2.7)).sum()
        chance = np.random.default_rng(2)
        self.own = [chance.choice(len(self.words), 400, replace=False) for _ in range(SUBJECTS)]

    def meeting(self, number: int) -> list[Segment]:
        """Segments of twelve words, five to a turn."""
        chance = np.random.default_rng(1000 + number)
        own = self.own[number % SUBJECTS]
        plain = chance.choice(len(self.words), WORDS_AN_HOUR, p=self.common)
        topic = own[np.minimum(chance.geometric(0.02, WORDS_AN_HOUR) - 1, len(own) - 1)]
        chosen = np.where(chance.random(WORDS_AN_HOUR) < 0.33, topic, plain)
        return [
            Segment(
                at * 0.4,
                at * 0.4 + 4.6,
                " ".join(self.words[word] for word in chosen[at : at + 12]),
                speaker=f"S{at // 60 % 3 + 1}",
            )
            for at in range(0, WORDS_AN_HOUR, 12)
        ]


def once(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds of the clock and of the processor, and what came of it."""
    wall, busy = time.perf_counter(), time.process_time()
    found = work()
    return time.perf_counter() - wall, time.process_time() - busy, found


def precision(
    rows: Any, subjects: Any, texts: list[str], query: Callable[[str], Any], questions: int = 200
) -> float:
    """Of the ten nearest to twelve words of a passage, the share about its subject."""
    chance = random.Random(3)
    found = []
    for number in chance.sample(range(len(texts)), questions):
        said = texts[number].split()
        scores = rows @ query(" ".join(chance.sample(said, min(12, len(said)))))
        scores[number] = -9
        best = np.argpartition(-scores, 10)[:10]
        found.append(float((subjects[best] == subjects[number]).mean()))
    return statistics.mean(found)


def against_peer(texts: list[str], new: list[str], subjects: Any, rounds: int) -> dict[str, Any]:
    """Fitting and embedding, ours and scikit-learn's."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    stems._known.clear()
    cold, cold_busy, ours = once(lambda: lsa.fit(texts))
    width = ours._directions.shape[1]
    words, svd = TfidfVectorizer(), TruncatedSVD(width)
    fitted, fitted_busy, _ = once(lambda: svd.fit(words.fit_transform(texts)))
    print(f"fit: ours {cold:.2f} s ({cold_busy:.2f} busy), peer {fitted:.2f} s ({fitted_busy:.2f})")

    def theirs(some: list[str]) -> Any:
        return normalize(svd.transform(words.transform(some)))

    def fresh() -> Any:
        stems._known.clear()
        return ours.embed(new)

    taken = side_by_side(
        {"peer": lambda: theirs(new), "hansard": lambda: ours.embed(new), "cold": fresh},
        rounds=rounds,
    )
    ours_rows, their_rows = ours.embed(texts), theirs(texts)
    return {
        "fit_s": round(cold, 2),
        "fit_processor_s": round(cold_busy, 2),
        "fit_peer_s": round(fitted, 2),
        "fit_peer_processor_s": round(fitted_busy, 2),
        "directions": width,
        "body_mb": round(len(ours.to_bytes()) / 1e6, 2),
        "meeting_s": round(statistics.median(taken["hansard"]), 3),
        "meeting_no_stem_known_s": round(statistics.median(taken["cold"]), 3),
        "meeting_peer_s": round(statistics.median(taken["peer"]), 3),
        "meeting_against_peer": round(speedup(taken, peer="peer", ours="hansard"), 2),
        "precision_at_10": round(precision(ours_rows, subjects, texts, ours.embed_query), 3),
        "precision_at_10_peer": round(
            precision(their_rows, subjects, texts, lambda text: theirs([text])[0]), 3
        ),
    }


def add(database: Sqlite, number: int, segments: list[Segment]) -> str:
    """A meeting in the store."""
    job = first_id(1_700_000_000.0 + number)
    with database.write() as connection:
        connection.execute(
            jobs.insert().values(
                id=job, kind="transcribe", state="completed", step="finish", priority=5,
                recording="r", options="{}", identity=str(number), batch_key="b", engine="sphinx",
                model="en-us", levels="{}", created=1.0, name="r", finished=1.0,
            )
        )  # fmt: skip
        connection.execute(
            meetings.insert().values(
                job=job, tenant="local", title="m", kind="meeting", held=1.0, language="en",
                seconds=3600.0, created=1.0, changed=1.0,
            )
        )  # fmt: skip
        head = Transcript("t", "r", "r.wav", 3600.0, "sphinx", "en-us")
        transcripts.save(connection, job, segments, lambda: head)
    return job


def opened(folder: str) -> Sqlite:
    database = Sqlite(Path(folder) / "hansard.db")
    with database.write() as connection:
        connection.execute(
            recordings.insert().values(id="r", name="r", size=1, media="{}", created=1.0)
        )
    return database


def through_the_store(said: list[list[Segment]]) -> dict[str, Any]:
    """Meetings that come in one after the other, and the library fitted as it grows."""
    with tempfile.TemporaryDirectory() as folder:
        database = opened(folder)
        who = Embedders(database, EmbeddingSettings())
        names = [add(database, number, segments) for number, segments in enumerate(said)]
        one: list[float] = []
        fits: list[float] = []
        for name in names:
            one.append(once(partial(who.embed, "local", name))[0])
            seconds, _, new = once(lambda: who.fit_if_due("local"))
            if new is not None:
                fits.append(seconds)
        database.close()
    print(f"store: a meeting {statistics.median(one):.3f} s, fitted after {fits}")
    return {
        "store_meeting_s": round(statistics.median(one), 3),
        "store_fits": len(fits),
        "store_last_fit_with_all_vectors_s": round(fits[-1], 2) if fits else None,
    }


def nearest(total: int, rounds: int) -> dict[str, Any]:
    """The nearest of many passages of 256 numbers."""
    each = 100
    chance = np.random.default_rng(4)
    with tempfile.TemporaryDirectory() as folder:
        database = opened(folder)
        with database.write() as connection:
            connection.execute(
                embedders.insert().values(
                    id="e", tenant="local", method="lsa-1", dimensions=256, created=1.0
                )
            )
        empty: list[Segment] = []
        places = [Passage(n, n, n, float(n), n + 1.0, "") for n in range(each)]
        begun = time.perf_counter()
        rows = np.zeros((each, 256), np.float32)
        for number in range(total // each):
            rows = chance.normal(size=(each, 256)).astype(np.float32)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            name = add(database, number, empty)
            with database.write(lasting=False) as connection:
                keep(connection, name, "e", places, rows)
        print(f"kept {total} passages in {time.perf_counter() - begun:.1f} s")
        before = psutil.Process().memory_info().rss
        held = Vectors(database)
        query = chance.normal(size=256).astype(np.float32)
        query /= np.linalg.norm(query)
        loaded, _, first = once(lambda: held.nearest("local", "e", query))
        after = psutil.Process().memory_info().rss
        asked = sorted(
            once(lambda: held.nearest("local", "e", query))[0] for _ in range(40 * rounds)
        )
        some = {hit.job for hit in first}
        few = sorted(
            once(lambda: held.nearest("local", "e", query, jobs=some))[0] for _ in range(40)
        )
        changed: list[float] = []
        for number in range(20):
            name = add(database, total + number, empty)
            with database.write(lasting=False) as connection:
                keep(connection, name, "e", places, rows)
            changed.append(once(lambda: held.nearest("local", "e", query))[0])
        streamed, _, same = once(
            lambda: Vectors(database, most_bytes=0).nearest("local", "e", query)
        )
        assert [hit.job for hit in same] == [hit.job for hit in held.nearest("local", "e", query)]
        bare = held._held["e"].shown().vectors
        floor = sorted(once(lambda: bare @ query)[0] for _ in range(40 * rounds))
        database.close()
    return {
        "passages": total,
        "nearest_p50_ms": round(1000 * asked[len(asked) // 2], 2),
        "nearest_p95_ms": round(1000 * asked[int(len(asked) * 0.95)], 2),
        "product_alone_p50_ms": round(1000 * floor[len(floor) // 2], 2),
        "nearest_filtered_p50_ms": round(1000 * few[len(few) // 2], 2),
        "nearest_after_a_change_p50_ms": round(1000 * statistics.median(changed), 1),
        "loaded_s": round(loaded, 2),
        "memory_mb": round((after - before) / 1e6),
        "streamed_s": round(streamed, 2),
    }


def main() -> None:
    """Make the library, run all three, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--meetings", type=int, default=100)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nearest-only", action="store_true")
    given = parser.parse_args()
    if given.nearest_only:
        report("embeddings", nearest(given.passages, given.rounds))
        return
    talk = Talk()
    said = [talk.meeting(number) for number in range(given.meetings)]
    cut = [[one.text for one in passages.cut(segments)] for segments in said]
    subjects = np.array([n % SUBJECTS for n, texts in enumerate(cut) for _ in texts])
    texts = [text for some in cut for text in some]
    new = [one.text for one in passages.cut(talk.meeting(given.meetings + 7))]
    print(f"{given.meetings} meetings, {len(texts)} passages, {len(new)} in the new one")
    figures: dict[str, Any] = {"meetings": given.meetings, "fitted_passages": len(texts)}
    figures |= against_peer(texts, new, subjects, given.rounds)
    figures |= through_the_store(said)
    figures |= nearest(given.passages, given.rounds)
    report("embeddings", figures)


if __name__ == "__main__":
    main()
