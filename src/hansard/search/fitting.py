"""Which embedder a library uses, and when the embedded one is fitted to it again.

What the settings name is used: an endpoint, a folder with an ONNX model, or else the library's own
latent semantic analysis. That is fitted when there are 50 passages, at each doubling, and when a
library that grew has too many words that it did not know. Fitting makes a new embedder and all
vectors anew beside the old ones; then, in one transaction, it takes their place.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import sqlalchemy as sa

from hansard import telemetry
from hansard.config import EmbeddingSettings
from hansard.search import lsa, passages, vectors
from hansard.search.embedder import Embedder
from hansard.search.lsa import Lsa
from hansard.store import locks, transcripts
from hansard.store.database import Database
from hansard.store.ids import new_id
from hansard.store.tables import embedded, embedders, meetings

log = logging.getLogger("hansard.search.fitting")

GROWN = 1.25
"""Times as many passages as were fitted, from which on unknown words are counted."""

UNKNOWN = 0.35
"""Share of words of the newest meetings that is too many. Some 10 % are normal: names, and words
that were said once."""

_LOOKED_AT = 400
"""Passages of the newest meetings in which unknown words are counted."""

_ABANDONED = 6 * 3600.0
"""Seconds after which a fitting that did not end is taken for dead."""

_IN_THE_MAKING = -1
"""``embedders.fitted`` of one whose vectors are not all there yet."""

_LOADED = 4
"""Fitted embedders in the memory of a process: 20 MB each."""


_YOUNG = Lsa()
"""For every library that is too small to fit anything."""


class Current(NamedTuple):
    """The embedder that a tenant's library is searched with."""

    id: str
    embedder: Embedder


