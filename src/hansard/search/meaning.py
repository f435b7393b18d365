"""Finding by meaning in one process: what makes vectors and what compares them, made once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from hansard.config import Settings
from hansard.model import Job
from hansard.store.database import Database

if TYPE_CHECKING:
    from hansard.search.fitting import Embedders
    from hansard.search.lookup import Near
    from hansard.search.vectors import Vectors


class Meaning:
    """One of each for a process and a store. Safe for any number of threads."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._guard = threading.Lock()
        self._made: tuple[Embedders, Vectors] | None = None

    def near(self, tenant: str, text: str, limit: int) -> list[Near] | None:
        """The passages of a tenant that are nearest to a text; ``None``: there are none."""
        from hansard.search.lookup import Near

        embedders, vectors = self._parts()
        current = embedders.current(tenant)
        hits = vectors.nearest(tenant, current.id, current.embedder.embed_query(text), limit=limit)
        return [Near(h.job, h.first, h.last, h.start, h.end, h.score) for h in hits] or None

    def embed(self, job: Job) -> None:
        """Make the meeting that a job follows found by its meaning; fit the library where due."""
        assert job.parent is not None
        embedders, _ = self._parts()
        embedders.embed(job.tenant, job.parent)
        embedders.fit_if_due(job.tenant)

    def forget(self) -> None:
        """Let go of the vectors in memory; the next question reads them again."""
        with self._guard:
            made = self._made
        if made is not None:
            made[1].forget_all()

    def close(self) -> None:
        """Let go of what makes vectors."""
        if self._made is not None:
            self._made[0].close()

    def _parts(self) -> tuple[Embedders, Vectors]:
        with self._guard:
            if self._made is None:
                from hansard.search.fitting import Embedders
                from hansard.search.vectors import Vectors

                most = self._settings.caches.vectors
                made = Embedders(self._database, self._settings.embeddings)
                self._made = made, Vectors(self._database, most_bytes=most)
            return self._made
