"""Searching 2 000 meetings with 1 000 000 segments, and writing one more.

    python bench/search.py [--meetings 2000] [--segments 500] [--queries 40] [--keep DIR]
                           [--postgres [ADDRESS] [--config FILE]] [--turns ROUNDS]
                           [--function-words]

The library is made by script: words of a Zipfian vocabulary, rare ones, one that is in a tenth of
all segments, and a planted phrase. It is made once where ``--keep`` names a directory. The peer is
the usual way over the same segments: one FTS5 table of its own (porter, unicode61),
``MATCH … ORDER BY bm25 LIMIT 20`` with ``snippet()``. Each search has other words than the one
before. ``--postgres`` without an address starts a server of its own with the settings of
deploy/postgres/small.conf, or of another file; with ``--turns`` SQLite has the same library, and
both are asked in turn. With ``--function-words`` eight words are in a sixth to a half of all
segments each, as those of a language are, and some searches are for nothing but these. Targets,
p95: rare word < 10 ms, two words < 20, phrase < 30, a word in a tenth of all segments < 50, words
and meaning fused (100 000 vectors of 256, NumPy) < 100; writing a transcript of 1 000 segments and
its index < 150 ms.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import cluster
import msgspec
import numpy as np
import rig
import sqlalchemy as sa

from hansard.model import Segment, Transcript, Word
from hansard.search import lookup
from hansard.search.lookup import Asked, Near
from hansard.store import transcripts
from hansard.store.database import Database
from hansard.store.ids import new_id
from hansard.store.sqlite import Sqlite, sqlite_module
from hansard.store.tables import jobs, meetings, recordings

TENTH = "measure"
"""In a tenth of all segments, and so in every meeting."""
PHRASE = ("harbour", "committee", "report")
OWN = "own"
"""A server that is started for this, and stopped."""
_SETTLED = 30.0
"""Seconds in which autovacuum looks at a library that was just filled."""
FUNCTION_WORDS = {
    "the": 0.45, "and": 0.35, "to": 0.33, "of": 0.3,
    "that": 0.25, "you": 0.2, "is": 0.2, "we": 0.15,
}  # fmt: skip
"""Of all segments, how many have them with ``--function-words``. Made up."""
RARE = 400
"""Words that are in some five segments each."""
VECTORS, DIMENSIONS = 100_000, 256
BEGIN = 1_700_000_000.0


def vocabulary(chance: random.Random, size: int = 40_000) -> list[str]:
    """Made-up words, all different after stemming for nearly all of them."""
    onsets = [*"bcdfghklmnprstv", "br", "cr", "dr", "fl", "gr", "pl", "pr", "st", "tr"]
    onsets += ["sh", "th", "ch"]
    vowels = [*"aeiou", "ai", "ea", "oo"]
    found: dict[str, None] = {}
    while len(found) < size:
        syllables = chance.choices((1, 2, 3), (2, 5, 3))[0]
        word = "".join(
            chance.choice(onsets) + chance.choice(vowels) for _ in range(syllables)
        ) + chance.choice("nklmrt")
        found[word] = None
    return list(found)


def rare(number: int) -> str:
    """A word that hardly anybody says."""
    return f"zq{'bcdfghklmn'[number % 10]}{'aeiou'[number // 10 % 5]}{'kprtvbdfgh'[number // 50]}x"


def texts(meetings_: int, each: int, *, function_words: bool = False) -> Iterator[list[str]]:
    """What is said in one meeting after the other."""
    chance = random.Random(9)
    for said in _texts(meetings_, each):
        if function_words:
            for place, line in enumerate(said):
                own = [word for word, share in FUNCTION_WORDS.items() if chance.random() < share]
                said[place] = " ".join([line, *own])
        yield said


def _texts(meetings_: int, each: int) -> Iterator[list[str]]:
    chance = random.Random(5)
    words = vocabulary(chance)
    weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(words))))
    total = meetings_ * each
    planted: dict[int, list[str]] = {}
    for number in range(RARE):
        for _ in range(5):
            planted.setdefault(chance.randrange(total), []).append(rare(number))
    for _ in range(max(5, total // 2000)):
        planted.setdefault(chance.randrange(total), []).append(" ".join(PHRASE))
    for _ in range(total // 500):
        planted.setdefault(chance.randrange(total), []).append(chance.choice(PHRASE))
    place = itertools.count()
    for _ in range(meetings_):
        said = []
        for _ in range(each):
            line = chance.choices(words, cum_weights=weights, k=chance.randint(7, 15))
            if chance.random() < 0.1:
                line.insert(3, TENTH)
            line[5:5] = planted.get(next(place), ())
            said.append(" ".join(line).capitalize() + ".")
        yield said


def segments_of(lines: Sequence[str], *, timed: bool = False) -> list[Segment]:
    """Five seconds each; ``timed``: with the times of their words."""
    return [
        Segment(
            place * 5.0,
            place * 5.0 + 4.9,
            text,
            tuple(
                Word(place * 5.0 + at * 0.3, place * 5.0 + at * 0.3 + 0.25, word, 0.9)
                for at, word in enumerate(text.split())
            )
            if timed
            else (),
        )
        for place, text in enumerate(lines)
    ]


def write(connection: sa.Connection, number: int, segments: Sequence[Segment]) -> str:
    """A meeting as it is when it is done."""
    job = new_id(BEGIN + number)
    held = BEGIN + number * 3600.0
    connection.execute(
        recordings.insert().values(id=f"{number:064}", name="r", size=1, media="{}", created=held)
    )
    connection.execute(
        jobs.insert().values(
            id=job, kind="transcribe", state="completed", step="finish", priority=5,
            recording=f"{number:064}", options="{}", identity=job, batch_key="b",
            engine="sphinx", model="m", language="en", levels="{}", created=held,
            name=f"Meeting {number}.wav", finished=held,
        )
    )  # fmt: skip
    head = Transcript(job, "r", "r", 5.0 * len(segments), "e", "m", language="en")
    transcripts.save(connection, job, segments, lambda: head)
    connection.execute(
        meetings.insert().values(
            job=job, tenant="local", title=f"Meeting {number}", held=held, language="en",
            kind=("meeting", "hearing", "interview")[number % 3], seconds=5.0 * len(segments),
            segments=len(segments), created=held, changed=held,
        )
    )  # fmt: skip
    return job


def fill(database: Database, peer: Path | None, count: int, library: Iterator[list[str]]) -> None:
    """Make the library, and the peer's beside it."""
    begun = time.perf_counter()
    with database.read() as connection:
        there = connection.scalar(sa.select(sa.func.count()).select_from(meetings))
    if there == count:
        return
    other = None
    if peer is not None:
        other = sqlite_module().connect(peer)
        other.execute("PRAGMA synchronous = OFF")
        other.execute("CREATE TABLE said (id INTEGER PRIMARY KEY, meeting INTEGER, text TEXT)")
        other.execute(
            "CREATE VIRTUAL TABLE fts USING fts5(text, content='said', content_rowid='id', "
            "tokenize='porter unicode61')"
        )
    numbered = enumerate(library)
    while piece := list(itertools.islice(numbered, 20)):
        with database.write(lasting=False) as connection:
            for number, said in piece:
                write(connection, number, segments_of(said))
        if other is not None:
            rows = [(number, text) for number, said in piece for text in said]
            other.executemany("INSERT INTO said (meeting, text) VALUES (?, ?)", rows)
            other.commit()
        print(f"  {piece[-1][0] + 1} meetings, {time.perf_counter() - begun:.0f} s", flush=True)
    if other is not None:
        other.execute("INSERT INTO fts (rowid, text) SELECT id, text FROM said")
        other.commit()
        other.close()
    if database.dialect == "postgresql":
        with database.write() as connection:
            for table in ("segments", "meeting_words", "meetings", "vocabulary"):
                connection.execute(sa.text(f"ANALYZE {table}"))


