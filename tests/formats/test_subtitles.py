"""SubRip, WebVTT and TTML, read back by pysubs2, FFmpeg and an XML parser."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pysubs2
import pytest

from hansard import formats
from hansard.formats import Layout
from hansard.formats.wording import clean, srt, vtt
from hansard.model import Segment, Transcript

TTML = {
    "tt": "http://www.w3.org/ns/ttml",
    "ttm": "http://www.w3.org/ns/ttml#metadata",
}


def written(transcript: Transcript, name: str, **layout: Any) -> str:
    return formats.render(transcript, name, Layout(**layout)).decode()


def said(transcript: Transcript) -> str:
    return " ".join(clean(s.text) for s in transcript.segments)


def shown(text: str) -> str:
    """What a viewer sees: no line breaks, no marks without width."""
    return " ".join(text.replace("\\N", " ").replace("\u2060", "").split())


def test_srt_is_read_by_pysubs2(meeting: Transcript) -> None:
    text = written(meeting, "srt")
    read = pysubs2.SSAFile.from_string(text, format_="srt", keep_html_tags=True)
    numbers = re.findall(r"^(\d+)\n\d\d:\d\d:\d\d,\d{3} --> ", text, re.MULTILINE)
    assert numbers == [str(i + 1) for i in range(len(read))]
    seen = shown(" ".join(event.text for event in read))
    for name in ("Ann <Chair>:", 'Bo "&" Co:', "@Cy:"):
        seen = seen.replace(f"{name} ", "")
    assert seen.replace(" ", "") == said(meeting).replace(" ", "")
    assert all(event.start < event.end for event in read)


def test_srt_shows_markup_as_it_was_said() -> None:
    for text in ("<b>x</b>", "< i >", "{\\an8}up", "a --> b", "00:00:01,000 --> 00:00:02,000"):
        escaped = srt(text)
        assert shown(escaped) == text
        assert "-->" not in escaped
        assert not re.search(r"<\s*/?\s*\w|\{\\", escaped)


def test_vtt_is_read_by_pysubs2_with_voices_settings_and_escapes(meeting: Transcript) -> None:
    text = written(meeting, "vtt")
    assert text.startswith("WEBVTT\n\n")
    read = pysubs2.SSAFile.from_string(text, format_="vtt")
    blocks = text.strip().split("\n\n")[1:]
    assert len(read) == len(blocks)
    payload = []
    for block in blocks:
        times, *lines = block.split("\n")
        assert re.fullmatch(r"[\d:.]{12} --> [\d:.]{12} align:center size:90%", times)
        body = " ".join(lines)
        assert "-->" not in body
        voice = re.fullmatch(r"(?:<v ([^<>\n]+)>)?([^<>]*)(?:</v>)?", body)
        assert voice
        payload.append(voice[2])
    assert "<v Ann &lt;Chair&gt;>Good morning" in text
    from html import unescape

    assert shown(unescape(" ".join(payload))).replace(" ", "") == said(meeting).replace(" ", "")


@pytest.mark.parametrize("name", ["srt", "vtt"])
def test_ffmpeg_reads_subtitles_and_takes_no_word_for_markup(name: str, tmp_path: Path) -> None:
    import av

    segments = (Segment(0, 4, "a <b>bold</b> move & --> x"), Segment(5, 9, "Yes."))
    path = tmp_path / f"a.{name}"
    transcript = Transcript("i", "r", "n", 20, "e", "m", segments=segments)
    formats.save(path, name, *formats.view(transcript))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(subtitles=0) if packet.size]
        texts = [line.ass for packet in packets for line in packet.decode()]  # type: ignore[union-attr] # subtitles
    assert [(packet.pts, packet.duration) for packet in packets] == [(0, 4000), (5000, 4000)]
    assert [shown(text.decode().split(",,")[-1]) for text in texts] == [
        "a <b>bold</b> move & --> x",
        "Yes.",
    ]


def test_vtt_sets_channels_apart(meeting: Transcript) -> None:
    two = (Segment(0, 2, "Left."), Segment(1, 3, "Right.", channel=1))
    text = written(msgspec.structs.replace(meeting, segments=two), "vtt")
    assert "align:start position:5% size:90%\nLeft." in text
    assert "align:end position:95% size:90%\nRight." in text


def test_vtt_escapes_text() -> None:
    assert vtt("a --> b & <c>") == "a --&gt; b &amp; &lt;c&gt;"


@pytest.mark.parametrize("name", ["srt", "vtt", "ttml"])
def test_speakers_can_be_left_out(meeting: Transcript, name: str) -> None:
    assert "Chair" in written(meeting, name)
    assert "Chair" not in written(meeting, name, speakers=False)


def test_ttml_is_well_formed_imsc_text(meeting: Transcript) -> None:
    text = written(meeting, "ttml")
    root = ET.fromstring(text)
    assert root.tag == f"{{{TTML['tt']}}}tt"
    assert root.get("{http://www.w3.org/XML/1998/namespace}lang") == "en"
    assert root.get("{http://www.w3.org/ns/ttml#parameter}contentProfiles") == (
        "http://www.w3.org/ns/ttml/profile/imsc1.1/text"
    )
    ids = [e.get("{http://www.w3.org/XML/1998/namespace}id") for e in root.iter()]
    known = [i for i in ids if i]
    assert len(known) == len(set(known))
    agents = [e.text for e in root.iterfind(".//ttm:name", TTML)]
    assert agents == ["Ann <Chair>", 'Bo "&" Co', "@Cy"]
    paragraphs = root.findall(".//tt:p", TTML)
    for p in paragraphs:
        assert p.get("region") in known
        assert p.get("{http://www.w3.org/ns/ttml#metadata}agent") in (*known, None)
        assert re.fullmatch(r"\d\d+:\d\d:\d\d\.\d{3}", p.get("begin") or "")
        assert (p.get("begin") or "") < (p.get("end") or "")
    read = pysubs2.SSAFile.from_string(text, format_="ttml")
    assert len(read) == len(paragraphs)
    seen = " ".join("".join(p.itertext()) for p in paragraphs)
    for name in (*agents, "@Cy"):
        seen = seen.replace(f"{name}: ", "")
    assert seen.replace(" ", "") == said(meeting).replace(" ", "")


def test_ttml_regions_do_not_overlap(meeting: Transcript) -> None:
    many = tuple(Segment(i, i + 1, "Hm.", channel=i) for i in range(6))
    root = ET.fromstring(written(msgspec.structs.replace(meeting, segments=many), "ttml"))
    regions = root.findall(".//tt:region", TTML)
    spans = []
    for region in regions:
        values = {key.rsplit("}", 1)[1]: value for key, value in region.items()}
        top = int(values["origin"].split()[1].rstrip("%"))
        spans.append((top, top + int(values["extent"].split()[1].rstrip("%"))))
    spans.sort()
    assert len(spans) == 4
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert spans[0][0] >= 0
    assert spans[-1][1] <= 100
