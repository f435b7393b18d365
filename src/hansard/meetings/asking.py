"""Questions to one meeting, or to all of them: passages are found here, and answered from there.

Of a whole library those are taken that share rare words with the question, and those that are
near to it in meaning, in turn; of one meeting, those that share most of its words. What comes of
them is ``insight.ask``'s.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain, zip_longest

import sqlalchemy as sa

from hansard.insight import ask as answering
from hansard.insight.ask import Excerpt, Reply, Said
from hansard.meetings.makers import Tools
from hansard.search import lookup, passages
from hansard.search.lookup import Asked, Nearest
from hansard.search.stems import NOTHING, stems
from hansard.store import meetings, transcripts
from hansard.store.database import Database
from hansard.store.tables import meetings as rows
from hansard.store.tables import segments, speakers

MOST = 12
"""Passages that an answer is sought in."""

_BEFORE, _AFTER = 1, 4
"""Segments around one that has the words: an answer follows a question more often than not."""

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_WORDS = 12
"""Of a question that are searched for."""

_NEAR_MEETINGS = 8

Span = tuple[str, int, int]
"""A meeting, and its segments from one position to another."""


def ask(
    database: Database,
    tenant: str,
    question: str,
    *,
    tools: Tools,
    nearest: Nearest | None = None,
    meeting: str | None = None,
) -> Reply:
    """Answer a question from what a tenant's meetings say, or say that it is not known.

    Args:
        database: the store.
        tenant: whose meetings.
        question: as somebody asked it.
        tools: with a language model, where there is one.
        nearest: finds by meaning; ``None`` where nothing does.
        meeting: only this one.

    Raises:
        UsageError: the question says nothing, or is too long.
        UnknownMeeting: there is no such meeting.
        Archived: its words are in the archive.
    """
    if meeting is None:
        retrieve = partial(_of_all, database, tenant, nearest)
    else:
        with database.read() as connection:
            meetings.row(connection, meeting, tenant)
        retrieve = partial(_of_one, database, meeting)
    return answering.ask(question, retrieve, tools.model, purse=tools.purse)


def _of_all(
    database: Database, tenant: str, nearest: Nearest | None, question: str
) -> list[Excerpt]:
    words = [word for word in _WORD.findall(question) if word.casefold() not in NOTHING]
    by_words: list[Span] = []
    if words:
        asked = Asked(" OR ".join(word.casefold() for word in words[:_WORDS]), "text")
        found = lookup.search(database, tenant, asked, limit=_NEAR_MEETINGS)
        by_words = [
            (hit.id, max(0, one.position - _BEFORE), one.position + _AFTER)
            for hit in found.items
            for one in hit.passages
        ]
    near = (nearest(question, MOST) if nearest is not None else None) or ()
    by_meaning = [(one.job, one.first, one.last) for one in near]
    mixed = chain.from_iterable(zip_longest(by_words, by_meaning))
    return _excerpts(database, _apart(span for span in mixed if span is not None))


def _apart(spans: Iterable[Span]) -> list[Span]:
    """The first ones, each of which says something that no other does."""
    chosen: list[Span] = []
    for job, first, last in spans:
        if any(job == other and first <= end and last >= begin for other, begin, end in chosen):
            continue
        chosen.append((job, first, last))
        if len(chosen) == MOST:
            break
    return chosen


def _excerpts(database: Database, spans: Sequence[Span]) -> list[Excerpt]:
    """What was said there, in two questions to the store, in the order of ``spans``."""
    if not spans:
        return []
    here = sa.or_(
        *(
            sa.and_(segments.c.job == job, segments.c.position.between(first, last))
            for job, first, last in spans
        )
    )
    of = {job for job, *_ in spans}
    with database.read() as connection:
        said = connection.execute(
            sa.select(
                segments.c.job, segments.c.position, segments.c.start, segments.c.end,
                segments.c.text, sa.func.coalesce(speakers.c.name, segments.c.speaker).label("who"),
            )
            .outerjoin(
                speakers,
                sa.and_(
                    speakers.c.job == segments.c.job, speakers.c.label == segments.c.speaker
                ),
            )
            .where(here)
            .order_by(segments.c.job, segments.c.position)
        ).all()  # fmt: skip
        named = connection.execute(sa.select(rows.c.job, rows.c.title).where(rows.c.job.in_(of)))
        titled = {row.job: row.title for row in named}
    return [
        Excerpt(
            job,
            titled.get(job, ""),
            tuple(
                Said(row.position, row.start, row.end, row.text, row.who)
                for row in said
                if row.job == job and first <= row.position <= last
            ),
        )
        for job, first, last in spans
    ]


def _of_one(database: Database, meeting: str, question: str) -> list[Excerpt]:
    """Of one meeting the passages that share most with the question, by how rare its words are."""
    transcripts.head(database, meeting)  # says so where it is in the archive
    found = list(passages.cut(transcripts.stream(database, meeting)))
    known = [frozenset(stems(one.text)) for one in found]
    counts = Counter(stem for one in known for stem in one)
    asked = frozenset(stems(question))

    def worth(number: int) -> float:
        return sum(math.log1p(len(found) / counts[stem]) for stem in asked & known[number])

    best = sorted(range(len(found)), key=lambda number: (-worth(number), number))[:MOST]
    return _excerpts(database, [(meeting, found[n].first, found[n].last) for n in best])
