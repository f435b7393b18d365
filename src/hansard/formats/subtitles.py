"""Subtitles: SubRip, WebVTT and TTML, all from the same cues."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from hansard.formats import wording
from hansard.formats.cues import Cue, cues
from hansard.formats.layout import STANDARD, Layout, Segments, channels_of, speakers_of
from hansard.formats.wording import clock
from hansard.model import Transcript

_TTML_ROWS = 4
"""Regions of the TTML: the IMSC text profile allows four at once, and they may not overlap."""


def _cues(
    head: Transcript, segments: Segments, layout: Layout, *, prefix: bool = True
) -> Iterator[Cue]:
    return cues(
        segments(),
        layout,
        prefix=prefix,
        ends_ms=wording.milliseconds(head.seconds) or None,
        language=head.language,
    )


def srt(head: Transcript, segments: Segments, out: BinaryIO, layout: Layout = STANDARD) -> None:
    """SubRip. A new speaker's text begins with ``Name:``. One walk."""
    for number, cue in enumerate(_cues(head, segments, layout), start=1):
        times = f"{clock(cue.start_ms, ',')} --> {clock(cue.end_ms, ',')}"
        text = "\n".join(wording.srt(line) for line in cue.lines)
        out.write(f"{number}\n{times}\n{text}\n\n".encode())


def vtt(head: Transcript, segments: Segments, out: BinaryIO, layout: Layout = STANDARD) -> None:
    """WebVTT (W3C, 2019) with voices as ``<v Name>`` and cue settings. Two walks.

    Cues are centred within nine tenths of the picture, the safe area. Where channels were heard
    apart, the first is set to the left, the second to the right, and so on in turn, so that
    people who speak at once can be told apart; players stack what would collide.
    """
    apart = channels_of(segments)
    out.write(b"WEBVTT\n\n")
    for cue in _cues(head, segments, layout, prefix=False):
        settings = "align:center size:90%"
        if len(apart) > 1:
            left = apart.index(cue.channel) % 2 == 0
            settings = f"align:{'start position:5%' if left else 'end position:95%'} size:90%"
        text = "\n".join(wording.vtt(line) for line in cue.lines)
        if cue.speaker:
            text = f"<v {wording.vtt(cue.speaker)}>{text}</v>"
        out.write(f"{clock(cue.start_ms)} --> {clock(cue.end_ms)} {settings}\n{text}\n\n".encode())


_TTML_HEAD = """\
<?xml version="1.0" encoding="UTF-8"?>
<tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttm="http://www.w3.org/ns/ttml#metadata" \
xmlns:ttp="http://www.w3.org/ns/ttml#parameter" xmlns:tts="http://www.w3.org/ns/ttml#styling" \
ttp:contentProfiles="http://www.w3.org/ns/ttml/profile/imsc1.1/text" ttp:timeBase="media" \
ttp:cellResolution="32 15" xml:lang="{language}">
<head>
<metadata>
<ttm:title>{title}</ttm:title>
{agents}</metadata>
<styling>
<style xml:id="text" tts:fontFamily="proportionalSansSerif" tts:fontSize="80%" \
tts:lineHeight="125%" tts:textAlign="center" tts:color="white"/>
<style xml:id="line" tts:backgroundColor="#000000c0"/>
</styling>
<layout>
{regions}</layout>
</head>
<body style="text">
<div>
"""


def ttml(head: Transcript, segments: Segments, out: BinaryIO, layout: Layout = STANDARD) -> None:
    """TTML2 in the IMSC 1.1 text profile (W3C, 2018). Two or three walks.

    Speakers are ``ttm:agent`` elements that paragraphs point to, and are shown as ``Name:``.
    Channels take rows of the picture from the bottom up, four at most.
    """
    names = map(wording.clean, speakers_of(segments) if layout.speakers else [])
    agents = {name: f"s{i}" for i, name in enumerate(dict.fromkeys(filter(None, names)))}
    rows = {channel: row % _TTML_ROWS for row, channel in enumerate(channels_of(segments))}
    out.write(
        _TTML_HEAD.format(
            language=wording.xml(head.language or ""),
            title=wording.xml(head.name),
            agents="".join(
                f'<ttm:agent xml:id="{key}" type="person">'
                f'<ttm:name type="full">{wording.xml(name)}</ttm:name></ttm:agent>\n'
                for name, key in agents.items()
            ),
            regions="".join(
                f'<region xml:id="r{row}" tts:origin="10% {75 - 20 * row}%" '
                'tts:extent="80% 20%" tts:displayAlign="after" tts:overflow="visible"/>\n'
                for row in sorted(set(rows.values()) | {0})
            ),
        ).encode()
    )
    for cue in _cues(head, segments, layout):
        agent = f' ttm:agent="{agents[cue.speaker]}"' if cue.speaker else ""
        text = "<br/>".join(wording.xml(line) for line in cue.lines)
        out.write(
            f'<p begin="{clock(cue.start_ms)}" end="{clock(cue.end_ms)}" '
            f'region="r{rows[cue.channel]}"{agent}><span style="line">{text}</span></p>\n'.encode()
        )
    out.write(b"</div>\n</body>\n</tt>\n")
