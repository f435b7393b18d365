"""What ``search.fulltext`` asks of SQLite: its FTS5 indexes, a term of which needs no more care.

Rows of ``segment_index`` are numbered by meeting and position, so one meeting's are a range.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from hansard.search.place import Place
from hansard.store.index import POSITIONS

Ways = Sequence[Sequence[str]]

# Pronounced: the join starts with the index, which gives the newest first without sorting.
_MEETINGS = """
    SELECT json_group_array(json_array(number, job, segments, held)) FROM (
        SELECT w.number, m.job, m.segments, m.held FROM meeting_index
        CROSS JOIN meeting_words AS w ON w.number = meeting_index.rowid
        CROSS JOIN meetings AS m ON m.job = w.job
        WHERE meeting_index MATCH :match AND meeting_index.rowid < :below
            AND m.tenant = :tenant{where}
        ORDER BY meeting_index.rowid DESC LIMIT :limit
    )
"""
# The other way round: each of some meetings is looked up.
_AMONG = """
    SELECT json_group_array(json_array(number, job, segments, held)) FROM (
        SELECT w.number, m.job, m.segments, m.held FROM json_each(:jobs) AS one
        CROSS JOIN meetings AS m ON m.job = one.value
        CROSS JOIN meeting_words AS w ON w.job = m.job
        WHERE m.tenant = :tenant AND w.number < :below{where}
        ORDER BY w.number DESC LIMIT :limit
    )
"""
_MATCHING = """ AND EXISTS (
    SELECT 1 FROM meeting_index WHERE meeting_index MATCH :match AND rowid = w.number)"""
_TITLES = sa.text("""
    SELECT job, title FROM meetings WHERE job IN (SELECT value FROM json_each(:jobs))
""")
_NUMBERS = sa.text("""
    SELECT (SELECT group_concat(rowid) FROM meeting_index
            WHERE meeting_index MATCH asked.value AND rowid BETWEEN :low AND :high)
    FROM json_each(:asked) AS asked ORDER BY asked.key
""")
_PHRASE = sa.text(f"""
    SELECT number, count(*) FROM (
        SELECT rowid >> {POSITIONS} AS number FROM segment_index
        WHERE segment_index MATCH :match AND rowid BETWEEN :low AND :high
        ORDER BY rowid DESC LIMIT :limit
    ) GROUP BY number
""")  # noqa: S608 constants
# Of pairs of a meeting and an expression.
_POSITIONS = sa.text(f"""
    SELECT asked.value ->> 0, (
        SELECT group_concat(rowid) FROM segment_index
        WHERE segment_index MATCH asked.value ->> 1
            AND rowid BETWEEN (asked.value ->> 0) << {POSITIONS}
            AND ((asked.value ->> 0) << {POSITIONS}) + {(1 << POSITIONS) - 1})
    FROM json_each(:asked) AS asked
""")  # noqa: S608 constants
_WORDS_OF = sa.text("""
    SELECT number, words FROM meeting_words WHERE number IN (SELECT value FROM json_each(:asked))
""")
_SEGMENTS = sa.text("""
    SELECT s.job, s.position, s.start, s."end", s.speaker, s.text, s.terms
    FROM json_each(:spots) AS spot
    CROSS JOIN segments AS s ON s.job = spot.value ->> 0 AND s.position = spot.value ->> 1
""")


AMONG = "m.job IN (SELECT value FROM json_each(:jobs))"
"""A meeting is one of some that are listed."""


def listed(values: Sequence[str]) -> str:
    """Jobs, or others, as a parameter."""
    return msgspec.json.encode(values).decode()


def match(required: Sequence[Ways], excluded: Ways = (), *, adjacent: bool = False) -> str:
    """An expression of FTS5: of each of ``required`` one way, and none of ``excluded``."""
    wanted = " AND ".join(f"({_any(ways, adjacent)})" for ways in required)
    if not excluded:
        return wanted
    return f"({wanted}) NOT ({_any(excluded, adjacent)})"


def _any(ways: Ways, adjacent: bool) -> str:
    return " OR ".join(_phrase(way) if adjacent else f"({_all(way)})" for way in ways)


def _all(way: Sequence[str]) -> str:
    return " AND ".join(_phrase([term]) for term in way)


def _phrase(way: Sequence[str]) -> str:
    said = " ".join(way)
    # Terms are letters and digits, so quoting them is all there is to do.
    return f'"{said[:-1]}" *' if said.endswith("*") else f'"{said}"'


def meetings(connection: sa.Connection, where: str, asked: dict[str, Any]) -> list[Place]:
    """The newest meetings that match.

    As one row: fetching a thousand takes longer than finding them.
    """
    return _places(connection.scalar(sa.text(_MEETINGS.format(where=where)), asked))


def meetings_among(
    connection: sa.Connection,
    only: Sequence[str],
    where: str,
    asked: dict[str, Any],
    *,
    anything: bool,
) -> list[Place]:
    """Those of some jobs that match; with ``anything``, whatever their words are."""
    query = sa.text(_AMONG.format(where=where if anything else where + _MATCHING))
    given = {name: value for name, value in asked.items() if name != "match" or not anything}
    return _places(connection.scalar(query, {**given, "jobs": listed(only)}))


_places = msgspec.json.Decoder(list[Place]).decode


_SPANS = sa.text("""
    SELECT s.job, s.position, s.start, s."end", s.speaker, s.text, s.terms
    FROM json_each(:spans) AS span
    CROSS JOIN segments AS s ON s.job = span.value ->> 0
        AND s.position BETWEEN span.value ->> 1 AND span.value ->> 2
    ORDER BY s.job, s.position
