"""Making words from anywhere safe to write: cleaning, escaping, clock times.

What was heard is untrusted text: an engine may give markup, control characters or a spreadsheet
formula, and names of speakers and files come from people. Each format escapes what it would
otherwise read as its own syntax; nobody's words are dropped to make that easier.
"""

from __future__ import annotations

import re

_DROPPED = re.compile(
    "["
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # controls that are not white space
    "\u202a-\u202e\u2066-\u2069"  # bidirectional embeddings, overrides, isolates
    "\ufeff\ufffe\uffff\ufdd0-\ufdef"  # byte order mark, noncharacters
    "]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_PLANE_ENDS = re.compile(
    "[" + "".join(chr((p << 16) | e) for p in range(1, 17) for e in (0xFFFE, 0xFFFF)) + "]"
)


def clean(text: str) -> str:
    """One line of text that any format can hold.

    White space of every kind, newlines included, becomes single spaces, and none is left at the
    ends. Control characters and code points that XML 1.0 forbids go. Bidirectional marks (LRM,
    RLM, ALM) stay; embeddings, overrides and isolates go, since one left open would turn
    around the text of the next speaker. A lone surrogate, which UTF-8 cannot hold, becomes
    U+FFFD.
    """
    text = " ".join(text.split())
    if text.isascii() and text.isprintable():
        return text
    text = _PLANE_ENDS.sub("", _SURROGATE.sub("\ufffd", _DROPPED.sub("", text)))
    return " ".join(text.split())


def encodable(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot hold, as U+FFFD; nothing else changed."""
    return _SURROGATE.sub("\ufffd", text)


def xml(text: str) -> str:
    """Cleaned text as XML character data or inside a double-quoted attribute."""
    return (
        clean(text)
        .replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace('"', "&quot;")
    )


def vtt(text: str) -> str:
    """Cleaned text as WebVTT cue text or a voice's name (WebVTT, section 4.2.2).

    ``-->`` becomes ``--&gt;`` on the way, so text can never pass for a line of times.
    """
    return clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def srt(text: str) -> str:
    r"""Cleaned text for SubRip, which has no escapes.

    Players take ``<…>`` and ``{\…}`` for formatting and ``-->`` for times. A word joiner
    (U+2060, no width) inside breaks the pattern: the viewer still sees what was said.
    """
    text = clean(text).replace("-->", "--\u2060>")
    return text.replace("<", "<\u2060").replace("{", "{\u2060")


_MARKDOWN = re.compile(r"([\\`*_\[\]<>~|#$])")


def markdown(text: str) -> str:
    """Cleaned text for the inside of a CommonMark or GFM paragraph or table cell."""
    return _MARKDOWN.sub(r"\\\1", clean(text).replace("&", "&amp;"))


_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def cell(text: str) -> str:
    """Cleaned text for a spreadsheet's cell (OWASP, *CSV Injection*).

    A cell that begins with ``= + - @``, or their full-width forms, gets an apostrophe in front,
    which makes spreadsheets show it and not compute it.
    """
    text = clean(text)
    return f"'{text}" if text.startswith(_FORMULA) else text


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, never negative."""
    return max(0, round(seconds * 1000))


def clock(ms: int, separator: str = ".") -> str:
    """Milliseconds as ``HH:MM:SS.mmm``; the hours take as many digits as they need."""
    seconds, ms = divmod(ms, 1000)
    return f"{stamp(seconds)}{separator}{ms:03d}"


def stamp(seconds: float) -> str:
    """Seconds as ``HH:MM:SS``, rounded down as clocks are."""
    minutes, s = divmod(max(0, int(seconds)), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours:02d}:{m:02d}:{s:02d}"
