"""What is found, over both databases: the same words, the same meetings."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.search.shelf import BEGIN, DAY, add, ask, found

from hansard.errors import BadQuery, BadRequest
from hansard.search import fulltext, fulltext_postgres, lookup
from hansard.search.lookup import Asked, Near
from hansard.store.database import Database


@pytest.fixture
def some(database: Database) -> Database:
    """Four meetings of one tenant and one of another."""
    add(
        database,
        "Budget 2026",
        ["We are discussing the budgets.", "The museum needs a new roof.", "Anna agreed."],
        kind="hearing",
        status="reviewed",
        tags=["money", "Museum"],
        people=["Anna Krüger", "Bob"],
        held=BEGIN + 10 * DAY,
        mood=0.4,
    )
    add(
        database,
        "Stand-up",
        ["Yesterday I reviewed the budget draft.", "Today the roof leaks.", "No blockers."],
        kind="stand-up",
        people=["Bob", "Zoë"],
        held=BEGIN + 40 * DAY,
        mood=-0.3,
    )
    add(
        database,
        "Sitzung",
        ["Wir sprechen über das Übungsgelände.", "Der Haushalt running bleibt."],
        language="de-AT",
        held=BEGIN + 70 * DAY,
        mood=0.0,
    )
    add(database, "会議", ["会議を始めます。", "予算について話しましょう。"], language="ja")
    add(database, "Secret", ["The budget of somebody else.", "Xylophones."], tenant="other")
    return database


QUERIES: list[tuple[str, set[str]]] = [
    ("budget", {"Budget 2026", "Stand-up"}),
    ("BUDGETS", {"Budget 2026", "Stand-up"}),
    ("discussed", {"Budget 2026"}),
    ("budget roof", {"Budget 2026", "Stand-up"}),
    ("budget museum", {"Budget 2026"}),
    ("budget -museum", {"Stand-up"}),
    ('"budget draft"', {"Stand-up"}),
    ('"draft budget"', set()),
    ('"the roof"', {"Stand-up"}),
    ('"new roof" OR "roof leaks"', {"Budget 2026", "Stand-up"}),
    ('roof -"new roof"', {"Stand-up"}),
    ('-"new roof" kind:hearing', set()),
    ("muse*", {"Budget 2026"}),
    ("discussi*", {"Budget 2026"}),
    ("bud* OR Haus*", {"Budget 2026", "Stand-up", "Sitzung"}),
    ('"new ro*"', set()),
    ("ubungsgelande", {"Sitzung"}),
    ("ÜBUNGSGELÄNDE", {"Sitzung"}),
    ("running", {"Sitzung"}),
    ("run", set()),
    ("会議", {"会議"}),
    ("予算 始め", {"会議"}),
    ("議会", set()),
    ("2026", {"Budget 2026"}),
    ('"stand-up"', {"Stand-up"}),
    ("stand-up", {"Stand-up"}),
    ("budget kind:hearing", {"Budget 2026"}),
    ("budget -kind:hearing", {"Stand-up"}),
    ("budget status:reviewed", {"Budget 2026"}),
    ("kind:hearing kind:stand-up", {"Budget 2026", "Stand-up"}),
    ("tag:money", {"Budget 2026"}),
    ("tag:museum tag:money", {"Budget 2026"}),
    ("roof -tag:money", {"Stand-up"}),
    ("language:de", {"Sitzung"}),
    ("language:d", set()),
    ("-language:en -language:ja", {"Sitzung"}),
    ("speaker:kruger", {"Budget 2026"}),
    ('speaker:"anna krüger" budget', {"Budget 2026"}),
    ("speaker:bob", {"Budget 2026", "Stand-up"}),
    ("speaker:bob -speaker:zoe", {"Budget 2026"}),
    ("after:2026-02 before:2026-03", {"Stand-up"}),
    ("after:2026-01-11 before:2026-01-12", {"Budget 2026"}),
    ("mood:negative", {"Stand-up"}),
    ("mood:>0.3", {"Budget 2026"}),
    ("mood:-0.1..0.1", {"Sitzung"}),
    ("xylophones", set()),
    ("", {"Budget 2026", "Stand-up", "Sitzung", "会議"}),
    ("-budget", {"Sitzung", "会議"}),
    ("?! ... -", {"Budget 2026", "Stand-up", "Sitzung", "会議"}),
]


# Making the library costs more than asking it: hence all of them in one test.
def test_what_queries_find(some: Database) -> None:
    wrong = {}
    for query, expected in QUERIES:
        answer = ask(some, query)
        titles = {one.title.text for one in answer.items}
        if answer.corrected:
            titles = set()
        if titles != expected:
            wrong[query] = titles
        assert answer.corrected or answer.total == len(titles)
        assert not answer.more
        assert answer.answered_by == ("text",)
    assert wrong == {}


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_words_that_nearly_all_segments_have_are_shown_alike(
    some: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = [f"The budget of roof {n} and no other museum." for n in range(40)]
    add(some, "Long", [*long, "A new roof.", "The roof is new."])
    monkeypatch.setattr(fulltext_postgres, "_FEW", 10**9)  # whatever the planner takes them for
    by_index = [ask(some, query) for query, _ in QUERIES]
    monkeypatch.setattr(fulltext_postgres, "_FEW", -1)
    assert [ask(some, query) for query, _ in QUERIES] == by_index
    for query, matches, passages in (("budget museum", 40, 3), ('"new roof"', 1, 1)):
        (hit,) = (one for one in ask(some, query).items if one.title.text == "Long")
        assert (hit.matches, len(hit.passages)) == (matches, passages)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("most", "seen", "together"),
    [(10, True, {"New"}), (20, True, {"New", "Old"}), (50, False, {"New", "Old"})],
)
def test_common_words_are_found_together_alike(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    seen: bool,
    together: set[str],
) -> None:
    """The newest segments have them, so that reading these is enough; or they turn out too few."""
    add(database, "Old", ["The budget of the roof."] * 30)
    add(database, "Apart", ["A budget.", "A roof."] * 30)
    add(database, "New", ["The roof of the budget."] * 10)
    monkeypatch.setattr(fulltext, "_MOST_TOGETHER", most)
    read = fulltext_postgres._newest_read
    answers = []

    def noted(*given: Any) -> Any:
        found = read(*given)
        answers.append(found is not None)
        return found

    monkeypatch.setattr(fulltext_postgres, "_newest_read", noted)
    to_read = fulltext_postgres._to_read
    monkeypatch.setattr(fulltext_postgres, "_to_read", lambda *_: 0)
    by_index = ask(database, "budget roof")
    assert answers == []
    monkeypatch.setattr(fulltext_postgres, "_to_read", lambda *_: 1000)
    assert ask(database, "budget roof") == by_index
    assert answers == [seen]
    monkeypatch.setattr(fulltext_postgres, "_to_read", to_read)
    assert ask(database, "budget roof") == by_index, "whatever the planner takes them for"
    monkeypatch.setattr(fulltext, "_TOGETHER", 100.0)
    best = [one.title.text for one in ask(database, "budget roof").items if one.score > 5]
    assert set(best) == together


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("places", "segments", "read"),
    [(80_000, 1_000_000, 100_000), (60_000, 1_000_000, 0), (20_000, 80_000, 32_000), (999, 999, 0)],
)
def test_segments_are_read_where_the_index_would_give_more(
    database: Database, monkeypatch: pytest.MonkeyPatch, places: int, segments: int, read: int
) -> None:
    monkeypatch.setattr(
        fulltext_postgres, "_rows", lambda _, query, __: places if "match" in query else segments
    )
    with database.read() as connection:
        assert fulltext_postgres._to_read(connection, [[["a"]], [["b"]]], 4000) == read


def test_another_tenant_finds_its_own(some: Database) -> None:
    assert found(some, "budget", tenant="other") == {"Secret"}
    assert found(some, "", tenant="other") == {"Secret"}
    assert found(some, "budget", tenant="nobody") == set()
    assert found(some, '"somebody else"') == set()
    answer = ask(some, "xylophonez")
    assert (answer.items, answer.corrected) == ((), {}), "another's words are nobody's hint"


def test_typos(some: Database) -> None:
    answer = ask(some, "budgte museum")
    assert answer.corrected["budgte"] in {"budget", "budgets"}
    assert [one.title.text for one in answer.items] == ["Budget 2026"]
    answer = ask(some, "umseum")
    assert answer.corrected == {"umseum": "museum"}
    answer = ask(some, '"new rofo"')
    assert answer.corrected == {"rofo": "roof"}
    assert [one.title.text for one in answer.items] == ["Budget 2026"]
    assert answer.items[0].passages[0].snippet.html == "The museum needs a <mark>new roof</mark>."
    assert ask(some, "qqqqqq").corrected == {}


def test_passages_show_why(some: Database) -> None:
    (one, other) = ask(some, "budget roof").items
    assert one.title.text == "Budget 2026", "its title has the word, too"
    assert one.title.marks == ((0, 6),)
    assert one.matches == 2
    first, second = one.passages
    assert first.snippet.text == "We are discussing the budgets."
    assert [first.snippet.text[a:b] for a, b in first.snippet.marks] == ["budgets"]
    assert (first.position, first.start, first.end, first.speaker) == (0, 0.0, 5.0, "Anna Krüger")
    assert second.speaker == "Bob"
    assert second.link == f"/api/v1/meetings/{one.id}?t=5"
    assert other.passages[0].speaker == "Bob"
    (one,) = ask(some, "budget roof speaker:zoe").items
    assert [shown.speaker for shown in one.passages] == ["Zoë"], "hers alone"
    assert one.matches == 1


def test_words_said_together_come_first(database: Database) -> None:
    apart = add(database, "a", ["The lighthouse.", "A keeper.", "Nothing.", "Nothing else."])
    together = add(database, "b", ["The lighthouse keeper.", "A.", "Nothing.", "Nothing else."])
    for number in range(4):
        add(database, f"filler {number}", ["Something else entirely."])
    assert [one.id for one in ask(database, "lighthouse keeper").items] == [together, apart]


def test_often_said_comes_before_seldom_said(database: Database) -> None:
    often = add(database, "a", ["Harbour."] * 8 + ["No."] * 8)
    seldom = add(database, "b", ["Harbour."] + ["No."] * 15)
    titled = add(database, "The harbour", ["Harbour."] + ["No."] * 15)
    assert [one.id for one in ask(database, "harbour").items] == [titled, often, seldom]


def test_pages_go_on_where_they_ended(database: Database) -> None:
    made = [add(database, f"m{n}", ["Harbour."] * (n % 3 + 1)) for n in range(7)]
    whole = [one.id for one in ask(database, "harbour").items]
    assert set(whole) == set(made)
    seen, cursor = [], None
    for _ in range(4):
        page = lookup.search(database, "local", Asked("harbour", "text"), cursor=cursor, limit=2)
        seen += [one.id for one in page.items]
        assert page.total == 7, "what came later is not counted either"
        add(database, "late", ["Harbour. Harbour.", "Harbour."])
        cursor = page.next
    assert cursor is None
    assert seen == whole
    for wrong in ("x", "!!!", "bnVsbA", "WzEsMl0"):
        with pytest.raises(BadRequest, match="cursor"):
            lookup.search(database, "local", Asked("harbour"), cursor=wrong)


def test_facets(some: Database) -> None:
    answer = lookup.search(some, "local", Asked("roof", "text"), with_facets=True)
    assert answer.facets is not None
    counted = {
        name: {one.value: one.meetings for one in getattr(answer.facets, name)}
        for name in answer.facets.__struct_fields__
    }
    assert counted == {
        "kind": {"hearing": 1, "stand-up": 1},
        "status": {"new": 1, "reviewed": 1},
        "language": {"en": 2},
        "tag": {"Museum": 1, "money": 1},
        "speaker": {"Bob": 2, "Anna Krüger": 1, "Zoë": 1},
        "month": {"2026-02": 1, "2026-01": 1},
    }
    assert list(counted["speaker"]) == ["Bob", "Anna Krüger", "Zoë"]


def test_markup_in_speech_is_text(database: Database) -> None:
    add(database, "<b>x</b>", ["He said <script>alert('budget')</script> & <mark>left</mark>."])
    (one,) = ask(database, "budget alert").items
    shown = one.passages[0].snippet
    assert shown.html == (
        "He said &lt;script&gt;<mark>alert</mark>(&#x27;<mark>budget</mark>&#x27;)"
        "&lt;/script&gt; &amp; &lt;mark&gt;left&lt;/mark&gt;."
    )
    assert [shown.text[a:b] for a, b in shown.marks] == ["alert", "budget"]
    assert one.title.html == "&lt;b&gt;x&lt;/b&gt;"


# ── by meaning ───────────────────────────────────────────────────────────────────────────────


def test_without_vectors_words_answer_and_it_is_said(some: Database) -> None:
    for mode in ("auto", "hybrid", "semantic"):
        answer = lookup.search(some, "local", Asked("budget", mode), nearest=lambda *_: None)
        assert (answer.mode, answer.answered_by) == (mode, ("text",))
        assert answer.reason is not None
        assert len(answer.items) == 2
    answer = lookup.search(some, "local", Asked("budget", "text"))
    assert answer.reason is None


def test_words_and_meaning_are_fused(some: Database) -> None:
    by_title = {one.title.text: one.id for one in ask(some, "").items}
    others = ask(some, "", tenant="other").items[0].id
    asked: list[tuple[str, int]] = []

    def nearest(text: str, limit: int) -> list[Near]:
        asked.append((text, limit))
        return [
            Near(others, 0, 0, 0.0, 5.0, 0.99),
            Near(by_title["Sitzung"], 0, 1, 0.0, 10.0, 0.9),
            Near(by_title["Budget 2026"], 1, 1, 5.0, 10.0, 0.8),
            Near(by_title["Sitzung"], 1, 1, 5.0, 10.0, 0.7),
            Near("gone", 1, 1, 5.0, 10.0, 0.7),
        ]

    answer = lookup.search(some, "local", Asked("budget -draft"), nearest=nearest)
    assert asked[0][0] == "budget"
    assert answer.answered_by == ("text", "semantic")
    assert [(one.title.text, one.found_by) for one in answer.items] == [
        ("Budget 2026", ("text", "semantic")),
        ("Sitzung", ("semantic",)),
    ]
    assert [shown.position for shown in answer.items[0].passages] == [1, 0]
    assert answer.items[1].passages[0].end == 10.0
    answer = lookup.search(some, "local", Asked("budget language:de", "semantic"), nearest=nearest)
    assert answer.answered_by == ("semantic",)
    assert [one.title.text for one in answer.items] == ["Sitzung"]


# ── whatever is typed ────────────────────────────────────────────────────────────────────────

_PIECES = st.sampled_from(
    [
        *('"', "-", "*", "OR", "AND", "NOT", "NEAR(", ")", ":", "'", "\\", "%", "_", "&", "|", "!"),
        *("<->", "budget", "roof*", "kind:", "tag:x", "mood:>0.1", "after:2026", "speaker:ß", "\0"),
        *("会議", "e\u0301", "ﬁ", "½", "don't", "l'homme", "\ue000x", "a" * 70, "^", "{", "terms:"),
    ]
)


def test_any_text_is_answered_or_explained(database: Database) -> None:
    add(database, "Budget", ["The budget, the roof: 会議 don't."], people=["ß"])

    @given(st.one_of(st.text(max_size=40), st.lists(_PIECES, max_size=8).map(" ".join)))
    @settings(max_examples=80)
    def any_text(query: str) -> None:
        try:
            answer = ask(database, query)
        except BadQuery as error:
            wrong = error
        else:
            assert answer.total in (0, 1)
            return
        assert wrong.hint
        assert "character" in wrong.message

    any_text()