class Embedders:
    """The embedders of one process. Safe for any number of threads.

    Raises:
        BadSettings, EmbedderBroken: what the settings name cannot be used.
    """

    def __init__(
        self,
        database: Database,
        settings: EmbeddingSettings,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._clock = clock
        self._given = _given(settings)
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, Lsa] = OrderedDict()

    @property
    def fits(self) -> bool:
        """Whether the library's own is used, which must be fitted."""
        return self._given is None

    def current(self, tenant: str) -> Current:
        """The one that is in force; its row is made if there is none.

        Raises:
            EmbedderBroken: what was fitted cannot be read.
        """
        method = lsa.METHOD if self._given is None else self._given.method
        found = self._find(tenant, method)
        if found is None:
            dimensions = lsa.DIMENSIONS if self._given is None else self._given.dimensions
            with self._database.write() as connection:
                locks.alone(connection, f"embedder {tenant} {method}")
                if _in_force(connection, tenant, method) is None:
                    connection.execute(
                        embedders.insert().values(
                            id=new_id(self._clock()),
                            tenant=tenant,
                            method=method,
                            dimensions=dimensions,
                            created=self._clock(),
                        )
                    )
            found = self._find(tenant, method)
        assert found is not None
        return Current(found, self._given or self._load(found))

    def embed(self, tenant: str, job: str) -> int:
        """Make and keep the vectors of a meeting with the embedder in force.

        Returns:
            how many passages it has.

        Raises:
            LanguageModelError: the embedder cannot do it; ``trouble`` says whether later may help.
        """
        while True:
            chosen = self.current(tenant)
            with self._database.read() as connection:
                wording = _wording(connection, job)
            with telemetry.span("embeddings.meeting"):
                found = list(passages.cut(transcripts.stream(self._database, job)))
                made = chosen.embedder.embed([passage.text for passage in found])
            with self._database.write() as connection:
                if _holds(connection, chosen.id) and wording is not None:
                    vectors.keep(connection, job, chosen.id, found, made, wording=wording)
                    return len(found)
                if wording is None:
                    return 0  # the meeting was removed meanwhile

    def fit_if_due(self, tenant: str, *, alive: Callable[[], None] = lambda: None) -> str | None:
        """Fit the library's own embedder anew where that is due, and make all vectors with it.

        Takes seconds for a hundred meetings, minutes for thousands; searching goes on meanwhile.

        Args:
            tenant: whose library.
            alive: called every now and then; what it raises ends the fitting, and leaves all as
                it was.

        Returns:
            the id of the new embedder; ``None``: nothing was due, or somebody else is at it.
        """
        if self._given is not None:
            return None
        old = self.current(tenant)
        assert isinstance(old.embedder, Lsa)
        with self._database.read() as connection:
            jobs, total = _library(connection, old.id)
        if not self._is_due(old.embedder, jobs, total):
            return None
        new = self._begin(tenant)
        if new is None:
            return None
        try:
            return self._fit(tenant, old.id, new, (jobs, total), alive)
        except BaseException:
            with self._database.write() as connection:
                connection.execute(embedders.delete().where(embedders.c.id == new))
            raise

    def close(self) -> None:
        """Let go of the connections to an endpoint."""
        if self._given is not None and hasattr(self._given, "close"):
            self._given.close()

    # ── when ─────────────────────────────────────────────────────────────────────────────────

    def _is_due(self, fitted: Lsa, jobs: list[str], total: int) -> bool:
        if is_due(fitted.fitted, total, 0.0):
            return True
        if not fitted.fitted or total < GROWN * fitted.fitted:
            return False
        texts: list[str] = []
        for job in reversed(jobs):
            texts += [one.text for one in passages.cut(transcripts.stream(self._database, job))]
            if len(texts) >= min(_LOOKED_AT, total - fitted.fitted):
                break
        return is_due(fitted.fitted, total, fitted.unknown(texts))

    def _begin(self, tenant: str) -> str | None:
        """A row for the new one; ``None``: somebody else is fitting this library."""
        now = self._clock()
        making = (
            (embedders.c.tenant == tenant)
            & (embedders.c.method == lsa.METHOD)
            & (embedders.c.fitted == _IN_THE_MAKING)
        )
        with self._database.write() as connection:
            locks.alone(connection, f"fitting {tenant}")
            connection.execute(
                embedders.delete().where(making, embedders.c.created < now - _ABANDONED)
            )
            if connection.scalar(sa.select(embedders.c.id).where(making)) is not None:
                return None
            made = new_id(now)
            connection.execute(
                embedders.insert().values(
                    id=made,
                    tenant=tenant,
                    method=lsa.METHOD,
                    dimensions=lsa.DIMENSIONS,
                    fitted=_IN_THE_MAKING,
                    created=now,
                )
            )
        return made

    # ── how ──────────────────────────────────────────────────────────────────────────────────

    def _fit(
        self,
        tenant: str,
        old: str,
        new: str,
        library: tuple[list[str], int],
        alive: Callable[[], None],
    ) -> str | None:
        with telemetry.span("embeddings.fit"):
            texts: list[str] = []
            jobs, total = library
            step = max(1, -(-total // lsa.MOST))
            seen = 0
            for job in jobs:
                alive()
                for passage in passages.cut(transcripts.stream(self._database, job)):
                    if seen % step == 0:
                        texts.append(passage.text)
                    seen += 1
            with self._database.read() as connection:
                language = _language(connection, tenant)
            made = lsa.fit(texts, language)
        if not made.fitted:  # too few passages after all, or no word was said twice
            with self._database.write() as connection:
                connection.execute(embedders.delete().where(embedders.c.id == new))
            return None
        while not self._take_over(tenant, old, new, made, seen):
            with self._database.read() as connection:
                left = _left(connection, old, new)
            for job in left:
                alive()
                with self._database.read() as connection:
                    wording = _wording(connection, job)
                found = list(passages.cut(transcripts.stream(self._database, job)))
                rows = made.embed([passage.text for passage in found])
                with self._database.write() as connection:
                    if wording is not None and _wording(connection, job) is not None:
                        vectors.keep(connection, job, new, found, rows, wording=wording)
        log.info("the library of %s was fitted anew: %d passages", tenant, seen)
        return new

    def _take_over(self, tenant: str, old: str, new: str, made: Lsa, seen: int) -> bool:
        """Put the new one in the place of all others, once it has all their meetings."""
        with self._database.write() as connection:
            # Whoever writes vectors of the old one holds its row; from here on nobody does.
            connection.execute(
                sa.select(embedders.c.id).where(embedders.c.id == old).with_for_update()
            )
            if _left(connection, old, new):
                return False
            connection.execute(
                embedders.update()
                .where(embedders.c.id == new)
                .values(fitted=seen, body=made.to_bytes())
            )
            connection.execute(
                embedders.delete().where(
                    embedders.c.tenant == tenant,
                    embedders.c.method == lsa.METHOD,
                    embedders.c.id != new,
                )
            )
        return True

    # ── rows ─────────────────────────────────────────────────────────────────────────────────

    def _find(self, tenant: str, method: str) -> str | None:
        with self._database.read() as connection:
            return _in_force(connection, tenant, method)

    def _load(self, found: str) -> Lsa:
        with self._lock:
            loaded = self._loaded.get(found)
            if loaded is not None:
                self._loaded.move_to_end(found)
                return loaded
        with self._database.read() as connection:
            row = connection.execute(
                sa.select(embedders.c.body, embedders.c.fitted).where(embedders.c.id == found)
            ).one_or_none()
        if row is None or row.body is None:
            return _YOUNG
        made = Lsa.from_bytes(bytes(row.body))
        made.fitted = row.fitted
        with self._lock:
            self._loaded[found] = made
            while len(self._loaded) > _LOADED:
                self._loaded.popitem(last=False)
        return made


def is_due(fitted: int, there: int, unknown: float) -> bool:
    """Whether to fit again.

    Args:
        fitted: passages that were there when it was fitted; 0: it never was.
        there: passages that are there now.
        unknown: share of words of the newest meetings that it does not know.
    """
    if there < lsa.FEWEST:
        return False
    if not fitted or there >= 2 * fitted:
        return True
    return there >= GROWN * fitted and unknown > UNKNOWN


def _given(settings: EmbeddingSettings) -> Embedder | None:
    if settings.onnx is not None:
        from hansard.search.onnx_embedder import OnnxEmbedder

        return OnnxEmbedder(settings.onnx)
    if settings.model is not None:
        from hansard.search.remote_embedder import RemoteEmbedder

        return RemoteEmbedder(settings)
    return None


def _in_force(connection: sa.Connection, tenant: str, method: str) -> str | None:
    return connection.scalar(
        sa.select(embedders.c.id)
        .where(
            embedders.c.tenant == tenant,
            embedders.c.method == method,
            embedders.c.fitted != _IN_THE_MAKING,
        )
        .order_by(embedders.c.id.desc())
        .limit(1)
    )


def _holds(connection: sa.Connection, embedder: str) -> bool:
    """Whether an embedder is still there; if so, it stays until the end of the transaction."""
    return (
        connection.scalar(
            sa.select(embedders.c.id)
            .where(embedders.c.id == embedder)
            .with_for_update(read=True, key_share=True)
        )
        is not None
    )


def _wording(connection: sa.Connection, job: str) -> int | None:
    return connection.scalar(sa.select(meetings.c.wording).where(meetings.c.job == job))


def _library(connection: sa.Connection, embedder: str) -> tuple[list[str], int]:
    """The meetings that an embedder has vectors of, oldest first, and how many passages."""
    rows = connection.execute(
        sa.select(embedded.c.job, embedded.c.passages)
        .where(embedded.c.embedder == embedder)
        .order_by(embedded.c.job)
    ).all()
    return [row.job for row in rows], sum(row.passages for row in rows)


def _left(connection: sa.Connection, old: str, new: str) -> list[str]:
    """Meetings that the old one has vectors of and the new one has not, or older ones."""
    other = embedded.alias("other")
    return list(
        connection.scalars(
            sa.select(embedded.c.job)
            .outerjoin(other, (other.c.job == embedded.c.job) & (other.c.embedder == new))
            .where(
                embedded.c.embedder == old,
                other.c.job.is_(None) | (other.c.wording < embedded.c.wording),
            )
            .order_by(embedded.c.job)
        )
    )


def _language(connection: sa.Connection, tenant: str) -> str | None:
    """The language that most meetings are in, where more than half of them are."""
    rows = connection.execute(
        sa.select(meetings.c.language, sa.func.count().label("many"))
        .where(meetings.c.tenant == tenant)
        .group_by(meetings.c.language)
    ).all()
    most = max(rows, key=lambda row: row.many, default=None)
    if most is None or 2 * most.many <= sum(row.many for row in rows):
        return None
    return None if most.language is None else str(most.language)
