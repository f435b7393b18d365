"""Bulk export of meetings: how many a second, and whether memory grows with their number.

    python bench/export.py [--meetings 1000] [--segments 60] [--formats json,srt,txt]

A library is made on the spot: so many meetings of about five minutes, with words, speakers, all
findings and a few corrections. It is exported as JSON lines, and as a ZIP in some formats, from the
generators that the API sends; the bytes are counted and thrown away. The first tenth is exported
before, and the peak of resident memory over the whole is held against the peak over that tenth.
The peer is what one would write in an afternoon: every row of every meeting loaded with one
statement each and put into one list, then encoded.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import rig
import sqlalchemy as sa

from hansard.formats import registry
from hansard.insight.findings import (
    Chapter,
    Chapters,
    Item,
    Items,
    Sentiment,
    Source,
    SpeakerShare,
    Statement,
    Statistics,
    Summary,
)
from hansard.meetings import export
from hansard.model import Levels, Media, Segment, Transcript, Value, Word
from hansard.store import ids, meetings, transcripts
from hansard.store.meeting_views import Filter
from hansard.store.meetings import Heard
from hansard.store.sqlite import Sqlite
from hansard.store.stored import as_json
from hansard.store.tables import corrections, findings, jobs, recordings, segments

TEXT = """We should send the numbers for next year to everybody before the end of the
week""".split()  # noqa: SIM905 it is read like this


def talk(length: int) -> list[Segment]:
    """Segments of five seconds with a word each third of one."""
    made = []
    for number in range(length):
        start = number * 5.0
        texts = [TEXT[(number + at) % len(TEXT)] for at in range(len(TEXT))]
        words = tuple(
            Word(start + n * 0.3, start + n * 0.3 + 0.25, w, 0.9) for n, w in enumerate(texts)
        )
        made.append(
            Segment(start, start + 5.0, " ".join(texts), words, speaker=f"S{number // 4 % 3 + 1}")
        )
    return made


def found(length: int) -> dict[str, Value]:
    """A finding of each kind."""
    cited = [Statement("We should send the numbers.", (n,)) for n in range(0, length, 6)]
    share = SpeakerShare("S1", 100.0, 0.33, 20, 300, 150.0, 20.0, 1, 1, 3)
    return {
        "summary": Summary(tuple(cited[:3]), tuple(cited)),
        "chapters": Chapters((Chapter("Numbers", 0, length - 1, 0.0, length * 5.0),)),
        "items": Items(tuple(Item("action", one.text, one.segments) for one in cited)),
        "sentiment": Sentiment(0.1, (0.1,) * length),
        "statistics": Statistics(300.0, 290.0, 10.0, 2, 4.0, 0.0, 60, 900, 150.0, 3, (share,) * 3),
    }


def _same(head: Transcript) -> Transcript:
    return head


def fill(database: Sqlite, count: int, length: int) -> None:
    """Make the library."""
    said, values = talk(length), found(length)
    begun = time.time() - 365 * 86_400
    for number in range(count):
        now = begun + number * 3600
        job = ids.new_id(now)
        name = f"{number:064x}"
        media = as_json(Media("wav", length * 5.0, 1000, ()))
        with database.write(lasting=False) as connection:
            connection.execute(
                recordings.insert().values(
                    id=name, name=f"{number}.wav", size=1000, media=media, created=now
                )
            )
            connection.execute(
                jobs.insert().values(
                    id=job, kind="transcribe", state="completed", step="finish", priority=5,
                    recording=name, options='{"engine":"sphinx","model":"en-us"}', identity=name,
                    answers=name, batch_key="", engine="sphinx", model="en-us", created=now,
                    levels=as_json(Levels(1, 1, 1, 1, 1, 1, 1)), finished=now, name=f"{number}.wav",
                )
            )  # fmt: skip
            head = Transcript(job, name, f"{number}.wav", length * 5.0, "sphinx", "en-us")
            transcripts.save(connection, job, said, partial(_same, head))
            meetings.open_one(
                connection,
                {
                    "job": job, "tenant": "local", "title": f"Meeting {number}", "kind": "meeting",
                    "held": now, "seconds": length * 5.0, "created": now, "changed": now,
                },
            )  # fmt: skip
            meetings.set_speakers(connection, job, [Heard(f"S{n}", 100.0) for n in (1, 2, 3)])
            for kind, value in values.items():
                source = as_json(Source("embedded", "made-up-1"))
                meetings.put_finding(
                    connection, job, kind, as_json(value), source, wording=0, now=now
                )
            for at in range(3):
                meetings.correct(
                    connection, job, "text", f"{at}.000 {at}.500",
                    before={"text": "x"}, after={"text": "y"}, by="local", now=now,
                )  # fmt: skip


def peak() -> int:
    """Bytes of resident memory at the most, since the process began."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measured(what: str, make: Callable[[Filter], Iterable[bytes]], few: Filter) -> dict[str, Any]:
    """Export a tenth, then everything; seconds, bytes, and how much memory grew in between."""
    list(map(len, make(few)))
    before = peak()
    begun, worked = time.perf_counter(), time.process_time()
    size = sum(map(len, make(Filter())))
    seconds, busy = time.perf_counter() - begun, time.process_time() - worked
    return {
        "what": what, "seconds": round(seconds, 2), "processor_seconds": round(busy, 2),
        "bytes": size, "grew": peak() - before,
    }  # fmt: skip


def naive(database: Sqlite) -> bytes:
    """Everything in memory at once."""
    made = []
    with database.read() as connection:
        for row in connection.execute(sa.select(jobs.c.id, jobs.c.name)).all():
            mine = sa.select(segments.c.body).where(segments.c.job == row.id)
            told = sa.select(findings.c.body).where(findings.c.job == row.id)
            changed = sa.select(corrections.c.after).where(corrections.c.job == row.id)
            made.append(
                {
                    "id": row.id,
                    "segments": [msgspec.json.decode(x) for x in connection.scalars(mine)],
                    "findings": [msgspec.json.decode(x) for x in connection.scalars(told)],
                    "corrections": list(connection.scalars(changed)),
                }
            )
    return msgspec.json.encode(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--meetings", type=int, default=1000)
    parser.add_argument("--segments", type=int, default=60)
    parser.add_argument("--formats", default="json,srt,txt")
    given = parser.parse_args()
    chosen = [registry.get(name) for name in given.formats.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        database = Sqlite(Path(folder) / "hansard.db")
        begun = time.perf_counter()
        fill(database, given.meetings, given.segments)
        print(f"made {given.meetings} meetings in {time.perf_counter() - begun:.1f} s")
        since = time.time() - 365 * 86_400 + given.meetings * 3600 * 0.9
        few = Filter(since=since)
        runs = [
            measured("jsonl", lambda which: export.lines(database, "local", which), few),
            measured("zip", lambda which: export.packed(database, "local", which, chosen), few),
        ]
        begun = time.perf_counter()
        size = len(naive(database))
        peer = {"what": "naive", "seconds": round(time.perf_counter() - begun, 2), "bytes": size}
        peer["peak"] = peak()
        database.close()
    for run in runs:
        run["meetings_a_second"] = round(given.meetings / run["seconds"], 1)
        print(
            f"{run['what']}: {run['meetings_a_second']} meetings/s, +{run['grew'] / 2**20:.1f} MiB"
        )
    sizes = {"meetings": given.meetings, "segments": given.segments, "formats": given.formats}
    rig.report("export", sizes | {"runs": runs, "naive": peer})


if __name__ == "__main__":
    main()
