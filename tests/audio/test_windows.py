from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansard.audio import windows
from hansard.errors import BadSettings, StoreBroken
from hansard.model import SAMPLE_RATE, Span, Window

SECOND = SAMPLE_RATE


@st.composite
def span_lists(draw: st.DrawFn, longest: int = 28 * SECOND) -> list[Span]:
    """Spans in order; about a third of them touch the one before."""
    steps = draw(
        st.lists(
            st.tuples(
                st.one_of(st.just(0), st.integers(1, SECOND), st.integers(SECOND, 100 * SECOND)),
                st.one_of(st.integers(1, 3 * SECOND), st.integers(1, longest)),
            ),
            max_size=40,
        )
    )
    spans, at = [], 0
    for gap, length in steps:
        spans.append(Span(at + gap, at + gap + length))
        at += gap + length
    return spans


def union(spans: list[Span]) -> list[Span]:
    """The same instants with touching spans made one."""
    out: list[Span] = []
    for span in spans:
        if out and out[-1].end >= span.start:
            out[-1] = Span(out[-1].start, max(out[-1].end, span.end))
        else:
            out.append(span)
    return out


def planned(spans: list[Span], seconds: float = 30.0, overlap: float = 2.0) -> list[Window]:
    return list(windows.plan(spans, channel=3, max_seconds=seconds, overlap_seconds=overlap))


@given(spans=span_lists(), seconds=st.sampled_from([15.0, 30.0]))
def test_no_speech_is_lost_and_none_heard_twice_but_the_declared_overlap(
    spans: list[Span], seconds: float
) -> None:
    result = planned(spans, seconds)
    fresh: list[Span] = []
    for before, window in zip([None, *result], result, strict=False):
        head = window.pieces[0]
        if window.overlap:
            assert before is not None
            cut = head.start + window.overlap
            assert before.pieces[-1].end == cut
            assert before.pieces[-1].start <= head.start
            assert window.overlap <= 2 * SECOND
            fresh.append(Span(cut, head.end))
        else:
            fresh.append(head)
        fresh.extend(window.pieces[1:])
    assert all(a.end <= b.start for a, b in pairwise(fresh))  # order kept, nothing twice
    covered = union(fresh)
    for span in union(spans):
        assert any(c.start <= span.start and span.end <= c.end for c in covered)
    # What is in a window besides the spans is short silence between two of them.
    extra = sum(s.length for s in fresh) - sum(s.length for s in spans)
    assert 0 <= extra <= windows.MERGE_SECONDS * SECOND * max(0, len(spans) - 1)
    edges = {s.start for s in spans} | {s.end for s in spans}
    if seconds == 30.0:
        assert all(s.start in edges and s.end in edges for s in fresh)


@given(spans=span_lists(longest=100 * SECOND), seconds=st.sampled_from([4.0, 15.0, 30.0]))
def test_no_window_is_too_long_and_pieces_do_not_touch(spans: list[Span], seconds: float) -> None:
    for index, window in enumerate(planned(spans, seconds)):
        assert window.index == index
        assert window.channel == 3
        assert 0 < window.seconds <= seconds
        assert all(a.end < b.start for a, b in pairwise(window.pieces))


@given(spans=span_lists(), data=st.data())
def test_feeding_in_pieces_equals_feeding_at_once(spans: list[Span], data: st.DataObject) -> None:
    planner = windows.Planner(3, 30.0)
    result: list[Window] = []
    rest = spans
    while rest:
        count = data.draw(st.integers(0, len(rest)))
        result += planner.feed(rest[:count])
        rest = rest[max(count, 1) :] if count else rest
        if not count:
            result += planner.feed(rest[:1])
            rest = rest[1:]
    result += planner.finish()
    at_once = windows.Planner(3, 30.0)
    assert result == at_once.feed(spans) + at_once.finish() == planned(spans)


