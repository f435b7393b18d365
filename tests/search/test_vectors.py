"""The vectors in the store: the same nearest passages on both databases, whatever changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.insight import fake_model
from tests.search import talks, tiny_onnx

from hansard import errors
from hansard.config import EmbeddingSettings
from hansard.model import Segment
from hansard.search import lsa, vectors
from hansard.search.embedder import Matrix, unit
from hansard.search.fitting import Embedders, is_due
from hansard.search.passages import Passage
from hansard.search.vectors import Hit, Vectors
from hansard.store.database import Database
from hansard.store.tables import embedded, embedders, meetings, passages
from hansard.store.tables import jobs as job_rows


def passage(position: int) -> Passage:
    return Passage(position, position * 2, position * 2 + 1, position * 9.5, position * 9.5 + 9, "")


def rows(*given: tuple[float, ...]) -> Matrix:
    return unit(np.array(given, np.float32).reshape(-1, 3))


def embedder(database: Database, name: str = "e", tenant: str = "local") -> str:
    with database.write() as connection:
        connection.execute(
            embedders.insert().values(
                id=name, tenant=tenant, method="test", dimensions=3, created=1.0
            )
        )
    return name


def keep(database: Database, job: str, made: Matrix, name: str = "e") -> None:
    with database.write() as connection:
        vectors.keep(connection, job, name, [passage(n) for n in range(len(made))], made)


@pytest.fixture
def three(database: Database) -> tuple[Database, list[str]]:
    """Three meetings: one of two passages, one of one, one in which nothing was said."""
    talks.begin(database)
    embedder(database)
    made = [talks.add(database, number, []) for number in range(3)]
    keep(database, made[0], rows((1, 0, 0), (1, 1, 0)))
    keep(database, made[1], rows((0, 0, 1)))
    keep(database, made[2], rows())
    return database, made


Three = tuple[Database, list[str]]
X, Y = rows((1, 0, 0), (0, 1, 0))


def found(hits: list[Hit]) -> list[tuple[str, int]]:
    return [(hit.job, hit.position) for hit in hits]


# ── nearest ──────────────────────────────────────────────────────────────────────────────────


def test_the_nearest_come_first_with_their_places(three: Three) -> None:
    database, made = three
    hits = Vectors(database).nearest("local", "e", X)
    assert found(hits) == [(made[0], 0), (made[0], 1)]
    assert [hit.score for hit in hits] == pytest.approx([1.0, 0.5**0.5])
    assert hits[1] == Hit(made[0], 1, 2, 3, 9.5, 18.5, hits[1].score)


def test_what_has_nothing_in_common_is_not_found(three: Three) -> None:
    database, _ = three
    held = Vectors(database)
    assert held.nearest("local", "e", -X) == []
    assert held.nearest("local", "e", np.zeros(3, np.float32)) == []
    assert held.nearest("local", "e", X, limit=0) == []


def test_only_the_meetings_that_are_asked_for(three: Three) -> None:
    database, made = three
    held = Vectors(database)
    assert held.nearest("local", "e", X, jobs=[made[1], made[2]]) == []
    assert found(held.nearest("local", "e", X, jobs={made[0]}, limit=1)) == [(made[0], 0)]
    assert held.nearest("local", "e", X, jobs=[]) == []


def test_nobody_finds_what_is_of_others(three: Three) -> None:
    database, _ = three
    assert Vectors(database).nearest("others", "e", X) == []
    assert Vectors(database).nearest("local", "unknown", X) == []


def test_changes_are_seen_at_once_and_only_those_are_read(
    three: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, made = three
    held = Vectors(database)
    held.nearest("local", "e", X)
    read: list[list[str]] = []
    plain = Vectors._read

    def noting(self: Vectors, name: str, jobs: Any) -> Any:
        read.append(list(jobs))
        return plain(self, name, jobs)

    monkeypatch.setattr(Vectors, "_read", noting)
    held.nearest("local", "e", X)
    assert read == []
    keep(database, made[1], rows((1, 0, 0), (0, 1, 0)))
    assert found(held.nearest("local", "e", Y)) == [(made[1], 1), (made[0], 1)]
    assert read == [[made[1]]]
    with database.write() as connection:
        connection.execute(job_rows.delete().where(job_rows.c.id == made[0]))
    assert found(held.nearest("local", "e", Y)) == [(made[1], 1)]
    keep(database, made[1], rows())
    assert held.nearest("local", "e", Y) == []
    assert read == [[made[1]]], "where there are no passages nothing is read"


def test_a_new_meeting_moves_no_other(three: Three) -> None:
    database, _ = three
    held = Vectors(database)
    held.nearest("local", "e", X)
    before = held._held["e"]._vectors
    for number in range(10, 14):
        new = talks.add(database, number, [])
        keep(database, new, rows((number, 0, 1)))
        assert new in {hit.job for hit in held.nearest("local", "e", X)}
    assert held._held["e"]._vectors is before
    assert len(held.nearest("local", "e", X)) == 6


def test_beyond_the_memory_allowed_nothing_is_held(three: Three) -> None:
    database, _ = three
    streaming = Vectors(database, most_bytes=10)
    for query in (X, Y, X + Y):
        assert streaming.nearest("local", "e", query) == Vectors(database).nearest(
            "local", "e", query
        )
    assert not streaming._held
    held = Vectors(database)
    held.nearest("local", "e", X)
    held.forget("e")
    assert not held._held


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    st.lists(st.lists(st.tuples(*[st.integers(-2, 2)] * 3), max_size=4), min_size=1, max_size=5),
    st.tuples(*[st.integers(-2, 2)] * 3),
    st.integers(1, 6),
)
def test_it_finds_what_comparing_all_would(
    tmp_path: Path, parts: list[list[tuple[int, ...]]], query: tuple[int, ...], limit: int
) -> None:
    """On a made-up memory: blocks are laid and searched without a store."""
    del tmp_path
    held = vectors._Held(3)
    expected = []
    aim = rows(query)[0]
    for number, part in enumerate(parts):
        made = rows(*part)
        places = np.array([[n, n, n, 0, 0] for n in range(len(made))], np.float64).reshape(-1, 5)
        held.change((), {f"j{number}": vectors._Block("v", made, places)})
        expected += [
            (-float(score), f"j{number}", n)
            for n, score in enumerate(made @ aim)
            if score > vectors.NOTHING
        ]
    hits = vectors._best(held.shown(), aim, limit, None)
    for some in ({"j0", "j3"}, {f"j{number}" for number in range(9)}):
        only = vectors._best(held.shown(), aim, limit, some)
        allowed = [e for e in sorted(expected) if e[1] in some]
        assert [hit.score for hit in only] == pytest.approx([-e[0] for e in allowed[:limit]])
        assert {hit.job for hit in only} <= some
    assert [hit.score for hit in hits] == pytest.approx([-e[0] for e in sorted(expected)[:limit]])
    assert len(set(found(hits))) == len(hits) == min(limit, len(expected))
    assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.job, hit.position))


def test_many_may_ask_while_some_write(three: Three) -> None:
    database, made = three
    held = Vectors(database)
    odd: list[object] = []
    ended = threading.Event()

    def ask() -> None:
        try:
            while not ended.is_set():
                hits = held.nearest("local", "e", X, limit=1)
                if [hit.score for hit in hits] != pytest.approx([1.0]):
                    odd.append(hits)
        except Exception as problem:  # noqa: BLE001 it must reach the test
            odd.append(problem)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(15):
        keep(database, made[1 + turn % 2], rows((0, turn, 1), (0, 1, 0)))
    ended.set()
    for thread in threads:
        thread.join()
    assert not odd


def test_passages_and_vectors_must_fit_together(database: Database) -> None:
    with database.write() as connection, pytest.raises(ValueError, match="1 passages"):
        vectors.keep(connection, "j", "e", [passage(0)], rows())


def test_what_is_missing_is_known(three: Three) -> None:
    database, made = three
    assert vectors.missing(database, "local", "e", limit=9) == []
    with database.write() as connection:
        connection.execute(meetings.update().where(meetings.c.job == made[1]).values(wording=1))
    new = talks.add(database, 7, [])
    assert vectors.missing(database, "local", "e", limit=9) == [new, made[1]]
    assert vectors.missing(database, "local", "e", limit=1) == [new]
    assert vectors.missing(database, "others", "e", limit=9) == []


# ── the embedder of a library ────────────────────────────────────────────────────────────────


def fill(database: Database, who: Embedders, numbers: range) -> list[str]:
    made = []
    for number in numbers:
        subject = list(talks.SUBJECTS)[number % len(talks.SUBJECTS)]
        made.append(talks.add(database, number, talks.talk(subject, number)))
        who.embed("local", made[-1])
    return made


def subjects(database: Database, who: Embedders, words: str) -> set[int]:
    """The subjects of the five passages that are nearest to some words, by number."""
    chosen = who.current("local")
    hits = Vectors(database).nearest(
        "local", chosen.id, chosen.embedder.embed_query(words), limit=5
    )
    with database.read() as connection:
        told = connection.execute(sa.select(meetings.c.job, meetings.c.title)).all()
    titles = {row.job: row.title for row in told}
    assert len(hits) == 5
    return {int(titles[hit.job].split()[1]) % len(talks.SUBJECTS) for hit in hits}


def test_a_library_grows_and_is_fitted_as_it_does(database: Database) -> None:
    talks.begin(database)
    who = Embedders(database, EmbeddingSettings())
    assert who.fits
    made = fill(database, who, range(3))
    young = who.current("local")
    assert young == who.current("local")
    assert who.fit_if_due("local") is None, "there are not enough passages"
    # Before anything is fitted, words are found by themselves.
    assert subjects(database, who, "budget invoice bank") == {1}

    made += fill(database, who, range(3, 15))
    ticks: list[int] = []
    first = who.fit_if_due("local", alive=lambda: ticks.append(1))
    assert first is not None
    assert len(ticks) == 2 * len(made), "once for reading and once for writing each meeting"
    fitted = who.current("local")
    assert fitted.id == first != young.id
    assert isinstance(fitted.embedder, lsa.Lsa)
    assert fitted.embedder.language == "en"
    assert subjects(database, who, "slate chimney") == {0}
    with database.read() as connection:
        assert set(connection.scalars(sa.select(embedders.c.id))) == {first}
        assert set(connection.scalars(sa.select(passages.c.embedder))) == {first}
        assert len(connection.execute(sa.select(embedded)).all()) == len(made)
    assert who.fit_if_due("local") is None

    fill(database, who, range(15, 31))
    second = who.fit_if_due("local")
    assert second is not None
    assert second != first
    assert Embedders(database, EmbeddingSettings()).current("local").id == second
    assert subjects(database, who, "compost orchard") == {4}


def test_meetings_that_come_in_while_fitting_are_not_lost(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    talks.begin(database)
    who = Embedders(database, EmbeddingSettings())
    made = fill(database, who, range(10))
    plain = lsa.fit
    late: list[str] = []

    def slow(*given: Any) -> lsa.Lsa:
        late.extend(fill(database, who, range(20, 22)))
        with database.write() as connection:  # somebody corrects a word, and it is embedded
            connection.execute(meetings.update().where(meetings.c.job == made[0]).values(wording=5))
        who.embed("local", made[0])
        with database.write() as connection:  # and somebody removes a meeting
            connection.execute(job_rows.delete().where(job_rows.c.id == made[1]))
        return plain(*given)

    monkeypatch.setattr(lsa, "fit", slow)
    new = who.fit_if_due("local")
    with database.read() as connection:
        there = connection.execute(sa.select(embedded.c.job, embedded.c.embedder)).all()
        wording = connection.scalar(sa.select(embedded.c.wording).where(embedded.c.job == made[0]))
    assert {tuple(row) for row in there} == {(job, new) for job in [made[0], *made[2:], *late]}
    assert wording == 5
    assert vectors.missing(database, "local", str(new), limit=9) == []


def test_a_fitting_that_ends_badly_leaves_all_as_it_was(database: Database) -> None:
    talks.begin(database)
    who = Embedders(database, EmbeddingSettings())
    fill(database, who, range(10))
    before = who.current("local")

    def dead() -> None:
        raise errors.EngineDied("killed")

    with pytest.raises(errors.EngineDied):
        who.fit_if_due("local", alive=dead)
    assert who.current("local").id == before.id
    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(embedders)) == 1


def test_one_fits_at_a_time_until_he_is_taken_for_dead(database: Database) -> None:
    talks.begin(database)
    now = [1_000_000.0]
    who = Embedders(database, EmbeddingSettings(), clock=lambda: now[0])
    fill(database, who, range(10))
    assert who._begin("local") is not None
    assert who.fit_if_due("local") is None
    now[0] += 7 * 3600
    assert who.fit_if_due("local") is not None


def test_libraries_are_fitted_apart(database: Database) -> None:
    talks.begin(database)
    who = Embedders(database, EmbeddingSettings())
    fill(database, who, range(10))
    other = talks.add(database, 50, talks.talk("roof", 1), tenant="other")
    who.embed("other", other)
    first, second = who.current("local"), who.current("other")
    assert first.id != second.id
    assert who.fit_if_due("local") is not None
    assert who.current("other").id == second.id
    assert who.embed("local", "no-such-meeting") == 0


@pytest.mark.parametrize(
    ("fitted", "there", "unknown", "due"),
    [
        (0, 49, 1.0, False),
        (0, 50, 0.0, True),
        (50, 99, 0.3, False),
        (50, 100, 0.0, True),
        (100, 124, 0.9, False),
        (100, 130, 0.5, True),
        (100, 40, 0.9, False),
    ],
)
def test_when_it_is_due(fitted: int, there: int, unknown: float, due: bool) -> None:
    assert is_due(fitted, there, unknown) is due


def test_new_words_make_it_due(database: Database) -> None:
    talks.begin(database)
    who = Embedders(database, EmbeddingSettings())
    fill(database, who, range(10))
    assert who.fit_if_due("local") is not None
    strange = [
        Segment(n * 5.0, n * 5 + 4.0, " ".join(f"zyx{n % 7}word{m}" for m in range(20)))
        for n in range(40)
    ]
    for number in range(40, 43):
        who.embed("local", talks.add(database, number, strange))
    assert who.fit_if_due("local") is not None


def test_a_model_that_is_not_there_fails_when_it_is_asked_for(
    database: Database, tmp_path: Path
) -> None:
    who = Embedders(database, EmbeddingSettings(onnx=tmp_path))
    with pytest.raises(errors.EmbedderBroken):
        who.current("local")


# ── other embedders ──────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["remote", "onnx"])
def given_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddingSettings]:
    if request.param == "onnx":
        yield EmbeddingSettings(onnx=tiny_onnx.write(tmp_path / "tiny"))
        return
    with fake_model.serve() as server:
        yield EmbeddingSettings(model="vec", base_url=server.url, api_key=fake_model.KEY)


def test_what_the_settings_name_is_used(
    database: Database, given_settings: EmbeddingSettings
) -> None:
    talks.begin(database)
    own = Embedders(database, EmbeddingSettings())
    fill(database, own, range(2))
    who = Embedders(database, given_settings)
    assert not who.fits
    assert who.fit_if_due("local") is None
    chosen = who.current("local")
    assert len(vectors.missing(database, "local", chosen.id, limit=9)) == 2
    for job in vectors.missing(database, "local", chosen.id, limit=9):
        assert who.embed("local", job) > 0
    query = chosen.embedder.embed_query("roof rain leak")
    hits = Vectors(database).nearest("local", chosen.id, query, limit=3)
    assert len(hits) == 3
    assert own.current("local").id != chosen.id, "the other one's vectors stay beside"
    who.close()
