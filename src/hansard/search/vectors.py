"""The vectors of all passages: kept in the store, compared in memory.

Comparing is brute force with NumPy, on SQLite and PostgreSQL alike: 100 000 passages take some
milliseconds, and the answer is exact. Each process keeps the vectors it has compared in memory,
4 bytes for each number and an eighth of room (100 000 passages of 256: 115 MB), and reads only
those of meetings that changed. Beyond :data:`MOST_BYTES` it keeps none and reads them in blocks for
each question: slow, but the memory stays flat.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from hansard import telemetry
from hansard.model import Value
from hansard.search.embedder import Matrix, Vector
from hansard.search.passages import Passage
from hansard.store.database import Database
from hansard.store.tables import embedded, embedders, meetings, passages

MOST_BYTES = 512 * 2**20
"""Of vectors in the memory of one process: half a million passages of 256 numbers."""

NOTHING = 1e-6
"""A cosine up to this is one of nothing in common: no more than rounding."""

_ROOM = 1000
"""Passages that there is room for beyond an eighth: a new meeting moves no other."""

_AT_ONCE = 200
"""Meetings that are read from the store in one transaction: some 20 MB."""

_LITTLE_ENDIAN = np.dtype("<f4")


class Hit(Value, frozen=True):
    """A passage that is near. ``score`` is the cosine, -1 to 1."""

    job: str
    position: int
    """Of the passage in its meeting."""
    first: int
    """Positions of its first and last segment."""
    last: int
    start: float
    """Seconds from the start of the recording."""
    end: float
    score: float


def keep(
    connection: sa.Connection,
    job: str,
    embedder: str,
    found: Sequence[Passage],
    vectors: Matrix,
    *,
    wording: int = 0,
) -> None:
    """Write the vectors of a meeting in the caller's transaction, in place of earlier ones.

    Args:
        connection: of the store.
        job: the meeting's.
        embedder: the id of the row in ``embedders`` that made them.
        found: the meeting's passages.
        vectors: a row for each.
        wording: ``meetings.wording`` when its words were read.
    """
    if len(found) != len(vectors):
        raise ValueError(f"{len(found)} passages have {len(vectors)} vectors")
    for table in (passages, embedded):
        connection.execute(table.delete().where(table.c.job == job, table.c.embedder == embedder))
    rows = np.ascontiguousarray(vectors, _LITTLE_ENDIAN)
    if found:
        connection.execute(
            passages.insert(),
            [
                {
                    "job": job,
                    "embedder": embedder,
                    "position": passage.position,
                    "first": passage.first,
                    "last": passage.last,
                    "start": passage.start,
                    "end": passage.end,
                    "vector": row.tobytes(),
                }
                for passage, row in zip(found, rows, strict=True)
            ],
        )
    connection.execute(
        embedded.insert().values(
            job=job,
            embedder=embedder,
            version=secrets.token_hex(8),
            wording=wording,
            passages=len(found),
        )
    )


class _Block(NamedTuple):
    """The passages of one meeting."""

    version: str
    vectors: Matrix
    places: NDArray[np.float64]
    """Position, first, last, start, end."""


class _Held:
    """The vectors of one embedder in memory: a matrix with some room at its end.

    Rows are never written to after they were shown: what is new goes behind them, and what was
    removed or replaced makes a new matrix.
    """

    def __init__(self, dimensions: int) -> None:
        self.lock = threading.Lock()
        self.said: str | None = None
        """The versions as the store had them."""
        self.blocks: dict[str, _Block] = {}
        """Views of the matrix: nothing is held twice."""
        self._jobs: list[str] = []
        self._size = 0
        self._of = np.zeros(0, np.int32)
        self._vectors: Matrix = np.zeros((0, dimensions), np.float32)
        self._places = np.zeros((0, 5), np.float64)

    def shown(self) -> _Shown:
        """What is there at this moment."""
        end = self._size
        return _Shown(self._jobs, self._of[:end], self._vectors[:end], self._places[:end])

    def change(self, gone: Collection[str], fresh: Mapping[str, _Block]) -> None:
        """Remove some meetings; put others in, or in the place of what they were."""
        more = sum(len(block.vectors) for block in fresh.values())
        only_new = not gone and not any(job in self.blocks for job in fresh)
        if not only_new or self._size + more > len(self._vectors):
            kept = {job: block for job, block in self.blocks.items() if job not in gone}
            fresh = {**kept, **fresh}
            size = sum(len(block.vectors) for block in fresh.values())
            room = size + size // 8 + _ROOM
            width = self._vectors.shape[1]
            self.blocks, self._jobs, self._size = {}, [], 0
            self._of = np.empty(room, np.int32)
            self._vectors = np.empty((room, width), np.float32)
            self._places = np.empty((room, 5), np.float64)
        for job, block in fresh.items():
            begin, end = self._size, self._size + len(block.vectors)
            self._vectors[begin:end] = block.vectors  # of any width where there are none
            self._places[begin:end] = block.places
            self._of[begin:end] = len(self._jobs)
            self._jobs.append(job)
            self._size = end
            self.blocks[job] = _Block(
                block.version, self._vectors[begin:end], self._places[begin:end]
            )


class Vectors:
    """Finds the nearest passages. Safe for any number of threads; one for a process and store.

    Args:
        database: the store.
        most_bytes: of vectors in memory; beyond that they are read for each question.
    """

    def __init__(self, database: Database, *, most_bytes: int = MOST_BYTES) -> None:
        self._database = database
        self._most = most_bytes
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}

    def nearest(
        self,
        tenant: str,
        embedder: str,
        query: Vector,
        *,
        limit: int = 50,
        jobs: Collection[str] | None = None,
    ) -> list[Hit]:
        """The passages of a tenant that are nearest to a vector, best first.

        Equal scores go by meeting and position. Passages that have nothing in common with the
        query (a score of :data:`NOTHING` or less) are none.

        Args:
            tenant: whose.
            embedder: the id of the row in ``embedders`` that made the query.
            query: of length 1.
            limit: most hits.
            jobs: only these meetings; ``None``: all.
        """
        with telemetry.span("search.nearest"):
            said, there = self._versions(tenant, embedder)
            if not there or limit < 1 or (jobs is not None and not jobs):
                return []
            if there * len(query) * 4 > self._most:
                return self._streamed(embedder, _read_versions(said), query, limit, jobs)
            held = self._current(embedder, said)
        with telemetry.span("search.compare"):
            return _best(held, query, limit, jobs)

    def forget_all(self) -> None:
        """Let go of all memory; it is filled again by the next question."""
        with self._lock:
            self._held.clear()

    def forget(self, embedder: str) -> None:
        """Let go of the memory of an embedder that is not asked any more."""
        with self._lock:
            self._held.pop(embedder, None)

    def _versions(self, tenant: str, embedder: str) -> tuple[str, int]:
        """Meetings with their versions, and how many passages they have together.

        As one text: it is nearly always the one that was seen before, and then nobody takes it
        apart. Thousands of rows would cost more than comparing all vectors does.
        """
        pair = embedded.c.job + ":" + embedded.c.version
        with self._database.read() as connection:
            row = connection.execute(
                sa.select(
                    sa.func.aggregate_strings(pair, ",").label("pairs"),
                    sa.func.coalesce(sa.func.sum(embedded.c.passages), 0).label("there"),
                )
                .join(embedders, embedders.c.id == embedded.c.embedder)
                .where(embedded.c.embedder == embedder, embedders.c.tenant == tenant)
            ).one()
        return row.pairs or "", int(row.there)

    def _current(self, embedder: str, said: str) -> _Shown:
        """What is in memory, brought to these versions."""
        with self._lock:
            held = self._held.get(embedder)
        if held is None:
            with self._database.read() as connection:
                dimensions = connection.scalar(
                    sa.select(embedders.c.dimensions).where(embedders.c.id == embedder)
                )
            with self._lock:
                held = self._held.setdefault(embedder, _Held(dimensions or 0))
        with held.lock:
            if held.said == said:
                return held.shown()
            versions = _read_versions(said)
            gone = [job for job in held.blocks if job not in versions]
            fresh = [
                job
                for job, version in versions.items()
                if job not in held.blocks or held.blocks[job].version != version
            ]
            read: dict[str, _Block] = {}
            for begin in range(0, len(fresh), _AT_ONCE):
                read.update(self._read(embedder, fresh[begin : begin + _AT_ONCE]))
            if gone or read:
                held.change(set(gone), read)
            held.said = said
            return held.shown()

    def _read(self, embedder: str, jobs: Sequence[str]) -> dict[str, _Block]:
        """The passages of some meetings, and their versions as of the same moment."""
        with self._database.read() as connection:
            versions = {
                row.job: row.version
                for row in connection.execute(
                    sa.select(embedded.c.job, embedded.c.version).where(
                        embedded.c.embedder == embedder, embedded.c.job.in_(jobs)
                    )
                )
            }
            rows = connection.execute(
                sa.select(
                    passages.c.job,
                    passages.c.position,
                    passages.c.first,
                    passages.c.last,
                    passages.c.start,
                    passages.c.end,
                    passages.c.vector,
                )
                .where(passages.c.embedder == embedder, passages.c.job.in_(jobs))
                .order_by(passages.c.job, passages.c.position)
            ).all()
        made: dict[str, _Block] = {}
        for job, group in groupby(rows, attrgetter("job")):
            own = list(group)
            vectors = np.frombuffer(b"".join(row.vector for row in own), _LITTLE_ENDIAN)
            made[job] = _Block(
                versions.pop(job),
                vectors.reshape(len(own), -1).astype(np.float32, copy=False),
                np.array([tuple(row)[1:6] for row in own], np.float64),
            )
        for job, version in versions.items():  # nothing was said in these
            made[job] = _Block(version, np.zeros((0, 1), np.float32), np.zeros((0, 5)))
        return made

    def _streamed(
        self,
        embedder: str,
        versions: dict[str, str],
        query: Vector,
        limit: int,
        jobs: Collection[str] | None,
    ) -> list[Hit]:
        """Without keeping anything: a block of meetings after the other."""
        telemetry.count("search.streamed")
        wanted = sorted(versions if jobs is None else set(versions) & set(jobs))
        best: list[Hit] = []
        for begin in range(0, len(wanted), _AT_ONCE):
            held = _Held(len(query))
            held.change((), self._read(embedder, wanted[begin : begin + _AT_ONCE]))
            shown = held.shown()
            best = sorted(best + _best(shown, query, limit, None), key=_rank)[:limit]
        return best


def _read_versions(said: str) -> dict[str, str]:
    pairs = (pair.partition(":") for pair in said.split(",") if pair)
    return {job: version for job, _, version in pairs}


class _Shown(NamedTuple):
    """What was in memory at one moment: arrays that nobody writes to any more."""

    jobs: list[str]
    of: NDArray[np.int32]
    """For each row, the index of its meeting in ``jobs``."""
    vectors: Matrix
    places: NDArray[np.float64]


def _rank(hit: Hit) -> tuple[float, str, int]:
    return -hit.score, hit.job, hit.position


def _best(shown: _Shown, query: Vector, limit: int, jobs: Collection[str] | None) -> list[Hit]:
    query = np.asarray(query, np.float32)
    rows: NDArray[np.intp] | None = None
    if jobs is None:
        scores = shown.vectors @ query
    else:
        wanted = set(jobs)
        rows = np.flatnonzero(np.array([job in wanted for job in shown.jobs], bool)[shown.of])
        # A few rows are copied together for less than all of them are multiplied.
        few = len(rows) * 8 < len(shown.vectors)
        scores = shown.vectors[rows] @ query if few else (shown.vectors @ query)[rows]
    if limit < len(scores):
        # All that are as good as the last one that is wanted: ties are settled by order.
        least = np.partition(scores, len(scores) - limit)[len(scores) - limit]
        chosen = np.flatnonzero(scores >= least)
    else:
        chosen = np.arange(len(scores))
    chosen = chosen[scores[chosen] > NOTHING]
    found = scores[chosen]
    if rows is not None:
        chosen = rows[chosen]
    hits = [
        Hit(
            shown.jobs[shown.of[row]],
            int(shown.places[row, 0]),
            int(shown.places[row, 1]),
            int(shown.places[row, 2]),
            float(shown.places[row, 3]),
            float(shown.places[row, 4]),
            float(score),
        )
        for row, score in zip(chosen, found, strict=True)
    ]
    return sorted(hits, key=_rank)[:limit]


def missing(database: Database, tenant: str, embedder: str, *, limit: int) -> list[str]:
    """Meetings whose words have no vectors of an embedder, or older ones: the newest first."""
    here = sa.and_(embedded.c.job == meetings.c.job, embedded.c.embedder == embedder)
    with database.read() as connection:
        found = connection.scalars(
            sa.select(meetings.c.job)
            .outerjoin(embedded, here)
            .where(
                meetings.c.tenant == tenant,
                sa.or_(embedded.c.job.is_(None), embedded.c.wording != meetings.c.wording),
            )
            .order_by(meetings.c.job.desc())
            .limit(limit)
        ).all()
    return list(found)