""")


def spans(
    connection: sa.Connection, wanted: Sequence[tuple[str, int, int]]
) -> Sequence[sa.Row[Any]]:
    """The segments of some meetings from one position to another, both included, in order."""
    return connection.execute(_SPANS, {"spans": msgspec.json.encode(wanted).decode()}).all()


def titles(connection: sa.Connection, jobs: Sequence[str]) -> Sequence[sa.Row[Any]]:
    """Job and title of some meetings."""
    return connection.execute(_TITLES, {"jobs": listed(jobs)}).all()


def numbers(
    connection: sa.Connection, expressions: Sequence[str], low: int, high: int
) -> list[list[int]]:
    """Of each expression, the meetings between two numbers that match it."""
    asked = {"asked": listed(expressions), "low": low, "high": high}
    return [_numbers(found) for (found,) in connection.execute(_NUMBERS, asked).all()]


def _numbers(joined: str | None) -> list[int]:
    return [] if joined is None else list(map(int, joined.split(",")))


def spoken(
    connection: sa.Connection,
    clauses: Sequence[Ways],
    among: dict[int, str],
    limit: int,
    *,
    at_most: float = 0.0,
) -> Counter[int]:
    """In how many segments of each meeting all clauses are; see ``fulltext_postgres.spoken``."""
    del at_most  # the index goes from the newest on by itself
    low, high = min(among) << POSITIONS, (max(among) + 1 << POSITIONS) - 1
    asked = {
        "match": match(clauses, adjacent=True),
        "low": low,
        "high": high,
        "limit": limit,
    }
    return Counter(dict(map(tuple, connection.execute(_PHRASE, asked).all())))


def places(
    connection: sa.Connection, clauses: Sequence[Ways], among: dict[int, str], limit: int
) -> tuple[Counter[str], list[sa.Row[Any]]]:
    """Of each meeting, how many segments have any of the clauses, and ``limit`` of these.

    Segments that have all of them come first, and then the earliest.
    """
    having = _having(connection, clauses, among)
    spots: list[tuple[str, int]] = []
    counts: Counter[str] = Counter()
    for number, of_clauses in having.items():
        either = set().union(*of_clauses)
        first = sorted(set.intersection(*of_clauses)) if len(of_clauses) > 1 else []
        chosen = list(dict.fromkeys([*first[:limit], *sorted(either)]))[:limit]
        spots += [(among[number], position) for position in sorted(chosen)]
        counts[among[number]] = len(either)
    rows = connection.execute(_SEGMENTS, {"spots": msgspec.json.encode(spots).decode()}).all()
    return counts, list(rows)


def _having(
    connection: sa.Connection, clauses: Sequence[Ways], among: Iterable[int]
) -> dict[int, list[set[int]]]:
    """Of each meeting, the positions of the segments with each clause."""
    asked = []
    spelt = _spelt(connection, clauses, among)
    for number, of_clauses in spelt.items():
        asked += [(number, match([ways], adjacent=True)) for ways in of_clauses if ways]
    found = iter(connection.execute(_POSITIONS, {"asked": msgspec.json.encode(asked).decode()}))
    mask = (1 << POSITIONS) - 1
    return {
        number: [
            {rowid & mask for rowid in _numbers(next(found)[1])} if ways else set()
            for ways in of_clauses
        ]
        for number, of_clauses in spelt.items()
    }


def _spelt(
    connection: sa.Connection, clauses: Sequence[Ways], among: Iterable[int]
) -> dict[int, list[Ways]]:
    """The clauses for each meeting, with the words that it has in the place of beginnings.

    FTS5 puts together where all words are that begin so, of all meetings, and would do it again
    for each that is shown (measured: a tenth of a second for three letters).
    """
    if not any(way[-1].endswith("*") for ways in clauses for way in ways):
        return {number: list(clauses) for number in among}
    asked = {"asked": msgspec.json.encode(list(among)).decode()}
    return {
        number: [
            [whole for way in ways for whole in _ended(way, words.split())] for ways in clauses
        ]
        for number, words in connection.execute(_WORDS_OF, asked)
    }


def _ended(way: Sequence[str], words: list[str]) -> Ways:
    """A way with each of the words, which are sorted, that its last one may be the beginning of."""
    if not way[-1].endswith("*"):
        return [way]
    start = bisect_left(words, way[-1][:-1])
    stop = bisect_left(words, way[-1][:-1] + "\U0010ffff", start)
    if stop - start > _MOST_ENDINGS:
        return [way]
    return [[*way[:-1], word] for word in words[start:stop]]


_MOST_ENDINGS = 400
"""Words with one beginning that are asked for one by one."""


def vocabulary(
    connection: sa.Connection,
    tenant: str,
    between: tuple[str, str],
    lengths: range,
    limit: int,
) -> list[str]:
    """Words of a tenant from one up to another, of some lengths."""
    asked = {"tenant": tenant, "low": between[0], "high": between[1], "limit": limit}
    asked |= {"shortest": lengths.start, "longest": lengths.stop}
    return _words(connection.scalar(_WORDS, asked))


_words = msgspec.json.Decoder(list[str]).decode

_WORDS = sa.text("""
    SELECT json_group_array(term) FROM (
        SELECT term FROM vocabulary
        WHERE term >= :low AND term < :high AND tenant = :tenant
            AND length(term) >= :shortest AND length(term) < :longest
        LIMIT :limit
    )
""")
