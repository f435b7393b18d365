"""The vectors of all passages: kept in the store, compared in memory.

Comparing is brute force with NumPy, on SQLite and PostgreSQL alike: 100 000 passages take some
milliseconds, and the answer is exact. Each process keeps the vectors it has compared in memory,
4 bytes for each number (100 000 passages of 256: 102 MB), and reads only those of meetings that
changed. Beyond :data:`MOST_BYTES` it keeps none and reads them in blocks for each question: slow,
but the memory stays flat.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Collection, Sequence
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
    """The vectors of one embedder in memory."""

    def __init__(self, dimensions: int) -> None:
        self.lock = threading.Lock()
        self.blocks: dict[str, _Block] = {}
        self.jobs: list[str] = []
        self.of = np.zeros(0, np.int32)
        """For each row, the index of its meeting in ``jobs``."""
        self.vectors: Matrix = np.zeros((0, dimensions), np.float32)
        self.places = np.zeros((0, 5), np.float64)

    def lay(self) -> None:
        """One matrix of all blocks; these become views of it, so nothing is held twice."""
        self.jobs = sorted(self.blocks)
        sizes = [len(self.blocks[job].vectors) for job in self.jobs]
        vectors = np.empty((sum(sizes), self.vectors.shape[1]), np.float32)
        places = np.empty((sum(sizes), 5), np.float64)
        at = 0
        for job, size in zip(self.jobs, sizes, strict=True):
            block = self.blocks[job]
            vectors[at : at + size] = block.vectors  # of any width where there are none
            places[at : at + size] = block.places
            self.blocks[job] = _Block(
                block.version, vectors[at : at + size], places[at : at + size]
            )
            at += size
        self.vectors, self.places = vectors, places
        self.of = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)


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
            found = self._versions(tenant, embedder)
            if not found or limit < 1 or (jobs is not None and not jobs):
                return []
            size = sum(count for _, count in found.values()) * len(query) * 4
            if size > self._most:
                return self._streamed(embedder, found, query, limit, jobs)
            held = self._current(embedder, {job: version for job, (version, _) in found.items()})
        with telemetry.span("search.compare"):
            return _best(held, query, limit, jobs)

    def forget(self, embedder: str) -> None:
        """Let go of the memory of an embedder that is not asked any more."""
        with self._lock:
            self._held.pop(embedder, None)

    def _versions(self, tenant: str, embedder: str) -> dict[str, tuple[str, int]]:
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(embedded.c.job, embedded.c.version, embedded.c.passages)
                .join(embedders, embedders.c.id == embedded.c.embedder)
                .where(embedded.c.embedder == embedder, embedders.c.tenant == tenant)
            ).all()
        return {row.job: (row.version, row.passages) for row in rows}

    def _current(self, embedder: str, versions: dict[str, str]) -> _Shown:
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
            gone = [job for job in held.blocks if job not in versions]
            fresh = [
                job
                for job, version in versions.items()
                if job not in held.blocks or held.blocks[job].version != version
            ]
            for job in gone:
                del held.blocks[job]
            for begin in range(0, len(fresh), _AT_ONCE):
                held.blocks.update(self._read(embedder, fresh[begin : begin + _AT_ONCE]))
            if gone or fresh:
                held.lay()
            return _Shown(held.jobs, held.of, held.vectors, held.places)

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
        versions: dict[str, tuple[str, int]],
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
            held.blocks = {
                job: block
                for job, block in self._read(embedder, wanted[begin : begin + _AT_ONCE]).items()
                if len(block.vectors)
            }
            held.lay()
            shown = _Shown(held.jobs, held.of, held.vectors, held.places)
            best = sorted(best + _best(shown, query, limit, None), key=_rank)[:limit]
        return best


class _Shown(NamedTuple):
    """What was in memory at one moment: arrays that nobody writes to any more."""

    jobs: list[str]
    of: NDArray[np.int32]
    vectors: Matrix
    places: NDArray[np.float64]


def _rank(hit: Hit) -> tuple[float, str, int]:
    return -hit.score, hit.job, hit.position


def _best(shown: _Shown, query: Vector, limit: int, jobs: Collection[str] | None) -> list[Hit]:
    scores = shown.vectors @ np.asarray(query, np.float32)
    if jobs is not None:
        wanted = set(jobs)
        numbers = [number for number, job in enumerate(shown.jobs) if job in wanted]
        scores = np.where(np.isin(shown.of, numbers), scores, np.float32(-2))
    if limit < len(scores):
        # All that are as good as the last one that is wanted: ties are settled by order.
        least = np.partition(scores, len(scores) - limit)[len(scores) - limit]
        chosen = np.flatnonzero(scores >= least)
    else:
        chosen = np.arange(len(scores))
    chosen = chosen[scores[chosen] > NOTHING]
    order = chosen[np.lexsort((chosen, -scores[chosen]))][:limit]
    return [
        Hit(
            shown.jobs[shown.of[row]],
            int(shown.places[row, 0]),
            int(shown.places[row, 1]),
            int(shown.places[row, 2]),
            float(shown.places[row, 3]),
            float(shown.places[row, 4]),
            float(scores[row]),
        )
        for row in order
    ]


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
