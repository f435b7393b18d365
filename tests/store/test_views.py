"""The two databases give the same answers: the same JSON, the same fields in the same order."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hansard.model import Segment, Transcript, Word
from hansard.store import transcripts, views
from hansard.store.database import Database
from hansard.store.ids import first_id, new_id
from hansard.store.postgres import Postgres
from hansard.store.tables import jobs, recordings
from hansard.store.tables import transcripts as heads

Pair = tuple[Database, Database]

ODD = [
    "plain.wav",
    "quo\"ted\\ and 'single'.wav",
    "two\nlines\tand\r\x01\x1f\x7f.wav",
    "Übung 7 ŒUVRE ﬁ \u2028 \U0001f3a7 שלום.wav",
    "n" * 20_000,
    "100%_a*b?[c]^d-e.(f){g}|$h+",
    "{}",
    "",
]
"""Names that something may stumble over."""

BEGIN = 1_700_000_000.0


def row(number: int, **given: Any) -> dict[str, Any]:
    """A job as it is inserted."""
    return {
        "id": first_id(BEGIN + number),
        "kind": "transcribe",
        "state": "completed",
        "step": "finish",
        "priority": 5,
        "recording": "r",
        "options": '{"engine":"sphinx","model":"en-us","prompt":"\\u00e9 \\"x\\" é"}',
        "identity": str(number),
        "answers": None,
        "batch_key": "b",
        "engine": "sphinx",
        "model": "en-us",
        "language": None,
        "levels": "{}",
        "created": BEGIN + number,
        "started": None,
        "finished": None,
        "failure": None,
        "name": ODD[number % len(ODD)],
        "seconds": None,
        "webhook": None,
        "position": 0,
        "heard": 0,
        "planned": 0,
        "planned_samples": 0,
        "heard_samples": 0,
        "tenant": "local",
        "not_before": 0.0,
        "attempt": 0,
    } | given


def put(database: Database, rows: Sequence[dict[str, Any]]) -> None:
    with database.write() as connection:
        connection.execute(jobs.delete())
        connection.execute(recordings.delete())
        connection.execute(
            recordings.insert().values(id="r", name="r", size=1, media="{}", created=1.0)
        )
        if rows:
            connection.execute(jobs.insert(), list(rows))


def said(raw: bytes) -> list[Any]:
    """JSON with its order: objects as pairs."""
    return json.loads(raw, object_pairs_hook=lambda pairs: pairs)  # type: ignore[no-any-return]


def every_page(database: Database, wanted: views.Filter, limit: int) -> list[Any]:
    after, found = None, []
    while True:
        page = views.page(database, "local", wanted, after=after, limit=limit)
        found.append((said(page.items), page.count, page.last))
        if page.last is None:
            return found
        after = page.last


ROWS = [
    row(0),
    row(1, state="failed", failure='{"code":"x","message":"m \\u0001 \\"q\\""}', finished=1e9),
    row(2, state="retrying", not_before=1_700_000_123.25, webhook="https://x/?a=1&b=%20"),
    row(3, created=BEGIN + 3.125, started=12345678.125, finished=BEGIN + 9.5, seconds=0.1),
    row(4, kind="live", state="running", seconds=1e-7, planned_samples=7, heard_samples=3),
    row(5, state="running", position=24_007, planned=9, heard=8, planned_samples=10**12,
        heard_samples=10**12),
    row(6, state="cancelled", language="de", tenant="another"),
    row(7, state="queued", priority=9, seconds=1e22, attempt=3),
]  # fmt: skip


def test_pages_are_the_same(pair: Pair) -> None:
    filters = [
        views.Filter(),
        views.Filter(("failed",)),
        views.Filter(("failed", "running", "queued")),
        views.Filter(kind="live"),
        views.Filter(since=BEGIN + 2, until=BEGIN + 5),
        views.Filter(since=BEGIN + 3.1),
        views.Filter(until=BEGIN),
        views.Filter(("completed", "running"), "transcribe", BEGIN, BEGIN + 6, "2"),
        *(views.Filter(text=text) for text in ("übUNG", "œuvre", "%_A*B?[C]^D-E.(F){G}|$H+")),
        *(views.Filter(text=text) for text in ("*", "\\ AND", "É", "\U0001f3a7 ש", "\n", "ﬁ")),
        *(views.Filter(text=text) for text in (".", "[", "^", "]", "-", "N" * 100, "no such")),
    ]
    for database in pair:
        put(database, ROWS)
    for wanted in filters:
        for limit in (1, 2, 50):
            first, second = (every_page(database, wanted, limit) for database in pair)
            assert first == second, wanted
    assert every_page(pair[1], views.Filter(text="ÜBUNG 7"), 5)[0][1] == 1
    assert every_page(pair[1], views.Filter(text="%_A*B?[C]^D-E.(F){G}|$H+"), 5)[0][1] == 1


def test_states_are_the_same(pair: Pair) -> None:
    ids = [one["id"] for one in ROWS] + ["nobody", "", "'", "\x00"]
    for database in pair:
        put(database, ROWS)
    for tenant in ("local", "another", "nobody"):
        first, second = (views.statuses(database, tenant, ids) for database in pair)
        assert {name: said(one) for name, one in first.items()} == {
            name: said(one) for name, one in second.items()
        }
    assert [views.statuses(database, "local", []) for database in pair] == [{}, {}]


def test_progress_is_rounded_as_it_ever_was(pair: Pair) -> None:
    numbers = [(0, 5), (1, 3), (2, 3), (9_994, 10_000), (9_996, 10_000), (7, 7), (123, 4567)]
    rows = [
        row(n, state="running", heard_samples=heard * 16, planned_samples=planned * 16,
            position=planned * 3)
        for n, (heard, planned) in enumerate(numbers)
    ]  # fmt: skip
    for database in pair:
        put(database, rows)
        found = views.statuses(database, "local", [one["id"] for one in rows])
        for one, (heard, planned) in zip(rows, numbers, strict=True):
            progress = json.loads(found[one["id"]])["progress"]
            assert progress["share"] == round(min(0.999, heard / planned), 4)
            assert progress["seconds"] == round(planned / 1000, 3)
            assert progress["prepared_seconds"] == pytest.approx(planned * 3 / 16000, abs=0.00051)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40),
    part=st.tuples(st.integers(0, 40), st.integers(1, 6)),
    figure=st.floats(allow_nan=False, allow_infinity=False, width=32),
    samples=st.tuples(st.integers(0, 10**11), st.integers(0, 10**11)),
)
def test_any_job_is_the_same(
    pair: Pair, name: str, part: tuple[int, int], figure: float, samples: tuple[int, int]
) -> None:
    heard, planned = sorted(samples)
    one = row(0, name=name, seconds=figure, heard_samples=heard, planned_samples=planned)
    text = name[part[0] : sum(part)].swapcase() or None
    answers = []
    for database in pair:
        put(database, [one])
        answers.append((
            every_page(database, views.Filter(text=text), 5),
            said(views.statuses(database, "local", [one["id"]])[one["id"]]),
        ))  # fmt: skip
    assert answers[0] == answers[1]


def test_both_find_a_letter_in_any_case_of_any_script(pair: Pair) -> None:
    for database in pair:
        put(database, [row(0, name="Straße ΣΊΣΥΦΟΣ Жук Įlanka ǅ ⅷ \u0131I")])
    for text in ("STRA", "σίσυφος", "ΣΊΣΥ", "ЖУК", "įLANKA", "ǆ", "Ⅷ", "i", "SS", "ς"):
        counts = [views.page(database, "local", views.Filter(text=text)).count for database in pair]
        assert counts[0] == counts[1], text
    assert views.page(pair[1], "local", views.Filter(text="жУК")).count == 1


# ── transcripts ──────────────────────────────────────────────────────────────────────────────


TALKS: list[list[Segment]] = [
    [],
    [Segment(0.0, 0.1, "")],
    [
        Segment(0.1, 1e-7, "Eins.", (Word(0.1, 0.2, "Eins."),), tokens=(1, 2)),
        Segment(1.0, 12345678.125, 'quo"te \\ \n\t\x01 é \U0001f3a7', speaker="A", paragraph=0),
        Segment(2.0, 3.0, "neu", paragraph=1, language="de", temperature=0.2, avg_logprob=-1e-9),
        Segment(2.0, 3.0, '"tokens":[1],', (Word(2.0, 3.0, '"words":[', 0.5),), paragraph=1),
        Segment(3.0, 4.0, "wieder", paragraph=0, channel=1),
        Segment(4.0, 5.0, "weit", paragraph=12, no_speech_prob=1.0, compression_ratio=1 / 3),
    ],
    [Segment(n / 3, n / 3 + 0.1, f"satz {n}", paragraph=n // 7, tokens=(n,)) for n in range(700)],
]


def talk(database: Database, job: str, said_there: Sequence[Segment]) -> None:
    head = Transcript("i", "r", 'na"me\né', 12345678.125, "sphinx", "en-us", language=None)
    with database.write() as connection:
        transcripts.save(connection, job, said_there, lambda: head)


@pytest.mark.parametrize("number", range(len(TALKS)))
def test_transcripts_are_the_same(pair: Pair, number: int) -> None:
    job = ROWS[0]["id"]
    for database in pair:
        put(database, ROWS[:1])
        assert views.transcript(database, "local", job, words=True) is None
        talk(database, job, TALKS[number])
        assert views.transcript(database, "another", job, words=True) is None
    for words in (True, False):
        first, second = (views.transcript(one, "local", job, words=words) for one in pair)
        assert first == second, "to the byte: both keep what was written"
        assert first is not None
        whole = msgspec.json.decode(first, type=dict[str, Any])
        assert (
            whole["text"] == Transcript("", "", "", 0, "", "", segments=tuple(TALKS[number])).text
        )
        assert not any("tokens" in one for one in whole["segments"])
        assert any("words" in one for one in whole["segments"]) == (words and number == 2)
    streamed = [list(transcripts.stream(database, job)) for database in pair]
    assert streamed == [TALKS[number], TALKS[number]]
    assert transcripts.head(pair[0], job) == transcripts.head(pair[1], job)


def test_zero_bytes_in_what_was_heard_do_no_harm(pair: Pair) -> None:
    job = ROWS[0]["id"]
    heard = [Segment(0, 1, "a\0b", (Word(0, 1, "\0"),)), Segment(1, 2, "\\u0000 \\\0 \\")]
    for database in pair:
        put(database, ROWS[:1])
        talk(database, job, heard)
    found = [list(transcripts.stream(database, job)) for database in pair]
    texts = ["a\ufffdb", "\\u0000 \\\ufffd \\"]
    assert [[one.text for one in said] for said in found] == [texts, texts]
    assert found[0] == found[1]
    whole = views.transcript(pair[1], "local", job, words=True)
    assert whole is not None
    assert [one["text"] for one in json.loads(whole)["segments"]] == texts


# ── plans ────────────────────────────────────────────────────────────────────────────────────


def test_sqlite_finds_a_page_by_an_index_wherever_it_begins(pair: Pair) -> None:
    put(pair[0], ROWS)
    for wanted, index in (
        (views.Filter(), "ix_jobs_tenant"),
        (views.Filter(("failed",)), "ix_jobs_tenant_state"),
        (views.Filter(since=1_700_000_001.0), "ix_jobs_tenant"),
    ):
        asked = views.page_query("sqlite", "local", wanted, after=ROWS[2]["id"], limit=5)
        with pair[0].read() as connection:
            explain = sa.text(f"EXPLAIN QUERY PLAN {asked[0]}")
            plan = [one[3] for one in connection.execute(explain, asked[1])]
        assert any(index in step and "id<?" in step for step in plan), plan
        assert not any("SCAN jobs" in step or "TEMP B-TREE" in step for step in plan), plan


def plan_of(connection: sa.Connection, query: sa.TextClause, asked: dict[str, Any]) -> str:
    found = connection.scalars(sa.text(f"EXPLAIN (ANALYZE, BUFFERS) {query}"), asked)
    return "\n".join(found)


def rows_read(plan: str) -> int:
    """The most rows that any one step of a plan has given or thrown away."""
    given = [
        float(rows) * int(loops) for rows, loops in re.findall(r"rows=(\d+) loops=(\d+)", plan)
    ]
    return int(max(given + [float(n) for n in re.findall(r"Rows Removed by Filter: (\d+)", plan)]))


def test_postgres_reads_only_the_rows_it_shows(postgres: str) -> None:
    database = Postgres(postgres)
    ids = crowd(database)
    newest, middle, oldest = ids[-1], ids[5_000], ids[20]
    asked = [
        (views.Filter(), newest), (views.Filter(), middle), (views.Filter(), oldest),
        (views.Filter(("failed",)), middle), (views.Filter(("failed", "queued")), middle),
        (views.Filter(("failed", "queued", "completed")), oldest),
        (views.Filter(since=BEGIN + 5_000 * 800, until=BEGIN + 6_000 * 800), None),
    ]  # fmt: skip
    with database.read() as connection:
        for wanted, after in asked:
            for tenant in ("local", "small"):
                query = views.page_query("postgresql", tenant, wanted, after=after, limit=20)
                plan = plan_of(connection, *query)
                assert "Seq Scan on jobs" not in plan, plan
                assert rows_read(plan) < 500, plan
        for words in (True, False):
            transcript = views.transcript_query("postgresql", words=words)
            plan = plan_of(connection, transcript, {"tenant": "local", "job": middle})
            assert "Seq Scan on" not in plan, plan
            assert rows_read(plan) < 100, plan
    database.close()


def crowd(database: Database) -> list[str]:
    """Ten thousand jobs of two tenants over three months, and a hundred thousand segments."""
    ids = [new_id(BEGIN + number * 800) for number in range(10_000)]
    put(database, [row(0, id="model", name="a" * 40)])
    with database.write() as connection:
        connection.execute(
            sa.text("""
                INSERT INTO jobs SELECT (jsonb_populate_record(j, jsonb_build_object(
                    'id', m.id, 'created', CAST(:begin AS float8) + m.n * 800,
                    'tenant', CASE WHEN m.n % 50 = 0 THEN 'small' ELSE 'local' END,
                    'state', CASE WHEN m.n % 40 < 2 THEN 'failed' ELSE 'completed' END))).*
                FROM jobs AS j, unnest(CAST(:ids AS text[])) WITH ORDINALITY AS m(id, n)
            """),
            {"ids": ids, "begin": BEGIN},
        )
        connection.execute(jobs.delete().where(jobs.c.id == "model"))
        connection.execute(
            heads.insert().from_select(
                ["job", "head", "segments"], sa.select(jobs.c.id, sa.literal("{}"), sa.literal(10))
            )
        )
        connection.execute(
            sa.text("""
                INSERT INTO segments (job, position, start, "end", channel, text, body)
                SELECT id, n, n, n + 1, 0, 'so', json_build_object('start', n, 'text', 'so')
                FROM jobs, generate_series(0, 9) AS n
            """)
        )
        for name in ("jobs", "segments", "transcripts"):
            connection.execute(sa.text(f"ANALYZE {name}"))
    return ids
