"""Moving a library from SQLite into PostgreSQL, every row compared at the end.

    python bench/move.py [--meetings 2000] [--segments 500] [--part 40000]

The library is made on the spot: so many meetings of so many segments each, with words, a window
for every ten segments. It is moved into a fresh database (``HANSARD_TEST_POSTGRES`` names a server
on which one may be made). The peer is what one would write in an afternoon, in the same run: rows
read and inserted by SQLAlchemy Core, a thousand at a time, over the first ``--part`` segments of
the same library; it compares nothing and cannot be resumed.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import rig
import served
import sqlalchemy as sa

from hansard.store import ids, move
from hansard.store.postgres import Postgres
from hansard.store.sqlite import Sqlite
from hansard.store.tables import jobs, recordings, segments, transcripts, windows

sys.path.insert(0, str(rig.ROOT))

PIECE = 1000


def make(path: Path, meetings: int, length: int) -> None:
    """A library: one meeting is written out, the others are copies under other names."""
    first = served.fill(path.parent, 1, longest=length * 5.0 + 5.0)
    database = Sqlite(path)
    with database.write() as connection:
        heard = [
            {
                "job": first, "pass": 0, "channel": 0, "position": number, "samples": 480_000,
                "window": "{}", "state": "done", "heard": number + 1, "result": '{"a": 1}' * 200,
            }
            for number in range(length // 10)
        ]  # fmt: skip
        connection.execute(windows.insert(), heard)
        begun = time.time() - 365 * 86_400
        for number in range(1, meetings):
            name = ids.new_id(begun + number * 365 * 86_400 / meetings)
            for table in (recordings, jobs, transcripts, windows, segments):
                connection.execute(_copied(table, first, name, number))
    database.close()


def _copied(table: sa.Table, first: str, name: str, number: int) -> sa.Insert:
    """A meeting's rows again, under another name."""
    sha256 = f"{number:064x}"
    key, old, new = "job", first, name
    if table is recordings:
        key, old, new = "id", "0" * 64, sha256
    elif table is jobs:
        key = "id"
    anew = {key: new}
    if table is jobs:
        anew |= {"recording": sha256, "identity": sha256, "answers": sha256}
    numbered = "id" if table is windows else None
    names = [column.name for column in table.columns if column.name != numbered]
    chosen = [sa.literal(anew[one]).label(one) if one in anew else table.c[one] for one in names]
    return table.insert().from_select(names, sa.select(*chosen).where(table.c[key] == old))


def naive(source: Sqlite, target: Postgres, part: int) -> int:
    """Recordings, jobs and heads whole, then the first ``part`` segments; how many rows."""
    rows = 0
    for table, limit in ((recordings, None), (jobs, None), (transcripts, None), (segments, part)):
        order = sa.select(table).order_by(*table.primary_key.columns).limit(limit)
        with source.read() as reading:
            found = reading.execution_options(stream_results=True).execute(order).mappings()
            for piece in _pieces(found):
                with target.write() as writing:
                    writing.execute(table.insert(), piece)
                rows += len(piece)
    return rows


def _pieces(found: sa.MappingResult) -> Iterator[list[dict[str, Any]]]:
    while piece := found.fetchmany(PIECE):
        yield [dict(row) for row in piece]


def main() -> None:
    from tests import stores

    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--meetings", type=int, default=2000)
    options.add_argument("--segments", type=int, default=500)
    options.add_argument("--part", type=int, default=40_000)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hansard.db"
        begun = time.perf_counter()
        make(path, asked.meetings, asked.segments)
        print(f"made {path.stat().st_size / 1e6:,.0f} MB in {time.perf_counter() - begun:.1f} s")
        with closing(Sqlite(path)) as source:
            with stores.fresh_postgres() as address, closing(Postgres(address)) as target:
                begun = time.perf_counter()
                rows = naive(source, target, asked.part)
                peer = rows / (time.perf_counter() - begun)
                print(f"peer: {rows:,} rows, {peer:,.0f} a second", flush=True)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            with stores.fresh_postgres() as address, closing(Postgres(address)) as target:
                moved = move.move(source, target)
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        size = path.stat().st_size
    copying = moved.seconds - moved.compared_seconds
    rig.report(
        "move",
        {
            "meetings": asked.meetings,
            "rows": moved.rows,
            "megabytes": round(size / 1e6),
            "seconds": moved.seconds,
            "copy_seconds": round(copying, 1),
            "compare_seconds": round(moved.compared_seconds, 1),
            "rows_a_second": round(moved.rows / moved.seconds),
            "copied_a_second": round(moved.rows / copying),
            "peer_copied_a_second": round(peer),
            "copying_faster_by": round(moved.rows / copying / peer, 2),
            "differing": moved.differing,
            "memory_grown_megabytes": round((after - before) / 1024),
        },
    )


if __name__ == "__main__":
    main()