def asked(count: int, *, function_words: bool = False) -> dict[str, list[str]]:
    """Searches of each kind, all different as far as there are as many."""
    chance = random.Random(7)
    words = vocabulary(random.Random(5))
    middling = words[200:2000]
    common = words[:40]
    alone = [" ".join(two) for two in itertools.combinations(FUNCTION_WORDS, 2)]
    few = {"two function words": [*itertools.islice(itertools.cycle(alone), count)]}
    return (few if function_words else {}) | {
        "rare word": [rare(number) for number in chance.sample(range(RARE), count)],
        "two words": [
            f"{one} {other}"
            for one, other in zip(
                chance.sample(middling, count), chance.sample(middling, count), strict=True
            )
        ],
        "two common words": [" ".join(chance.sample(common, 2)) for _ in range(count)],
        "phrase": [
            '"' + " ".join(PHRASE[place % 2 : place % 2 + 2]) + '"' for place in range(count)
        ],
        "common phrase": [f'"{" ".join(chance.sample(common[:8], 2))}"' for _ in range(count)],
        "word in a tenth": [TENTH for _ in range(count)],
        "prefix": [f"{word[:3]}*" for word in chance.sample(middling, count)],
        "typo": [
            f"{word[:3]}{word[4:]}x"
            for word in chance.sample([w for w in middling if len(w) > 6], count)
        ],
    }


