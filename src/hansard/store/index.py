"""What is searched, kept in step with what was said: in the transaction that changes it.

``segments.terms`` has the terms of each segment and ``meeting_words.words`` those of the whole
meeting. Both databases index these two columns by themselves (SQLite by triggers, PostgreSQL by
its nature), so whoever writes them need not think of the index, and what is deleted is gone from
it. Whoever changes some segments, the title or names of speakers calls :func:`renew` afterwards;
whoever changes more, :func:`keep`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath

import msgspec
import sqlalchemy as sa

from hansard.model import Value
from hansard.store import terms
from hansard.store.database import Database
from hansard.store.dialects import inserts
from hansard.store.tables import (
    jobs,
    meeting_words,
    meetings,
    segments,
    speakers,
    transcripts,
    vocabulary,
)

POSITIONS = 20
"""Bits of a full-text row's number that are the segment's position; the others, its meeting's."""

_SHORTEST, _LONGEST = 3, 32
"""Characters of words that typos are held against."""


class About(Value, frozen=True):
    """What of a meeting, besides its words, is searched."""

    tenant: str
    title: str
    language: str | None = None
    speakers: tuple[str, ...] = ()


class _Spoken(Value, frozen=True):
    """What of a segment says how its words are taken."""

    language: str | None = None


_spoken = msgspec.json.Decoder(_Spoken).decode


def title_of(name: str) -> str:
    """What a meeting is called before anybody has said so: its file's name."""
    return PurePath(name).stem or name


class Indexing:
    """The words of one transcript while it is being written."""

    def __init__(self, connection: sa.Connection, job: str) -> None:
        """``job`` has a row in ``transcripts`` already."""
        self._connection = connection
        self._job = job
        self._about = about(connection, job)
        self._counts: Counter[str] = Counter()
        self._seen: set[str] = set()

    def terms(self, text: str, language: str | None = None) -> str:
        """The terms of a segment, for its row; they are counted."""
        words = terms.words(text)
        found = terms.of_words(words, language or self._about.language)
        self._counts.update(set(found))
        self._seen.update(words)
        return " ".join(found)

    def end(self) -> None:
        """That was all.

        Only now is there a row of the meeting's words. SQLite indexes all its segments with that
        row, in a tenth of the time that it takes to index each by itself.
        """
        _put(self._connection, self._job, self._about, self._counts)
        _learn(self._connection, self._about.tenant, self._seen)


def about(connection: sa.Connection, job: str) -> About:
    """What is known of a meeting; the job's own name where it has no row in ``meetings`` yet."""
    row = connection.execute(
        sa.select(jobs.c.tenant, jobs.c.name, jobs.c.language, meetings.c.title)
        .add_columns(meetings.c.language.label("found"))
        .outerjoin(meetings, meetings.c.job == jobs.c.id)
        .where(jobs.c.id == job)
    ).one()
    named = connection.execute(
        sa.select(speakers.c.label, speakers.c.name).where(speakers.c.job == job)
    )
    return About(
        row.tenant,
        title_of(row.name) if row.title is None else row.title,
        row.found or row.language,
        tuple(text for label, name in named for text in (label, name) if text),
    )


def keep(connection: sa.Connection, job: str) -> None:
    """Bring the index in step with a meeting's words, language, title and speakers as they are now.

    In the transaction that changed them. Nothing happens to a meeting without a transcript.
    """
    found = connection.scalar(sa.select(transcripts.c.job).where(transcripts.c.job == job))
    if found is None:
        return
    known = about(connection, job)
    counts, _ = _written(connection, job, known)
    _put(connection, job, known, counts)


def renew(connection: sa.Connection, job: str, positions: Sequence[int] = ()) -> None:
    """The same where only some segments, the title or names of speakers have changed.

    The meeting is found by what :func:`keep` would have it found by. Of other segments only those
    are looked at that have a term which came or went.
    """
    before = connection.scalar(sa.select(meeting_words.c.words).where(meeting_words.c.job == job))
    if before is None:
        keep(connection, job)
        return
    known = about(connection, job)
    _, touched = _written(connection, job, known, positions) if positions else ({}, set())
    touched |= terms.titled(before) - set(_title_terms(known))
    if len(touched) > _MOST_COUNTED:
        keep(connection, job)
        return
    counted = connection.execute(
        _COUNTED[connection.dialect.name],
        {"job": job, "terms": _listed(connection, sorted(touched))},
    )
    counts = dict.fromkeys(touched, 0) | dict(map(tuple, counted))
    _put(connection, job, known, counts, before)


_MOST_COUNTED = 500
"""Terms that are counted one by one. A corrected segment has some ten that came or went."""


