"""What holds for every format: names, bytes, memory, any text."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hansard import formats
from hansard.errors import UnknownFormat
from hansard.formats import Segments
from hansard.model import Coverage, Segment, Transcript, Word

DOCS = Path(__file__).parents[2] / "docs"
ALL = formats.names()


@pytest.mark.parametrize("name", ALL)
def test_the_same_transcript_gives_the_same_bytes(meeting: Transcript, name: str) -> None:
    assert formats.render(meeting, name) == formats.render(msgspec.structs.replace(meeting), name)


@pytest.mark.parametrize("name", ALL)
def test_a_transcript_without_words_is_still_a_file(meeting: Transcript, name: str) -> None:
    empty = msgspec.structs.replace(
        meeting, segments=(), coverage=Coverage(0, 0), language=None, created=None
    )
    assert isinstance(formats.render(empty, name), bytes)


@pytest.mark.parametrize("name", ALL)
def test_segments_in_the_head_are_not_looked_at(meeting: Transcript, name: str) -> None:
    plain, with_segments = io.BytesIO(), io.BytesIO()
    _, segments = formats.view(meeting)
    bare = msgspec.structs.replace(meeting, segments=())
    formats.get(name).write(bare, segments, plain)
    formats.get(name).write(meeting, segments, with_segments)
    assert plain.getvalue() == with_segments.getvalue()


@pytest.mark.parametrize("name", [n for n in ALL if not formats.get(n).binary])
@given(text=st.text(st.characters()), name_of=st.text(st.characters()))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_can_be_written(name: str, text: str, name_of: str) -> None:
    """Lone surrogates included, which file names that are not UTF-8 bring in."""
    timed = (Word(0, 1, text),)
    segments = (Segment(0, 1, text, timed, speaker=name_of), Segment(1, 2, text, speaker=text))
    transcript = Transcript("i", "r", name_of, 2, text, text, language="en", segments=segments)
    formats.render(transcript, name).decode()


def test_names_aliases_and_extensions() -> None:
    assert len(set(ALL)) == len(ALL) == 13
    assert {formats.get(alias).name for alias in formats.ALIASES} <= set(ALL)
    assert formats.get("WebVTT") is formats.get("vtt") is formats.get(".vtt")
    assert len({formats.get(name).extension.lower() for name in ALL}) == len(ALL)
    for name in ALL:
        known = formats.get(name)
        assert formats.of_path(Path("a.b") / f"minutes{known.extension}") is known
    assert formats.of_path(Path("minutes.pdf")) is None
    with pytest.raises(UnknownFormat) as refused:
        formats.get("pdf")
    assert all(name in (refused.value.hint or "") for name in ALL)


def test_the_table_in_the_docs_is_the_registry() -> None:
    page = (DOCS / "formats.md").read_text("utf-8")
    for name in ALL:
        known = formats.get(name)
        kind = known.media_type.split(";")[0]
        assert f"| `{name}` | `{known.extension}` | `{kind}` | {known.description} |" in page


@pytest.mark.parametrize("name", ALL)
def test_an_hour_takes_no_more_memory_than_seven_minutes(
    name: str, meeting: Transcript, hours: Callable[[int], Segments]
) -> None:
    few, many = (_peak(name, meeting, hours(n)) for n in (100, 900))
    assert many < few * 1.2 + SLACK


@pytest.mark.slow
@pytest.mark.parametrize("name", ["txt", "json", "verbose_json", "srt", "docx"])
def test_five_hours_take_no_more_memory_than_seven_minutes(
    name: str, meeting: Transcript, hours: Callable[[int], Segments]
) -> None:
    few, many = (_peak(name, meeting, hours(n)) for n in (100, 5_000))
    assert many < few * 1.2 + SLACK


SLACK = 16 * 1024
"""Bytes. Caches of the interpreter that fill once; 800 segments more would be hundreds of KiB."""


def _peak(name: str, head: Transcript, segments: Segments) -> int:
    """Most bytes of Python objects alive at once while writing to nowhere.

    The walk empties Python's free lists as it goes: what they keep has a fixed limit, but they
    fill slowly, which would look like growth.
    """
    import gc
    import tracemalloc

    def walk() -> Iterator[Segment]:
        for i, segment in enumerate(segments()):
            if i % 50 == 0:
                gc.collect()
            yield segment

    class Nowhere(io.RawIOBase):
        def __init__(self) -> None:
            self.at = 0

        def writable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return True

        def tell(self) -> int:
            return self.at

        def seek(self, at: int, _whence: int = 0) -> int:
            self.at = at
            return at

        def write(self, data: Any) -> int:
            self.at += len(data)
            return len(data)

    known = formats.get(name)
    bare = msgspec.structs.replace(head, segments=(), coverage=Coverage(0, 0), seconds=80_000)
    known.write(bare, lambda: iter(()), Nowhere())  # type: ignore[arg-type] # all a writer needs
    gc.freeze()  # what lives already is not looked through again and again
    tracemalloc.start()
    try:
        known.write(bare, walk, Nowhere())  # type: ignore[arg-type] # all a writer needs
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.unfreeze()