def usual(connection: Any, query: str) -> list[Any]:
    """The peer: every match is scored, the best twenty are shown."""
    found: list[Any] = connection.execute(
        "SELECT said.meeting, said.id, snippet(fts, 0, '<mark>', '</mark>', '…', 20) FROM fts "
        "JOIN said ON said.id = fts.rowid WHERE fts MATCH ? ORDER BY bm25(fts) LIMIT 20",
        (query,),
    ).fetchall()
    return found


def near(database: Database) -> Callable[[str, int], list[Near]]:
    """By meaning: vectors in memory, all compared."""
    with database.read() as connection:
        names = list(connection.scalars(sa.select(meetings.c.job)))
    chance = np.random.default_rng(3)
    matrix = chance.standard_normal((VECTORS, DIMENSIONS), dtype=np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)

    def nearest(text: str, limit: int) -> list[Near]:
        seed = np.random.default_rng(abs(hash(text)) % 2**32)
        scores = matrix @ seed.standard_normal(DIMENSIONS, dtype=np.float32)
        best = np.argpartition(scores, -limit)[-limit:]
        best = best[np.argsort(-scores[best])]
        return [
            Near(names[row % len(names)], row % 400, row % 400 + 3, 0.0, 9.0, float(scores[row]))
            for row in map(int, best)
        ]

    return nearest


Taken = tuple[float, float]
"""Milliseconds: by the clock, and of the processor. On a busy machine only the second says much."""


def timed(work: Callable[[str], Any], queries: Sequence[str]) -> list[Taken]:
    """What each took."""
    taken = []
    for query in queries:
        begun, worked = time.perf_counter(), time.process_time()
        work(query)
        taken.append((1000 * (time.perf_counter() - begun), 1000 * (time.process_time() - worked)))
    return taken


def said(taken: Sequence[Taken]) -> dict[str, float]:
    """Half of them took no longer than p50, nearly all no longer than p95."""
    found = {}
    for name, values in zip(("", "cpu_"), zip(*taken, strict=True), strict=True):
        ordered = sorted(values)
        found[f"{name}p50"] = round(statistics.median(ordered), 2)
        found[f"{name}p95"] = round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 2)
    return found


def searching(database: Database, peer: Any, queries_of: dict[str, list[str]]) -> dict[str, Any]:
    """Each kind of search, beside the peer's."""
    results: dict[str, Any] = {}
    nearest = near(database)

    def ours(query: str) -> Any:
        return lookup.search(database, "local", Asked(query, "text"), limit=20)

    def whole(query: str) -> Any:
        return lookup.search(database, "local", Asked(query, "text"), limit=20, with_facets=True)

    def both(query: str) -> Any:
        return lookup.search(database, "local", Asked(query, "hybrid"), nearest=nearest, limit=20)

    for kind, queries in queries_of.items():
        timed(ours, queries[:2])
        results[kind] = said(timed(ours, queries))
        if peer is not None and kind != "typo":
            timed(lambda query: usual(peer, query), queries[:2])
            results[kind]["usual"] = said(timed(lambda query: usual(peer, query), queries))
        print(f"  {kind:<18} {results[kind]}", flush=True)
    for name, work in (("with facets", whole), ("hybrid", both)):
        for kind in ("two words", "word in a tenth"):
            results[f"{name}: {kind}"] = said(timed(work, queries_of[kind]))
            print(f"  {name}: {kind}  {results[f'{name}: {kind}']}", flush=True)
    return results