@given(spans=span_lists(), data=st.data())
def test_times_map_back_to_the_sample(spans: list[Span], data: st.DataObject) -> None:
    for window in planned(spans):
        offset = data.draw(st.integers(0, window.samples - 1))
        samples = np.concatenate([np.arange(p.start, p.end) for p in window.pieces])
        # What starts at packed sample k starts at that sample of the recording …
        start = windows.to_recording(window, offset / SECOND, "start")
        assert start * SECOND == pytest.approx(samples[offset], abs=1e-3)
        # … and what ends after packed sample k ends one after it.
        end = windows.to_recording(window, (offset + 1) / SECOND, "end")
        assert end * SECOND == pytest.approx(samples[offset] + 1, abs=1e-3)
        # … and both find their way back.
        assert windows.to_window(window, start) * SECOND == pytest.approx(offset, abs=1e-3)
        assert windows.to_window(window, end) * SECOND == pytest.approx(offset + 1, abs=1e-3)


def test_a_seam_belongs_to_who_asks() -> None:
    window = Window(0, 0, (Span(16_000, 32_000), Span(160_000, 176_000)))
    assert windows.to_recording(window, 1.0, "end") == 2.0
    assert windows.to_recording(window, 1.0, "start") == 10.0
    assert windows.piece_at(window, 1.0, "end") == 0
    assert windows.piece_at(window, 1.0, "start") == 1


def test_times_outside_the_window_are_its_ends() -> None:
    window = Window(0, 0, (Span(16_000, 32_000), Span(160_000, 176_000)))
    assert windows.to_recording(window, -1.0, "start") == 1.0
    assert windows.to_recording(window, 99.0, "end") == 11.0
    assert windows.to_recording(window, 99.0, "start") == 11.0


def test_close_spans_keep_the_silence_between_them_and_far_ones_lose_it() -> None:
    near, far = Span(0, SECOND), Span(SECOND + 4000, 2 * SECOND)
    assert planned([near, far])[0].pieces == (Span(0, 2 * SECOND),)
    far = Span(SECOND + 8000, 2 * SECOND)
    assert planned([near, far])[0].pieces == (near, far)


def test_a_cut_between_windows_is_overlapped_and_one_inside_a_window_is_not() -> None:
    a, b = Span(0, 25 * SECOND), Span(25 * SECOND, 40 * SECOND)
    first, second = planned([a, b])
    assert first.pieces == (a,)
    assert second.pieces == (Span(23 * SECOND, 40 * SECOND),)
    assert second.overlap == 2 * SECOND
    assert planned([Span(0, 25 * SECOND), Span(25 * SECOND, 28 * SECOND)]) == [
        Window(0, 3, (Span(0, 28 * SECOND),))
    ]


def test_short_spans_fill_windows_well() -> None:
    spans = [Span(k * 10 * SECOND, k * 10 * SECOND + 3 * SECOND) for k in range(100)]
    assert [len(window.pieces) for window in planned(spans)] == [10] * 10


def test_spans_out_of_order_are_refused() -> None:
    planner = windows.Planner(0, 30.0)
    planner.feed([Span(100, 200)])
    with pytest.raises(ValueError, match="does not follow"):
        planner.feed([Span(150, 250)])


def test_an_overlap_as_long_as_the_window_is_refused() -> None:
    with pytest.raises(BadSettings):
        windows.Planner(0, 3.0, 2.0)


def test_packed_audio_is_the_pieces_end_to_end() -> None:
    audio = np.arange(1000, dtype=np.int16)
    window = Window(0, 0, (Span(10, 20), Span(500, 510)))
    packed = windows.pack(window, lambda start, length: audio[start : start + length])
    assert packed.tolist() == [*range(10, 20), *range(500, 510)]
    assert windows.pcm_ranges(window) == ((10, 10), (500, 10))
    with pytest.raises(StoreBroken):
        windows.pack(window, lambda start, length: audio[start : start + length][:3])