def _written(
    connection: sa.Connection, job: str, known: About, positions: Sequence[int] | None = None
) -> tuple[Counter[str], set[str]]:
    """Write the terms of all segments or some.

    Returns:
        in how many of them each term is, and the terms that came to one of them or went.
    """
    counts: Counter[str] = Counter()
    touched: set[str] = set()
    seen: set[str] = set()
    changed = []
    s = segments.c
    chosen = sa.select(s.position, s.text, s.body, s.terms).where(s.job == job)
    if positions is not None:
        chosen = chosen.where(s.position.in_(positions))
    for position, text, body, before in connection.execute(chosen):
        words = terms.words(text)
        now = terms.of_words(words, _spoken(body).language or known.language)
        counts.update(set(now))
        seen.update(words)
        joined = " ".join(now)
        if joined != before:
            touched |= set(now) ^ set((before or "").split())
            changed.append({"at": position, "now": joined})
    if changed:
        connection.execute(
            segments.update()
            .where(segments.c.job == job, segments.c.position == sa.bindparam("at"))
            .values(terms=sa.bindparam("now")),
            changed,
        )
    _learn(connection, known.tenant, seen)
    return counts, touched


def keep_all(database: Database) -> int:
    """Bring the index in step with every meeting, each in a transaction; how many there were."""
    count, last = 0, ""
    following = sa.select(transcripts.c.job).order_by(transcripts.c.job).limit(1)
    while True:
        with database.write(lasting=False) as connection:
            job = connection.scalar(following.where(transcripts.c.job > last))
            if job is None:
                return count
            keep(connection, job)
        last = job
        count += 1


def stale(connection: sa.Connection, job: str) -> bool:
    """Whether the terms of a meeting are not those of its words: all of them are made again."""
    known = about(connection, job)
    chosen = sa.select(segments.c.text, segments.c.body, segments.c.terms).where(
        segments.c.job == job
    )
    return any(
        row.terms != " ".join(terms.terms(row.text, _spoken(row.body).language or known.language))
        for row in connection.execute(chosen).all()
    )


def _title_terms(known: About) -> list[str]:
    # A title's language is anybody's guess: it is found by stems and by words.
    return [*terms.terms(known.title), *terms.terms(known.title, "x")]


def _put(
    connection: sa.Connection, job: str, known: About, counts: Mapping[str, int], before: str = ""
) -> None:
    """Write what a meeting is found by; with ``before``, other terms stay as they are there."""
    words = terms.composed(
        counts,
        title=_title_terms(known),
        tenant=known.tenant,
        speakers=(term for name in known.speakers for term in terms.terms(name, "x")),
        before=before,
    )
    put = _PUT[connection.dialect.name].values(job=job, words=words)
    connection.execute(
        put.on_conflict_do_update(
            index_elements=["job"],
            set_={"words": put.excluded.words},
            where=meeting_words.c.words != put.excluded.words,
        )
    )


def _learn(connection: sa.Connection, tenant: str, seen: Iterable[str]) -> None:
    """Remember words for whoever mistypes them. They stay: who looks one up asks the index, too.

    Only new ones are written, and in order, so that writers of one tenant meet each other rarely
    and never in a circle.
    """
    worth = [
        word
        for word in terms.plain(seen)
        if _SHORTEST <= len(word) <= _LONGEST and not word[0].isdecimal()
    ]
    given = {"tenant": tenant, "words": _listed(connection, worth)}
    found = connection.scalar(_NEW[connection.dialect.name], given)
    new = sorted(msgspec.json.decode(found) if isinstance(found, str) else found or ())
    if new:
        connection.execute(
            _LEARN[connection.dialect.name].on_conflict_do_nothing(),
            [{"term": word, "tenant": tenant} for word in new],
        )


def _listed(connection: sa.Connection, words: list[str]) -> str | list[str]:
    """Words as a parameter."""
    return msgspec.json.encode(words).decode() if connection.dialect.name == "sqlite" else words


_NEW = {
    "sqlite": sa.text("""
        SELECT json_group_array(value) FROM json_each(:words) WHERE NOT EXISTS (
            SELECT 1 FROM vocabulary WHERE term = value AND tenant = :tenant)
    """),
    "postgresql": sa.text("""
        SELECT array_agg(word) FROM unnest(CAST(:words AS text[])) AS word WHERE NOT EXISTS (
            SELECT 1 FROM vocabulary WHERE term = word AND tenant = :tenant)
    """),
}
_COUNTED = {
    # Terms are letters and digits, so quoting them is all there is to do.
    "sqlite": sa.text(f"""
        SELECT value, (
            SELECT count(*) FROM segment_index WHERE segment_index MATCH '"' || value || '"'
            AND rowid BETWEEN number << {POSITIONS} AND (number + 1 << {POSITIONS}) - 1)
        FROM meeting_words CROSS JOIN json_each(:terms) WHERE job = :job
    """),  # noqa: S608 constants
    "postgresql": sa.text("""
        SELECT term, count(DISTINCT position)
        FROM segments CROSS JOIN unnest(string_to_array(terms, ' ')) AS term
        WHERE job = :job AND term = ANY(CAST(:terms AS text[])) GROUP BY term
    """),
}

_PUT = inserts(meeting_words)
_LEARN = inserts(vocabulary)