def writing(database: Database, first: int, count: int = 9) -> dict[str, Any]:
    """A transcript of 1 000 segments with the times of its words, its index and all."""
    taken: list[Taken] = []
    for number, lines in enumerate(texts(count + 1, 1000), first):
        segments = segments_of(lines, timed=True)
        begun, worked = time.perf_counter(), time.process_time()
        with database.write() as connection:
            job = write(connection, number, segments)
        taken.append((1000 * (time.perf_counter() - begun), 1000 * (time.process_time() - worked)))
        with database.write() as connection:
            connection.execute(sa.delete(jobs).where(jobs.c.id == job))
            connection.execute(sa.delete(recordings).where(recordings.c.id == f"{number:064}"))
    return {"first": round(taken[0][0], 1), **said(taken[1:])}


def in_turn(
    databases: Sequence[Database], queries_of: dict[str, list[str]], rounds: int
) -> dict[str, Any]:
    """Each kind of search over both databases, which take turns; the ratio is the second's."""
    results: dict[str, Any] = {}
    for kind, queries in queries_of.items():
        taken: dict[str, list[dict[str, float]]] = {one.dialect: [] for one in databases}
        for turn in range(rounds):
            for database in databases[:: 1 if turn % 2 else -1]:

                def search(query: str, database: Database = database) -> Any:
                    return lookup.search(database, "local", Asked(query, "text"), limit=20)

                timed(search, queries[:4])
                taken[database.dialect].append(said(timed(search, queries)))
        p95 = {name: [one["p95"] for one in each] for name, each in taken.items()}
        first, second = p95.values()
        results[kind] = {
            "p50": {name: [one["p50"] for one in each] for name, each in taken.items()},
            "p95": p95,
            "ratio": round(statistics.median(b / a for a, b in zip(first, second, strict=True)), 2),
        }
        print(f"  {kind:<18} {results[kind]}", flush=True)
    return results


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--meetings", type=int, default=2000)
    parser.add_argument("--segments", type=int, default=500)
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--keep", type=Path)
    parser.add_argument(
        "--postgres", nargs="?", const=OWN, help="PostgreSQL instead: an empty database's address"
    )
    parser.add_argument("--config", type=Path, default=rig.ROOT / "deploy/postgres/small.conf")
    parser.add_argument(
        "--turns", type=int, default=0, help="SQLite as well, so many rounds of each"
    )
    parser.add_argument("--function-words", action="store_true")
    given = parser.parse_args()
    if given.turns and not given.postgres:
        parser.error("--turns goes with --postgres")
    library = partial(texts, given.meetings, given.segments, function_words=given.function_words)
    queries_of = asked(given.queries, function_words=given.function_words)
    with ExitStack() as stack:
        place = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place.mkdir(parents=True, exist_ok=True)
        database: Database
        turns: dict[str, Any] = {}
        if given.postgres:
            from hansard.store.postgres import Postgres

            address = given.postgres
            if address == OWN:
                server = stack.enter_context(cluster.server(given.config))
                address = server.address(server.database())
            database, other = Postgres(address), None
        else:
            database, other = Sqlite(place / "hansard.db"), place / "usual.db"
        with closing(database):
            fill(database, other, given.meetings, library())
            if given.turns:
                beside = stack.enter_context(closing(Sqlite(place / "hansard.db")))
                fill(beside, None, given.meetings, library())
                time.sleep(_SETTLED)
                turns = in_turn((beside, database), queries_of, given.turns)
            peer = None if other is None else sqlite_module().connect(other)
            results = searching(database, peer, queries_of)
            results["writing 1000 segments"] = writing(database, given.meetings)
            print(f"  writing {results['writing 1000 segments']}")
    load = Path("/proc/loadavg").read_text().split()[0]
    outcome = {
        "bench": "search", "commit": rig.commit(), "machine": rig.machine(), "load": load,
        "dialect": database.dialect, "meetings": given.meetings,
        "segments": given.meetings * given.segments, "function_words": given.function_words,
        "milliseconds": results,
        "turns": turns,
    }  # fmt: skip
    print(msgspec.json.encode(outcome).decode())


if __name__ == "__main__":
    main()
