"""Templates: five built in, others from TOML, and a clear word about what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from hansard.errors import BadSettings, UsageError
from hansard.insight import citations, templates
from hansard.insight.findings import (
    Chapter,
    Chapters,
    Item,
    Items,
    Sentiment,
    Statement,
    Summary,
)
from hansard.model import Segment

RETRO = """
title = "Retrospective"
findings = ["summary", "items"]
items = ["action"]
short = 2

[[sections]]
show = "actions"
heading = "What we change"
"""


def test_those_built_in_are_sound() -> None:
    assert set(templates.BUILT_IN) == {"meeting", "stand-up", "interview", "hearing", "lecture"}
    for name, template in templates.BUILT_IN.items():
        assert template.name == name
        templates._judge(template, name)


def test_a_file_is_a_template_named_like_it(tmp_path: Path) -> None:
    (tmp_path / "retro.toml").write_text(RETRO)
    (tmp_path / "notes.txt").write_text("not a template")
    found = templates.load(tmp_path)
    assert set(found) == {*templates.BUILT_IN, "retro"}
    retro = templates.named(found, "retro")
    assert retro.title == "Retrospective"
    assert retro.findings == ("summary", "items")
    assert retro.sections == (templates.Section("actions", "What we change"),)
    assert (retro.short, retro.long) == (2, templates.Template("x", "X").long)


def test_no_folder_is_no_trouble(tmp_path: Path) -> None:
    assert templates.load(tmp_path / "none") == templates.load() == dict(templates.BUILT_IN)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("title =", "cannot be read"),
        ("short = 2", "missing required field `title`"),
        ('title = "A"\ncolour = "red"', "unknown field `colour`"),
        ('title = "A"\nshort = "two"', "short"),
        ('title = "A"\nshort = 99', "short"),
        ('title = "A"\nshort = 9\nlong = 3', "longer than the long one"),
        ('title = "A"\nfindings = ["gossip"]', "gossip"),
        ('title = "A"\nitems = ["action", "action"]', "names action twice in items"),
        ('title = "A"\n[[sections]]\nshow = "actions"', "missing required field `heading`"),
        ('title = "A"\nname = "../up"', "cannot be one"),
        ('title = "A"\nname = "meeting"', "as another one does"),
        (f'title = "A"\nfocus = "{"x" * 70_000}"', "too large"),
    ],
)
def test_what_is_wrong_is_said(text, says, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(BadSettings) as refused:
        templates.load(tmp_path)
    assert says in refused.value.message
    assert "mine.toml" in refused.value.message
    assert refused.value.hint


def test_two_files_may_not_share_a_name(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('title = "A"\nname = "same"')
    (tmp_path / "b.toml").write_text('title = "B"\nname = "same"')
    with pytest.raises(BadSettings, match=r"b\.toml"):
        templates.load(tmp_path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadSettings, match="cannot be read"):
        templates.load(tmp_path)


def test_an_unknown_kind_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError) as refused:
        templates.named(templates.BUILT_IN, "seance")
    assert "stand-up" in (refused.value.hint or "")


THREE = [Segment(float(at), at + 1.0, "Hm.") for at in range(3)]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (Summary(short=(Statement("A.", ()),)), "cites nothing"),
        (Summary(long=(Statement("A.", (1, 0)),)), "out of order"),
        (Summary(long=(Statement("A.", (1, 1)),)), "out of order"),
        (Summary(long=(Statement("A.", (3,)),)), "that there is not"),
        (Summary(long=(Statement("A.", (-1,)),)), "that there is not"),
        (Summary(long=(Statement(" ", (0,)),)), "says nothing"),
        (Items((Item("action", "A.", ()),)), "cites nothing"),
        (Chapters((Chapter("A", 0, 1, 0, 1),)), "do not end"),
        (Chapters((Chapter("A", 1, 2, 0, 1),)), "does not begin"),
        (Chapters((Chapter(" ", 0, 2, 0, 1),)), "no title"),
        (
            Chapters(
                (
                    Chapter("A", 0, 1, 0, 1, summary=(Statement("A.", (2,)),)),
                    Chapter("B", 2, 2, 0, 1),
                )
            ),
            "cites what is not in it",
        ),
        (Sentiment(0.0, (0.1,)), "scores for"),
        (Sentiment(2.0), "from -1 to 1"),
    ],
)
def test_faulty_findings_are_told(value, fault) -> None:
    (said,) = citations.faults(value, THREE)
    assert fault in said
